package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What every connection is set to: it waits for no lock by itself, trusts nothing that a schema says, checks what it reads,
// maps no database into memory and writes no temporary files.
const commonSettings = "_pragma=busy_timeout(0)&_pragma=trusted_schema(0)&_pragma=query_only(1)&_pragma=cell_size_check(1)" +
	"&_pragma=mmap_size(0)&_pragma=temp_store(2)&_pragma=foreign_keys(0)&_pragma=recursive_triggers(0)"

// connection is one connection to one file. It is used by one goroutine.
type connection struct {
	*sql.Conn
	db *sql.DB
}

// connect opens a connection that can attach no other file.
func connect(ctx context.Context, dsn string) (*connection, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	c := &connection{conn, db}
	if _, err := sqlite.Limit(conn, sqlite3.SQLITE_LIMIT_ATTACHED, 0); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *connection) close() {
	_ = c.Close()
	_ = c.db.Close()
}

// pathURI is a URI that SQLite reads as exactly this path.
func pathURI(path string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString("file:")
	for i := range len(path) {
		c := path[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/-_.~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// number reads one value.
func (c *connection) number(ctx context.Context, query string) (n int64, err error) {
	if err := c.QueryRowContext(ctx, query).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", query, err)
	}
	return n, nil
}

// resultCode is SQLite's code of an error, 0 if it is not SQLite's.
func resultCode(err error) (primary, extended int) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, 0
	}
	return e.Code() & 0xff, e.Code()
}

// locked tells whether another connection's lock is in the way for now.
func locked(err error) bool {
	primary, _ := resultCode(err)
	return primary == sqlite3.SQLITE_BUSY || primary == sqlite3.SQLITE_LOCKED || primary == sqlite3.SQLITE_PROTOCOL
}

// quote writes a name as an identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
