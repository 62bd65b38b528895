package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"devflowbackup/e2e/stack"
)

// replaced puts another host in the place of a server: it is the same server, with what it had made and what is to be made there; the
// host before it is let in no more.
func (w *faultWorld) replaced(t *testing.T, ctx context.Context) {
	old, disk := w.lostHost(t, ctx)
	type server struct {
		ID      int64
		AgentID string `json:"agent_id"`
		NKey    string `json:"nkey"`
		Online  bool
	}
	before := read[server](t, ctx, w.ctl, "server", "show", "db2")
	backups, schedules := mustBackups(t, ctx, w.ctl, "second"), read[[]stack.Schedule](t, ctx, w.ctl, "schedule", "list", "--project", "second")
	if len(backups) != 1 || len(schedules) != 1 {
		t.Fatalf("there are %d backups and %d schedules", len(backups), len(schedules))
	}
	databases, err := w.ctl.Databases(ctx, "db2")
	if err != nil {
		t.Fatal(err)
	}

	// Who says nothing of a replacement gets no second server of the name.
	refused(t, ctx, w.ctl, 1, []string{"db2", "--replace"}, "server", "token", "db2")
	token := read[struct{ Token, Command string }](t, ctx, w.ctl, "server", "token", "db2", "--replace")
	fresh, err := w.NewAgent("db2-again", stack.AgentOptions{Servers: map[string]stack.Server{"files": disk}, Limits: map[string]any{"discovery_every": "2s"}})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := fresh.TryEnroll(ctx, w.controllers[0].URL(), token.Token); err != nil || res.Code != 0 {
		t.Fatalf("enrol: %s, %v", res.Text(), err)
	}
	if err := fresh.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the new host is online", func(ctx context.Context) (bool, error) { return w.ctl.Online(ctx, "db2", len(databases)) })
	after := read[server](t, ctx, w.ctl, "server", "show", "db2")
	if after.ID != before.ID || after.AgentID != before.AgentID || after.NKey == before.NKey {
		t.Errorf("the server was %+v and is %+v", before, after)
	}

	// The host before it: cut off while it runs, and let in no more.
	eventually(t, ctx, "the host before is refused", func(context.Context) (bool, error) {
		return !old.Process().Running() || strings.Contains(stack.Tail(old.LogFile(), 50), "revoked") || strings.Contains(strings.ToLower(stack.Tail(old.LogFile(), 50)), "authorization"), nil
	})
	if err := old.Stop(ctx); err != nil {
		t.Error(err)
	}
	if res, err := old.TryEnroll(ctx, w.controllers[0].URL(), token.Token); err != nil || res.Code == 0 {
		t.Errorf("the token was taken twice: %s, %v", res.Text(), err)
	}

	// The same databases, backups and schedules.
	now, err := w.ctl.Databases(ctx, "db2")
	if err != nil || !slices.Equal(ids(now), ids(databases)) {
		t.Errorf("its databases were %+v and are %+v: %v", databases, now, err)
	}
	b := backups[0]
	w.good(t, ctx, b.ID)
	to := disk.Name("r_second")
	do(t, ctx, w.ctl, "restore", "create", fmt.Sprint(b.ID), "--to-database", to, "--wait")
	same(t, ctx, disk, contentOf(t, ctx, disk, b.DatabaseName), to)
	if err := w.catalog.Due(ctx, 0, schedules[0].ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "its schedule has made a backup of the new host", func(ctx context.Context) (bool, error) {
		all, err := w.ctl.Backups(ctx, "second")
		return len(all) == 2 && all[0].Status == "completed" && all[0].DatabaseName == b.DatabaseName, err
	})
	newer := mustBackups(t, ctx, w.ctl, "second")[0]
	w.good(t, ctx, newer.ID)
	if rows, err := w.catalog.Rows(ctx, "SELECT count(DISTINCT server_id), count(DISTINCT database_id) FROM database_backups WHERE id = ANY ($1)", []int64{b.ID, newer.ID}); err != nil || rows[0] != "1 1" {
		t.Errorf("they are of %v servers and databases: %v", rows, err)
	}
	for action, n := range map[string]int{"server.replace": 1, "server.enrol": 2} {
		if rows := audited(t, ctx, w.ctl, action, "db2"); len(rows) > n || action == "server.replace" && len(rows) != 1 {
			t.Errorf("the audit log tells of %s: %+v", action, rows)
		}
	}
	do(t, ctx, w.ctl, "schedule", "delete", fmt.Sprint(schedules[0].ID))
	if err := fresh.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// lostHost is a host with a database, its backup and a schedule, in a project of its own.
func (w *faultWorld) lostHost(t *testing.T, ctx context.Context) (*stack.Agent, *stack.SQLite) {
	t.Helper()
	disk, err := w.NewSQLite("files2")
	if err != nil {
		t.Fatal(err)
	}
	name := disk.Name("second")
	if err := disk.Create(ctx, name); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Exec(ctx, name, fewRows); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "project", "create", "second")
	old, err := w.NewAgent("db2", stack.AgentOptions{Servers: map[string]stack.Server{"files": disk}, Limits: map[string]any{"discovery_every": "2s"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Enroll(ctx, w.controllers[0], "second"); err != nil {
		t.Fatal(err)
	}
	if err := old.StartOnline(ctx, w.controllers[0], 1); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "database", "assign", "--project", "second", "--on", "db2", "--", name)
	do(t, ctx, w.ctl, "schedule", "create", "second", "--database", name, "--daily", "02:00", "--keep", "daily=7", "--spread", "off")
	do(t, ctx, w.ctl, "backup", "create", "second", "--wait")
	return old, disk
}

func ids(databases []stack.Database) (out []int64) {
	for _, d := range databases {
		out = append(out, d.ID)
	}
	slices.Sort(out)
	return out
}
