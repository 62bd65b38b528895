package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// binary is the agent, built with failpoints.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "devflow-agent-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "devflow-agent")
		build := exec.CommandContext(context.Background(), "go", "build", "-tags", "failpoints", "-o", binary, ".")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the agent: %v\n%s", err, out)
			return 1
		}
		return pgkit.Run(m)
	}())
}

// host is a database host: a PostgreSQL, a configuration and the agent's process.
type host struct {
	t      *testing.T
	c      *control.Controller
	pg     *pgserver.Server
	id     *identity.Identity
	state  string
	config string
	codec  wire.Codec
	secret string
	env    []string

	cmd *exec.Cmd
	out *output
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

const rows = 120_000

func newHost(t *testing.T) *host {
	t.Helper()
	secret, recipient, err := artifact.NewIdentity()
	must(t, err)
	h := &host{
		t: t, c: control.Start(t), pg: pgkit.Start(t), state: filepath.Join(t.TempDir(), "state"), secret: secret,
		codec: wire.Codec{Compression: "none", Encryption: "age", Recipients: []string{recipient}}, out: &output{},
	}
	must(t, os.MkdirAll(h.state, 0o700))
	h.id = h.c.Enrol(h.state)
	ctx := t.Context()
	must(t, h.pg.CreateDatabase(ctx, "shop", ""))
	h.exec("shop", fmt.Sprintf("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat(md5(n::text), 4) FROM generate_series(1, %d) n", rows))
	must(t, h.pg.CreateRole(ctx, "restorer", "secret-of-restorer"))
	h.exec("postgres", "ALTER ROLE restorer CREATEDB")
	h.config = filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(h.config, fmt.Appendf(nil, `
state_dir: %s
log: {level: debug}
limits: {hello_delay: 10ms, drain: 20s}
instances:
  - name: main
    engine: postgresql
    host: %s
    port: %d
    user: %s
    password: %q
    restore: {user: restorer, password: secret-of-restorer, in_place: true}
`, h.state, h.pg.Host(), h.pg.Port(), h.pg.Superuser(), h.pg.Password().Reveal()), 0o600))
	t.Cleanup(func() {
		h.kill()
		if log := h.out.String(); strings.Contains(log, h.pg.Password().Reveal()) || strings.Contains(log, "secret-of-restorer") || strings.Contains(log, "X-Amz-Signature") {
			t.Error("the log shows a secret")
		}
		if t.Failed() {
			t.Logf("agent's output:\n%s", h.out)
		}
	})
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) exec(database, sql string) string {
	h.t.Helper()
	out, err := h.pg.Exec(h.t.Context(), database, sql)
	must(h.t, err)
	return strings.TrimSpace(out)
}

func (h *host) run(args ...string) (string, int) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), binary, append(args, "--config", h.config)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// start starts the agent and waits until it accepts jobs. It returns its hello.
func (h *host) start() wire.Hello {
	h.t.Helper()
	n := 0
	h.c.Collected(func(x []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
		n = len(x)
	})
	known := strings.Count(h.out.String(), "controllers know this session")
	h.cmd = exec.CommandContext(context.Background(), binary, "run", "--config", h.config)
	h.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, h.env...)
	h.cmd.Stdout, h.cmd.Stderr = h.out, h.out
	must(h.t, h.cmd.Start())
	hello := h.c.AwaitHello(n + 1)
	h.await("the welcome", func() bool { return strings.Count(h.out.String(), "controllers know this session") > known })
	return hello
}

// wait waits for the end of the process and returns its status.
func (h *host) wait() int {
	h.t.Helper()
	timer := time.AfterFunc(control.Patience, func() { _ = h.cmd.Process.Kill() })
	_ = h.cmd.Wait()
	if !timer.Stop() {
		h.t.Fatal("the agent did not end")
	}
	code := h.cmd.ProcessState.ExitCode()
	h.cmd = nil
	return code
}

func (h *host) kill() {
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		h.cmd = nil
	}
}

func (h *host) term() int {
	h.t.Helper()
	must(h.t, h.cmd.Process.Signal(syscall.SIGTERM))
	return h.wait()
}

func (h *host) await(what string, done func() bool) {
	h.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(control.Patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// noTools waits until no dump or restore tool of this host's server runs any more.
func (h *host) noTools() {
	h.t.Helper()
	port := []byte("PGPORT=" + strconv.Itoa(h.pg.Port()) + "\x00")
	h.await("the end of all tools", func() bool {
		procs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, p := range procs {
			if env, err := os.ReadFile(p); err == nil && bytes.Contains(env, port) {
				return false
			}
		}
		return true
	})
}

func (h *host) backupJob(n int64) wire.Job {
	h.t.Helper()
	return h.c.Backup(n, "main", wire.EnginePostgreSQL, "shop", h.codec, 5<<20)
}

func (h *host) backup(n int64) (wire.Attempt, artifact.Statement) {
	h.t.Helper()
	job := h.backupJob(n)
	h.c.Run(job)
	return job.Attempt, h.c.Complete(h.id, h.c.AwaitReport(job.Attempt))
}

func (h *host) restoreJob(n int64, st artifact.Statement, from wire.Attempt, target string) wire.Job {
	h.t.Helper()
	return h.restoreAttempt(wire.Attempt{Job: n, No: 1, Token: wire.NewID()}, st, from, target)
}

func (h *host) restoreAttempt(at wire.Attempt, st artifact.Statement, from wire.Attempt, target string) wire.Job {
	h.t.Helper()
	pub, err := h.id.Public()
	must(h.t, err)
	return wire.Job{Attempt: at, Kind: wire.JobRestore, MaxDurationSeconds: 600, Restore: &wire.RestoreOrder{
		Source: h.c.Source(at, st, from, h.secret, pub.Recipient), Instance: "main", Database: target, Staging: engine.StagingPrefix + at.Token[:8],
	}}
}

func (h *host) databases() string {
	h.t.Helper()
	return h.exec("postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
}

// A real PostgreSQL to S3 and back, by the real program.
func TestAgent_WholeWay(t *testing.T) {
	h := newHost(t)
	if out, code := h.run("version"); code != 0 || !strings.HasPrefix(out, "devflow-agent ") {
		t.Fatalf("%d %s", code, out)
	}
	h.start()
	h.c.AwaitPages(1)
	h.c.Collected(func(_ []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, pages []wire.Inventory) {
		if len(pages[0].Databases) != 2 || pages[0].Databases[1].Name != "shop" || pages[0].Databases[1].SizeBytes == 0 {
			t.Fatalf("%+v", pages[0])
		}
	})
	from, st := h.backup(1)
	if st.Tool != "pg_dump" || st.Metadata.Tables != 1 || st.Parts < 3 || st.Fingerprint == nil || st.Globals == nil {
		t.Fatalf("%+v", st)
	}
	pub, err := h.id.Public()
	must(t, err)
	at := wire.Attempt{Job: 2, No: 1, Token: wire.NewID()}
	h.c.Run(wire.Job{Attempt: at, Kind: wire.JobVerify, MaxDurationSeconds: 60, Verify: &wire.VerifyOrder{
		Level: wire.LevelContent, Source: h.c.Source(at, st, from, h.secret, pub.Recipient), Instance: "main",
	}})
	if r := h.c.AwaitReport(at); r.Outcome != wire.OutcomeVerified {
		t.Fatalf("%+v", r.Failure)
	}
	target := `o'brien; drop "x" 🦀`
	job := h.restoreJob(3, st, from, target)
	h.c.Run(job)
	r := h.c.AwaitReport(job.Attempt)
	if r.Outcome != wire.OutcomeRestored || !r.Restored.Compared || r.Restored.Rows != rows || r.Restored.Tables != 1 {
		t.Fatalf("%+v %+v", r.Failure, r.Restored)
	}
	sum := "SELECT count(*) || md5(string_agg(id || v, ',' ORDER BY id)) FROM t"
	if a, b := h.exec("shop", sum), h.exec(target, sum); a != b {
		t.Fatalf("%s was restored as %s", a, b)
	}
	if code := h.term(); code != 0 {
		t.Fatalf("status %d", code)
	}
}

// FAULTS 1 to 5: killed at each place, the agent leaves no process, starts again, says truly what it still holds, and the
// next attempt works.
func TestAgent_Killed(t *testing.T) {
	h := newHost(t)
	n := int64(0)
	for _, tc := range []struct {
		site string
		held bool // the restarted agent lists the attempt and reports it
	}{
		{"agent.accepted", false},
		{"agent.dump_started", false},
		{"agent.part_acked", false},
		{"agent.all_parts_uploaded", false},
		{"agent.report_sent_before_ack", true},
	} {
		t.Run(tc.site, func(t *testing.T) {
			h.t = t
			marker := filepath.Join(t.TempDir(), "fired")
			h.env = []string{"DEVFLOW_FAILPOINTS=" + tc.site + "=exit@" + marker}
			h.start()
			n++
			job := h.backupJob(n)
			h.order(job)
			if code := h.wait(); code != failpoint.ExitStatus {
				t.Fatalf("status %d", code)
			}
			if _, err := os.Stat(marker); err != nil {
				t.Fatal("the fault did not fire")
			}
			h.noTools()
			before := len(h.c.Reports(job.Attempt))
			hello := h.start()
			if listed := len(hello.Attempts) == 1 && hello.Attempts[0] == job.Attempt; listed != tc.held || len(hello.Attempts) > 1 {
				t.Fatalf("held are %+v", hello.Attempts)
			}
			if tc.held {
				h.await("the report again", func() bool { return len(h.c.Reports(job.Attempt)) == before+1 })
				h.c.Complete(h.id, h.c.Reports(job.Attempt)[before])
			}
			n++
			h.backup(n)
			if code := h.term(); code != 0 {
				t.Fatalf("status %d", code)
			}
			if !tc.held && len(h.c.Reports(job.Attempt)) != 0 {
				t.Fatal("a lost attempt was reported")
			}
		})
	}
	t.Run("SIGKILL during the dump", func(t *testing.T) {
		h.t, h.env = t, nil
		gate := s3kit.NewGate()
		h.c.Proxy.Inject("UploadPart", 0, gate.HoldRequest())
		h.start()
		n++
		h.c.Run(h.backupJob(n))
		<-gate.Arrived()
		h.kill()
		h.noTools()
		gate.Open()
		h.c.Proxy.Reset()
		if hello := h.start(); len(hello.Attempts) != 0 {
			t.Fatalf("held are %+v", hello.Attempts)
		}
		n++
		from, st := h.backup(n)
		h.killedRestores(n, st, from)
	})
	h.t = t
}

// Killed at each step of a backup in the host's own directory, the agent has it whole after its restart, or nothing of it.
func TestAgent_KilledLocal(t *testing.T) {
	h := newHost(t)
	h.c.LocalDir = filepath.Join(t.TempDir(), "backups")
	text, err := os.ReadFile(h.config)
	must(t, err)
	must(t, os.WriteFile(h.config, fmt.Appendf(text, "storage: {local: {dir: %s, min_free: 100MiB}}\n", h.c.LocalDir), 0o600))
	h.codec = wire.Codec{Compression: "zstd", Encryption: "aes-256-cbc"}
	files := func() (n, partial int) {
		must(t, filepath.WalkDir(h.c.LocalDir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				n++
				if strings.HasSuffix(path, ".partial") {
					partial++
				}
			}
			return err
		}))
		return n, partial
	}
	for n, tc := range []struct {
		site        string
		has, unseen int // files at the crash, and those of them without their name
		held        bool
	}{
		{"agent.dump_started", 0, 0, false},
		{"agent.all_parts_uploaded", 1, 1, false},
		{"agent.local_before_rename", 3, 3, true},
		{"agent.local_between_renames", 3, 2, true},
		{"agent.local_after_rename", 3, 0, true},
		{"agent.report_sent_before_ack", 3, 0, true},
	} {
		t.Run(tc.site, func(t *testing.T) {
			h.t = t
			h.env = []string{"DEVFLOW_FAILPOINTS=" + tc.site + "=exit@" + filepath.Join(t.TempDir(), "fired")}
			h.start()
			job := h.c.BackupLocal(int64(n)+1, "main", wire.EnginePostgreSQL, "shop", h.codec)
			h.order(job)
			if code := h.wait(); code != failpoint.ExitStatus {
				t.Fatalf("status %d", code)
			}
			h.noTools()
			if has, unseen := files(); has != tc.has || unseen != tc.unseen {
				t.Fatalf("at the crash there are %d files, %d of them partial; want %d and %d", has, unseen, tc.has, tc.unseen)
			}
			before := len(h.c.Reports(job.Attempt))
			hello := h.start()
			if held := len(hello.Attempts) == 1; held != tc.held || hello.Host.Local == nil {
				t.Fatalf("held are %+v, directory is %+v", hello.Attempts, hello.Host.Local)
			}
			if tc.held {
				h.await("the report", func() bool { return len(h.c.Reports(job.Attempt)) == before+1 })
				st := h.c.Complete(h.id, h.c.Reports(job.Attempt)[before])
				if has, unseen := files(); has != 3 || unseen != 0 {
					t.Fatalf("there are %d files, %d of them partial", has, unseen)
				}
				restore := h.restoreJob(int64(n)+100, st, job.Attempt, "copy")
				h.c.Run(restore)
				if r := h.c.AwaitReport(restore.Attempt); r.Outcome != wire.OutcomeRestored || !r.Restored.Compared {
					t.Fatalf("%+v", r.Failure)
				}
				h.exec("postgres", "DROP DATABASE copy")
			} else if has, _ := files(); has != 0 {
				t.Fatalf("%d files are left", has)
			}
			if code := h.term(); code != 0 {
				t.Fatalf("status %d", code)
			}
			must(t, os.RemoveAll(filepath.Join(h.c.LocalDir, "t")))
		})
	}
	h.t = t
}

// order sends a job without waiting for an answer, which may never come.
func (h *host) order(job wire.Job) {
	h.t.Helper()
	must(h.t, h.c.Conn.PublishRequest(wire.AgentSubject(control.ServerID, wire.VerbRun), "nobody.listens", h.c.Signed(wire.VerbRun, job)))
}

// killedRestores: killed before the rename nothing is left; killed after it the restore is reported.
func (h *host) killedRestores(n int64, st artifact.Statement, from wire.Attempt) {
	h.kill()
	for i, tc := range []struct {
		site      string
		published bool
	}{
		{"agent.restore_before_publish", false},
		{"agent.restore_after_publish", true},
	} {
		marker := filepath.Join(h.t.TempDir(), "fired")
		h.env = []string{"DEVFLOW_FAILPOINTS=" + tc.site + "=exit@" + marker}
		h.start()
		job := h.restoreJob(n+int64(i)+1, st, from, "copy")
		h.order(job)
		if code := h.wait(); code != failpoint.ExitStatus {
			h.t.Fatalf("%s: status %d", tc.site, code)
		}
		hello := h.start()
		if tc.published {
			if len(hello.Attempts) != 1 {
				h.t.Fatalf("%s: held are %+v", tc.site, hello.Attempts)
			}
			if r := h.c.AwaitReport(job.Attempt); r.Outcome != wire.OutcomeRestored || !r.Restored.Compared {
				h.t.Fatalf("%s: %+v", tc.site, r)
			}
			if got := h.databases(); got != "copy shop" {
				h.t.Fatalf("%s: databases are %s", tc.site, got)
			}
		} else {
			if len(hello.Attempts) != 0 || len(h.c.Reports(job.Attempt)) != 0 {
				h.t.Fatalf("%s: held are %+v", tc.site, hello.Attempts)
			}
			if got := h.databases(); got != "shop" {
				h.t.Fatalf("%s: databases are %s", tc.site, got)
			}
		}
		if code := h.term(); code != 0 {
			h.t.Fatalf("%s: status %d", tc.site, code)
		}
	}
}

// FAULTS 79: killed at each step of a restore in place, and of its undo, the agent leaves the target with its old content or the new
// one, and says truly which. The next attempt at the same job brings it to its end.
func TestAgent_KilledInPlace(t *testing.T) {
	h := newHost(t)
	h.start()
	from, st := h.backup(1)
	h.kill()
	h.exec("shop", "DELETE FROM t WHERE id > 10")
	count := func(database string) string { return h.exec(database, "SELECT count(*) FROM t") }
	backup, theirs := strconv.Itoa(rows), "10"
	identity := func() string {
		r := h.c.Inspect(wire.InspectOrder{Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", InPlace: true})
		if r.Failure != nil {
			h.t.Fatal(r.Failure)
		}
		return r.Target.Identity
	}
	for n, tc := range []struct {
		site  string
		held  bool // the restarted agent knows what became of it, and says so
		after bool // the new content is at the target
	}{
		{"agent.accepted", false, false},
		{"agent.restore_before_swap", true, false},
		{"agent.postgres_swap_kept", true, false}, // in the transaction
		{"agent.postgres_swap_committed", true, true},
		{"agent.restore_after_swap", true, true},
		{"agent.restore_swap_reported", true, true},
		{"agent.report_sent_before_ack", true, true},
	} {
		t.Run(tc.site, func(t *testing.T) {
			h.t = t
			h.env = []string{"DEVFLOW_FAILPOINTS=" + tc.site + "=exit@" + filepath.Join(t.TempDir(), "fired")}
			h.start()
			id := int64(100 * (n + 1))
			kept := fmt.Sprintf("%s%d_a", engine.KeptPrefix, id)
			job := h.restoreJob(id, st, from, "shop")
			job.Restore.Staging = fmt.Sprintf("%s%d_a", engine.StagingPrefix, id)
			job.Restore.InPlace = &wire.SwapTerms{Keep: kept, Identity: identity(), Sessions: wire.SessionsEnd}
			h.order(job)
			if code := h.wait(); code != failpoint.ExitStatus {
				t.Fatalf("status %d", code)
			}
			h.noTools()
			before := len(h.c.Reports(job.Attempt))
			hello := h.start()
			if held := len(hello.Attempts) == 1 && hello.Attempts[0] == job.Attempt; held != tc.held || len(hello.Attempts) > 1 {
				t.Fatalf("held are %+v", hello.Attempts)
			}
			if tc.held {
				h.await("the report", func() bool { return len(h.c.Reports(job.Attempt)) > before })
				r := h.c.Reports(job.Attempt)[before]
				if after := r.Outcome == wire.OutcomeRestored && r.Swapped != nil && r.Swapped.State == wire.SwapAfter && r.Restored.Compared; after != tc.after {
					t.Fatalf("%s %+v %+v", r.Outcome, r.Swapped, r.Failure)
				}
			}
			want := theirs
			if tc.after {
				want = backup
			}
			if got := count("shop"); got != want {
				t.Fatalf("the target has %s rows, want %s", got, want)
			}
			if got := h.databases(); strings.Contains(got, engine.StagingPrefix) || strings.Contains(got, kept) != tc.after {
				t.Fatalf("databases are %s", got)
			}
			next := h.restoreAttempt(wire.Attempt{Job: id, No: 2, Token: wire.NewID()}, st, from, "shop")
			next.Restore.Staging, next.Restore.InPlace = job.Restore.Staging, job.Restore.InPlace
			h.c.Run(next)
			if r := h.c.AwaitReport(next.Attempt); r.Outcome != wire.OutcomeRestored || r.Swapped.State != wire.SwapAfter || r.Restored.Rows != rows {
				t.Fatalf("%+v %+v", r.Failure, r.Restored)
			}
			if a, b := count("shop"), count(kept); a != backup || b != theirs {
				t.Fatalf("the target has %s rows, and %s are kept", a, b)
			}
			undo := wire.Job{Attempt: wire.Attempt{Job: id + 1, No: 1, Token: wire.NewID()}, Kind: wire.JobUndo, MaxDurationSeconds: 60, Swap: &wire.SwapOrder{
				Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", Staged: kept,
				Terms: wire.SwapTerms{Keep: fmt.Sprintf("%s%d_a", engine.KeptPrefix, id+1), Identity: identity(), Sessions: wire.SessionsEnd},
			}}
			h.c.Run(undo)
			if r := h.c.AwaitReport(undo.Attempt); r.Outcome != wire.OutcomeSettled || r.Swapped.State != wire.SwapAfter {
				t.Fatalf("%+v", r.Failure)
			}
			if a, b := count("shop"), count(undo.Swap.Terms.Keep); a != theirs || b != backup {
				t.Fatalf("after the undo the target has %s rows, and %s are kept", a, b)
			}
			if out, _ := h.run("check"); !strings.Contains(out, "kept by a restore") || !strings.Contains(out, `DROP DATABASE "`+undo.Swap.Terms.Keep) {
				t.Fatalf("check does not tell what is kept:\n%s", out)
			}
			discard := wire.Job{Attempt: wire.Attempt{Job: id + 2, No: 1, Token: wire.NewID()}, Kind: wire.JobDiscard, MaxDurationSeconds: 60, Discard: &wire.DiscardOrder{
				Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", Kept: undo.Swap.Terms.Keep,
			}}
			h.c.Run(discard)
			if r := h.c.AwaitReport(discard.Attempt); r.Outcome != wire.OutcomeDiscarded || h.databases() != "shop" {
				t.Fatalf("%+v, databases are %s", r.Failure, h.databases())
			}
			if code := h.term(); code != 0 {
				t.Fatalf("status %d", code)
			}
		})
	}
	h.t = t
}

// FAULTS 7: SIGTERM lets a running backup end.
func TestAgent_TermDrains(t *testing.T) {
	h := newHost(t)
	gate := s3kit.NewGate()
	h.c.Proxy.Inject("UploadPart", 0, gate.HoldRequest())
	h.start()
	job := h.backupJob(1)
	h.c.Run(job)
	<-gate.Arrived()
	must(t, h.cmd.Process.Signal(syscall.SIGTERM))
	h.await("the drain", func() bool { return strings.Contains(h.out.String(), "waiting for running jobs") })
	gate.Open()
	if code := h.wait(); code != 0 {
		t.Fatalf("status %d", code)
	}
	h.c.Complete(h.id, h.c.AwaitReport(job.Attempt))
	h.noTools()
}

// A cancelled backup takes its tool with it.
func TestAgent_Cancel(t *testing.T) {
	h := newHost(t)
	gate := s3kit.NewGate()
	h.c.Proxy.Inject("UploadPart", 0, gate.HoldRequest())
	h.start()
	job := h.backupJob(1)
	h.c.Run(job)
	<-gate.Arrived()
	h.c.Command(wire.VerbCancel, wire.Cancel{Attempt: job.Attempt, Reason: "asked for"})
	if r := h.c.AwaitReport(job.Attempt); r.Failure == nil || r.Failure.Code != wire.CodeCancelled {
		t.Fatalf("%+v", r)
	}
	gate.Open()
	h.await("the end of the tool", func() bool {
		return h.exec("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'") == "0"
	})
}

// FAULTS 9, 24: an agent that must not go on says so by its exit status.
func TestAgent_EndsForGood(t *testing.T) {
	h := newHost(t)
	h.start()
	unlock := h.c.Lock()
	h.c.Refuse = func(string, wire.Request) error { return wire.Failf(wire.CodeSuperseded, "newer") }
	unlock()
	must(t, h.c.Conn.Publish(wire.AgentSubject(control.ServerID, wire.VerbRun), []byte("forged"))) // it will speak of it
	if code := h.wait(); code != 3 {
		t.Fatalf("superseded: status %d", code)
	}
	unlock = h.c.Lock()
	h.c.Refuse = nil
	unlock()
	h.start()
	pub, err := h.id.Public()
	must(t, err)
	h.c.Broker.Revoke(pub.NKey)
	if code := h.wait(); code != 4 {
		t.Fatalf("revoked: status %d", code)
	}
}

func TestAgent_CommandLine(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"run", "--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"enroll", "--controller", "https://x"}, 2, "--token"},
		{[]string{"enroll", "--controller", "https://127.0.0.1:1", "--token", "dfe_x"}, 1, "copy all of it"},
		{[]string{"check"}, 1, "login"},
	} {
		out, code := h.run(tc.args...)
		if code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%v: status %d, want %d with %q:\n%s", tc.args, code, tc.code, tc.want, out)
		}
	}
	must(t, os.WriteFile(h.config, []byte("concurency: 3\n"), 0o600))
	if out, code := h.run("run"); code != 1 || !strings.Contains(out, "concurency") || !strings.Contains(out, h.config) {
		t.Errorf("status %d:\n%s", code, out)
	}
}
