package pgserver_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/pgkit"
)

// A process started with childDir in its environment starts a server there, says so, and waits to be killed.
const childDir = "PGSERVER_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		s, err := pgserver.Start(context.Background(), pgserver.Options{Dir: dir})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("pid", s.Pid(), "port", s.Port())
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestStart_keepsDataAndRestarts(t *testing.T) {
	dir := tempDir(t)
	s := start(t, pgserver.Options{Dir: dir, Durable: true, Settings: map[string]string{"work_mem": "7MB"}})
	exec1(t, s, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
	if got := exec1(t, s, "SHOW work_mem"); got != "7MB" {
		t.Errorf("work_mem = %s", got)
	}
	if got := exec1(t, s, "SHOW fsync"); got != "on" {
		t.Errorf("durable server has fsync %s", got)
	}
	port, password := s.Port(), s.Password()
	for _, immediate := range []bool{false, true} {
		pid := s.Pid()
		if err := s.Restart(t.Context(), immediate); err != nil {
			t.Fatal(err)
		}
		if s.Pid() == pid || s.Port() != port {
			t.Errorf("after restart: process %d → %d, port %d → %d", pid, s.Pid(), port, s.Port())
		}
		if got := exec1(t, s, "SELECT n FROM kept"); got != "42" {
			t.Fatalf("kept = %q", got)
		}
	}
	exec1(t, s, "INSERT INTO kept VALUES (43)")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), "postgres", "SELECT 1"); err == nil {
		t.Fatal("a killed server answers")
	}
	if err := s.Restart(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := exec1(t, s, "SELECT sum(n) FROM kept"); got != "85" {
		t.Fatalf("after a kill: %q", got)
	}
	stop(t, s)
	stop(t, s)
	if err := s.Restart(t.Context(), false); !errors.Is(err, pgserver.ErrStopped) {
		t.Errorf("restart of a stopped server: %v", err)
	}

	again := start(t, pgserver.Options{Dir: dir})
	if again.Password() != password {
		t.Error("another password after a new start")
	}
	if got := exec1(t, again, "SELECT sum(n) FROM kept"); got != "85" {
		t.Fatalf("after a new start: %q", got)
	}
	if got := exec1(t, again, "SHOW fsync"); got != "off" {
		t.Errorf("fast server has fsync %s", got)
	}
}

func TestStart_secondOnOneDirectoryIsRefused(t *testing.T) {
	dir := tempDir(t)
	s := start(t, pgserver.Options{Dir: dir})
	begin := time.Now()
	_, err := pgserver.Start(t.Context(), pgserver.Options{Dir: dir})
	if !errors.Is(err, pgserver.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second start: %v", err)
	}
	if time.Since(begin) > 5*time.Second {
		t.Errorf("refused after %s only", time.Since(begin))
	}
	exec1(t, s, "SELECT 1")
}

// A foreign server on our data directory, here one that pg_ctl would have started, is never touched.
func TestStart_foreignServerIsRefused(t *testing.T) {
	dir := tempDir(t)
	stop(t, start(t, pgserver.Options{Dir: dir}))
	// Any process whose working directory is the data directory counts.
	foreign := exec.Command("sleep", "300")
	foreign.Dir = filepath.Join(dir, "data")
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = foreign.Process.Kill(); _ = foreign.Wait() })
	want := errors.New("the test waited long enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, want)
	defer cancel()
	if _, err := pgserver.Start(ctx, pgserver.Options{Dir: dir}); !errors.Is(err, want) {
		t.Fatalf("start beside a foreign process: %v", err)
	}
	_ = foreign.Process.Kill()
	_ = foreign.Wait()
	start(t, pgserver.Options{Dir: dir})
}

func TestStart_stalePidFile(t *testing.T) {
	dir := tempDir(t)
	stop(t, start(t, pgserver.Options{Dir: dir}))
	// A process of the server's user that has the number of the old server by chance.
	other := exec.Command("sleep", "300")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner(t, filepath.Join(dir, "data")), Gid: 65534}}
	other.Dir = "/"
	if os.Geteuid() != 0 {
		other.SysProcAttr = nil
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	stale := fmt.Sprintf("%d\n%s\n1700000000\n5432\n\n127.0.0.1\n  1 1\nready   \n", other.Process.Pid, filepath.Join(dir, "data"))
	if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, pgserver.Options{Dir: dir})
	exec1(t, s, "SELECT 1")
}

func TestStart_halfMadeDirectoryIsRepaired(t *testing.T) {
	dir := tempDir(t)
	leftover := filepath.Join(dir, "data.new-123")
	if err := os.MkdirAll(filepath.Join(leftover, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(leftover, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, pgserver.Options{Dir: dir})
	exec1(t, s, "SELECT 1")
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished directory is still there: %v", err)
	}
}

func TestStart_canceled(t *testing.T) {
	dir := tempDir(t)
	want := errors.New("not now")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(want)
	if _, err := pgserver.Start(ctx, pgserver.Options{Dir: dir}); !errors.Is(err, want) {
		t.Fatalf("start: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a data directory was made: %v", err)
	}
	start(t, pgserver.Options{Dir: dir})
}

func TestStart_errorsName(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port

	lost := tempDir(t)
	stop(t, start(t, pgserver.Options{Dir: lost}))
	if err := os.Remove(filepath.Join(lost, "password")); err != nil {
		t.Fatal(err)
	}
	other := tempDir(t)
	if err := os.MkdirAll(filepath.Join(other, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(other, "data"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	old := tempDir(t)
	stop(t, start(t, pgserver.Options{Dir: old}))
	if err := os.WriteFile(filepath.Join(old, "data", "PG_VERSION"), []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		opts pgserver.Options
		want []string
	}{
		"taken port":     {pgserver.Options{Dir: tempDir(t), Port: port}, []string{"Address already in use", strconv.Itoa(port)}},
		"bad setting":    {pgserver.Options{Dir: tempDir(t), Settings: map[string]string{"no_such": "1"}}, []string{"no_such"}},
		"no directory":   {pgserver.Options{}, []string{"directory"}},
		"lost password":  {pgserver.Options{Dir: lost}, []string{lost + "/password", "put it back"}},
		"foreign files":  {pgserver.Options{Dir: other}, []string{other + "/data", "move it away"}},
		"missing binary": {pgserver.Options{Dir: old}, []string{"postgresql-7", "install"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := pgserver.Start(t.Context(), c.opts)
			if err == nil {
				stop(t, s)
				t.Fatal("started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
		})
	}
}

func TestStart_closedParent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: the server runs as ourselves and reaches what we reach")
		return
	}
	closed := filepath.Join(tempDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := pgserver.Start(t.Context(), pgserver.Options{Dir: filepath.Join(closed, "a", "b")})
	if err == nil || !strings.Contains(err.Error(), "directory "+closed+" (mode 0700)") || !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Fatalf("start below a closed directory: %v", err)
	}
}

func TestStart_longPath(t *testing.T) {
	dir := filepath.Join(tempDir(t), strings.Repeat("long", 25))
	s := start(t, pgserver.Options{Dir: dir})
	if !strings.HasPrefix(s.SocketDir(), "/tmp/") {
		t.Errorf("socket in %s", s.SocketDir())
	}
	exec1(t, s, "SELECT 1")
	stop(t, s)
	if _, err := os.Stat(s.SocketDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket directory is left: %v", err)
	}
}

// Nobody comes in without the password, on the loopback interface or the socket; the password is in no argument, no
// environment and no log, and only we can read its file.
func TestServer_asksForThePassword(t *testing.T) {
	var log lockedBuffer
	s := start(t, pgserver.Options{Dir: tempDir(t), Log: &log})
	for _, host := range []string{s.Host(), s.SocketDir()} {
		for _, c := range []struct{ password, want string }{
			{"", "no password supplied"}, {"wrong", "password authentication failed"}, {s.Password().Reveal(), ""},
		} {
			cmd := exec.Command(filepath.Join(s.Bin().Dir, "psql"), "-X", "-w", "-c", "SELECT 1")
			cmd.Env = []string{"PGHOST=" + host, "PGPORT=" + strconv.Itoa(s.Port()), "PGUSER=postgres", "PGDATABASE=postgres", "PGPASSWORD=" + c.password}
			out, err := cmd.CombinedOutput()
			if (err == nil) != (c.want == "") || !strings.Contains(string(out), c.want) {
				t.Errorf("host %s, password %q: %v: %s", host, c.password, err, out)
			}
		}
	}
	if err := s.CreateRole(t.Context(), "postgres", "canary-role"); err == nil || strings.Contains(err.Error(), "canary-role") {
		t.Errorf("create an existing role: %v", err)
	}
	for _, pid := range serverProcesses(t, s) {
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil {
				continue // a backend that has ended
			}
			if bytes.Contains(b, []byte(s.Password().Reveal())) {
				t.Errorf("the password is in /proc/%d/%s", pid, file)
			}
		}
	}
	if text := log.String(); strings.Contains(text, s.Password().Reveal()) || strings.Contains(text, "canary-role") || !strings.Contains(text, "ready to accept") {
		t.Errorf("log: %s", text)
	}
	if os.Geteuid() == 0 {
		if uid := owner(t, fmt.Sprintf("/proc/%d", s.Pid())); uid == 0 {
			t.Error("the server runs as root")
		}
	}
}

func TestServer_rolesAndDatabases(t *testing.T) {
	s := start(t, pgserver.Options{Dir: tempDir(t)})
	const role, database, password = `o'brien "x"`, `host=evil; drop "x" 🦀`, `p:a\s's@/?`
	if err := s.CreateRole(t.Context(), role, password); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateDatabase(t.Context(), database, role); err != nil {
		t.Fatal(err)
	}
	got, err := s.Exec(t.Context(), database, "SELECT current_database(), pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
	if err != nil || got != database+"|"+role {
		t.Fatalf("%q, %v", got, err)
	}
	out, err := exec.Command(filepath.Join(s.Bin().Dir, "psql"), "-XAtw", "-c", "SELECT current_user", s.UserDSN(role, password, database).Reveal()).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != role {
		t.Fatalf("log in as %s: %v: %s", role, err, out)
	}
	if err := s.DropDatabase(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), database, "SELECT 1"); err == nil {
		t.Fatal("the database is still there")
	}
}

func TestServer_Done(t *testing.T) {
	s := start(t, pgserver.Options{Dir: tempDir(t)})
	done := s.Done()
	select {
	case <-done:
		t.Fatal("done while running")
	default:
	}
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a killed server is not noticed")
	}
}

// A killed parent leaves no process, and the next start on the directory works at once.
func TestServer_parentKilled(t *testing.T) {
	dir := tempDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid, port int
	if _, err := fmt.Sscanf(line, "pid %d port %d", &pid, &port); err != nil {
		t.Fatalf("child says %q", line)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the server does not run: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s := start(t, pgserver.Options{Dir: dir})
	exec1(t, s, "SELECT 1")
	stop(t, s)
	await(t, "the orphan to end", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
	if left := processesIn(t, dir); len(left) > 0 {
		t.Fatalf("processes %v are left", left)
	}
}

func TestPgkit_Start(t *testing.T) {
	var dir string
	t.Run("inner", func(t *testing.T) {
		s := pgkit.Start(t, func(o *pgserver.Options) { dir = o.Dir })
		if got := exec1(t, s, "SHOW fsync"); got != "off" {
			t.Errorf("fsync = %s", got)
		}
	})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

// zombie tells whether a process has ended and only waits for its parent, which in a container may never ask.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			found = append(found, link)
		}
	}
	return found
}

func serverProcesses(t *testing.T, s *pgserver.Server) []int {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.Pid(), s.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{s.Pid()}
	for _, field := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) < 3 {
		t.Fatalf("processes %v: more were expected", pids)
	}
	return pids
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *pgserver.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func exec1(t *testing.T, s *pgserver.Server, sql string) string {
	t.Helper()
	out, err := s.Exec(t.Context(), "postgres", sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
