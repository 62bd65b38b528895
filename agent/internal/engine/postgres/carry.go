package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/shared/wire"
)

// database is what the server knows of one.
type database struct {
	name       string
	oid        uint32
	owner      string
	encoding   string
	collate    string
	ctype      string
	tablespace string
	template   bool
	connect    bool // new sessions are let in
	limit      int  // of sessions; -1: none
	comment    string
	grants     []databaseGrant // sorted
	settings   []databaseSetting
}

// databaseGrant is one right of one role; PUBLIC has no name.
type databaseGrant struct {
	role      string
	right     string
	grantable bool
}

// databaseSetting is one of ALTER DATABASE … SET, or of ALTER ROLE … IN DATABASE … SET.
type databaseSetting struct{ role, text string }

// database looks one up. There is none: nil.
func (e *Engine) database(ctx context.Context, conn *pgx.Conn, name string) (*database, error) {
	db := &database{name: name}
	what := "look at " + e.where(name)
	err := conn.QueryRow(ctx, `
		SELECT d.oid, r.rolname::text, pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, t.spcname::text,
		       d.datistemplate, d.datallowconn, d.datconnlimit, coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '')
		FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
		WHERE d.datname = $1::text`, name).
		Scan(&db.oid, &db.owner, &db.encoding, &db.collate, &db.ctype, &db.tablespace, &db.template, &db.connect, &db.limit, &db.comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none
	}
	if err == nil {
		err = db.readGrants(ctx, conn)
	}
	if err == nil {
		err = db.readSettings(ctx, conn)
	}
	if err != nil {
		return nil, e.sqlFailure(ctx, err, what, name)
	}
	return db, nil
}

func (db *database) readGrants(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT DISTINCT coalesce(r.rolname::text, ''), a.privilege_type, a.is_grantable
		FROM pg_catalog.pg_database d, pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
		     LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
		WHERE d.oid = $1::oid AND (a.grantee = 0 OR r.oid IS NOT NULL) ORDER BY 1, 2, 3`, db.oid)
	if err != nil {
		return err
	}
	db.grants, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (g databaseGrant, err error) {
		return g, r.Scan(&g.role, &g.right, &g.grantable)
	})
	return err
}

func (db *database) readSettings(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT coalesce(r.rolname::text, ''), c
		FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, pg_catalog.unnest(s.setconfig) c
		WHERE s.setdatabase = $1::oid AND (s.setrole = 0 OR r.oid IS NOT NULL) ORDER BY 1, 2`, db.oid)
	if err != nil {
		return err
	}
	db.settings, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (s databaseSetting, err error) {
		return s, r.Scan(&s.role, &s.text)
	})
	return err
}

// carry gives the staged database what belongs to the target's name. It returns what a person should know.
func (s *swap) carry(ctx context.Context) (notes []string, err error) {
	db := quoteName(s.req.Staged)
	var carried []string
	do := func(what, sql string) error {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return s.e.sqlFailure(ctx, err, fmt.Sprintf("carry the %s of %s over", what, s.e.where(s.req.Target)), s.req.Target)
		}
		if !slices.Contains(carried, what) {
			carried = append(carried, what)
		}
		return nil
	}
	if s.old.owner != s.staged.owner {
		if err := do("owner", "ALTER DATABASE "+db+" OWNER TO "+quoteName(s.old.owner)); err != nil {
			return nil, err
		}
	}
	if s.old.limit != s.staged.limit {
		if err := do("connection limit", fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d", db, s.old.limit)); err != nil {
			return nil, err
		}
	}
	if s.old.connect != s.staged.connect {
		if err := do("closing for sessions", fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %v", db, s.old.connect)); err != nil {
			return nil, err
		}
	}
	if s.old.comment != s.staged.comment {
		if err := do("comment", "COMMENT ON DATABASE "+db+" IS "+quoteText(s.old.comment)); err != nil {
			return nil, err
		}
	}
	// A new owner has other grants.
	now := *s.staged
	if err := now.readGrants(ctx, s.conn); err != nil {
		return nil, err
	}
	for _, sql := range regrant(db, now.grants, s.old.grants) {
		if err := do("grants", sql); err != nil {
			return nil, err
		}
	}
	refused, changed, err := s.carrySettings(ctx, db)
	if err != nil {
		return nil, err
	}
	if changed {
		carried = append(carried, "settings")
	}
	if len(carried) > 0 {
		notes = append(notes, fmt.Sprintf("%s of the database: carried over", strings.Join(carried, ", ")))
	}
	notes = append(notes, refused...)
	for _, c := range []struct{ what, was, is string }{
		{"encoding", s.old.encoding, s.staged.encoding},
		{"collation", s.old.collate, s.staged.collate},
		{"character classes", s.old.ctype, s.staged.ctype},
		{"tablespace", s.old.tablespace, s.staged.tablespace},
	} {
		if c.was != c.is {
			notes = append(notes, fmt.Sprintf("%s is %q now, it was %q", c.what, c.is, c.was))
		}
	}
	return notes, nil
}

// regrant lists the statements that make grants on a database those that are wanted.
func regrant(db string, have, want []databaseGrant) []string {
	if slices.Equal(have, want) {
		return nil
	}
	var sql []string
	var revoked []string
	for _, g := range have {
		if !slices.Contains(revoked, g.role) {
			revoked = append(revoked, g.role)
			sql = append(sql, "REVOKE ALL ON DATABASE "+db+" FROM "+grantee(g.role)+" CASCADE")
		}
	}
	for _, g := range want {
		one := "GRANT " + g.right + " ON DATABASE " + db + " TO " + grantee(g.role)
		if g.grantable {
			one += " WITH GRANT OPTION"
		}
		sql = append(sql, one)
	}
	return sql
}

func grantee(role string) string {
	if role == "" {
		return "PUBLIC"
	}
	return quoteName(role)
}

// carrySettings makes the settings of the staged database those of the target. One that the account may not set is told.
func (s *swap) carrySettings(ctx context.Context, db string) (refused []string, changed bool, err error) {
	if slices.Equal(s.old.settings, s.staged.settings) {
		return nil, false, nil
	}
	var sql []string
	var reset []string
	for _, one := range s.staged.settings {
		if !slices.Contains(reset, one.role) {
			reset = append(reset, one.role)
			sql = append(sql, settingOf(db, one.role)+" RESET ALL")
		}
	}
	for _, one := range s.old.settings {
		name, value, ok := strings.Cut(one.text, "=")
		if ok {
			sql = append(sql, settingOf(db, one.role)+" SET "+settingName(name)+" TO "+settingValue(name, value))
		}
	}
	for _, one := range sql {
		if _, err := s.conn.Exec(ctx, "SAVEPOINT setting"); err != nil {
			return nil, false, err
		}
		_, err := s.conn.Exec(ctx, one)
		end := "RELEASE SAVEPOINT setting"
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			what, _, _ := strings.Cut(one, " TO ") // its value may be nobody's business
			refused = append(refused, fmt.Sprintf("not carried over: %s: %s", what, pg.Message))
			end = "ROLLBACK TO SAVEPOINT setting"
		} else if err != nil {
			return nil, false, err
		}
		if _, err := s.conn.Exec(ctx, end); err != nil {
			return nil, false, err
		}
	}
	return refused, true, nil
}

func settingOf(db, role string) string {
	if role == "" {
		return "ALTER DATABASE " + db
	}
	return "ALTER ROLE " + quoteName(role) + " IN DATABASE " + db
}

func settingName(name string) string {
	return pgx.Identifier(strings.Split(name, ".")).Sanitize()
}

// listSettings are those whose values are lists of names, as in PostgreSQL's own guc_parameters.
var listSettings = []string{
	"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories",
}

// settingValue is a value as SET wants it. A list is stored as one text and must be given as several.
func settingValue(name, value string) string {
	if !slices.Contains(listSettings, strings.ToLower(name)) || strings.TrimSpace(value) == "" {
		return quoteText(value)
	}
	var parts []string
	for rest := value; ; {
		part, left, more := cutListed(rest)
		parts = append(parts, quoteText(part))
		if !more {
			return strings.Join(parts, ",")
		}
		rest = left
	}
}

// cutListed takes the first name off a list, with its quotes undone.
func cutListed(list string) (name, rest string, more bool) {
	list = strings.TrimSpace(list)
	if !strings.HasPrefix(list, `"`) {
		name, rest, more = strings.Cut(list, ",")
		return strings.TrimSpace(name), rest, more
	}
	var b strings.Builder
	for i := 1; i < len(list); i++ {
		switch {
		case list[i] != '"':
			b.WriteByte(list[i])
		case i+1 < len(list) && list[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			_, rest, more = strings.Cut(list[i+1:], ",")
			return b.String(), rest, more
		}
	}
	return b.String(), "", false
}

// adopted is how many relations change hands in one transaction, each of which locks one.
const adopted = 500

// adopt gives what the restore account made in the staged database to the target's owner, whose programs could not use it
// otherwise. It is not given to an owner with rights over the server: a function of the dump could run with them.
func (s *swap) adopt(ctx context.Context) error {
	from, to := s.e.restore.user, s.old.owner
	if s.staged.owner != from || to == from {
		return nil
	}
	rights, err := rightsOf(ctx, s.conn, to)
	if err != nil {
		return err
	}
	if problem := rights.problem(); problem != "" {
		s.result.Notes = append(s.result.Notes, fmt.Sprintf("what was restored belongs to %q: the owner %q %s, and a dump must not get such rights", from, to, problem))
		return nil
	}
	conn, err := s.e.connect(ctx, s.who, s.req.Staged)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	what := fmt.Sprintf("give what was restored to %q", to)
	if err := s.adoptRelations(ctx, conn, from, to); err != nil {
		return s.e.sqlFailure(ctx, err, what, s.req.Staged)
	}
	// REASSIGN OWNED takes the account's databases along. They are given back in the same transaction. Another session may
	// change one of them at the same moment.
	const tries = 5
	for range tries {
		if err = s.reassign(ctx, conn, from, to); err == nil {
			s.result.Notes = append(s.result.Notes, fmt.Sprintf("what was restored belongs to the owner %q now", to))
			return nil
		}
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "XX000" && pg.Code != "42704" && pg.Code != "3D000" {
			break
		}
	}
	f := s.e.sqlFailure(ctx, err, what, s.req.Staged)
	if f.Code == wire.CodePrivilege {
		f = f.WithHint("run %s", grantMember(s.who.user, from, to))
	}
	return f
}

// adoptRelations gives relations away in small steps: one transaction for very many would need too many locks. What it cannot, is
// left to REASSIGN OWNED.
func (s *swap) adoptRelations(ctx context.Context, conn *pgx.Conn, from, to string) error {
	rows, err := conn.Query(ctx, `
		SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1::text) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'`, from)
	if err != nil {
		return err
	}
	relations, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (sql string, err error) {
		var schema, name string
		err = r.Scan(&schema, &name)
		return "ALTER TABLE " + pgx.Identifier{schema, name}.Sanitize() + " OWNER TO " + quoteName(to), err
	})
	if err != nil || len(relations) < adopted {
		return err
	}
	for chunk := range slices.Chunk(relations, adopted) {
		batch := &pgx.Batch{}
		for _, sql := range chunk {
			batch.Queue(sql)
		}
		err := conn.SendBatch(ctx, batch).Close()
		var pg *pgconn.PgError
		if err != nil && !errors.As(err, &pg) {
			return err
		}
	}
	return nil
}

func (s *swap) reassign(ctx context.Context, conn *pgx.Conn, from, to string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	owned := func() (names []string, err error) {
		err = tx.QueryRow(ctx, `SELECT ARRAY(SELECT d.datname::text FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
			WHERE r.rolname = $1::text ORDER BY 1)`, to).Scan(&names)
		return names, err
	}
	before, err := owned()
	if err != nil {
		return err
	}
	// An object's new owner needs the right to create in its schema when its turn comes, and REASSIGN OWNED keeps no order: the
	// database and its schemas go first. https://www.postgresql.org/docs/current/sql-alterfunction.html
	if _, err := tx.Exec(ctx, "ALTER DATABASE "+quoteName(s.req.Staged)+" OWNER TO "+quoteName(to)); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT nspname::text FROM pg_catalog.pg_namespace
		WHERE nspowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1::text) ORDER BY 1`, from)
	if err != nil {
		return err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		if _, err := tx.Exec(ctx, "ALTER SCHEMA "+quoteName(schema)+" OWNER TO "+quoteName(to)); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "REASSIGN OWNED BY "+quoteName(from)+" TO "+quoteName(to)); err != nil {
		return err
	}
	after, err := owned()
	if err != nil {
		return err
	}
	for _, name := range after {
		if slices.Contains(before, name) {
			continue
		}
		if _, err := tx.Exec(ctx, "ALTER DATABASE "+quoteName(name)+" OWNER TO "+quoteName(from)); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}
