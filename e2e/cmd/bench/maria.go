package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/secret"
)

// mariaSettings of the measured server, alike for both sides. As PostgreSQL's, it waits for no disk.
var mariaSettings = map[string]string{
	"innodb-buffer-pool-size":        "1G",
	"innodb-log-file-size":           "2G",
	"innodb-flush-log-at-trx-commit": "0",
	"innodb-doublewrite":             "OFF",
	"innodb-flush-method":            "nosync",
}

const (
	storeDatabase      = "store"
	smallStoreDatabase = "store_small"
	mariaTarget        = "r_bench" // restores may be made to r_…
)

// maria is the MariaDB that is backed up and restored into. Its data stays in its directory between runs.
type maria struct {
	*stack.MariaDB
	backupOptions, restoreOptions string // option files of the two accounts
}

// openMaria starts the server and makes the database if it is not there yet for this size.
func openMaria(ctx context.Context, s *stack.Stack, say func(string, ...any), database string, mib int) (*maria, error) {
	server, err := s.StartMariaDB(ctx, "maria", stack.MariaDBOptions{Settings: mariaSettings})
	if err != nil {
		return nil, err
	}
	m := &maria{MariaDB: server}
	if err := m.writeOptions(s.Dir); err != nil {
		return nil, err
	}
	// What an interrupted run has left.
	names, err := m.Databases(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == mariaTarget || strings.HasPrefix(name, "devflow_staging_") {
			if err := m.Drop(ctx, name); err != nil {
				return nil, err
			}
		}
	}
	return m, keep(filepath.Join(s.Dir, "maria"), database, mib, say, func() error { return m.fill(ctx, s.Dir, database, mib) })
}

func (m *maria) writeOptions(dir string) error {
	for _, a := range []struct {
		user, password string
		path           *string
	}{{stack.BackupRole, m.BackupPasswordFile, &m.backupOptions}, {stack.RestoreRole, m.RestorePasswordFile, &m.restoreOptions}} {
		password, err := secret.LoadFile(a.password)
		if err != nil {
			return err
		}
		*a.path = filepath.Join(dir, "secrets", a.user+".cnf")
		text := fmt.Sprintf("[client]\nprotocol=TCP\nhost=%s\nport=%d\nuser=%s\npassword=%q\nssl=0\n", m.Host(), m.Port(), a.user, password.Reveal())
		if err := stack.WriteFile(*a.path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fill makes the database and loads its tables from files, which the server reads in its own directory only.
func (m *maria) fill(ctx context.Context, dir, database string, mib int) error {
	if err := m.Drop(ctx, database); err != nil {
		return err
	}
	if err := m.Create(ctx, database); err != nil {
		return err
	}
	file := filepath.Join(dir, "maria", "data", "bench.rows")
	defer os.Remove(file)
	p := newProse()
	for _, t := range tables {
		if err := t.writeRows(file, p, mib); err != nil {
			return err
		}
		sql := "CREATE TABLE " + t.name + " (" + t.columns + ");\n" +
			"SET unique_checks = 0, foreign_key_checks = 0;\n" +
			"LOAD DATA INFILE '" + file + "' INTO TABLE " + t.name + " CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' ESCAPED BY '';\n"
		if _, err := m.Exec(ctx, database, sql); err != nil {
			return fmt.Errorf("fill table %s: %w", t.name, err)
		}
	}
	_, err := m.Exec(ctx, database, indexes+"ANALYZE TABLE customers, orders, order_items, events, reviews;")
	return err
}

// size of a database in bytes, as the server counts it.
func (m *maria) size(ctx context.Context, database string) (int64, error) {
	text, err := m.Exec(ctx, database, "SELECT CAST(SUM(data_length + index_length) AS SIGNED) FROM information_schema.tables WHERE table_schema = DATABASE()")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

func (m *maria) env(more ...string) []string {
	return append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/"}, more...)
}

// mariaDump is what an operator types to back one database up.
const mariaDump = `mysqldump --defaults-file="$OPTIONS" --single-transaction --quick --routines --triggers --events --hex-blob --no-tablespaces "$DATABASE"`

// subject is the measured database.
func (m *maria) subject(database string) subject {
	return subject{
		title: "MariaDB", id: "mariadb", database: database,
		size: func(ctx context.Context) (int64, error) { return m.size(ctx, database) },
		env:  m.env("OPTIONS="+m.backupOptions, "DATABASE="+database),
		dump: mariaDump, text: mariaDump, shown: "mysqldump", shownText: "mysqldump",
		aims: map[string]aims{storageLocal: {pipeline: 1.00, gzip: 2.2}},
		restore: restoring{
			instance: "maria", target: mariaTarget,
			env:   m.env("OPTIONS="+m.restoreOptions, "TARGET="+mariaTarget),
			typed: `mariadb --defaults-file="$OPTIONS" -e "CREATE DATABASE $TARGET CHARACTER SET utf8mb4"; mariadb --defaults-file="$OPTIONS" "$TARGET" < "$FILE"`,
			shown: "create database; mariadb < local file",
			drop:  func(ctx context.Context) error { return m.Drop(ctx, mariaTarget) },
		},
	}
}

// keep makes a database unless a file beside the data tells that it is there already, by this version and for this size.
func keep(dir, name string, mib int, say func(string, ...any), fill func() error) error {
	file := filepath.Join(dir, name+".made")
	mark := fmt.Sprintf("rows %s, %d MiB", rowsVersion, mib)
	if have, err := os.ReadFile(file); err == nil && string(have) == mark {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	say("  make database %s for a dump of %d MiB, kept for later runs …", name, mib)
	took, err := timed(fill)
	if err != nil {
		return fmt.Errorf("make database %s: %w", name, err)
	}
	say("  made in %s", took.Round(time.Second))
	return os.WriteFile(file, []byte(mark), 0o644)
}
