package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

const (
	levelOK      = "ok"
	levelWarning = "warning"
	levelError   = "error"
)

const (
	// goodWriteTimeout is for how long a store may pause without the server ending the dump.
	goodWriteTimeout = 10 * time.Minute
	// goodPacket is the size of a row, in bytes, that a server should take.
	goodPacket = 64 << 20
)

// Check looks at login, encryption of the connection, programs, server settings, and the rights of both accounts.
func (e *Engine) Check(ctx context.Context) []engine.Finding {
	c, err := e.connect(ctx, e.backup)
	if err != nil {
		return []engine.Finding{failed("login", err)}
	}
	defer c.hangUp(ctx)
	findings := []engine.Finding{{
		Level: levelOK, Name: "login", Detail: fmt.Sprintf("%s at %s as %q", c.server, e.address(), e.backup.user),
	}}
	if err := c.server.supported(); err != nil {
		findings = append(findings, failed("server", err))
	}
	findings = append(findings, c.checkTLS(ctx))
	for name, p := range map[string]purpose{"dump": dumpProgram, "restore": client} {
		findings = append(findings, c.checkProgram(ctx, name, p))
	}
	slices.SortStableFunc(findings[len(findings)-2:], func(a, b engine.Finding) int { return strings.Compare(a.Name, b.Name) })
	findings = append(findings, c.checkSettings(ctx)...)
	findings = append(findings, c.checkReading(ctx)...)
	findings = append(findings, e.checkRestoring(ctx)...)
	findings = append(findings, e.checkSwapping(ctx)...)
	return append(findings, e.checkLeft(ctx)...)
}

// checkLeft lists the databases of restores, as far as one of the accounts sees them. The empty rest of one that was published is
// removed by the next restore, and not listed.
func (e *Engine) checkLeft(ctx context.Context) []engine.Finding {
	var names []string
	for _, who := range slices.Compact([]account{e.backup, e.restore, e.swap}) {
		c, err := e.connect(ctx, who)
		if err != nil {
			continue // that is told elsewhere
		}
		found, err := c.strings(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
		if err != nil {
			c.hangUp(ctx)
			return []engine.Finding{failed("left by restores", e.sqlFailure(ctx, err, "list databases of restores", ""))}
		}
		for _, name := range found {
			if !ours(name) {
				continue
			}
			if published, err := c.published(ctx, name); staging(name) && err == nil && published {
				continue
			}
			names = append(names, name)
		}
		c.hangUp(ctx)
	}
	return engine.Left(names, func(name string) string { return "DROP DATABASE " + quoteName(name) })
}

// checkSwapping looks at an account for restores in place, if there is one.
func (e *Engine) checkSwapping(ctx context.Context) []engine.Finding {
	if e.swap == e.restore {
		return nil
	}
	const name = "swap account"
	warning := func(err error) []engine.Finding {
		f := failed(name, err)
		f.Level = levelWarning // backups, and restores into new databases, work without
		return []engine.Finding{f}
	}
	c, err := e.connect(ctx, e.swap)
	if err != nil {
		return warning(err)
	}
	defer c.hangUp(ctx)
	r, err := c.rights(ctx)
	if err != nil {
		return warning(e.sqlFailure(ctx, err, "look at the swap account's rights", ""))
	}
	var missing, statements []string
	for database, pattern := range map[string]string{engine.StagingPrefix: stagingPattern, engine.KeptPrefix: keptPattern} {
		if lacks := r.lacks(database+"1", restorePrivileges); len(lacks) > 0 {
			missing = append(missing, strings.Join(lacks, ", ")+" on "+database+"…")
			statements = append(statements, grant(allPrivileges, quotedPattern(pattern), r.account))
		}
	}
	if !r.setsDefiners() {
		missing = append(missing, "the right to set any definer")
		statements = append(statements, grant(definersRights(c.server.flavour), "*", r.account))
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		slices.Sort(statements)
		return []engine.Finding{{
			Level: levelWarning, Name: name, Detail: fmt.Sprintf("%s lacks %s: databases cannot be restored in place", r.account, strings.Join(missing, "; ")),
			Hint: "run " + strings.Join(statements, "; "),
		}}
	}
	return []engine.Finding{{Level: levelOK, Name: name, Detail: r.account + " puts restored databases in the place of others"}}
}

func failed(name string, err error) engine.Finding {
	f := wire.AsFailure(err)
	return engine.Finding{Level: levelError, Name: name, Detail: f.Message, Hint: f.Hint}
}

func (c *conn) checkTLS(ctx context.Context) engine.Finding {
	mode := c.e.cfg.SSLMode
	f := engine.Finding{Level: levelOK, Name: "encryption", Detail: "sslmode " + mode}
	switch {
	case c.e.cfg.local():
		f.Detail = "not needed on this host"
	case mode != "verify-full":
		f.Level = levelWarning
		f.Detail = fmt.Sprintf("sslmode %s does not prove which server answers", mode)
		f.Hint = "set sslmode to verify-full and ssl_root_cert to the authority of the server's certificate"
		var name, cipher string
		if err := c.one(ctx, "SHOW SESSION STATUS LIKE 'Ssl_cipher'", nil, &name, &cipher); err == nil && cipher == "" {
			f.Level = levelError
			f.Detail = "the password and all data cross the network in clear text"
		}
	}
	return f
}

func (c *conn) checkProgram(ctx context.Context, what string, p purpose) engine.Finding {
	name := "tool " + p.names[c.server.flavour][0]
	b, err := c.e.choose(ctx, p, c.server)
	switch {
	case err != nil:
		return failed(name, err)
	case !b.atLeast(c.server.major, c.server.minor):
		return engine.Finding{
			Level: levelWarning, Name: name, Detail: fmt.Sprintf("%s is older than the server, %s", b, c.server),
			Hint: "apt install " + p.pkg[c.server.flavour] + " of the server's version, for " + what,
		}
	}
	return engine.Finding{Level: levelOK, Name: name, Detail: b.String()}
}

// checkSettings looks at what the server would end a dump or a restore for.
func (c *conn) checkSettings(ctx context.Context) (findings []engine.Finding) {
	if timeout := c.seconds(ctx, "net_write_timeout"); timeout > 0 && timeout < goodWriteTimeout {
		findings = append(findings, engine.Finding{
			Level: levelWarning, Name: "net_write_timeout", Detail: fmt.Sprintf("a dump ends when a store takes nothing for %s", timeout), Hint: writeTimeoutHint,
		})
	}
	if packet := c.variable(ctx, "max_allowed_packet"); packet > 0 && packet < goodPacket {
		findings = append(findings, engine.Finding{
			Level: levelWarning, Name: "max_allowed_packet", Detail: fmt.Sprintf("rows of more than %d MiB, written as text, cannot be restored", packet>>20),
			Hint: "run SET GLOBAL max_allowed_packet = 1073741824, and set it in the server's configuration",
		})
	}
	if c.variable(ctx, "log_bin") == 1 && c.variable(ctx, "log_bin_trust_function_creators") == 0 {
		findings = append(findings, engine.Finding{
			Level: levelWarning, Name: "log_bin_trust_function_creators",
			Detail: "the server writes a binary log and distrusts routines: dumps with triggers or functions cannot be restored without SUPER",
			Hint:   "run SET GLOBAL log_bin_trust_function_creators = ON, and set it in the server's configuration",
		})
	}
	var scheduler string
	if err := c.one(ctx, "SELECT @@GLOBAL.event_scheduler", nil, &scheduler); err == nil && strings.EqualFold(scheduler, "ON") {
		findings = append(findings, engine.Finding{
			Level: levelOK, Name: "event_scheduler", Detail: "on: events of restored databases stay disabled until ALTER EVENT … ENABLE",
		})
	}
	return findings
}

// checkReading asks, for each database that is to be backed up, what the account lacks.
func (c *conn) checkReading(ctx context.Context) []engine.Finding {
	granted, err := c.rights(ctx)
	if err != nil {
		return []engine.Finding{failed("privileges", c.e.sqlFailure(ctx, err, "look at the account's rights", ""))}
	}
	databases, err := c.e.Discover(ctx)
	if err != nil {
		return []engine.Finding{failed("databases", err)}
	}
	findings := []engine.Finding{{Level: levelOK, Name: "privileges", Detail: fmt.Sprintf("%s reads %d databases", granted.account, len(databases))}}
	for _, d := range databases {
		if err := c.mayDump(ctx, granted, d.Name); err != nil {
			findings = append(findings, failed(fmt.Sprintf("privileges in %q", d.Name), err))
		}
	}
	if granted.mayLock(c.server) {
		findings = append(findings, engine.Finding{Level: levelOK, Name: "exact row counts", Detail: "a dump takes the global read lock for a moment"})
	} else {
		findings = append(findings, engine.Finding{
			Level: levelWarning, Name: "exact row counts", Detail: "the account may not take the global read lock: row counts of backups are approximate",
			Hint: "run " + grant([]string{"RELOAD"}, "*", granted.account),
		})
	}
	return findings
}

func (e *Engine) checkRestoring(ctx context.Context) []engine.Finding {
	c, err := e.connect(ctx, e.restore)
	if err != nil {
		return []engine.Finding{failed("restore account", err)}
	}
	defer c.hangUp(ctx)
	if err := c.mayRestore(ctx, ""); err != nil {
		f := failed("restore account", err)
		f.Level = levelWarning // backups work without
		f.Detail += "; restores are refused"
		return []engine.Finding{f}
	}
	granted, err := c.rights(ctx)
	if err != nil {
		return []engine.Finding{failed("restore account", e.sqlFailure(ctx, err, "look at the restore account's rights", ""))}
	}
	findings := []engine.Finding{{Level: levelOK, Name: "restore account", Detail: granted.account + " makes staging databases and has no right over the server"}}
	names, err := c.strings(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1")
	if err != nil {
		return append(findings, failed("restore account", e.sqlFailure(ctx, err, "look at the restore account's databases", "")))
	}
	// A dump can drop and alter every database that the account may.
	names = slices.DeleteFunc(names, func(name string) bool { return ours(name) || system(name) || !granted.has("DROP", name) })
	if len(names) > 0 {
		findings = append(findings, engine.Finding{
			Level: levelWarning, Name: "restore account",
			Detail: fmt.Sprintf("%s may drop %d databases (%s): a hostile dump could", granted.account, len(names), abridge(names)),
			Hint:   "grant it only the names that are restored to, and revoke them when they are in use",
		})
	}
	for _, name := range []string{"SELECT", "PROCESS", "RELOAD", "EXECUTE", "TRIGGER", "EVENT"} {
		if granted.global[name] {
			findings = append(findings, engine.Finding{
				Level: levelWarning, Name: "restore account", Detail: fmt.Sprintf("%s has %s on everything: a hostile dump could use it", granted.account, name),
				Hint: "use an account of its own: " + e.restoreGrants(),
			})
		}
	}
	return findings
}
