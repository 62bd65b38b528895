package retention_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
)

// many is a catalog with so many databases, each with the same backups. What it is asked for beside that is an error of the test.
type many struct {
	retention.Store
	databases int64
	actions   []string
	graces    []time.Duration
}

func (m *many) CleanupDatabases(_ context.Context, _ controller.Actor, _ controller.CleanupRequest, after int64, limit int) ([]int64, error) {
	var ids []int64
	for id := after + 1; id <= m.databases && len(ids) < limit; id++ {
		ids = append(ids, id)
	}
	return ids, nil
}

func (m *many) CleanDatabase(_ context.Context, _ controller.Actor, database int64, req controller.CleanupRequest, _ time.Time) ([]controller.CleanupItem, error) {
	m.graces = append(m.graces, req.Grace)
	var items []controller.CleanupItem
	for i, action := range m.actions {
		items = append(items, controller.CleanupItem{BackupID: database*100 + int64(i), Project: string(rune('z' - database%26)), Action: action, FileSize: 10})
	}
	return items, nil
}

func (m *many) StartCleanup(context.Context, controller.Actor, controller.CleanupRequest) (retention.Claim, error) {
	return retention.Claim{ID: 1}, nil
}

func (m *many) EndCleanup(context.Context, retention.Claim, controller.CleanupResult, string) error {
	return nil
}

func now(context.Context) (time.Time, error) { return time.Unix(0, 0), nil }

// TestClean_Bounded: everything is counted, and of more items than are answered those that are removed come first.
func TestClean_Bounded(t *testing.T) {
	t.Parallel()
	store := &many{databases: 2001, actions: []string{retention.Keep, retention.Remove, retention.Later, retention.Keep}}
	r := retention.NewRunner(retention.Options{Store: store, Log: hclog.NewNullLogger(), Now: now})
	res, err := r.Clean(t.Context(), controller.Actor{}, controller.CleanupRequest{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.Kept != 4002 || res.Removed != 2001 || res.RemovedBytes != 20010 || res.Postponed != 2001 || res.Failed != 0 || !res.DryRun {
		t.Errorf("%+v", res)
	}
	if len(res.Items) != controller.MaxCleanupItems || !res.Truncated {
		t.Fatalf("%d items, truncated %t", len(res.Items), res.Truncated)
	}
	order := map[string]int{retention.Remove: 0, retention.Later: 1, retention.Keep: 2}
	if !slices.IsSortedFunc(res.Items, func(a, b controller.CleanupItem) int { return order[a.Action] - order[b.Action] }) {
		t.Error("the items are not sorted by action")
	}
	if !slices.IsSortedFunc(res.Items[:2001], func(a, b controller.CleanupItem) int { return int(a.Project[0]) - int(b.Project[0]) }) {
		t.Error("the items are not sorted by project")
	}
	if res.Items[2000].Action != retention.Remove || res.Items[4001].Action != retention.Later || res.Items[4002].Action != retention.Keep {
		t.Error("some that are removed or put off are left out")
	}

	store.databases = 0
	if res, err = r.Clean(t.Context(), controller.Actor{}, controller.CleanupRequest{}); err != nil || res.Items == nil || len(res.Items) != 0 || res.Truncated {
		t.Errorf("of nothing: %+v, %v", res, err)
	}
}

// TestClean_Grace: the caller's, else the installation's, else a day.
func TestClean_Grace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ option, asked, want time.Duration }{
		{0, -1, controller.CleanupGrace},
		{time.Hour, -1, time.Hour},
		{-1, -1, 0},
		{time.Hour, 0, 0},
		{time.Hour, time.Minute, time.Minute},
	} {
		store := &many{databases: 1}
		r := retention.NewRunner(retention.Options{Store: store, Log: hclog.NewNullLogger(), Now: now, Grace: c.option})
		if _, err := r.Clean(t.Context(), controller.Actor{}, controller.CleanupRequest{Grace: c.asked}); err != nil || store.graces[0] != c.want {
			t.Errorf("%+v: %v, %v", c, store.graces, err)
		}
	}
}
