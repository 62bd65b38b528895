package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// TestInPlace restores databases of each engine in their place: what was there is kept, comes back, and goes away in its time; and what
// would stop it is found before anything is changed.
func TestInPlace(t *testing.T) {
	t.Parallel()
	e := newInPlaceEstate(t, estateOptions{})
	t.Run("steps", func(t *testing.T) {
		for _, s := range e.servers {
			t.Run(s.Engine(), func(t *testing.T) {
				t.Parallel()
				for _, one := range []struct {
					name string
					run  func(t *testing.T, ctx context.Context, s stack.Server)
				}{
					{"and undone", e.inPlaceAndBack},
					{"refused", e.inPlaceRefused},
					{"in use", e.inPlaceInUse},
					{"written to", e.inPlaceWritten},
					{"another target", e.inPlaceChanged},
					{"cancelled", e.inPlaceCancelled},
					{"from a dead host", e.inPlaceFromDeadHost},
					{"81 untrusted", e.inPlaceUntrusted},
				} {
					t.Run(one.name, func(t *testing.T) { one.run(t, testContext(t), s) })
				}
			})
		}
	})
	t.Run("58 wrong password", func(t *testing.T) { e.inPlaceWrongPassword(t, testContext(t)) })
	// What follows breaks the store for all.
	e.eachEngine(t, func(t *testing.T, s stack.Server) {
		t.Run("safety backup fails", func(t *testing.T) { e.inPlaceWithoutSafety(t, testContext(t), s) })
		t.Run("42 wrong bytes in every reply", func(t *testing.T) { e.inPlaceCorrupt(t, testContext(t), s) })
	})
	t.Run("80 disk full", func(t *testing.T) { e.inPlaceDiskFull(t, testContext(t)) })
	e.invariants(t, testContext(t))
}

// inPlaceAndBack is the whole life of a restore in place.
func (e *estate) inPlaceAndBack(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "story", "")
	before := x.live

	plan, err := e.ctl.PlanRestore(ctx, map[string]any{"backup_id": x.backup, "in_place": true})
	if err != nil {
		t.Fatal(err)
	}
	found := plan.Target.Found
	if !plan.CanStart || !plan.Target.Looked || plan.Target.Database != x.name || len(plan.Steps) < 3 || found == nil || !found.Exists || found.Identity == "" || found.Tables == 0 {
		t.Fatalf("the plan is %+v, found %+v", plan, found)
	}
	r := x.order(t, ctx, map[string]any{"identity": found.Identity, "skip_safety_backup": false})
	r = x.completed(t, ctx, r, x.saved)
	if sw := r.Result.Swapped; sw == nil || sw.State != wire.SwapAfter || sw.UnavailableMicros <= 0 || !r.Result.Compared && s.Engine() != wire.EngineMySQL || r.Result.Tables == 0 {
		t.Errorf("it tells %+v", r.Result)
	}
	if left := time.Until(*r.KeptUntil); left < 71*time.Hour || left > 73*time.Hour {
		t.Errorf("it is kept for %s", left)
	}
	safety := e.backup(t, ctx, r.SafetyBackupID)
	if safety.Status != "completed" || safety.Type != "pre_restore" || safety.DatabaseName != x.name {
		t.Errorf("the safety backup is %+v", safety)
	}
	// The safety backup holds what was replaced.
	copied := copyName(s, "safety")
	e.restore(t, ctx, safety, copied)
	same(t, ctx, s, before, copied)
	drop(t, ctx, s, copied)

	// An undo brings back what was there exactly, and can be undone itself.
	undo := x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
	if first, err := e.ctl.Restore(ctx, r.ID); err != nil || first.KeptState != "undone" || first.UndoneBy != undo.ID || undo.UndoOf != r.ID {
		t.Errorf("undone it is %+v: %v", first, err)
	}
	_, err = e.ctl.UndoRestore(ctx, r.ID, map[string]any{"confirm": x.name})
	x.refusedWith(t, ctx, err, http.StatusConflict)
	again := x.completed(t, ctx, x.orderUndo(t, ctx, undo.ID), x.saved)
	if longer, err := e.ctl.KeepKept(ctx, again.ID, 30*24*time.Hour); err != nil || time.Until(*longer.KeptUntil) < 29*24*time.Hour {
		t.Errorf("it is kept until %v: %v", longer.KeptUntil, err)
	}
	_, err = e.ctl.DiscardKept(ctx, again.ID, x.name+"x")
	x.refusedWith(t, ctx, err, http.StatusUnprocessableEntity, "confirm")
	x.discard(t, ctx, again.ID)
	_, err = e.ctl.UndoRestore(ctx, again.ID, map[string]any{"confirm": x.name})
	x.refusedWith(t, ctx, err, http.StatusConflict)

	// What nobody wants goes by itself, and so it is with the command line.
	x.run(t, ctx, "INSERT INTO mark VALUES (3);")
	x.live = contentOf(t, ctx, s, x.name)
	do(t, ctx, e.ctl, "restore", "create", id(x.backup), "--in-place", "--confirm", x.name, "--skip-safety-backup", "--keep", "1h", "--wait")
	all := read[[]stack.Restore](t, ctx, e.ctl, "restore", "list", "--project", inPlaceProject)
	last := all[slices.IndexFunc(all, func(r stack.Restore) bool { return r.DatabaseName == x.name })]
	x.completed(t, ctx, last, x.saved)
	e.forward(t, ctx, "UPDATE restores SET kept_until = now() - interval '1 minute' WHERE id = $1", last.ID)
	x.removed(t, ctx, last.ID)
	same(t, ctx, s, x.live, x.name)
}

// inPlaceRefused asks for what is not to be had.
func (e *estate) inPlaceRefused(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "refused", fewRows)
	for _, typed := range []string{"", x.name + " ", strings.ToUpper(x.name), "yes"} {
		_, err := e.ctl.CreateRestore(ctx, x.asked(map[string]any{"confirm": typed}))
		x.refusedWith(t, ctx, err, http.StatusUnprocessableEntity, "confirm", "refused_"+s.Engine())
	}
	nowhere := copyName(s, "nowhere")
	_, err := e.ctl.CreateRestore(ctx, x.asked(map[string]any{"to_database": nowhere, "confirm": nowhere}))
	x.refusedWith(t, ctx, err, http.StatusConflict, "in_place")
	only := map[string]any{"only": []map[string]any{{"table": "mark"}}}
	if s.Engine() == wire.EnginePostgreSQL {
		only = map[string]any{"only": []map[string]any{{"schema": "public", "table": "mark"}}}
	}
	_, err = e.ctl.CreateRestore(ctx, x.asked(map[string]any{"choices": only}))
	x.refusedWith(t, ctx, err, http.StatusUnprocessableEntity, "only")

	// A database that is not the project's.
	foreign := s.Name("foreign_" + s.Engine())
	if err := e.fillDatabase(ctx, s, foreign, fewRows); err != nil {
		t.Fatal(err)
	}
	found(t, ctx, e.ctl, "db1", foreign)
	want := contentOf(t, ctx, s, foreign)
	_, err = e.ctl.CreateRestore(ctx, x.asked(map[string]any{"to_database": foreign, "confirm": foreign}))
	x.refusedWith(t, ctx, err, http.StatusConflict, "assign")
	same(t, ctx, s, want, foreign)

	// A host that does not allow it: says how, and refuses.
	server := "careful-" + s.Engine()
	e.addAgent(t, ctx, server, inPlaceProject, stack.AgentOptions{Servers: map[string]stack.Server{"main": s}})
	e.assign(t, ctx, inPlaceProject, server, x.name)
	there := map[string]any{"to_server": server}
	if plan, err := e.ctl.PlanRestore(ctx, x.asked(there)); err != nil || plan.CanStart {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	_, err = e.ctl.CreateRestore(ctx, x.asked(there))
	x.refusedWith(t, ctx, err, http.StatusConflict, "restore.in_place", "true")
}

// inPlaceInUse has a program at the target.
func (e *estate) inPlaceInUse(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "used", fewRows)
	p := x.open(t, ctx)
	x.notPlanned(t, ctx, wire.CodeTargetInUse, nil)
	if !p.works() {
		t.Error("a refused restore has ended the session")
	}

	// One that comes after the plan: the restore fails, before or after the new content is read.
	g := x.gate(t, "GetObject")
	r := x.order(t, ctx, nil)
	arrived(t, ctx, g, 1)
	p = x.open(t, ctx)
	g.Open()
	x.failed(t, ctx, r, wire.CodeTargetInUse)
	if !p.works() {
		t.Error("a restore that may not has ended the session")
	}

	// Waited for.
	p = x.open(t, ctx)
	r = x.order(t, ctx, map[string]any{"sessions": wire.SessionsWait, "wait_seconds": 60})
	eventually(t, ctx, "the swap waits", func(ctx context.Context) (bool, error) {
		var now struct{ Progress struct{ Stage string } }
		err := e.ctl.API(ctx, http.MethodGet, "/restores/"+id(r.ID), nil, &now)
		return now.Progress.Stage == wire.StageSwap, err
	})
	if now, err := e.ctl.Restore(ctx, r.ID); err != nil || now.Status != "running" {
		t.Errorf("with a session it is %+v, %v", now, err)
	}
	same(t, ctx, s, x.live, x.name)
	p.close()
	before := x.live
	r = x.completed(t, ctx, r, x.saved)

	// Ended, where the engine can.
	p = x.open(t, ctx)
	end := map[string]any{"confirm": x.name, "sessions": wire.SessionsEnd}
	if s.Engine() == wire.EngineSQLite {
		_, err := e.ctl.UndoRestore(ctx, r.ID, end)
		x.refusedWith(t, ctx, err, http.StatusConflict, wire.CodeTargetInUse)
		if !p.works() {
			t.Error("the program was ended")
		}
		return
	}
	undo, err := e.ctl.UndoRestore(ctx, r.ID, end)
	if err != nil {
		t.Fatal(err)
	}
	undo = x.completed(t, ctx, undo, before)
	if p.works() {
		t.Error("the session goes on")
	}
	if sw := undo.Result.Swapped; sw == nil || sw.Ended == 0 {
		t.Errorf("it does not tell of the ended session: %+v", undo.Result)
	}
}

// inPlaceWritten has a program write while the content is swapped: nothing that was committed is lost.
func (e *estate) inPlaceWritten(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "written", objectsSQL[s.Engine()])
	stop, wrote := make(chan struct{}), make(chan struct{}, 1)
	pause := 10 * time.Millisecond
	if s.Engine() == wire.EngineSQLite {
		pause = 150 * time.Millisecond // a swap needs a moment in which no program has the file open
	}
	var committed []int
	var failures int
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(pause): // programs of others come and go
			}
			if _, err := s.Exec(ctx, x.name, fmt.Sprintf("INSERT INTO written (n) VALUES (%d);", n)); err == nil {
				committed = append(committed, n)
				select {
				case wrote <- struct{}{}:
				default: // nobody waits any more
				}
			} else {
				failures++
			}
		}
	})
	for range 3 {
		select {
		case <-wrote:
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
	}
	wait := map[string]any{"sessions": wire.SessionsWait, "wait_seconds": 45}
	r := x.ended(t, ctx, x.order(t, ctx, wait).ID)
	// Some more, to what is there now.
	eventually(t, ctx, "the writer goes on", func(ctx context.Context) (bool, error) {
		out, err := s.Exec(ctx, x.name, "SELECT count(*) FROM written;")
		return err == nil && strings.TrimSpace(out) != "0", err
	})
	close(stop)
	writer.Wait()
	if r.Status != "completed" {
		t.Fatalf("%s: %s", r.ErrorCode, r.ErrorMessage)
	}
	var old, fresh []int
	for name, rows := range map[string]*[]int{x.kept(r.KeptName): &old, x.name: &fresh} {
		out, err := s.Exec(ctx, name, "SELECT n FROM written ORDER BY n;")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(out) {
			var n int
			if _, err := fmt.Sscan(f, &n); err != nil {
				t.Fatal(err)
			}
			*rows = append(*rows, n)
		}
	}
	if len(old) == 0 || len(fresh) == 0 || old[len(old)-1] >= fresh[0] {
		t.Errorf("the old content has %v, the new %v: the writer did not write around the swap", old, fresh)
	}
	all := slices.Concat(old, fresh)
	for _, n := range committed {
		if !slices.Contains(all, n) {
			t.Errorf("row %d was committed, and is neither in what is kept (%v) nor at the target (%v)", n, old, fresh)
		}
	}
	t.Logf("%d rows, %d writes failed, unavailable for %d µs", len(committed), failures, r.Result.Swapped.UnavailableMicros)
}

// inPlaceChanged drops the target and makes it anew after the plan, and after the order.
func (e *estate) inPlaceChanged(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "changed", fewRows)
	plan, err := e.ctl.PlanRestore(ctx, x.asked(nil))
	if err != nil || plan.Target.Found == nil {
		t.Fatalf("%+v, %v", plan, err)
	}
	another := func() {
		t.Helper()
		if err := errors.Join(s.Drop(ctx, x.name), e.fillDatabase(ctx, s, x.name, fewRows+"CREATE TABLE another (n integer); INSERT INTO another VALUES (1);"), s.AllowInPlace(ctx, x.name)); err != nil {
			t.Fatal(err)
		}
		x.live = contentOf(t, ctx, s, x.name)
	}
	another()
	_, err = e.ctl.CreateRestore(ctx, x.asked(map[string]any{"identity": plan.Target.Found.Identity}))
	x.refusedWith(t, ctx, err, http.StatusConflict, wire.CodeTargetChanged)

	// While its safety backup is made.
	g := x.gate(t, "UploadPart")
	r := x.order(t, ctx, map[string]any{"skip_safety_backup": false})
	arrived(t, ctx, g, 1)
	another()
	g.Open()
	x.failed(t, ctx, r, wire.CodeTargetChanged)
}

// inPlaceCancelled cancels a restore while its backup is read.
func (e *estate) inPlaceCancelled(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "cancelled", fewRows)
	g := x.gate(t, "GetObject")
	r := x.order(t, ctx, nil)
	arrived(t, ctx, g, 1)
	e.cancelJob(t, ctx, r.JobID)
	g.Open()
	x.failed(t, ctx, r, wire.CodeCancelled)
	e.noTool(t, ctx)
}

// inPlaceFromDeadHost restores what a host has backed up that is gone, in the place of a database on another one.
func (e *estate) inPlaceFromDeadHost(t *testing.T, ctx context.Context, s stack.Server) {
	host := "dead-" + s.Engine()
	a := e.addAgent(t, ctx, host, inPlaceProject, stack.AgentOptions{Servers: map[string]stack.Server{"main": s}})
	source := s.Name("lost_" + s.Engine())
	if err := e.fillDatabase(ctx, s, source, fewRows+"CREATE TABLE lost (n integer); INSERT INTO lost VALUES (7);"); err != nil {
		t.Fatal(err)
	}
	e.assign(t, ctx, inPlaceProject, host, source)
	b := e.backUp(t, ctx, inPlaceProject, source, "--on", host)
	want := contentOf(t, ctx, s, source)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	drop(t, ctx, s, source)

	x := e.target(t, ctx, s, "standby", fewRows)
	before := x.live
	x.backup = b.ID
	r := x.completed(t, ctx, x.order(t, ctx, map[string]any{"to_server": "db1"}), want)
	x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
}

// inPlaceWrongPassword (58) has the account's password changed behind the agent's back: before the plan, and while a restore waits.
func (e *estate) inPlaceWrongPassword(t *testing.T, ctx context.Context) {
	x := e.target(t, ctx, e.postgres, "auth", fewRows)
	password := func(text string) {
		t.Helper()
		if _, err := e.postgres.Exec(ctx, "postgres", "ALTER ROLE "+stack.RestoreRole+" PASSWORD '"+text+"'"); err != nil {
			t.Fatal(err)
		}
	}
	right, err := os.ReadFile(e.postgres.RestorePasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	defer password(strings.TrimSpace(string(right)))
	password("another")
	x.notPlanned(t, ctx, wire.CodeAuth, nil)
	password(strings.TrimSpace(string(right)))

	g := x.gate(t, "UploadPart")
	r := x.order(t, ctx, map[string]any{"skip_safety_backup": false})
	arrived(t, ctx, g, 1)
	password("another")
	g.Open()
	r = x.ended(t, ctx, r.ID)
	x.truth(t, ctx, r, stack.Content{})
	if r.Status != "failed" || r.ErrorCode != wire.CodeAuth && r.ErrorCode != wire.CodeTargetUnfit || !strings.Contains(r.ErrorMessage, stack.RestoreRole) {
		t.Errorf("it is %s: %s: %s", r.Status, r.ErrorCode, r.ErrorMessage)
	}
}

// inPlaceWithoutSafety: without its safety backup a restore does not begin.
func (e *estate) inPlaceWithoutSafety(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "unsafe", fewRows)
	rule := e.s3.Proxy.Inject("UploadPart", 0, s3kit.Status(403, "AccessDenied"))
	defer e.s3.Proxy.Reset()
	r := x.order(t, ctx, map[string]any{"skip_safety_backup": false})
	if !strings.Contains(r.Waiting, id(r.SafetyBackupID)) {
		t.Errorf("it waits for %q, not for backup %d", r.Waiting, r.SafetyBackupID)
	}
	x.failed(t, ctx, r, wire.CodeSafetyBackup)
	if rule.Fired() == 0 {
		t.Error("no part was refused")
	}
	if b := e.backup(t, ctx, r.SafetyBackupID); b.Status != "failed" {
		t.Errorf("the safety backup is %s", b.Status)
	}
}

// inPlaceCorrupt (42) has the store return wrong bytes: the target is as it was.
func (e *estate) inPlaceCorrupt(t *testing.T, ctx context.Context, s stack.Server) {
	x := e.target(t, ctx, s, "corrupt", fewRows)
	b := e.backup(t, ctx, x.backup)
	for what, action := range map[string]s3kit.Action{"wrong": s3kit.CorruptDownload(b.FileSize / 2), "cut": s3kit.ResetDownload(b.FileSize / 2)} {
		rule := e.s3.Proxy.Inject("GetObject", map[string]int{"cut": 1}[what], action)
		r := x.order(t, ctx, nil)
		if what == "wrong" {
			x.failed(t, ctx, r, wire.CodeCorrupt)
		} else {
			before := x.live
			x.completed(t, ctx, r, x.saved)
			x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
		}
		if rule.Fired() == 0 {
			t.Errorf("%s: the fault did not fire", what)
		}
		e.s3.Proxy.Reset()
	}
}

// inPlaceDiskFull (80): what does not fit is refused before anything is changed; where that was not to be seen, the restore fails.
func (e *estate) inPlaceDiskFull(t *testing.T, ctx context.Context) {
	// A backup that would be larger than any disk.
	if _, err := e.postgres.Exec(ctx, "postgres", "GRANT EXECUTE ON FUNCTION pg_control_system() TO "+stack.BackupRole+"; GRANT pg_read_all_settings TO "+stack.BackupRole); err != nil {
		t.Fatal(err)
	}
	for _, s := range e.servers {
		x := e.target(t, ctx, s, "large", fewRows)
		raw := e.backup(t, ctx, x.backup).RawSize
		e.forward(t, ctx, "UPDATE database_backups SET raw_size = $2 WHERE id = $1", x.backup, int64(1)<<60)
		x.notPlanned(t, ctx, wire.CodeDiskFull, nil)
		e.forward(t, ctx, "UPDATE database_backups SET raw_size = $2 WHERE id = $1", x.backup, raw)
	}
	// A disk that another program fills after the plan.
	dir := &stack.SQLite{Dir: e.sqlite.Dir + "-small"}
	err := os.Mkdir(dir.Dir, 0o755)
	if err == nil {
		err = syscall.Mount("tmpfs", dir.Dir, "tmpfs", 0, "size=128m,mode=0755")
	}
	if err != nil {
		t.Fatalf("mount a small disk (this needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir.Dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e.addAgent(t, ctx, "tight", inPlaceProject, stack.AgentOptions{Servers: map[string]stack.Server{"small": dir}, InPlace: true})
	x := &target{estate: e, Server: dir, name: dir.Name("tight")}
	if err := e.fillDatabase(ctx, dir, x.name, fewRows+"CREATE TABLE filler AS WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 20) SELECT n, randomblob(1000000) AS b FROM g;"); err != nil {
		t.Fatal(err)
	}
	e.assign(t, ctx, inPlaceProject, "tight", x.name)
	x.live = contentOf(t, ctx, dir, x.name)
	x.backup = e.backUp(t, ctx, inPlaceProject, x.name).ID
	g := x.gate(t, "GetObject")
	r := x.order(t, ctx, nil)
	arrived(t, ctx, g, 1)
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir.Dir, &disk); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.Dir+"/ballast", make([]byte, int64(disk.Bavail)*disk.Bsize-(8<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Open()
	x.failed(t, ctx, r, wire.CodeDiskFull)
	if err := os.Remove(dir.Dir + "/ballast"); err != nil {
		t.Fatal(err)
	}
	x.completed(t, ctx, x.order(t, ctx, nil), x.live)
	x.discardAll(t, ctx)
}
