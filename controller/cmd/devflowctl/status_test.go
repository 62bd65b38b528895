package main_test

import (
	"fmt"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/freeport"
)

// TestStatus: the exit status tells whether something is wrong, whatever the output; what is wrong comes with the command that shows more.
func TestStatus(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.world("app", "logs")
	r.ctl("status").ends(1, "wrong", "2 databases: 2 unprotected", "2 databases are covered by no schedule", "app, logs", "devflowctl status --state unprotected", "not all is well")
	r.ctl("status", "shop").ends(1, "devflowctl status --state unprotected shop")
	r.ctl("schedule", "create", "shop", "--database", "app", "--daily", "02:00").ends(0)
	r.ctl("status", "--state", "unprotected").ends(1, "logs", "no active schedule covers it; no completed backup yet")
	s := into[struct {
		Well      bool
		Databases int
		Wrong     []controller.Wrong
		Listed    []controller.Protection
	}](r.ctl("status", "--all", "-o", "json").ends(1))
	if s.Well || s.Databases != 2 || len(s.Wrong) != 1 || s.Wrong[0].Kind != controller.WrongUnprotected || len(s.Listed) != 2 || s.Listed[0].State != controller.ProtectionWaiting {
		t.Errorf("%+v", s)
	}
	r.ctl("database", "ignore", "logs").ends(2, "--reason")
	r.ctl("database", "ignore", "nowhere", "--reason", "x").ends(1, "was not found")
	r.ctl("database", "ignore", "logs", "--reason", "made anew each night").ends(0, "ignored", "made anew each night")
	if out := r.ctl("status").ends(0, "ok", "2 databases: 1 waiting, 1 ignored").out; strings.Contains(out, "SEVERITY") {
		t.Errorf("all is well, and something is listed: %s", out)
	}
	r.ctl("status", "--all").ends(0, "app", "within 27h46m", "ignored by choice: made anew each night")
	r.SQL("UPDATE databases SET first_seen_at = now() - interval '1 year', assigned_at = NULL; UPDATE backup_schedules SET activated_at = now() - interval '3 days'")
	r.ctl("status").ends(1, "critical", "1 database has no good backup within the expected time", "devflowctl status --state overdue")
	r.ctl("status", "--state", "overdue").ends(1, "no completed backup yet, expected within 28 h")
	r.ctl("database", "unignore", "logs").ends(0, "unprotected")

	// What cannot be told is not well either, and not the same.
	r.ctl("status", "--state", "fine").ends(2, "overdue, unprotected")
	r.ctl("status", "one", "two").ends(2)
	r.ctl("status", "nowhere").ends(3, "nowhere")
	down := offline(t)
	port, err := freeport.Pick()
	if err != nil {
		t.Fatal(err)
	}
	down.env = []string{fmt.Sprintf("DEVFLOW_URL=https://127.0.0.1:%d", port), "DEVFLOW_TOKEN=dfk_x"}
	down.ctl("status").ends(3)
}

// TestSchedule_ping: the URL of a dead-man switch comes from a file, and only its host is shown.
func TestSchedule_ping(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.world("app")
	url := r.file("ping", "https://hc.test/canary-4f1c\n")
	out := r.ctl("schedule", "create", "shop", "--daily", "02:00", "--ping-url-file", url).ends(0, "dead-man switch", "hc.test").out
	out += r.ctl("schedule", "show", "1").ends(0, "hc.test").out + r.ctl("schedule", "list", "-o", "json").ends(0).out
	if strings.Contains(out, "canary") {
		t.Errorf("the URL is shown: %s", out)
	}
	if kept, err := r.Store.SchedulePing(t.Context(), 1); err != nil || kept.Reveal() != "https://hc.test/canary-4f1c" {
		t.Errorf("it is kept as %q: %v", kept.Reveal(), err)
	}
	other := r.file("other", "https://ping.test/canary-4f1c")
	r.ctl("schedule", "edit", "1", "--ping-url-file", other).ends(0, "ping.test")
	r.ctl("schedule", "edit", "1", "--ping-url-file", other, "--no-ping").ends(2)
	r.ctl("schedule", "edit", "1", "--ping-url-file", "/nowhere").ends(2)
	if out := r.ctl("schedule", "edit", "1", "--no-ping").ends(0).out; strings.Contains(out, "ping.test") {
		t.Errorf("it was not taken away: %s", out)
	}
}

// TestSettings_summary: when the weekly summary is sent.
func TestSettings_summary(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.ctl("settings", "show").ends(0, "weekly summary", "Monday at 08:00")
	r.ctl("settings", "set", "--summary-day", "friday", "--summary-time", "07:30").ends(0, "Friday at 07:30")
	r.ctl("settings", "set", "--summary-day", "off").ends(0, "off")
	r.ctl("settings", "set", "--summary-day", "someday").ends(2, "off")
}
