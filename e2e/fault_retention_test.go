package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

// TestFault_Retention has old backups be removed while everything else goes wrong: stores that refuse, backups that fail, restores and
// verifications at work, people who mistype.
func TestFault_Retention(t *testing.T) {
	t.Parallel()
	w := newKeepingWorld(t, "controller.before_tombstone_commit=sleep:1500ms")
	ctx := faultContext(t)
	names := w.fileBases(t, ctx, "busy", "raced", "edited", "d1", "d2", "d3", "last", "locked", "replaced")
	made := w.rounds(t, ctx, 5, wish{names[0], nil}, wish{names[1], nil}, wish{names[2], bySchedule}, wish{names[3], nil}, wish{names[4], nil}, wish{names[5], onHost}, wish{names[8], nil})
	for _, ids := range slices.Concat(made[:2], made[6:]) {
		if res := w.verify(t, ctx, ids[4], "content"); res.Code != 0 {
			t.Fatal(res.Text())
		}
	}

	w.fault(t, "73/every new backup fails", func(t *testing.T, ctx context.Context) { w.onlyFailures(t, ctx, names[6]) })
	w.fault(t, "74/a restore is at work", func(t *testing.T, ctx context.Context) {
		w.inUse(t, ctx, made[0][0], func() func() {
			to := w.files.Name("r_busy")
			r := w.orderRestore(t, ctx, made[0][0], to)
			return func() {
				w.until(t, ctx, r.JobID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
				same(t, ctx, w.files, contentOf(t, ctx, w.files, names[0]), to)
			}
		})
	})
	w.fault(t, "74/a restore in place is at work", func(t *testing.T, ctx context.Context) { w.inUseInPlace(t, ctx, made[6][0], names[8]) })
	w.fault(t, "74/a verification is at work", func(t *testing.T, ctx context.Context) {
		w.inUse(t, ctx, made[0][1], func() func() {
			var j faultJob
			if err := w.ctl.API(ctx, http.MethodPost, fmt.Sprintf("/backups/%d/verify", made[0][1]), map[string]any{"level": "checksum"}, &j); err != nil {
				t.Fatal(err)
			}
			return func() {
				w.until(t, ctx, j.ID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
			}
		})
	})
	w.fault(t, "74/asked for while it is removed", func(t *testing.T, ctx context.Context) { w.removedFirst(t, ctx, made[1]) })
	w.fault(t, "76/policies mistyped, shortened, deleted", func(t *testing.T, ctx context.Context) { w.mistypedPolicies(t, ctx, names[2], made[2]) })
	w.fault(t, "78/deletions fail", func(t *testing.T, ctx context.Context) { w.failingDeletions(t, ctx, made[3:6]) })
	w.fault(t, "47/objects are locked", func(t *testing.T, ctx context.Context) { w.lockedObjects(t, ctx, names[7], made[5]) })
}

// onlyFailures: when no backup succeeds any more, the last good one stays, however old it becomes; and a newer one takes its place only
// when its content is proven.
func (w *faultWorld) onlyFailures(t *testing.T, ctx context.Context, database string) {
	schedule := read[stack.Schedule](t, ctx, w.ctl, "schedule", "create", "shop", "--database", database, "--daily", "02:00", "--keep", "daily=1,days=1", "--inactive")
	byHand := w.rounds(t, ctx, 1, wish{database, nil})[0][0]
	scheduled := w.rounds(t, ctx, 1, wish{database, bySchedule})[0][0]
	w.madeBy(t, ctx, schedule.ID, []int64{scheduled}, "now() - interval '1 day'")
	rule := w.s3.Proxy.Inject("UploadPart", 0, s3kit.Status(403, "AccessDenied"))
	for _, more := range []map[string]any{nil, bySchedule} {
		b, err := w.ctl.AwaitBackup(ctx, w.order(t, ctx, database, more).ID, "failed", time.Minute)
		if err != nil || rule.Fired() == 0 {
			t.Fatalf("parts were refused %d times: %v", rule.Fired(), err)
		}
		if more != nil {
			w.forward(t, ctx, "UPDATE database_backups SET schedule_id = $2 WHERE id = $1", b.ID, schedule.ID)
		}
	}
	w.s3.Proxy.Reset()
	eventually(t, ctx, "failures are alarms", func(context.Context) (bool, error) {
		return strings.Contains(do(t, ctx, w.ctl, "alarm", "list", "--notice", "backup_failing", "--project", "shop"), "Backup of "+database), nil
	})
	for _, ago := range []string{"40 days", "400 days", "4000 days"} {
		w.age(t, ctx, byHand, ago)
		w.age(t, ctx, scheduled, ago)
		run := w.cleanUp(t, ctx, "--grace", "0s")
		if run.Removed != 0 || !strings.HasPrefix(run.decided(byHand), "keep: newest") || !strings.HasPrefix(run.decided(scheduled), "keep: newest") {
			t.Errorf("%s old: %q and %q", ago, run.decided(byHand), run.decided(scheduled))
		}
	}
	w.good(t, ctx, byHand)
	newer := w.rounds(t, ctx, 1, wish{database, bySchedule})[0][0]
	w.madeBy(t, ctx, schedule.ID, []int64{newer}, "now()")
	if got := w.cleanUp(t, ctx, "--grace", "0s").decided(scheduled); got != "keep: oldest" {
		t.Errorf("with a newer one whose content nobody has read it is %q", got)
	}
}

// inUse starts something that reads a backup and holds it there. Meanwhile neither retention nor a person removes the backup; afterwards
// retention does.
func (w *faultWorld) inUse(t *testing.T, ctx context.Context, backup int64, start func() (finish func())) {
	w.age(t, ctx, backup, "60 days")
	g, rule := w.gate(t, "GetObject")
	finish := start()
	arrived(t, ctx, g, 1)
	for range 2 {
		run := w.cleanUp(t, ctx, "--grace", "0s")
		if got := run.decided(backup); got != "keep: open_job" || run.Removed != 0 {
			t.Errorf("in use it is %q; %d were removed", got, run.Removed)
		}
	}
	refused(t, ctx, w.ctl, 1, []string{"in use by job"}, "backup", "delete", fmt.Sprint(backup), "--grace", "0s")
	if there, has := w.present(t, ctx, backup); there != has || rule.Fired() == 0 {
		t.Errorf("in use it has %d of %d objects", there, has)
	}
	w.s3.Proxy.Reset()
	g.Open()
	finish()
	sameIDs(t, "removed after its use", w.cleanUp(t, ctx, "--grace", "0s").removed(), []int64{backup})
	w.vanished(t, ctx, backup)
}

// inUseInPlace: a backup that is restored in place stays while it is at work, and what was made before for safety while it can be undone.
func (w *faultWorld) inUseInPlace(t *testing.T, ctx context.Context, backup int64, name string) {
	want := contentOf(t, ctx, w.files, name)
	var r stack.Restore
	w.inUse(t, ctx, backup, func() func() {
		var err error
		if r, err = w.ctl.CreateRestore(ctx, map[string]any{"backup_id": backup, "in_place": true, "confirm": name}); err != nil {
			t.Fatal(err)
		}
		return func() {
			w.until(t, ctx, r.JobID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
			same(t, ctx, w.files, want, name)
		}
	})
	w.age(t, ctx, r.SafetyBackupID, "60 days")
	if got := w.cleanUp(t, ctx, "--grace", "0s").decided(r.SafetyBackupID); !strings.Contains(got, "safety") {
		t.Errorf("while it can be undone, the safety backup is %q", got)
	}
	if _, err := w.ctl.DiscardKept(ctx, r.ID, name); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ctl.AwaitRestore(ctx, r.ID, "keeps nothing", 30*time.Second, func(r stack.Restore) bool { return r.KeptState == "removed" }); err != nil {
		t.Fatal(err)
	}
	if got := w.cleanUp(t, ctx, "--grace", "0s").decided(r.SafetyBackupID); strings.Contains(got, "safety") {
		t.Errorf("when it can be undone no more, the safety backup is %q", got)
	}
}

// removedFirst asks for a backup while the transaction that removes it is open, and while its objects are removed.
func (w *faultWorld) removedFirst(t *testing.T, ctx context.Context, ids []int64) {
	w.age(t, ctx, ids[0], "60 days")
	id := fmt.Sprint(ids[0])
	asks := map[string]func() error{
		"restore": func() error {
			return w.ctl.API(ctx, http.MethodPost, "/restores", map[string]any{"backup_id": ids[0], "to_database": w.files.Name("r_late")}, nil)
		},
		"verify": func() error {
			return w.ctl.API(ctx, http.MethodPost, "/backups/"+id+"/verify", map[string]any{"level": "content"}, nil)
		},
		"hold": func() error {
			return w.ctl.API(ctx, http.MethodPost, "/backups/"+id+"/hold", map[string]any{"reason": "late"}, nil)
		},
	}
	refusedAll := func(when string) {
		t.Helper()
		type answer struct {
			what string
			err  error
		}
		answers := make(chan answer, len(asks))
		for what, ask := range asks {
			go func() { answers <- answer{what, ask()} }()
		}
		for range asks {
			a := <-answers
			if p := (*stack.ProblemError)(nil); !errors.As(a.err, &p) || p.Status != http.StatusConflict || !strings.Contains(p.Detail, "deleted") {
				t.Errorf("%s: %s was answered %v", when, a.what, a.err)
			}
		}
	}
	g, _ := w.gate(t, "DeleteObject")
	sleeps := w.arm(t, "controller.before_tombstone_commit")
	done := make(chan error, 1)
	var run cleanup
	go func() {
		done <- w.ctl.API(ctx, http.MethodPost, "/cleanup", map[string]any{"project": "shop", "grace_seconds": 0}, &run)
	}()
	eventually(t, ctx, "the removal is about to be committed", func(context.Context) (bool, error) { return sleeps(), nil })
	if s := w.state(t, ctx, ids[0]); s != "ok" {
		t.Fatalf("it is %s already", s)
	}
	refusedAll("before the commit")
	if err := <-done; err != nil || run.Removed != 1 {
		t.Fatalf("%d were removed: %v", run.Removed, err)
	}
	arrived(t, ctx, g, 1)
	refusedAll("while its objects are removed")
	refused(t, ctx, w.ctl, 1, []string{"being removed"}, "backup", "undelete", id)
	w.s3.Proxy.Reset()
	g.Open()
	w.vanished(t, ctx, ids[0])
	rows, err := w.catalog.Rows(ctx, "SELECT kind FROM jobs WHERE backup_id = $1 AND kind <> 'backup'", ids[0])
	if err != nil || len(rows) != 0 {
		t.Errorf("there are jobs of it: %v, %v", rows, err)
	}
}

// mistypedPolicies: a policy that keeps nothing or makes no sense is refused, a shorter one waits, and a schedule's end removes nothing.
func (w *faultWorld) mistypedPolicies(t *testing.T, ctx context.Context, database string, ids []int64) {
	for keep, words := range map[string][]string{
		"daily=0,weekly=0": {"0 is not allowed", "keeps nothing"}, "fortnightly=2": {"fortnightly", "not a unit", "weekly"}, "days=30d": {"30d", "not a number"},
		"daily=-1": {"-1 is not allowed"}, "days=400": {"400 is not allowed", "1 to 365"},
	} {
		refused(t, ctx, w.ctl, 2, words, "schedule", "create", "shop", "--database", database, "--daily", "02:00", "--keep", keep)
	}
	// What gets past the command line.
	order := map[string]any{
		"project": "shop", "database_name": database, "frequency": "daily", "time": "02:00", "is_active": false,
		"retention_days": 0, "retention_hourly": 0, "retention_daily": 0, "retention_weekly": 0, "retention_monthly": 0,
	}
	if p := (*stack.ProblemError)(nil); !errors.As(w.ctl.API(ctx, http.MethodPost, "/schedules", order, nil), &p) || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("a policy of zeros was answered %v", p)
	}
	order["retention_daily"], order["retention_fortnightly"] = 1, 2
	if p := (*stack.ProblemError)(nil); !errors.As(w.ctl.API(ctx, http.MethodPost, "/schedules", order, nil), &p) || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("an unknown unit was answered %v", p)
	}
	delete(order, "retention_fortnightly")
	order["retention_daily"] = 5
	var schedule stack.Schedule
	if err := w.ctl.API(ctx, http.MethodPost, "/schedules", order, &schedule); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(schedule.ID)
	w.madeBy(t, ctx, schedule.ID, ids, "now() - interval '9 days'", "now() - interval '8 days'", "now() - interval '7 days'", "now() - interval '6 days'", "now() - interval '5 days'")
	if got := w.cleanUp(t, ctx, "--grace", "0s"); got.Removed != 0 {
		t.Fatalf("%d were removed by a policy that keeps them", got.Removed)
	}
	refused(t, ctx, w.ctl, 2, []string{"0 is not allowed", "keeps nothing"}, "schedule", "edit", id, "--keep", "daily=0")

	shorter := do(t, ctx, w.ctl, "schedule", "edit", id, "--keep", "daily=2")
	until := time.Now().Add(72 * time.Hour).UTC().Format(time.DateOnly)
	if !strings.Contains(shorter, "what it kept before is kept until "+until) {
		t.Errorf("a shorter policy does not say from when on:\n%s", shorter)
	}
	run := w.cleanUp(t, ctx, "--grace", "0s")
	if got := run.decided(ids[1]); got != "later: expired policy_changed" || run.Removed != 0 || run.Postponed != 2 {
		t.Errorf("at once it is %q; %d are removed, %d later", got, run.Removed, run.Postponed)
	}
	if text := do(t, ctx, w.ctl, "backup", "cleanup", "shop", "--dry-run"); !strings.Contains(text, "later, from "+until) || !strings.Contains(text, "by the policy before its change") {
		t.Errorf("the plan does not say from when on:\n%s", text)
	}
	passed := func() { // three days have passed
		w.forward(t, ctx, `SET session_replication_role = replica; UPDATE backup_schedules SET retention_changes = jsonb_set(retention_changes, '{0,effective_at}', to_jsonb(now() - interval '1 minute')) WHERE id = `+id)
	}
	passed()

	// The schedule's end comes first: what it made is nobody's to remove.
	do(t, ctx, w.ctl, "schedule", "delete", id)
	run = w.cleanUp(t, ctx, "--grace", "0s")
	for _, b := range ids {
		if got := run.decided(b); got != "keep: orphan" {
			t.Errorf("without its schedule backup %d is %q", b, got)
		}
	}
	refused(t, ctx, w.ctl, 1, []string{"does not exist"}, "backup", "cleanup", "shop", "--schedule", "99999999")
	do(t, ctx, w.ctl, "backup", "delete", fmt.Sprint(ids[0]), "--grace", "0s", "--reason", "nobody wants it")
	w.vanished(t, ctx, ids[0])

	// Of one that goes on, the shorter policy is in effect then.
	again := read[stack.Schedule](t, ctx, w.ctl, "schedule", "create", "shop", "--database", database, "--daily", "02:00", "--keep", "daily=4", "--inactive")
	id = fmt.Sprint(again.ID)
	w.madeBy(t, ctx, again.ID, ids[1:], "now() - interval '8 days'", "now() - interval '7 days'", "now() - interval '6 days'", "now() - interval '5 days'")
	do(t, ctx, w.ctl, "schedule", "edit", id, "--keep", "daily=2")
	passed()
	sameIDs(t, "removed by the shorter policy", w.cleanUp(t, ctx, "--schedule", id, "--grace", "0s").removed(), []int64{ids[2]}) // the oldest stays
	w.vanished(t, ctx, ids[2])
}

// failingDeletions: a store and a host that refuse deletions now and then. No row is closed before its objects were seen gone, and in the
// end nothing is left of what was deleted.
func (w *faultWorld) failingDeletions(t *testing.T, ctx context.Context, of [][]int64) {
	var deleted []int64
	for _, ids := range of {
		w.age(t, ctx, ids[0], "70 days")
		w.age(t, ctx, ids[1], "60 days")
	}
	rules := []*s3kit.Rule{
		w.s3.Proxy.Inject("DeleteObject", 1, s3kit.Status(http.StatusForbidden, "AccessDenied")),
		w.s3.Proxy.Inject("DeleteObject", 1, s3kit.DropReply()),
		w.s3.Proxy.Inject("DeleteObject", 1, s3kit.Status(http.StatusServiceUnavailable, "SlowDown")),
		w.s3.Proxy.Add(&s3kit.Rule{Match: s3kit.Op("DeleteObject"), Prob: 0.1, Action: s3kit.Status(http.StatusForbidden, "AccessDenied")}),
		w.s3.Proxy.Add(&s3kit.Rule{Match: s3kit.Op("DeleteObject"), Prob: 0.1, Action: s3kit.DropReply()}),
	}
	deleted = append(deleted, w.cleanUp(t, ctx, "--grace", "0s").removed()...)
	sameIDs(t, "removed by retention", deleted, []int64{of[0][1], of[1][1], of[2][1]})
	for _, ids := range of {
		for _, id := range []int64{ids[0], ids[2], ids[3]} {
			do(t, ctx, w.ctl, "backup", "delete", fmt.Sprint(id), "--grace", "0s", "--reason", "test")
			deleted = append(deleted, id)
		}
	}
	refusals := 0
	eventually(t, ctx, "all that was deleted is gone", func(ctx context.Context) (bool, error) {
		closed, err := w.catalog.Rows(ctx, "SELECT id FROM database_backups WHERE id = ANY ($1) AND purged_at IS NOT NULL", deleted)
		if err != nil {
			return false, err
		}
		for _, id := range deleted {
			if !slices.Contains(closed, fmt.Sprint(id)) {
				continue
			}
			if there, _ := w.present(t, ctx, id); there > 0 {
				return false, stack.Hopeless(fmt.Errorf("backup %d is closed, and %d of its objects are there", id, there))
			}
		}
		// What was refused is put off for minutes; nobody waits for them here.
		again, err := w.catalog.Rows(ctx, `UPDATE database_backups SET delete_after = now(), delete_waiting = '' WHERE health = 'deleting' AND purged_at IS NULL AND delete_claim = ''
			AND delete_after > now() AND id = ANY ($1) RETURNING id`, deleted)
		refusals += len(again)
		return len(closed) == len(deleted), err
	})
	for i, rule := range rules[:3] {
		if rule.Fired() == 0 {
			t.Errorf("fault %d did not occur", i)
		}
	}
	if refusals == 0 {
		t.Error("no deletion was put off")
	}
}

// lockedObjects: what the store has locked is removed when its time has come and not tried before, whether the catalog knows of the lock or
// meets it.
func (w *faultWorld) lockedObjects(t *testing.T, ctx context.Context, database string, others []int64) {
	locked, err := w.StartS3(ctx, "locked", stack.S3Options{ObjectLock: true, Proxy: true, Bucket: "locked"})
	if err != nil {
		t.Fatal(err)
	}
	args := stack.StorageArgs("locked", locked)
	do(t, ctx, w.ctl, slices.DeleteFunc(args, func(a string) bool { return a == "--default" })...)
	w.buckets = map[string]*stack.S3{"locked": locked}
	// A store that locks what is written says so from the first HEAD on.
	until := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	rule := locked.Proxy.Inject("HeadObject", 0, func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		resp.Header.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE")
		resp.Header.Set("X-Amz-Object-Lock-Retain-Until-Date", until.Format(time.RFC3339))
		x.Reply(resp, http.NoBody)
	})
	ids := w.rounds(t, ctx, 2, wish{database, map[string]any{"storage": "locked"}})[0]
	if rule.Fired() == 0 {
		t.Error("the store was not asked for a lock")
	}
	locked.Proxy.Reset()
	ids = append(ids, w.rounds(t, ctx, 4, wish{database, map[string]any{"storage": "locked"}})[0]...)
	for i, id := range ids {
		var b struct {
			FilePath    string     `json:"file_path"`
			LockedUntil *time.Time `json:"locked_until"`
		}
		if err := w.ctl.API(ctx, http.MethodGet, fmt.Sprintf("/backups/%d", id), nil, &b); err != nil {
			t.Fatal(err)
		}
		if (b.LockedUntil != nil) != (i < 2) || b.LockedUntil != nil && !b.LockedUntil.Equal(until) {
			t.Fatalf("backup %d is locked until %v, want %s", id, b.LockedUntil, until)
		}
		if i < 2 {
			if err := locked.Retain(ctx, locked.Bucket, b.FilePath, until); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, ago := range []string{"70 days", "60 days"} {
		w.age(t, ctx, ids[i], ago)
	}
	run := w.cleanUp(t, ctx, "--grace", "0s")
	i := slices.IndexFunc(run.Items, func(i cleanupItem) bool { return i.BackupID == ids[1] })
	if got := run.decided(ids[1]); got != "later: expired locked" || run.Removed != 0 || !run.Items[i].At.Equal(until) {
		t.Errorf("locked until %s it is %q, at %v", until, got, run.Items[i].At)
	}
	refused(t, ctx, w.ctl, 1, []string{"locked by its storage until " + until.Format("2006-01-02 15:04 UTC")}, "backup", "delete", fmt.Sprint(ids[1]), "--grace", "0s")

	// One that the catalog does not know of.
	w.forward(t, ctx, "UPDATE database_backups SET locked_until = NULL WHERE id = $1", ids[1])
	from := logSize(t, w.controllers[0].LogFile())
	sameIDs(t, "removed", w.cleanUp(t, ctx, "--grace", "0s").removed(), []int64{ids[1]})
	w.waiting(t, ctx, ids[1], "refuses to delete it until "+until.Format("2006-01-02 15:04 UTC"))
	tries := locked.Proxy.Count("DeleteObject")
	if tries == 0 {
		t.Error("its deletion was not tried")
	}
	// Rounds of those who delete go by: each has something else to delete.
	for _, id := range others[4:] {
		do(t, ctx, w.ctl, "backup", "delete", fmt.Sprint(id), "--grace", "0s", "--confirm", w.files.Name("d3"))
		w.vanished(t, ctx, id)
	}
	if now := locked.Proxy.Count("DeleteObject"); now != tries {
		t.Errorf("its deletion was tried %d times, then %d times", tries, now)
	}
	rows, err := w.catalog.Rows(ctx, "SELECT health, delete_after = locked_until, purged_at IS NULL FROM database_backups WHERE id = $1", ids[1])
	if err != nil || rows[0] != "deleting true true" {
		t.Errorf("its row says %v: %v", rows, err)
	}
	log, err := os.ReadFile(w.controllers[0].LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log[from:])) {
		if strings.Contains(line, fmt.Sprintf("backup_id=%d ", ids[1])) && (strings.Contains(line, "[WARN]") || strings.Contains(line, "[ERROR]")) {
			t.Errorf("the log complains: %s", line)
		}
	}

	// A store whose objects do not tell until when its bucket keeps them: it is tried again after minutes, and the row says why.
	if err := locked.DefaultRetention(ctx, locked.Bucket, 1); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "backup", "delete", fmt.Sprint(ids[2]), "--grace", "0s", "--reason", "test")
	w.waiting(t, ctx, ids[2], "lock")
	rows, err = w.catalog.Rows(ctx, "SELECT health, delete_after > now() + interval '8 minutes', purged_at IS NULL FROM database_backups WHERE id = $1", ids[2])
	if err != nil || rows[0] != "deleting true true" {
		t.Errorf("its row says %v: %v", rows, err)
	}
}

// cleanedByBoth has two controllers clean up, each because somebody asks and because it is time, while a backup of the same database is
// uploaded. What is old is removed once; what is on its way is not touched by anybody.
func (w *faultWorld) cleanedByBoth(t *testing.T, ctx context.Context) {
	var old []int64
	rows, err := w.catalog.Rows(ctx, "SELECT id FROM database_backups WHERE database_name = $1 AND status = 'completed' AND deleted_at IS NULL ORDER BY completed_at", small)
	if err != nil {
		t.Fatal(err)
	}
	for len(rows) < 6 {
		rows = append(rows, fmt.Sprint(w.restorable(t, ctx).ID))
	}
	for i, row := range rows {
		n, err := strconv.ParseInt(row, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		old = append(old, n)
		w.age(t, ctx, n, fmt.Sprintf("%d days", 100-i))
	}
	g, _ := w.gate(t, "UploadPart")
	running := w.order(t, ctx, small, nil)
	arrived(t, ctx, g, 1)
	w.daily(t, ctx)
	answers := make(chan cleanup, 8)
	for i := range cap(answers) {
		c := w.controllers[i%2].ClientWithFile(w.controllers[0].Admin().TokenFile)
		go func() {
			var run cleanup
			if err := c.API(ctx, http.MethodPost, "/cleanup", map[string]any{"project": "shop"}, &run); err != nil {
				t.Errorf("clean up: %v", err)
			}
			answers <- run
		}()
	}
	var removed []int64
	for range cap(answers) {
		run := <-answers
		removed = append(removed, run.removed()...)
		if got := run.decided(running.ID); got != "not looked at" || run.Failed != 0 {
			t.Errorf("what is being uploaded is %q; %d failed", got, run.Failed)
		}
	}
	want := old[1 : len(old)-3] // the oldest stays, as no content was verified, and so do the newest three
	eventually(t, ctx, "the daily clean-up has come to its end", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT count(*), count(ended_at), coalesce(sum(removed), 0)::int FROM cleanups WHERE kind = 'daily'")
		if err == nil && rows[0] != fmt.Sprintf("1 1 %d", len(want)-len(removed)) {
			err = fmt.Errorf("how many, ended, removed: %s; others removed %v", rows[0], removed)
		}
		return err == nil, err
	})
	deleted, err := w.catalog.Rows(ctx, "SELECT id FROM database_backups WHERE id = ANY ($1) AND deleted_at IS NOT NULL ORDER BY completed_at", old)
	if err != nil || fmt.Sprint(deleted) != fmt.Sprint(want) {
		t.Errorf("removed are %v, want %v: %v", deleted, want, err)
	}
	if b, err := w.ctl.Backup(ctx, running.ID); err != nil || b.Status != "running" {
		t.Errorf("what is being uploaded is %+v: %v", b, err)
	}
	w.s3.Proxy.Reset()
	g.Open()
	w.completed(t, ctx, running.ID, "completed")
	w.good(t, ctx, running.ID)
}
