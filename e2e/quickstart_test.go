package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

// output collects what a running program prints.
type output struct {
	sync.Mutex
	b bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.Lock()
	defer o.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.Lock()
	defer o.Unlock()
	return o.b.String()
}

// quickstart is one run of the program in a directory of its own.
type quickstart struct {
	cmd    *exec.Cmd
	out    *output
	exited chan struct{}
}

func startQuickstart(t *testing.T, dir string, args ...string) *quickstart {
	t.Helper()
	return launchQuickstart(t, dir, nil, args)
}

// onceQuickstart ends by itself.
func onceQuickstart(t *testing.T, dir string) *quickstart {
	t.Helper()
	return launchQuickstart(t, dir, []string{"ONCE=1"}, nil)
}

func launchQuickstart(t *testing.T, dir string, env, args []string) *quickstart {
	t.Helper()
	root, err := s3kit.Root()
	if err != nil {
		t.Fatal(err)
	}
	q := &quickstart{cmd: exec.Command(filepath.Join(root, "bin", "quickstart"), args...), out: &output{}, exited: make(chan struct{})}
	q.cmd.Dir = root
	q.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "DEVFLOW_QUICKSTART_DIR=" + dir}, env...)
	q.cmd.Stdout, q.cmd.Stderr = q.out, q.out
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := q.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = q.cmd.Wait(); close(q.exited) }()
	t.Cleanup(func() {
		_ = q.cmd.Process.Kill()
		<-q.exited
		if t.Failed() {
			t.Logf("quickstart printed:\n%s", q.out)
		}
	})
	return q
}

// until waits until the output holds the text.
func (q *quickstart) until(t *testing.T, ctx context.Context, text string) {
	t.Helper()
	if err := stack.Within(ctx, 90*time.Second, "quickstart prints "+text, func(context.Context) (bool, error) {
		if strings.Contains(q.out.String(), text) {
			return true, nil
		}
		select {
		case <-q.exited:
			return false, stack.Hopeless(errors.New("it has ended"))
		default:
			return false, nil
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// status waits for the end.
func (q *quickstart) status(t *testing.T, ctx context.Context) int {
	t.Helper()
	select {
	case <-q.exited:
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	}
	return q.cmd.ProcessState.ExitCode()
}

func nothingRuns(t *testing.T, ctx context.Context, dir string, limit time.Duration) {
	t.Helper()
	var left []stack.Running
	if err := stack.Within(ctx, limit, "no process is left", func(context.Context) (bool, error) {
		left = stack.ProcessesIn(dir)
		return len(left) == 0, nil
	}); err != nil {
		t.Errorf("%v: %v", err, left)
	}
}

// TestQuickstart runs it as its reader does: killed in the middle, then up to the end and stopped by Ctrl-C, then once more for
// the second run.
func TestQuickstart(t *testing.T) {
	ctx := testContext(t)
	dir, err := stackDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	t.Run("Killed", func(t *testing.T) {
		q := onceQuickstart(t, dir)
		q.until(t, ctx, "Make a project")
		if len(stack.ProcessesIn(dir)) < 4 {
			t.Errorf("too few processes run: %v", stack.ProcessesIn(dir))
		}
		second := onceQuickstart(t, dir)
		if code := second.status(t, ctx); code != 1 || !strings.Contains(second.out.String(), "in use by another quickstart") {
			t.Errorf("a second quickstart in the same directory ends with %d: %s", code, second.out)
		}
		if err := q.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-q.exited
		nothingRuns(t, ctx, dir, 20*time.Second)
	})

	t.Run("StaysUp", func(t *testing.T) {
		q := startQuickstart(t, dir)
		q.until(t, ctx, "the CA above has signed")
		running := stack.ProcessesIn(dir)
		addresses, err := stack.Listeners(append(running, stack.Running{PID: q.cmd.Process.Pid}))
		if err != nil {
			t.Fatal(err)
		}
		if len(addresses) < 6 { // API, NATS, S3, two PostgreSQL, MariaDB
			t.Errorf("it listens on %v only", addresses)
		}
		for _, a := range addresses {
			if !a.Addr().IsLoopback() {
				t.Errorf("it listens on %s, which is not loopback", a)
			}
		}

		text := q.out.String()
		proven(t, text)
		if !regexp.MustCompile(`(?m)^ +multipart +ok +\d+ `).MatchString(text) {
			t.Error("it does not show how the storage was probed")
		}

		signsIn(t, ctx, dir, text)

		// The commands that it suggests work as they stand there.
		root, err := s3kit.Root()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ command, more string }{
			{"devflowctl backup list", ""},
			{"devflowctl backup create shop --wait", ""},
			{"devflowctl backup verify", ""},
			{"devflowctl restore create", ""},
			{"devflowctl backup download", ""},
			{"devflowctl backup show", ""},
			{"PGPASSFILE=", " -Atc 'SELECT count(*) FROM orders'"},
			{"mariadb", " <<< 'SELECT pieces_of(\"ART-00001\")'"},
			{"sqlite3", " 'SELECT count(*) FROM search'"},
		} {
			line := regexp.MustCompile(`(?m)^   (`+regexp.QuoteMeta(c.command)+` ?.*)$`).FindAllStringSubmatch(text, -1)
			source := regexp.MustCompile(`(?m)^   (\. \S+)`).FindStringSubmatch(text)
			if line == nil || source == nil {
				t.Errorf("it does not suggest %q", c.command)
				continue
			}
			suggested := line[len(line)-1][1] + c.more
			cmd := exec.CommandContext(ctx, "bash", "-ec", source[1]+"\n"+suggested)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", suggested, err, out)
			}
		}

		if err := q.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if code := q.status(t, ctx); code != 0 {
			t.Errorf("after Ctrl-C it ends with status %d", code)
		}
		nothingRuns(t, ctx, dir, time.Second)
	})

	t.Run("Again", func(t *testing.T) {
		began := time.Now()
		q := onceQuickstart(t, dir)
		if code := q.status(t, ctx); code != 0 {
			t.Fatalf("it ends with status %d", code)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("the second run took %s", took)
		}
		text := q.out.String()
		proven(t, text)
		nothingRuns(t, ctx, dir, time.Second)
		if _, err := os.Stat(filepath.Join(dir, "recovery")); !os.IsNotExist(err) {
			t.Errorf("the project's key was left in the recovery directory: %v", err)
		}
	})

	t.Run("StepFails", func(t *testing.T) {
		// The S3 server's credentials are not those that the storage knows.
		if err := os.WriteFile(filepath.Join(dir, "s3", "secret-key"), []byte("another-secret-than-before\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		q := startQuickstart(t, dir)
		if code := q.status(t, ctx); code != 1 {
			t.Errorf("it ends with status %d", code)
		}
		for _, want := range []string{"quickstart: devflowctl backup create", "--- the end of", "controller.log"} {
			if !strings.Contains(q.out.String(), want) {
				t.Errorf("it does not say %q", want)
			}
		}
		if strings.Contains(q.out.String(), "proven, in") {
			t.Error("it says that all is proven")
		}
		nothingRuns(t, ctx, dir, time.Second)
	})

	t.Run("Interrupted", func(t *testing.T) {
		q := startQuickstart(t, dir)
		q.until(t, ctx, "Start a controller")
		if err := q.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := q.status(t, ctx); code != 1 {
			t.Errorf("it ends with status %d", code)
		}
		nothingRuns(t, ctx, dir, time.Second)
	})
}

// signsIn opens the console's page, and signs in to it as the last lines say.
func signsIn(t *testing.T, ctx context.Context, dir, text string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^   Console +(https://\S+) +user (\S+), password (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Error("it does not say how to sign in to the console")
		return
	}
	authority := filepath.Join(dir, "controller", "ca.pem")
	page, err := exec.CommandContext(ctx, "curl", "-sSL", "--fail", "--cacert", authority, m[1]).Output()
	if err != nil || !bytes.Contains(page, []byte("<title>")) {
		t.Errorf("the console's page: %v: %.200s", err, page)
	}
	in := `{"name":"` + m[2] + `","password":"` + m[3] + `"}`
	session, err := exec.CommandContext(ctx, "curl", "-sS", "--fail-with-body", "--cacert", authority, "-H", "Content-Type: application/json", "-H", "Origin: "+m[1], "-d", in, m[1]+"/api/v1/session").CombinedOutput()
	if err != nil || !bytes.Contains(session, []byte("csrf_token")) {
		t.Errorf("sign in: %v: %s", err, session)
	}
}

// TestQuickstart_Arguments: it takes none, and says so before it does anything.
func TestQuickstart_Arguments(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-h"}, 0, "usage: quickstart"},
		{[]string{"--help"}, 0, "ONCE=1"},
		{[]string{"-x"}, 2, `"-x" is not understood`},
		{[]string{"shop"}, 2, `"shop" is not understood`},
		{[]string{"-h", "shop"}, 2, `"-h" is not understood`},
		{[]string{""}, 2, "usage: quickstart"},
	} {
		dir := filepath.Join(t.TempDir(), "nothing")
		q := startQuickstart(t, dir, tc.args...)
		if code := q.status(t, ctx); code != tc.status || !strings.Contains(q.out.String(), tc.says) {
			t.Errorf("%q: status %d: %s", tc.args, code, q.out)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%q: it began: %v", tc.args, err)
		}
	}
}

// proven checks the closing table: each engine on each storage, with every row of it proven, and each codec among them.
func proven(t *testing.T, text string) {
	t.Helper()
	_, table, ok := strings.Cut(text, "\nDATABASE ")
	if !ok || !strings.Contains(table, "All of it is proven") {
		t.Error("it ends without its table")
	}
	for _, engine := range []string{"PostgreSQL", "MariaDB", "SQLite"} {
		for _, storage := range []string{"s3", "local"} {
			row := regexp.MustCompile(`(?m)^\w+ +`+engine+` +`+storage+` +\w+, [\w-]+ +[\d.]+ [KM]iB +[0-9a-f]{8}… +([\d.]+ s +){4}([\d,]+) of ([\d,]+)$`).FindAllStringSubmatch(table, -1)
			if len(row) != 1 || row[0][2] != row[0][3] || len(row[0][2]) < len("1,000") {
				t.Errorf("the table has %q for %s on %s", row, engine, storage)
			}
		}
	}
	for _, codec := range []string{" zstd, ", " gzip, ", " none, ", ", age ", ", aes-256-cbc ", ", none "} {
		if !strings.Contains(table, codec) {
			t.Errorf("no backup in the table is made with %q", strings.Trim(codec, ", "))
		}
	}
	for _, step := range []string{
		"age -d ", "| zstd -d", "| gunzip", "devflowctl key derive ", "openssl enc -d -aes-256-cbc -K $KEY -iv $IV | gunzip", "pg_restore ", "| mariadb ", "$ sqlite3 ",
	} {
		if !strings.Contains(text, step) {
			t.Errorf("it does not show %q", step)
		}
	}
	if n := strings.Count(text, "read by plain SQL, equal those of"); n != 2*6 {
		t.Errorf("%d copies are compared, not twelve", n)
	}
}
