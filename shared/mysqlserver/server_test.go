package mysqlserver_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/shared/mysqlserver"
)

// childVariable makes this test binary a process that starts a server and waits to be killed.
const childVariable = "DEVFLOW_MYSQLSERVER_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		s, err := mysqlserver.Start(context.Background(), mysqlserver.Options{Dir: dir})
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString(strconv.Itoa(s.Pid()) + "\n")
		<-s.Done()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mysqlserver-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, o mysqlserver.Options) *mysqlserver.Server {
	t.Helper()
	s, err := mysqlserver.Start(newContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func exec1(t *testing.T, s *mysqlserver.Server, sql string) string {
	t.Helper()
	out, err := s.Exec(newContext(t), "", sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestServer(t *testing.T) {
	dir := newDir(t)
	s := start(t, mysqlserver.Options{Dir: dir, Settings: map[string]string{"max-connections": "33"}})
	if got := exec1(t, s, "SELECT @@max_connections; SELECT 'a b', 2"); got != "33\na b\t2" {
		t.Errorf("%q", got)
	}
	if _, err := mysqlserver.Start(newContext(t), mysqlserver.Options{Dir: dir}); !errors.Is(err, mysqlserver.ErrInUse) {
		t.Errorf("second server: %v", err)
	}
	for name, mode := range map[string]os.FileMode{"password": 0o600, "init.sql": 0o600, "client.cnf": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(s.Pid()) + "/cmdline")
	if err != nil || strings.Contains(string(cmdline), s.Password().Reveal()) {
		t.Errorf("the password is an argument: %v", err)
	}
	if _, err := s.Exec(newContext(t), "", "SELECT nonsense"); err == nil {
		t.Error("wrong SQL is no error")
	}

	exec1(t, s, "CREATE DATABASE kept; CREATE TABLE kept.t (n int); INSERT INTO kept.t VALUES (1), (2)")
	port, pid, password := s.Port(), s.Pid(), s.Password()
	for _, immediate := range []bool{false, true} {
		if err := s.Restart(newContext(t), immediate); err != nil {
			t.Fatal(err)
		}
		if s.Port() != port || s.Pid() == pid {
			t.Errorf("port %d, pid %d after the restart", s.Port(), s.Pid())
		}
		if got := exec1(t, s, "SELECT count(*) FROM kept.t"); got != "2" {
			t.Errorf("%q after the restart", got)
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Restart(newContext(t), false); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(newContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(newContext(t), false); !errors.Is(err, mysqlserver.ErrStopped) {
		t.Errorf("restart of a stopped server: %v", err)
	}
	again := start(t, mysqlserver.Options{Dir: dir})
	if got := exec1(t, again, "SELECT count(*) FROM kept.t"); got != "2" || again.Password() != password {
		t.Errorf("%q after a new start", got)
	}
}

func TestServer_CreateUser(t *testing.T) {
	s := start(t, mysqlserver.Options{Dir: newDir(t)})
	if err := s.CreateUser(newContext(t), "o'brien", `p'a"s\s#w`); err != nil {
		t.Fatal(err)
	}
	if err := s.Grant(newContext(t), "SELECT", "*.*", "o'brien"); err != nil {
		t.Fatal(err)
	}
	if got := exec1(t, s, `SELECT count(*) FROM mysql.user WHERE user = 'o\'brien' AND select_priv = 'Y'`); got != "2" {
		t.Errorf("%q accounts", got)
	}
	if got := exec1(t, s, `SELECT count(*) FROM mysql.user WHERE user = ''`); got != "0" {
		t.Errorf("%q accounts without a name", got)
	}
	if err := s.CreateUser(newContext(t), "o'brien", "canary"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

func TestServer_Replicate(t *testing.T) {
	source := start(t, mysqlserver.Options{Dir: newDir(t), Settings: map[string]string{"server-id": "1", "log-bin": "binlog"}})
	replica := start(t, mysqlserver.Options{Dir: newDir(t), Settings: map[string]string{"server-id": "2"}})
	if err := replica.Replicate(newContext(t), source); err != nil {
		t.Fatal(err)
	}
	exec1(t, source, "CREATE DATABASE shop; CREATE TABLE shop.t (n int); INSERT INTO shop.t VALUES (7)")
	if err := replica.CatchUp(newContext(t), source); err != nil {
		t.Fatal(err)
	}
	if got := exec1(t, replica, "SELECT n FROM shop.t"); got != "7" {
		t.Errorf("%q", got)
	}
}

// TestServer_DiesWithItsParent: the kernel tells the server to stop, and the directory can be used again.
func TestServer_DiesWithItsParent(t *testing.T) {
	dir := newDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = []string{childVariable + "=" + dir}
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	s := start(t, mysqlserver.Options{Dir: dir})
	// A process that nobody has waited for yet has no command line.
	if cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil && len(cmdline) > 0 {
		t.Errorf("the server still runs: %q", cmdline)
	}
	exec1(t, s, "SELECT 1")
}
