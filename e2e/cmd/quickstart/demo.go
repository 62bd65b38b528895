package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/e2e/stack"
)

// Names in the demo.
const (
	project     = "shop"
	database    = "shop"
	hostName    = "demo-host"
	storageName = "demo-s3"
	restored    = "shop_restored"
	recovered   = "shop_recovered"
)

//go:embed shop.sql
var shopSQL string

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
	client     *stack.Client

	source stack.Content
	bytes  int64 // of the source database
	backup stack.Backup
	rows   []row
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
	d.story.say("DevFlow Backup: a PostgreSQL database to S3 and back, proven. Everything is on this machine, in %s.", d.dir.shown())
	d.story.chapter("Start a controller, an S3 server and a demo database")
	ports := d.dir.state
	if d.postgres, err = d.stack.StartPostgres(ctx, "demo-postgres", stack.PostgresOptions{Port: ports.Postgres}); err != nil {
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
		Servers: map[string]stack.Server{"main": d.postgres}, Limits: map[string]any{"discovery_every": "10s"},
	}); err != nil {
		return err
	}
	if err := d.controller.Start(ctx); err != nil {
		return err
	}
	d.client = d.controller.Admin()
	d.story.note("controller     %s  (with its own NATS and PostgreSQL)", d.controller.URL())
	d.story.note("S3 server      %s  (versitygw, bucket %s)", d.s3.Endpoint, d.s3.Bucket)
	d.story.note("PostgreSQL %s  127.0.0.1:%d", d.postgres.Bin().Version, d.postgres.Port())
	return nil
}

// setUp does what an administrator does once. A later run finds it done.
func (d *demo) setUp(ctx context.Context) error {
	if d.dir.state.Complete {
		d.story.chapter("Go on with what the last run set up")
		for _, name := range []string{restored, recovered} {
			if err := d.postgres.DropDatabase(ctx, name); err != nil {
				return err
			}
		}
		if err := d.agent.Start(); err != nil {
			return err
		}
		if err := d.awaitDropped(ctx); err != nil {
			return err
		}
		d.story.note("project %s, storage %s and the agent of %s are there; the copies of the last run are dropped", project, storageName, hostName)
		return d.readSource(ctx)
	}

	d.story.chapter("Fill a web shop's database")
	if err := d.postgres.CreateDatabase(ctx, database, ""); err != nil {
		return err
	}
	if _, err := d.postgres.Exec(ctx, database, shopSQL); err != nil {
		return fmt.Errorf("fill the demo database: %w", err)
	}
	if err := d.readSource(ctx); err != nil {
		return err
	}

	d.story.chapter("Make a project, enrol the database's host, add the storage")
	if err := d.do(ctx, only("recipient"), "project", "create", project, "--name", "Web shop"); err != nil {
		return err
	}
	if err := d.do(ctx, from("probe"), stack.StorageArgs(storageName, d.s3)...); err != nil {
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
	if err := d.agent.AwaitOnline(ctx, d.controller, 1); err != nil {
		return err
	}
	d.story.note("the agent is online and has found the database")
	if err := d.do(ctx, only("database", "name", "project"), "database", "assign", database, "--project", project, "--on", hostName); err != nil {
		return err
	}
	d.dir.state.Complete = true
	return d.dir.save()
}

// awaitDropped waits until the controller knows from the agent that the copies of the last run are gone.
func (d *demo) awaitDropped(ctx context.Context) error {
	return stack.Within(ctx, time.Minute, "the agent has told of its databases", func(ctx context.Context) (bool, error) {
		if !d.agent.Process().Running() {
			return false, stack.Hopeless(errors.New("the agent has ended"))
		}
		found, err := d.client.Databases(ctx, hostName)
		if err != nil {
			return false, err
		}
		for _, f := range found {
			if f.MissingSince == nil && (f.Name == restored || f.Name == recovered) {
				return false, nil
			}
		}
		return d.client.Online(ctx, hostName, 1)
	})
}

func (d *demo) readSource(ctx context.Context) (err error) {
	if d.source, err = d.postgres.Content(ctx, database); err != nil {
		return err
	}
	text, err := d.postgres.Exec(ctx, database, "SELECT pg_database_size(current_database())")
	if err != nil {
		return err
	}
	if d.bytes, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
		return fmt.Errorf("read the size of the demo database: %w", err)
	}
	d.story.note("%s rows in %d tables, %s, with views, functions, triggers, partitions, a large object and emoji",
		number(d.source.Rows()), len(d.source.Tables), size(d.bytes))
	d.rows = append(d.rows, row{
		"source", fmt.Sprintf("%s at 127.0.0.1:%d", database, d.postgres.Port()), size(d.bytes), "",
		fmt.Sprintf("%s rows in %d tables", number(d.source.Rows()), len(d.source.Tables)),
	})
	return nil
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

func all(string) bool { return true }

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

// timed is do with how long it took.
func (d *demo) timed(ctx context.Context, args ...string) (time.Duration, error) {
	began := time.Now()
	err := d.do(ctx, all, args...)
	return time.Since(began), err
}

func (d *demo) table() []row { return d.rows }

// logs are the files that tell why something failed.
func (d *demo) logs() []string {
	if d.stack == nil {
		return nil
	}
	var logs []string
	for _, name := range []string{"demo-postgres", "s3", "controller", hostName} {
		if _, err := os.Stat(d.stack.LogFile(name)); err == nil {
			logs = append(logs, d.stack.LogFile(name))
		}
	}
	return logs
}

// ended yields the name of a part that ended though nobody stopped it.
func (d *demo) ended() <-chan string {
	ended := make(chan string, 3)
	for name, exited := range map[string]<-chan struct{}{
		"the controller": d.controller.Process().Exited(), "the agent": d.agent.Process().Exited(), "the demo database": d.postgres.Done(),
	} {
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
	backup                    int64
	env, url, token, ca, psql string
}

func (d *demo) hints() hints {
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
	return hints{
		backup: d.backup.ID, env: env, url: d.controller.URL(), token: d.client.TokenFile, ca: d.client.CAFile,
		psql: strings.Join(slices.Concat([]string{"PGPASSFILE=" + shellWord(d.passfile()), "psql"}, d.connection(database)), " "),
	}
}

// passfile has the superuser's password of the demo database.
func (d *demo) passfile() string { return filepath.Join(d.dir.path, "demo-postgres", "pgpass") }

func (d *demo) connection(database string) []string {
	return []string{"-h", "127.0.0.1", "-p", strconv.Itoa(d.postgres.Port()), "-U", d.postgres.Superuser(), "-d", database}
}
