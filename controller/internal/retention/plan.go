// Package retention decides which backups are kept. It is pure: what is decided depends on the policy, the backups and the time that
// are given, and a dry run is the plan itself.
//
// Invariants, for each group of backups, which are those of one schedule (or of one kind that no schedule made), one database, server,
// engine and storage:
//
//   - Groups are never mixed: however many backups one has, another loses none.
//   - Only completed, healthy backups that are not being deleted count, and only those are removed.
//   - The newest of them stays, however old it is. So does the newest whose content was verified (or that a drill passed with) until a
//     newer one was; where there is none, the oldest stays.
//   - Hours, days, weeks and months are counted over those that have a backup: after an outage of any length nothing is emptied.
//   - Held backups and those that an open job names stay, and the safety backups of restores in place that can be undone. Those that a store has locked are removed later.
//   - What belonged to a schedule, database, server or project that is no more stays until a person deletes it.
//   - A policy that is not valid removes nothing.
//   - A plan made again after it was carried out, at the same time, removes nothing.
//
// Times are those at which the controller had the backup, never what an agent said.
package retention

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"devflowbackup/controller"
)

// Plan decides on each of the backups, in their order, with one policy for those of schedules and DefaultAdHoc for others. It takes
// O(n log n).
func Plan(policy Policy, backups []Backup, now time.Time) []Decision {
	return plan(func(Backup) (Policy, bool) { return policy, true }, DefaultAdHoc, backups, now)
}

// Plan decides on each of the backups, in their order, each with the policy of its schedule. It takes O(n log n).
func (p Policies) Plan(backups []Backup, now time.Time) []Decision {
	policy := func(b Backup) (Policy, bool) {
		policy, ok := p.Schedules[b.ScheduleID]
		return policy, ok
	}
	return plan(policy, p.AdHoc, backups, now)
}

func plan(policy func(Backup) (Policy, bool), adHoc AdHoc, backups []Backup, now time.Time) []Decision {
	decisions := make([]Decision, len(backups))
	groups := make(map[group][]int)
	for i, b := range backups {
		decisions[i].BackupID = b.ID
		if r, aside := setAside(b); aside {
			decisions[i].keep(r)
			continue
		}
		g := b.group()
		groups[g] = append(groups[g], i)
	}
	for _, members := range groups {
		slices.SortFunc(members, func(i, j int) int { // newest first
			return cmp.Or(backups[j].ReceivedAt.Compare(backups[i].ReceivedAt), cmp.Compare(backups[j].ID, backups[i].ID))
		})
		sorted := make([]Backup, len(members))
		for k, i := range members {
			sorted[k] = backups[i]
		}
		for k, d := range decide(policy, adHoc, sorted, now) {
			decisions[members[k]] = d
		}
	}
	return decisions
}

// setAside is why a backup neither counts nor is removed.
func setAside(b Backup) (Reason, bool) {
	switch {
	case b.Deleted || b.Health == controller.HealthDeleting:
		return Reason{Code: Deleting, Text: "is being deleted already"}, true
	case b.Status == controller.StatusPending || b.Status == controller.StatusRunning:
		return Reason{Code: Unfinished, Text: "is not completed yet"}, true
	case b.Status == controller.StatusFailed:
		return Reason{Code: Failed, Text: "failed and holds no data; how long its record stays is not a matter of retention"}, true
	case b.Health == controller.HealthMissing:
		return Reason{Code: Missing, Text: "is missing at its storage; it stays until it is found again or a person deletes it"}, true
	case b.Health == controller.HealthCorrupt:
		return Reason{Code: Corrupt, Text: "is corrupt; it stays until a person has looked at it and deletes it"}, true
	case b.Health == controller.HealthArchived:
		return Reason{Code: Archived, Text: "was archived by its storage; restore it there, or delete it"}, true
	case !b.counted():
		return Reason{Code: Unknown, Text: fmt.Sprintf("has the status %q and the health %q, which no rule knows", b.Status, b.Health)}, true
	case b.Gone != "":
		return Reason{Code: Orphan, Text: "its " + b.Gone + " is no more; it stays until a person deletes it"}, true
	case !slices.Contains([]string{controller.TypeManual, controller.TypeScheduled, controller.TypePreDeploy, controller.TypePreRestore}, b.Type):
		return Reason{Code: Unknown, Text: fmt.Sprintf("has the type %q, which no rule knows", b.Type)}, true
	}
	return Reason{}, false
}

// earlier is a rule that a shorter one has followed.
type earlier struct {
	rule
	until time.Time
}

// decide is about one group, newest first.
func decide(policyOf func(Backup) (Policy, bool), adHoc AdHoc, backups []Backup, now time.Time) []Decision {
	decisions := make([]Decision, len(backups))
	for i, b := range backups {
		decisions[i].BackupID = b.ID
	}
	current, before, problem := rules(policyOf, adHoc, backups[0], now)
	if problem != nil {
		for i := range decisions {
			decisions[i].keep(*problem)
		}
		return decisions
	}
	decisions[0].keep(Reason{Code: Newest, Text: "newest"})
	current.keep(backups, now, func(i int, r Reason) { decisions[i].keep(r) })
	if i := slices.IndexFunc(backups, Backup.proven); i >= 0 {
		decisions[i].keep(Reason{Code: Verified, Text: "newest whose content was verified"})
	} else {
		decisions[len(backups)-1].keep(Reason{Code: Oldest, Text: "oldest, where the content of none was verified"})
	}
	for i, b := range backups {
		if b.Held {
			text := "held by a person"
			if b.HoldReason != "" {
				text += ": " + b.HoldReason
			}
			decisions[i].keep(Reason{Code: Held, Text: text})
		}
		if b.OpenJobs > 0 {
			decisions[i].keep(Reason{Code: OpenJob, Text: "named by " + plural(b.OpenJobs, "open job", "open jobs")})
		}
		if b.SafetyOf != 0 {
			decisions[i].keep(Reason{Code: Safety, Text: fmt.Sprintf("safety backup of restore %d, which can still be undone or is at work", b.SafetyOf)})
		}
	}
	expired := current.expired()
	for i := range decisions {
		if d := &decisions[i]; d.Action == "" {
			d.Action, d.Reasons = Remove, []Reason{expired}
		}
	}
	for _, e := range before {
		e.keep(backups, now, func(i int, r Reason) {
			decisions[i].later(Reason{Code: Changed, Text: "kept until " + when(e.until) + " by the policy before its change: " + r.Text, Until: e.until})
		})
	}
	for i, b := range backups {
		if b.LockedUntil.After(now) {
			decisions[i].later(Reason{Code: Locked, Text: "its storage refuses to delete it until " + when(b.LockedUntil), Until: b.LockedUntil})
		}
	}
	return decisions
}

// rules are those of a group, or why nothing of it may be removed.
func rules(policyOf func(Backup) (Policy, bool), adHoc AdHoc, b Backup, now time.Time) (current rule, before []earlier, problem *Reason) {
	invalid := func(err error) *Reason {
		return &Reason{Code: InvalidRules, Text: fmt.Sprintf("its policy is not valid, so nothing is removed: %v", err)}
	}
	if b.Type != controller.TypeScheduled || b.ScheduleID == 0 {
		if err := adHoc.Validate(); err != nil {
			return nil, nil, invalid(err)
		}
		return adHoc, nil, nil
	}
	p, ok := policyOf(b)
	if !ok {
		return nil, nil, &Reason{Code: Orphan, Text: "its schedule is no more; it stays until a person deletes it"}
	}
	if err := p.Validate(); err != nil {
		return nil, nil, invalid(err)
	}
	for _, c := range p.Changes {
		if c.EffectiveAt.After(now) && c.Zone != nil {
			before = append(before, earlier{rule: scheduleRule{c.Old, c.Zone}, until: c.EffectiveAt})
		}
	}
	return scheduleRule{p.Retention, p.Zone}, before, nil
}

func (d *Decision) keep(r Reason) {
	d.Action = Keep
	d.Reasons = append(d.Reasons, r)
}

// later puts off a removal. What is kept stays kept, and one reason of a code is enough: the one that holds longest.
func (d *Decision) later(r Reason) {
	if d.Action == Keep {
		return
	}
	d.Action = Later
	if r.Until.After(d.At) {
		d.At = r.Until
	}
	if i := slices.IndexFunc(d.Reasons, func(have Reason) bool { return have.Code == r.Code }); i >= 0 {
		if r.Until.After(d.Reasons[i].Until) {
			d.Reasons[i] = r
		}
		return
	}
	d.Reasons = append(d.Reasons, r)
}

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
