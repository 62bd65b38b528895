package sqlite

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"devflowbackup/shared/wire"
)

// userTables are the tables that somebody made: also virtual ones, and those in which virtual tables keep their content.
const userTables = `type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`

type table struct {
	name    string
	virtual bool
}

func (c *connection) tables(ctx context.Context) (list []table, err error) {
	rows, err := c.QueryContext(ctx, "SELECT name, coalesce(sql, '') LIKE 'CREATE VIRTUAL%' FROM sqlite_schema WHERE "+userTables+" ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t table
		if err := rows.Scan(&t.name, &t.virtual); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// describe counts rows and objects of a file that nobody writes. Notes say what could not be counted: a virtual table whose
// module this agent does not have is described by the tables that hold its content.
func (c *connection) describe(ctx context.Context, p *pulse) (f *wire.Fingerprint, notes []string, err error) {
	f = &wire.Fingerprint{V: wire.Version, Engine: wire.EngineSQLite, Exact: true, Counts: map[string]int64{}}
	for kind, query := range map[string]string{
		"indexes": "SELECT count(*) FROM sqlite_schema WHERE type = 'index'", "views": "SELECT count(*) FROM sqlite_schema WHERE type = 'view'",
		"triggers":     "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
		"user_version": "PRAGMA user_version", "application_id": "PRAGMA application_id",
	} {
		if f.Counts[kind], err = c.number(ctx, query); err != nil {
			return nil, nil, err
		}
	}
	tables, err := c.tables(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		p.beat()
		rows, err := c.number(ctx, "SELECT count(*) FROM "+quote(t.name))
		if primary, _ := resultCode(err); ctx.Err() == nil && primary == sqlite3.SQLITE_ERROR {
			if len(notes) < keptLines {
				notes = append(notes, fmt.Sprintf("rows of table %q are not counted: %v", t.name, err))
			}
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("count rows of table %q: %w", t.name, err)
		}
		f.Tables = append(f.Tables, wire.TableCount{Name: t.name, Rows: rows})
	}
	return f, notes, nil
}

// reading opens an image of the file and calls work with a connection to it.
func reading(ctx context.Context, file *os.File, p *pulse, work func(c *connection) error) error {
	i, err := show(file, p)
	if err != nil {
		return err
	}
	defer i.hide()
	conn, err := connect(ctx, i.dsn())
	if err != nil {
		return err
	}
	defer conn.close()
	return work(conn)
}

// Fingerprint describes one database. It reads a copy, so that no writer waits, except for what a restore has made, which
// nobody writes yet.
func (e *Engine) Fingerprint(ctx context.Context, database string) (*wire.Fingerprint, error) {
	what := fmt.Sprintf("describe database %q", database)
	var p pulse
	var file *os.File
	if stagingName.MatchString(database) {
		s, err := e.staged(ctx, database)
		if err != nil {
			return nil, err
		}
		if file, err = s.read(); err != nil {
			return nil, failure(ctx, err, what)
		}
		s.close()
		s.dir.close()
	} else {
		path, err := e.locate(ctx, database)
		if err != nil {
			return nil, err
		}
		s, err := e.snapshot(ctx, defaultStall, &p, path)
		if err != nil {
			return nil, err
		}
		file = s.file
	}
	f, err := describeFile(ctx, defaultStall, &p, file, func(notes []string) {
		e.log.Warn("describe", "database", database, "notes", strings.Join(notes, "; "))
	})
	if err != nil {
		return nil, failure(ctx, err, what)
	}
	return f, nil
}

// locate is the path of a database, also of one that was kept and is known by its name.
func (e *Engine) locate(ctx context.Context, database string) (string, error) {
	if keptName.MatchString(database) {
		s, err := e.staged(ctx, database)
		if err != nil {
			return "", err
		}
		defer s.dir.close()
		defer s.close()
		return s.path(), nil
	}
	if err := checkName(database); err != nil {
		return "", err
	}
	return database, e.checkListed(database)
}

// describeFile describes a file and closes it.
func describeFile(ctx context.Context, stall time.Duration, p *pulse, file *os.File, note func([]string)) (*wire.Fingerprint, error) {
	return call(ctx, stall, p, func(ctx context.Context) (f *wire.Fingerprint, err error) {
		defer file.Close()
		err = reading(ctx, file, p, func(c *connection) error {
			var notes []string
			f, notes, err = c.describe(ctx, p)
			if len(notes) > 0 {
				note(notes)
			}
			return err
		})
		return f, err
	}, func(*wire.Fingerprint) {})
}
