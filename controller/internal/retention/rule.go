package retention

import (
	"fmt"
	"strings"
	"time"

	"devflowbackup/controller"
)

// rule keeps some of a group's counted backups, which come newest first.
type rule interface {
	keep(backups []Backup, now time.Time, because func(i int, r Reason))
	expired() Reason // why it keeps one no longer
}

type scheduleRule struct {
	controller.Retention
	zone *time.Location
}

// period is a unit in which backups are counted. Its key is the same for all instants of one period and different for any others.
type period struct {
	code  string
	one   string
	many  string
	count func(controller.Retention) int
	key   func(local time.Time) int64
	name  func(local time.Time) string
}

var periods = []period{
	{
		code: Hourly, one: "hour", many: "hours", count: func(r controller.Retention) int { return r.Hourly },
		// The instant at which the hour began: the two hours of one name in autumn are two.
		key:  func(t time.Time) int64 { return t.Unix() - int64(t.Minute()*60+t.Second()) },
		name: func(t time.Time) string { return t.Format("2006-01-02 15:00 MST") },
	},
	{
		code: Daily, one: "day", many: "days", count: func(r controller.Retention) int { return r.Daily },
		key:  func(t time.Time) int64 { return int64(t.Year()*1000 + t.YearDay()) },
		name: func(t time.Time) string { return t.Format(time.DateOnly) },
	},
	{
		code: Weekly, one: "week", many: "weeks", count: func(r controller.Retention) int { return r.Weekly },
		// The week's own year, not the calendar's: a week across New Year is one.
		key: func(t time.Time) int64 {
			year, week := t.ISOWeek()
			return int64(year*100 + week)
		},
		name: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("week %d-W%02d", year, week)
		},
	},
	{
		code: Monthly, one: "month", many: "months", count: func(r controller.Retention) int { return r.Monthly },
		key:  func(t time.Time) int64 { return int64(t.Year()*100 + int(t.Month())) },
		name: func(t time.Time) string { return t.Format("2006-01") },
	},
}

func (s scheduleRule) keep(backups []Backup, now time.Time, because func(int, Reason)) {
	for _, p := range periods {
		count := p.count(s.Retention)
		seen := make(map[int64]bool, count)
		for i := 0; i < len(backups) && len(seen) < count; i++ {
			local := backups[i].ReceivedAt.In(s.zone)
			if key := p.key(local); !seen[key] {
				seen[key] = true
				because(i, Reason{Code: p.code, Text: fmt.Sprintf("newest of %s, %s %d of the last %d with a backup", p.name(local), p.one, len(seen), count)})
			}
		}
	}
	keepYounger(s.Days, backups, now, because)
}

func (s scheduleRule) expired() Reason {
	var parts []string
	for _, p := range periods {
		if n := p.count(s.Retention); n > 0 {
			parts = append(parts, plural(n, p.one, p.many))
		}
	}
	var text []string
	if s.Days > 0 {
		text = append(text, "not younger than "+plural(s.Days, "day", "days"))
	}
	if len(parts) > 0 {
		text = append(text, "not the newest of any of the last "+strings.Join(parts, ", ")+" with a backup")
	}
	return Reason{Code: Expired, Text: strings.Join(text, ", and ")}
}

func (a AdHoc) keep(backups []Backup, now time.Time, because func(int, Reason)) {
	for i := range min(a.AtLeast, len(backups)) {
		because(i, Reason{Code: AtLeast, Text: fmt.Sprintf("number %d of the newest %d", i+1, a.AtLeast)})
	}
	keepYounger(a.Days, backups, now, because)
}

func (a AdHoc) expired() Reason {
	text := fmt.Sprintf("not one of the newest %d", a.AtLeast)
	if a.Days > 0 {
		text = "not younger than " + plural(a.Days, "day", "days") + ", and " + text
	}
	return Reason{Code: Expired, Text: text}
}

func keepYounger(days int, backups []Backup, now time.Time, because func(int, Reason)) {
	limit := now.Add(-time.Duration(days) * 24 * time.Hour)
	for i := 0; days > 0 && i < len(backups) && backups[i].ReceivedAt.After(limit); i++ {
		because(i, Reason{Code: Days, Text: "younger than " + plural(days, "day", "days")})
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
