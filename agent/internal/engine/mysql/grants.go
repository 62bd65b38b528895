package mysql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// privileges is a set of them in capitals, as the server writes them. "ALL PRIVILEGES" holds every other but GRANT OPTION.
type privileges map[string]bool

func (p privileges) has(name string) bool { return p[name] || p["ALL PRIVILEGES"] || p["ALL"] }

// schemaGrant is what is granted on databases that fit a pattern, or on one object of such.
type schemaGrant struct {
	pattern string
	object  string // empty for the whole database
	privileges
}

// rights are what an account may do, with the roles that it has or could take.
type rights struct {
	account string // 'user'@'host' as the server knows it
	global  privileges
	schemas []schemaGrant
	revoked []schemaGrant // partial revokes of MySQL
	roles   []string      // whose rights could not be seen
}

// has tells whether a privilege is held on everything in a database.
func (r rights) has(privilege, database string) bool {
	for _, g := range r.revoked {
		if g.pattern == database && g.has(privilege) {
			return false
		}
	}
	if r.global.has(privilege) {
		return true
	}
	return slices.ContainsFunc(r.schemas, func(g schemaGrant) bool {
		return g.object == "" && g.has(privilege) && like(g.pattern, database)
	})
}

// lacks lists those privileges that are not held on a database.
func (r rights) lacks(database string, wanted []string) (missing []string) {
	for _, p := range wanted {
		if !r.has(p, database) {
			missing = append(missing, p)
		}
	}
	return missing
}

// rights reads what the connection's account may do.
func (c *conn) rights(ctx context.Context) (r rights, err error) {
	r.global = privileges{}
	if err := c.one(ctx, "SELECT CURRENT_USER()", nil, &r.account); err != nil {
		return r, err
	}
	if at := strings.LastIndexByte(r.account, '@'); at >= 0 {
		r.account = quoteText(r.account[:at]) + "@" + quoteText(r.account[at+1:])
	}
	lines, err := c.strings(ctx, "SHOW GRANTS")
	if err != nil {
		return r, err
	}
	var roles []string
	for _, line := range lines {
		roles = append(roles, r.add(line)...)
	}
	if len(roles) == 0 {
		return r, nil
	}
	if c.server.flavour == flavourMySQL {
		if lines, err = c.strings(ctx, "SHOW GRANTS FOR CURRENT_USER() USING "+strings.Join(roles, ", ")); err != nil {
			return r, err
		}
		for _, line := range lines {
			r.add(line)
		}
		return r, nil
	}
	for seen := map[string]bool{}; len(roles) > 0; roles = roles[1:] {
		if seen[roles[0]] {
			continue
		}
		seen[roles[0]] = true
		lines, err := c.strings(ctx, "SHOW GRANTS FOR "+roles[0])
		if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) {
			r.roles = append(r.roles, roles[0])
			continue
		}
		if err != nil {
			return r, err
		}
		for _, line := range lines {
			roles = append(roles, r.add(line)...)
		}
	}
	return r, nil
}

func quoteText(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

var grantOn = regexp.MustCompile("(?s)^ON (?:TABLE |FUNCTION |PROCEDURE |PACKAGE BODY |PACKAGE |)(\\*|`(?:[^`]|``)*`)\\.(\\*|`(?:[^`]|``)*`)")

// add reads one line of SHOW GRANTS and returns the roles that it grants.
func (r *rights) add(line string) (roles []string) {
	body, revoke := strings.CutPrefix(line, "REVOKE ")
	if !revoke {
		var ok bool
		if body, ok = strings.CutPrefix(line, "GRANT "); !ok {
			return nil
		}
	}
	list, rest := splitGrant(body)
	m := grantOn.FindStringSubmatch(rest)
	if m == nil {
		if strings.HasPrefix(rest, "TO ") && !revoke {
			return list
		}
		return nil // a proxy
	}
	p := privileges{}
	for _, name := range list {
		if column := strings.IndexByte(name, '('); column >= 0 {
			continue // on columns only
		}
		p[strings.ToUpper(strings.TrimSpace(name))] = true
	}
	if strings.Contains(rest, "WITH GRANT OPTION") || strings.Contains(rest, " GRANT OPTION") {
		p["GRANT OPTION"] = true
	}
	unquote := func(name string) string {
		if name == "*" {
			return ""
		}
		return strings.ReplaceAll(name[1:len(name)-1], "``", "`")
	}
	g := schemaGrant{unquote(m[1]), unquote(m[2]), p}
	switch {
	case revoke:
		r.revoked = append(r.revoked, g)
	case m[1] == "*":
		for name := range p {
			r.global[name] = true
		}
	default:
		r.schemas = append(r.schemas, g)
	}
	return nil
}

// splitGrant splits "A, B (x, y) ON …" or "`role`@`%`, `r` TO …" into the list and the rest that begins with ON or TO.
func splitGrant(body string) (list []string, rest string) {
	depth, quote, from := 0, byte(0), 0
	for i := range len(body) {
		c := body[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '`' || c == '\'' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth > 0:
		case c == ',':
			list = append(list, strings.TrimSpace(body[from:i]))
			from = i + 1
		case strings.HasPrefix(body[i:], " ON "), strings.HasPrefix(body[i:], " TO "):
			return append(list, strings.TrimSpace(body[from:i])), body[i+1:]
		}
	}
	return nil, ""
}

// quotePattern is the name of a database where a privilege would read it as a pattern.
func quotePattern(name string) string {
	return quoteName(strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(name))
}

// What a dump of a database needs. Without one of the last three, the program would leave things out in silence.
var dumpPrivileges = []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT"}

// What a restore needs on the databases that it makes.
var restorePrivileges = []string{
	"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "CREATE VIEW", "SHOW VIEW",
	"CREATE ROUTINE", "ALTER ROUTINE", "EXECUTE", "EVENT", "TRIGGER",
}

// seesRoutines tells whether the account sees the text of all routines of a database, and whether it sees all their
// names at least.
func (r rights) seesRoutines(s server, database string) (texts, names bool) {
	if s.flavour == flavourMySQL {
		texts = r.global["SHOW_ROUTINE"] || r.global.has("SELECT")
	} else {
		texts = r.has("SELECT", "mysql") || r.has("SHOW CREATE ROUTINE", database) && s.atLeast(11, 3) ||
			slices.ContainsFunc(r.schemas, func(g schemaGrant) bool {
				return g.pattern == "mysql" && g.object == "proc" && g.has("SELECT")
			})
	}
	return texts, texts || r.has("EXECUTE", database) || r.has("ALTER ROUTINE", database) || r.has("CREATE ROUTINE", database)
}

// mayDump refuses an account for which the program would leave something of the database out.
func (c *conn) mayDump(ctx context.Context, r rights, database string) error {
	if missing := r.lacks(database, dumpPrivileges); len(missing) > 0 {
		return wire.Failf(wire.CodePrivilege, "%s lacks %s on %s: the dump would not hold everything", r.account, strings.Join(missing, ", "), c.e.where(database)).
			WithHint("run %s", grant(missing, quotePattern(database), r.account))
	}
	texts, names := r.seesRoutines(c.server, database)
	if texts {
		return nil
	}
	hint := "run GRANT SELECT ON mysql.proc TO " + r.account
	if c.server.flavour == flavourMySQL {
		hint = "run " + grant([]string{"SHOW_ROUTINE"}, "*", r.account)
	}
	if !names {
		return wire.Failf(wire.CodePrivilege, "%s does not see the routines of %s: the dump would leave them out", r.account, c.e.where(database)).WithHint("%s", hint)
	}
	hidden, err := c.strings(ctx, "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE "+same("ROUTINE_SCHEMA")+
		" AND ROUTINE_DEFINITION IS NULL ORDER BY 1", database, database)
	if err != nil {
		return c.e.sqlFailure(ctx, err, "look at routines of "+c.e.where(database), database)
	}
	if len(hidden) > 0 {
		return wire.Failf(wire.CodePrivilege, "%s does not see the text of the routines %s of %s", r.account, abridge(hidden), c.e.where(database)).WithHint("%s", hint)
	}
	return nil
}

// mayLock tells whether the account may take the global read lock.
func (r rights) mayLock(s server) bool {
	return r.global.has("RELOAD") || s.flavour == flavourMySQL && r.global["FLUSH_TABLES"]
}

// Privileges over the server that a dump must never get. Besides, everything with ADMIN in its name.
var overServer = []string{
	"ALL PRIVILEGES", "ALL", "SUPER", "FILE", "SHUTDOWN", "CREATE USER", "GRANT OPTION", "CREATE ROLE", "DROP ROLE", "CREATE TABLESPACE",
	"SYSTEM_USER", "SET USER", "SET_USER_ID", "SET_ANY_DEFINER", "REPLICATION SLAVE", "BINLOG REPLAY", "TABLE_ENCRYPTION_ADMIN", "PASSWORDLESS_USER_ADMIN",
}

// Privileges with which one could make oneself rights in the system database.
var writing = []string{"INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "CREATE ROUTINE", "ALTER ROUTINE"}

// problems says why an account must not restore.
func (r rights) problems(definers string) (found []string) {
	for name := range r.global {
		setsDefiners := name == "SET USER" || name == "SET_USER_ID" || name == "SET_ANY_DEFINER"
		if setsDefiners && definers == KeepDefiners {
			continue
		}
		if slices.Contains(overServer, name) || strings.Contains(name, "ADMIN") {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	for _, name := range writing {
		if r.has(name, "mysql") && !r.global.has("ALL PRIVILEGES") {
			found = append(found, name+" on the database mysql")
			break
		}
	}
	for _, g := range r.schemas {
		if g.object != "" && strings.EqualFold(g.pattern, "mysql") && slices.ContainsFunc(writing, g.has) {
			found = append(found, "writing to mysql."+g.object)
		}
	}
	for _, role := range r.roles {
		found = append(found, "the role "+role+", whose rights it may not see")
	}
	return found
}

const (
	stagingPattern = "devflow\\_staging\\_%"
	keptPattern    = "devflow\\_kept\\_%"
)

// restoreGrants are the statements that make a right restore account.
func (e *Engine) restoreGrants() string {
	account := onThisHost(engine.RestoreUser)
	return fmt.Sprintf("run %s; %s; and for each database that is restored to: %s; then set restore.user and restore.password_file of the instance %q in the agent's configuration",
		createAccount(engine.RestoreUser), grant(allPrivileges, quotedPattern(stagingPattern), account), grant(allPrivileges, "`name`", account), e.cfg.Name)
}

// mayRestore refuses an account with rights over the server: a dump is code that runs with all of them. target may be
// empty.
func (c *conn) mayRestore(ctx context.Context, target string) error {
	r, err := c.rights(ctx)
	if err != nil {
		return c.e.sqlFailure(ctx, err, "check the restore account", "")
	}
	if found := r.problems(c.e.cfg.Definers); len(found) > 0 {
		return wire.Failf(wire.CodeSuperuser, "the restore account %s has %s: a dump would run with these rights", r.account, strings.Join(found, ", ")).
			WithHint("%s", c.e.restoreGrants())
	}
	for _, database := range []string{engine.StagingPrefix + "1", target} {
		if database == "" {
			continue
		}
		if missing := r.lacks(database, restorePrivileges); len(missing) > 0 {
			what, on := "staging databases", "`"+stagingPattern+"`"
			if database == target {
				what, on = c.e.where(target), quotePattern(target)
			}
			return wire.Failf(wire.CodePrivilege, "the restore account %s lacks %s on %s", r.account, strings.Join(missing, ", "), what).
				WithHint("run %s", grant(allPrivileges, on, r.account))
		}
	}
	return nil
}

func abridge(names []string) string {
	const most = 5
	var quoted []string
	for _, name := range names[:min(most, len(names))] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	if len(names) > most {
		quoted = append(quoted, "…")
	}
	return strings.Join(quoted, ", ")
}
