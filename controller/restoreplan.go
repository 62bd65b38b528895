package controller

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/shared/wire"
)

// Codes of problems that a plan finds by itself, beside those of failures and of agents.
const (
	ProblemTargetMissing  = "target_missing"   // in place, and nothing is there
	ProblemOtherServer    = "other_server"     // the backup was made of another database server
	ProblemOtherDatabase  = "other_database"   // the target has another name than what was backed up
	ProblemOtherVersion   = "other_version"    // the target's server has another version
	ProblemNotCompared    = "not_compared"     // the backup has no fingerprint
	ProblemNoSafetyBackup = "no_safety_backup" // it was declined
	ProblemSessionsKept   = "sessions_not_ended"
	ProblemNotLooked      = "not_looked" // the agent did not look, and the restore does without
)

// notAssigned is the catalog's code for a target that the project does not have.
const notAssigned = "target_not_assigned"

// agentsWord are codes of agents that say the same as the plan's own word on whether the target is there.
var agentsWord = []string{"no_target", wire.CodeDatabaseMissing, wire.CodeTargetExists}

// PlanRestore tells what a restore or an undo would meet and do. found is what the agent saw at the target; without it, lookErr says why
// the agent could not look, and only what the catalog knows is told. A plan that CanStart has nothing that is known to stop it.
func PlanRestore(d Draft, found *wire.Target, lookErr error) RestorePlan {
	p := planner{d: d, found: found, swap: d.Request.InPlace || d.Kind == UndoKind}
	p.problems = slices.Clone(d.Problems)
	if found != nil {
		p.lookAtTarget()
	} else {
		p.notLooked(lookErr)
	}
	p.lookAtRequest()
	slices.SortStableFunc(p.problems, func(a, b wire.Problem) int {
		switch {
		case a.Stops == b.Stops:
			return 0
		case a.Stops:
			return -1
		}
		return 1
	})
	stops := len(p.problems) > 0 && p.problems[0].Stops
	plan := RestorePlan{
		Kind: d.Kind,
		Backup: PlanBackup{
			ID: d.Backup.ID, Database: d.Backup.DatabaseName, Engine: d.Backup.DatabaseType, Server: d.Backup.Server, CompletedAt: d.Backup.CompletedAt,
			Facts: d.Metadata,
		},
		Target: PlanTarget{
			Server: d.Server.Name, Instance: d.Instance.Name, Database: d.Database, InPlace: p.swap, Looked: found != nil, Found: withoutProblems(found),
		},
		Steps: p.steps(), Problems: p.problems, Possible: []string{}, CanStart: !stops,
	}
	if plan.Backup.Facts.Objects == nil {
		plan.Backup.Facts.Objects = []string{}
	}
	if plan.Problems == nil {
		plan.Problems = []wire.Problem{}
	}
	if d.Backup.VerifiedAt != nil && d.Backup.VerifiedLevel != nil {
		plan.Backup.Verified = *d.Backup.VerifiedLevel
	}
	if stops {
		plan.Possible = p.possible()
	}
	return plan
}

// withoutProblems is the target alone: its problems are the plan's.
func withoutProblems(t *wire.Target) *wire.Target {
	if t == nil {
		return nil
	}
	alone := *t
	alone.Problems = nil
	return &alone
}

// Stopping are the problems that a restore cannot be begun with; they come first.
func (p RestorePlan) Stopping() []wire.Problem {
	n := slices.IndexFunc(p.Problems, func(p wire.Problem) bool { return !p.Stops })
	if n < 0 {
		n = len(p.Problems)
	}
	return p.Problems[:n]
}

// planner collects what is told of one restore.
type planner struct {
	d        Draft
	found    *wire.Target
	swap     bool // something that is there is replaced
	problems []wire.Problem
}

// add tells of a problem, unless the catalog has told of it.
func (p *planner) add(stops bool, code, hint, format string, args ...any) {
	if !stops && p.has(code) || p.stoppedBy(code) {
		return
	}
	p.problems = append(p.problems, wire.Problem{Stops: stops, Code: code, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (p *planner) has(codes ...string) bool {
	return slices.ContainsFunc(p.problems, func(one wire.Problem) bool { return slices.Contains(codes, one.Code) })
}

func (p *planner) stoppedBy(codes ...string) bool {
	return slices.ContainsFunc(p.problems, func(one wire.Problem) bool { return one.Stops && slices.Contains(codes, one.Code) })
}

func (p *planner) where() string {
	return fmt.Sprintf("%q on %s / %s", p.d.Database, p.d.Server.Name, p.d.Instance.Name)
}

// lookAtTarget takes over what the agent found.
func (p *planner) lookAtTarget() {
	t := p.found
	// It has just answered, whatever its last heartbeat was.
	p.problems = slices.DeleteFunc(p.problems, func(one wire.Problem) bool { return one.Code == wire.CodeOffline })
	known := p.problems
	switch {
	case p.swap && !t.Exists:
		hint := "leave in_place out (--in-place): it is then restored as a new database of that name"
		if p.d.Kind == UndoKind {
			hint = "rename what was kept by hand: it is not lost"
		}
		// Whose it is does not matter where it is not there.
		p.problems = slices.DeleteFunc(p.problems, func(one wire.Problem) bool { return one.Code == notAssigned })
		p.add(true, ProblemTargetMissing, hint, "there is no database %s to take the place of", p.where())
	case !p.swap && t.Exists:
		p.add(true, wire.CodeTargetExists, "give another name (--to-database), or ask for it to be replaced (--in-place)", "there is a database %s already", p.where())
	}
	for _, one := range t.Problems {
		said := slices.Contains(agentsWord, one.Code) && t.Exists != p.swap
		// The catalog may know the same from what the agent told it before.
		repeated := slices.ContainsFunc(known, func(k wire.Problem) bool {
			return k.Code == one.Code && (k.Text == one.Text || k.Code == wire.CodeNotAllowed)
		})
		if !said && !repeated {
			p.problems = append(p.problems, one)
		}
	}
	sameInstance := p.d.Server.ID == p.d.Backup.ServerID && p.d.Instance.Name == p.d.Backup.Instance
	if p.d.Kind != UndoKind && p.d.MadeAt != "" && t.ServerIdentity != "" && t.ServerIdentity != p.d.MadeAt && (p.swap || sameInstance) {
		p.add(false, ProblemOtherServer, "make sure that server and instance are the ones that you mean",
			"the backup was made of another database server than the one that answers on %s / %s", p.d.Server.Name, p.d.Instance.Name)
	}
	if from, to := p.d.Metadata.ServerVersion, t.ServerVersion; p.d.Kind != UndoKind && from != "" && to != "" && leadingVersion(from) != leadingVersion(to) &&
		!p.has("older_server", "other_flavour", "server_version") {
		p.add(false, ProblemOtherVersion, "read what changed between the versions; try it as a new database first",
			"the backup is of %s %s, and the server at the target is %s", engineName(p.d.Engine), from, to)
	}
}

// notLooked says why nothing is known of the target but what the catalog has.
func (p *planner) notLooked(err error) {
	f := wire.AsFailure(err)
	if f == nil {
		f = wire.Failf(wire.CodeOffline, "nobody looked at %s", p.where())
	}
	server := p.d.Server.Name
	switch {
	case f.Code == wire.CodeOffline && p.swap:
		p.add(true, wire.CodeOffline, fmt.Sprintf("start devflow-agent there; `devflowctl server show %s` tells when it was last heard", server),
			"the agent of %s is not connected: it has to look at what is to be replaced", server)
	case f.Code == wire.CodeOffline:
		p.add(false, wire.CodeOffline, "start devflow-agent there, or restore on another server (--to-server)",
			"the agent of %s is not connected: the restore waits for it, and nobody has looked at the target", server)
	case f.Code == wire.CodeUnknownVerb && p.swap:
		p.add(true, wire.CodeUnknownVerb, "upgrade devflow-agent there", "the agent of %s is too old to replace a database", server)
	case f.Code == wire.CodeUnknownVerb:
		p.add(false, ProblemNotLooked, "upgrade devflow-agent there", "the agent of %s is too old to look at the target", server)
	case errors.As(err, new(*wire.Failure)) && (p.swap || !f.Retryable):
		p.add(true, f.Code, f.Hint, "the agent of %s cannot look at the target: %s", server, f.Message)
	default:
		p.add(p.swap, ProblemNotLooked, f.Hint, "the agent of %s could not look at the target: %s", server, f.Message)
	}
}

// lookAtRequest tells what the request itself gives to think of.
func (p *planner) lookAtRequest() {
	r := p.d.Request
	if p.swap && p.d.Engine == wire.EngineSQLite && r.Sessions == wire.SessionsEnd {
		p.add(false, ProblemSessionsKept, "stop them yourself, or use --sessions wait", "programs that use a file of SQLite are never ended: with one at it the swap is refused")
	}
	if p.d.Kind == UndoKind {
		return
	}
	if p.swap && p.d.Database != p.d.Backup.DatabaseName {
		p.add(false, ProblemOtherDatabase, "make sure that this is what you mean", "the backup is of %q, and what it would replace is %q", p.d.Backup.DatabaseName, p.d.Database)
	}
	if p.swap && r.SkipSafety {
		p.add(false, ProblemNoSafetyBackup, "leave skip_safety_backup out (--skip-safety-backup)", "no backup of %q is made first: what is replaced is kept for a time, on the same host alone", p.d.Database)
	}
	if !slices.Contains(p.d.Metadata.Objects, wire.ObjectFingerprint) {
		p.add(false, ProblemNotCompared, "", "the backup has no fingerprint: its checksums are proven, and what was restored is compared with nothing")
	}
}

// steps are what is done, in order.
func (p *planner) steps() []string {
	d, r := p.d, p.d.Request
	staged := "a new database, devflow_staging_…"
	if d.Engine == wire.EngineSQLite {
		staged = "a new file beside it, devflow_staging_…"
	}
	compare := "The checksums of the whole artifact are proven"
	switch {
	case !slices.Contains(d.Metadata.Objects, wire.ObjectFingerprint):
		compare += "; the backup has no fingerprint to compare with."
	case len(r.Choices.Only) > 0:
		compare += ", and the tables that were chosen, with their rows, are compared with the backup's fingerprint."
	default:
		compare += ", and tables and rows are compared with the backup's fingerprint."
	}
	if d.Engine == wire.EngineSQLite {
		compare = "The file passes SQLite's own integrity check. " + compare
	}
	read := fmt.Sprintf("Backup %d is read once from the storage %q (%s) into %s%s.", d.Backup.ID, d.Backup.Storage, textOfBytes(d.Metadata.StoredBytes), staged, textOfChoices(r.Choices))
	switch {
	case d.Kind == UndoKind:
		return []string{
			fmt.Sprintf("The agent of %s settles whatever an earlier attempt has left, and looks once more whether this is the same database.", d.Server.Name),
			p.swapStep(p.keptName()),
			p.keepStep("What is there now"),
		}
	case !r.InPlace:
		return []string{
			read, compare,
			fmt.Sprintf("It gets the name %q on %s / %s. Nothing is there under that name before, and after a failure nothing is left.", d.Database, d.Server.Name, d.Instance.Name),
		}
	}
	safety := fmt.Sprintf("A backup of %q as it is now is made first, of type %s. The restore begins when it is completed; if it is not, the restore has failed and nothing was touched.", d.Database, TypePreRestore)
	if r.SkipSafety {
		safety = "No backup of what is there is made first: that was declined."
	}
	return []string{
		safety,
		read + fmt.Sprintf(" Meanwhile %q is in use as before.", d.Database),
		compare,
		fmt.Sprintf("The agent looks once more at %q: if it is another database by now, or something is in the way, the restore has failed and nothing was touched.", d.Database),
		p.swapStep("the restored content"),
		p.keepStep("The old content"),
	}
}

func (p *planner) keptName() string {
	if p.d.Undo != nil && p.d.Undo.KeptName != "" {
		return p.d.Undo.KeptName
	}
	return "what was kept"
}

// swapStep tells how one content takes the place of another, and what becomes of sessions.
func (p *planner) swapStep(what string) string {
	d := p.d
	var how string
	switch d.Engine {
	case wire.EngineMySQL:
		how = fmt.Sprintf("The tables of %q go to the kept database and those of %s come into their place: in one statement, where neither side has triggers and the target no views or routines; else programs get errors for the moment in which these are made again.", d.Database, what)
	case wire.EngineSQLite:
		how = fmt.Sprintf("The file %q and %s exchange their names in one step; the new one gets owner, group and permissions of the old one.", d.Database, what)
	default:
		how = fmt.Sprintf("Two renames in one transaction put %s in the place of %q; it gets owner, grants, settings and comment of the old one.", what, d.Database)
	}
	things := "Other sessions at it"
	if d.Engine == wire.EngineSQLite {
		things = "Programs that have it open"
	}
	switch {
	case d.Request.Sessions == wire.SessionsWait:
		how += fmt.Sprintf(" %s are waited for, for up to %s; then the swap is refused and nothing was touched.", things, textOfSpan(d.Request.Wait))
	case d.Request.Sessions == wire.SessionsEnd && d.Engine != wire.EngineSQLite:
		how += " " + things + " are ended."
	default:
		how += " " + things + " stop it: then nothing was touched."
	}
	return how
}

func (p *planner) keepStep(what string) string {
	return fmt.Sprintf("%s stays on %s as devflow_kept_… for %s after the swap. Until then `devflowctl restore undo` brings it back; then it is removed.", what, p.d.Server.Name, textOfSpan(p.d.Request.KeepFor))
}

// possible is what else can be done, where something stops it.
func (p *planner) possible() []string {
	var can []string
	say := func(format string, args ...any) { can = append(can, fmt.Sprintf(format, args...)) }
	d := p.d
	undo := d.Kind == UndoKind
	onTarget := d.Server.Name + " / " + d.Instance.Name
	elsewhere := func() {
		if !undo && !d.Backup.SameHost {
			say("restore it on another server that is granted to the project: --to-server NAME")
		}
	}
	part := func() {
		switch {
		case undo || len(d.Request.Choices.Only) > 0:
		case d.Engine == wire.EnginePostgreSQL:
			say("restore one schema or some tables into a new database: --to-database NAME --only SCHEMA.TABLE")
		case d.Engine == wire.EngineMySQL:
			say("restore one table into a new database: --to-database NAME --only TABLE")
		}
	}
	if p.stoppedBy(ProblemTargetMissing) && !undo {
		say("restore it as a new database: leave --in-place out")
	}
	if p.stoppedBy(wire.CodeTargetExists) {
		say("restore it under another name: --to-database NAME")
		say("put it in the place of what is there, which is kept for a time: --in-place")
	}
	if p.stoppedBy(wire.CodeTargetInUse) {
		say("stop the programs that use it, and ask again")
		say("let the swap wait until they are gone: --sessions wait --wait-for 5m")
		if d.Engine != wire.EngineSQLite {
			say("have their sessions ended: --sessions end")
		}
	}
	if p.stoppedBy(wire.CodeNotAllowed) && p.swap && !undo {
		say("restore it beside the target, and bring over by hand what is needed: --to-database NAME without --in-place")
	}
	if p.stoppedBy(wire.CodeDiskFull) {
		if p.found != nil && p.found.FreeBytes >= 0 {
			need := max(d.Metadata.DatabaseBytes, d.Metadata.RawBytes) - p.found.FreeBytes
			if need < 1<<20 {
				say("free some space where %s keeps its databases", onTarget)
			} else {
				say("free at least %s more where %s keeps its databases", textOfBytes(need), onTarget)
			}
		}
		elsewhere()
		part()
		say("fetch it and restore it by hand, where there is room: devflowctl backup download %d", d.Backup.ID)
		if p.swap && !undo {
			say("without room for both: make a backup of %q, drop it by hand, and restore into the name that is then free, without --in-place; from then until the end there is no database", d.Database)
		}
	} else if p.stoppedBy(wire.CodeOffline, wire.CodeUnknownVerb) {
		say("start the agent of %s, and ask again", d.Server.Name)
		elsewhere()
	}
	if len(can) == 0 && !undo {
		if p.swap {
			say("restore it into a new database beside the target, and bring over by hand what is needed: --to-database NAME without --in-place")
		}
		elsewhere()
		if !p.stoppedBy("system_database") {
			part()
		}
		say("fetch it and restore it by hand: devflowctl backup download %d", d.Backup.ID)
	}
	if undo {
		say("keep what was kept for longer while you mend this: devflowctl restore keep %d --for 240h", undone(d))
	}
	return can
}

func undone(d Draft) int64 {
	if d.Undo == nil {
		return 0
	}
	return d.Undo.ID
}

// textOfChoices names the choices that were made, for the middle of a sentence.
func textOfChoices(c wire.RestoreChoices) string {
	var all []string
	if c.Owners {
		all = append(all, "with owners")
	}
	if c.Privileges {
		all = append(all, "with grants")
	}
	if c.Roles {
		all = append(all, "with missing roles made, without login")
	}
	if c.Definers != "" {
		all = append(all, map[string]string{"keep": "definers kept", "strip": "without definers"}[c.Definers])
	}
	if len(c.Only) > 0 {
		var names []string
		for _, s := range c.Only {
			names = append(names, strings.Trim(s.Schema+"."+s.Table, "."))
		}
		all = append(all, "only "+strings.Join(names, ", "))
	}
	if c.Jobs > 1 {
		all = append(all, fmt.Sprintf("%d indexes and constraints at a time", c.Jobs))
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, "; ") + ")"
}

func engineName(engine string) string {
	switch engine {
	case wire.EnginePostgreSQL:
		return "PostgreSQL"
	case wire.EngineMySQL:
		return "MySQL or MariaDB"
	case wire.EngineSQLite:
		return "SQLite"
	}
	return engine
}

// leadingVersion is the first number of a version.
func leadingVersion(v string) string {
	n := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if n < 0 {
		return v
	}
	return v[:n]
}

// textOfBytes is a size for people, rounded up where it is large.
func textOfBytes(n int64) string {
	unit, names := int64(1)<<10, []string{"KiB", "MiB", "GiB", "TiB"}
	if n < unit {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	i := 0
	for n >= unit<<10 && i < len(names)-1 {
		unit <<= 10
		i++
	}
	return strconv.FormatFloat(math.Ceil(float64(n)/float64(unit)*10)/10, 'f', 1, 64) + " " + names[i]
}

// textOfSpan is a duration in its largest whole unit.
func textOfSpan(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d >= u.unit && d%u.unit == 0 {
			if d == u.unit {
				return "1 " + u.name
			}
			return fmt.Sprintf("%d %ss", d/u.unit, u.name)
		}
	}
	return d.String()
}
