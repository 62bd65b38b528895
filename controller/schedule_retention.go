package controller

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a retention.
const (
	MaxRetentionDays  = 365
	MaxRetentionCount = 1000
	// RetentionGrace is how long what an older policy keeps is kept after the policy was made shorter.
	RetentionGrace = 72 * time.Hour
)

// Retention says which backups of a schedule are kept: the newest of each of the last so many hours, days, weeks and months that
// have one, and all that are younger than so many days. 0 turns a part off; not all may be off.
type Retention struct {
	Days    int `json:"retention_days"`
	Hourly  int `json:"retention_hourly"`
	Daily   int `json:"retention_daily"`
	Weekly  int `json:"retention_weekly"`
	Monthly int `json:"retention_monthly"`
}

// DefaultRetention is the panel's, for a calendar that occurs at most once for each date. One that occurs more often counts hours
// instead of keeping everything for 30 days.
func DefaultRetention(sparse bool) Retention {
	if sparse {
		return Retention{Days: 30, Daily: 7, Weekly: 4, Monthly: 3}
	}
	return Retention{Hourly: 24, Daily: 7, Weekly: 4, Monthly: 3}
}

// retentionUnits are the words of ParseRetention, in the order of Text.
var retentionUnits = []string{"hourly", "daily", "weekly", "monthly", "days"}

func (r *Retention) unit(name string) *int {
	switch name {
	case "hourly":
		return &r.Hourly
	case "daily":
		return &r.Daily
	case "weekly":
		return &r.Weekly
	case "monthly":
		return &r.Monthly
	case "days":
		return &r.Days
	}
	return nil
}

// Validate names the first field that is wrong.
func (r Retention) Validate() error {
	for _, unit := range retentionUnits {
		highest := MaxRetentionCount
		if unit == "days" {
			highest = MaxRetentionDays
		}
		if n := *r.unit(unit); n < 0 || n > highest {
			return Invalid("retention_"+unit, "%d is not allowed; use 1 to %d, or 0 to turn it off", n, highest)
		}
	}
	if r == (Retention{}) {
		return Invalid("retention_days", "0 is not allowed where retention_hourly, retention_daily, retention_weekly and retention_monthly are 0 too; "+
			"use 1 or more for one of them").WithHint("a policy that keeps nothing would remove every backup but one")
	}
	return nil
}

// Shorter tells whether some part keeps less than in the other.
func (r Retention) Shorter(than Retention) bool {
	return slices.ContainsFunc(retentionUnits, func(unit string) bool { return *r.unit(unit) < *than.unit(unit) })
}

// Text is the retention as ParseRetention reads it, without what is off.
func (r Retention) Text() string {
	var parts []string
	for _, unit := range retentionUnits {
		if n := *r.unit(unit); n != 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", unit, n))
		}
	}
	return strings.Join(parts, ",")
}

// Words are the retention as a sentence for people.
func (r Retention) Words() string {
	var periods []string
	for _, p := range []struct {
		n    int
		unit string
	}{{r.Hourly, "hour"}, {r.Daily, "day"}, {r.Weekly, "week"}, {r.Monthly, "month"}} {
		switch {
		case p.n == 1:
			periods = append(periods, "1 "+p.unit)
		case p.n > 1:
			periods = append(periods, fmt.Sprintf("%d %ss", p.n, p.unit))
		}
	}
	var parts []string
	switch last := len(periods) - 1; {
	case last == 0 && strings.HasPrefix(periods[0], "1 "):
		parts = append(parts, "the newest backup of the last "+periods[0][2:]+" that has one")
	case last == 0:
		parts = append(parts, "the newest backup of each of the last "+periods[0]+" that have one")
	case last > 0:
		parts = append(parts, "the newest backup of each of the last "+strings.Join(periods[:last], ", ")+" and "+periods[last]+" that have one")
	}
	switch {
	case r.Days == 1:
		parts = append(parts, "every backup younger than 1 day")
	case r.Days > 1:
		parts = append(parts, fmt.Sprintf("every backup younger than %d days", r.Days))
	}
	return strings.Join(parts, ", and ")
}

// ParseRetention reads "hourly=24,daily=7,weekly=4,monthly=3,days=30", where any part may be left out and is off then. A unit that is
// unknown or given twice, a number that is not one and a retention that is not valid are errors.
func ParseRetention(text string) (Retention, error) {
	var r Retention
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		unit, number, found := strings.Cut(strings.TrimSpace(part), "=")
		field := r.unit(unit)
		switch {
		case !found:
			return Retention{}, Invalid("retention", "%.40q is not allowed; use a unit and a number, such as daily=7", part)
		case field == nil:
			return Retention{}, Invalid("retention", "%.40q is not a unit; use %s", unit, orList(retentionUnits))
		case seen[unit]:
			return Retention{}, Invalid("retention", "%s is given twice; leave one of them out", unit)
		}
		seen[unit] = true
		n, err := strconv.Atoi(number)
		if err != nil {
			return Retention{}, Invalid("retention_"+unit, "%.40q is not a number", number)
		}
		*field = n
	}
	if err := r.Validate(); err != nil {
		return Retention{}, err
	}
	return r, nil
}
