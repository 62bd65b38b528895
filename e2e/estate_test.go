package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// estate is an installation of every engine: one controller on a catalog whose history is recorded, an S3 server behind a fault
// proxy as the default storage "store", and one agent, "db1", with a server of each engine and a backup directory of its own, the
// storage "host".
type estate struct {
	*faultWorld
	maria  *stack.MariaDB
	sqlite *stack.SQLite
	tmp    string         // where the product's programs put temporary files
	more   []*stack.Agent // besides db1

	heavyOnce sync.Once
	heavyErr  error
}

type estateOptions struct {
	sites   []string       // failpoints of controller and agent; their programs are run if there is one
	engines []string       // whose servers it has; all if empty
	inPlace bool           // the agent restores in the place of databases, too
	timing  map[string]any // wins over quick ones
}

// newEstate starts an estate of the test's own, which ends with it.
func newEstate(t *testing.T, opt estateOptions) *estate {
	t.Helper()
	dir, err := stackDir()
	if err != nil {
		t.Fatal(err)
	}
	var e *estate
	t.Cleanup(func() {
		var s *stack.Stack
		if e != nil {
			s = e.Stack
		}
		if err := stopStack(dir, s); err != nil {
			t.Error(err)
		}
	})
	e, err = startEstate(faultContext(t), dir, opt)
	if e != nil {
		showLogs(t, e.Stack)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sharedEstate is the estate of all tests that leave it running as it was. Each works in a project of its own.
var sharedEstate sharedEstates

type sharedEstates struct {
	sync.Mutex
	dir    string
	estate *estate
	err    error
}

func (s *sharedEstates) stop() error {
	s.Lock()
	defer s.Unlock()
	if s.estate == nil {
		return stopStack(s.dir, nil)
	}
	return stopStack(s.dir, s.estate.Stack)
}

// commonEstate returns the shared estate and, at the end of a failed test, the ends of its logs.
func commonEstate(t *testing.T) (*estate, context.Context) {
	t.Helper()
	ctx := testContext(t)
	sharedEstate.Lock()
	defer sharedEstate.Unlock()
	if sharedEstate.dir == "" {
		if sharedEstate.dir, sharedEstate.err = stackDir(); sharedEstate.err == nil {
			sharedEstate.estate, sharedEstate.err = startEstate(ctx, sharedEstate.dir, estateOptions{inPlace: true})
		}
	}
	if sharedEstate.estate != nil {
		showLogs(t, sharedEstate.estate.Stack)
	}
	if sharedEstate.err != nil {
		t.Fatal(sharedEstate.err)
	}
	t.Cleanup(sharedEstate.estate.s3.Proxy.Reset)
	return sharedEstate.estate, ctx
}

// startEstate returns what has been started with an error, too.
func startEstate(ctx context.Context, dir string, opt estateOptions) (*estate, error) {
	s, err := stack.New(stack.Options{Dir: dir, Failpoints: len(opt.sites) > 0})
	if err != nil {
		return nil, err
	}
	e := &estate{faultWorld: &faultWorld{Stack: s, points: filepath.Join(dir, "points"), read: map[string]bool{}}, tmp: filepath.Join(dir, "tmp")}
	return e, e.start(ctx, opt)
}

func (e *estate) start(ctx context.Context, opt estateOptions) (err error) {
	if err := os.Mkdir(e.tmp, 0o700); err != nil {
		return err
	}
	env, err := e.disarmed(opt.sites)
	if err != nil {
		return err
	}
	env = append(env, "TMPDIR="+e.tmp)
	if err := e.startServers(ctx, opt.engines); err != nil {
		return err
	}
	if e.s3, err = e.StartS3(ctx, "s3", stack.S3Options{Proxy: true}); err != nil {
		return err
	}
	timing := stack.Quick()
	maps.Copy(timing, opt.timing)
	c, err := e.NewController("controller", stack.ControllerOptions{CatalogDSN: e.catalog.DSN, Timing: timing, Env: env})
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	e.controllers, e.ctl = []*stack.Controller{c}, c.Admin()
	if err := e.catalog.Record(ctx); err != nil {
		return err
	}
	if err := e.ctl.AddStorage(ctx, "store", e.s3); err != nil {
		return err
	}
	if _, err := e.ctl.Do(ctx, "storage", "add", "host", "--kind", "local"); err != nil {
		return err
	}
	servers := map[string]stack.Server{}
	for _, s := range e.servers {
		servers[s.Engine()] = s
	}
	e.agent, err = e.NewAgent("db1", stack.AgentOptions{
		Servers: servers, Local: true, InPlace: opt.inPlace, Limits: map[string]any{"discovery_every": "10s"}, Extra: map[string]any{"concurrency": 4}, Env: env,
	})
	if err != nil {
		return err
	}
	if err := e.agent.Enroll(ctx, c, ""); err != nil {
		return err
	}
	return e.agent.StartOnline(ctx, c, 0)
}

func (e *estate) startServers(ctx context.Context, engines []string) (err error) {
	if e.catalog, err = e.StartCatalog(ctx, "catalog", stack.PostgresOptions{}); err != nil {
		return err
	}
	for _, one := range []struct {
		engine string
		start  func(context.Context) (stack.Server, error)
	}{{wire.EnginePostgreSQL, e.startPostgres}, {wire.EngineMySQL, e.startMaria}, {wire.EngineSQLite, e.makeFiles}} {
		if len(engines) > 0 && !slices.Contains(engines, one.engine) {
			continue
		}
		s, err := one.start(ctx)
		if err != nil {
			return err
		}
		e.servers = append(e.servers, s)
	}
	return nil
}

func (e *estate) startPostgres(ctx context.Context) (_ stack.Server, err error) {
	if e.postgres, err = e.StartPostgres(ctx, "pg1", stack.PostgresOptions{}); err != nil {
		return nil, err
	}
	// Dumping a table with row-level security, and a view that calls a function, takes more rights than the rest.
	_, err = e.postgres.Exec(ctx, "postgres", "ALTER ROLE "+stack.BackupRole+" BYPASSRLS")
	return e.postgres, err
}

func (e *estate) startMaria(ctx context.Context) (_ stack.Server, err error) {
	if e.maria, err = e.StartMariaDB(ctx, "maria1", stack.MariaDBOptions{}); err != nil {
		return nil, err
	}
	return e.maria, e.maria.Grant(ctx, "EXECUTE", "*.*", stack.BackupRole)
}

func (e *estate) makeFiles(context.Context) (_ stack.Server, err error) {
	e.sqlite, err = e.NewSQLite("sqlite1")
	return e.sqlite, err
}

// configured is a server with further keys in its instance.
type configured struct {
	stack.Server
	keys map[string]any
}

func (c configured) Instance() map[string]any {
	all := c.Server.Instance()
	maps.Copy(all, c.keys)
	return all
}

// addAgent starts one more agent, for the test's time, that a project may use.
func (e *estate) addAgent(t *testing.T, ctx context.Context, name, project string, opt stack.AgentOptions) *stack.Agent {
	t.Helper()
	limits := map[string]any{"discovery_every": "10s"}
	maps.Copy(limits, opt.Limits)
	opt.Limits, opt.Env = limits, []string{"TMPDIR=" + e.tmp}
	a, err := e.NewAgent(name, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Enroll(ctx, e.controllers[0], project); err != nil {
		t.Fatal(err)
	}
	if err := a.StartOnline(ctx, e.controllers[0], 0); err != nil {
		t.Fatal(err)
	}
	e.more = append(e.more, a)
	t.Cleanup(func() {
		if err := a.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return a
}

// invariants checks what must hold after every test.
func (e *estate) invariants(t *testing.T, ctx context.Context) {
	t.Helper()
	in := stack.Invariants{Catalog: e.catalog, Client: e.ctl, S3: e.s3, Agents: append([]*stack.Agent{e.agent}, e.more...), Databases: e.servers, Read: e.read}
	if err := in.Check(ctx); err != nil {
		t.Errorf("invariants: %v", err)
	}
}

// sample is the SQL in testdata that fills a database of an engine with what is easily lost.
func sample(engine string) (string, error) {
	root, err := s3kit.Root()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(root, "e2e", "testdata", engine+".sql"))
	return string(b), err
}

// fewRows fills a database of any engine with little.
const fewRows = "CREATE TABLE people (id integer PRIMARY KEY, name varchar(2000) NOT NULL); INSERT INTO people VALUES (1, 'Ada'), (2, 'it''s \"Zoë\"'), (3, '');"

// project makes a project that may use server db1.
func (e *estate) project(t *testing.T, ctx context.Context, slug string, more ...string) {
	t.Helper()
	do(t, ctx, e.ctl, append([]string{"project", "create", slug}, more...)...)
	do(t, ctx, e.ctl, "project", "grant", slug, "db1")
}

// database makes a database of an engine with what the SQL says, or with the sample if it says nothing, and gives it to a project.
// It returns its name, which no other engine's database has.
func (e *estate) database(t *testing.T, ctx context.Context, s stack.Server, project, word, sql string) string {
	t.Helper()
	name := s.Name(word + "_" + s.Engine())
	if err := e.fillDatabase(ctx, s, name, sql); err != nil {
		t.Fatal(err)
	}
	e.assign(t, ctx, project, "db1", name)
	return name
}

// assign waits until a host's agent has told of a database, and gives it to a project.
func (e *estate) assign(t *testing.T, ctx context.Context, project, server, name string) {
	t.Helper()
	found(t, ctx, e.ctl, server, name)
	do(t, ctx, e.ctl, "database", "assign", "--project", project, "--on", server, "--", name)
}

func (e *estate) fillDatabase(ctx context.Context, s stack.Server, name, sql string) (err error) {
	if sql == "" {
		if sql, err = sample(s.Engine()); err != nil {
			return err
		}
	}
	if err := s.Create(ctx, name); err != nil {
		return err
	}
	_, err = s.Exec(ctx, name, sql)
	return err
}

// copyName is the name of a copy that a restore may make.
func copyName(s stack.Server, word string) string { return s.Name("r_" + word) }

// eachEngine runs a test for each engine of the estate.
func (e *estate) eachEngine(t *testing.T, f func(t *testing.T, s stack.Server)) {
	t.Helper()
	for _, s := range e.servers {
		t.Run(s.Engine(), func(t *testing.T) { f(t, s) })
	}
}

// same compares two databases of a server by plain SQL.
func same(t *testing.T, ctx context.Context, s stack.Server, want stack.Content, copied string) {
	t.Helper()
	got, err := s.Content(ctx, copied)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); diff != "" {
		t.Errorf("%s database %q differs from its source:\n%.4000s", s.Engine(), copied, diff)
	}
	if want.Rows() == 0 {
		t.Errorf("the source of %q is empty: the comparison proves nothing", copied)
	}
}

func contentOf(t *testing.T, ctx context.Context, s stack.Server, name string) stack.Content {
	t.Helper()
	c, err := s.Content(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// drop removes a database, at whose copies a restore would stop the next time.
func drop(t *testing.T, ctx context.Context, s stack.Server, name string) {
	t.Helper()
	if err := s.Drop(ctx, name); err != nil {
		t.Error(err)
	}
}

// fetch takes an object from the bucket, past any proxy, or from the host's directory, and none of the product's programs.
func (e *estate) fetch(ctx context.Context, b fullBackup, key, dir string) (file string, err error) {
	file = filepath.Join(dir, filepath.Base(key))
	if b.StorageDisk == "s3" {
		_, _, err = e.s3.Download(ctx, key, file)
		return file, err
	}
	bytes, err := os.ReadFile(filepath.Join(e.agent.LocalDir, key))
	return file, errors.Join(err, os.WriteFile(file, bytes, 0o600))
}

// fullBackup is a backup with what the panel shows of it.
type fullBackup struct {
	stack.Backup
	DatabaseType string  `json:"database_type"`
	Type         string  `json:"type"`
	Storage      string  `json:"storage"`
	StorageDisk  string  `json:"storage_disk"`
	SameHost     bool    `json:"same_host"`
	Compression  string  `json:"compression"`
	Encryption   string  `json:"encryption"`
	DeletedAt    *string `json:"deleted_at"`
	PurgedAt     *string `json:"purged_at"`
}

func (e *estate) backup(t *testing.T, ctx context.Context, n int64) (b fullBackup) {
	t.Helper()
	if err := e.ctl.API(ctx, "GET", "/backups/"+id(n), nil, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// backUp backs one database up by devflowctl and returns the completed backup.
func (e *estate) backUp(t *testing.T, ctx context.Context, project, database string, more ...string) fullBackup {
	t.Helper()
	out := read[struct{ Items []struct{ Backup fullBackup } }](t, ctx, e.ctl,
		append([]string{"backup", "create", project, "--database", database, "--wait"}, more...)...)
	if len(out.Items) != 1 {
		t.Fatalf("%d backups were made of %q, not one", len(out.Items), database)
	}
	b := out.Items[0].Backup
	if b.Status != "completed" || b.Health != "ok" || b.DatabaseName != database {
		t.Fatalf("backup is not completed: %+v", b)
	}
	return b
}

// serverOf is the server of a backup's engine.
func (e *estate) serverOf(b fullBackup) stack.Server {
	return e.servers[slices.IndexFunc(e.servers, func(s stack.Server) bool { return s.Engine() == b.DatabaseType })]
}

// restore restores a backup by devflowctl.
func (e *estate) restore(t *testing.T, ctx context.Context, b fullBackup, to string) {
	t.Helper()
	do(t, ctx, e.ctl, "restore", "create", id(b.ID), "--to-database", to, "--wait")
}

// canary is text in the databases of project heavy that is to be found nowhere else.
const canary = "canary-5f1c0a77e2-sings"

// heavyProject is a project with a database of each engine whose dump has 60 MB, more than an agent holds in memory of one. Without
// compression such a dump stands still while the store takes nothing. SQLite, which runs no program, has 40 MB.
const heavyProject = "heavy"

var heavySQL = map[string]string{
	"postgresql": fewRows + ` CREATE TABLE ark AS SELECT '` + canary + `' AS first; CREATE TABLE filler AS SELECT g, repeat('filler ', 140000) AS t FROM generate_series(1, 64) g;
		CREATE TABLE zoo AS SELECT '` + canary + `' AS last;`,
	"mysql": fewRows + ` CREATE TABLE ark AS SELECT '` + canary + `' AS first; CREATE TABLE filler (g int PRIMARY KEY, t longtext) ENGINE=InnoDB ROW_FORMAT=COMPRESSED;
		INSERT INTO filler SELECT seq, repeat('filler ', 140000) FROM seq_1_to_64; CREATE TABLE zoo AS SELECT '` + canary + `' AS last;`,
	"sqlite": fewRows + ` CREATE TABLE ark AS SELECT '` + canary + `' AS first; CREATE TABLE filler (g integer PRIMARY KEY, t blob);
		WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 40) INSERT INTO filler SELECT n, zeroblob(1000000) FROM g;
		CREATE TABLE zoo AS SELECT '` + canary + `' AS last;`,
}

// heavy makes the databases of project heavy at its first call, and returns their names by engine.
func (e *estate) heavy(t *testing.T, ctx context.Context) map[string]string {
	t.Helper()
	e.heavyOnce.Do(func() {
		for _, s := range e.servers {
			if e.heavyErr == nil {
				e.heavyErr = e.fillDatabase(ctx, s, s.Name("heavy_"+s.Engine()), heavySQL[s.Engine()])
			}
		}
		if e.heavyErr == nil {
			e.project(t, ctx, heavyProject)
			for _, s := range e.servers {
				e.assign(t, ctx, heavyProject, "db1", s.Name("heavy_"+s.Engine()))
			}
		}
	})
	if e.heavyErr != nil {
		t.Fatal(e.heavyErr)
	}
	names := map[string]string{}
	for _, s := range e.servers {
		names[s.Engine()] = s.Name("heavy_" + s.Engine())
	}
	return names
}

// standStill orders a backup of each database of project heavy and waits until every dump stands still, because the store takes
// nothing. open lets the store go on.
func (e *estate) standStill(t *testing.T, ctx context.Context) (backups []stack.Backup, open func()) {
	t.Helper()
	e.heavy(t, ctx)
	g, _ := e.gate(t, "UploadPart")
	out := read[struct {
		Items []struct{ Backup stack.Backup }
	}](t, ctx, e.ctl, "backup", "create", heavyProject, "--compression", "none")
	for _, item := range out.Items {
		backups = append(backups, item.Backup)
	}
	if len(backups) != len(e.servers) {
		t.Fatalf("%d backups were ordered, not one of each engine", len(backups))
	}
	arrived(t, ctx, g, 3*len(backups))
	return backups, func() { e.s3.Proxy.Reset(); g.Open() }
}

// awaitAll waits until all backups are completed.
func (e *estate) awaitAll(t *testing.T, ctx context.Context, backups []stack.Backup) (all []fullBackup) {
	t.Helper()
	for _, b := range backups {
		if _, err := e.ctl.AwaitBackup(ctx, b.ID, "completed", time.Minute); err != nil {
			t.Fatal(err)
		}
		all = append(all, e.backup(t, ctx, b.ID))
	}
	return all
}

// eventually waits for something with a limit that a loaded machine keeps.
func eventually(t *testing.T, ctx context.Context, what string, cond func(context.Context) (bool, error)) {
	t.Helper()
	if err := stack.Within(ctx, 40*time.Second, what, cond); err != nil {
		t.Fatal(err)
	}
}

// toolOf waits until the agent runs the dump tool of an engine and returns it. SQLite has none.
func (e *estate) toolOf(t *testing.T, ctx context.Context, engine string) (found stack.Running) {
	t.Helper()
	program := map[string]string{"postgresql": "pg_dump", "mysql": "mariadb-dump"}[engine]
	eventually(t, ctx, "the agent runs "+program, func(context.Context) (bool, error) {
		for _, c := range e.agent.Process().Children() {
			if name, _, _ := strings.Cut(c.Command, " "); filepath.Base(name) == program {
				found = c
				return true, nil
			}
		}
		return false, fmt.Errorf("it runs %v", e.agent.Process().Children())
	})
	return found
}
