package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/mysqlkit"
	"devflowbackup/shared/wire"
)

func wantCode(t *testing.T, err error, code string) *wire.Failure {
	t.Helper()
	if !wire.HasCode(err, code) {
		t.Fatalf("error %v, want code %s", err, code)
	}
	for _, secret := range []secret.String{backupPassword, restorePassword, swapPassword, wrongPassword} {
		if strings.Contains(err.Error(), secret.Reveal()) {
			t.Error("the error holds a password")
		}
	}
	return wire.AsFailure(err)
}

func noProcesses(t *testing.T) {
	t.Helper()
	if left := enginetest.Processes(t, isServer); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// wide is a database whose dump does not fit into pipes, so that it is under way for as long as nobody reads.
var wide = []string{
	"CREATE TABLE wide (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, text text) ENGINE=InnoDB",
	"INSERT INTO wide (text) VALUES (repeat('0123456789abcdef', 1000)), (repeat('0123456789abcdef', 1000)), (repeat('0123456789abcdef', 1000)), (repeat('x', 16000))",
	"INSERT INTO wide (text) SELECT a.text FROM wide a, wide b, wide c, wide d, wide e",
}

// open starts a dump that the test's end closes.
func open(t *testing.T, e engine.Engine, database string) engine.Dump {
	t.Helper()
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// halfRead opens a dump and reads some of it.
func halfRead(t *testing.T, e engine.Engine, database string) engine.Dump {
	t.Helper()
	d := open(t, e, database)
	if _, err := io.CopyN(io.Discard, d, 1<<20); err != nil {
		t.Fatal(err)
	}
	return d
}

func readAll(t *testing.T, e engine.Engine, database string) ([]byte, engine.Dump) {
	t.Helper()
	d := open(t, e, database)
	b, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	return b, d
}

func restoreTo(t *testing.T, e engine.Engine, dump []byte) (string, engine.Restore, error) {
	t.Helper()
	name := newStaging()
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: name})
	if err != nil {
		return name, nil, err
	}
	t.Cleanup(r.Abort)
	if _, err := r.Write(dump); err != nil {
		return name, r, err
	}
	return name, r, r.Close()
}

func write(r engine.Restore, dump string) error {
	if _, err := r.Write([]byte(dump)); err != nil {
		return err
	}
	return r.Close()
}

// dumping lists the connections of dump programs.
func dumping(t *testing.T, s *mysqlserver.Server, database string) []string {
	return query(t, s, "", "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ? AND DB = ?", backupUser, database)
}

func TestDump_ConnectionKilled(t *testing.T) { // fault 54
	s := server(t)
	database := newDatabase(t, s, wide...)
	d := halfRead(t, newEngine(t, config(s)), database)
	ids := dumping(t, s, database)
	if len(ids) != 1 {
		t.Fatalf("connections of the program: %q", ids)
	}
	run(t, s, "", "KILL "+ids[0])
	_, err := io.Copy(io.Discard, d)
	if f := wantCode(t, err, wire.CodeToolFailed); !f.Retryable || !strings.Contains(f.Message, "Lost connection") {
		t.Errorf("%+v", f)
	}
}

func TestDump_ServerKilled(t *testing.T) { // fault 54
	t.Parallel()
	s := mysqlkit.Start(t)
	makeAccounts(t, s)
	database := newDatabase(t, s, wide...)
	d := halfRead(t, newEngine(t, config(s)), database)
	if err := s.Restart(testContext(t), true); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, d)
	if f := wantCode(t, err, wire.CodeToolFailed); !f.Retryable {
		t.Errorf("%+v", f)
	}
	if _, err := d.Fingerprint(testContext(t)); err != nil {
		wantCode(t, err, wire.CodeDatabaseDown)
	}
}

func TestDump_DatabaseDropped(t *testing.T) { // fault 55
	s := server(t)
	// Many tables follow: a dump that is quick enough to reach the last one before the drop wakes up is whole, and no failure.
	tables := slices.Clone(wide)
	for i := range 40 {
		tables = append(tables, fmt.Sprintf("CREATE TABLE zz_%d (n int)", i))
	}
	database := newDatabase(t, s, tables...)
	e := newEngine(t, config(s))
	d := halfRead(t, e, database)
	dropped := make(chan struct{})
	go func() { // waits for the table that is read
		defer close(dropped)
		dropDatabase(t, s, database)
	}()
	enginetest.Eventually(t, "the drop waits", func() bool {
		return len(query(t, s, "", "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'DROP DATABASE%"+database+"%' AND STATE LIKE 'Waiting%'")) > 0
	})
	_, err := io.Copy(io.Discard, d)
	<-dropped
	wantCode(t, err, wire.CodeDatabaseMissing)
	_, err = e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if f := wantCode(t, err, wire.CodeDatabaseMissing); f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
}

func TestDump_TableLocked(t *testing.T) { // fault 56
	s := server(t)
	database := newDatabase(t, s, wide...)
	holder := root(t, s, database)
	if _, err := holder.ExecContext(testContext(t), "LOCK TABLES wide WRITE"); err != nil {
		t.Fatal(err)
	}
	cfg := config(s)
	cfg.LockTimeout = 500 * time.Millisecond
	started := time.Now()
	d, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: database})
	if err == nil {
		_, err = io.Copy(io.Discard, d)
		d.Close()
	}
	if f := wantCode(t, err, wire.CodeLockTimeout); !f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	if waited := time.Since(started); waited > 30*time.Second {
		t.Errorf("waited %s for the lock", waited)
	}
	noProcesses(t)
	enginetest.Eventually(t, "nothing of us waits on the server", func() bool { return len(dumping(t, s, database)) == 0 })
	if _, err := holder.ExecContext(testContext(t), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	halfRead(t, newEngine(t, cfg), database)
}

func TestDump_TableAltered(t *testing.T) { // fault 56
	s := server(t)
	database := newDatabase(t, s, append(slices.Clone(wide), "CREATE TABLE zz (n int)", "INSERT INTO zz VALUES (1)")...)
	d := halfRead(t, newEngine(t, config(s)), database)
	run(t, s, database, "ALTER TABLE zz ADD COLUMN m int, ALGORITHM=COPY")
	_, err := io.Copy(io.Discard, d)
	if f := wantCode(t, err, wire.CodeToolFailed); !f.Retryable || !strings.Contains(f.Message, "definition has changed") && !strings.Contains(f.Message, "field count") {
		t.Errorf("%+v", f)
	}
}

func TestDump_ToolVersion(t *testing.T) { // fault 57
	s := server(t)
	database := newDatabase(t, s, smallSQL...)
	for name, c := range map[string]struct{ program, version, code, says string }{
		"Older":        {"mariadb-dump", "mysqldump  Ver 10.18 Distrib 5.5.68-MariaDB, for Linux (x86_64)", wire.CodeToolTooOld, "5.5.68"},
		"OtherFlavour": {"mysqldump", oracleDump, wire.CodeToolMissing, "8.4.3"},
		"Missing":      {"other", "x", wire.CodeToolMissing, "10"},
	} {
		t.Run(name, func(t *testing.T) {
			fake := fakedump.Install(t, c.program, fakedump.Script{Version: c.version, Stdout: end})
			cfg := config(s)
			cfg.BinDirs = []string{fake.Dir()}
			e := newEngine(t, cfg)
			_, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
			f := wantCode(t, err, c.code)
			if !strings.Contains(f.Message, c.says) || !strings.Contains(f.Message, "version 10") || !strings.Contains(f.Hint, "apt install mariadb-client") {
				t.Errorf("%+v", f)
			}
			if runs := fake.Runs(); len(runs) > 0 {
				t.Errorf("it was run: %+v", runs)
			}
			if !slices.ContainsFunc(e.Check(testContext(t)), func(f engine.Finding) bool { return f.Name == "tool mariadb-dump" && f.Level == "error" }) {
				t.Error("Check does not tell")
			}
		})
	}
	t.Run("NearestIsChosen", func(t *testing.T) {
		var dirs []string
		fakes := map[string]*fakedump.Fake{}
		for version, real := range map[string]string{"10.5.1": "", "10.11.30": realBin + "mariadb-dump", "11.4.2": "", "12.0.1": ""} {
			fakes[version] = fakedump.Install(t, "mariadb-dump", fakedump.Script{Version: "mariadb-dump from " + version + "-MariaDB", Real: real})
			dirs = append(dirs, fakes[version].Dir())
		}
		cfg := config(s)
		cfg.BinDirs = dirs
		_, d := readAll(t, newEngine(t, cfg), database)
		if d.Info().ToolVersion != "10.11.30" || len(fakes["10.11.30"].Runs()) != 1 {
			t.Errorf("%+v", d.Info())
		}
	})
	t.Run("OlderWithinTheMajor", func(t *testing.T) {
		fake := fakedump.Install(t, "mysqldump", fakedump.Script{Version: "mysqldump  Ver 10.18 Distrib 10.5.1-MariaDB, for Linux", Real: realBin + "mariadb-dump"})
		cfg := config(s)
		cfg.BinDirs = []string{fake.Dir()}
		if _, d := readAll(t, newEngine(t, cfg), database); !strings.Contains(d.Log(), "older than the server") {
			t.Errorf("the log does not tell: %s", d.Log())
		}
	})
}

func TestDump_Incomplete(t *testing.T) { // fault 50
	s := server(t)
	database := newDatabase(t, s, smallSQL...)
	for name, script := range map[string]fakedump.Script{
		"Cut":         {Real: realBin + realDump, MaxOutput: 3000},
		"MoreAfterIt": {Real: realBin + realDump, Stdout: "SELECT 1;\n"},
		"NoLineEnd":   {Version: realVersion, Stdout: "SELECT 1;\n" + end[:len(end)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			fake := fakedump.Install(t, realDump, script)
			cfg := config(s)
			cfg.BinDirs = []string{fake.Dir()}
			d := open(t, newEngine(t, cfg), database)
			_, err := io.Copy(io.Discard, d)
			wantCode(t, err, wire.CodeIncompleteDump)
			if len(fake.Runs()) != 1 {
				t.Error("the fault did not fire")
			}
		})
	}
}

// TestDump_ReaderPauses: the server cuts a dump off whose reader pauses too long, and Check tells before.
func TestDump_ReaderPauses(t *testing.T) {
	t.Parallel()
	s := mysqlkit.Start(t, func(o *mysqlserver.Options) { o.Settings["net-write-timeout"] = "2" })
	makeAccounts(t, s)
	database := newDatabase(t, s, wide...)
	e := newEngine(t, config(s))
	if !slices.ContainsFunc(e.Check(testContext(t)), func(f engine.Finding) bool {
		return f.Name == "net_write_timeout" && f.Level == "warning" && strings.Contains(f.Hint, "SET GLOBAL net_write_timeout")
	}) {
		t.Error("Check does not tell")
	}
	d := halfRead(t, e, database)
	enginetest.Eventually(t, "the server gives up", func() bool { return len(dumping(t, s, database)) == 0 })
	_, err := io.Copy(io.Discard, d)
	if f := wantCode(t, err, wire.CodeUploadStalled); !f.Retryable || !strings.Contains(f.Hint, "net_write_timeout") {
		t.Errorf("%+v", f)
	}
}

func TestDump_ProgramSeesNoNameAndNoPassword(t *testing.T) { // fault 59
	s := server(t)
	const database = "--result-file=/tmp/devflow-canary"
	createDatabase(t, s, database)
	t.Cleanup(func() { dropDatabase(t, s, database) })
	fake := fakedump.Install(t, realDump, fakedump.Script{Real: realBin + realDump})
	fake.Add(realClient, fakedump.Script{Real: realBin + realClient})
	t.Setenv("MYSQL_PWD", "evil")
	t.Setenv("MYSQL_HOST", "evil.example")
	t.Setenv("HOME", "/root")
	cfg := config(s)
	cfg.BinDirs = []string{fake.Dir()}
	e := newEngine(t, cfg)
	dump, _ := readAll(t, e, database)
	if _, _, err := restoreTo(t, e, dump); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat("/tmp/devflow-canary"); err == nil {
		t.Error("the name was an option")
	}
	runs := fake.Runs()
	if len(runs) != 2 {
		t.Fatalf("programs were not run: %+v", runs)
	}
	for _, run := range runs {
		before, after, found := strings.Cut(strings.Join(run.Args, "\x00"), "\x00--\x00")
		if !found || strings.Contains(before, "devflow-canary") || strings.Contains(after, "\x00") {
			t.Errorf("%s has the arguments %q", run.Name, run.Args)
		}
		for _, v := range append(slices.Clone(run.Env), run.Args...) {
			if strings.Contains(v, "evil") || strings.Contains(v, backupPassword.Reveal()) || strings.Contains(v, restorePassword.Reveal()) {
				t.Errorf("%s was told %s", run.Name, v)
			}
		}
		buffered := 0
		for _, v := range run.Env {
			if slices.Contains(tool.OutputBuffering(), v) {
				buffered++
				continue
			}
			if name, _, _ := strings.Cut(v, "="); !slices.Contains([]string{"PATH", "LC_ALL", "HOME", "MYSQL_HISTFILE", "PWD"}, name) {
				t.Errorf("%s has the environment %s", run.Name, name)
			}
		}
		if (buffered == 2) != (run.Name == realDump) || buffered == 1 {
			t.Errorf("%s has %d variables for a larger buffer", run.Name, buffered)
		}
	}
}

// TestPasswords logs in with each by our own connection and by both programs, over TCP and over the socket.
func TestPasswords(t *testing.T) { // fault 59
	s := server(t)
	database := newDatabase(t, s, smallSQL...)
	for i, password := range []secret.String{"$HOME", `"`, `'`, "#", ` `, `\`, ";", " lead", "trail ", `a"b'c$d#e;f\g `, "ünï🦀", "#start", `\\"`, "=x", "tab\there", secret.String(strings.Repeat("x#", 30))} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			backup, restore := "b_"+random(), "r_"+random()
			newAccount(t, s, backup, password, dumpRights+", EXECUTE ON *.*")
			newAccount(t, s, restore, password, "ALL PRIVILEGES ON "+allStaging)
			cfg := config(s)
			cfg.User, cfg.RestoreUser, cfg.Password, cfg.RestorePassword = backup, restore, password, password
			if i%2 == 1 {
				cfg.Host = s.Socket()
			}
			e := newEngine(t, cfg)
			dump, d := readAll(t, e, database)
			_, r, err := restoreTo(t, e, dump)
			if err != nil {
				t.Fatal(err)
			}
			if len(password) > 3 && strings.Contains(d.Log()+r.Log(), password.Reveal()) {
				t.Error("a log holds the password")
			}
		})
	}
}

func TestConnect_Unreachable(t *testing.T) {
	cfg := config(server(t))
	cfg.Port = 1
	_, err := newEngine(t, cfg).Discover(testContext(t))
	if f := wantCode(t, err, wire.CodeDatabaseDown); !f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	cfg.Host = filepath.Join(t.TempDir(), "none.sock")
	_, err = newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: "x"})
	wantCode(t, err, wire.CodeDatabaseDown)
}

func TestRestore_WrongPassword(t *testing.T) { // fault 58
	cfg := config(server(t))
	cfg.RestorePassword = wrongPassword
	_, err := newEngine(t, cfg).Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
	wantCode(t, err, wire.CodeAuth)
}

func TestTLS(t *testing.T) { // fault 58
	t.Parallel()
	ours, theirs := enginetest.NewAuthority(t), enginetest.NewAuthority(t)
	s := mysqlkit.Start(t, func(o *mysqlserver.Options) {
		o.CertFile, o.KeyFile = filepath.Join(o.Dir, "server.crt"), filepath.Join(o.Dir, "server.key")
		ours.Issue(t, o.CertFile, o.KeyFile, "localhost", "mysql", "nobody")
	})
	other := mysqlkit.Start(t, func(o *mysqlserver.Options) {
		o.CertFile, o.KeyFile = filepath.Join(o.Dir, "server.crt"), filepath.Join(o.Dir, "server.key")
		ours.Issue(t, o.CertFile, o.KeyFile, "db.example", "mysql", "nobody")
	})
	plain := server(t) // speaks no TLS
	for _, s := range []*mysqlserver.Server{s, other} {
		makeAccounts(t, s)
		createDatabase(t, s, "secure")
		run(t, s, "secure", wide...)
	}
	base := config(s)
	base.Host = "localhost"
	cases := map[string]struct {
		change func(c *mysql.Config)
		code   string
	}{
		"Full":            {func(c *mysql.Config) { c.SSLMode = "verify-full" }, ""},
		"Authority":       {func(c *mysql.Config) { c.SSLMode, c.Port = "verify-ca", other.Port() }, ""},
		"WrongName":       {func(c *mysql.Config) { c.SSLMode, c.Port = "verify-full", other.Port() }, wire.CodeTLS},
		"ForeignCA":       {func(c *mysql.Config) { c.SSLMode, c.SSLRootCert = "verify-ca", theirs.Path }, wire.CodeTLS},
		"ForeignCAFull":   {func(c *mysql.Config) { c.SSLMode, c.SSLRootCert = "verify-full", theirs.Path }, wire.CodeTLS},
		"NoFile":          {func(c *mysql.Config) { c.SSLMode, c.SSLRootCert = "verify-ca", "/no/such/file" }, wire.CodeTLS},
		"NotOffered":      {func(c *mysql.Config) { c.SSLMode, c.Port = "require", plain.Port() }, wire.CodeTLS},
		"NotAsked":        {func(c *mysql.Config) { c.SSLMode, c.SSLRootCert = "require", "" }, ""},
		"Preferred":       {func(c *mysql.Config) { c.SSLMode, c.SSLRootCert = "prefer", "" }, ""},
		"SystemAuthority": {func(c *mysql.Config) { c.SSLMode, c.SSLRootCert = "verify-full", "" }, wire.CodeTLS},
	}
	if plain.Bin().Flavour == mysqlserver.MySQL {
		delete(cases, "NotOffered") // it makes a certificate for itself
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := base
			cfg.SSLRootCert = ours.Path
			c.change(&cfg)
			d, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: "secure"})
			if c.code != "" {
				if f := wantCode(t, err, c.code); f.Retryable || f.Hint == "" {
					t.Errorf("%+v", f)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := io.Copy(io.Discard, d); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("ProgramsUseIt", func(t *testing.T) {
		// An account that is refused without TLS.
		newAccount(t, s, "only_tls", "x1", dumpRights+", EXECUTE ON *.*", "ALL PRIVILEGES ON "+allStaging)
		run(t, s, "", "ALTER USER only_tls@localhost REQUIRE SSL", "ALTER USER only_tls@127.0.0.1 REQUIRE SSL")
		cfg := base
		cfg.User, cfg.Password, cfg.RestoreUser, cfg.SSLMode, cfg.SSLRootCert = "only_tls", "x1", "", "verify-full", ours.Path
		e := newEngine(t, cfg)
		dump, _ := readAll(t, e, "secure")
		if _, _, err := restoreTo(t, e, dump); err != nil {
			t.Error(err)
		}
		cfg.SSLMode = "disable"
		_, err := newEngine(t, cfg).Discover(testContext(t))
		wantCode(t, err, wire.CodeAuth)
	})
}

// TestRestore_HostileDump covers fault 81: nothing of a dump runs outside of its database.
func TestRestore_HostileDump(t *testing.T) {
	s := server(t)
	dir, err := os.MkdirTemp("/tmp", "canary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	canary, bait := filepath.Join(dir, "canary"), filepath.Join(dir, "bait")
	if err := os.WriteFile(bait, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	victim := newDatabase(t, s, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
	run(t, s, "", "SET GLOBAL event_scheduler = ON")
	t.Cleanup(func() { run(t, s, "", "SET GLOBAL event_scheduler = OFF") })
	before := len(query(t, s, "", "SELECT User FROM mysql.user"))
	mariaDB := s.Bin().Flavour == mysqlserver.MariaDB
	for name, c := range map[string]struct {
		sql    string
		passes bool // it is restored, but inert
	}{
		"Shell":         {"\\! touch " + canary + "\n;", false},
		"System":        {"system touch " + canary + "\n;", false},
		"Source":        {"source " + bait + "\n;", false},
		"Tee":           {"tee " + canary + "\n;", false},
		"TeeShort":      {"\\T " + canary + "\n;", false},
		"Pager":         {"pager touch " + canary + "\n;", false},
		"InString":      {"SELECT 'x\n\\! touch " + canary + "\n';", true},
		"Outfile":       {"SELECT 1 INTO OUTFILE '" + canary + "';", false},
		"Dumpfile":      {"SELECT 1 INTO DUMPFILE '" + canary + "';", false},
		"LoadFile":      {"CREATE TABLE l (b text); INSERT INTO l VALUES (LOAD_FILE('" + bait + "')); ALTER TABLE l MODIFY b text NOT NULL; SET sql_mode = 'STRICT_ALL_TABLES'; INSERT INTO l VALUES (LOAD_FILE('" + bait + "'));", false},
		"LoadData":      {"CREATE TABLE l (n int); LOAD DATA INFILE '" + bait + "' INTO TABLE l;", false},
		"LoadLocal":     {"CREATE TABLE l (n int); LOAD DATA LOCAL INFILE '" + bait + "' INTO TABLE l;", false},
		"OtherDatabase": {"DROP DATABASE `" + victim + "`;", false},
		"UseOther":      {"USE `" + victim + "`; DROP TABLE t;", false},
		"AlterOther":    {"UPDATE `" + victim + "`.t SET n = 666;", false},
		"Account":       {"CREATE USER evil@'%'; GRANT ALL ON *.* TO evil@'%';", false},
		"Grant":         {"GRANT SELECT ON mysql.* TO CURRENT_USER;", false},
		"Settings":      {"SET GLOBAL general_log = ON;", false},
		"Plugin":        {"INSTALL PLUGIN evil SONAME 'evil.so';", false},
		"Function":      {"CREATE FUNCTION sys_exec RETURNS int SONAME 'evil.so';", false},
		"Definer":       {"CREATE DEFINER=`root`@`localhost` PROCEDURE p() SQL SECURITY DEFINER SELECT 1 INTO OUTFILE '" + canary + "'; CALL p();", false},
		"HiddenDefiner": {"PREPARE s FROM 'CREATE DEFINER=`root`@`localhost` VIEW v AS SELECT * FROM mysql.global_priv'; EXECUTE s;", false},
		"Event":         {"CREATE EVENT e ON SCHEDULE EVERY 1 SECOND ENABLE DO INSERT INTO ran VALUES (1);", true},
		"HiddenEvent":   {"EXECUTE IMMEDIATE 'CREATE EVENT e ON SCHEDULE EVERY 1 SECOND STARTS \\'2035-01-01 00:00:00\\' ENABLE DO INSERT INTO ran VALUES (1)';", mariaDB}, // MySQL knows no such statement
		"Reserved":      {"CREATE TABLE devflow_published (n int);", false},
		"ReservedSwap":  {"CREATE TABLE devflow_swap_intent (n int) COMMENT = 'devflow_kept_1';", false},
		"ReservedView":  {"CREATE VIEW devflow_swap_done AS SELECT 1;", false},
		"DataDirectory": {"CREATE TABLE d (n int) ENGINE=MyISAM DATA DIRECTORY='" + dir + "';", mariaDB},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, config(s))
			staging, r, err := restoreTo(t, e, []byte("CREATE TABLE ran (n int);\n"+c.sql+"\n"+end))
			if c.passes != (err == nil) {
				t.Errorf("restore: %v", err)
			}
			if err == nil {
				if on := query(t, s, "", "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ? AND STATUS = 'ENABLED'", staging); len(on) > 0 {
					t.Errorf("events run: %q", on)
				}
				if ran := query(t, s, staging, "SELECT count(*) FROM ran"); ran[0] != "0" {
					t.Error("an event ran")
				}
				if strings.Contains(name, "Event") && !strings.Contains(r.Log(), "1 events were restored and are disabled") {
					t.Errorf("the log does not tell: %q", r.Log())
				}
			}
			// The same where only a part is asked for.
			if r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Only: []engine.Selection{{Table: "ran"}}}); err != nil {
				t.Error(err)
			} else {
				_ = write(r, "CREATE TABLE ran (n int);\n"+c.sql+"\n"+end)
				r.Abort()
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Fatalf("something was written: %v, %v", entries, err)
			}
			if n := query(t, s, victim, "SELECT n FROM t"); !slices.Equal(n, []string{"1"}) {
				t.Fatalf("the other database was changed: %q", n)
			}
			if after := len(query(t, s, "", "SELECT User FROM mysql.user")); after != before {
				t.Fatal("an account was made")
			}
		})
	}
	// The traps work for who may step into them.
	run(t, s, "", "SELECT 1 INTO OUTFILE '"+filepath.Join(filepath.Dir(s.Socket()), "../data/proof")+"'")
}

// TestDump_Snapshot: under writers that never stop, fingerprint and dump show the same moment.
func TestDump_Snapshot(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s, "CREATE TABLE a (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, pad varchar(200)) ENGINE=InnoDB", "CREATE TABLE b LIKE a")
	ctx, stop := context.WithCancel(testContext(t))
	var written atomic.Int64
	done := make(chan struct{}, 2)
	for range 2 {
		c := root(t, s, database)
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				// Both or neither.
				for _, statement := range []string{"BEGIN", "INSERT INTO a (pad) VALUES (repeat('x', 200))", "INSERT INTO b (pad) VALUES (repeat('x', 200))", "COMMIT"} {
					if _, err := c.ExecContext(context.Background(), statement); err != nil {
						t.Error(err)
						return
					}
				}
				written.Add(1)
			}
		}()
	}
	defer func() {
		stop()
		<-done
		<-done
	}()
	e := newEngine(t, config(s))
	for range 4 {
		seen := written.Load()
		enginetest.Eventually(t, "writers write", func() bool { return written.Load() > seen+50 })
		dump, d := readAll(t, e, database)
		f, err := d.Fingerprint(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if !f.Exact || f.Tables[0].Rows != f.Tables[1].Rows || f.Tables[0].Rows == 0 {
			t.Fatalf("fingerprint %+v", f)
		}
		if !strings.Contains(d.Log(), "global read lock was held for") {
			t.Errorf("log: %q", d.Log())
		}
		staging, r, err := restoreTo(t, e, dump)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Fingerprint(testContext(t), staging)
		if err != nil {
			t.Fatal(err)
		}
		if diff := f.Diff(got); len(diff) > 0 || !got.Exact {
			t.Errorf("the dump is not of the fingerprint's moment: %q", diff)
		}
		r.Abort()
	}
}

// TestDump_Lock: nobody writes until the program says that its transaction has begun, and then at once, long before it has written
// anything. What it says for that is not for the log.
func TestDump_Lock(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s, smallSQL...)
	other := newDatabase(t, s, "CREATE TABLE t (n int) ENGINE=InnoDB")
	for name, c := range map[string]struct {
		says string
		held bool
	}{
		"Begins": {"-- Connecting to localhost...\n-- Starting transaction...\n", true},
		"Begun":  {"-- Starting transaction...\n-- Setting savepoint...\n-- Warning: mind this\n", false},
		"Tables": {"-- Retrieving table structure for table people...\n-- Warning: mind this\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "go on")
			fake := fakedump.Install(t, realDump, fakedump.Script{Stderr: c.says, StderrBytes: int64(len(c.says)), WaitFor: file, Real: realBin + realDump})
			cfg := config(s)
			cfg.BinDirs = []string{fake.Dir()}
			e := newEngine(t, cfg)
			dumped := make(chan error, 1)
			var log string
			go func() {
				d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
				if err == nil {
					_, err = io.Copy(io.Discard, d)
					err = errors.Join(err, d.Close())
					log = d.Log()
				}
				dumped <- err
			}()
			enginetest.Eventually(t, "the program waits", func() bool { return len(fake.Runs()) > 0 })
			limit := 5 * time.Second // half of what the lock may be held
			if c.held {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(testContext(t), limit)
			_, err := root(t, s, other).ExecContext(ctx, "INSERT INTO t VALUES (1)")
			cancel()
			if c.held != (err != nil) {
				t.Errorf("a write: %v", err)
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := <-dumped; err != nil {
				t.Fatal(err)
			}
			if strings.Contains(log, "-- Setting") || strings.Contains(log, "-- Retrieving") || strings.Contains(log, "-- Starting") {
				t.Errorf("log: %q", log)
			}
			if !c.held && !strings.Contains(log, "-- Warning: mind this") || !strings.Contains(log, "global read lock was held for") {
				t.Errorf("log: %q", log)
			}
		})
	}
}

// TestDump_Approximate: without the lock, or with tables that no snapshot holds still, nothing claims to be exact.
func TestDump_Approximate(t *testing.T) {
	s := server(t)
	transactional := newDatabase(t, s, smallSQL...)
	loose := newDatabase(t, s, "CREATE TABLE m (n int) ENGINE=MyISAM", "CREATE TABLE a (n int) ENGINE=Aria", "CREATE TABLE h (n int) ENGINE=MEMORY", "INSERT INTO m VALUES (1), (2)", "INSERT INTO h VALUES (1)")
	weak := config(s)
	weak.User, weak.Password = "weak_"+random(), "x1"
	newAccount(t, s, weak.User, weak.Password, dumpRights+", EXECUTE ON *.*")
	for name, c := range map[string]struct {
		cfg            mysql.Config
		database, says string
	}{"NoLock": {weak, transactional, "RELOAD"}, "Engines": {config(s), loose, `"a", "h", "m"`}} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, c.cfg)
			dump, d := readAll(t, e, c.database)
			f, err := d.Fingerprint(testContext(t))
			if err != nil || f.Exact || f.Rows() == 0 {
				t.Errorf("%+v, %v", f, err)
			}
			if !strings.Contains(d.Log(), c.says) {
				t.Errorf("log: %q", d.Log())
			}
			staging, _, err := restoreTo(t, e, dump)
			if err != nil {
				t.Fatal(err)
			}
			if want, got := content(t, s, c.database), content(t, s, staging); len(want) != len(got) {
				t.Errorf("%d things, want %d", len(got), len(want))
			}
		})
	}
	t.Run("LockHeldByAnother", func(t *testing.T) {
		holder := root(t, s, transactional)
		if _, err := holder.ExecContext(testContext(t), "LOCK TABLES people READ LOCAL"); err != nil {
			t.Fatal(err)
		}
		writer := root(t, s, loose)
		if _, err := writer.ExecContext(testContext(t), "LOCK TABLES m WRITE"); err != nil {
			t.Fatal(err)
		}
		cfg := config(s)
		cfg.LockTimeout = time.Second
		_, d := readAll(t, newEngine(t, cfg), transactional)
		if f, err := d.Fingerprint(testContext(t)); err != nil || f.Exact || !strings.Contains(d.Log(), "was not had") {
			t.Errorf("%+v, %v, %q", f, err, d.Log())
		}
	})
}

// TestDump_Rights: what the program would leave out in silence is refused.
func TestDump_Rights(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s, append(slices.Clone(smallSQL), "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SET @x = 1")...)
	plain := newDatabase(t, s, "CREATE TABLE t (n int)")
	routines, lacksExecute := "SELECT ON mysql.proc", "EXECUTE"
	if s.Bin().Flavour == mysqlserver.MySQL { // it describes a view without running its function
		routines, lacksExecute = "SHOW_ROUTINE ON *.*", ""
	}
	for name, c := range map[string]struct {
		rights   []string
		database string
		says     string // empty: it works
	}{
		"Nothing":         {nil, database, "there is no"},
		"SelectOnly":      {[]string{"SELECT ON %s.*"}, database, "SHOW VIEW, TRIGGER, EVENT"},
		"NoTrigger":       {[]string{"SELECT, SHOW VIEW, EVENT ON %s.*"}, database, "lacks TRIGGER"},
		"NoRoutines":      {[]string{dumpRights + " ON %s.*"}, database, "does not see the routines"},
		"NoRoutineText":   {[]string{dumpRights + ", EXECUTE ON %s.*"}, database, `text of the routines "twice"`},
		"NoExecute":       {[]string{dumpRights + " ON %s.*", routines}, database, lacksExecute},
		"Enough":          {[]string{dumpRights + ", EXECUTE ON %s.*", routines}, database, ""},
		"OwnDatabaseOnly": {[]string{"ALL PRIVILEGES ON %s.*"}, plain, ""},
	} {
		t.Run(name, func(t *testing.T) {
			user := "u_" + random()
			var rights []string
			for _, right := range c.rights {
				rights = append(rights, strings.Replace(right, "%s", quotePattern(c.database), 1))
			}
			newAccount(t, s, user, "x1", rights...)
			cfg := config(s)
			cfg.User, cfg.Password = user, "x1"
			e := newEngine(t, cfg)
			d, err := e.Dump(testContext(t), engine.DumpRequest{Database: c.database})
			if err == nil {
				defer d.Close()
				_, err = io.Copy(io.Discard, d)
			}
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %q", err, c.says)
			}
			if c.rights == nil {
				wantCode(t, err, wire.CodeDatabaseMissing)
				return
			}
			if f := wantCode(t, err, wire.CodePrivilege); !strings.Contains(f.Hint, "GRANT") {
				t.Errorf("%+v", f)
			}
			if name != "NoExecute" && !slices.ContainsFunc(e.Check(testContext(t)), func(f engine.Finding) bool {
				return f.Level == "error" && strings.Contains(f.Detail, c.says)
			}) {
				t.Error("Check does not tell")
			}
		})
	}
}

func TestDump_Replica(t *testing.T) {
	t.Parallel()
	source, replica := mysqlkit.Pair(t)
	makeAccounts(t, source)
	run(t, source, "", "CREATE DATABASE shop")
	run(t, source, "shop", smallSQL[:2]...)
	if err := replica.CatchUp(testContext(t), source); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, config(replica))
	_, d := readAll(t, e, "shop")
	extra := d.Info().Extra
	replicas, _ := extra["replica_of"].([]map[string]any)
	if len(replicas) != 1 || replicas[0]["source_host"] != "127.0.0.1" || replicas[0]["applier_running"] != "Yes" || replicas[0]["source_position"] == nil ||
		extra["binlog_file"] == nil || extra["binlog_position"] == nil {
		t.Errorf("%+v", extra)
	}
	if text := fmt.Sprint(extra); strings.Contains(text, "replicator") {
		t.Errorf("an account is told: %s", text)
	}
	if strings.Contains(d.Log(), "replica") {
		t.Errorf("log: %q", d.Log())
	}
	if f, err := d.Fingerprint(testContext(t)); err != nil || !f.Exact || f.Rows() != 4+1024 && f.Rows() != 4 {
		t.Errorf("%+v, %v", f, err)
	}
	mysqlkit.Exec(t, replica, "", "STOP SLAVE SQL_THREAD")
	_, d = readAll(t, e, "shop")
	if !strings.Contains(d.Log(), "does not apply changes") {
		t.Errorf("log: %q", d.Log())
	}
}

// TestDump_HugeRow and TestDump_ManyTables are fault 60, scaled down.
func TestDump_HugeRow(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s, "CREATE TABLE huge (b longblob) ENGINE=InnoDB", "INSERT INTO huge VALUES (repeat(x'00ff', 16 << 20))")
	e := newEngine(t, config(s))
	staging := newStaging()
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: staging})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Abort()
	n, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{open(t, e, database)}, make([]byte, 64<<10))
	if err != nil || n < 64<<20 {
		t.Fatalf("%d, %v", n, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{database, staging} {
		if got := query(t, s, name, "SELECT CONCAT(LENGTH(b), SHA2(b, 256)) FROM huge"); got[0] != query(t, s, "", "SELECT CONCAT(32 << 20, SHA2(repeat(x'00ff', 16 << 20), 256))")[0] {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestDump_ManyTables(t *testing.T) {
	const tables = 120
	s := server(t)
	database := newDatabase(t, s)
	var sql strings.Builder
	for i := range tables {
		fmt.Fprintf(&sql, "CREATE TABLE t%d (n int) ENGINE=InnoDB; INSERT INTO t%d VALUES (1);\n", i, i)
	}
	lap := time.Now()
	step := func(what string) { t.Logf("%s: %s", what, time.Since(lap)); lap = time.Now() }
	mysqlkit.Exec(t, s, database, sql.String())
	step("fill")
	e := newEngine(t, config(s))
	dump, d := readAll(t, e, database)
	step("dump")
	f, err := d.Fingerprint(testContext(t))
	step("fingerprint")
	if err != nil || len(f.Tables) != tables || f.Rows() != tables || !f.Exact {
		t.Fatalf("%d tables, %v", len(f.Tables), err)
	}
	staging, _, err := restoreTo(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	step("restore")
	name := "many_" + random()
	target(t, s, name)
	t.Cleanup(func() { dropDatabase(t, s, name) })
	if err := e.Publish(testContext(t), staging, name); err != nil {
		t.Fatal(err)
	}
	step("publish")
	got, err := e.Fingerprint(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := f.Diff(got); len(diff) > 0 {
		t.Error(diff)
	}
}

// TestDump_PublicTools: what we store is restored by the plain client, under any name.
func TestDump_PublicTools(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s)
	fillHurting(t, s, database)
	dump, _ := readAll(t, newEngine(t, config(s)), database)
	other := newDatabase(t, s)
	cmd := exec.Command(realBin+realClient, "--defaults-file="+filepath.Join(filepath.Dir(filepath.Dir(s.Socket())), "client.cnf"), "--comments", other)
	cmd.Stdin = strings.NewReader(string(dump))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, got := content(t, s, database), content(t, s, other)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is\n%s\nwant\n%s", key, got[key], value)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d things, want %d", len(got), len(want))
	}
}

var errCrash = errors.New("the agent dies here")

// publishSteps runs a Publish that dies before the given step, and returns the steps that it came to.
func publishSteps(t *testing.T, e *mysql.Engine, from, to, dieBefore string) (steps []string, err error) {
	t.Helper()
	e.OnStep(func(step string) error {
		steps = append(steps, step)
		if step == dieBefore {
			return errCrash
		}
		return nil
	})
	err = e.Publish(testContext(t), from, to)
	e.OnStep(nil)
	return steps, err
}

// TestPublish_Crash: whatever a crash leaves, Exists tells whether it was published, and Remove leaves all or nothing.
func TestPublish_Crash(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s, append(slices.Clone(smallSQL),
		"CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SET @x = 1", "CREATE SEQUENCE seq", "CREATE TABLE d (id int DEFAULT nextval(seq), p int) ENGINE=InnoDB", "CREATE VIEW v2 AS SELECT * FROM grown")...)
	want := content(t, s, database)
	e := newEngine(t, config(s))
	dump, _ := readAll(t, e, database)
	name := "target_" + random()
	target(t, s, name)
	t.Cleanup(func() { dropDatabase(t, s, name) })
	fill := func() string {
		staging, _, err := restoreTo(t, e, dump)
		if err != nil {
			t.Fatal(err)
		}
		return staging
	}
	steps, err := publishSteps(t, e, fill(), name, "")
	if err != nil || len(steps) < 10 {
		t.Fatalf("%q, %v", steps, err)
	}
	dropDatabase(t, s, name)
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			staging := fill()
			_, err := publishSteps(t, e, staging, name, step)
			published := step == "clean up"
			if (err == nil) != published {
				t.Fatalf("%v", err)
			}
			there, err := e.Exists(testContext(t), staging)
			if err != nil || there == published {
				t.Errorf("the staging database is there: %v, %v", there, err)
			}
			if there, err := e.Exists(testContext(t), name); err != nil || published && !there {
				t.Errorf("the target is there: %v, %v", there, err)
			}
			// A second attempt under the same name must not disturb the first.
			if !published && step != "read definitions" && step != "write intent" && step != "make target" {
				wantCode(t, e.Publish(testContext(t), fill(), name), wire.CodeTargetExists)
			}
			for range 2 {
				if err := e.Remove(testContext(t), staging); err != nil {
					t.Fatal(err)
				}
			}
			left := query(t, s, "", "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN (?, ?)", staging, name)
			if !published {
				if len(left) > 0 {
					t.Errorf("left: %q", left)
				}
				return
			}
			if !slices.Equal(left, []string{name}) {
				t.Fatalf("left: %q", left)
			}
			got := content(t, s, name)
			for key, value := range want {
				if got[key] != value {
					t.Errorf("%s is\n%s\nwant\n%s", key, got[key], value)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d things, want %d", len(got), len(want))
			}
			dropDatabase(t, s, name)
		})
	}
}

// TestPublish_Sweep: the next restore drops what a crash left of a published one, and nothing else.
func TestPublish_Sweep(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	dump, _ := readAll(t, e, newDatabase(t, s, smallSQL...))
	name := "swept_" + random()
	target(t, s, name)
	t.Cleanup(func() { dropDatabase(t, s, name) })
	staging, _, err := restoreTo(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	waiting, _, err := restoreTo(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publishSteps(t, e, staging, name, "clean up"); err != nil {
		t.Fatal(err)
	}
	listed := func(name string) bool {
		return len(query(t, s, "", "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", name)) == 1
	}
	if !listed(staging) {
		t.Fatal("there is nothing to sweep")
	}
	if _, _, err := restoreTo(t, e, dump); err != nil {
		t.Fatal(err)
	}
	if listed(staging) || !listed(waiting) || !listed(name) {
		t.Errorf("rubbish %v, other restore %v, target %v", listed(staging), listed(waiting), listed(name))
	}
}

// TestRemove_OnlyWhatBelongsToIt: a target of another restore, and one that only shares the name, stay.
func TestRemove_OnlyWhatBelongsToIt(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	dump, _ := readAll(t, e, newDatabase(t, s, smallSQL...))
	name := "kept_" + random()
	target(t, s, name)
	t.Cleanup(func() { dropDatabase(t, s, name) })
	first, _, err := restoreTo(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publishSteps(t, e, first, name, "make target"); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	// Somebody makes it meanwhile.
	createDatabase(t, s, name)
	run(t, s, name, "CREATE TABLE precious (n int)")
	if err := e.Remove(testContext(t), first); err != nil {
		t.Fatal(err)
	}
	if len(query(t, s, name, "SHOW TABLES")) != 1 {
		t.Error("a database of somebody else was dropped")
	}
}

func TestRestore_Accounts(t *testing.T) {
	s := server(t)
	everything, role := "ALL PRIVILEGES", "whose rights it may not see"
	if s.Bin().Flavour == mysqlserver.MySQL { // it lists the rights one by one, those of roles too
		everything, role = "CREATE USER", "FILE"
	}
	for name, c := range map[string]struct {
		rights []string
		target string
		code   string
		says   string
	}{
		"Nothing":      {nil, "", wire.CodePrivilege, "staging databases"},
		"File":         {[]string{"FILE ON *.*", "ALL PRIVILEGES ON " + allStaging}, "", wire.CodeSuperuser, "FILE"},
		"Everything":   {[]string{"ALL PRIVILEGES ON *.*"}, "", wire.CodeSuperuser, everything},
		"SystemTables": {[]string{"ALL PRIVILEGES ON `%`.*"}, "", wire.CodeSuperuser, "database mysql"},
		"NoTarget":     {[]string{"ALL PRIVILEGES ON " + allStaging}, "shop", wire.CodePrivilege, `"shop"`},
		"Target":       {[]string{"ALL PRIVILEGES ON " + allStaging, "ALL PRIVILEGES ON shop.*"}, "shop", "", ""},
		"Role":         {[]string{"ALL PRIVILEGES ON " + allStaging, "role"}, "", wire.CodeSuperuser, role},
	} {
		t.Run(name, func(t *testing.T) {
			user := "u_" + random()
			var rights []string
			for _, right := range c.rights {
				if right == "role" {
					role := "role_" + random()
					run(t, s, "", "CREATE ROLE "+role, "GRANT FILE ON *.* TO "+role)
					defer run(t, s, "", "DROP ROLE "+role)
					newAccount(t, s, user, "x1")
					run(t, s, "", "GRANT "+role+" TO '"+user+"'@'127.0.0.1'")
					continue
				}
				rights = append(rights, right)
			}
			if !slices.Contains(c.rights, "role") {
				newAccount(t, s, user, "x1")
			}
			for _, right := range rights {
				privileges, on, _ := strings.Cut(right, " ON ")
				grant(t, s, privileges, on, user)
			}
			cfg := config(s)
			cfg.RestoreUser, cfg.RestorePassword = user, "x1"
			e := newEngine(t, cfg)
			r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Target: c.target})
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				r.Abort()
				return
			}
			if f := wantCode(t, err, c.code); !strings.Contains(f.Message, c.says) || !strings.Contains(f.Hint, "GRANT ALL PRIVILEGES ON `") {
				t.Errorf("%+v", f)
			}
			if c.target == "" && !slices.ContainsFunc(e.Check(testContext(t)), func(f engine.Finding) bool {
				return f.Name == "restore account" && f.Level == "warning" && strings.Contains(f.Detail, c.says)
			}) {
				t.Error("Check does not tell")
			}
		})
	}
}

func TestRestore_KeepDefiners(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s, smallSQL...)
	cfg := config(s)
	cfg.Definers = mysql.KeepDefiners
	e := newEngine(t, cfg)
	dump, _ := readAll(t, e, database)
	_, _, err := restoreTo(t, e, dump)
	if f := wantCode(t, err, wire.CodePrivilege); !strings.Contains(f.Hint, "definer") {
		t.Errorf("%+v", f)
	}
	cfg.RestoreUser, cfg.RestorePassword = "keeper_"+random(), "x1"
	newAccount(t, s, cfg.RestoreUser, cfg.RestorePassword, "ALL PRIVILEGES ON "+allStaging, "SET USER ON *.*", "SELECT ON mysql.proc")
	definers := "SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ? UNION SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ? UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?"
	keeper := cfg.RestoreUser
	for _, c := range []struct {
		mode, user string
		password   secret.String
		definer    string
	}{{mysql.KeepDefiners, keeper, "x1", "root@localhost"}, {mysql.StripDefiners, restoreUser, restorePassword, restoreUser + "@127.0.0.1"}} {
		mode, want := c.mode, c.definer
		cfg.RestoreUser, cfg.RestorePassword = c.user, c.password
		cfg.Definers = mode
		staging, _, err := restoreTo(t, newEngine(t, cfg), dump)
		if err != nil {
			t.Fatal(err)
		}
		if got := query(t, s, "", definers, staging, staging, staging); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %s", mode, got, want)
		}
	}
}

func TestNew(t *testing.T) {
	for name, change := range map[string]func(c *mysql.Config){
		"user":          func(c *mysql.Config) { c.User = "" },
		"port":          func(c *mysql.Config) { c.Port = 70000 },
		"sslmode":       func(c *mysql.Config) { c.SSLMode = "perhaps" },
		"ssl_root_cert": func(c *mysql.Config) { c.SSLRootCert = "relative" },
		"definers":      func(c *mysql.Config) { c.Definers = "some" },
		"host":          func(c *mysql.Config) { c.Host = "a,b" },
		"password":      func(c *mysql.Config) { c.Password = "a\x00b" },
	} {
		cfg := mysql.Config{Name: "main", User: "u"}
		change(&cfg)
		if _, err := mysql.New(cfg, nil); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), `"main"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := mysql.New(mysql.Config{Name: "main", User: "u"}, nil); err != nil {
		t.Error(err)
	}
}

func TestDiscover_IncludeAndExclude(t *testing.T) {
	s := server(t)
	prefix := "find_" + random()
	for _, name := range []string{prefix + "_a", prefix + "_b", prefix + "_c", engine.StagingPrefix + prefix} {
		createDatabase(t, s, name)
		t.Cleanup(func() { dropDatabase(t, s, name) })
	}
	cfg := config(s)
	cfg.Include, cfg.Exclude = []string{prefix + "_?", "mysql", engine.StagingPrefix + "*"}, []string{"*_b"}
	e := newEngine(t, cfg)
	found, err := e.Discover(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range found {
		names = append(names, d.Name)
	}
	if !slices.Equal(names, []string{prefix + "_a", prefix + "_c"}) {
		t.Errorf("%q", names)
	}
	for _, name := range []string{prefix + "_b", "mysql", "MySQL", "sys", engine.StagingPrefix + prefix} {
		_, err := e.Dump(testContext(t), engine.DumpRequest{Database: name})
		wantCode(t, err, wire.CodeNotAllowed)
	}
}
