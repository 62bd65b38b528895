package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// stagingName is what a restore may fill. pg_restore takes the name as an argument, where others could be read as
// connection strings.
var stagingName = regexp.MustCompile(`^` + engine.StagingPrefix + `[a-z0-9_]{1,40}$`)

// restore is one run of pg_restore into a database of its own.
//
// The dump's table of contents comes first and is kept until it is complete: it says which database to make and which
// extensions it needs, and what a role without rights over the server cannot restore is taken out of it.
type restore struct {
	e        *Engine
	ctx      context.Context
	cancel   context.CancelCauseFunc
	detach   func() bool // ctx no longer aborts
	database string
	request  engine.RestoreRequest

	mu      sync.Mutex // one Write, Close or clean-up at a time
	head    *archive   // until pg_restore runs
	out     *tool.Writer
	lenient bool // pg_restore goes on past errors, see outcome
	program binary
	list    []string // of what pg_restore restores
	// What the request's choices need once pg_restore has ended.
	parallel bool     // indexes and constraints are built then
	items    []item   // with owners and grants
	lent     []string // roles that the restore account is a member of until then
	created  bool     // the database is there and ours to remove
	closed   bool
	err      error

	noteMu sync.Mutex
	notes  strings.Builder
	tool   *tool.Writer // for Log
}

// Restore checks the restore account and the target's name. The database is made when the dump's table of contents was
// written, so that wrong input makes none. A zero StallTimeout is 10 minutes: the server works between two reads.
func (e *Engine) Restore(ctx context.Context, req engine.RestoreRequest) (engine.Restore, error) {
	if !stagingName.MatchString(req.Database) {
		return nil, wire.Failf(wire.CodeBadRequest, "restore into %q: the name must be %s and up to 40 of a-z, 0-9 and _", req.Database, engine.StagingPrefix)
	}
	if err := checkChoices(req); err != nil {
		return nil, err
	}
	if req.StallTimeout <= 0 {
		req.StallTimeout = defaultRestoreStall
	}
	conn, err := e.connect(ctx, e.restore, e.cfg.Database)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	if err := e.checkRestoreRole(ctx, conn); err != nil {
		return nil, err
	}
	if there, err := e.exists(ctx, conn, req.Database); err != nil {
		return nil, err
	} else if there {
		return nil, wire.Failf(wire.CodeTargetExists, "restore into %s: it exists", e.where(req.Database))
	}
	r := &restore{e: e, database: req.Database, request: req}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if r.head, err = e.newArchive(ctx); err != nil {
		return nil, err
	}
	r.detach = context.AfterFunc(ctx, func() { r.abort(context.Cause(ctx)) })
	return r, nil
}

// Write passes the dump on. An error is final, and the database is gone by then.
func (r *restore) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.closed {
		r.err = wire.Failf(wire.CodeInterrupted, "restore into %s: it is closed", r.e.where(r.database))
	}
	if r.err != nil {
		return 0, r.err
	}
	if err := r.take(b, false); err != nil {
		return 0, r.fail(err)
	}
	return len(b), nil
}

// take gives b to pg_restore, or keeps it while there is none.
func (r *restore) take(b []byte, last bool) error {
	if r.out != nil {
		_, err := r.out.Write(b)
		return r.outcome(err)
	}
	complete, err := r.head.add(r.ctx, b, last)
	if err != nil || !complete {
		return err
	}
	return r.begin()
}

// begin makes the database and starts pg_restore with what was kept.
func (r *restore) begin() error {
	defer func() {
		if !r.parallel {
			r.release()
		}
	}()
	if err := r.prepareChoices(); err != nil {
		return err
	}
	admin, err := r.e.connect(r.ctx, r.e.restore, r.e.cfg.Database)
	if err != nil {
		return err
	}
	defer hangUp(r.ctx, admin)
	version, server := serverVersion(admin)
	program, err := r.e.choose(r.ctx, "pg_restore", max(server, leadingNumber(r.head.version)),
		fmt.Sprintf("a dump by pg_dump %s into PostgreSQL %s", r.head.version, version))
	if err != nil {
		return err
	}
	if err := r.create(admin, server); err != nil {
		return err
	}
	list, err := r.prepareExtensions(server)
	if err != nil {
		return err
	}
	if r.lenient = refusesSetting(program.major, server); r.lenient {
		r.note(fmt.Sprintf("note: pg_restore %s sets transaction_timeout, which PostgreSQL %s does not know: its first error is no harm", program.version, version))
	}
	r.program, r.list = program, r.filter(list)
	// Each of several connections would meet that error, and nobody could count them.
	r.parallel = r.request.Jobs > 1 && !r.lenient
	if r.request.Jobs > 1 && !r.parallel {
		r.note(fmt.Sprintf("note: indexes are built one by one: pg_restore %s can only share that work with a newer server; install postgresql-client-%d", program.version, server))
	}
	if err := r.start(); err != nil {
		return err
	}
	return r.outcome(r.head.copyTo(r.out))
}

// outcome is the error of pg_restore, without the one that it was bound to meet.
func (r *restore) outcome(err error) error {
	if r.lenient {
		return withoutSetting(err)
	}
	return err
}

// create makes the database with encoding and locale of the one that was dumped, or as near as this server can.
func (r *restore) create(admin *pgx.Conn, server int) error {
	options, err := r.head.databaseOptions(r.ctx)
	if err != nil {
		return err
	}
	if server < 15 && options["LOCALE_PROVIDER"] == "libc" {
		delete(options, "LOCALE_PROVIDER")
	}
	only := map[string]string{}
	if encoding, ok := options["ENCODING"]; ok {
		only["ENCODING"] = encoding
	}
	plain := map[string]string{"ENCODING": only["ENCODING"], "LOCALE": "C"}
	// Not cancelled half-way: the server would go on, and make the database after it was cleaned up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), cleanupTimeout)
	defer cancel()
	for i, with := range []map[string]string{options, only, plain} {
		r.created = true // also if the answer gets lost
		_, err = admin.Exec(ctx, createDatabaseSQL(r.database, with))
		var pg *pgconn.PgError
		if err == nil {
			if i > 0 {
				r.note("warning: this server does not have the locale of the dump's database: sort order may differ")
			}
			return nil
		}
		if !errors.As(err, &pg) {
			break
		}
		r.created = false
		if !slices.Contains([]string{"42809", "22023", "42704", "0A000"}, pg.Code) {
			break
		}
	}
	f := r.e.sqlFailure(r.ctx, err, "create "+r.e.where(r.database), r.database)
	if f.Code == wire.CodePrivilege {
		f = f.WithHint("run %s", grantCreateDB(r.e.restore.user))
	}
	return f
}

func createDatabaseSQL(name string, options map[string]string) string {
	sql := "CREATE DATABASE " + quoteName(name) + " TEMPLATE template0"
	for _, key := range []string{"ENCODING", "LOCALE_PROVIDER", "LOCALE", "LC_COLLATE", "LC_CTYPE", "ICU_LOCALE", "ICU_RULES", "BUILTIN_LOCALE"} {
		if value, ok := options[key]; ok && value != "" {
			sql += " " + key + " = " + quoteText(value)
		}
	}
	return sql
}

func quoteText(text string) string {
	return ` E'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", "").Replace(text) + `'`
}

// prepareExtensions creates the dump's extensions before anything of the dump has run, and returns the list of entries
// that are left. Extensions that only a superuser can create are created by the backup account, if they are allowed.
func (r *restore) prepareExtensions(server int) ([]string, error) {
	list := r.head.list
	names := r.head.extensions()
	if len(names) == 0 {
		return list, nil
	}
	owner, err := r.e.connect(r.ctx, r.e.restore, r.database)
	if err != nil {
		return nil, err
	}
	defer hangUp(r.ctx, owner)
	foreign := map[string]bool{} // the role that restores does not own it
	for _, name := range names {
		state, err := r.extensionState(owner, server, name)
		if err != nil {
			return nil, err
		}
		if state.present {
			foreign[name] = true
			continue
		}
		foreign[name] = state.privileged
		made, err := r.createExtension(owner, name, state.privileged)
		if err != nil {
			return nil, err
		}
		if made != "" {
			if list, err = r.withoutSchema(list, made); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(line string) bool {
		name, ok := strings.CutPrefix(entry(line), "COMMENT - EXTENSION ")
		return ok && foreign[strings.TrimSuffix(name, " ")]
	}), nil
}

func (r *restore) withoutSchema(list []string, schema string) ([]string, error) {
	var left []string
	for _, line := range list {
		is, err := r.head.isSchema(r.ctx, line, schema)
		if err != nil {
			return nil, err
		}
		if !is {
			left = append(left, line)
		}
	}
	return left, nil
}

type extensionState struct {
	present    bool // in every new database
	privileged bool // only a superuser can create it
}

// extensionState refuses an extension that the server does not have or that the configuration does not allow.
func (r *restore) extensionState(conn *pgx.Conn, server int, name string) (s extensionState, err error) {
	err = conn.QueryRow(r.ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = $1::text)", name).Scan(&s.present)
	if err != nil {
		return s, r.e.sqlFailure(r.ctx, err, fmt.Sprintf("look for extension %q", name), r.database)
	}
	if !s.present {
		s.privileged, err = r.e.extensionRight(r.ctx, conn, r.database, server, name)
	}
	return s, err
}

// extensionRight tells whether only a superuser can create an extension, and refuses one that cannot be created at all.
func (e *Engine) extensionRight(ctx context.Context, conn *pgx.Conn, database string, server int, name string) (privileged bool, err error) {
	trusted := "false"
	if server >= 13 {
		trusted = "v.trusted"
	}
	var available bool
	err = conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = $1::text),
		       EXISTS (SELECT FROM pg_catalog.pg_available_extensions a JOIN pg_catalog.pg_available_extension_versions v
		               ON v.name = a.name AND v.version = a.default_version WHERE a.name = $1::text AND v.superuser AND NOT `+trusted+`)`,
		name).Scan(&available, &privileged)
	switch {
	case err != nil:
		return false, e.sqlFailure(ctx, err, fmt.Sprintf("look for extension %q", name), database)
	case !available:
		return false, wire.Failf(wire.CodePrivilege, "the dump needs the extension %q, which is not installed on %s", name, e.address()).
			WithHint("install its package beside the PostgreSQL server")
	case privileged && !slices.Contains(e.cfg.AllowedExtensions, name):
		return true, wire.Failf(wire.CodeNotAllowed, "the dump needs the extension %q, which only a superuser can create", name).
			WithHint("if you trust it, add it to restore.extensions of the instance %q in the agent's configuration", e.cfg.Name)
	}
	return privileged, nil
}

// createExtension creates one where the dump wants it, and returns the name of the schema that it had to make for that.
func (r *restore) createExtension(owner *pgx.Conn, name string, privileged bool) (made string, err error) {
	what := fmt.Sprintf("create extension %q in %s", name, r.e.where(r.database))
	schema, err := r.head.extensionSchema(r.ctx, name)
	if err != nil {
		return "", err
	}
	sql := "CREATE EXTENSION " + quoteName(name)
	if schema != "" {
		sql += " SCHEMA " + quoteName(schema)
		var there bool
		if err := owner.QueryRow(r.ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1::text)", schema).Scan(&there); err != nil {
			return "", r.e.sqlFailure(r.ctx, err, what, r.database)
		}
		if !there {
			if _, err := owner.Exec(r.ctx, "CREATE SCHEMA "+quoteName(schema)); err != nil {
				return "", r.e.sqlFailure(r.ctx, err, what, r.database)
			}
			made = schema
		}
	}
	conn := owner
	if privileged {
		if conn, err = r.e.connect(r.ctx, r.e.backup, r.database); err != nil {
			return "", err
		}
		defer hangUp(r.ctx, conn)
	}
	if _, err := conn.Exec(r.ctx, sql); err != nil {
		f := r.e.sqlFailure(r.ctx, err, what, r.database)
		if f.Code == wire.CodePrivilege {
			f = f.WithHint("the role %q of the instance %q must be a superuser to create it", r.e.backup.user, r.e.cfg.Name)
		}
		return "", f
	}
	return made, nil
}

// Entries that are left out with a note: their making needs a superuser, or, for replication, would touch other servers.
var notRestored = []string{"EVENT TRIGGER ", "PUBLICATION ", "SUBSCRIPTION ", "SECURITY LABEL "}

// filter takes out what belongs to the old database or cannot be restored.
func (r *restore) filter(list []string) []string {
	var left []string
	for _, line := range list {
		what := entry(line)
		onWhat := strings.TrimPrefix(what, "COMMENT - ")
		switch {
		case strings.HasPrefix(what, "DATABASE PROPERTIES "):
			r.note("warning: settings of the database (ALTER DATABASE … SET) are not restored")
			continue
		case strings.HasPrefix(onWhat, "DATABASE "):
			continue
		}
		if slices.ContainsFunc(notRestored, func(kind string) bool { return strings.HasPrefix(onWhat, kind) }) {
			r.note("warning: not restored: " + strings.TrimSpace(what))
			continue
		}
		left = append(left, line)
	}
	return left
}

// arguments are those of pg_restore. Owners and grants are not its matter: it would end where one cannot be had.
func (r *restore) arguments() []string {
	return []string{
		"--dbname=" + r.database, "--no-owner", "--no-privileges", "--no-security-labels", "--no-password",
		"--use-list=" + tool.FilePath(1),
	}
}

func (r *restore) start() error {
	selected, err := listFile(r.list)
	if err != nil {
		return err
	}
	defer selected.Close()
	args := r.arguments()
	if !r.lenient {
		args = append(args, "--exit-on-error")
	}
	if r.parallel {
		args = append(args, "--section=pre-data", "--section=data")
	}
	c, started, err := r.e.command(r.program.path, r.e.restore, r.database, args...)
	if err != nil {
		return err
	}
	defer started()
	c.Files = append(c.Files, selected)
	c.StallTimeout = r.request.StallTimeout
	if r.out, err = tool.Input(r.ctx, c); err != nil {
		return err
	}
	r.noteMu.Lock()
	r.tool = r.out
	r.noteMu.Unlock()
	return nil
}

// fail makes the outcome final and removes what was made.
func (r *restore) fail(err error) error {
	r.err = r.failure(err)
	r.clean()
	return r.err
}

func (r *restore) failure(err error) *wire.Failure {
	f := r.e.toolFailure(r.ctx, err, "restore into "+r.e.where(r.database), r.database)
	var exit *tool.ExitError
	if !errors.As(err, &exit) {
		return f
	}
	switch {
	case f.Code == wire.CodePrivilege:
		f = f.WithHint("the dump does what only a superuser may; such objects are not restored by %q", r.e.restore.user)
	case strings.Contains(exit.Log, "end of file"), strings.Contains(exit.Log, "could not read from input file"),
		strings.Contains(exit.Log, "did not find magic string"), strings.Contains(exit.Log, "corrupt"),
		strings.Contains(exit.Log, "unrecognized data block"), strings.Contains(exit.Log, "found unexpected block"):
		f = corrupt("pg_restore does not read it to its end: %w", r.e.scrub(err))
	case strings.Contains(exit.Log, "role \"") && strings.Contains(exit.Log, "does not exist"):
		f = f.WithHint("the dump names a role that is not here: create it, or restore roles and settings first")
	}
	if f.Code == wire.CodeToolFailed && !strings.Contains(exit.Log, "connection") {
		f.Retryable = false // the same dump meets the same error
	}
	return f
}

// clean stops pg_restore and drops the database, also after ctx has ended.
func (r *restore) clean() {
	r.cancel(tool.ErrClosed)
	r.detach()
	if r.out != nil {
		r.out.Abort()
	}
	r.release()
	if err := r.returnRoles(); err != nil {
		r.e.log.Error("restore account stays a member of roles that it was lent: revoke them", "roles", r.lent, "err", err)
	}
	if !r.created {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), cleanupTimeout)
	defer cancel()
	if err := r.e.Remove(ctx, r.database); err != nil {
		r.e.log.Error("half-restored database is left: drop it", "database", r.database, "err", err)
		return
	}
	r.created = false
}

// release frees the memory of the dump's beginning.
func (r *restore) release() {
	if r.head != nil {
		r.head.close()
		r.head = nil
	}
}

// Close waits for pg_restore, however long it builds indexes, and reports its outcome.
func (r *restore) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.err != nil {
		r.closed = true
		return r.err
	}
	r.closed = true
	if r.out == nil {
		if err := r.take(nil, true); err != nil {
			return r.fail(err)
		}
	}
	err := r.outcome(r.out.Close())
	if err == nil {
		err = r.finish()
	}
	if err == nil {
		err = r.returnRoles()
	}
	if err != nil {
		return r.fail(err)
	}
	r.release()
	if !r.detach() {
		// ctx ended first: Abort is waiting for us.
		return r.fail(context.Cause(r.ctx))
	}
	return nil
}

// Abort stops pg_restore and removes the database. After a Close that returned nil it removes the restored database.
func (r *restore) Abort() { r.abort(tool.ErrClosed) }

func (r *restore) abort(cause error) {
	r.cancel(cause)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && !r.closed {
		r.err = r.failure(cause)
	}
	r.clean()
}

func (r *restore) note(text string) {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	if r.notes.Len() < 16<<10 {
		r.notes.WriteString(secret.Scrub(text, r.e.secrets()...) + "\n")
	}
}

// Log is what was left out and what pg_restore wrote to its standard error.
func (r *restore) Log() string {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	text := r.notes.String()
	if r.tool != nil {
		text += r.tool.Log()
	}
	return text
}

// validation is pg_restore that reads a dump and writes nothing.
type validation struct {
	e    *Engine
	ctx  context.Context
	out  *tool.Writer
	mu   sync.Mutex
	seen int64
}

// Validate reads the dump with the newest pg_restore, which turns all of it into SQL that nobody gets.
func (e *Engine) Validate(ctx context.Context) (engine.Restore, error) {
	program, err := e.newest(ctx, "pg_restore")
	if err != nil {
		return nil, err
	}
	out, err := tool.Input(ctx, tool.Command{
		Path: program.path, Args: []string{"--file=" + os.DevNull}, Env: []string{"LC_ALL=C.UTF-8"},
		StallTimeout: defaultStall, Nice: e.cfg.Nice, Secrets: e.secrets(),
	})
	if err != nil {
		return nil, e.toolFailure(ctx, err, "validate the dump", "")
	}
	return &validation{e: e, ctx: ctx, out: out}, nil
}

func (v *validation) Write(b []byte) (int, error) {
	n, err := v.out.Write(b)
	v.mu.Lock()
	v.seen += int64(n)
	v.mu.Unlock()
	return n, v.failure(err)
}

func (v *validation) Close() error { return v.failure(v.out.Close()) }

func (v *validation) failure(err error) error {
	if err == nil {
		return nil
	}
	var exit *tool.ExitError
	if v.ctx.Err() != nil || !errors.As(err, &exit) || exit.Signal != 0 {
		return v.e.toolFailure(v.ctx, err, "validate the dump", "")
	}
	if strings.Contains(exit.Log, "unsupported version") {
		return wire.Failf(wire.CodeToolTooOld, "pg_restore is older than the pg_dump that made the dump: %w", err).
			WithHint("install the newest postgresql-client")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == 0 {
		return corrupt("it is empty")
	}
	return corrupt("pg_restore does not read it to its end: %w", v.e.scrub(err))
}

func (v *validation) Abort()      { v.out.Abort() }
func (v *validation) Log() string { return v.out.Log() }
