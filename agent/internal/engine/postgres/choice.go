package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/wire"
)

// maxJobs bounds how many connections a restore opens.
const maxJobs = 64

func checkChoices(req engine.RestoreRequest) error {
	if req.Jobs < 0 || req.Jobs > maxJobs {
		return wire.Failf(wire.CodeBadRequest, "%d jobs: choose up to %d", req.Jobs, maxJobs)
	}
	for _, one := range req.Only {
		if one.Schema == "" {
			return wire.Failf(wire.CodeBadRequest, "a part of a PostgreSQL backup is a schema, or a table with its schema")
		}
	}
	return nil
}

// prepareChoices takes out of the list what was not chosen, and makes the roles that are missing.
func (r *restore) prepareChoices() error {
	req := r.request
	if !req.Owners && !req.Privileges && len(req.Only) == 0 && len(req.Roles) == 0 {
		return nil
	}
	items, err := r.head.contents()
	if err != nil {
		return err
	}
	if len(req.Only) > 0 {
		chosen, notes, err := selectItems(items, req.Only)
		if err != nil {
			return err
		}
		for _, note := range notes {
			r.note(note)
		}
		r.head.choose(chosen)
		items = slices.DeleteFunc(items, func(i item) bool { return !chosen[i.id] })
	}
	if len(req.Roles) > 0 {
		if err := r.makeRoles(items); err != nil {
			return err
		}
	}
	if req.Owners || req.Privileges {
		r.items = items
	}
	return nil
}

var createRole = regexp.MustCompile(`(?m)^CREATE ROLE ("(?:[^"]|"")+"|[^\s";]+);$`)

// rolesIn are the names of the roles that the server's roles and settings of a backup create. Nothing else is read of them.
func rolesIn(globals []byte) []string {
	var names []string
	for _, m := range createRole.FindAllSubmatch(globals, -1) {
		name := unquote(string(m[1]))
		reserved := strings.HasPrefix(name, "pg_") || name == "public" || name == "none"
		if possible(name) && !reserved && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// missingRoles are those of names that the server does not have.
func (e *Engine) missingRoles(ctx context.Context, conn *pgx.Conn, names []string) (missing []string, err error) {
	err = conn.QueryRow(ctx, `SELECT ARRAY(SELECT n FROM pg_catalog.unnest($1::text[]) n
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = n) ORDER BY n)`, names).Scan(&missing)
	return missing, err
}

// makeRoles makes the roles of the backup that the dump names and that are missing here: without login, and without any
// right over the server. While the restore runs, its account is a member of them, so that it can give them their objects.
func (r *restore) makeRoles(items []item) error {
	conn, err := r.e.connect(r.ctx, r.e.backup, r.e.cfg.Database)
	if err != nil {
		return err
	}
	defer hangUp(r.ctx, conn)
	var named []string
	for _, name := range rolesIn(r.request.Roles) {
		if slices.ContainsFunc(items, func(i item) bool { return r.names(i, name) }) {
			named = append(named, name)
		}
	}
	missing, err := r.e.missingRoles(r.ctx, conn, named)
	if err != nil {
		return r.e.sqlFailure(r.ctx, err, "look for roles on "+r.e.address(), r.e.cfg.Database)
	}
	for _, name := range missing {
		_, err := conn.Exec(r.ctx, "CREATE ROLE "+quoteName(name)+" NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42710" {
			continue // somebody was faster, and it is theirs
		}
		if err == nil && r.request.Owners {
			r.lent = append(r.lent, name)
			_, err = conn.Exec(r.ctx, "GRANT "+quoteName(name)+" TO "+quoteName(r.e.restore.user))
		}
		if err != nil {
			f := r.e.sqlFailure(r.ctx, err, fmt.Sprintf("create role %q on %s", name, r.e.address()), r.e.cfg.Database)
			if f.Code == wire.CodePrivilege {
				f = f.WithHint("run %s, or create the role yourself", grantCreateRole(r.e.backup.user))
			}
			return f
		}
		r.note(fmt.Sprintf("note: role %s was created, without login and without members", quoteName(name)))
	}
	return nil
}

// names tells whether an entry will name a role.
func (r *restore) names(i item, role string) bool {
	switch i.kind {
	case "POLICY":
		return mentions(i.define, role)
	case "ACL", "DEFAULT ACL":
		return r.request.Privileges && mentions(i.define, role)
	}
	return r.request.Owners && i.owner == role
}

// mentions tells whether a name is in SQL, quoted or as a word.
func mentions(sql, name string) bool {
	if strings.Contains(sql, quoteName(name)) {
		return true
	}
	for from := 0; ; {
		at := strings.Index(sql[from:], name)
		if at < 0 {
			return false
		}
		start, end := from+at, from+at+len(name)
		if (start == 0 || !nameByte(sql[start-1])) && (end == len(sql) || !nameByte(sql[end])) {
			return true
		}
		from = start + 1
	}
}

func nameByte(b byte) bool {
	return b == '_' || b == '$' || b >= 0x80 || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// returnRoles ends the memberships that makeRoles made.
func (r *restore) returnRoles() error {
	if len(r.lent) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), cleanupTimeout)
	defer cancel()
	conn, err := r.e.connect(ctx, r.e.backup, r.e.cfg.Database)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	for len(r.lent) > 0 {
		if _, err := conn.Exec(ctx, "REVOKE "+quoteName(r.lent[0])+" FROM "+quoteName(r.e.restore.user)); err != nil {
			return r.e.sqlFailure(ctx, err, fmt.Sprintf("end the restore account's membership in role %q", r.lent[0]), r.e.cfg.Database)
		}
		r.lent = r.lent[1:]
	}
	return nil
}

// finish does what follows the stream: indexes and constraints if several build them at once, then owners and grants, all as
// the restore account.
func (r *restore) finish() error {
	if r.parallel {
		if err := r.buildIndexes(); err != nil {
			return err
		}
	}
	if len(r.items) == 0 {
		return nil
	}
	conn, err := r.e.connect(r.ctx, r.e.restore, r.database)
	if err != nil {
		return err
	}
	defer hangUp(r.ctx, conn)
	if r.request.Owners {
		if err := r.giveAway(conn); err != nil {
			return r.e.sqlFailure(r.ctx, err, "give objects to their owners in "+r.e.where(r.database), r.database)
		}
	}
	if r.request.Privileges {
		if err := r.grant(conn); err != nil {
			return r.e.sqlFailure(r.ctx, err, "grant rights in "+r.e.where(r.database), r.database)
		}
	}
	return nil
}

// buildIndexes restores the last section from the table of contents alone: it needs no row of the dump. Row security is switched on
// when all is there: while a foreign key is checked, it could hide rows.
func (r *restore) buildIndexes() error {
	var first, last []string
	for _, line := range r.list {
		what := entry(line)
		if strings.HasPrefix(what, "ROW SECURITY ") || strings.HasPrefix(what, "POLICY ") || strings.HasPrefix(what, "COMMENT ") && strings.Contains(what, "POLICY ") {
			last = append(last, line)
		} else {
			first = append(first, line)
		}
	}
	if err := r.buildEach(first, r.request.Jobs); err != nil || len(last) == 0 {
		return err
	}
	return r.buildEach(last, 1)
}

func (r *restore) buildEach(list []string, jobs int) error {
	selected, err := listFile(list)
	if err != nil {
		return err
	}
	defer selected.Close()
	args := append(r.arguments(), "--exit-on-error", "--section=post-data", fmt.Sprintf("--jobs=%d", jobs), tool.FilePath(2))
	c, started, err := r.e.command(r.program.path, r.e.restore, r.database, args...)
	if err != nil {
		return err
	}
	defer started()
	c.Files = append(c.Files, selected, r.head.spool)
	_, log, err := tool.Run(r.ctx, c, maxListing)
	if log != "" {
		r.note(strings.TrimSuffix(log, "\n"))
	}
	return err
}

// giveAway makes the roles that an object belonged to own it again, as far as the restore account is a member of them. What
// cannot be given away stays with the restore account.
func (r *restore) giveAway(conn *pgx.Conn) error {
	byRole := map[string][]item{}
	for _, i := range r.items {
		if i.owner != "" && i.owner != r.e.restore.user && len(i.owned()) > 0 {
			byRole[i.owner] = append(byRole[i.owner], i)
		}
	}
	for _, role := range sortedKeys(byRole) {
		var there, member bool
		err := conn.QueryRow(r.ctx, `SELECT count(*) > 0, coalesce(bool_or(pg_catalog.pg_has_role(oid, 'MEMBER')), false)
			FROM pg_catalog.pg_roles WHERE rolname = $1::text`, role).Scan(&there, &member)
		switch {
		case err != nil:
			return err
		case !there:
			r.note(fmt.Sprintf("warning: role %s does not exist: %d objects of it belong to %s", quoteName(role), len(byRole[role]), quoteName(r.e.restore.user)))
		case !member:
			r.note(fmt.Sprintf("warning: %s is not a member of role %s: %d objects of it belong to %[1]s", quoteName(r.e.restore.user), quoteName(role), len(byRole[role])))
		default:
			if err := r.giveTo(conn, role, byRole[role]); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// giveTo gives objects to one role, in one transaction. The new owner must have the right to create them where they are: it has
// it until then, and schemas change hands last.
func (r *restore) giveTo(conn *pgx.Conn, role string, items []item) error {
	to := quoteName(role)
	var objects, schemas []string
	places := map[string]bool{}
	for _, i := range items {
		for _, object := range i.owned() {
			if i.kind == "SCHEMA" {
				schemas = append(schemas, "ALTER "+object+" OWNER TO "+to)
				continue
			}
			objects = append(objects, "ALTER "+object+" OWNER TO "+to)
			if i.schema != "" {
				places["SCHEMA "+quoteName(i.schema)] = true
			}
		}
	}
	if len(schemas) > 0 {
		places["DATABASE "+quoteName(r.database)] = true
	}
	tx, err := conn.Begin(r.ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(r.ctx)) }()
	back := map[string][]string{}
	for _, place := range sortedKeys(places) {
		kind, name, _ := strings.Cut(place, " ")
		has := "has_schema_privilege"
		if kind == "DATABASE" {
			has = "has_database_privilege"
		}
		var may bool
		if err := tx.QueryRow(r.ctx, "SELECT pg_catalog."+has+"($1::name, $2::text, 'CREATE')", role, unquote(name)).Scan(&may); err != nil {
			return err
		}
		if !may {
			if _, err := tx.Exec(r.ctx, "GRANT CREATE ON "+place+" TO "+to); err != nil {
				return err
			}
			back[kind] = append(back[kind], "REVOKE CREATE ON "+place+" FROM "+to)
		}
	}
	// A schema's owner keeps the right, so it must be gone before the schema changes hands.
	var failed []refusedSQL
	for _, step := range []struct{ statements, back []string }{{objects, back["SCHEMA"]}, {schemas, back["DATABASE"]}} {
		refused, err := r.each(tx, step.statements)
		if err != nil {
			return err
		}
		failed = append(failed, refused...)
		for _, sql := range step.back {
			if _, err := tx.Exec(r.ctx, sql); err != nil {
				return err
			}
		}
	}
	for _, f := range failed {
		if f.code != "0A000" { // a column's sequence goes with its table
			r.note("warning: " + f.text)
		}
	}
	return tx.Commit(r.ctx)
}

// refusedSQL is a statement that the server did not take.
type refusedSQL struct{ code, text string }

// each runs statements one by one, and goes on past those that the server refuses.
func (r *restore) each(tx pgx.Tx, statements []string) (failed []refusedSQL, err error) {
	for _, sql := range statements {
		if _, err := tx.Exec(r.ctx, "SAVEPOINT one"); err != nil {
			return nil, err
		}
		_, err := tx.Exec(r.ctx, sql)
		var pg *pgconn.PgError
		end := "RELEASE SAVEPOINT one"
		if errors.As(err, &pg) {
			failed = append(failed, refusedSQL{pg.Code, fmt.Sprintf("%.200s: %s", sql, pg.Message)})
			end = "ROLLBACK TO SAVEPOINT one"
		} else if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(r.ctx, end); err != nil {
			return nil, err
		}
	}
	return failed, nil
}

// grant restores the grants on what was restored. Each statement is one that grants or revokes; whoever wrote the dump could have
// put any other in their place, which is not run.
func (r *restore) grant(conn *pgx.Conn) error {
	var statements []string
	for _, i := range r.items {
		if i.kind != "ACL" && i.kind != "DEFAULT ACL" || strings.HasPrefix(i.tag, "DATABASE ") {
			continue
		}
		for _, sql := range splitSQL(i.define) {
			switch {
			case strings.HasPrefix(sql, "GRANT "), strings.HasPrefix(sql, "REVOKE "), strings.HasPrefix(sql, "ALTER DEFAULT PRIVILEGES "):
				statements = append(statements, sql)
			case strings.HasPrefix(sql, "SET SESSION AUTHORIZATION "), strings.HasPrefix(sql, "RESET SESSION AUTHORIZATION"):
				// Grants of another grantor become grants of the owner.
			case sql != "":
				r.note(fmt.Sprintf("warning: not run, for it grants nothing: %.200s", sql))
			}
		}
	}
	const together = 1000
	for from := 0; from < len(statements); from += together {
		tx, err := conn.Begin(r.ctx)
		if err != nil {
			return err
		}
		failed, err := r.each(tx, statements[from:min(from+together, len(statements))])
		if err == nil {
			err = tx.Commit(r.ctx)
		}
		if err != nil {
			_ = tx.Rollback(context.WithoutCancel(r.ctx))
			return err
		}
		for _, f := range failed {
			r.note("warning: " + f.text)
		}
	}
	return nil
}

// splitSQL splits statements that have no bodies.
func splitSQL(sql string) []string {
	var statements []string
	var quote byte
	start := 0
	for i := range len(sql) {
		switch c := sql[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ';':
			statements = append(statements, strings.TrimSpace(sql[start:i]))
			start = i + 1
		}
	}
	return append(statements, strings.TrimSpace(sql[start:]))
}
