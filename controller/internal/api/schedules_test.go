package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/wire"
)

// scheduled is a project with a storage, a server and two databases.
func scheduled(t *testing.T) *rig {
	t.Helper()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	return r
}

// TestSchedules: what a form sends comes back in the panel's names, with what follows from it.
func TestSchedules(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	r.Agent("db-1", "shop", "app", "logs")
	s := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","database_name":"app","frequency":"weekly","time":"02:30","day_of_week":0,"day_of_month":null,
		"timezone":"Europe/Berlin","retention_days":30,"retention_daily":7,"retention_weekly":4,"retention_monthly":3,"storage_disk":"s3","encrypt":false,"notify_on_failure":true}`).is(http.StatusCreated))
	if s.Label != "Weekly on Sunday at 02:30 (Europe/Berlin)" || s.Scope != controller.ScopeDatabase || s.DatabaseName != "app" || s.Server != "db-1" || s.DatabaseType != wire.EnginePostgreSQL ||
		!s.IsActive || !s.NotifyOnFailure || s.Encrypt == nil || *s.Encrypt || s.MaxDurationSeconds != 3600 || s.Days != 30 || s.VerifyAfter != "none" {
		t.Errorf("the schedule is %+v", s)
	}
	if want := "the newest backup of each of the last 7 days, 4 weeks and 3 months that have one, and every backup younger than 30 days"; s.Keeps != want {
		t.Errorf("it keeps %q", s.Keeps)
	}
	agenda, err := s.Agenda()
	if err != nil {
		t.Fatal(err)
	}
	zone := agenda.Zone()
	for i, o := range s.NextFive {
		if at := o.At.In(zone); at.Weekday() != time.Sunday || at.Hour() != 2 && at.Hour() != 3 || o.At.Before(time.Now()) || o.Due.Before(o.At) || !o.Due.Before(o.At.Add(controller.DefaultSpread)) ||
			i > 0 && o.At.Sub(s.NextFive[i-1].At) < 6*24*time.Hour {
			t.Errorf("the next five are %+v", s.NextFive)
		}
	}
	if len(s.NextFive) != 5 || s.NextRunAt == nil || !s.NextRunAt.Equal(s.NextFive[0].Due) || s.NextOccurrence == nil || !s.NextOccurrence.Equal(s.NextFive[0].At) {
		t.Errorf("it runs next at %v, of %+v", s.NextRunAt, s.NextFive)
	}
	text := string(r.do("GET", fmt.Sprintf("/schedules/%d", s.ID), nil).is(http.StatusOK).text)
	for _, name := range []string{
		"frequency", "time", "day_of_week", "day_of_month", "retention_days", "retention_daily", "retention_weekly", "retention_monthly",
		"storage_disk", "encrypt", "notify_on_failure", "is_active", "last_run_at", "next_run_at", "label", "next_five", "database_type", "database_name",
	} {
		if !strings.Contains(text, `"`+name+`":`) {
			t.Errorf("the answer has no %s: %s", name, text)
		}
	}
	if strings.Count(text, `"timezone"`) != 1 {
		t.Errorf("the answer repeats a name: %s", text)
	}

	hourly := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","pattern":"lo*","frequency":"hourly","spread_seconds":60}`).is(http.StatusCreated))
	if hourly.Label != "Every Hour" || hourly.Scope != controller.ScopePattern || hourly.Hourly != 24 || hourly.Days != 0 || hourly.SpreadSeconds == nil || *hourly.SpreadSeconds != 60 {
		t.Errorf("the schedule is %+v", hourly)
	}
	page := into[body.SchedulePage](r.do("GET", "/schedules?project=shop&limit=1", nil).is(http.StatusOK))
	if len(page.Items) != 1 || page.Items[0].ID != s.ID || page.Items[0].Label != s.Label || page.NextAfterID == nil {
		t.Fatalf("the first page is %+v", page)
	}
	page = into[body.SchedulePage](r.do("GET", fmt.Sprintf("/schedules?after_id=%d", *page.NextAfterID), nil).is(http.StatusOK))
	if len(page.Items) != 1 || page.Items[0].ID != hourly.ID || page.NextAfterID != nil {
		t.Errorf("the second page is %+v", page)
	}
	r.do("GET", "/schedules?project=nowhere", nil).refused(http.StatusNotFound, controller.ENotFound, "nowhere")
}

// TestSchedules_spread: an occurrence that has come and waits for its share of the spread is still the next.
func TestSchedules_spread(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	at := time.Now().UTC().Truncate(time.Second).Add(2 * time.Second)
	s := into[body.Schedule](r.do("POST", "/schedules", fmt.Sprintf(`{"project":"shop","frequency":"daily","time":%q,"spread_seconds":21600}`, at.Format(time.TimeOnly))).is(http.StatusCreated))
	if !s.NextFive[0].At.Equal(at) || s.NextFive[0].Due.Before(at.Add(time.Minute)) {
		t.Fatalf("the next five are %+v, the first at %v and due later", s.NextFive, at)
	}
	apitest.Eventually(t, "its time has come", func() bool { return time.Now().After(at) })
	got := into[body.Schedule](r.do("GET", fmt.Sprintf("/schedules/%d", s.ID), nil))
	if !slices.Equal(got.NextFive, s.NextFive) || got.NextRunAt == nil || !got.NextRunAt.Equal(got.NextFive[0].Due) {
		t.Errorf("the next five are %+v, before they were %+v; it runs next at %v", got.NextFive, s.NextFive, got.NextRunAt)
	}
}

// TestSchedules_change: what is absent stays, null is the default.
func TestSchedules_change(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	s := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","frequency":"daily","time":"02:00","spread_seconds":120,"catch_up_seconds":3600,"encrypt":true,"storage":"s3"}`).is(http.StatusCreated))
	path := fmt.Sprintf("/schedules/%d", s.ID)
	change := func(text string) body.Schedule {
		t.Helper()
		return into[body.Schedule](r.do("PATCH", path, text).is(http.StatusOK))
	}
	if got := change(`{"time":"03:15"}`); got.Time != "03:15" || got.Label != "Daily at 03:15" || *got.SpreadSeconds != 120 || *got.CatchUpSeconds != 3600 || !*got.Encrypt || got.Storage != "s3" || got.Retention != s.Retention {
		t.Errorf("the schedule is %+v", got)
	}
	if got := change(`{"spread_seconds":null,"catch_up_seconds":null,"encrypt":null,"storage":""}`); got.SpreadSeconds != nil || got.CatchUpSeconds != nil || got.Encrypt != nil || got.Storage != "" || got.Time != "03:15" {
		t.Errorf("the schedule is %+v", got)
	}
	if got := change(`{"spread_seconds":0,"encrypt":false,"frequency":"monthly","day_of_month":31}`); *got.SpreadSeconds != 0 || *got.Encrypt || got.Label != "Monthly on day 31 at 03:15" || !got.NextFive[0].Due.Equal(got.NextFive[0].At) {
		t.Errorf("the schedule is %+v", got)
	}
	if got := change(`{"encryption":"age"}`); got.Encryption != "age" || got.Encrypt != nil {
		t.Errorf("the schedule is %+v", got)
	}
	if got := change(`{"is_active":false}`); got.IsActive || got.NextRunAt != nil || len(got.NextFive) != 5 {
		t.Errorf("the schedule is %+v", got)
	}
	if got := change(`{"is_active":true,"retention_daily":2,"retention_days":0}`); !got.IsActive || got.NextRunAt == nil || got.Daily != 2 || got.ShorterAt == nil || time.Until(*got.ShorterAt) < controller.RetentionGrace-time.Hour {
		t.Errorf("the schedule is %+v, shorter at %v", got, got.ShorterAt)
	}
	for text, words := range map[string][]string{
		`{"time":"25:00"}`:            {"time", "25:00", "HH:MM"},
		`{"timezone":"Mars/Base"}`:    {"timezone", "Mars/Base"},
		`{"frequency":"cron"}`:        {"cron", "five fields"},
		`{"frequency":"yearly"}`:      {"frequency", "hourly, daily, weekly, monthly, cron", "yearly"},
		`{"storage":"nowhere"}`:       {"nowhere"},
		`{"max_duration_seconds":0}`:  {"max_duration_seconds"},
		`{"spread_seconds":99999999}`: {"spread_seconds"},
		`{"spread_seconds":"15m"}`:    {"spread_seconds"},
		`{"retention_daily":0,"retention_weekly":0,"retention_monthly":0}`: {"retention_days", "0", "1 or more"},
		`{"database_name":"other"}`:                                        {"database_name"},
		`{"compression":"gzip","level":12}`:                                {"level", "12"},
	} {
		a := r.do("PATCH", path, text)
		if a.status != http.StatusUnprocessableEntity && a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", text, a.status, a.text)
		}
		for _, w := range words {
			if !strings.Contains(string(a.text), w) {
				t.Errorf("%s: the answer does not say %q: %s", text, w, a.text)
			}
		}
	}
	if got := into[body.Schedule](r.do("GET", path, nil)); got.Daily != 2 || got.Time != "03:15" || got.DayOfMonth == nil || *got.DayOfMonth != 31 {
		t.Errorf("a refused change was kept: %+v", got)
	}
	r.do("DELETE", path, nil).is(http.StatusNoContent)
	r.do("GET", path, nil).refused(http.StatusNotFound, controller.ENotFound)
	r.do("PATCH", path, `{"time":"04:00"}`).refused(http.StatusNotFound, controller.ENotFound)
}

func TestSchedules_refused(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	r.Agent("db-1", "shop", "app")
	for text, words := range map[string][]string{
		`{"project":"shop"}`:                                                       {"frequency"},
		`{"project":"shop","frequency":"daily"}`:                                   {"time", "missing"},
		`{"project":"shop","frequency":"weekly","time":"02:00"}`:                   {"day_of_week", "0 (Sunday) to 6"},
		`{"project":"shop","frequency":"weekly","time":"02:00","day_of_week":7}`:   {"day_of_week", "7"},
		`{"project":"shop","frequency":"monthly","time":"02:00"}`:                  {"day_of_month", "1 to 31"},
		`{"project":"shop","frequency":"cron","cron":"0 0 30 2 *"}`:                {"cron"},
		`{"project":"shop","frequency":"daily","time":"02:00","cron":"* * * * *"}`: {"cron", "not allowed"},
		`{"project":"shop","frequency":"daily","time":"02:00","timezone":"Local"}`: {"timezone", "Local", "Europe/Berlin"},
		`{"project":"shop","frequency":"daily","time":"02:00","retention_days":0,"retention_daily":0,"retention_weekly":0,"retention_monthly":0}`: {"retention_days"},
		`{"project":"shop","frequency":"daily","time":"02:00","retention_yearly":3}`:                                                              {"retention_yearly"},
		`{"project":"shop","frequency":"daily","time":"02:00","database_name":"app","pattern":"a*"}`:                                              {"pattern"},
		`{"project":"shop","frequency":"daily","time":"02:00","database_name":"nope"}`:                                                            {"nope"},
		`{"project":"shop","frequency":"daily","time":"02:00","encryption":"age","encrypt":true}`:                                                 {"encrypt"},
		`{"project":"nowhere","frequency":"daily","time":"02:00"}`:                                                                                {"nowhere"},
	} {
		a := r.do("POST", "/schedules", text)
		if a.status != http.StatusUnprocessableEntity && a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", text, a.status, a.text)
		}
		for _, w := range words {
			if !strings.Contains(string(a.text), w) {
				t.Errorf("%s: the answer does not say %q: %s", text, w, a.text)
			}
		}
	}
	if page := into[body.SchedulePage](r.do("GET", "/schedules", nil)); len(page.Items) != 0 {
		t.Errorf("a refused schedule was made: %+v", page.Items)
	}
	viewer := r.NewToken([]string{controller.ViewBackups})
	r.as(viewer, "POST", "/api/v1/schedules", `{"project":"shop","frequency":"hourly"}`).refused(http.StatusForbidden, controller.EForbidden, controller.ManageSchedules)
}

func TestSchedules_preview(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	p := into[body.SchedulePreview](r.do("POST", "/schedules/preview", `{"frequency":"daily","time":"02:00","timezone":"America/New_York"}`).is(http.StatusOK))
	if p.Label != "Daily at 02:00 (America/New_York)" || p.SpreadSeconds != 900 || p.Retention.Daily != 7 || !strings.Contains(p.Keeps, "30 days") || len(p.NextFive) != 5 || p.NextFive[0].Before(time.Now()) {
		t.Errorf("the preview is %+v", p)
	}
	p = into[body.SchedulePreview](r.do("POST", "/schedules/preview", `{"frequency":"cron","cron":"*/10 * * * *","retention_hourly":1,"retention_daily":0,"retention_weekly":0,"retention_monthly":0}`).is(http.StatusOK))
	if p.Label != "Cron */10 * * * *" || p.SpreadSeconds != 0 || p.Keeps != "the newest backup of the last hour that has one" || p.NextFive[4].Sub(p.NextFive[0]) != 40*time.Minute {
		t.Errorf("the preview is %+v", p)
	}
	r.do("POST", "/schedules/preview", `{"frequency":"daily","time":"2 o'clock"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "2 o'clock")
	if page := into[body.SchedulePage](r.do("GET", "/schedules", nil)); len(page.Items) != 0 {
		t.Errorf("a preview made %+v", page.Items)
	}
}

// TestSchedules_occur: records of occurrences, run now, and a retry that takes the failed backup's place.
func TestSchedules_occur(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	a := r.Agent("db-1", "shop", "app", "logs")
	s := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","frequency":"daily","time":"02:00","verify_after":"checksum"}`).is(http.StatusCreated))
	path := fmt.Sprintf("/schedules/%d", s.ID)
	r.do("GET", path+"/occurrences", nil).is(http.StatusOK)
	if res := r.Occur(s.ID); res.Run != 2 {
		t.Fatalf("the occurrence came to %+v", res)
	}
	offers := r.Start(a)
	for _, o := range offers {
		if o.DatabaseName == "app" {
			r.Complete(a, o)
		} else {
			r.Break(a, o, wire.Failf(wire.CodeAuth, "the login was refused"))
		}
	}
	kicks := r.Fleet.Kicked()
	failed := into[body.Page[controller.Backup]](r.do("GET", fmt.Sprintf("/backups?schedule_id=%d&status=failed", s.ID), nil).is(http.StatusOK)).Items
	if len(failed) != 1 || failed[0].DatabaseName != "logs" || failed[0].Type != controller.TypeScheduled || failed[0].OccurrenceAt == nil || failed[0].VerifyAfter != controller.VerifyChecksum {
		t.Fatalf("failed are %+v", failed)
	}
	retry := into[controller.Backup](r.do("POST", "/backups/"+number(failed[0].ID)+"/retry", nil, body.IdempotencyKey, "again").is(http.StatusCreated))
	if retry.RetryOf == nil || *retry.RetryOf != failed[0].ID || retry.Status != controller.StatusPending || r.Fleet.Kicked() == kicks {
		t.Errorf("the retry is %+v", retry)
	}
	if again := into[controller.Backup](r.do("POST", "/backups/"+number(failed[0].ID)+"/retry", nil, body.IdempotencyKey, "again").is(http.StatusCreated)); again.ID != retry.ID {
		t.Errorf("the same request made backup %d and %d", retry.ID, again.ID)
	}
	done := into[body.Page[controller.Backup]](r.do("GET", "/backups?status=completed", nil)).Items[0]
	r.do("POST", "/backups/"+number(done.ID)+"/retry", nil).refused(http.StatusConflict, controller.EConflict)

	page := into[body.OccurrencePage](r.do("GET", path+"/occurrences?limit=1", nil).is(http.StatusOK))
	if len(page.Items) != 1 || page.Items[0].State != controller.OccurrenceRun || len(page.Items[0].Databases) != 2 || page.NextBefore == nil {
		t.Fatalf("the records are %+v", page)
	}
	for _, d := range page.Items[0].Databases {
		if d.DatabaseName == "logs" && (d.BackupID == nil || *d.BackupID != retry.ID || d.Status != controller.StatusPending) {
			t.Errorf("the record of logs is %+v", d)
		}
	}
	if next := into[body.OccurrencePage](r.do("GET", path+"/occurrences?before="+url.QueryEscape(page.NextBefore.Format(time.RFC3339Nano)), nil).is(http.StatusOK)); len(next.Items) != 0 || next.NextBefore != nil {
		t.Errorf("the records before are %+v", next)
	}
	r.do("GET", path+"/occurrences?before=yesterday", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid, "before")

	// One is at work: the other is ordered, and both are told.
	both := into[outcomes](r.do("POST", path+"/run", nil).is(http.StatusMultiStatus)).Items
	if len(both) != 2 || both[0].Backup == nil || both[0].Backup.Type != controller.TypeManual || *both[0].Backup.ScheduleID != s.ID || both[1].Error == nil {
		t.Errorf("outcomes are %+v", both)
	}
	creator := r.NewToken([]string{controller.ManageSchedules, controller.ViewBackups})
	r.as(creator, "POST", "/api/v1"+path+"/run", nil).refused(http.StatusForbidden, controller.EForbidden, controller.CreateBackups)
}

func TestPauses(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	r.Agent("db-1", "shop", "app")
	s := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","frequency":"daily","time":"02:00"}`).is(http.StatusCreated))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	p := into[controller.Pause](r.do("POST", "/pauses", fmt.Sprintf(`{"project":"shop","reason":"new disks","until":%q}`, until.Format(time.RFC3339))).is(http.StatusCreated))
	if p.Scope != controller.PauseProject || p.Project != "shop" || p.Until == nil || !p.Until.Equal(until) || p.Reason != "new disks" || p.CreatedBy == "" {
		t.Errorf("the pause is %+v", p)
	}
	into[controller.Pause](r.do("POST", "/pauses", fmt.Sprintf(`{"schedule_id":%d,"reason":"x","until":null}`, s.ID)).is(http.StatusCreated))
	into[controller.Pause](r.do("POST", "/pauses", `{"scope":"everything","reason":"y"}`).is(http.StatusCreated))
	if got := into[body.Schedule](r.do("GET", fmt.Sprintf("/schedules/%d", s.ID), nil)); got.PausedReason == "" {
		t.Errorf("the schedule does not say that it is paused: %+v", got)
	}
	if res := r.Occur(s.ID); res.Run != 0 || res.Missed != 1 {
		t.Errorf("the occurrence came to %+v", res)
	}
	if o := into[body.OccurrencePage](r.do("GET", fmt.Sprintf("/schedules/%d/occurrences", s.ID), nil)).Items[0]; o.State != controller.OccurrenceMissed || o.Databases[0].Code != controller.MissedPaused {
		t.Errorf("the record is %+v", o)
	}
	all := into[body.List[controller.Pause]](r.do("GET", "/pauses", nil)).Items
	if len(all) != 3 {
		t.Fatalf("pauses are %+v", all)
	}
	for _, q := range all {
		if ended := into[controller.Pause](r.do("POST", "/pauses/"+number(q.ID)+"/end", nil).is(http.StatusOK)); ended.EndedAt == nil || ended.EndedBy == "" {
			t.Errorf("the pause is %+v", ended)
		}
	}
	if left := into[body.List[controller.Pause]](r.do("GET", "/pauses", nil)).Items; len(left) != 0 {
		t.Errorf("pauses are %+v", left)
	}
	if ever := into[body.List[controller.Pause]](r.do("GET", "/pauses?all=true", nil)).Items; len(ever) != 3 {
		t.Errorf("all pauses are %+v", ever)
	}
	for text, words := range map[string][]string{
		`{"project":"shop"}`: {"reason"},
		`{"reason":"x"}`:     {"scope", "everything, project, server or schedule"},
		`{"project":"shop","server":"db-1","reason":"x"}`:                {"scope", "each by itself"},
		`{"project":"shop","reason":"x","until":"2001-01-01T00:00:00Z"}`: {"until", "2001", "future"},
		`{"project":"shop","reason":"x","until":"tomorrow"}`:             {"until"},
		`{"scope":"everything","schedule_id":1,"reason":"x"}`:            {"schedule", "everything"},
		`{"project":"shop","reason":"` + strings.Repeat("x", 501) + `"}`: {"reason"},
	} {
		a := r.do("POST", "/pauses", text)
		a.refused(http.StatusUnprocessableEntity, controller.EInvalid, words...)
	}
}

// TestProjects_defaultSchedule: made with the project, or neither is.
func TestProjects_defaultSchedule(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do("POST", "/projects", `{"slug":"panel","default_schedule":{"frequency":"daily","time":"02:00","retention_days":7}}`).is(http.StatusCreated)
	all := into[body.SchedulePage](r.do("GET", "/schedules?project=panel", nil).is(http.StatusOK)).Items
	if len(all) != 1 || all[0].Scope != controller.ScopeDefault || all[0].Label != "Daily at 02:00" || all[0].Days != 7 || all[0].Daily != 7 {
		t.Errorf("schedules are %+v", all)
	}
	r.do("POST", "/projects", `{"slug":"bad","default_schedule":{"frequency":"daily","time":"99:00"}}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "default_schedule", "99:00")
	r.do("POST", "/projects", `{"slug":"bad","default_schedule":{"frequency":"daily","time":"02:00","project":"x"}}`).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	r.do("GET", "/projects/bad", nil).refused(http.StatusNotFound, controller.ENotFound)
	r.do("POST", "/schedules", `{"project":"panel","scope":"default","frequency":"hourly"}`).refused(http.StatusConflict, controller.EConflict, "default schedule")
}

// TestHoldsAndCleanup: a plan with its reasons, the same one carried out, and what a hold prevents.
func TestHoldsAndCleanup(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	a := r.Agent("db-1", "shop", "app")
	s := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","frequency":"daily","time":"02:00","retention_days":0,"retention_daily":1,"retention_weekly":0,"retention_monthly":0}`).is(http.StatusCreated))
	for range 4 {
		if res := r.Occur(s.ID); res.Run != 1 {
			t.Fatalf("the occurrence came to %+v", res)
		}
		for _, o := range r.Start(a) {
			r.Complete(a, o)
		}
	}
	all := into[body.Page[controller.Backup]](r.do("GET", "/backups", nil)).Items
	newest, held, oldest := all[0].ID, all[1].ID, all[3].ID
	path := "/backups/" + number(held)
	r.do("POST", path+"/hold", `{}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "reason")
	b := into[controller.Backup](r.do("POST", path+"/hold", `{"reason":"auditors"}`).is(http.StatusOK))
	if b.HeldAt == nil || b.HoldReason != "auditors" || b.HeldBy == "" {
		t.Errorf("the backup is %+v", b)
	}
	r.do("POST", path+"/delete", `{}`).refused(http.StatusConflict, controller.EConflict, "auditors")
	if got := into[body.Page[controller.Backup]](r.do("GET", "/backups?held=true", nil)).Items; len(got) != 1 || got[0].ID != held {
		t.Errorf("held are %+v", got)
	}
	if got := into[body.Page[controller.Backup]](r.do("GET", "/backups?held=false", nil)).Items; len(got) != 3 {
		t.Errorf("not held are %+v", got)
	}

	viewer := r.NewToken([]string{controller.ViewBackups})
	r.as(viewer, "POST", "/api/v1/cleanup", `{"project":"shop"}`).refused(http.StatusForbidden, controller.EForbidden, controller.DeleteBackups, "dry_run")
	plan := into[controller.CleanupResult](r.as(viewer, "POST", "/api/v1/cleanup", `{"project":"shop","dry_run":true}`).is(http.StatusOK))
	removed := func(res controller.CleanupResult, action func(controller.CleanupItem) bool) []int64 {
		var ids []int64
		for _, i := range res.Items {
			if len(i.Reasons) == 0 || i.Reasons[0].Text == "" {
				t.Errorf("there is no reason for %+v", i)
			}
			if action(i) {
				ids = append(ids, i.BackupID)
			}
		}
		slices.Sort(ids)
		return ids
	}
	planned := removed(plan, func(i controller.CleanupItem) bool { return i.Action == "remove" })
	if !plan.DryRun || plan.Removed != 1 || plan.Kept != 3 || len(planned) != 1 || slices.Contains(planned, newest) || slices.Contains(planned, held) || slices.Contains(planned, oldest) || plan.RemovedBytes != 150_001 {
		t.Errorf("the plan is %+v", plan)
	}
	if left := into[body.Page[controller.Backup]](r.do("GET", "/backups", nil)).Items; len(left) != 4 {
		t.Errorf("the dry run left %d backups", len(left))
	}
	kicks := r.Fleet.Kicked()
	res := into[controller.CleanupResult](r.do("POST", "/cleanup", `{"project":"shop","grace_seconds":7200}`).is(http.StatusOK))
	if carried := removed(res, func(i controller.CleanupItem) bool { return i.Removed }); res.DryRun || res.Failed != 0 || !slices.Equal(carried, planned) || r.Fleet.Kicked() == kicks {
		t.Errorf("planned were %v, the result is %+v", planned, res)
	}
	gone := into[controller.Backup](r.do("GET", "/backups/"+number(planned[0]), nil))
	if gone.DeletedAt == nil || gone.DeleteAfter == nil || time.Until(*gone.DeleteAfter) > 2*time.Hour+time.Minute || gone.DeleteReason == nil || *gone.DeleteReason == "" {
		t.Errorf("the removed backup is %+v", gone)
	}
	if again := into[controller.CleanupResult](r.do("POST", "/cleanup", `{}`).is(http.StatusOK)); again.Removed != 0 || again.Kept != 3 {
		t.Errorf("the second one is %+v", again)
	}
	if released := into[controller.Backup](r.do("POST", path+"/release", nil).is(http.StatusOK)); released.HeldAt != nil {
		t.Errorf("the backup is %+v", released)
	}
	if mine := into[controller.CleanupResult](r.do("POST", "/cleanup", fmt.Sprintf(`{"schedule_id":%d,"dry_run":true}`, s.ID)).is(http.StatusOK)); mine.Removed != 1 {
		t.Errorf("of the schedule: %+v", mine)
	}
	r.do("POST", "/cleanup", `{"project":"nowhere"}`).refused(http.StatusNotFound, controller.ENotFound, "nowhere")
	r.do("POST", "/cleanup", `{"schedule_id":99999}`).refused(http.StatusNotFound, controller.ENotFound, "99999")
	r.do("POST", "/cleanup", nil).refused(http.StatusBadRequest, body.CodeMalformed)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	r := start(t)
	if s := into[controller.Settings](r.do("GET", "/settings", nil).is(http.StatusOK)); s.Timezone != "UTC" || s.CleanupTime != "00:00" {
		t.Errorf("settings are %+v", s)
	}
	if s := into[controller.Settings](r.do("PATCH", "/settings", `{"timezone":"Asia/Kathmandu"}`).is(http.StatusOK)); s.Timezone != "Asia/Kathmandu" || s.CleanupTime != "00:00" {
		t.Errorf("settings are %+v", s)
	}
	into[controller.Settings](r.do("PATCH", "/settings", `{"cleanup_time":"03:30"}`).is(http.StatusOK))
	if s := into[controller.Settings](r.do("GET", "/settings", nil)); s.Timezone != "Asia/Kathmandu" || s.CleanupTime != "03:30" {
		t.Errorf("settings are %+v", s)
	}
	r.do("PATCH", "/settings", `{"timezone":"Mars/Base"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "timezone", "Mars/Base")
	r.do("PATCH", "/settings", `{"cleanup_time":"noon"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "cleanup_time", "noon", "HH:MM")
	r.do("PATCH", "/settings", `{"cleanup_time":""}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "cleanup_time", "empty")
	r.Project("mine")
	limited := r.NewToken(controller.Permissions, "mine")
	r.as(limited, "PATCH", "/api/v1/settings", `{"cleanup_time":"04:00"}`).refused(http.StatusForbidden, controller.EForbidden, "limited to projects")
}

func TestInventory(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	r.do("GET", "/storages/s3/inventory", nil).is(http.StatusOK)
	due := into[body.List[controller.StorageInventory]](r.do("POST", "/storages/s3/inventory", nil).is(http.StatusAccepted)).Items
	if len(due) != 1 || time.Until(due[0].DueAt) > time.Second || due[0].EndedAt != nil {
		t.Errorf("inventories are %+v", due)
	}
	if found := into[body.List[controller.StorageFinding]](r.do("GET", "/storages/s3/findings?limit=10", nil).is(http.StatusOK)).Items; len(found) != 0 {
		t.Errorf("findings are %+v", found)
	}
	r.do("GET", "/storages/nowhere/inventory", nil).refused(http.StatusNotFound, controller.ENotFound, "nowhere")
	r.do("POST", "/storages/nowhere/inventory", nil).refused(http.StatusNotFound, controller.ENotFound, "nowhere")
	r.do("GET", "/storages/nowhere/findings", nil).refused(http.StatusNotFound, controller.ENotFound, "nowhere")
}
