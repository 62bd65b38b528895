package retention_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // where the system has none

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
)

var update = flag.Bool("update", false, "write testdata/*.out.json")

func at(t testing.TB, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := controller.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// scheduled is a completed backup of schedule 1.
func scheduled(id int64, received time.Time) retention.Backup {
	return retention.Backup{
		ID: id, ScheduleID: 1, Type: "scheduled", DatabaseID: 1, DatabaseType: "postgresql", ServerID: 1, StorageID: 1, Status: "completed", Health: "ok",
		ReceivedAt: received, FileSize: 1000,
	}
}

// everyDay are n completed backups of schedule 1, one a day, the newest last.
func everyDay(n int, newest time.Time) []retention.Backup {
	var backups []retention.Backup
	for i := range n {
		backups = append(backups, scheduled(int64(i+1), newest.AddDate(0, 0, i+1-n)))
	}
	return backups
}

func ids(decisions []retention.Decision, action string) []int64 {
	found := []int64{}
	for _, d := range decisions {
		if d.Action == action {
			found = append(found, d.BackupID)
		}
	}
	slices.Sort(found)
	return found
}

func codes(d retention.Decision) string {
	var found []string
	for _, r := range d.Reasons {
		found = append(found, r.Code)
	}
	return strings.Join(found, " ")
}

func equal(t *testing.T, what string, got []int64, want ...int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// scene is an input of TestPlan_Golden. Series stand for backups that differ in time only.
type scene struct {
	About     string               `json:"about"`
	Now       time.Time            `json:"now"`
	Zone      string               `json:"zone"`
	Retention controller.Retention `json:"retention"`
	AdHoc     retention.AdHoc      `json:"ad_hoc"`
	Changes   []struct {
		Old         controller.Retention `json:"old"`
		EffectiveAt time.Time            `json:"effective_at"`
	} `json:"changes"`
	Schedules []int64 `json:"schedules"` // that exist
	Series    []struct {
		retention.Backup
		Count        int   `json:"count"`
		EveryMinutes int64 `json:"every_minutes"`
	} `json:"series"`
}

func (s scene) backups() []retention.Backup {
	var all []retention.Backup
	for _, series := range s.Series {
		b := series.Backup
		for range max(series.Count, 1) {
			all = append(all, b)
			b.ID++
			b.ReceivedAt = b.ReceivedAt.Add(time.Duration(series.EveryMinutes) * time.Minute)
		}
	}
	return all
}

// TestPlan_Golden compares plans with those in testdata, which were read by people.
func TestPlan_Golden(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/*.in.json")
	if err != nil || len(inputs) < 8 {
		t.Fatalf("%d inputs, %v", len(inputs), err)
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		var s scene
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			t.Fatalf("%s: %v", input, err)
		}
		policy := retention.Policy{Retention: s.Retention, Zone: zone(t, s.Zone)}
		for _, c := range s.Changes {
			policy.Changes = append(policy.Changes, retention.PolicyChange{Old: c.Old, Zone: policy.Zone, EffectiveAt: c.EffectiveAt})
		}
		policies := retention.Policies{Schedules: map[int64]retention.Policy{}, AdHoc: s.AdHoc}
		for _, id := range s.Schedules {
			policies.Schedules[id] = policy
		}
		backups := s.backups()
		decisions := policies.Plan(backups, s.Now)

		var out bytes.Buffer
		line := func(v any) {
			e := json.NewEncoder(&out) // one line each
			e.SetEscapeHTML(false)
			if err := e.Encode(v); err != nil {
				t.Fatal(err)
			}
		}
		out.WriteString("[\n")
		for i, d := range decisions {
			line(struct {
				ReceivedAt string `json:"received_at"`
				retention.Decision
			}{backups[i].ReceivedAt.In(policy.Zone).Format("Mon 2006-01-02 15:04 MST"), d})
			out.Truncate(out.Len() - 1)
			out.WriteString(",\n")
		}
		line(retention.Sum(decisions, backups))
		out.WriteString("]\n")

		output := strings.TrimSuffix(input, ".in.json") + ".out.json"
		if *update {
			if err := os.WriteFile(output, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			got, wanted := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
			for i := range min(len(got), len(wanted)) {
				if got[i] != wanted[i] {
					t.Errorf("%s, line %d:\n%s\nwant\n%s", output, i+1, got[i], wanted[i])
				}
			}
			if len(got) != len(wanted) {
				t.Errorf("%s: %d lines, want %d", output, len(got), len(wanted))
			}
		}
	}
}

// TestMistake07_Retention is about the panel's retention: "daily" was the newest N, kinds, servers, engines and storages were counted
// together, a week across New Year was split, retention_days was never read, and the dry run was not the plan.
func TestMistake07_Retention(t *testing.T) {
	t.Parallel()
	utc := zone(t, "UTC")
	now := at(t, "2027-01-06T12:00:00Z")

	// Five a day: the last two days, not the newest two.
	var backups []retention.Backup
	for i := range 20 {
		backups = append(backups, scheduled(int64(i+1), now.Add(-time.Duration(19-i)*24*time.Hour/5)))
	}
	backups[0].VerifiedLevel = "content" // so that the oldest is not kept for its age alone
	backups[19].VerifiedLevel = "content"
	plan := retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 2}, Zone: utc}, backups, now)
	equal(t, "daily", ids(plan, retention.Keep), 17, 20)

	// Another server, engine, storage, database or kind has its own count.
	newer := now.Add(-time.Minute)
	for name, change := range map[string]func(*retention.Backup){
		"server":      func(b *retention.Backup) { b.ServerID = 2 },
		"engine":      func(b *retention.Backup) { b.DatabaseType = "mysql" },
		"storage":     func(b *retention.Backup) { b.StorageID = 2 },
		"database":    func(b *retention.Backup) { b.DatabaseID = 2 },
		"schedule":    func(b *retention.Backup) { b.ScheduleID = 2 },
		"manual":      func(b *retention.Backup) { b.Type = "manual" },
		"pre_deploy":  func(b *retention.Backup) { b.Type = "pre_deploy" },
		"pre_restore": func(b *retention.Backup) { b.Type = "pre_restore" },
	} {
		mixed := everyDay(3, now.Add(-time.Hour))
		for i := range 5 {
			b := scheduled(int64(100+i), newer)
			change(&b)
			mixed = append(mixed, b)
		}
		plan := retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 3}, Zone: utc}, mixed, now)
		if kept := ids(plan, retention.Keep); !slices.Equal(kept[:min(3, len(kept))], []int64{1, 2, 3}) {
			t.Errorf("another %s displaced: kept %v", name, kept)
		}
	}

	// 2026-12-28 to 2027-01-03 is one week, 2026-W53.
	week := everyDay(10, at(t, "2027-01-05T02:00:00Z")) // 27 December to 5 January
	week[9].VerifiedLevel = "content"
	plan = retention.Plan(retention.Policy{Retention: controller.Retention{Weekly: 3}, Zone: utc}, week, now)
	equal(t, "weekly", ids(plan, retention.Keep), 1, 8, 10)
	if got := plan[7].Reasons[0].Text; got != "newest of week 2026-W53, week 2 of the last 3 with a backup" {
		t.Errorf("%q", got)
	}

	// retention_days is read.
	plan = retention.Plan(retention.Policy{Retention: controller.Retention{Days: 4}, Zone: utc}, week, now)
	equal(t, "days", ids(plan, retention.Keep), 8, 9, 10)

	// Days are those of the schedule's zone: 23:30 and 00:30 in Berlin are two, though one in UTC.
	night := []retention.Backup{
		scheduled(1, at(t, "2027-01-04T22:30:00Z")), scheduled(2, at(t, "2027-01-04T23:30:00Z")), scheduled(3, at(t, "2027-01-05T22:00:00Z")),
	}
	night[2].VerifiedLevel = "drill"
	plan = retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 5}, Zone: zone(t, "Europe/Berlin")}, night, now)
	equal(t, "Berlin", ids(plan, retention.Keep), 1, 3)
	plan = retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 5}, Zone: utc}, night, now)
	equal(t, "UTC", ids(plan, retention.Keep), 2, 3)
}

// TestFault73_NothingNew makes no backup for a long time: what the counts keep stays for good, and the last good one with any policy.
func TestFault73_NothingNew(t *testing.T) {
	t.Parallel()
	newest := at(t, "2026-06-30T02:00:00Z")
	backups := everyDay(40, newest)
	for i := range 300 { // failing every day since
		b := scheduled(int64(1000+i), newest.AddDate(0, 0, i+1))
		b.Status = "failed"
		backups = append(backups, b)
	}
	for _, years := range []int{0, 1, 10} {
		now := newest.AddDate(years, 0, 5)
		policy := retention.Policy{Retention: controller.Retention{Days: 30, Daily: 7, Weekly: 4, Monthly: 3}, Zone: zone(t, "UTC")}
		kept := 0
		for _, d := range retention.Plan(policy, backups, now)[:40] {
			if d.Action == retention.Keep {
				kept++
			}
		}
		if want := map[int]int{0: 27, 1: 11, 10: 11}[years]; kept != want {
			t.Errorf("%d years after: %d kept, want %d", years, kept, want)
		}
		days := retention.Plan(retention.Policy{Retention: controller.Retention{Days: 3}, Zone: zone(t, "UTC")}, backups, now)[:40]
		equal(t, "by days alone", ids(days, retention.Keep), 1, 40)
		if got := codes(days[39]); got != retention.Newest {
			t.Errorf("the last good one is kept because: %s", got)
		}
	}
}

// TestFault75_NotTouched: what is not completed and healthy is neither counted nor removed, whatever the policy.
func TestFault75_NotTouched(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-23T12:00:00Z")
	policy := retention.Policy{Retention: controller.Retention{Daily: 1}, Zone: zone(t, "UTC")}
	for name, change := range map[string]func(*retention.Backup){
		retention.Unfinished: func(b *retention.Backup) { b.Status = "running" },
		"unfinished ":        func(b *retention.Backup) { b.Status = "pending" },
		retention.Failed:     func(b *retention.Backup) { b.Status = "failed" },
		retention.Missing:    func(b *retention.Backup) { b.Health = "missing" },
		retention.Corrupt:    func(b *retention.Backup) { b.Health = "corrupt" },
		retention.Archived:   func(b *retention.Backup) { b.Health = "archived" },
		retention.Deleting:   func(b *retention.Backup) { b.Health = "deleting" },
		"deleting ":          func(b *retention.Backup) { b.Deleted = true },
		retention.Unknown:    func(b *retention.Backup) { b.Health = "odd" },
		"unknown ":           func(b *retention.Backup) { b.Status = "" },
		"unknown  ":          func(b *retention.Backup) { b.Type = "weekly" },
	} {
		backups := everyDay(3, now.Add(-48*time.Hour))
		for i := range 3 {
			for _, when := range []time.Time{now.Add(time.Duration(-i) * time.Hour), now.AddDate(-3, 0, -i)} { // newer and older than all others
				b := scheduled(int64(len(backups)+1), when)
				b.VerifiedLevel = "content"
				change(&b)
				backups = append(backups, b)
			}
		}
		plan := retention.Plan(policy, backups, now)
		equal(t, name, ids(plan, retention.Remove), 2) // 1 is the oldest, 3 the newest
		for _, d := range plan[3:] {
			if d.Action != retention.Keep || codes(d) != strings.TrimSpace(name) {
				t.Errorf("%s: %+v", name, d)
			}
		}
	}
}

// TestFault76_Policies: a policy that is not valid removes nothing, a shorter one waits, and a schedule that is gone keeps its backups.
func TestFault76_Policies(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-23T12:00:00Z")
	utc := zone(t, "UTC")
	backups := everyDay(60, now.Add(-time.Hour))
	for name, p := range map[string]retention.Policy{
		"zero":     {Zone: utc},
		"negative": {Zone: utc, Retention: controller.Retention{Daily: -1, Weekly: 1}},
		"too many": {Zone: utc, Retention: controller.Retention{Daily: 1 << 30}},
		"no zone":  {Retention: controller.Retention{Daily: 1}},
	} {
		if err := p.Validate(); controller.ErrorCode(err) != controller.EInvalid {
			t.Errorf("%s: %v", name, err)
		}
		plan := retention.Plan(p, backups, now)
		equal(t, name, ids(plan, retention.Remove))
		if codes(plan[0]) != retention.InvalidRules {
			t.Errorf("%s: %+v", name, plan[0])
		}
	}
	for name, a := range map[string]retention.AdHoc{"none": {}, "negative": {Days: -1, AtLeast: 1}, "too long": {Days: 366, AtLeast: 1}} {
		if err := a.Validate(); controller.ErrorCode(err) != controller.EInvalid {
			t.Errorf("%s: %v", name, err)
		}
		manual := slices.Clone(backups)
		for i := range manual {
			manual[i].Type = "manual"
		}
		equal(t, name, ids(retention.Policies{AdHoc: a}.Plan(manual, now), retention.Remove))
	}

	// Schedule 1 is gone.
	plan := retention.Policies{Schedules: map[int64]retention.Policy{2: {Retention: controller.Retention{Daily: 1}, Zone: utc}}, AdHoc: retention.DefaultAdHoc}.Plan(backups, now)
	equal(t, "deleted schedule", ids(plan, retention.Remove))
	if codes(plan[5]) != retention.Orphan {
		t.Errorf("%+v", plan[5])
	}
	for _, gone := range []string{retention.GoneSchedule, retention.GoneDatabase, retention.GoneServer, retention.GoneProject} {
		orphans := slices.Clone(backups)
		for i := range orphans {
			orphans[i].Gone = gone
		}
		equal(t, gone, ids(retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 1}, Zone: utc}, orphans, now), retention.Remove))
	}

	// Shorter: from 30 days to 2.
	old := retention.Policy{Retention: controller.Retention{Daily: 30}, Zone: utc}
	p := old.Change(controller.Retention{Daily: 2}, utc, now, controller.RetentionGrace)
	effective := now.Add(72 * time.Hour)
	before, after := retention.Plan(p, backups, effective.Add(-time.Second)), retention.Plan(p, backups, effective)
	equal(t, "removed before", ids(before, retention.Remove), seq(2, 30)...)
	equal(t, "put off", ids(before, retention.Later), seq(31, 58)...)
	equal(t, "removed after", ids(after, retention.Remove), seq(2, 58)...)
	if d := before[40]; !d.At.Equal(effective) || codes(d) != "expired policy_changed" || !strings.Contains(d.Reasons[1].Text, "until 2026-11-26 12:00 UTC") {
		t.Errorf("%+v", d)
	}

	// Longer takes effect at once. Shorter again within the grace: both are waited for. Another zone is a change too.
	if p := old.Change(controller.Retention{Daily: 31}, utc, now, time.Hour); len(p.Changes) != 0 {
		t.Errorf("%+v", p)
	}
	if p := old.Change(old.Retention, zone(t, "Europe/Berlin"), now, time.Hour); len(p.Changes) != 1 || p.Changes[0].Zone != utc {
		t.Errorf("%+v", p)
	}
	again := p.Change(controller.Retention{Daily: 1}, utc, now.Add(24*time.Hour), controller.RetentionGrace)
	equal(t, "put off twice", ids(retention.Plan(again, backups, now.Add(95*time.Hour)), retention.Later), seq(31, 59)...)
	equal(t, "then removed", ids(retention.Plan(again, backups, now.Add(96*time.Hour)), retention.Remove), seq(2, 59)...)
	later := again.Change(controller.Retention{Daily: 5}, utc, now.Add(96*time.Hour), time.Hour)
	if len(later.Changes) != 0 {
		t.Errorf("a change in effect is still carried: %+v", later.Changes)
	}
	for i := range 100 {
		again = again.Change(controller.Retention{Daily: 1 + i%2}, utc, now, time.Hour)
	}
	if len(again.Changes) != 1 || again.Changes[0].Old.Daily != 30 {
		t.Errorf("after 100 changes: %+v", again.Changes)
	}
}

func seq(from, to int64) []int64 {
	var s []int64
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

// TestFault77_Flood makes 1,000 manual backups, and 1,000 that claim the schedule's kind without a schedule: no scheduled one goes, and
// of the manual ones the verified one stays.
func TestFault77_Flood(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-23T12:00:00Z")
	policy := retention.Policy{Retention: controller.Retention{Daily: 7, Weekly: 4, Monthly: 3}, Zone: zone(t, "UTC")}
	backups := everyDay(90, now.Add(-time.Hour))
	good := scheduled(999, now.AddDate(0, -6, 0))
	good.Type, good.VerifiedLevel = "manual", "content"
	backups = append(backups, good)
	quiet := retention.Plan(policy, backups, now)
	for i := range 1000 {
		b := scheduled(int64(1000+i), now.Add(time.Duration(i)*time.Second))
		b.Type = "manual"
		junk := b
		junk.ID, junk.Type, junk.ScheduleID = b.ID+1000, "scheduled", 0
		backups = append(backups, b, junk)
	}
	flooded := retention.Plan(policy, backups, now)
	for i := range quiet {
		if quiet[i].Action != flooded[i].Action {
			t.Errorf("backup %d: %s, with the flood %s", quiet[i].BackupID, quiet[i].Action, flooded[i].Action)
		}
	}
	if d := flooded[90]; d.Action != retention.Keep || codes(d) != retention.Verified {
		t.Errorf("%+v", d)
	}
}

// TestPlan_Protected: holds, open jobs and locks, and that one reason is no less true for another.
func TestPlan_Protected(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-23T12:00:00Z")
	lock := now.AddDate(0, 1, 0)
	backups := everyDay(10, now.Add(-time.Hour))
	backups[1].Held, backups[1].HoldReason = true, "lawyers"
	backups[2].OpenJobs = 1
	backups[3].LockedUntil = lock
	backups[4].LockedUntil = now // over
	backups[5].Held, backups[5].OpenJobs, backups[5].LockedUntil = true, 2, lock
	backups[6].SafetyOf = 31
	backups[9].LockedUntil = lock
	plan := retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 1}, Zone: zone(t, "UTC")}, backups, now)
	for id, want := range map[int]string{
		1: "keep: oldest", 2: "keep: held", 3: "keep: open_job", 4: "later: expired locked", 5: "remove: expired", 6: "keep: held open_job", 7: "keep: safety", 8: "remove: expired", 10: "keep: newest daily",
	} {
		if got := plan[id-1].Action + ": " + codes(plan[id-1]); got != want {
			t.Errorf("backup %d: %s, want %s", id, got, want)
		}
	}
	if !plan[3].At.Equal(lock) || plan[1].Reasons[0].Text != "held by a person: lawyers" || plan[5].Reasons[1].Text != "named by 2 open jobs" ||
		plan[6].Reasons[0].Text != "safety backup of restore 31, which can still be undone or is at work" {
		t.Errorf("%+v\n%+v\n%+v", plan[3], plan[1], plan[5])
	}
	if got, want := retention.Sum(plan, backups), (retention.Totals{Keep: 6, Later: 1, Remove: 3, RemoveBytes: 3000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	released := plan[3].At
	equal(t, "after the lock", ids(retention.Plan(retention.Policy{Retention: controller.Retention{Daily: 1}, Zone: zone(t, "UTC")}, backups, released), retention.Remove), 4, 5, 8, 9)
}

// world is a random set of backups in a few groups.
func world(r *rand.Rand, now time.Time) []retention.Backup {
	var backups []retention.Backup
	for i := range r.IntN(120) {
		b := scheduled(int64(i+1), now.Add(-time.Duration(r.Int64N(int64(200*24*time.Hour)))))
		b.DatabaseID, b.StorageID = int64(1+r.IntN(2)), int64(1+r.IntN(2))
		b.Type = []string{"scheduled", "scheduled", "scheduled", "manual", "pre_deploy", "pre_restore"}[r.IntN(6)]
		if r.IntN(8) == 0 {
			b.Status = []string{"failed", "running", "pending"}[r.IntN(3)]
		}
		if r.IntN(8) == 0 {
			b.Health = []string{"missing", "corrupt", "archived", "deleting"}[r.IntN(4)]
		}
		if r.IntN(15) == 0 {
			b.VerifiedLevel = []string{"checksum", "content", "drill"}[r.IntN(3)]
		}
		b.Held, b.Deleted = r.IntN(40) == 0, r.IntN(40) == 0
		if r.IntN(40) == 0 {
			b.OpenJobs = 1
		}
		if r.IntN(40) == 0 {
			b.SafetyOf = 5
		}
		if r.IntN(40) == 0 {
			b.LockedUntil = now.Add(time.Duration(r.IntN(100)-50) * time.Hour)
		}
		backups = append(backups, b)
	}
	return backups
}

func randomPolicy(t testing.TB, r *rand.Rand) retention.Policy {
	n := func(highest int) int { return max(0, r.IntN(2*highest)-highest) }
	p := retention.Policy{
		Retention: controller.Retention{Days: n(100), Hourly: n(30), Daily: n(20), Weekly: n(10), Monthly: n(6)},
		Zone:      zone(t, []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"}[r.IntN(5)]),
	}
	if p.Retention == (controller.Retention{}) {
		p.Daily = 1
	}
	return p
}

// modelKeeps tells by definition, in time n for each, whether a policy's counts or days keep a backup among those that count in its group.
func modelKeeps(p retention.Policy, b retention.Backup, group []retention.Backup, now time.Time) bool {
	if b.Type != "scheduled" {
		newer := 0
		for _, o := range group {
			if isNewer(o, b) {
				newer++
			}
		}
		return newer < 3 || now.Sub(b.ReceivedAt) < 30*24*time.Hour
	}
	if p.Days > 0 && now.Sub(b.ReceivedAt) < time.Duration(p.Days)*24*time.Hour {
		return true
	}
	for _, unit := range []struct {
		count int
		name  func(time.Time) string
	}{
		{p.Hourly, func(t time.Time) string { return t.Format("2006-01-02 15 -0700") }},
		{p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{p.Weekly, func(t time.Time) string { // named by its Monday
			return t.AddDate(0, 0, -(int(t.Weekday())+6)%7).Format("2006-01-02")
		}},
		{p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		own := unit.name(b.ReceivedAt.In(p.Zone))
		newer := map[string]bool{}
		for _, o := range group {
			if isNewer(o, b) {
				newer[unit.name(o.ReceivedAt.In(p.Zone))] = true
			}
		}
		if !newer[own] && len(newer) < unit.count {
			return true
		}
	}
	return false
}

func isNewer(a, b retention.Backup) bool {
	return a.ReceivedAt.After(b.ReceivedAt) || (a.ReceivedAt.Equal(b.ReceivedAt) && a.ID > b.ID)
}

func good(b retention.Backup) bool { return b.Status == "completed" && b.Health == "ok" && !b.Deleted }

func peers(backups []retention.Backup, b retention.Backup) []retention.Backup {
	var group []retention.Backup
	for _, o := range backups {
		if good(o) && o.Type == b.Type && o.DatabaseID == b.DatabaseID && o.StorageID == b.StorageID {
			group = append(group, o)
		}
	}
	return group
}

// TestPlan_Model holds plans of random worlds against the definition.
func TestPlan_Model(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	now := at(t, "2026-11-23T12:00:00Z")
	removed := 0
	for range 300 {
		backups, p := world(r, now), randomPolicy(t, r)
		for i, d := range retention.Plan(p, backups, now) {
			b := backups[i]
			group := peers(backups, b)
			verified := slices.DeleteFunc(slices.Clone(group), func(o retention.Backup) bool { return o.VerifiedLevel != "content" && o.VerifiedLevel != "drill" })
			newest, oldest, proof := true, true, slices.ContainsFunc(verified, func(o retention.Backup) bool { return o.ID == b.ID })
			for _, o := range group {
				newest = newest && !isNewer(o, b)
				oldest = oldest && !isNewer(b, o)
			}
			for _, o := range verified {
				proof = proof && !isNewer(o, b)
			}
			want := retention.Remove
			switch {
			case !good(b) || b.Held || b.OpenJobs > 0 || b.SafetyOf > 0 || newest || proof || (oldest && len(verified) == 0) || modelKeeps(p, b, group, now):
				want = retention.Keep
			case b.LockedUntil.After(now):
				want = retention.Later
			}
			if d.Action != want || d.BackupID != b.ID || len(d.Reasons) == 0 {
				t.Fatalf("%s in %s: %+v\nis %+v, want %s", p.Text(), p.Zone, b, d, want)
			}
			for _, reason := range d.Reasons {
				if reason.Code == "" || reason.Text == "" {
					t.Fatalf("no reason: %+v", d)
				}
			}
			if want == retention.Remove {
				removed++
			}
		}
	}
	if removed < 1000 {
		t.Errorf("only %d were removed", removed)
	}
}

// TestPlan_Properties changes random worlds a little: what is carried out needs not be carried out again, the order does not matter,
// a longer policy removes nothing that a shorter one keeps, and a newer backup costs no more than one of each unit.
func TestPlan_Properties(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(8, 8))
	now := at(t, "2026-11-23T12:00:00Z")
	for range 300 {
		backups, p := world(r, now), randomPolicy(t, r)
		removed := ids(retention.Plan(p, backups, now), retention.Remove)

		left := slices.DeleteFunc(slices.Clone(backups), func(b retention.Backup) bool { return slices.Contains(removed, b.ID) })
		equal(t, "again", ids(retention.Plan(p, left, now), retention.Remove))
		for _, b := range backups {
			if good(b) && !slices.ContainsFunc(left, func(o retention.Backup) bool { return len(peers([]retention.Backup{o}, b)) == 1 }) {
				t.Fatalf("the group of %+v is empty", b)
			}
		}

		shuffled := slices.Clone(backups)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		equal(t, "shuffled", ids(retention.Plan(p, shuffled, now), retention.Remove), removed...)

		longer := p
		longer.Days, longer.Hourly, longer.Daily, longer.Weekly, longer.Monthly = p.Days+r.IntN(9), p.Hourly+r.IntN(9), p.Daily+r.IntN(9), p.Weekly+r.IntN(9), p.Monthly+r.IntN(9)
		subset(t, "a longer policy removed more", ids(retention.Plan(longer, backups, now), retention.Remove), removed)

		if len(backups) == 0 {
			continue
		}
		newer := backups[r.IntN(len(backups))]
		if newer.ID, newer.ReceivedAt = 5000, now; !good(newer) {
			equal(t, "one that does not count", ids(retention.Plan(p, append(slices.Clone(backups), newer), now), retention.Remove), removed...)
			continue
		}
		with := ids(retention.Plan(p, append(slices.Clone(backups), newer), now), retention.Remove)
		subset(t, "removed before, kept after", removed, with)
		if len(with) > len(removed)+6 {
			t.Errorf("one newer backup removed %d others", len(with)-len(removed))
		}

		held := slices.Clone(backups)
		held[r.IntN(len(held))].Held = true
		subset(t, "a hold removed", ids(retention.Plan(p, held, now), retention.Remove), removed)

		policies := retention.Policies{Schedules: map[int64]retention.Policy{1: p}, AdHoc: retention.DefaultAdHoc}
		equal(t, "policies", ids(policies.Plan(backups, now), retention.Remove), removed...)
		shorter := p.Change(controller.Retention{Daily: 1}, p.Zone, now, time.Hour)
		subset(t, "removed within the grace", ids(retention.Plan(shorter, backups, now), retention.Remove), removed)
	}
}

func subset(t *testing.T, what string, part, whole []int64) {
	t.Helper()
	set := maps.Collect(func(yield func(int64, bool) bool) {
		for _, id := range whole {
			if !yield(id, true) {
				return
			}
		}
	})
	for _, id := range part {
		if !set[id] {
			t.Errorf("%s: %d of %v is not in %v", what, id, part, whole)
			return
		}
	}
}

// TestPlan_Nothing: no backups, and one.
func TestPlan_Nothing(t *testing.T) {
	t.Parallel()
	p := retention.Policy{Retention: controller.Retention{Daily: 1}, Zone: time.UTC}
	if got := retention.Plan(p, nil, time.Now()); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	one := retention.Plan(p, []retention.Backup{scheduled(1, time.Unix(0, 0))}, time.Now())
	if len(one) != 1 || one[0].Action != retention.Keep || codes(one[0]) != "newest daily oldest" {
		t.Errorf("%+v", one)
	}
	if err := (retention.AdHoc{AtLeast: 1}).Validate(); err != nil {
		t.Error(err)
	}
	var e *controller.Error
	if err := (retention.Policy{Retention: p.Retention}).Validate(); !errors.As(err, &e) || e.Field != "timezone" {
		t.Error(err)
	}
}

// BenchmarkPlan is a plan for 100,000 backups.
func BenchmarkPlan(b *testing.B) {
	now := at(b, "2026-11-23T12:00:00Z")
	p := retention.Policy{Retention: controller.Retention{Days: 30, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 3}, Zone: zone(b, "Europe/Berlin")}
	for _, databases := range []int64{1, 1000} {
		backups := make([]retention.Backup, 100_000)
		for i := range backups {
			backups[i] = scheduled(int64(i), now.Add(-time.Duration(i)*time.Minute))
			backups[i].DatabaseID = int64(i) % databases
		}
		b.Run(fmt.Sprintf("databases=%d", databases), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				retention.Plan(p, backups, now)
			}
		})
	}
}
