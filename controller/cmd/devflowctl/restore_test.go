package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/wire"
)

// terminal is one to which a program is connected.
type terminal struct {
	*rig
	master, slave *os.File

	mu   sync.Mutex
	text bytes.Buffer
}

func (r *rig) terminal() *terminal {
	r.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		r.Fatal(err)
	}
	ioctl := func(request uintptr, v *uint32) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(v))); errno != 0 {
			r.Fatal(errno)
		}
	}
	var locked, number uint32
	ioctl(syscall.TIOCSPTLCK, &locked)
	ioctl(syscall.TIOCGPTN, &number)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		r.Fatal(err)
	}
	t := &terminal{rig: r, master: master, slave: slave}
	go func() { _, _ = io.Copy(t, master) }()
	r.Cleanup(func() { _ = slave.Close(); _ = master.Close() })
	return t
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *terminal) seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// starts runs the program on the terminal; what it prints to standard output is the second result's, once it has ended.
func (t *terminal) starts(args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	cmd := t.command(t.Context(), args...)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, &out, t.slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// says waits until the terminal shows the words.
func (t *terminal) says(words string) {
	t.Helper()
	apitest.Eventually(t, "the terminal shows "+words, func() bool { return strings.Contains(t.seen(), words) })
}

func (t *terminal) types(text string) {
	t.Helper()
	if _, err := t.master.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// ended is the exit status.
func ended(cmd *exec.Cmd) int {
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

// saved is a world with a completed backup of app, whose id it gives.
func (r *rig) saved() (*apitest.Agent, string) {
	r.Helper()
	a := r.world("app")
	r.ctl("backup", "create", "--database", "app").ends(0)
	r.Complete(a, r.Start(a)[0])
	r.Fleet.There("7001/16400", wire.Problem{Code: "owner", Text: "what is restored belongs to another role"})
	return a, fmt.Sprint(r.backups()[0].ID)
}

func TestRestore_inPlace(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, id := r.saved()
	r.ctl("restore", "plan", id, "--in-place").ends(0, "In the backup", "3 tables", "At the target", "40.0 MiB", `owner "shop"`, "What is done", "1. A backup of", "What to know before", "[owner]", "Nothing is known")
	if plan := into[controller.RestorePlan](r.ctl("restore", "plan", id, "--in-place", "--output", "json").ends(0)); !plan.CanStart || plan.Target.Found == nil {
		t.Errorf("the plan is %+v", plan)
	}
	r.ctl("restore", "create", id, "--in-place").ends(2, "--confirm", "restore plan "+id+" --in-place")
	r.ctl("restore", "create", id, "--in-place", "--confirm", "App").ends(2, "confirm", `"app"`, "db-1 / main")
	r.ctl("restore", "create", id, "--in-place", "--confirm", "app", "--sessions", "wait").ends(2, "wait_seconds")
	r.ctl("restore", "create", id, "--to-database", "copy", "--keep", "2h").ends(2, "keep_seconds", "in_place")

	// A person who types another name, and one who does not.
	term := r.terminal()
	cmd, _ := term.starts("restore", "create", id, "--in-place")
	term.says("is to be replaced, app: ")
	term.types("ap\n")
	term.says("nothing was done")
	if code := ended(cmd); code != 1 || !strings.Contains(term.seen(), "What is done") {
		t.Errorf("status %d: %s", code, term.seen())
	}
	r.ctl("restore", "list").ends(0)
	term = r.terminal()
	cmd, out := term.starts("restore", "create", id, "--in-place", "--wait", "--keep", "48h", "--sessions", "wait", "--wait-for", "90s")
	term.says("is to be replaced, app: ")
	term.types("app\n")
	var safety []controller.Offer
	apitest.Eventually(t, "the safety backup is ordered", func() bool { safety = r.Start(a); return len(safety) == 1 })
	// It is followed while the restore waits for it.
	r.Fleet.With(func() {
		r.Fleet.Running[safety[0].Attempt.Job] = controller.Progress{Stage: wire.StageDump, RawBytes: 3 << 20, TotalBytes: 6 << 20}
	})
	term.says(fmt.Sprintf("safety backup %d: dump 3.0 MiB (50 %%)", safety[0].Backup.ID))
	r.Complete(a, safety[0])
	stop := r.play(a)
	code := ended(cmd)
	stop()
	for _, words := range []string{"in place of", "app on db-1 / main", "replaced: it has the new content", "devflow_kept_", "are waited for, up to 90s", "2.5 ms", "1 session", "owner and grants were carried over", "restore undo", fmt.Sprintf("%d (completed)", safety[0].Backup.ID), "in 47h"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("does not say %q: %s", words, out)
		}
	}
	if code != 0 {
		t.Fatalf("status %d: %s", code, term.seen())
	}
	r.ctl("restore", "list").ends(0, "in place", "replaced", "removed in 47h")

	// And back, and once more.
	r.ctl("restore", "undo", "1", "--plan").ends(0, "Undo of a restore", "devflow_kept_1_", "What is there now stays")
	r.ctl("restore", "undo", "1").ends(2, "--confirm", "restore undo 1 --plan")
	r.ctl("restore", "keep", "1").ends(2, "--for")
	r.ctl("restore", "keep", "1", "--for", "1s").ends(2, "keep_seconds")
	r.ctl("restore", "keep", "1", "--for", "480h").ends(0, "in 19d")
	stop = r.play(a)
	r.ctl("restore", "undo", "1", "--confirm", "app", "--wait").ends(0, "restore 1", "completed", "replaced")
	stop()
	r.ctl("restore", "show", "1").ends(0, "it was brought back", "restore 2")
	r.ctl("restore", "list").ends(0, "undo of 1", "undone")
	if all := into[[]controller.Restore](r.ctl("restore", "list", "--output", "json").ends(0)); len(all) != 2 || all[0].UndoOf == nil {
		t.Errorf("restores are %+v", all)
	}
	r.ctl("restore", "discard", "2").ends(2, "--confirm", "restore show 2")
	r.ctl("restore", "discard", "2", "--confirm", "apps").ends(2, "confirm")
	r.ctl("restore", "discard", "2", "--confirm", "app").ends(0, "as soon as the agent of db-1 can")
	r.Discarded(a, r.Start(a)[0])
	r.ctl("restore", "show", "2").ends(0, "it is removed")
}

// TestRestore_refused: all that stops it is printed, and what else is possible.
func TestRestore_refused(t *testing.T) {
	t.Parallel()
	r := start(t)
	_, id := r.saved()
	r.Fleet.There("7001/16400", wire.Problem{Code: "owner", Text: "only to know"},
		wire.Problem{Stops: true, Code: wire.CodeTargetInUse, Text: `it is in use by "shop"`, Hint: "stop the programs"}, wire.Problem{Stops: true, Code: "no_rights", Text: "the account may not", Hint: "run GRANT"})
	r.ctl("restore", "plan", id, "--in-place").ends(1, "What stops it", "[target_in_use]", "hint: stop the programs", "[no_rights]", "What else is possible", "--sessions wait", "2 problems stop it; nothing was changed")
	x := r.ctl("restore", "create", id, "--in-place", "--confirm", "app").ends(1, `it is in use by "shop"`, "hint: stop the programs", "also: [no_rights] the account may not", "hint: run GRANT")
	if strings.Contains(x.err, "only to know") {
		t.Errorf("a warning is among what stops it: %s", x.err)
	}
	term := r.terminal()
	cmd, _ := term.starts("restore", "create", id, "--in-place")
	term.says("nothing was changed")
	if code := ended(cmd); code != 1 || strings.Contains(term.seen(), "Type the name") {
		t.Errorf("status %d: %s", code, term.seen())
	}
	r.Fleet.With(func() {
		r.Fleet.Target = func(controller.Server, wire.InspectOrder) (*wire.Target, error) {
			return nil, wire.Failf(wire.CodeOffline, "not connected")
		}
	})
	r.ctl("restore", "plan", id, "--in-place").ends(1, "nobody has looked", "[agent_offline]")
	r.ctl("restore", "plan", id, "--to-database", "copy").ends(0, "into the new database", "the restore waits for it")
}

// TestRestore_failed: a failed restore says what its target is like.
func TestRestore_failed(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, id := r.saved()
	order := func() (*terminal, *exec.Cmd, *bytes.Buffer, controller.Offer) {
		t.Helper()
		term := r.terminal()
		cmd, out := term.starts("restore", "create", id, "--in-place", "--confirm", "app", "--skip-safety-backup", "--wait")
		var offers []controller.Offer
		apitest.Eventually(t, "the restore is ordered", func() bool { offers = r.Start(a); return len(offers) == 1 })
		return term, cmd, out, offers[0]
	}
	term, cmd, out, o := order()
	r.Break(a, o, wire.Failf(wire.CodeTargetUnfit, "a view is broken").WithHint("mend it"))
	code := ended(cmd)
	term.says("the restore failed; its target was not touched")
	if code != 1 || !strings.Contains(out.String(), "untouched: it has its old content") || !strings.Contains(out.String(), "it was declined") {
		t.Errorf("status %d: %s%s", code, out, term.seen())
	}

	// The agent starts anew and knows of no attempt, again and again.
	term, cmd, out, _ = order()
	done := make(chan int, 1)
	go func() { done <- ended(cmd) }()
	ctx, cancel := context.WithCancel(t.Context())
	var lost sync.WaitGroup
	lost.Go(func() {
		apitest.Each(ctx, func() {
			r.Start(a)
			a.Session = wire.NewID()
			_, _, err := r.Store.Hello(t.Context(), a.AgentID, a.NKey, a.Session, wire.Hello{Protocol: 1, AgentVersion: "v1", Concurrency: 4, InventoryHash: "none"})
			if err != nil {
				t.Error(err)
			}
		})
	})
	code = <-done
	cancel()
	lost.Wait()
	term.says("what its target has is not known")
	term.says("restore show 2")
	if code != 1 || !strings.Contains(out.String(), "not known: an attempt was lost") || strings.Contains(term.seen(), "was not touched") {
		t.Errorf("status %d: %s%s", code, out, term.seen())
	}

	// It is settled: the new content is there.
	if _, err := r.Store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	offers := r.Start(a)
	if len(offers) != 1 || offers[0].Kind != wire.JobSettle {
		t.Fatalf("what follows is %+v", offers)
	}
	r.Settled(a, offers[0], wire.SwapAfter)
	r.ctl("restore", "show", "2").ends(0, "failed", "replaced: it has the new content", "restore undo 2")
	r.ctl("restore", "list").ends(0, "replaced", "removed in")

	// Into a new database.
	r.Fleet.With(func() { r.Fleet.Target = nil })
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		apitest.Eventually(t, "the restore is ordered", func() bool {
			offers := r.Start(a)
			for _, o := range offers {
				r.Break(a, o, wire.Failf(wire.CodeDiskFull, "the disk is full"))
			}
			return len(offers) > 0
		})
	}()
	r.ctl("restore", "create", id, "--to-database", "copy", "--wait").ends(1, "[disk_full]", "was not touched")
	<-stop
	r.ctl("server", "revoke", "db-1").ends(0, "db-1 still has devflow_kept_2_", "restore 2")
}

// TestRestore_only: parts of a backup, quoted where their names need it.
func TestRestore_only(t *testing.T) {
	t.Parallel()
	r := start(t)
	_, id := r.saved()
	r.Fleet.With(func() { r.Fleet.Target = nil })
	r.ctl("restore", "plan", id, "--to-database", "part", "--only", "public.orders", "--only", "sales.*", "--only", `"a.b"."c""d"`, "--only", `s."*"`, "--jobs", "4", "--roles").ends(1, "only public.orders")
	var asked wire.InspectOrder
	r.Fleet.With(func() { asked = r.Fleet.Inspected[0] })
	want := []wire.Selection{{Schema: "public", Table: "orders"}, {Schema: "sales"}, {Schema: "a.b", Table: `c"d`}, {Schema: "s", Table: "*"}}
	if asked.Choices == nil || !slices.Equal(asked.Choices.Only, want) || asked.Choices.Jobs != 4 || !asked.Choices.Roles {
		t.Errorf("the agent is asked %+v", asked.Choices)
	}
	for _, wrong := range []string{"", ".", "a.", ".b", "*", `"a`, `"a"b`, "a.b.c", `"".x`} {
		r.ctl("restore", "plan", id, "--to-database", "part", "--only", wrong).ends(2, "--only")
	}
	r.ctl("restore", "plan", id, "--to-database", "part", "--only", "orders").ends(2, "only", "public.orders")
	r.ctl("restore", "plan", id, "--in-place", "--only", "public.orders").ends(2, "only")
}
