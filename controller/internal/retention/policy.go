package retention

import (
	"time"

	"devflowbackup/controller"
)

// Policy is what is kept of one schedule's backups.
type Policy struct {
	controller.Retention
	Zone    *time.Location // in which days, weeks and months begin
	Changes []PolicyChange // that are not in effect yet
}

// PolicyChange is what a policy was before it was made shorter. What it keeps is kept until the change is in effect.
type PolicyChange struct {
	Old         controller.Retention
	Zone        *time.Location
	EffectiveAt time.Time
}

// Validate names the first field that is wrong.
func (p Policy) Validate() error {
	if err := p.Retention.Validate(); err != nil {
		return err
	}
	if p.Zone == nil {
		return controller.Invalid("timezone", "is missing; use an IANA name such as Europe/Berlin, or UTC")
	}
	return nil
}

// Change is the policy that follows p when it is changed at a time. Where it keeps less in some part, or its days begin at another
// time, what p keeps, and what p was to keep for a while yet, is kept until the grace is over. Changes in one zone are put together:
// nothing is kept shorter by it, and the list stays short however often a policy is edited.
func (p Policy) Change(to controller.Retention, zone *time.Location, at time.Time, grace time.Duration) Policy {
	next := Policy{Retention: to, Zone: zone}
	for _, c := range p.Changes {
		if c.EffectiveAt.After(at) {
			next.add(c)
		}
	}
	moved := p.Zone == nil || zone == nil || p.Zone.String() != zone.String()
	if to.Shorter(p.Retention) || moved {
		next.add(PolicyChange{Old: p.Retention, Zone: p.Zone, EffectiveAt: at.Add(grace)})
	}
	return next
}

func (p *Policy) add(c PolicyChange) {
	if c.Zone == nil {
		return
	}
	for i := range p.Changes {
		if have := &p.Changes[i]; have.Zone.String() == c.Zone.String() {
			have.Old = longer(have.Old, c.Old)
			if c.EffectiveAt.After(have.EffectiveAt) {
				have.EffectiveAt = c.EffectiveAt
			}
			return
		}
	}
	p.Changes = append(p.Changes, c)
}

func longer(a, b controller.Retention) controller.Retention {
	return controller.Retention{
		Days: max(a.Days, b.Days), Hourly: max(a.Hourly, b.Hourly), Daily: max(a.Daily, b.Daily), Weekly: max(a.Weekly, b.Weekly), Monthly: max(a.Monthly, b.Monthly),
	}
}

// AdHoc is what is kept of backups that no schedule made, for each kind of them by itself.
type AdHoc struct {
	Days    int `json:"days"`     // all that are younger; 0: off
	AtLeast int `json:"at_least"` // the newest so many, whatever their age
}

// DefaultAdHoc keeps those of the last 30 days, at least the newest 3.
var DefaultAdHoc = AdHoc{Days: 30, AtLeast: 3}

// Validate names the first field that is wrong.
func (a AdHoc) Validate() error {
	if a.Days < 0 || a.Days > controller.MaxRetentionDays {
		return controller.Invalid("days", "%d is not allowed; use 1 to %d, or 0 to turn it off", a.Days, controller.MaxRetentionDays)
	}
	if a.AtLeast < 1 || a.AtLeast > controller.MaxRetentionCount {
		return controller.Invalid("at_least", "%d is not allowed; use 1 to %d", a.AtLeast, controller.MaxRetentionCount)
	}
	return nil
}

// Policies are those of an installation, a project or a database.
type Policies struct {
	Schedules map[int64]Policy // by the schedule's id; a schedule that is not here is taken to be deleted
	AdHoc     AdHoc
}
