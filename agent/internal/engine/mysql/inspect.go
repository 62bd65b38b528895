package mysql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Codes of problems that are not those of failures.
const (
	problemOlderServer  = "older_server"
	problemOtherFlavour = "other_flavour"
	problemReadOnly     = "read_only"
	problemReplica      = "replica"
	problemBinaryLog    = "binary_log"
	problemRoutines     = "routines_distrusted"
	problemBrokenView   = "broken_view"
	problemCannotMove   = "cannot_move"
	problemForeignKeys  = "foreign_keys"
	problemGrants       = "routine_grants"
	problemEvents       = "events_disabled"
	problemDefiners     = "definers"
	problemCollation    = "missing_collation"
	problemSQLMode      = "sql_mode"
	problemPart         = "part_in_place"
	problemRunAs        = "run_as_restore_account"
	problemRestoreOwns  = "restore_owns_target"
)

func problem(stops bool, code, hint, format string, args ...any) engine.Problem {
	return engine.Problem{Stops: stops, Code: code, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// stopper is a failure that a restore would end with.
func stopper(err error) engine.Problem {
	f := wire.AsFailure(err)
	p := engine.Problem{Stops: true, Code: f.Code, Text: f.Message, Hint: f.Hint}
	if p.Hint == "" {
		p.Hint = "mend this, and look again"
	}
	return p
}

// Inspect looks at the target with all accounts. What they may not see, or what stands in the way, is a problem and no error.
func (e *Engine) Inspect(ctx context.Context, req engine.InspectRequest) (*engine.Target, error) {
	if err := checkName(req.Target); err != nil {
		return nil, err
	}
	if ours(req.Target) || system(req.Target) {
		return nil, wire.Failf(wire.CodeBadRequest, "target %q is not a database of programs", req.Target)
	}
	b, err := e.connect(ctx, e.backup)
	if err != nil {
		return nil, err
	}
	defer b.hangUp(ctx)
	t := &engine.Target{FreeBytes: -1}
	if t.Exists, err = e.Exists(ctx, req.Target); err != nil {
		return nil, err
	}
	what := "look at " + e.where(req.Target)
	if t.Exists {
		if err := b.measure(ctx, req.Target, t); err != nil {
			return nil, e.sqlFailure(ctx, err, what, req.Target)
		}
	}
	add := func(p ...engine.Problem) { t.Problems = append(t.Problems, p...) }
	switch {
	case req.InPlace && !t.Exists:
		add(problem(true, wire.CodeDatabaseMissing, "restore it as a new database", "there is no %s", e.where(req.Target)))
	case !req.InPlace && t.Exists:
		add(problem(true, wire.CodeTargetExists, "choose another name, or restore in place", "there is a %s already", e.where(req.Target)))
	}
	if req.InPlace && len(req.Restore.Only) > 0 {
		add(problem(true, problemPart, "restore it as a new database, and copy what is needed", "a part of a backup cannot take the place of a whole database"))
	}
	r, err := e.connect(ctx, e.restore)
	if err != nil {
		add(stopper(err))
		return t, stoppedOrNil(ctx, what)
	}
	defer r.hangUp(ctx)
	found, err := r.problems(ctx, req)
	if err != nil {
		return nil, e.sqlFailure(ctx, err, what, req.Target)
	}
	add(found...)
	t.FreeBytes = b.free(ctx)
	if need := max(req.DatabaseBytes, req.DumpBytes); t.FreeBytes >= 0 && need > t.FreeBytes {
		add(problem(true, wire.CodeDiskFull, "make room, or restore on another server",
			"%d bytes are to be restored beside what is there, and %d are free where the server keeps its data", need, t.FreeBytes))
	}
	c := r
	if e.swap != e.restore {
		if c, err = e.connect(ctx, e.swap); err != nil {
			if req.InPlace {
				add(stopper(err))
			}
			return t, stoppedOrNil(ctx, what)
		}
		defer c.hangUp(ctx)
	}
	if !t.Exists {
		return t, nil
	}
	if t.Identity, err = e.identity(ctx, req.Target, c, b); err != nil {
		return nil, e.sqlFailure(ctx, err, what, req.Target)
	}
	if !req.InPlace {
		return t, nil
	}
	w, err := e.watch(ctx, req.Target, c, r, b)
	if err != nil {
		return nil, e.sqlFailure(ctx, err, what, req.Target)
	}
	if found, err = e.obstacles(ctx, req.Target, req.Sessions, w); err != nil {
		return nil, e.sqlFailure(ctx, err, what, req.Target)
	}
	add(found...)
	sessions, err := w.staying(ctx)
	if err != nil {
		return nil, e.sqlFailure(ctx, err, what, req.Target)
	}
	for _, s := range sessions {
		t.Sessions = append(t.Sessions, s.Session)
	}
	if len(sessions) > 0 {
		f := w.inUse(sessions)
		add(problem(req.Sessions != engine.SessionsWait && req.Sessions != engine.SessionsEnd, f.Code, f.Hint, "%s", f.Message))
	}
	return t, nil
}

// measure fills in size and number of tables.
func (c *conn) measure(ctx context.Context, database string, t *engine.Target) error {
	return c.one(ctx, "SELECT CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS SIGNED), COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND "+same("TABLE_SCHEMA"),
		[]any{database, database}, &t.SizeBytes, &t.Tables)
}

// free is the space where the server keeps its data, if that is on this host; else -1.
func (c *conn) free(ctx context.Context) int64 {
	var host, directory string
	if !c.e.cfg.local() || c.one(ctx, "SELECT @@hostname, @@datadir", nil, &host, &directory) != nil {
		return -1
	}
	// A loopback address may lead into a container.
	if here, err := os.Hostname(); err != nil || here != host {
		return -1
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(directory, &stat); err != nil {
		return -1
	}
	return int64(stat.Bavail) * stat.Bsize //nolint:gosec,unconvert // block counts fit; the type differs by architecture
}

// problems are those of any restore on the server.
func (c *conn) problems(ctx context.Context, req engine.InspectRequest) (found []engine.Problem, err error) {
	add := func(p engine.Problem) { found = append(found, p) }
	if err := c.server.supported(); err != nil {
		add(stopper(err))
	}
	if err := c.mayRestore(ctx, c.e.filled(req.Target, req.InPlace)); err != nil {
		add(stopper(err))
	}
	if _, err := c.e.choose(ctx, client, c.server); err != nil {
		add(stopper(err))
	}
	if _, err := c.e.definersFor(req.Restore.Definers); err != nil {
		add(stopper(err))
	}
	if req.DumpServerVersion != "" {
		source := parseServer(req.DumpServerVersion, "")
		switch {
		case source.flavour != c.server.flavour:
			add(problem(false, problemOtherFlavour, "restore on a server of the same kind if it fails", "the backup is of %s, and the target is %s: not everything in a dump of the one is known to the other", source, c.server))
		case !c.server.atLeast(source.major, source.minor):
			add(problem(false, problemOlderServer, "restore on a server that is not older if it fails", "the backup is of %s, and the target is %s, which is older", source, c.server))
		}
		// What the source takes if nobody says another.
		collation := ""
		switch {
		case source.flavour == flavourMySQL && source.atLeast(8, 0):
			collation = "utf8mb4_0900_ai_ci"
		case source.flavour == flavourMariaDB && source.atLeast(11, 6):
			collation = "uca1400_ai_ci"
		}
		if collation != "" {
			var n int
			if err := c.one(ctx, "SELECT COUNT(*) FROM information_schema.COLLATIONS WHERE COLLATION_NAME = ?", []any{collation}, &n); err != nil {
				return nil, err
			}
			if n == 0 {
				add(problem(false, problemCollation, "restore on a server that has it", "%s does not have the collation %s, which is the usual one of %s", c.server, collation, source))
			}
		}
	}
	if c.variable(ctx, "read_only") == 1 || c.server.flavour == flavourMySQL && c.variable(ctx, "super_read_only") == 1 {
		add(problem(true, problemReadOnly, "restore on the server that it replicates from, or run SET GLOBAL read_only = OFF", "the server is read-only"))
	}
	if c.server.flavour == flavourMySQL && c.variable(ctx, "sql_require_primary_key") == 1 {
		add(problem(false, problemSQLMode, "run SET GLOBAL sql_require_primary_key = OFF if it fails", "the server refuses tables without a primary key"))
	}
	if c.variable(ctx, "log_bin") == 1 {
		text := "all that is restored goes through the binary log, and to every replica"
		var mode string
		if c.server.flavour == flavourMySQL && c.one(ctx, "SELECT @@GLOBAL.gtid_mode", nil, &mode) == nil && strings.EqualFold(mode, "ON") {
			text += "; transactions get numbers of this server, and the backup's own GTID set is not taken over"
		}
		add(problem(false, problemBinaryLog, "mind the space that the log and the replicas need", "%s", text))
		if c.variable(ctx, "log_bin_trust_function_creators") == 0 {
			add(problem(false, problemRoutines, "run SET GLOBAL log_bin_trust_function_creators = ON, and set it in the server's configuration",
				"the server writes a binary log and distrusts routines: a dump with triggers or functions cannot be restored"))
		}
	}
	extra, _ := c.positions(ctx)
	if replicas, ok := extra["replica_of"].([]map[string]any); ok && len(replicas) > 0 {
		add(problem(false, problemReplica, "restore on the server that it replicates from", "the server is a replica of %v: what is restored here is not there", replicas[0]["source_host"]))
	}
	return found, nil
}

// obstacles are what would stop a swap of an existing target, or what it does not carry over.
func (e *Engine) obstacles(ctx context.Context, target, sessions string, w *watch) (found []engine.Problem, err error) {
	add := func(p engine.Problem) { found = append(found, p) }
	c, in := w.c, []any{target, target}
	for _, database := range []string{target, engine.StagingPrefix + "1", engine.KeptPrefix + "1"} {
		if missing := w.rights.lacks(database, restorePrivileges); len(missing) > 0 {
			on := quotePattern(database)
			switch {
			case staging(database):
				on = quoteName(stagingPattern)
			case kept(database):
				on = quoteName(keptPattern)
			}
			add(problem(true, wire.CodePrivilege, "run "+grant(allPrivileges, on, w.rights.account),
				"the account %s, which swaps, lacks %s on %s", w.rights.account, strings.Join(missing, ", "), on))
		}
	}
	if errB, errC := w.b.mayDump(ctx, w.reads, target), c.mayDump(ctx, w.rights, target); errB != nil && errC != nil {
		add(stopper(errB))
	}
	if w.looker == nil {
		add(problem(true, wire.CodePrivilege, "run "+grant([]string{"PROCESS"}, "*", w.reads.account), "no account of the agent sees the sessions of others"))
	}
	if sessions == engine.SessionsEnd && w.ender == nil {
		add(problem(true, wire.CodePrivilege, "run "+grant([]string{sessionsRight(c.server.flavour)}, "*", "an account of the agent that no dump runs as"), "no account of the agent may end the sessions of others"))
	}
	reader := w.b
	// Names of ours, and what cannot be moved.
	reserved, err := reader.reserved(ctx, target)
	if err != nil {
		return nil, err
	}
	if len(reserved) > 0 {
		add(problem(true, problemCannotMove, "settle the restore or the swap that left them", "the target has tables of a restore that was interrupted: %s", abridge(reserved)))
	}
	merged, err := reader.strings(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE ENGINE = 'MRG_MYISAM' AND "+same("TABLE_SCHEMA"), in...)
	if err != nil {
		return nil, err
	}
	if len(merged) > 0 {
		add(problem(true, problemCannotMove, "drop them, and make them again afterwards", "tables that merge others cannot be moved with them: %s", abridge(merged)))
	}
	views, err := reader.strings(ctx, objectQueries["VIEW"], in...)
	if err != nil {
		return nil, err
	}
	var broken []string
	for _, name := range views {
		if _, err := reader.records(ctx, "SHOW COLUMNS FROM "+qualified(target, name)); answered(err, 1356, 1449) {
			broken = append(broken, name)
		} else if err != nil && !refused(err) {
			return nil, err
		}
	}
	if len(broken) > 0 {
		add(problem(true, problemBrokenView, "drop them, or mend what they refer to", "views of the target do not work, and could not be made again: %s", abridge(broken)))
	}
	if err := e.foreignKeys(ctx, target, reader, add); err != nil {
		return nil, err
	}
	return found, e.objectsOf(ctx, target, reader, w, add)
}

// foreignKeys between the target and other databases.
func (e *Engine) foreignKeys(ctx context.Context, target string, reader *conn, add func(engine.Problem)) error {
	into, err := reader.strings(ctx, "SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE "+same("UNIQUE_CONSTRAINT_SCHEMA")+
		" AND CONVERT(CONSTRAINT_SCHEMA USING utf8mb4) COLLATE utf8mb4_bin <> ?", target, target, target)
	if err != nil {
		return err
	}
	if len(into) > 0 {
		add(problem(true, problemForeignKeys, "drop these constraints, and add them again afterwards", "tables of other databases refer to the target, and would follow the old content: %s", abridge(into)))
	}
	out, err := reader.strings(ctx, "SELECT CONCAT(TABLE_NAME, ' → ', UNIQUE_CONSTRAINT_SCHEMA) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE "+same("CONSTRAINT_SCHEMA")+
		" AND CONVERT(UNIQUE_CONSTRAINT_SCHEMA USING utf8mb4) COLLATE utf8mb4_bin <> ?", target, target, target)
	if err != nil {
		return err
	}
	if len(out) > 0 {
		add(problem(false, problemForeignKeys, "remove the kept database before rows there are deleted", "tables of the target refer to other databases, and go on doing so while they are kept: %s", abridge(out)))
	}
	return nil
}

// objectsOf looks at views, routines, triggers and events of the target.
func (e *Engine) objectsOf(ctx context.Context, target string, reader *conn, w *watch, add func(engine.Problem)) error {
	c, in := w.c, []any{target, target}
	owners := map[string]bool{}
	counts := map[string]int{}
	for kind, query := range map[string]string{
		"VIEW":    "SELECT DEFINER, '' FROM information_schema.VIEWS WHERE " + same("TABLE_SCHEMA"),
		"ROUTINE": "SELECT DEFINER, ROUTINE_TYPE FROM information_schema.ROUTINES WHERE " + same("ROUTINE_SCHEMA"),
		"TRIGGER": "SELECT DEFINER, '' FROM information_schema.TRIGGERS WHERE " + same("TRIGGER_SCHEMA"),
		"EVENT":   "SELECT DEFINER, STATUS FROM information_schema.EVENTS WHERE " + same("EVENT_SCHEMA"),
	} {
		err := reader.each(ctx, query, in, func(scan func(to ...any) error) error {
			var owner, detail string
			err := scan(&owner, &detail)
			owners[owner] = true
			counts[kind]++
			if detail == "FUNCTION" || detail == "ENABLED" {
				counts[detail]++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if counts["TRIGGER"]+counts["FUNCTION"] > 0 && c.variable(ctx, "log_bin") == 1 && c.variable(ctx, "log_bin_trust_function_creators") == 0 && !w.rights.global.has("SUPER") {
		add(problem(true, problemRoutines, "run SET GLOBAL log_bin_trust_function_creators = ON, and set it in the server's configuration",
			"the server writes a binary log and distrusts routines: triggers and functions of the target could not be made again"))
	}
	if counts["ENABLED"] > 0 {
		add(problem(false, problemEvents, "run ALTER EVENT … ENABLE for those that are to run", "%d events run at the target: those that are restored are disabled", counts["ENABLED"]))
	}
	var foreign []string
	for owner := range owners {
		at := strings.LastIndexByte(owner, '@')
		if at < 0 || quoteText(owner[:at])+"@"+quoteText(owner[at+1:]) != w.rights.account {
			foreign = append(foreign, owner)
		}
	}
	slices.Sort(foreign)
	if missing := w.restores.lacks(target, runPrivileges); len(missing) > 0 && e.swap != e.restore && counts["VIEW"]+counts["ROUTINE"]+counts["TRIGGER"] > 0 {
		add(problem(false, problemRunAs, runHint(w.restores.account, target),
			"views, routines and triggers that are restored run as the restore account %s, which lacks %s at the target: a backup with such is refused at the swap", w.restores.account, strings.Join(missing, ", ")))
	}
	if w.restores.has("DROP", target) && e.swap != e.restore {
		add(problem(false, problemRestoreOwns, fmt.Sprintf("run REVOKE ALL PRIVILEGES ON %s.* FROM %s; it needs none there, or only what views, routines and triggers need", quotePattern(target), w.restores.account),
			"the restore account %s may drop what is at the target: a hostile dump could, while it is restored", w.restores.account))
	}
	if len(foreign) > 0 && !w.rights.setsDefiners() {
		f := e.definers(target, foreign, errors.New("it lacks the right to"))
		add(problem(true, problemDefiners, f.Hint, "%s", f.Message))
	}
	if counts["ROUTINE"] == 0 {
		return nil
	}
	granted, err := reader.strings(ctx, "SELECT DISTINCT CONCAT(User, '@', Host, ': ', Routine_name) FROM mysql.procs_priv WHERE Db = ?", target)
	switch {
	case refused(err):
		add(problem(false, problemGrants, "look for them with SHOW GRANTS before, and grant them again", "rights that are granted on single routines are lost with them, and the accounts of the agent may not see such"))
	case err != nil:
		return err
	case len(granted) > 0:
		add(problem(false, problemGrants, "grant them again afterwards", "rights on single routines are lost with them: %s", abridge(granted)))
	}
	return nil
}

// setsDefiners tells whether objects may be made that run as somebody else.
func (r rights) setsDefiners() bool {
	return slices.ContainsFunc([]string{"SUPER", "SET USER", "SET_USER_ID", "SET_ANY_DEFINER"}, r.global.has)
}
