package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

var scheduleSites = []string{"controller.before_tick_commit", "controller.after_tick_commit"}

// TestFault_Schedules takes the broker and one of two controllers away while schedules occur.
func TestFault_Schedules(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{controllers: 2, sites: scheduleSites, big: 1 << 20})
	w.fault(t, "13/broker away for two occurrences", w.brokerAway)

	const many = 42
	ctx := faultContext(t)
	do(t, ctx, w.ctl, "project", "create", "fleet")
	ids, _ := w.manySchedules(t, ctx, "fleet", many)
	round := 0
	w.fault(t, "26/two controllers", func(t *testing.T, ctx context.Context) {
		round++
		w.occurAll(t, ctx, ids, round, nil)
	})
	for _, site := range scheduleSites {
		w.fault(t, "26/one killed at "+site, func(t *testing.T, ctx context.Context) {
			round++
			fired := w.arm(t, site)
			w.occurAll(t, ctx, ids, round, func() { w.oneDies(t, ctx, fired) })
		})
	}
}

// brokerAway has schedules occur twice while no agent can be reached. The first is run when the broker is back, the second is missed.
func (w *faultWorld) brokerAway(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--database", small)
	bounded := w.schedule(t, ctx, "shop", "--database", big, "--catch-up", "off")
	w.nats.Stop()
	eventually(t, ctx, "db1 is offline", func(ctx context.Context) (bool, error) {
		online, err := w.ctl.Online(ctx, "db1", 0)
		return !online, err
	})
	waiting := map[int64]int64{}
	for _, s := range []int64{number, bounded} {
		o := w.occur(t, ctx, s)
		if o.State != "run" || len(o.Databases) != 1 || o.Databases[0].BackupID == nil {
			t.Fatalf("without a broker the record is %+v", o)
		}
		waiting[s] = *o.Databases[0].BackupID
	}
	for s, b := range waiting {
		not(t, w.occur(t, ctx, s), "missed", "offline", fmt.Sprintf("backup %d ", b), "offline since")
	}
	if err := w.nats.Start(); err != nil {
		t.Fatal(err)
	}
	for s, b := range waiting {
		w.completed(t, ctx, b, "completed")
		o := w.occur(t, ctx, s)
		w.ran(t, ctx, o, o.Databases[0].DatabaseName)
		if all := w.history(t, ctx, s); len(all) != 3 || all[0].State != "run" || all[1].State != "missed" || all[2].State != "run" {
			t.Errorf("the records are %+v", all)
		}
	}
	if n := w.backups(t, ctx); n != 4 {
		t.Errorf("%d backups were made of two schedules that occurred three times, once without a broker", n)
	}
}

// occurAll has many schedules occur at the same time, for the round-th time, while something happens. Each has one record of it, and
// one backup.
func (w *faultWorld) occurAll(t *testing.T, ctx context.Context, ids []int64, round int, meanwhile func()) {
	if err := w.catalog.Due(ctx, 0, ids...); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile()
	}
	want := fmt.Sprintf("run %d %d %d", len(ids), len(ids)*round, len(ids)*round)
	eventually(t, ctx, "all have been run", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, `SELECT o.state, count(DISTINCT o.schedule_id), count(DISTINCT (o.schedule_id, o.at)), count(b.id) FILTER (WHERE b.status = 'completed')
			FROM schedule_occurrences o LEFT JOIN database_backups b ON b.schedule_id = o.schedule_id AND b.occurrence_at = o.at
			WHERE o.schedule_id = ANY ($1) GROUP BY o.state`, ids)
		if got := strings.Join(rows, "; "); err == nil && got != want {
			return false, fmt.Errorf("states, schedules, records, backups are %s, want %s", got, want)
		}
		return err == nil, err
	})
	rows, err := w.catalog.Rows(ctx, "SELECT count(*), count(DISTINCT job_id) FROM attempts JOIN jobs j ON j.id = job_id JOIN database_backups b ON b.id = j.backup_id WHERE b.schedule_id = ANY ($1)", ids)
	if want := fmt.Sprintf("%d %d", len(ids)*round, len(ids)*round); err != nil || rows[0] != want {
		t.Errorf("attempts and jobs are %v, want %s: %v", rows, want, err)
	}
}

// oneDies waits until one of the controllers has died at the armed site, and starts it again.
func (w *faultWorld) oneDies(t *testing.T, ctx context.Context, fired func() bool) {
	t.Helper()
	dead := -1
	eventually(t, ctx, "a controller has died", func(context.Context) (bool, error) {
		for i, c := range w.controllers {
			if !c.Process().Running() {
				dead = i
			}
		}
		return dead >= 0, nil
	})
	died(t, ctx, w.controllers[dead].Process(), fired)
	w.ctl = w.controllers[1-dead].ClientWithFile(w.controllers[0].Admin().TokenFile)
	// What it had claimed is free when the claim has run out.
	if err := w.catalog.Alter(ctx, "UPDATE backup_schedules SET claim_until = '-infinity'"); err != nil {
		t.Fatal(err)
	}
	w.startController(t, ctx, dead)
}
