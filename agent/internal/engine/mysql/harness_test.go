package mysql_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/mysqlkit"
)

func TestMain(m *testing.M) {
	fakedump.Main()
	enginetest.Main(openChild)
	mysqlkit.Main(m)
}

const (
	backupUser  = "devflow_backup"
	restoreUser = "devflow_restore"
	swapUser    = "devflow_swap"
	// Everything that an option file, a shell or a URL could stumble over.
	backupPassword  secret.String = ` b$a"c'k#u\p;%20@/:= ü `
	restorePassword secret.String = `r"e's$t#o\r\e; $HOME `
	swapPassword    secret.String = `sw'a"p#\ canary 4712`
	wrongPassword   secret.String = `wr"ong'canary#4711`

	dumpRights = "SELECT, SHOW VIEW, TRIGGER, EVENT"
	allStaging = "`devflow\\_staging\\_%`.*"
	allKept    = "`devflow\\_kept\\_%`.*"
)

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("test took too long"))
	tb.Cleanup(cancel)
	return ctx
}

// root is a connection with all rights.
func root(tb testing.TB, s *mysqlserver.Server, database string) *sql.Conn {
	tb.Helper()
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "unix", s.Socket(), s.Root(), s.Password().Reveal(), database
	cfg.Params = map[string]string{"sql_mode": "''", "time_zone": "'+00:00'"}
	cfg.InterpolateParams, cfg.MaxAllowedPacket = true, 1<<30
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1) // closed is closed
	tb.Cleanup(func() { db.Close() })
	c, err := db.Conn(testContext(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() }) // its locks go with it, before anything is dropped
	return c
}

// run runs one statement as root.
func run(tb testing.TB, s *mysqlserver.Server, database string, statements ...string) {
	tb.Helper()
	c := root(tb, s, database)
	defer c.Close()
	for _, statement := range statements {
		if _, err := c.ExecContext(testContext(tb), statement); err != nil {
			tb.Fatalf("%v in %.200s", err, statement)
		}
	}
}

// query reads the first column as root.
func query(tb testing.TB, s *mysqlserver.Server, database, statement string, args ...any) (out []string) {
	tb.Helper()
	c := root(tb, s, database)
	defer c.Close()
	for _, row := range rows(tb, c, statement, args...) {
		out = append(out, row[0])
	}
	return out
}

func rows(tb testing.TB, c *sql.Conn, statement string, args ...any) (out [][]string) {
	tb.Helper()
	found, err := c.QueryContext(testContext(tb), statement, args...)
	if err != nil {
		tb.Fatalf("%v in %.200s", err, statement)
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		tb.Fatal(err)
	}
	for found.Next() {
		values, to := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := found.Scan(to...); err != nil {
			tb.Fatal(err)
		}
		row := make([]string, len(columns))
		for i, v := range values {
			if row[i] = v.String; !v.Valid {
				row[i] = "\x00NULL"
			}
		}
		out = append(out, row)
	}
	if err := found.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}

var accounts sync.Once

// server is the shared one, with both accounts.
func server(tb testing.TB) *mysqlserver.Server {
	tb.Helper()
	s := mysqlkit.Shared(tb)
	accounts.Do(func() { makeAccounts(tb, s) })
	return s
}

func makeAccounts(tb testing.TB, s *mysqlserver.Server) {
	tb.Helper()
	newAccount(tb, s, backupUser, backupPassword, dumpRights+", EXECUTE, PROCESS, RELOAD, REPLICATION CLIENT ON *.*")
	newAccount(tb, s, restoreUser, restorePassword, "ALL PRIVILEGES ON "+allStaging)
	newAccount(tb, s, swapUser, swapPassword, "ALL PRIVILEGES ON "+allStaging, "ALL PRIVILEGES ON "+allKept)
	// Objects of a restored database run as the restore account, also where they are kept.
	grant(tb, s, "SELECT, EXECUTE, SHOW VIEW", allKept, restoreUser)
	if s.Bin().Flavour == mysqlserver.MariaDB {
		grant(tb, s, "REPLICA MONITOR", "*.*", backupUser)
		grant(tb, s, "SET USER, CONNECTION ADMIN", "*.*", swapUser)
	} else {
		grant(tb, s, "SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER, CONNECTION_ADMIN", "*.*", swapUser)
	}
	target(tb, s, "restored") // of the suite
}

// newAccount makes an account; each of its rights is "privileges ON what".
func newAccount(tb testing.TB, s *mysqlserver.Server, user string, password secret.String, rights ...string) {
	tb.Helper()
	if err := s.CreateUser(testContext(tb), user, password); err != nil {
		tb.Fatal(err)
	}
	for _, right := range rights {
		privileges, on, _ := strings.Cut(right, " ON ")
		grant(tb, s, privileges, on, user)
	}
}

func grant(tb testing.TB, s *mysqlserver.Server, privileges, on, user string) {
	tb.Helper()
	if err := s.Grant(testContext(tb), privileges, on, user); err != nil {
		tb.Fatal(err)
	}
}

func config(s *mysqlserver.Server) mysql.Config {
	cfg := mysql.Config{
		Name: "main", Host: s.Host(), Port: s.Port(), User: backupUser, Password: backupPassword,
		RestoreUser: restoreUser, RestorePassword: restorePassword, SwapUser: swapUser, SwapPassword: swapPassword, LockTimeout: 10 * time.Second,
	}
	if os.Getenv(mysqlkit.RootVariable) != "" {
		cfg.BinDirs = []string{realBin}
	}
	return cfg
}

func newEngine(tb testing.TB, cfg mysql.Config) *mysql.Engine {
	tb.Helper()
	e, err := mysql.New(cfg, hclog.New(&hclog.LoggerOptions{Output: testLog{tb}, Level: hclog.Debug}))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

type testLog struct{ tb testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.tb.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// quotePattern is a database's name in a GRANT.
func quotePattern(name string) string {
	return mysqlserver.Quote(strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(name))
}

func createDatabase(tb testing.TB, s *mysqlserver.Server, name string) {
	tb.Helper()
	run(tb, s, "", "CREATE DATABASE "+mysqlserver.Quote(name))
}

func dropDatabase(tb testing.TB, s *mysqlserver.Server, name string) {
	tb.Helper()
	run(tb, s, "", "DROP DATABASE IF EXISTS "+mysqlserver.Quote(name))
}

// target lets the restore account make a database of this name.
func target(tb testing.TB, s *mysqlserver.Server, name string) {
	tb.Helper()
	if !strings.HasPrefix(name, engine.StagingPrefix) {
		grant(tb, s, "ALL PRIVILEGES", quotePattern(name)+".*", restoreUser)
		grant(tb, s, "ALL PRIVILEGES", quotePattern(name)+".*", swapUser)
	}
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newDatabase makes one that is dropped at the test's end.
func newDatabase(tb testing.TB, s *mysqlserver.Server, statements ...string) (name string) {
	tb.Helper()
	name = "test_" + random()
	createDatabase(tb, s, name)
	tb.Cleanup(func() { dropDatabase(tb, s, name) })
	run(tb, s, name, statements...)
	return name
}

func newStaging() string { return engine.StagingPrefix + random() }

// isServer knows the processes of database servers; the programs and the fakes have other names.
func isServer(command string) bool { return command == "mariadbd" || command == "mysqld" }

// realBin has the programs that fit the server: those of Oracle MySQL if that is tested.
var realBin, realDump, realClient, realVersion = "/usr/bin/", "mariadb-dump", "mariadb", "mariadb-dump  Ver 10.19 Distrib 10.11.99-MariaDB, for debian-linux-gnu (x86_64)"

func init() {
	if root := os.Getenv(mysqlkit.RootVariable); root != "" {
		realBin, realDump, realClient, realVersion = filepath.Join(root, "bin")+"/", "mysqldump", "mysql", "mysqldump  Ver 9.99.1 for Linux on x86_64 (MySQL Community Server - GPL)"
	}
}

func harness() enginetest.Harness {
	return enginetest.Harness{
		New: func(tb testing.TB) engine.Engine { return newEngine(tb, config(server(tb))) },
		NewRefused: func(tb testing.TB) engine.Engine {
			cfg := config(server(tb))
			cfg.Password = wrongPassword
			return newEngine(tb, cfg)
		},
		NewFaulty: func(tb testing.TB, script fakedump.Script, withReal bool) (engine.Engine, *fakedump.Fake) {
			if withReal {
				script.Real = realBin + realDump
			} else {
				script.Version = realVersion
			}
			fake := fakedump.Install(tb, realDump, script)
			cfg := config(server(tb))
			cfg.BinDirs = []string{fake.Dir()}
			return newEngine(tb, cfg), fake
		},
		Create: func(tb testing.TB, name string) { createDatabase(tb, server(tb), name) },
		Drop: func(tb testing.TB, name string) {
			dropDatabase(tb, server(tb), name)
			target(tb, server(tb), name)
		},
		FillSmall:   func(tb testing.TB, name string) { run(tb, server(tb), name, smallSQL...) },
		FillHurting: func(tb testing.TB, name string) { fillHurting(tb, server(tb), name) },
		Content:     func(tb testing.TB, name string) map[string]string { return content(tb, server(tb), name) },
		Databases: func(tb testing.TB) []string {
			return query(tb, server(tb), "", "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
		},
		Names:    names,
		Secrets:  []string{backupPassword.Reveal(), restorePassword.Reveal(), wrongPassword.Reveal(), swapPassword.Reveal()},
		IsServer: isServer,
		Swap:     swapHarness(),
	}
}

// names are hard to handle. The server takes up to 64 characters of the basic plane, none with a space at its end.
var names = []string{
	`o'brien; drop "x"`,
	`-rf`,
	`--version`,
	`--result-file=x`, // a name must not be an option
	`host=evil`,
	`mysql://evil/x`,
	"ünïcode",
	"unicode", // the same to the server's own comparison
	`a=b`,
	`../x`,
	"new\nline",
	"rtl\u202eabc",
	`$(touch -- -devflow-canary)`,
	"`id` %s %00 \\' \\\"",
	`x`,
	`_%`,
	`;\! id`,
	strings.Repeat("ab", 32),
}

var smallSQL = []string{
	"CREATE TABLE people (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, name varchar(100) NOT NULL, born date, KEY people_born (born)) ENGINE=InnoDB CHARACTER SET utf8mb4",
	"INSERT INTO people (name, born) VALUES ('person 🦀', '2000-01-01'), ('it''s; \\\\', '2001-02-03'), ('x', NULL), ('y', NULL)",
	"INSERT INTO people (name, born) SELECT a.name, a.born FROM people a, people b, people c, people d, people e",
	"CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN 2 * n",
	"CREATE VIEW grown AS SELECT id, twice(id) AS t FROM people WHERE born < '2003-01-01'",
	"CREATE TRIGGER named BEFORE INSERT ON people FOR EACH ROW SET NEW.name = concat(NEW.name, '!')",
}

func fillHurting(tb testing.TB, s *mysqlserver.Server, database string) {
	tb.Helper()
	files := []string{"testdata/hurting.sql"}
	if s.Bin().Flavour == mysqlserver.MariaDB {
		files = append(files, "testdata/mariadb.sql")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := s.Exec(testContext(tb), database, string(b)); err != nil {
			tb.Fatal(err)
		}
	}
}

// collated is a column's character set as MySQL prints it once the collation was said; the collation's name has it.
var collated = regexp.MustCompile(`CHARACTER SET \w+ COLLATE `)

// onTable is a trigger's table, which a server quotes when it was renamed.
var onTable = regexp.MustCompile("(?i) ON `(\\w+)`( FOR EACH)")

var definer = regexp.MustCompile("DEFINER=[`\"][^`\"]*[`\"]@[`\"][^`\"]*[`\"] ?")

// content describes a database by all definitions that the server prints, and each table by a sum over its rows that does
// not depend on their order.
func content(tb testing.TB, s *mysqlserver.Server, database string) map[string]string {
	tb.Helper()
	c := root(tb, s, database)
	defer c.Close()
	found := map[string]string{}
	const here = " = CONVERT(DATABASE() USING utf8mb4) COLLATE utf8mb4_bin "
	schema := func(column string) string { return " CONVERT(" + column + " USING utf8mb4) COLLATE utf8mb4_bin" + here }
	// What a restore changes on purpose: the database's name, definers, whether events run.
	normal := func(text string) string {
		text = definer.ReplaceAllString(text, "")
		text = strings.ReplaceAll(text, mysqlserver.Quote(database)+".", "")
		text = collated.ReplaceAllString(text, "COLLATE ")
		return text
	}
	for _, row := range rows(tb, c, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE"+schema("SCHEMA_NAME")) {
		found["database"] = strings.Join(row, " ")
	}
	show := func(kind, name string, columns ...int) {
		row := rows(tb, c, "SHOW CREATE "+kind+" "+mysqlserver.Quote(name))[0]
		var parts []string
		for _, i := range columns {
			parts = append(parts, row[i])
		}
		text := normal(strings.Join(parts, "\n"))
		if kind == "TRIGGER" {
			text = onTable.ReplaceAllString(text, " ON $1$2")
		}
		if kind == "EVENT" {
			text = strings.Replace(text, " ENABLE", " DISABLE", 1)
		}
		found[kind+" "+name] = text
	}
	for _, row := range rows(tb, c, "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE"+schema("ROUTINE_SCHEMA")) {
		show(row[0], row[1], 1, 2, 3, 4, 5)
	}
	for _, row := range rows(tb, c, "SELECT TRIGGER_NAME, CONCAT_WS(' ', EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER) FROM information_schema.TRIGGERS WHERE"+schema("TRIGGER_SCHEMA")) {
		show("TRIGGER", row[0], 1, 2, 3, 4, 5)
		found["TRIGGER "+row[0]] += "\n" + row[1]
	}
	for _, row := range rows(tb, c, "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE"+schema("EVENT_SCHEMA")) {
		show("EVENT", row[0], 1, 2, 3, 4, 5, 6)
	}
	for _, row := range rows(tb, c, "SELECT TABLE_TYPE, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_NAME NOT LIKE 'devflow\\_swap%' AND"+schema("TABLE_SCHEMA")) {
		kind, name := row[0], row[1]
		switch kind {
		case "VIEW":
			show("VIEW", name, 1, 2, 3)
			// That it works.
			found["rows of view "+name] = strconv.Itoa(len(rows(tb, c, "SELECT * FROM "+mysqlserver.Quote(name))))
			continue
		case "SEQUENCE":
			show("SEQUENCE", name, 1)
			found["SEQUENCE "+name] += "\n" + strings.Join(rows(tb, c, "SELECT * FROM "+mysqlserver.Quote(name))[0], " ")
			continue
		}
		show("TABLE", name, 1)
		var columns []string
		for _, column := range rows(tb, c, "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_NAME = ? AND"+schema("TABLE_SCHEMA")+"ORDER BY ORDINAL_POSITION", name) {
			columns = append(columns, mysqlserver.Quote(column[0]))
		}
		from := mysqlserver.Quote(name)
		if kind == "SYSTEM VERSIONED" {
			columns = append(columns, "ROW_START", "ROW_END")
			from += " FOR SYSTEM_TIME ALL"
		}
		found["rows of "+name] = sumRows(tb, c, "SELECT "+strings.Join(columns, ", ")+" FROM "+from)
	}
	return found
}

func sumRows(tb testing.TB, c *sql.Conn, statement string) string {
	tb.Helper()
	found, err := c.QueryContext(testContext(tb), statement)
	if err != nil {
		tb.Fatalf("%v in %s", err, statement)
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		tb.Fatal(err)
	}
	var sum [32]byte
	n := 0
	values, to := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for found.Next() {
		if err := found.Scan(to...); err != nil {
			tb.Fatal(err)
		}
		h := sha256.New()
		for _, v := range values {
			fmt.Fprintf(h, "%v %d ", v == nil, len(v))
			h.Write(v)
		}
		carry := 0
		for i, b := range h.Sum(nil) {
			carry += int(sum[i]) + int(b)
			sum[i] = byte(carry)
			carry >>= 8
		}
		n++
	}
	if err := found.Err(); err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("%d %x", n, sum)
}
