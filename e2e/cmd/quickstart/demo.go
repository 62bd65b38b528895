package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"devflowbackup/e2e/stack"
)

// Names in the demo.
const (
	project  = "shop"
	hostName = "demo-host"

	diskS3    = "s3"
	diskLocal = "local"
)

// storages by their kind.
var storages = map[string]string{diskS3: "demo-s3", diskLocal: "demo-local"}

// demo is one run.
type demo struct {
	dir   *directory
	bin   string
	story *story

	log        *os.File
	stack      *stack.Stack
	controller *stack.Controller
	agent      *stack.Agent
	s3         *stack.S3
	postgres   *stack.Postgres
	maria      *stack.MariaDB
	sqlite     *stack.SQLite
	client     *stack.Client

	sources []*source
	trips   []*trip
}

// start brings the parts up.
func (d *demo) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Join(d.dir.path, "logs"), 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	if d.log, err = os.OpenFile(filepath.Join(d.dir.path, "logs", "quickstart.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if d.stack, err = stack.New(stack.Options{Dir: d.dir.path, Bin: d.bin, Log: d.log}); err != nil {
		return err
	}
	d.story.say("DevFlow Backup: PostgreSQL, MariaDB and SQLite to S3 and to the host's own disk, and back, proven. Everything is on this machine,\nin %s.", d.dir.shown())
	d.story.chapter("Start a controller, an S3 server and the database servers")
	ports := d.dir.state
	if d.postgres, err = d.stack.StartPostgres(ctx, "demo-postgres", stack.PostgresOptions{Port: ports.Postgres}); err != nil {
		return err
	}
	if d.maria, err = d.stack.StartMariaDB(ctx, "demo-mariadb", stack.MariaDBOptions{Port: ports.MariaDB, Targets: []string{`warehouse\_%`}}); err != nil {
		return err
	}
	if d.sqlite, err = d.stack.NewSQLite("demo-sqlite"); err != nil {
		return err
	}
	if d.s3, err = d.stack.StartS3(ctx, "s3", stack.S3Options{Port: ports.S3, Bucket: "backups"}); err != nil {
		return err
	}
	if d.controller, err = d.stack.NewController("controller", stack.ControllerOptions{
		Port: ports.Controller, NATSPort: ports.NATS, Timing: map[string]any{"heartbeat": "2s", "lease": "10s"},
	}); err != nil {
		return err
	}
	if d.agent, err = d.stack.NewAgent(hostName, stack.AgentOptions{
		Servers: map[string]stack.Server{"postgres": d.postgres, "mariadb": d.maria, "sqlite": d.sqlite}, Local: true, InPlace: true,
		Limits: map[string]any{"discovery_every": "10s"},
	}); err != nil {
		return err
	}
	if err := d.controller.Start(ctx); err != nil {
		return err
	}
	d.client = d.controller.Admin()
	d.plan()
	postgres, _, _ := strings.Cut(d.postgres.Bin().Version, " ")
	maria, _, _ := strings.Cut(d.maria.Bin().Version, "-")
	d.story.note("controller          %s  (with its own NATS and PostgreSQL)", d.controller.URL())
	d.story.note("S3 server           %s  (versitygw, bucket %s)", d.s3.Endpoint, d.s3.Bucket)
	d.story.note("PostgreSQL %-8s 127.0.0.1:%d", postgres, d.postgres.Port())
	d.story.note("MariaDB %-11s 127.0.0.1:%d", maria, d.maria.Port())
	d.story.note("SQLite              %s", shorten(d.sqlite.Dir))
	return nil
}

// plan says what is backed up, where to, and how.
func (d *demo) plan() {
	shop := &source{
		engine: "PostgreSQL", word: "shop", server: d.postgres, sql: shopSQL,
		holds: "views, functions, triggers, partitions, a large object and emoji",
	}
	warehouse := &source{
		engine: "MariaDB", word: "warehouse", server: d.maria, sql: warehouseSQL,
		holds: "triggers in order, a function, a procedure, an event, views, places and utf8mb4",
	}
	catalogue := &source{
		engine: "SQLite", word: "catalogue", server: d.sqlite, sql: catalogueSQL,
		holds: "a full text search, a table WITHOUT ROWID, triggers; in WAL mode",
	}
	d.sources = []*source{shop, warehouse, catalogue}
	d.trips = []*trip{
		{source: shop, disk: diskS3, compression: "zstd", encryption: "age"},
		{source: shop, disk: diskLocal, compression: "none", encryption: "age"},
		{source: warehouse, disk: diskS3, compression: "zstd", encryption: "aes-256-cbc"},
		{source: warehouse, disk: diskLocal, compression: "gzip", encryption: "aes-256-cbc"},
		{source: catalogue, disk: diskS3, compression: "gzip", encryption: "age"},
		{source: catalogue, disk: diskLocal, compression: "zstd", encryption: "none"},
	}
}

// setUp does what an administrator does once. A later run finds it done.
func (d *demo) setUp(ctx context.Context) error {
	if d.dir.state.Complete {
		return d.goOn(ctx)
	}
	d.story.chapter("Fill the databases of a web shop: its orders, its warehouse, its catalogue")
	for _, s := range d.sources {
		if err := s.fill(ctx); err != nil {
			return err
		}
		if err := s.read(ctx, d.story); err != nil {
			return err
		}
	}

	d.story.chapter("Make a project, add the storages, enrol the databases' host")
	if err := d.do(ctx, only("recipient"), "project", "create", project, "--name", "Web shop"); err != nil {
		return err
	}
	if err := d.do(ctx, from("probe"), stack.StorageArgs(storages[diskS3], d.s3)...); err != nil {
		return err
	}
	if err := d.do(ctx, only("A backup"), "storage", "add", storages[diskLocal], "--kind", "local"); err != nil {
		return err
	}
	token, err := d.client.EnrolmentToken(ctx, hostName, project)
	if err != nil {
		return err
	}
	d.story.say("   $ devflowctl server token %s --project %s      # prints a token that works once", hostName, project)
	d.story.command("devflow-agent", "enroll", "--config", d.agent.Config(), "--controller", d.controller.URL(), "--token-file", d.agent.TokenFile())
	res, err := d.agent.TryEnroll(ctx, d.controller.URL(), token)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("enrol the agent: %s", strings.ReplaceAll(res.Text(), token, "***"))
	}
	d.story.output(res.Out)
	if err := d.agent.Start(); err != nil {
		return err
	}
	d.story.command("devflow-agent", "run", "--config", d.agent.Config())
	if err := d.agent.AwaitOnline(ctx, d.controller, len(d.sources)); err != nil {
		return err
	}
	d.story.note("the agent is online and has found the databases")
	for _, s := range d.sources {
		if err := d.do(ctx, only(), "database", "assign", s.name(), "--project", project, "--on", hostName); err != nil {
			return err
		}
	}
	if err := d.nightly(ctx); err != nil {
		return err
	}
	d.dir.state.Complete = true
	return d.dir.save()
}

// nightly has the databases backed up by themselves from now on.
func (d *demo) nightly(ctx context.Context) error {
	d.story.chapter("Back each of them up by itself, every night")
	facts, times := only("covers", "when", "zone", "verify", "keeps"), from("NEXT")
	return d.do(ctx, func(line string) bool { return facts(line) || strings.TrimSpace(line) != "" && times(line) },
		"schedule", "create", project, "--default", "--daily", "02:00", "--verify-after", "content", "--keep", "daily=7,weekly=4,monthly=3,days=30")
}

// goOn drops the copies of the last run.
func (d *demo) goOn(ctx context.Context) error {
	d.story.chapter("Go on with what the last run set up")
	for _, t := range d.trips {
		for _, name := range []string{t.restored(), t.recovered()} {
			if err := t.server.Drop(ctx, name); err != nil {
				return err
			}
		}
	}
	if err := d.agent.Start(); err != nil {
		return err
	}
	if err := d.awaitDropped(ctx); err != nil {
		return err
	}
	d.story.note("the project, both storages and the agent of %s are there; the copies of the last run are dropped", hostName)
	for _, s := range d.sources {
		if err := s.read(ctx, d.story); err != nil {
			return err
		}
	}
	return nil
}

// awaitDropped waits until the controller knows from the agent that the copies of the last run are gone.
func (d *demo) awaitDropped(ctx context.Context) error {
	copies := map[string]bool{}
	for _, t := range d.trips {
		copies[t.restored()], copies[t.recovered()] = true, true
	}
	return stack.Within(ctx, time.Minute, "the agent has told of its databases", func(ctx context.Context) (bool, error) {
		if !d.agent.Process().Running() {
			return false, stack.Hopeless(errors.New("the agent has ended"))
		}
		found, err := d.client.Databases(ctx, hostName)
		if err != nil {
			return false, err
		}
		for _, f := range found {
			if f.MissingSince == nil && copies[f.Name] {
				return false, nil
			}
		}
		return d.client.Online(ctx, hostName, len(d.sources))
	})
}

// each takes every trip one step further: the trips of different databases side by side, those of one database one after the
// other. What they tell is shown in the trips' order. The first error stops them all and is returned.
func (d *demo) each(ctx context.Context, step func(context.Context, *story, *trip) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told, ended := map[*trip]*bytes.Buffer{}, map[*trip]chan struct{}{}
	for _, t := range d.trips {
		told[t], ended[t] = &bytes.Buffer{}, make(chan struct{})
	}
	var lanes sync.WaitGroup
	for _, s := range d.sources {
		lanes.Go(func() {
			for _, t := range d.trips {
				if t.source != s {
					continue
				}
				err := step(ctx, newStory(told[t], d.dir.path), t)
				close(ended[t])
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, t := range d.trips {
		select {
		case <-ended[t]:
			d.story.write(told[t].Bytes())
		case <-ctx.Done():
		}
	}
	lanes.Wait()
	return context.Cause(ctx)
}

// do runs devflowctl, shown as typed, with the lines of its output that keep leaves.
func (d *demo) do(ctx context.Context, keep func(line string) bool, args ...string) error {
	d.story.command(append([]string{"devflowctl"}, args...)...)
	res, err := d.client.Do(ctx, args...)
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(res.Out, "\n") {
		if keep(line) {
			d.story.output(line)
		}
	}
	return nil
}

// read runs devflowctl, shown as typed, and decodes what it would print with --output json.
func (d *demo) read(ctx context.Context, st *story, out any, args ...string) (time.Duration, error) {
	st.command(append([]string{"devflowctl"}, args...)...)
	began := time.Now()
	err := d.client.Read(ctx, out, args...)
	return time.Since(began), err
}

// only keeps the lines that begin with one of the words.
func only(words ...string) func(string) bool {
	return func(line string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(line, w) })
	}
}

// from keeps the line that begins with the word, and what follows.
func from(word string) func(string) bool {
	begun := false
	return func(line string) bool {
		begun = begun || strings.HasPrefix(line, word)
		return begun
	}
}

// logs are the files that tell why something failed.
func (d *demo) logs() []string {
	if d.stack == nil {
		return nil
	}
	var logs []string
	for _, name := range []string{"demo-postgres", "demo-mariadb", "s3", "controller", hostName} {
		if _, err := os.Stat(d.stack.LogFile(name)); err == nil {
			logs = append(logs, d.stack.LogFile(name))
		}
	}
	return logs
}

// ended yields the name of a part that ended though nobody stopped it.
func (d *demo) ended() <-chan string {
	parts := map[string]<-chan struct{}{
		"the controller": d.controller.Process().Exited(), "the agent": d.agent.Process().Exited(),
		"PostgreSQL": d.postgres.Done(), "MariaDB": d.maria.Done(),
	}
	ended := make(chan string, len(parts))
	for name, exited := range maps.All(parts) {
		go func() { <-exited; ended <- name }()
	}
	return ended
}

func (d *demo) stop(ctx context.Context) error {
	var err error
	if d.stack != nil {
		err = d.stack.Stop(ctx)
	}
	if d.log != nil {
		_ = d.log.Close()
	}
	return err
}

// hints are for someone who wants to try more.
type hints struct {
	backup          int64
	env, url, token string
	ca, downloads   string
	clients         []string
	user, password  string // of the console
}

func (d *demo) hints(ctx context.Context) (hints, error) {
	user, password, err := d.person(ctx)
	if err != nil {
		return hints{}, err
	}
	env := filepath.Join(d.dir.path, "env")
	lines := []string{"# . " + env}
	for _, setting := range d.client.Env() {
		name, value, _ := strings.Cut(setting, "=")
		lines = append(lines, "export "+name+"="+shellWord(value))
	}
	lines = append(lines, "export PATH="+shellWord(d.bin)+`:"$PATH"`)
	if err := stack.WriteFile(env, strings.Join(lines, "\n")+"\n", 0o600); err != nil {
		env = err.Error()
	}
	clients := []string{}
	for _, s := range d.sources {
		words, settings := d.reader(s.server, s.name())
		for i, w := range words {
			words[i] = shellWord(shorten(w))
		}
		clients = append(clients, strings.Join(append(settings, words...), " "))
	}
	return hints{
		backup: d.trips[0].backup.ID, env: env, url: d.controller.URL(), token: d.client.TokenFile, ca: d.client.CAFile,
		downloads: d.dir.path, clients: clients, user: user, password: password,
	}, nil
}

// person is who signs in to the console. The password is a new one in each run: it is kept nowhere but on the screen.
func (d *demo) person(ctx context.Context) (name, password string, err error) {
	name, password = "admin", rand.Text()
	made := map[string]any{"name": name, "admin": true, "password": password}
	var refused *stack.ProblemError
	err = d.client.API(ctx, http.MethodPost, "/users", made, nil)
	if errors.As(err, &refused) && refused.Status == http.StatusConflict { // by an earlier run
		err = d.client.API(ctx, http.MethodPut, "/users/"+name+"/password", map[string]any{"password": password}, nil)
	}
	if err != nil {
		return "", "", fmt.Errorf("make a user of the console: %w", err)
	}
	return name, password, nil
}

// reader is the command line, with settings of the environment before it, of the client that everyone uses for the database.
func (d *demo) reader(server stack.Server, database string) (command, settings []string) {
	switch server {
	case d.postgres:
		return append([]string{"psql"}, d.connection(database)...), []string{"PGPASSFILE=" + shellWord(shorten(d.postgres.Passfile()))}
	case d.maria:
		return []string{"mariadb", "--defaults-file=" + d.maria.OptionFile(), "--", database}, nil
	}
	return []string{"sqlite3", database}, nil
}

func (d *demo) connection(database string) []string {
	return []string{"-h", "127.0.0.1", "-p", strconv.Itoa(d.postgres.Port()), "-U", d.postgres.Superuser(), "-d", database}
}
