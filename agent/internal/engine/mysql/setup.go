package mysql

import (
	"fmt"
	"strings"

	"devflowbackup/agent/internal/engine"
)

// grant gives rights: what Setup prints, what hints tell, and what the documentation has. on is quoted, "*" or a pattern of databases.
func grant(rights []string, on, account string) string {
	return fmt.Sprintf("GRANT %s ON %s.* TO %s", strings.Join(rights, ", "), on, account)
}

var allPrivileges = []string{"ALL PRIVILEGES"}

// keptPrivileges let what was restored, and runs as the account that restored it, go on where it is kept.
var keptPrivileges = []string{"SELECT", "EXECUTE", "SHOW VIEW"}

// restoredPattern is of the names that a setup script lets restores make databases by.
const restoredPattern = "restored\\_%"

func quotedPattern(pattern string) string { return "`" + pattern + "`" }

// sessionsRight lets an account end sessions, logRight see where the binary log stands.
func sessionsRight(flavour string) string {
	if flavour == flavourMySQL {
		return "CONNECTION_ADMIN"
	}
	return "CONNECTION ADMIN"
}

func logRight(s server) string {
	if s.flavour == flavourMariaDB && s.atLeast(10, 5) {
		return "BINLOG MONITOR"
	}
	return "REPLICATION CLIENT"
}

func definersRights(flavour string) []string {
	if flavour == flavourMySQL {
		return []string{"SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER", "SYSTEM_USER"}
	}
	return []string{"SET USER"}
}

func onThisHost(name string) string { return quoteText(name) + "@'localhost'" }

func createAccount(name string) string {
	return "CREATE USER IF NOT EXISTS " + onThisHost(name) + " IDENTIFIED BY " + engine.Password
}

// createSocketAccount makes the account that the server knows by the account of the same name on this host.
func createSocketAccount(name, flavour string) string {
	how := "VIA unix_socket"
	if flavour == flavourMySQL {
		how = "WITH auth_socket"
	}
	return "CREATE USER IF NOT EXISTS " + onThisHost(name) + " IDENTIFIED " + how
}

// Setup is the script for one server. Nothing in it is more than the agent needs, and each statement is told by Check where it is missing.
// Only the account that backs up goes without a password: the server knows one account by that of the host, and a dump must not run as it.
func Setup(r engine.SetupRequest) engine.Script {
	of := server{flavour: flavourMySQL, major: 9}
	kind := "MySQL"
	if r.MariaDB {
		of, kind = server{flavour: flavourMariaDB, major: 11}, "MariaDB"
	}
	user := engine.BackupUser
	if r.Account != "" {
		user = r.Account
	}
	backup, restore, swap := onThisHost(user), onThisHost(engine.RestoreUser), onThisHost(engine.SwapUser)
	s := engine.Script{
		Comment: "--",
		Title: "Rights of the backup agent at a " + kind + " server. root runs this: mysql < FILE\n" +
			"It may be run again. Lines that are remarks are done where they apply.",
	}
	section := ""
	add := func(step engine.Step) {
		step.For, step.Kind = section, engine.StepSQL
		s.Steps = append(s.Steps, step)
	}
	password := func(name, why string) {
		add(engine.Step{Why: why + "\nThe password is the text of its password_file, in quotes.", Do: createAccount(name), Secret: name})
	}

	section = "Backups"
	if r.Account == "" {
		password(user, "Reads, and writes nothing.")
	} else {
		why := "Reads, and writes nothing. The server knows it by the account of that name on this host, without a password."
		if !r.MariaDB {
			why += "\nIf the server does not know the plugin: INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';"
		}
		add(engine.Step{Why: why, Do: createSocketAccount(user, of.flavour)})
	}
	add(engine.Step{Why: "Rows, and the definitions of views, triggers and events: without one of these the dump would leave something out, and is refused.\n" +
		"SELECT on everything shows the texts of all routines, too.", Do: grant(dumpPrivileges, "*", backup)})
	add(engine.Step{
		Why: "Exact row counts in the backup's fingerprint: the global read lock for a moment at the start. Without it they are approximate.",
		Do:  grant([]string{"RELOAD"}, "*", backup),
	})
	add(engine.Step{
		Option: true, Why: "Only where the server writes a binary log: the backup tells where that stood. The backup works without.",
		Do: grant([]string{logRight(of)}, "*", backup),
	})
	add(engine.Step{Option: true, Why: "Only where views use functions: the dump program has to run them to describe the view.", Do: grant([]string{"EXECUTE"}, "*", backup)})

	section = "Restores into new databases"
	password(engine.RestoreUser, "A dump is code that runs with all rights of this account: it has the databases that it makes, and nothing else.")
	add(engine.Step{Why: "Where the dump is restored to and checked.", Do: grant(allPrivileges, quotedPattern(stagingPattern), restore)})
	add(engine.Step{Why: "Names that restored databases may get. Grant others likewise, and none that is in use.", Do: grant(allPrivileges, quotedPattern(restoredPattern), restore)})
	if !r.InPlace {
		return s
	}

	section = "Restores in place"
	databases := make([]string, 0, 1+len(r.Databases))
	for _, database := range r.Databases {
		databases = append(databases, quotePattern(database))
	}
	if len(databases) == 0 {
		databases = []string{"`name`"}
	}
	add(engine.Step{Why: "Sessions at the target are seen, and the target's identity is known.", Do: grant([]string{"PROCESS"}, "*", backup)})
	password(engine.SwapUser, "Puts what was restored in the place of what is there. No dump runs as it.")
	for _, pattern := range []string{stagingPattern, keptPattern} {
		add(engine.Step{Why: map[string]string{
			stagingPattern: "Takes what was restored from here,", keptPattern: "and keeps here what was there.",
		}[pattern], Do: grant(allPrivileges, quotedPattern(pattern), swap)})
	}
	add(engine.Step{Why: "Makes views, routines, triggers and events again as they were, with the accounts that they run as.", Do: grant(definersRights(of.flavour), "*", swap)})
	for _, on := range databases {
		add(engine.Step{Why: "A database that may be replaced.", Do: grant(allPrivileges, on, swap)})
	}
	for _, on := range databases {
		add(engine.Step{Option: true, Why: "Only for a database that has views, routines or triggers, and not with restore.definers: keep. Restored ones run as the restore account,\n" +
			"so that a hostile dump could change rows there.", Do: grant(runPrivileges, on, restore)})
	}
	add(engine.Step{Option: true, Why: "And, for such, where they are kept after an undo.", Do: grant(keptPrivileges, quotedPattern(keptPattern), restore)})
	add(engine.Step{Option: true, Why: "Only to end sessions at the target, where that is chosen.", Do: grant([]string{sessionsRight(of.flavour)}, "*", swap)})
	return s
}
