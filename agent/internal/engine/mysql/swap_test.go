package mysql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/mysqlkit"
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
		fmt.Sprintf("INSERT INTO parent VALUES (1, 1), (2, 2)"),
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

var _ secret.String
