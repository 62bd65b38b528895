package mysql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/testkit/mysqlkit"
	"devflowbackup/shared/wire"
)

func steps(verb string, names ...string) (all []string) {
	for _, name := range names {
		all = append(all, "agent.mysql_"+verb+"_"+name)
	}
	return all
}

func swapHarness() enginetest.Swap {
	return enginetest.Swap{
		Steps: steps("swap", "journal", "intent", "rehearse", "events", "staged", "hide", "triggers", "views", "routines", "new_routines", "arrange",
			"new_triggers", "switch", "new_views", "new_events", "keep", "remove", "complete"),
		SettleSteps: steps("settle", "clear", "arrange", "return", "remake", "stage", "new_views", "new_events", "keep", "remove", "complete"),
		Config: func(tb testing.TB) string {
			text, err := json.Marshal(childConfig{server(tb).Host(), server(tb).Port(), os.Getenv(mysqlkit.RootVariable) != ""})
			if err != nil {
				tb.Fatal(err)
			}
			return string(text)
		},
		Fill: fillMarked,
		Open: func(tb testing.TB, name string) (enginetest.Session, error) { return openSession(server(tb), name) },
		Written: func(tb testing.TB, name string) (all []int64) {
			for _, text := range query(tb, server(tb), name, "SELECT n FROM written ORDER BY n") {
				n, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					tb.Fatal(err)
				}
				all = append(all, n)
			}
			return all
		},
	}
}

// childConfig is what another process needs to make the same engine.
type childConfig struct {
	Host   string
	Port   int
	Oracle bool
}

func openChild(config string) (engine.Engine, error) {
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, err
	}
	cfg := mysql.Config{
		Name: "main", Host: c.Host, Port: c.Port, User: backupUser, Password: backupPassword,
		RestoreUser: restoreUser, RestorePassword: restorePassword, SwapUser: swapUser, SwapPassword: swapPassword,
	}
	if c.Oracle {
		cfg.BinDirs = []string{realBin}
	}
	return mysql.New(cfg, nil)
}

// fillMarked makes two contents that have most names in common and nothing else: the same tables with other columns, the same
// triggers with other bodies, views on views, foreign keys with names that are unique in a database, events that run.
func fillMarked(tb testing.TB, name, mark string) {
	tb.Helper()
	collation := map[string]string{"old": "utf8mb4_unicode_ci"}[mark]
	if collation == "" {
		collation = "utf8mb4_general_ci"
	}
	statements := []string{
		"ALTER DATABASE CHARACTER SET utf8mb4 COLLATE " + collation,
		"CREATE TABLE written (n bigint NOT NULL, said varchar(20)) ENGINE=InnoDB",
		fmt.Sprintf("CREATE TABLE parent (id int NOT NULL PRIMARY KEY, of_%s int) ENGINE=InnoDB", mark),
		"CREATE TABLE child (id int NOT NULL PRIMARY KEY, parent int, n int CHECK (n > 0), CONSTRAINT belongs FOREIGN KEY (parent) REFERENCES parent (id), " +
			"FOREIGN KEY (id) REFERENCES parent (id)) ENGINE=InnoDB",
		fmt.Sprintf("CREATE TABLE only_%s (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, s varchar(20)) ENGINE=InnoDB", mark),
		"INSERT INTO parent VALUES (1, 1), (2, 2)",
		"INSERT INTO child VALUES (1, 2, 3)",
		fmt.Sprintf("INSERT INTO only_%s (s) VALUES ('%s'), ('x')", mark, mark),
		"CREATE FUNCTION mark() RETURNS varchar(20) DETERMINISTIC RETURN '" + mark + "'",
		"CREATE PROCEDURE did_" + mark + "() BEGIN SELECT count(*) FROM child; END",
		"CREATE VIEW b_base AS SELECT id, of_" + mark + ", mark() AS m FROM parent",
		"CREATE VIEW a_top AS SELECT id, m FROM b_base WHERE id > 1",
		"CREATE TRIGGER marked BEFORE INSERT ON written FOR EACH ROW SET NEW.said = concat(coalesce(NEW.said, ''), mark())",
		"CREATE TRIGGER marked_too BEFORE INSERT ON written FOR EACH ROW SET NEW.said = concat(NEW.said, '!')",
		"CREATE TRIGGER a_marked BEFORE INSERT ON written FOR EACH ROW PRECEDES marked SET NEW.said = '" + mark[:1] + "'",
		"CREATE TRIGGER watched_" + mark + " BEFORE UPDATE ON child FOR EACH ROW SET NEW.n = NEW.n + 1",
		"CREATE EVENT daily ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01 00:00:00' DO INSERT INTO written (n) VALUES (-100)",
	}
	s := server(tb)
	if s.Bin().Flavour == mysqlserver.MariaDB {
		statements = append(statements, "CREATE SEQUENCE numbers START WITH 5", "CREATE TABLE numbered (id bigint NOT NULL DEFAULT nextval(numbers), s varchar(20)) ENGINE=InnoDB",
			"INSERT INTO numbered (s) VALUES ('"+mark+"')")
	}
	run(tb, s, name, statements...)
}

// session is one of a program.
type session struct {
	db *sql.DB
	c  *sql.Conn
}

func openSession(s *mysqlserver.Server, database string) (*session, error) {
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "unix", s.Socket(), s.Root(), s.Password().Reveal(), database
	cfg.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	c, err := db.Conn(context.Background())
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return &session{db, c}, nil
}

func (s *session) Write(ctx context.Context, n int64) error {
	_, err := s.c.ExecContext(ctx, fmt.Sprintf("INSERT INTO written (n) VALUES (%d)", n))
	return err
}

func (s *session) Close() {
	_ = s.c.Close()
	_ = s.db.Close()
}

// staged makes a target of its own, and another content that was restored beside it.
func staged(t *testing.T, e engine.Engine, old, fresh []string) (target, staging string) {
	t.Helper()
	s := server(t)
	source := newDatabase(t, s, fresh...)
	target = "target_" + random()
	createDatabase(t, s, target)
	grantTarget(t, s, target)
	t.Cleanup(func() { dropDatabase(t, s, target) })
	run(t, s, target, old...)
	dump, _ := readAll(t, e, source)
	staging, _, err := restoreTo(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	return target, staging
}

func grantTarget(t *testing.T, s *mysqlserver.Server, name string) {
	t.Helper()
	grant(t, s, "ALL PRIVILEGES", quotePattern(name)+".*", restoreUser)
	grant(t, s, "ALL PRIVILEGES", quotePattern(name)+".*", swapUser)
}

func inspect(t *testing.T, e engine.Engine, req engine.InspectRequest) *engine.Target {
	t.Helper()
	found, err := e.Inspect(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// request is for a swap; what it keeps is removed at the test's end.
func request(t *testing.T, e engine.Engine, target, staging string) engine.SwapRequest {
	t.Helper()
	req := engine.SwapRequest{Staged: staging, Target: target, Keep: engine.KeptPrefix + random(), Identity: inspect(t, e, engine.InspectRequest{Target: target, InPlace: true}).Identity}
	t.Cleanup(func() { dropDatabase(t, server(t), req.Keep) })
	return req
}

func swapNow(t *testing.T, e engine.Engine, req engine.SwapRequest) *engine.SwapResult {
	t.Helper()
	result, err := e.Swap(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func wantEqual(t *testing.T, want, got map[string]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is\n%s\nwant\n%s", key, got[key], value)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("there is %s", key)
		}
	}
}

const definersAndEvents = `SELECT CONCAT_WS(' ', TABLE_NAME, DEFINER, SECURITY_TYPE) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = @d
	UNION SELECT CONCAT_WS(' ', TRIGGER_NAME, DEFINER) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = @d
	UNION SELECT CONCAT_WS(' ', ROUTINE_NAME, DEFINER, SECURITY_TYPE) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = @d
	UNION SELECT CONCAT_WS(' ', EVENT_NAME, DEFINER, STATUS) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = @d ORDER BY 1`

func owned(t *testing.T, database string) []string {
	t.Helper()
	return query(t, server(t), "", strings.ReplaceAll(definersAndEvents, "@d", "'"+database+"'"))
}

// TestSwap_Everything: all that a database can hold changes places, comes back by an undo with the definers that it had and
// with events that run, and the moment in between is short.
func TestSwap_Everything(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	target, staging := staged(t, e, smallSQL, nil)
	dropDatabase(t, s, target)
	createDatabase(t, s, target)
	fillHurting(t, s, target)
	app := "app_" + random()
	newAccount(t, s, app, "x1", "ALL PRIVILEGES ON "+quotePattern(target)+".*")
	run(t, s, target, "CREATE DEFINER='"+app+"'@'127.0.0.1' VIEW of_app AS SELECT id FROM log", "CREATE DEFINER='"+app+"'@'127.0.0.1' FUNCTION app_f() RETURNS int DETERMINISTIC RETURN 1",
		"CREATE DEFINER='"+app+"'@'127.0.0.1' VIEW of_app_too AS SELECT app_f() AS f FROM of_app")
	run(t, s, staging, "CREATE TABLE here (n int)", "CREATE EVENT far ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01 00:00:00' DISABLE DO SET @x = 1")
	before, wasOwned, other := content(t, s, target), owned(t, target), content(t, s, staging)

	req := request(t, e, target, staging)
	result := swapNow(t, e, req)
	t.Logf("not usable for %s; %q", result.Unavailable, result.Notes)
	wantEqual(t, other, content(t, s, target))
	if on := query(t, s, "", "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA IN (?, ?) AND STATUS = 'ENABLED'", target, req.Keep); len(on) > 0 {
		t.Errorf("events run: %q", on)
	}
	kept := content(t, s, req.Keep)
	for key, value := range before {
		if strings.HasPrefix(key, "VIEW of_app") { // its definer has no right there
			value = strings.Replace(value, "SECURITY DEFINER", "SECURITY INVOKER", 1)
		}
		if !strings.HasSuffix(key, "VIEW of_app_too") && !strings.HasSuffix(key, "view of_app_too") && kept[key] != value {
			t.Errorf("%s is\n%s\nwant\n%s", key, kept[key], value)
		}
	}
	// The server makes no view with a function that its definer may not use; it is noted, and comes back all the same.
	if !slices.ContainsFunc(result.Notes, func(note string) bool { return strings.Contains(note, "of_app_too") }) {
		t.Errorf("notes %q", result.Notes)
	}
	undo := request(t, e, target, req.Keep)
	swapNow(t, e, undo)
	wantEqual(t, before, content(t, s, target))
	if now := owned(t, target); !slices.Equal(now, wasOwned) {
		t.Errorf("definers and states are\n%s\nwant\n%s", strings.Join(now, "\n"), strings.Join(wasOwned, "\n"))
	}
	wantEqual(t, other, content(t, s, undo.Keep))
	if err := e.Remove(testContext(t), undo.Keep); err != nil {
		t.Error(err)
	}
}

// TestSwap_Plain: where nothing but tables is at the target, no program ever gets an error, and both ends are reached from a
// crash at any step.
func TestSwap_Plain(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	plain := func(mark string) []string {
		return []string{
			"CREATE TABLE written (n bigint NOT NULL) ENGINE=InnoDB", "CREATE TABLE parent (id int PRIMARY KEY) ENGINE=InnoDB",
			"CREATE TABLE child (id int, " + mark + " int, CONSTRAINT of_parent FOREIGN KEY (id) REFERENCES parent (id)) ENGINE=InnoDB", "INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1, 1)",
		}
	}
	target, staging := staged(t, e, plain("old"), append(plain("fresh"), "CREATE VIEW v AS SELECT fresh FROM child", "CREATE PROCEDURE p() SELECT 1"))
	at, under := content(t, s, target), content(t, s, staging)
	all := t // what is kept stays until all is done
	for _, step := range []string{"journal", "rehearse", "staged", "hide", "new_routines", "new_triggers", "switch", "new_views", "keep", "complete"} {
		t.Run(step, func(t *testing.T) {
			req := request(all, e, target, staging)
			crash(t, e, req, step)
			state, err := e.Settle(testContext(t), req)
			after := step == "switch" || step == "new_views" || step == "keep" || step == "complete"
			if err != nil || (state == engine.SwapAfter) != after {
				t.Fatalf("%q, %v", state, err)
			}
			if after {
				undo := request(all, e, target, req.Keep)
				wantEqual(t, under, content(t, s, target))
				wantEqual(t, at, content(t, s, req.Keep))
				swapNow(t, e, undo)
				staging = undo.Keep
			}
			wantEqual(t, at, content(t, s, target))
			wantEqual(t, under, content(t, s, staging))
		})
	}

	session, err := openSession(s, "information_schema")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	done, written := make(chan error), 0
	stop := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := session.c.ExecContext(testContext(t), fmt.Sprintf("INSERT INTO %s.written VALUES (%d)", target, n)); err != nil {
				done <- err
				return
			}
			written++
		}
	}()
	req := request(t, e, target, staging)
	result := swapNow(t, e, req)
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("a program got an error: %v", err)
	}
	t.Logf("waited %s; %d written", result.Unavailable, written)
	if n := query(t, s, "", fmt.Sprintf("SELECT (SELECT count(*) FROM %s.written) + (SELECT count(*) FROM %s.written)", target, req.Keep)); n[0] != strconv.Itoa(written) {
		t.Errorf("%s rows of %d", n[0], written)
	}
}

var errDied = errors.New("crash")

// crash begins a swap that ends after a step as if the agent had died: nothing is cleaned up.
func crash(t *testing.T, e *mysql.Engine, req engine.SwapRequest, step string) {
	t.Helper()
	reached := false
	e.OnStep(func(name string) error {
		if name == step && !reached {
			reached = true
			panic(errDied)
		}
		return nil
	})
	defer e.OnStep(nil)
	defer func() {
		if what := recover(); what != nil && what != errDied { //nolint:errorlint // the very one
			panic(what)
		}
		if !reached {
			t.Fatalf("step %q was not reached", step)
		}
	}()
	_, err := e.Swap(testContext(t), req)
	t.Fatalf("it went on: %v", err)
}

// TestSwap_NoRowWithoutTriggers: while a program writes, each row gets what the triggers of its content do.
func TestSwap_NoRowWithoutTriggers(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	marked := func(mark string) []string {
		return []string{
			"CREATE TABLE written (n bigint NOT NULL, said varchar(20)) ENGINE=InnoDB", "CREATE TABLE log (n bigint, KEY (n)) ENGINE=InnoDB",
			"CREATE TRIGGER says BEFORE INSERT ON written FOR EACH ROW SET NEW.said = '" + mark + "'", "CREATE TRIGGER logs AFTER INSERT ON written FOR EACH ROW INSERT INTO log VALUES (NEW.n)",
		}
	}
	target, staging := staged(t, e, marked("old"), marked("new"))
	session, err := openSession(s, "information_schema")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	var written, refused, sinceSwap atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := session.c.ExecContext(testContext(t), fmt.Sprintf("INSERT INTO %s.written (n) VALUES (%d)", target, n)); err != nil {
				refused.Add(1)
				continue
			}
			written.Add(1)
			sinceSwap.Add(1)
		}
	}()
	req := request(t, e, target, staging)
	result := swapNow(t, e, req)
	req = request(t, e, target, req.Keep)
	swapNow(t, e, req)
	sinceSwap.Store(0)
	enginetest.Eventually(t, "the program goes on", func() bool { return sinceSwap.Load() > 20 })
	close(stop)
	<-done
	t.Logf("not usable for %s; %d written, %d refused", result.Unavailable, written.Load(), refused.Load())
	total := 0
	for database, mark := range map[string]string{target: "old", req.Keep: "new"} {
		for _, row := range rows(t, root(t, s, database), "SELECT n, said, (SELECT count(*) FROM log WHERE log.n = written.n) FROM written") {
			total++
			if row[1] != mark || row[2] != "1" {
				t.Errorf("row %s of %s says %q, and is logged %s times", row[0], database, row[1], row[2])
			}
		}
	}
	if int64(total) != written.Load() || refused.Load() == 0 {
		t.Errorf("%d rows of %d, %d refused", total, written.Load(), refused.Load())
	}
}

// TestSwap_LongTransaction: a session that is at another database and holds a table is not seen before, and not hurt.
func TestSwap_LongTransaction(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	target, staging := staged(t, e, smallSQL, smallSQL)
	c := root(t, s, "information_schema")
	for _, statement := range []string{"SET autocommit = 0", "INSERT INTO " + target + ".people (name) VALUES ('held')"} {
		if _, err := c.ExecContext(testContext(t), statement); err != nil {
			t.Fatal(err)
		}
	}
	want, under := content(t, s, target), content(t, s, staging)
	for _, sessions := range []string{engine.SessionsRefuse, engine.SessionsWait} {
		req := request(t, e, target, staging)
		req.Sessions = sessions
		_, err := e.Swap(testContext(t), req)
		if f := wantCode(t, err, wire.CodeTargetInUse); !strings.Contains(f.Hint, "transaction") {
			t.Errorf("%+v", f)
		}
		wantEqual(t, want, content(t, s, target))
		wantEqual(t, under, content(t, s, staging))
	}
	req := request(t, e, target, staging)
	req.Sessions, req.Wait = engine.SessionsWait, time.Minute
	committed := make(chan error, 1)
	e.OnStep(func(step string) error {
		if step == "staged" {
			time.AfterFunc(time.Second, func() {
				_, err := c.ExecContext(context.Background(), "COMMIT")
				committed <- err
			})
		}
		return nil
	})
	swapNow(t, e, req)
	if err := <-committed; err != nil {
		t.Errorf("the session was hurt: %v", err)
	}
	if n := query(t, s, req.Keep, "SELECT count(*) FROM people WHERE name LIKE 'held%'"); n[0] != "1" {
		t.Error("what was committed before is not kept")
	}
}

// TestSwap_Interrupted: what belongs to a swap that came to no end is not removed, and not used for another one.
func TestSwap_Interrupted(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	target, staging := staged(t, e, smallSQL, smallSQL)
	want, under := content(t, s, target), content(t, s, staging)
	req := request(t, e, target, staging)
	crash(t, e, req, "hide")
	for _, name := range []string{req.Staged, req.Keep} {
		if f := wantCode(t, e.Remove(testContext(t), name), wire.CodeNotAllowed); !strings.Contains(f.Hint, "settle") {
			t.Errorf("%+v", f)
		}
	}
	again := req
	again.Keep += "x"
	if _, err := e.Swap(testContext(t), again); err == nil {
		t.Error("another swap of the same")
	}
	found := inspect(t, e, engine.InspectRequest{Target: target, InPlace: true})
	if !slices.ContainsFunc(found.Problems, func(p engine.Problem) bool { return p.Stops && p.Code == "cannot_move" }) {
		t.Errorf("%+v", found.Problems)
	}
	other := again
	other.Keep, other.Target = req.Keep, target+"x"
	_, err := e.Settle(testContext(t), other)
	wantCode(t, err, wire.CodeBadRequest)
	// Somebody makes a table that is missing, and writes to it: nothing is lost, and nothing is in the way.
	run(t, s, target, "CREATE TABLE people (made int)", "INSERT INTO people VALUES (7)")
	state, err := e.Settle(testContext(t), req)
	if err != nil || state != engine.SwapBefore {
		t.Fatalf("%q, %v", state, err)
	}
	wantEqual(t, want, content(t, s, target))
	wantEqual(t, under, content(t, s, staging))
	if made := query(t, s, req.Keep, "SELECT made FROM devflow_stray_0_1"); !slices.Equal(made, []string{"7"}) {
		t.Errorf("%q", made)
	}
	if err := e.Remove(testContext(t), req.Keep); err != nil {
		t.Error(err)
	}
}

// TestSwap_Obstacles: what a swap could not bring to an end is found before, by Inspect and by Swap, and nothing is changed.
func TestSwap_Obstacles(t *testing.T) {
	s := server(t)
	other := newDatabase(t, s)
	noSwap := func(cfg *mysql.Config) { cfg.SwapUser = "" }
	as := func(rights ...string) func(cfg *mysql.Config) {
		return func(cfg *mysql.Config) {
			cfg.SwapUser, cfg.SwapPassword = "swap_"+random(), "x1"
			newAccount(t, s, cfg.SwapUser, cfg.SwapPassword, rights...)
		}
	}
	reading := func(rights string) func(cfg *mysql.Config) {
		return func(cfg *mysql.Config) {
			cfg.User, cfg.Password = "read_"+random(), "x1"
			newAccount(t, s, cfg.User, cfg.Password, rights)
		}
	}
	for name, c := range map[string]struct {
		sql      []string
		config   func(cfg *mysql.Config)
		sessions string
		code     string
		says     string
	}{
		"ForeignKeyInto": {[]string{"CREATE TABLE `" + other + "`.c (id bigint, FOREIGN KEY (id) REFERENCES TARGET.people (id)) ENGINE=InnoDB"}, nil, "", "foreign_keys", other},
		"BrokenView":     {[]string{"CREATE TABLE x (n int)", "CREATE VIEW broken AS SELECT n FROM x", "DROP TABLE x"}, nil, "", "broken_view", "broken"},
		"Merge":          {[]string{"CREATE TABLE m1 (n int) ENGINE=MyISAM", "CREATE TABLE m2 (n int) ENGINE=MERGE UNION=(m1)"}, nil, "", "cannot_move", "m2"},
		"Definers":       {nil, as("ALL PRIVILEGES ON *.*"), "", "", ""}, // who may do all may do this
		"NoDefiners":     {nil, as("SELECT, PROCESS ON *.*", "ALL PRIVILEGES ON "+allStaging, "ALL PRIVILEGES ON "+allKept), "", "definers", "root@"},
		"NoRights":       {nil, noSwap, "", wire.CodePrivilege, "kept"},
		"NoProcess":      {nil, reading("SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON *.*"), "", wire.CodePrivilege, "sees the sessions"},
		"NoKill": {
			[]string{"DROP VIEW grown", "DROP TRIGGER named", "DROP FUNCTION twice"},
			as("ALL PRIVILEGES ON "+allStaging, "ALL PRIVILEGES ON "+allKept),
			engine.SessionsEnd, wire.CodePrivilege, "may end",
		},
	} {
		t.Run(name, func(t *testing.T) {
			good := newEngine(t, config(s))
			target, staging := staged(t, good, smallSQL, smallSQL)
			for _, statement := range c.sql {
				run(t, s, target, strings.ReplaceAll(statement, "TARGET", target))
			}
			t.Cleanup(func() { dropDatabase(t, s, other); createDatabase(t, s, other) })
			cfg := config(s)
			if c.config != nil {
				pattern := quotePattern(target) + ".*"
				c.config(&cfg)
				if cfg.SwapUser != "" && cfg.SwapUser != swapUser {
					grant(t, s, "ALL PRIVILEGES", pattern, cfg.SwapUser)
				}
			}
			e := newEngine(t, cfg)
			look := func() []string { return query(t, s, target, "SHOW FULL TABLES") }
			before, under := look(), content(t, s, staging)
			found := inspect(t, e, engine.InspectRequest{Target: target, InPlace: true, Sessions: c.sessions})
			req := engine.SwapRequest{Staged: staging, Target: target, Keep: engine.KeptPrefix + random(), Identity: found.Identity, Sessions: c.sessions}
			t.Cleanup(func() { dropDatabase(t, s, req.Keep) })
			told := slices.ContainsFunc(found.Problems, func(p engine.Problem) bool {
				return p.Stops && p.Code == c.code && strings.Contains(p.Text, c.says) && p.Hint != ""
			})
			_, err := e.Swap(testContext(t), req)
			if c.code == "" {
				if err != nil {
					t.Fatalf("%v, %+v", err, found.Problems)
				}
				return
			}
			if f := wantCode(t, err, c.code); !told || f.Hint == "" {
				t.Errorf("%+v; before: %+v", f, found.Problems)
			}
			if after := look(); !slices.Equal(before, after) {
				t.Errorf("the target has %q, had %q", after, before)
			}
			wantEqual(t, under, content(t, s, staging))
			if there, err := e.Exists(testContext(t), req.Keep); err != nil || there {
				t.Errorf("something is kept: %v, %v", there, err)
			}
		})
	}
}

// TestSwap_Rehearsal: a definer that only the server can judge is refused with nothing changed.
func TestSwap_Rehearsal(t *testing.T) {
	s := server(t)
	outside := newDatabase(t, s, "CREATE TABLE t (n int)")
	e := newEngine(t, config(s))
	// The account that swaps may not read what the view reads.
	target, staging := staged(t, e, append(slices.Clone(smallSQL), "CREATE VIEW elsewhere AS SELECT n FROM `"+outside+"`.t"), smallSQL)
	before, under := content(t, s, target), content(t, s, staging)
	req := request(t, e, target, staging)
	_, err := e.Swap(testContext(t), req)
	if f := wantCode(t, err, wire.CodePrivilege); !strings.Contains(f.Message, "elsewhere") {
		t.Errorf("%+v", f)
	}
	wantEqual(t, before, content(t, s, target))
	wantEqual(t, under, content(t, s, staging))
	if state, err := e.Settle(testContext(t), req); err != nil || state != engine.SwapBefore {
		t.Errorf("%q, %v", state, err)
	}
}

// TestSwap_Hostile covers fault 81: what a dump brought runs as the restore account wherever it is put, and not as the one that
// puts it there; events do not run.
func TestSwap_Hostile(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	target, staging := staged(t, e, smallSQL, append(slices.Clone(smallSQL), "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND ENABLE DO INSERT INTO people (name) VALUES ('ran')",
		"CREATE PROCEDURE p() SQL SECURITY DEFINER SELECT 1", "CREATE SQL SECURITY DEFINER VIEW w AS SELECT 1 AS n"))
	run(t, s, "", "SET GLOBAL event_scheduler = ON")
	t.Cleanup(func() { run(t, s, "", "SET GLOBAL event_scheduler = OFF") })
	ran := func(database string) string {
		return query(t, s, database, "SELECT count(*) FROM people WHERE name LIKE 'ran%'")[0]
	}
	before := ran(staging) // where it was dumped, it may have run
	req := request(t, e, target, staging)
	swapNow(t, e, req)
	undo := request(t, e, target, req.Keep)
	for _, database := range []string{target, undo.Keep} {
		for _, line := range owned(t, database) {
			if strings.Contains(line, swapUser) || !strings.Contains(line, restoreUser+"@") || strings.Contains(line, "ENABLED") {
				t.Errorf("%q: %s", database, line)
			}
		}
		if database == target {
			swapNow(t, e, undo)
		}
	}
	if ran(undo.Keep) != before {
		t.Error("an event ran")
	}
}

// TestInspect_Problems: what a person should know of a restore into a new database.
func TestInspect_Problems(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	outside := newDatabase(t, s, "CREATE TABLE t (id bigint PRIMARY KEY) ENGINE=InnoDB")
	target := newDatabase(t, s, append(slices.Clone(smallSQL), "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SET @x = 1", "CREATE TABLE out_there (id bigint) ENGINE=InnoDB")...)
	grantTarget(t, s, target)
	run(t, s, target, "ALTER TABLE out_there ADD FOREIGN KEY (id) REFERENCES `"+outside+"`.t (id)")
	grant(t, s, "EXECUTE", "FUNCTION "+mysqlserver.Quote(target)+".twice", restoreUser)
	foreign, older := "8.4.3", "99.1.0-MariaDB"
	if s.Bin().Flavour == mysqlserver.MySQL {
		foreign, older = "10.11.6-MariaDB", "99.1.0"
	}
	for _, c := range []struct {
		req   engine.InspectRequest
		code  string
		stops bool
	}{
		{engine.InspectRequest{Target: target, InPlace: true}, "events_disabled", false},
		{engine.InspectRequest{Target: target, InPlace: true}, "foreign_keys", false},
		{engine.InspectRequest{Target: target, InPlace: true}, "routine_grants", false},
		{engine.InspectRequest{Target: target, InPlace: true, DumpServerVersion: foreign}, "other_flavour", false},
		{engine.InspectRequest{Target: target, InPlace: true, DumpServerVersion: older}, "older_server", false},
		{engine.InspectRequest{Target: target, InPlace: true, Restore: engine.RestoreRequest{Only: []engine.Selection{{Table: "t"}}}}, "part_in_place", true},
		{engine.InspectRequest{Target: target, InPlace: true, Restore: engine.RestoreRequest{Definers: mysql.KeepDefiners}}, wire.CodeNotAllowed, true},
		{engine.InspectRequest{Target: "not_granted_" + random()}, wire.CodePrivilege, true},
		{engine.InspectRequest{Target: target}, wire.CodeTargetExists, true},
	} {
		found := inspect(t, e, c.req)
		if !slices.ContainsFunc(found.Problems, func(p engine.Problem) bool {
			return p.Code == c.code && p.Stops == c.stops && p.Text != "" && p.Hint != ""
		}) {
			t.Errorf("%s: %+v", c.code, found.Problems)
		}
	}
	cfg := config(s)
	cfg.RestorePassword = wrongPassword
	if found := inspect(t, newEngine(t, cfg), engine.InspectRequest{Target: target, InPlace: true}); !slices.ContainsFunc(found.Problems, func(p engine.Problem) bool {
		return p.Stops && p.Code == wire.CodeAuth
	}) {
		t.Errorf("%+v", found)
	}
	for _, name := range []string{"", "mysql", newStaging(), engine.KeptPrefix + "1"} {
		_, err := e.Inspect(testContext(t), engine.InspectRequest{Target: name})
		wantCode(t, err, wire.CodeBadRequest)
	}
}

// TestInspect_ReadOnly: a server that takes no writes, and one that keeps a binary log.
func TestInspect_ReadOnly(t *testing.T) {
	t.Parallel()
	s := mysqlkit.Start(t, func(o *mysqlserver.Options) { o.Settings["log-bin"] = "binlog" })
	makeAccounts(t, s)
	createDatabase(t, s, "shop")
	grantTarget(t, s, "shop")
	run(t, s, "", "SET GLOBAL log_bin_trust_function_creators = ON")
	run(t, s, "shop", smallSQL...)
	e := newEngine(t, config(s))
	check := func(code string, stops, want bool) {
		t.Helper()
		found := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true})
		if got := slices.ContainsFunc(found.Problems, func(p engine.Problem) bool { return p.Code == code && p.Stops == stops }); got != want {
			t.Errorf("%s: %v, %+v", code, got, found.Problems)
		}
	}
	check("binary_log", false, true)
	check("routines_distrusted", true, false)
	check("read_only", true, false)
	run(t, s, "", "SET GLOBAL log_bin_trust_function_creators = OFF", "SET GLOBAL read_only = ON")
	check("routines_distrusted", true, true)
	check("read_only", true, true)
}

// TestIdentity: alterations leave a database what it is; another server's, another name's and a new one are others.
func TestIdentity(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	name := "identity " + random()
	if s.Bin().Flavour == mysqlserver.MariaDB {
		name += " ü" // of which MySQL does not tell how it writes it
	}
	createDatabase(t, s, name)
	t.Cleanup(func() { dropDatabase(t, s, name) })
	run(t, s, name, smallSQL...)
	run(t, s, name, "CREATE TABLE second (n int) ENGINE=InnoDB", "CREATE TABLE third (n int) ENGINE=InnoDB")
	identity := func() string {
		t.Helper()
		return inspect(t, e, engine.InspectRequest{Target: name}).Identity
	}
	first := identity()
	run(t, s, name, "DROP TABLE second", "ALTER TABLE third RENAME TO fourth", "ALTER TABLE people ADD born2 date, ALGORITHM=COPY", "CREATE TABLE fifth (n int) ENGINE=InnoDB")
	if now := identity(); !mysql.SameIdentity(first, now) {
		t.Errorf("%q and %q are of the same", first, now)
	}
	dropDatabase(t, s, name)
	createDatabase(t, s, name)
	run(t, s, name, smallSQL...)
	if now := identity(); mysql.SameIdentity(first, now) {
		t.Errorf("%q and %q are of others", first, now)
	}
	if mysql.SameIdentity("", "") || mysql.SameIdentity(first, first[1:]) {
		t.Error("nothing is the same")
	}
}

// TestCheck_SwapAccount: Check says what an account for swaps lacks.
func TestCheck_SwapAccount(t *testing.T) {
	s := server(t)
	finding := func(cfg mysql.Config) (found []engine.Finding) {
		for _, f := range newEngine(t, cfg).Check(testContext(t)) {
			if f.Name == "swap account" {
				found = append(found, f)
			}
		}
		return found
	}
	cfg := config(s)
	if found := finding(cfg); len(found) != 1 || found[0].Level != "ok" {
		t.Errorf("%+v", found)
	}
	cfg.SwapUser, cfg.SwapPassword = "poor_"+random(), "x1"
	newAccount(t, s, cfg.SwapUser, cfg.SwapPassword, "ALL PRIVILEGES ON "+allStaging)
	if found := finding(cfg); len(found) != 1 || found[0].Level != "warning" || !strings.Contains(found[0].Detail, "devflow_kept_") || !strings.Contains(found[0].Detail, "definer") || found[0].Hint == "" {
		t.Errorf("%+v", found)
	}
	cfg.SwapPassword = wrongPassword
	if found := finding(cfg); len(found) != 1 || found[0].Level != "warning" {
		t.Errorf("%+v", found)
	}
	cfg.SwapUser = ""
	if found := finding(cfg); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

// TestSwap_ServerKilled: the database server dies in the middle, and is back when the swap looks again.
func TestSwap_ServerKilled(t *testing.T) {
	t.Parallel()
	s := mysqlkit.Start(t)
	makeAccounts(t, s)
	fill := func(name, column string) {
		createDatabase(t, s, name)
		run(t, s, name, append(slices.Clone(smallSQL), "ALTER TABLE people ADD "+column+" int", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01 00:00:00' DO SET @x = 1")...)
	}
	fill("source", "fresh")
	fill("shop", "old")
	grantTarget(t, s, "shop")
	e := newEngine(t, config(s))
	dump, _ := readAll(t, e, "source")
	staging, _, err := restoreTo(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	// A server that was killed may give numbers again that it gave to rows which never were.
	look := func(database string) map[string]string {
		found := content(t, s, database)
		for key, value := range found {
			found[key] = autoIncrement.ReplaceAllString(value, "")
		}
		return found
	}
	at, under := look("shop"), look(staging)
	for _, step := range []string{"events", "hide", "routines", "new_triggers", "switch", "new_views"} {
		t.Run(step, func(t *testing.T) {
			killed := false
			e.OnStep(func(name string) error {
				if name != step || killed {
					return nil
				}
				killed = true
				return s.Restart(testContext(t), true)
			})
			defer e.OnStep(nil)
			found := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true})
			req := engine.SwapRequest{Staged: staging, Target: "shop", Keep: engine.KeptPrefix + step, Identity: found.Identity}
			_, err := e.Swap(testContext(t), req)
			if !killed {
				t.Fatal("the server was not killed")
			}
			state, settled := e.Settle(testContext(t), req)
			if settled != nil || (state == engine.SwapAfter) != (err == nil) {
				t.Fatalf("%v, and then %q, %v", err, state, settled)
			}
			if after := step == "switch" || step == "new_views"; after != (state == engine.SwapAfter) {
				t.Errorf("it ended %s", state)
			}
			if state == engine.SwapAfter {
				staging, at, under = req.Keep, under, at
			} else if f := wantCode(t, err, wire.CodeDatabaseDown); !f.Retryable {
				t.Errorf("%+v", f)
			}
			wantEqual(t, at, look("shop"))
			wantEqual(t, under, look(staging))
		})
	}
}

var autoIncrement = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// TestSwap_RestoreAccountWithoutRights: where another account swaps, the one as which a dump runs needs no right at the target, and
// a dump cannot touch it. Views, routines and triggers that would run as that account, and not work, are refused.
func TestSwap_RestoreAccountWithoutRights(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	target := "target_" + random()
	createDatabase(t, s, target)
	t.Cleanup(func() { dropDatabase(t, s, target) })
	run(t, s, target, smallSQL...)
	grant(t, s, "ALL PRIVILEGES", quotePattern(target)+".*", swapUser)
	problems := func(code string) bool {
		t.Helper()
		found := false
		for _, p := range inspect(t, e, engine.InspectRequest{Target: target, InPlace: true}).Problems {
			if p.Stops {
				t.Errorf("%+v", p)
			}
			found = found || p.Code == code && strings.Contains(p.Hint, restoreUser)
		}
		return found
	}
	if !problems("run_as_restore_account") || problems("restore_owns_target") {
		t.Error("a plan does not say that views, routines and triggers would not work")
	}
	restore := func(dump string) (string, error) {
		t.Helper()
		staging := newStaging()
		r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: staging, Target: target, InPlace: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Abort)
		return staging, write(r, dump)
	}
	for _, hostile := range []string{"USE `" + target + "`; DROP TABLE people;", "DELETE FROM `" + target + "`.people;", "DROP DATABASE `" + target + "`;"} {
		if _, err := restore(hostile + "\n" + end); err == nil {
			t.Errorf("%s passed", hostile)
		}
	}
	if n := query(t, s, target, "SELECT count(*) > 0 FROM people"); n[0] != "1" {
		t.Fatal("a dump has changed the target")
	}
	dumpOf := func(statements ...string) string {
		t.Helper()
		dump, _ := readAll(t, e, newDatabase(t, s, statements...))
		return string(dump)
	}
	full, err := restore(dumpOf(smallSQL...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Swap(testContext(t), request(t, e, target, full))
	wantCode(t, err, wire.CodePrivilege)
	if text := err.Error(); !strings.Contains(text, `"grown"`) || !strings.Contains(text, `"named"`) || !strings.Contains(text, "GRANT SELECT, INSERT") {
		t.Errorf("%v", err)
	}
	// Tables alone need nothing.
	plain, err := restore(dumpOf("CREATE TABLE fresh (n int)"))
	if err != nil {
		t.Fatal(err)
	}
	first := request(t, e, target, plain)
	swapNow(t, e, first)
	undo := request(t, e, target, first.Keep)
	swapNow(t, e, undo)
	// As the plan says.
	grant(t, s, "SELECT, INSERT, UPDATE, DELETE, EXECUTE, SHOW VIEW, TRIGGER", quotePattern(target)+".*", restoreUser)
	if problems("run_as_restore_account") || problems("restore_owns_target") {
		t.Error("the plan warns all the same")
	}
	if result := swapNow(t, e, request(t, e, target, full)); len(result.Notes) > 0 {
		t.Errorf("%q", result.Notes)
	}
	run(t, s, target, "SELECT count(*) FROM grown", "SELECT twice(2)", "INSERT INTO people (name) VALUES ('x')")
	grant(t, s, "ALL PRIVILEGES", quotePattern(target)+".*", restoreUser)
	if !problems("restore_owns_target") {
		t.Error("the plan does not say that a dump could drop the target")
	}
}
