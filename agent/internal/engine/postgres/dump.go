package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/wire"
)

const dumpMethod = "pg_dump --format=custom"

// dump is one run of pg_dump and the transaction whose snapshot it reads.
type dump struct {
	e        *Engine
	ctx      context.Context // of the whole dump
	cancel   context.CancelCauseFunc
	database string
	info     engine.DumpInfo
	globals  []byte

	out   *tool.Reader
	bytes int64
	conn  *pgx.Conn // holds the snapshot; describe's alone once that runs

	described   chan struct{}
	fingerprint *wire.Fingerprint
	err         error // of the fingerprint

	close sync.Once
}

// Dump starts pg_dump on a snapshot of ours and returns once its first byte is there: it then holds its locks on all
// tables. ctx counts until the dump is closed.
func (e *Engine) Dump(ctx context.Context, req engine.DumpRequest) (engine.Dump, error) {
	if err := checkName(req.Database); err != nil {
		return nil, err
	}
	if !e.allowed(req.Database) {
		return nil, wire.Failf(wire.CodeNotAllowed, "the agent's configuration does not allow a backup of database %q", req.Database).
			WithHint("look at include and exclude of the instance %q", e.cfg.Name)
	}
	if req.StallTimeout <= 0 {
		req.StallTimeout = defaultStall
	}
	d := &dump{e: e, database: req.Database, described: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	if err := d.open(req); err != nil {
		err = d.failure(err)
		d.abandon()
		if d.out != nil {
			err = &engine.Said{Err: err, Log: d.out.Log()}
		}
		return nil, err
	}
	go d.describe()
	return d, nil
}

func (d *dump) open(req engine.DumpRequest) (err error) {
	if d.conn, err = d.e.connect(d.ctx, d.e.backup, d.database); err != nil {
		return err
	}
	version, major := serverVersion(d.conn)
	if major < minMajor {
		return wire.Failf(wire.CodeNotAllowed, "PostgreSQL %s is not supported: version %d or newer is", version, minMajor)
	}
	program, err := d.e.choose(d.ctx, "pg_dump", major, "PostgreSQL "+version)
	if err != nil {
		return err
	}
	snapshot, err := d.snapshot(major)
	if err != nil {
		return err
	}
	if d.info, err = d.describeSource(program); err != nil {
		return err
	}
	if req.Globals {
		if d.globals, err = d.e.dumpGlobals(d.ctx, major); err != nil {
			return err
		}
	}
	c, started, err := d.e.command(program.path, d.e.backup, d.database,
		"--format=custom", "--compress=0", "--no-password", "--snapshot="+snapshot,
		fmt.Sprintf("--lock-wait-timeout=%d", d.e.cfg.LockTimeout.Milliseconds()))
	if err != nil {
		return err
	}
	defer started()
	c.StallTimeout, c.Buffered = req.StallTimeout, program.buffered
	if d.out, err = tool.Output(d.ctx, c); err != nil {
		return err
	}
	if err = d.out.Await(); errors.Is(err, io.EOF) {
		return d.empty()
	}
	return err
}

func (d *dump) empty() *wire.Failure {
	return wire.Failf(wire.CodeEmptyDump, "pg_dump ended with success but wrote nothing of %s", d.e.where(d.database)).Retry()
}

// snapshot opens the transaction that the dump reads in, and exports it.
func (d *dump) snapshot(major int) (id string, err error) {
	what := "take a snapshot of " + d.e.where(d.database)
	// Not a transaction object: the connection is closed with it.
	if err := begin(d.ctx, d.conn, major); err != nil {
		return "", d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	if err := d.conn.QueryRow(d.ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&id); err != nil {
		return "", d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	return id, nil
}

// begin opens a transaction in which all statements see the same data. The counting must not take processors from the dump.
func begin(ctx context.Context, conn *pgx.Conn, major int) error {
	statements := []string{"SET max_parallel_workers_per_gather = 0", "SET jit = off"}
	if major >= 17 {
		statements = append(statements, "SET transaction_timeout = 0")
	}
	for _, sql := range append(statements, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (d *dump) describeSource(program binary) (info engine.DumpInfo, err error) {
	info = engine.DumpInfo{Tool: "pg_dump", ToolVersion: program.version, Method: dumpMethod, Extension: "dump"}
	if info.Server, err = d.e.server(d.ctx, d.conn); err != nil {
		return info, err
	}
	if err := d.conn.QueryRow(d.ctx, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").Scan(&info.DatabaseSize); err != nil {
		return info, d.e.sqlFailure(d.ctx, err, "measure "+d.e.where(d.database), d.database)
	}
	if err := d.conn.QueryRow(d.ctx, "SELECT count(*) FROM ("+tablesSQL+") t").Scan(&info.Tables); err != nil {
		return info, d.e.sqlFailure(d.ctx, err, "count tables of "+d.e.where(d.database), d.database)
	}
	extensions, err := extensionsOf(d.ctx, d.conn)
	if err != nil {
		return info, d.e.sqlFailure(d.ctx, err, "list extensions of "+d.e.where(d.database), d.database)
	}
	info.Extra = map[string]any{"extensions": extensions} // what a plan of a restore looks for at its target
	return info, nil
}

// describe takes the fingerprint while the dump is read. pg_dump holds its locks by now, so nothing can be truncated
// between what it reads and what is counted; and it has the snapshot, so that ours can end with the counting.
func (d *dump) describe() {
	defer close(d.described)
	defer hangUp(d.ctx, d.conn)
	_, major := serverVersion(d.conn)
	d.fingerprint, d.err = describe(d.ctx, d.conn, major)
	if d.err != nil {
		d.err = d.e.sqlFailure(d.ctx, d.err, "describe "+d.e.where(d.database), d.database)
	}
}

// Read yields io.EOF only after pg_dump ended with status 0 and wrote something.
func (d *dump) Read(b []byte) (int, error) {
	n, err := d.out.Read(b)
	d.bytes += int64(n)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, d.failure(err)
	case d.bytes == 0:
		return n, d.empty()
	}
	return n, io.EOF
}

// failure maps an error of pg_dump. A database that vanished meanwhile is why it failed, whatever it said.
func (d *dump) failure(err error) *wire.Failure {
	f := d.e.toolFailure(d.ctx, err, "dump "+d.e.where(d.database), d.database)
	if f.Code != wire.CodeToolFailed && f.Code != wire.CodeDatabaseDown {
		return f
	}
	ctx, cancel := context.WithTimeout(d.ctx, defaultConnectTimeout)
	defer cancel()
	if there, err := d.e.Exists(ctx, d.database); err == nil && !there {
		return d.e.missing(d.database, f)
	}
	return f
}

// Info is known from the start.
func (d *dump) Info() engine.DumpInfo { return d.info }

// Globals are roles and settings as SQL, without passwords.
func (d *dump) Globals() []byte { return d.globals }

// Log is what pg_dump wrote to its standard error.
func (d *dump) Log() string { return d.out.Log() }

// Fingerprint waits until the description is complete.
func (d *dump) Fingerprint(ctx context.Context) (*wire.Fingerprint, error) {
	select {
	case <-d.described:
		if d.err != nil {
			return nil, d.err
		}
		return d.fingerprint, nil
	case <-ctx.Done():
		return nil, stopped(ctx, "wait for the description of "+d.e.where(d.database))
	}
}

// Close stops pg_dump and the description, and waits for both.
func (d *dump) Close() error {
	d.close.Do(func() {
		d.cancel(tool.ErrClosed)
		_ = d.out.Close()
		<-d.described
	})
	return nil
}

// abandon ends a dump that could not be opened.
func (d *dump) abandon() {
	d.cancel(tool.ErrClosed)
	if d.out != nil {
		_ = d.out.Close()
	}
	if d.conn != nil {
		hangUp(d.ctx, d.conn)
	}
}

// dumpGlobals returns roles, their memberships and settings, and tablespaces, without passwords.
func (e *Engine) dumpGlobals(ctx context.Context, major int) ([]byte, error) {
	program, err := e.choose(ctx, "pg_dumpall", major, fmt.Sprintf("PostgreSQL %d", major))
	if err != nil {
		return nil, err
	}
	c, started, err := e.command(program.path, e.backup, e.cfg.Database, "--globals-only", "--no-role-passwords", "--no-password")
	if err != nil {
		return nil, err
	}
	defer started()
	c.StallTimeout = defaultStall
	out, _, err := tool.Run(ctx, c, maxGlobals)
	if err != nil {
		return nil, e.toolFailure(ctx, err, "dump roles and settings of "+e.address(), e.cfg.Database)
	}
	if len(strings.TrimSpace(string(out))) == 0 {
		return nil, wire.Failf(wire.CodeEmptyDump, "pg_dumpall ended with success but wrote nothing of %s", e.address()).Retry()
	}
	return out, nil
}

// maxGlobals is the most that roles and settings may take, in bytes.
const maxGlobals = 16 << 20
