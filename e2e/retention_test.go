package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

// deletionSites are the points of a deletion, in their order: the mark in the catalog, the objects, the end of the row.
var deletionSites = []string{
	"controller.before_tombstone_commit", "controller.after_tombstone_commit", "controller.before_delete_object",
	"controller.between_deleted_objects", "controller.after_delete_object", "controller.deletion_done",
}

// newKeepingWorld is a world whose bucket keeps versions, with a backup directory and SQLite databases on the host.
func newKeepingWorld(t *testing.T, sites ...string) *faultWorld {
	t.Helper()
	return newLocalWorld(t, faultOptions{
		sites: sites, files: true, big: 1 << 20, s3: stack.S3Options{Versioned: true},
		agent: func(o *stack.AgentOptions) { o.InPlace, o.Extra = true, map[string]any{"concurrency": 6} },
	})
}

// fileBases makes SQLite databases of project shop, one for each word, and returns their names.
func (w *faultWorld) fileBases(t *testing.T, ctx context.Context, words ...string) (names []string) {
	t.Helper()
	for _, word := range words {
		name := w.files.Name(word)
		if err := w.files.Create(ctx, name); err != nil {
			t.Fatal(err)
		}
		if _, err := w.files.Exec(ctx, name, fewRows); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for _, name := range names {
		found(t, ctx, w.ctl, "db1", name)
		do(t, ctx, w.ctl, "database", "assign", "--project", "shop", "--on", "db1", "--", name)
	}
	return names
}

// wish is a backup to be made.
type wish struct {
	database string
	more     map[string]any
}

// rounds makes backups of several databases, n of each one after the other, and returns their ids, oldest first, by their wish.
func (w *faultWorld) rounds(t *testing.T, ctx context.Context, n int, wishes ...wish) [][]int64 {
	t.Helper()
	queues := make([][]wish, len(wishes))
	for i := range wishes {
		queues[i] = slices.Repeat(wishes[i:i+1], n)
	}
	return w.queues(t, ctx, queues...)
}

// queues makes backups, those of one queue one after the other, and returns their ids by queue.
func (w *faultWorld) queues(t *testing.T, ctx context.Context, queues ...[]wish) [][]int64 {
	t.Helper()
	ids := make([][]int64, len(queues))
	for n, left := 0, true; left; n++ {
		left = false
		for i, queue := range queues {
			if n < len(queue) {
				ids[i] = append(ids[i], w.order(t, ctx, queue[n].database, queue[n].more).ID)
			}
		}
		for i, queue := range queues {
			if n < len(queue) {
				ids[i][n], left = w.made(t, ctx, queue[n], ids[i][n]), true
			}
		}
	}
	return ids
}

// made waits for a backup that was ordered and returns its id. One that cannot wait for its host fails where the host was too busy to be
// heard of in time: it is ordered again.
func (w *faultWorld) made(t *testing.T, ctx context.Context, wish wish, id int64) int64 {
	t.Helper()
	eventually(t, ctx, fmt.Sprintf("backup %d is completed", id), func(ctx context.Context) (bool, error) {
		b, err := w.ctl.Backup(ctx, id)
		switch {
		case err != nil:
			return false, err
		case b.Status == "failed" && b.ErrorCode == "agent_offline":
			id = w.order(t, ctx, wish.database, wish.more).ID
		case b.Status == "failed":
			return false, stack.Hopeless(fmt.Errorf("it failed: %s %s", b.ErrorCode, b.ErrorMessage))
		}
		return b.Status == "completed", nil
	})
	return id
}

// age has a backup be completed that long ago, in PostgreSQL's words.
func (w *faultWorld) age(t *testing.T, ctx context.Context, id int64, ago string) {
	t.Helper()
	w.forward(t, ctx, "UPDATE database_backups SET completed_at = now() - $2::interval WHERE id = $1", id, ago)
}

// madeBy has backups be a schedule's, each completed at an expression of SQL.
func (w *faultWorld) madeBy(t *testing.T, ctx context.Context, schedule int64, ids []int64, at ...string) {
	t.Helper()
	for i, expression := range at {
		w.forward(t, ctx, "UPDATE database_backups SET schedule_id = $2, completed_at = "+expression+" WHERE id = $1", ids[i], schedule)
	}
}

var bySchedule = map[string]any{"type": "scheduled"}

// cleanup is the answer to a clean-up.
type cleanup struct {
	DryRun       bool `json:"dry_run"`
	Items        []cleanupItem
	Kept         int
	Postponed    int
	Removed      int
	RemovedBytes int64 `json:"removed_bytes"`
	Failed       int
}

type cleanupItem struct {
	BackupID     int64  `json:"backup_id"`
	DatabaseName string `json:"database_name"`
	FileSize     int64  `json:"file_size"`
	Action       string
	At           *time.Time
	Removed      bool
	DeleteAfter  *time.Time `json:"delete_after"`
	Error        string
	Reasons      []struct{ Code, Text string }
}

// decided is the action for a backup and the codes of its reasons.
func (c cleanup) decided(id int64) string {
	i := slices.IndexFunc(c.Items, func(i cleanupItem) bool { return i.BackupID == id })
	if i < 0 {
		return "not looked at"
	}
	text := c.Items[i].Action + ":"
	for _, r := range c.Items[i].Reasons {
		text += " " + r.Code
	}
	return text
}

// plan is what was decided of each backup, with the reasons as people read them.
func (c cleanup) plan() map[int64]string {
	out := map[int64]string{}
	for _, i := range c.Items {
		out[i.BackupID] = fmt.Sprint(i.Action, i.At, i.Reasons)
	}
	return out
}

// removed are the ids of what was removed, or is to be, in their order.
func (c cleanup) removed() []int64 {
	ids := []int64{}
	for _, i := range c.Items {
		if i.Removed || c.DryRun && i.Action == "remove" {
			ids = append(ids, i.BackupID)
		}
	}
	slices.Sort(ids)
	return ids
}

func (w *faultWorld) cleanUp(t *testing.T, ctx context.Context, more ...string) cleanup {
	t.Helper()
	return read[cleanup](t, ctx, w.ctl, append([]string{"backup", "cleanup", "shop"}, more...)...)
}

// sameIDs compares ids in any order.
func sameIDs(t *testing.T, what string, got, want []int64) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// present counts the objects of a backup that are there, with each of their versions and delete markers, and those that it has.
func (w *faultWorld) present(t *testing.T, ctx context.Context, id int64) (there, has int) {
	t.Helper()
	keys, err := w.catalog.Rows(ctx, "SELECT key FROM backup_objects WHERE backup_id = $1", id)
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.s3.Versions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if w.agent.LocalDir != "" {
			if _, err := os.Stat(filepath.Join(w.agent.LocalDir, key)); err == nil {
				all = append(all, key)
			}
		}
	}
	for _, key := range all {
		if slices.Contains(keys, key) {
			there++
		}
	}
	return there, len(keys)
}

// vanished waits until backups are gone from where they were, and then sees that they are.
func (w *faultWorld) vanished(t *testing.T, ctx context.Context, ids ...int64) {
	t.Helper()
	eventually(t, ctx, fmt.Sprintf("backups %v are gone", ids), func(ctx context.Context) (bool, error) {
		left, err := w.catalog.Rows(ctx, "SELECT id, health, delete_after, delete_waiting FROM database_backups WHERE id = ANY ($1) AND purged_at IS NULL", ids)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left are %v", left)
		}
		return err == nil, err
	})
	for _, id := range ids {
		if there, _ := w.present(t, ctx, id); there != 0 {
			t.Errorf("backup %d is gone, and %d of its objects are there", id, there)
		}
	}
}

// state is what a row says of its deletion.
func (w *faultWorld) state(t *testing.T, ctx context.Context, id int64) string {
	t.Helper()
	rows, err := w.catalog.Rows(ctx, "SELECT CASE WHEN purged_at IS NOT NULL THEN 'gone' WHEN health = 'deleting' THEN 'deleting' WHEN deleted_at IS NOT NULL THEN 'deleted' ELSE health END FROM database_backups WHERE id = $1", id)
	if err != nil {
		t.Fatal(err)
	}
	return rows[0]
}

type auditRow struct {
	ID         int64
	Actor      string
	OnBehalfOf string `json:"on_behalf_of"`
	Action     string
	Subject    string
	Detail     map[string]any
	Remote     string
	Result     string
	Seq        *int64
}

// audited lists what the audit log tells of an action on a subject.
func audited(t *testing.T, ctx context.Context, c *stack.Client, action, subject string) []auditRow {
	t.Helper()
	rows := read[[]auditRow](t, ctx, c, "audit", "list", "--action", action, "--limit", "1000")
	return slices.DeleteFunc(rows, func(r auditRow) bool { return subject != "" && r.Subject != subject })
}

// TestRetention goes through the life of old backups: planned, removed, taken back, held, and removed by a controller that is killed at
// each step.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := newKeepingWorld(t, deletionSites...)
	ctx := faultContext(t)
	names := w.fileBases(t, ctx, "sched", "manual", "after", "daily", "held", "k1", "k2", "k3", "k4")
	sched, manual, after, daily, held := names[0], names[1], names[2], names[3], names[4]
	made := w.rounds(t, ctx, 5, wish{sched, bySchedule}, wish{manual, onHost}, wish{after, bySchedule}, wish{daily, nil}, wish{held, nil},
		wish{names[5], nil}, wish{names[6], nil}, wish{names[7], nil}, wish{names[8], onHost})

	w.fault(t, "the plan is what is done", func(t *testing.T, ctx context.Context) { w.planAndRun(t, ctx, sched, manual, made[0], made[1]) })
	w.fault(t, "after a backup of its schedule", func(t *testing.T, ctx context.Context) { w.cleanedAfterBackup(t, ctx, after, made[2]) })
	w.fault(t, "every day", func(t *testing.T, ctx context.Context) { w.cleanedDaily(t, ctx, daily, made[3]) })
	w.fault(t, "held", func(t *testing.T, ctx context.Context) { w.heldAndReleased(t, ctx, made[4]) })

	// Where the newest is verified, the oldest is not kept for its own sake.
	for _, ids := range made[5:] {
		if res := w.verify(t, faultContext(t), ids[4], "content"); res.Code != 0 {
			t.Fatal(res.Text())
		}
	}
	steps := []struct {
		backup int64
		site   string
		person bool
	}{
		{made[5][0], deletionSites[0], false},
		{made[5][1], deletionSites[1], false},
		{made[6][0], deletionSites[2], false},
		{made[6][1], deletionSites[3], false},
		{made[7][0], deletionSites[4], false},
		{made[7][1], deletionSites[5], true},
		{made[8][0], deletionSites[3], true},
		{made[8][1], deletionSites[5], false},
	}
	for _, s := range steps {
		name := "25/clean-up killed at " + s.site
		if s.person {
			name = "25/deletion killed at " + s.site
		}
		w.fault(t, name, func(t *testing.T, ctx context.Context) { w.killInRemoval(t, ctx, s.site, s.backup, s.person) })
	}
	w.fault(t, "25/daily clean-up killed", func(t *testing.T, ctx context.Context) { w.killInDaily(t, ctx, made[3], made[4]) })
}

// planAndRun compares what a dry run says with what is done, on S3 and on the host, and what is there afterwards.
func (w *faultWorld) planAndRun(t *testing.T, ctx context.Context, sched, manual string, s, m []int64) {
	schedule := read[stack.Schedule](t, ctx, w.ctl, "schedule", "create", "shop", "--database", sched, "--daily", "02:00", "--keep", "daily=2,days=3", "--inactive")
	const today = "date_trunc('day', now())"
	w.madeBy(t, ctx, schedule.ID, s, today+" - interval '20 days'", today+" - interval '4 days 14 hours'", today+" - interval '4 days 4 hours'",
		today+" - interval '3 days 14 hours'", "now() - interval '1 day'")
	for i, ago := range []string{"70 days", "60 days", "50 days", "40 days", "35 days"} {
		w.age(t, ctx, m[i], ago)
	}
	pre := w.rounds(t, ctx, 1, wish{manual, map[string]any{"storage": here, "type": "pre_deploy"}})[0][0]
	w.age(t, ctx, pre, "65 days")

	want := map[int64]string{
		s[0]: "keep: oldest", s[1]: "remove: expired", s[2]: "remove: expired", s[3]: "keep: daily", s[4]: "keep: newest daily days",
		m[0]: "keep: oldest", m[1]: "remove: expired", m[2]: "keep: at_least", m[3]: "keep: at_least", m[4]: "keep: newest at_least",
		pre: "keep: newest at_least oldest",
	}
	const count = "SELECT count(*) FROM database_backups WHERE deleted_at IS NOT NULL"
	deleted := func() string {
		t.Helper()
		rows, err := w.catalog.Rows(ctx, count)
		if err != nil {
			t.Fatal(err)
		}
		return rows[0]
	}
	before := deleted()
	plan := w.cleanUp(t, ctx, "--dry-run")
	for id, decided := range want {
		if got := plan.decided(id); got != decided {
			t.Errorf("backup %d: planned is %q, want %q", id, got, decided)
		}
	}
	gone := []int64{s[1], s[2], m[1]}
	sameIDs(t, "planned to go", plan.removed(), gone)
	if now := deleted(); now != before {
		t.Errorf("the dry run deleted: %s backups are, %s were", now, before)
	}
	text := do(t, ctx, w.ctl, "backup", "cleanup", "shop", "--dry-run")
	for _, words := range []string{
		"3 backups to be removed", fmt.Sprintf("%d kept", plan.Kept), "newest of ", "day 2 of the last 2 with a backup", "not younger than 3 days, and not the newest of any of the last 2 days with a backup",
		"number 3 of the newest 3", "not younger than 30 days", "oldest, where the content of none was verified",
	} {
		if !strings.Contains(text, words) {
			t.Errorf("the plan does not say %q:\n%s", words, text)
		}
	}

	run := w.cleanUp(t, ctx, "--grace", "0s")
	if !maps.Equal(run.plan(), plan.plan()) {
		t.Errorf("planned was\n%v\ndone was\n%v", plan.plan(), run.plan())
	}
	sameIDs(t, "removed", run.removed(), gone)
	var bytes int64
	for _, i := range run.Items {
		if i.Removed {
			bytes += i.FileSize
		}
	}
	if run.Removed != 3 || run.Removed != plan.Removed || run.Kept != plan.Kept || run.Kept+run.Removed != len(run.Items) || run.RemovedBytes != bytes || bytes == 0 || run.Failed != 0 {
		t.Errorf("planned was %d removed, %d kept; done was %d with %d bytes of %d, %d kept, %d failed", plan.Removed, plan.Kept, run.Removed, run.RemovedBytes, bytes, run.Kept, run.Failed)
	}
	w.vanished(t, ctx, gone...)
	if again := w.cleanUp(t, ctx, "--grace", "0s"); again.Removed != 0 || again.Kept != run.Kept || len(again.Items) != run.Kept {
		t.Errorf("the second run removed %d and kept %d of %d", again.Removed, again.Kept, len(again.Items))
	}
	for id, decided := range want {
		if there, has := w.present(t, ctx, id); strings.HasPrefix(decided, "keep") && (there != has || has < 2) {
			t.Errorf("backup %d is kept with %d of %d objects", id, there, has)
		}
	}
	for _, id := range gone {
		rows := audited(t, ctx, w.ctl, "backup.expire", fmt.Sprint(id))
		if len(rows) != 1 || !strings.HasPrefix(fmt.Sprint(rows[0].Detail["reason"]), "retention: not ") {
			t.Errorf("the audit log tells of backup %d: %+v", id, rows)
		}
	}

	// Until its grace is over, what was removed can be taken back.
	w.rounds(t, ctx, 1, wish{manual, onHost})
	run = w.cleanUp(t, ctx)
	sameIDs(t, "removed with one more", run.removed(), []int64{m[2]})
	for _, i := range run.Items {
		if i.Removed && (i.DeleteAfter == nil || time.Until(*i.DeleteAfter) < 23*time.Hour) {
			t.Errorf("its grace ends at %v", i.DeleteAfter)
		}
	}
	if there, has := w.present(t, ctx, m[2]); there != has {
		t.Errorf("within its grace it has %d of %d objects", there, has)
	}
	refused(t, ctx, w.ctl, 1, []string{"deleted"}, "restore", "create", fmt.Sprint(m[2]), "--to-database", w.files.Name("r_never"))
	do(t, ctx, w.ctl, "backup", "undelete", fmt.Sprint(m[2]))
	w.good(t, ctx, m[2])
	// Its content is verified now, and that of no newer one.
	if got := w.cleanUp(t, ctx, "--dry-run").decided(m[2]); got != "keep: verified" {
		t.Errorf("taken back and verified it is %q", got)
	}
}

// cleanedAfterBackup: a schedule's own clean-up follows each of its backups, and of its backups alone.
func (w *faultWorld) cleanedAfterBackup(t *testing.T, ctx context.Context, database string, ids []int64) {
	schedule := read[stack.Schedule](t, ctx, w.ctl, "schedule", "create", "shop", "--database", database, "--daily", "02:00", "--keep", "daily=1", "--spread", "off")
	other := read[stack.Schedule](t, ctx, w.ctl, "schedule", "create", "shop", "--database", database, "--daily", "03:00", "--keep", "daily=1", "--inactive")
	w.madeBy(t, ctx, schedule.ID, ids[:2], "now() - interval '5 days'", "now() - interval '3 days'")
	w.madeBy(t, ctx, other.ID, ids[2:], "now() - interval '9 days'", "now() - interval '8 days'", "now() - interval '7 days'")
	if err := w.catalog.Due(ctx, time.Second, schedule.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the schedule's older backup is removed", func(ctx context.Context) (bool, error) {
		return w.state(t, ctx, ids[1]) == "deleted", nil
	})
	for _, id := range append([]int64{ids[0]}, ids[2:]...) {
		if s := w.state(t, ctx, id); s != "ok" {
			t.Errorf("backup %d is %s", id, s)
		}
	}
	rows := audited(t, ctx, w.ctl, "backup.expire", fmt.Sprint(ids[1]))
	if len(rows) != 1 || rows[0].Actor != "retention" || rows[0].Detail["schedule_id"] != float64(schedule.ID) {
		t.Errorf("the audit log tells %+v", rows)
	}
	do(t, ctx, w.ctl, "schedule", "delete", fmt.Sprint(schedule.ID))
}

// daily has the daily clean-up be due now.
func (w *faultWorld) daily(t *testing.T, ctx context.Context) {
	t.Helper()
	// Each time another instant, also where a minute has passed since the one before: each is cleaned up for once.
	rows, err := w.catalog.Rows(ctx, "SELECT to_char(now() AT TIME ZONE 'Europe/Berlin' - $1 * interval '7 minutes', 'HH24:MI')", w.cleanups(t, ctx))
	if err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "settings", "set", "--timezone", "Europe/Berlin", "--cleanup-time", rows[0])
	w.forward(t, ctx, "UPDATE installation SET cleanup_since = now() - interval '1 day'")
}

// cleanups counts the daily ones.
func (w *faultWorld) cleanups(t *testing.T, ctx context.Context) (n int) {
	t.Helper()
	rows, err := w.catalog.Rows(ctx, "SELECT id FROM cleanups WHERE kind = 'daily'")
	if err != nil {
		t.Fatal(err)
	}
	return len(rows)
}

// cleanedDaily: the daily clean-up runs at the time of the settings, once.
func (w *faultWorld) cleanedDaily(t *testing.T, ctx context.Context, database string, ids []int64) {
	for i, ago := range []string{"70 days", "60 days", "50 days"} {
		w.age(t, ctx, ids[i], ago)
	}
	if n := w.cleanups(t, ctx); n != 0 {
		t.Fatalf("%d daily clean-ups were made before their time", n)
	}
	w.daily(t, ctx)
	eventually(t, ctx, "the daily clean-up has removed what is old", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT 'ended' FROM cleanups WHERE kind = 'daily' AND ended_at IS NOT NULL AND error = ''")
		return len(rows) == 1 && w.state(t, ctx, ids[1]) == "deleted", err
	})
	rows := audited(t, ctx, w.ctl, "backup.expire", fmt.Sprint(ids[1]))
	if len(rows) != 1 || rows[0].Actor != "retention" || rows[0].Detail["database"] != database {
		t.Errorf("the audit log tells %+v", rows)
	}
	if s := w.state(t, ctx, ids[0]); s != "ok" {
		t.Errorf("the oldest one is %s", s)
	}
}

// heldAndReleased: what somebody holds is deleted by nobody, and neither a clean-up nor a hold comes in the middle of the other.
func (w *faultWorld) heldAndReleased(t *testing.T, ctx context.Context, ids []int64) {
	for i, ago := range []string{"70 days", "60 days", "50 days"} {
		w.age(t, ctx, ids[i], ago)
	}
	b := fmt.Sprint(ids[1])
	refused(t, ctx, w.ctl, 2, []string{"--reason"}, "backup", "hold", b)
	do(t, ctx, w.ctl, "backup", "hold", b, "--reason", "the auditors want it")
	run := w.cleanUp(t, ctx, "--grace", "0s")
	if got := run.decided(ids[1]); got != "keep: held" || run.Removed != 0 {
		t.Errorf("held it is %q; %d were removed", got, run.Removed)
	}
	if text := do(t, ctx, w.ctl, "backup", "cleanup", "shop", "--dry-run"); !strings.Contains(text, "held by a person: the auditors want it") {
		t.Errorf("the plan does not say why it is kept:\n%s", text)
	}
	refused(t, ctx, w.ctl, 1, []string{"held by admin", "the auditors want it", "backup release " + b}, "backup", "delete", b, "--grace", "0s")
	if held := read[[]stack.Backup](t, ctx, w.ctl, "backup", "list", "--held"); len(held) != 1 || held[0].ID != ids[1] {
		t.Errorf("held are %+v", held)
	}

	// Released and cleaned up at the same time: it is removed by this clean-up or by the next one, as a whole.
	answers := make(chan error, 2)
	go func() {
		answers <- w.ctl.API(ctx, http.MethodPost, "/backups/"+b+"/release", map[string]any{"reason": "they have seen it"}, nil)
	}()
	var both cleanup
	go func() {
		answers <- w.ctl.API(ctx, http.MethodPost, "/cleanup", map[string]any{"project": "shop", "grace_seconds": 0}, &both)
	}()
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if last := w.cleanUp(t, ctx, "--grace", "0s"); both.Failed+last.Failed != 0 || both.Removed+last.Removed != 1 {
		t.Errorf("%d and %d were removed, %d failed", both.Removed, last.Removed, both.Failed+last.Failed)
	}
	w.vanished(t, ctx, ids[1])
	refused(t, ctx, w.ctl, 1, []string{"deleted"}, "backup", "hold", b, "--reason", "too late")
}

// killInRemoval kills the controller at a step of a deletion that a clean-up or a person has begun. It is carried on by itself, and at no
// step is less there than the catalog says.
func (w *faultWorld) killInRemoval(t *testing.T, ctx context.Context, site string, backup int64, person bool) {
	w.age(t, ctx, backup, "60 days")
	path, body := "/cleanup", map[string]any{"project": "shop", "grace_seconds": 0}
	if person {
		path, body = fmt.Sprintf("/backups/%d/delete", backup), map[string]any{"reason": "test", "grace_seconds": 0}
	} else if got := w.cleanUp(t, ctx, "--dry-run").decided(backup); got != "remove: expired" {
		t.Fatalf("backup %d is %q", backup, got)
	}
	fired := w.arm(t, site)
	err := w.ctl.API(ctx, http.MethodPost, path, body, nil)
	died(t, ctx, w.controllers[0].Process(), fired)
	if strings.Contains(site, "tombstone") && err == nil {
		t.Error("it was answered")
	}
	there, has := w.present(t, ctx, backup)
	state := w.state(t, ctx, backup)
	want := map[string]struct {
		state string
		there bool
	}{
		deletionSites[0]: {"ok", there == has}, deletionSites[1]: {"deleted", there == has}, deletionSites[2]: {"deleting", there == has},
		deletionSites[3]: {"deleting", there > 0 && there < has}, deletionSites[4]: {"deleting", there == 0}, deletionSites[5]: {"gone", there == 0},
	}[site]
	if state != want.state || !want.there || has < 2 {
		t.Errorf("at %s it is %s with %d of %d objects", site, state, there, has)
	}
	w.startController(t, ctx, 0)
	if site == deletionSites[0] {
		if err := w.ctl.API(ctx, http.MethodPost, path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.vanished(t, ctx, backup)
}

// killInDaily kills the controller between two databases of the daily clean-up. The one that starts goes on with it.
func (w *faultWorld) killInDaily(t *testing.T, ctx context.Context, first, second []int64) {
	before := w.cleanups(t, ctx)
	// Of each the second oldest that is left is removed once there is a newer one.
	for i, ids := range [][]int64{first, second} {
		for k, id := range []int64{ids[2], ids[3], ids[4]} {
			w.age(t, ctx, id, fmt.Sprintf("%d days", 60-10*k-i))
		}
	}
	databases, err := w.catalog.Rows(ctx, "SELECT database_name FROM database_backups WHERE id = ANY ($1) ORDER BY id", []int64{first[0], second[0]})
	if err != nil {
		t.Fatal(err)
	}
	w.rounds(t, ctx, 1, wish{databases[0], nil}, wish{databases[1], nil})
	fired := w.arm(t, deletionSites[1])
	w.daily(t, ctx)
	died(t, ctx, w.controllers[0].Process(), fired)
	states := func() string { return w.state(t, ctx, first[2]) + " " + w.state(t, ctx, second[2]) }
	if s := states(); s != "deleted ok" {
		t.Errorf("at its death they are %s", s)
	}
	w.forward(t, ctx, "UPDATE cleanups SET claim_until = now() - interval '1 second' WHERE kind = 'daily' AND ended_at IS NULL")
	w.startController(t, ctx, 0)
	eventually(t, ctx, "the daily clean-up comes to its end", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT 'open' FROM cleanups WHERE kind = 'daily' AND ended_at IS NULL")
		return len(rows) == 0 && states() == "deleted deleted", err
	})
	if n := w.cleanups(t, ctx); n != before+1 {
		t.Errorf("there were %d daily clean-ups, there are %d", before, n)
	}
}
