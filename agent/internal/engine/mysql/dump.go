package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	// lockWait is the longest that the global read lock is waited for: meanwhile writers wait behind us.
	lockWait = 3 * time.Second
	// lockHold is the longest that it is held. The server itself cuts the connection that holds it after that time.
	lockHold = 10 * time.Second

	chunkSize = 256 << 10
)

// dump is one run of a dump program, and the transaction beside it in which rows are counted.
type dump struct {
	e        *Engine
	ctx      context.Context // of the whole dump
	cancel   context.CancelCauseFunc
	database string
	info     engine.DumpInfo
	facts    facts

	out     *tool.Reader
	ahead   []byte // read or made, but not given out
	scratch []byte
	rewrite *rewriter // of dumps that name their own database
	bytes   int64
	tail    []byte
	end     error // of what the program wrote
	final   error // what Read says from now on

	// How long the reader and the program were waited for; times are nanoseconds of the monotonic clock.
	started      time.Time
	waiting      atomic.Bool
	lastByte     atomic.Int64
	left         time.Time // when the last Read returned
	pause        time.Duration
	writeTimeout time.Duration

	conn      *conn // holds the snapshot; describe's alone once that runs
	exact     bool
	described chan struct{}
	found     *wire.Fingerprint
	err       error // of the fingerprint
	watched   chan struct{}

	noteMu sync.Mutex
	notes  strings.Builder

	close sync.Once
}

// Dump starts the dump program and returns once its transaction has begun. ctx counts until the dump is closed.
//
// The fingerprint is exact if the account may take the global read lock: for a moment, at most lockWait and lockHold,
// nobody writes, while our snapshot and then the program's are taken. Else it is approximate.
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
	d := &dump{e: e, database: req.Database, started: time.Now(), described: make(chan struct{}), watched: make(chan struct{}), scratch: make([]byte, chunkSize)}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	if err := d.open(req); err != nil {
		err = d.failure(err)
		d.abandon()
		return nil, err
	}
	go d.describe()
	return d, nil
}

func (d *dump) open(req engine.DumpRequest) (err error) {
	if d.conn, err = d.e.connect(d.ctx, d.e.backup); err != nil {
		close(d.watched)
		return err
	}
	program, err := d.prepare()
	if err != nil {
		close(d.watched)
		return err
	}
	go d.watch()
	release, err := d.snapshot()
	if err != nil {
		return err
	}
	defer release()
	c, started, err := d.e.command(program, d.e.backup, req.StallTimeout, func(optionFile string) []string {
		return dumpArgs(program, d.facts, optionFile, d.database)
	})
	if err != nil {
		return err
	}
	defer started()
	c.Buffered, c.Watch = program.buffered, func(line string) bool {
		if begun(line) {
			release()
		}
		return worthKeeping(line)
	}
	if d.out, err = tool.Output(d.ctx, c); err != nil {
		return err
	}
	return d.awaitTransaction()
}

// prepare looks at server, account and database, and finds the program.
func (d *dump) prepare() (program binary, err error) {
	c := d.conn
	if err := c.server.supported(); err != nil {
		return program, err
	}
	if there, err := c.exists(d.ctx, d.database); err != nil {
		return program, err
	} else if !there {
		return program, d.e.missing(d.database, errNotListed)
	}
	if program, err = d.e.choose(d.ctx, dumpProgram, c.server); err != nil {
		return program, err
	}
	if !program.atLeast(c.server.major, c.server.minor) {
		d.note("warning: " + program.String() + " is older than the server, " + c.server.String())
	}
	d.writeTimeout = c.seconds(d.ctx, "net_write_timeout")
	return program, d.describeSource(program)
}

func (d *dump) describeSource(program binary) (err error) {
	c := d.conn
	what := "look at " + d.e.where(d.database)
	d.info = engine.DumpInfo{
		Tool: dumpProgram.names[program.flavour][0], ToolVersion: program.version, Extension: "sql", Extra: map[string]any{},
	}
	d.info.Method = d.info.Tool + " --single-transaction"
	if d.info.Server, err = c.identify(d.ctx); err != nil {
		return err
	}
	d.facts.server = c.server
	var charset, collation string
	err = c.one(d.ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE "+same("SCHEMA_NAME"),
		[]any{d.database, d.database}, &charset, &collation)
	if err != nil {
		return d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	d.info.Extra["character_set"], d.info.Extra["collation"] = charset, collation
	err = c.one(d.ctx, `SELECT CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS SIGNED), COUNT(*), COALESCE(SUM(TABLE_TYPE = 'SYSTEM VERSIONED'), 0) > 0
		FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND `+same("TABLE_SCHEMA"),
		[]any{d.database, d.database}, &d.info.DatabaseSize, &d.info.Tables, &d.facts.history)
	if err != nil {
		return d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	return d.portable(collation)
}

// portable finds out whether the program would write the database's own name into definitions: for defaults from
// sequences, and for routines, triggers and events that were made under another collation of the database. Then the name
// is taken off, so that the dump can be restored under any.
func (d *dump) portable(collation string) error {
	queries := []string{
		"SELECT COUNT(*) FROM information_schema.COLUMNS WHERE (COLUMN_DEFAULT LIKE '%nextval(%' OR COLUMN_DEFAULT LIKE '%lastval(%' OR COLUMN_DEFAULT LIKE '%setval(%') AND " + same("TABLE_SCHEMA"),
		"SELECT COUNT(*) FROM information_schema.VIEWS WHERE VIEW_DEFINITION LIKE '%val(`%' AND " + same("TABLE_SCHEMA"),
		"SELECT COUNT(*) FROM information_schema.ROUTINES WHERE DATABASE_COLLATION <> ? AND " + same("ROUTINE_SCHEMA"),
		"SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE DATABASE_COLLATION <> ? AND " + same("TRIGGER_SCHEMA"),
		"SELECT COUNT(*) FROM information_schema.EVENTS WHERE DATABASE_COLLATION <> ? AND " + same("EVENT_SCHEMA"),
	}
	for _, query := range queries {
		args := []any{d.database, d.database}
		if strings.Count(query, "?") == 3 {
			args = append([]any{collation}, args...)
		}
		var n int
		if err := d.conn.one(d.ctx, query, args, &n); err != nil {
			return d.e.sqlFailure(d.ctx, err, "look at definitions in "+d.e.where(d.database), d.database)
		}
		if n > 0 {
			d.rewrite = newRewriter(func(b []byte) error {
				d.ahead = append(d.ahead, b...)
				return nil
			})
			d.rewrite.unqualify = d.database
			return nil
		}
	}
	return nil
}

// snapshot begins our transaction, under the global read lock if that can be had. release lifts the lock, once; it tells in
// the log for how long it was held. It may be called by any goroutine.
func (d *dump) snapshot() (release func(), err error) {
	c, what := d.conn, "take a snapshot of "+d.e.where(d.database)
	release = func() {}
	granted, err := c.rights(d.ctx)
	if err != nil {
		return release, d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	if err := c.mayDump(d.ctx, granted, d.database); err != nil {
		return release, err
	}
	tables, err := c.tables(d.ctx, d.database)
	if err != nil {
		return release, d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	loose, err := c.untransactional(d.ctx, tables)
	if err != nil {
		return release, d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	switch {
	case len(loose) > 0:
		d.note("warning: tables without transactions are not consistent with the others if they are written during the dump: " + abridge(loose))
	case !granted.mayLock(c.server):
		d.note("row counts are approximate: the account may not take the global read lock (RELOAD)")
	default:
		release = d.lock()
	}
	if err := c.snapshot(d.ctx); err != nil {
		release()
		return func() {}, d.e.sqlFailure(d.ctx, err, what, d.database)
	}
	return release, nil
}

// lock takes the global read lock. If it cannot be had in time, the dump goes on without.
func (d *dump) lock() (release func()) {
	none := func() {}
	holder, err := d.e.connect(d.ctx, d.e.backup)
	if err != nil {
		d.note("row counts are approximate: " + err.Error())
		return none
	}
	wait := max(1, int(min(lockWait, d.e.cfg.LockTimeout).Seconds()))
	err = holder.exec(d.ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d, wait_timeout = %d", wait, int(lockHold.Seconds())))
	if err == nil {
		err = holder.exec(d.ctx, "FLUSH TABLES WITH READ LOCK")
	}
	if err != nil {
		holder.hangUp(d.ctx)
		d.note("row counts are approximate: the global read lock was not had: " + d.e.scrub(err).Error())
		return none
	}
	began := time.Now()
	var warnings []string
	extra, warnings := holder.positions(d.ctx)
	for key, value := range extra {
		d.info.Extra[key] = value
	}
	for _, warning := range warnings {
		d.note(warning)
	}
	d.exact = true
	var once sync.Once
	unlock := func() {
		once.Do(func() {
			holder.hangUp(d.ctx) // the server lifts the lock with the connection
			d.note(fmt.Sprintf("the global read lock was held for %d ms", time.Since(began).Milliseconds()))
		})
	}
	limit := time.AfterFunc(lockHold, unlock)
	return sync.OnceFunc(func() {
		if !limit.Stop() || time.Since(began) >= lockHold {
			d.exact = false
			d.note("row counts are approximate: the program had not begun its transaction when the lock had to be lifted")
		}
		unlock()
	})
}

// begun tells whether a program that says this has begun its transaction: both things come after the server has answered to START
// TRANSACTION. What it says right before it, "-- Starting transaction", does not count.
func begun(line string) bool {
	return strings.HasPrefix(line, "-- Setting savepoint") || strings.HasPrefix(line, "-- Retrieving table structure")
}

// worthKeeping tells what a program says for people from what it says only because it is verbose: warnings begin as that does.
func worthKeeping(line string) bool {
	return !strings.HasPrefix(line, "-- ") || strings.HasPrefix(line, "-- Warning")
}

var (
	headerEnd  = []byte("SQL_NOTES=0")
	afterBegin = []byte("\n--\n")
)

// awaitTransaction reads until the program has begun its transaction. It writes its header before and everything else
// after that, so the first byte past the header proves it; bytes come late for the program's buffer, never early. The global
// read lock does not wait for them where the program says before that it has begun.
func (d *dump) awaitTransaction() error {
	var head []byte
	for {
		at := bytes.Index(head, headerEnd)
		if at >= 0 && bytes.Contains(head[at:], afterBegin) || len(head) > chunkSize {
			break
		}
		n, err := d.read(d.scratch)
		head = append(head, d.scratch[:n]...)
		if errors.Is(err, io.EOF) {
			d.end = err
			break
		}
		if err != nil {
			return err
		}
	}
	if len(head) == 0 {
		return d.empty()
	}
	if err := d.give(withDates(d.withCharset(head))); err != nil {
		return err
	}
	if d.end != nil && d.rewrite != nil {
		d.closeRewriter()
	}
	return nil
}

func (d *dump) empty() *wire.Failure {
	return wire.Failf(wire.CodeEmptyDump, "%s ended with success but wrote nothing of %s", d.info.Tool, d.e.where(d.database)).Retry()
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// withCharset puts a line into the dump that gives the database its character set: the program writes it only where it
// writes the database's name too. The line works on the current database, in every client.
func (d *dump) withCharset(head []byte) []byte {
	charset, _ := d.info.Extra["character_set"].(string)
	collation, _ := d.info.Extra["collation"].(string)
	if !plainName.MatchString(charset) || !plainName.MatchString(collation) {
		return head
	}
	at, _ := sandboxLine(head, true)
	line := "ALTER DATABASE CHARACTER SET " + charset + " COLLATE " + collation + ";\n"
	return append([]byte(string(head[:at])+line), head[at:]...)
}

// withDates lets the dump bring back dates such as February 31st, which a server may hold: in the mode that the program
// writes, they would silently become zero.
func withDates(head []byte) []byte {
	return bytes.Replace(head, []byte("SQL_MODE='NO_AUTO_VALUE_ON_ZERO'"), []byte("SQL_MODE='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"), 1)
}

// read waits for the program, and notes for how long.
func (d *dump) read(b []byte) (int, error) {
	d.lastByte.Store(int64(time.Since(d.started)))
	d.waiting.Store(true)
	n, err := d.out.Read(b)
	d.waiting.Store(false)
	d.bytes += int64(n)
	d.tail = append(d.tail, b[max(0, n-tailSize):n]...)
	if over := len(d.tail) - tailSize; over > 0 {
		d.tail = append(d.tail[:0], d.tail[over:]...)
	}
	return n, err
}

// give puts bytes where Read takes them, changed if they must be.
func (d *dump) give(b []byte) error {
	if d.rewrite == nil {
		d.ahead = append(d.ahead, b...)
		return nil
	}
	_, err := d.rewrite.Write(b)
	return err
}

// Read yields io.EOF only after the program ended with status 0 and its end mark came last.
func (d *dump) Read(b []byte) (int, error) {
	if !d.left.IsZero() {
		d.pause = max(d.pause, time.Since(d.left))
	}
	defer func() { d.left = time.Now() }()
	if d.final == nil && d.ctx.Err() != nil {
		d.final = d.failure(context.Cause(d.ctx))
	}
	if d.final != nil {
		return 0, d.final
	}
	for len(d.ahead) == 0 && d.end == nil {
		if d.rewrite == nil {
			var n int
			if n, d.end = d.read(b); n > 0 || len(b) == 0 {
				return n, nil
			}
			continue
		}
		d.ahead = d.ahead[:0]
		n, err := d.read(d.scratch)
		d.end = err
		if werr := d.give(d.scratch[:n]); werr != nil {
			d.end = werr
		}
		if errors.Is(err, io.EOF) {
			d.closeRewriter()
		}
	}
	if len(d.ahead) > 0 {
		n := copy(b, d.ahead)
		d.ahead = d.ahead[n:]
		return n, nil
	}
	d.final = d.outcome()
	return 0, d.final
}

func (d *dump) closeRewriter() {
	if err := d.rewrite.Close(); err != nil {
		d.end = err
	}
}

// outcome tells how a dump ended.
func (d *dump) outcome() error {
	switch {
	case !errors.Is(d.end, io.EOF):
		return d.failure(d.end)
	case d.bytes == 0:
		return d.empty()
	case !complete(d.tail):
		return wire.Failf(wire.CodeIncompleteDump, "%s ended with success but the dump of %s is not complete: its last line is not the end mark",
			d.info.Tool, d.e.where(d.database)).Retry()
	}
	return io.EOF
}

// watch ends a dump that waits for the lock of a table: the program itself would wait for a day.
func (d *dump) watch() {
	defer close(d.watched)
	limit := d.e.cfg.LockTimeout
	tick := time.NewTicker(min(max(limit/4, 20*time.Millisecond), 2*time.Second))
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		if !d.waiting.Load() || time.Since(d.started)-time.Duration(d.lastByte.Load()) < limit {
			continue
		}
		ids := d.lockedOut()
		if len(ids) == 0 || d.ctx.Err() != nil {
			continue
		}
		d.cancel(d.e.lockTimeout(d.database, errors.New("waiting for a metadata lock")))
		d.e.kill(d.ctx, d.e.backup, ids...)
		return
	}
}

// lockedOut lists the account's connections that wait for the lock of a table of the database.
func (d *dump) lockedOut() (ids []int64) {
	c, err := d.e.connect(d.ctx, d.e.backup)
	if err != nil {
		return nil
	}
	defer c.hangUp(d.ctx)
	_ = c.each(d.ctx, `SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ? AND CONVERT(DB USING utf8mb4) COLLATE utf8mb4_bin = ?
		AND ID > ? AND (STATE LIKE 'Waiting for table%' OR STATE LIKE 'Waiting for%lock%')`, []any{d.e.backup.user, d.database, d.conn.id},
		func(scan func(to ...any) error) error {
			var id int64
			if err := scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
			return nil
		})
	return ids
}

// describe takes the fingerprint while the dump is read.
func (d *dump) describe() {
	defer close(d.described)
	defer d.conn.hangUp(d.ctx)
	d.found, d.err = d.conn.describe(d.ctx, d.database, d.exact)
	if d.err != nil {
		d.err = d.e.sqlFailure(d.ctx, d.err, "describe "+d.e.where(d.database), d.database)
	}
}

// failure maps an error of the program. A database that vanished meanwhile is why it failed, whatever it said; and so is
// a reader that paused longer than the server waits.
func (d *dump) failure(err error) *wire.Failure {
	f := d.e.toolFailure(d.ctx, err, "dump "+d.e.where(d.database), d.database)
	if f.Code != wire.CodeToolFailed && f.Code != wire.CodeDatabaseDown {
		return f
	}
	if number := errorNumber(f.Message); (number == 2013 || number == 2006) && d.writeTimeout > 0 && d.pause >= d.writeTimeout-time.Second/2 {
		return wire.Failf(wire.CodeUploadStalled, "the server cut the dump of %s off: nothing was taken for %s, and it waits for %s: %w",
			d.e.where(d.database), d.pause.Round(time.Second), d.writeTimeout, f).Retry().WithHint("%s", writeTimeoutHint)
	}
	ctx, cancel := context.WithTimeout(d.ctx, defaultConnectTimeout)
	defer cancel()
	if there, err := d.e.Exists(ctx, d.database); err == nil && !there {
		return d.e.missing(d.database, f)
	}
	return f
}

const writeTimeoutHint = "run SET GLOBAL net_write_timeout = 3600, and set it in the server's configuration: else a store that pauses longer ends the dump"

// Info is known from the start.
func (d *dump) Info() engine.DumpInfo { return d.info }

// Globals are none: accounts cannot be written without their password hashes.
func (d *dump) Globals() []byte { return nil }

func (d *dump) note(text string) {
	d.noteMu.Lock()
	defer d.noteMu.Unlock()
	if d.notes.Len() < 16<<10 {
		d.notes.WriteString(secret.Scrub(text, d.e.secrets()...) + "\n")
	}
}

// Log is what was noticed, and what the program wrote to its standard error.
func (d *dump) Log() string {
	d.noteMu.Lock()
	defer d.noteMu.Unlock()
	return d.notes.String() + d.out.Log()
}

// Fingerprint waits until the description is complete.
func (d *dump) Fingerprint(ctx context.Context) (*wire.Fingerprint, error) {
	select {
	case <-d.described:
		if d.err != nil {
			return nil, d.err
		}
		return d.found, nil
	case <-ctx.Done():
		return nil, stopped(ctx, "wait for the description of "+d.e.where(d.database))
	}
}

// Close stops the program and the description, and waits for both.
func (d *dump) Close() error {
	d.close.Do(func() {
		d.cancel(tool.ErrClosed)
		_ = d.out.Close()
		<-d.described
		<-d.watched
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
		d.conn.hangUp(d.ctx)
	}
	<-d.watched
}
