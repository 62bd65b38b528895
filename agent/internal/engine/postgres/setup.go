package postgres

import (
	"fmt"
	"strings"

	"devflowbackup/agent/internal/engine"
)

// The statements that give our accounts their rights: what Setup prints, what hints tell, and what the documentation has.

func grantReadAll(user string) string    { return "GRANT pg_read_all_data TO " + quoteName(user) }
func grantBypass(user string) string     { return "ALTER ROLE " + quoteName(user) + " BYPASSRLS" }
func grantCreateDB(user string) string   { return "ALTER ROLE " + quoteName(user) + " CREATEDB" }
func grantCreateRole(user string) string { return "ALTER ROLE " + quoteName(user) + " CREATEROLE" }
func grantSignal(user string) string     { return "GRANT pg_signal_backend TO " + quoteName(user) }

func grantConnect(database, user string) string {
	return "GRANT CONNECT ON DATABASE " + quoteName(database) + " TO " + quoteName(user)
}

// grantMember makes user a member of roles.
func grantMember(user string, roles ...string) string {
	quoted := make([]string, len(roles))
	for i, role := range roles {
		quoted[i] = quoteName(role)
	}
	return "GRANT " + strings.Join(quoted, ", ") + " TO " + quoteName(user)
}

// grantOwner makes user a member of the role that owns a database, whichever that is, if there is such a database. A superuser's rights it
// never gets.
func grantOwner(user, database string) string {
	return fmt.Sprintf("DO $$ DECLARE o record; BEGIN SELECT rolname, rolsuper INTO o FROM pg_database d JOIN pg_roles r ON r.oid = datdba WHERE datname = %[2]s; "+
		"IF o.rolsuper THEN RAISE 'a superuser owns the database %%: ALTER DATABASE ... OWNER TO ... gives it to a role of its own', %[2]s; "+
		"ELSIF FOUND THEN EXECUTE format('GRANT %%I TO %%I', o.rolname, %[1]s); END IF; END $$", literal(user), literal(database))
}

// makeRole makes a role that may be there already.
func makeRole(name string, rights ...string) string {
	return fmt.Sprintf("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %s) THEN CREATE ROLE %s %s; END IF; END $$",
		literal(name), quoteName(name), strings.Join(append([]string{"LOGIN"}, rights...), " "))
}

// literal is a text that can stand in a body between dollar signs.
func literal(text string) string {
	plain := strings.ReplaceAll(text, "'", "''")
	if !strings.ContainsAny(text, `\$`) {
		return "'" + plain + "'"
	}
	return "E'" + strings.NewReplacer(`\`, `\\`, "$", `\x24`).Replace(plain) + "'"
}

// peerMap is the name of the map in pg_ident.conf by which the agent's account may be the restore role.
const peerMap = "devflow"

// peerRule is the line of pg_hba.conf, and peerEntry that of pg_ident.conf, by which an account of the host logs in as a role of another
// name without a password.
func peerRule(role string) string {
	return fmt.Sprintf("local all %s peer map=%s", bareWord(role), peerMap)
}

func peerEntry(account, role string) string {
	return fmt.Sprintf("%s %s %s", peerMap, bareWord(account), bareWord(role))
}

// bareWord is a name as these files have it.
func bareWord(name string) string {
	if strings.ContainsAny(name, "# \t\",+@/") {
		return `"` + name + `"`
	}
	return name
}

// Setup is the script for one server. Nothing in it is more than the agent needs, and each statement is told by Check where it is missing.
func Setup(r engine.SetupRequest) engine.Script {
	user := engine.BackupUser
	if r.Account != "" {
		user = r.Account
	}
	s := engine.Script{
		Comment: "--",
		Title: "Rights of the backup agent at a PostgreSQL server. A superuser runs this: psql -X -v ON_ERROR_STOP=1 -f FILE\n" +
			"It may be run again. Lines that are remarks are done where they apply.",
	}
	section := ""
	add := func(step engine.Step) {
		step.For = section
		if step.Kind == "" {
			step.Kind = engine.StepSQL
		}
		s.Steps = append(s.Steps, step)
	}
	role := func(name, why string, rights ...string) {
		if r.Account == "" {
			rights = append(rights, "PASSWORD "+engine.Password)
			add(engine.Step{Why: why + "\nThe password is the text of its password_file, in quotes.", Do: makeRole(name, rights...), Secret: name})
			return
		}
		add(engine.Step{Why: why, Do: makeRole(name, rights...)})
	}

	section = "Backups"
	how := "Reads, and writes nothing."
	if r.Account != "" {
		how = "Reads, and writes nothing. The server knows it by the account of that name on this host (peer), without a password."
	}
	role(user, how)
	add(engine.Step{Why: "Every table, view and sequence, also those that are made later. Before PostgreSQL 14 there is no such role:\n" +
		"grant USAGE on each schema, and SELECT on all its tables and sequences.", Do: grantReadAll(user)})
	add(engine.Step{Option: true, Why: "Only where tables have row security: without it their rows are hidden, and the backup is refused.", Do: grantBypass(user)})
	add(engine.Step{Option: true, Why: "Only where CONNECT was revoked from PUBLIC, for each such database.", Do: grantConnect("name", user)})

	section = "Restores into new databases"
	role(engine.RestoreUser, "A dump is code that runs with all rights of this role: it makes databases, owns what it makes, and has nothing else.", "CREATEDB")
	if r.Account != "" {
		add(engine.Step{
			Kind: engine.StepFile, In: "pg_hba.conf, before all other lines",
			Why: "The agent's account of this host may be that role, too. After both lines: SELECT pg_reload_conf();", Do: peerRule(engine.RestoreUser),
		})
		add(engine.Step{Kind: engine.StepFile, In: "pg_ident.conf", Why: "Who that is.", Do: peerEntry(r.Account, engine.RestoreUser)})
	}
	if !r.InPlace {
		return s
	}

	section = "Restores in place"
	databases := r.Databases
	if len(databases) == 0 {
		databases = []string{"name"}
	}
	add(engine.Step{Why: "Renames databases. The dump does not run as this role.", Do: grantCreateDB(user)})
	add(engine.Step{Why: "What was restored gets the target's owner and name. Never the other way round: a dump could then alter the target.", Do: grantMember(user, engine.RestoreUser)})
	for _, database := range databases {
		add(engine.Step{Why: fmt.Sprintf("The owner of a database that may be replaced: %q.", database), Do: grantOwner(user, database)})
	}
	add(engine.Step{Option: true, Why: "Only to end sessions at the target, where that is chosen. Those of superusers only a superuser ends.", Do: grantSignal(user)})
	add(engine.Step{Option: true, Why: "Only to make roles of the backup that are missing, where that is chosen.", Do: grantCreateRole(user)})
	return s
}
