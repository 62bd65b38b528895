package notify_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/shared/notify"
)

// manager is a service manager's end of the socket.
func manager(t *testing.T, watchdog time.Duration) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
		t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	}
	return conn
}

func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatalf("the manager hears nothing: %v", err)
	}
	return string(b[:n])
}

func open(t *testing.T) *notify.Supervisor {
	t.Helper()
	m, err := notify.Open()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSupervisor_Messages(t *testing.T) {
	conn := manager(t, time.Minute)
	m := open(t)
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still set, to %q: children would get it", name, v)
		}
	}
	if m.Watchdog() != time.Minute {
		t.Errorf("watchdog is %s", m.Watchdog())
	}
	for _, c := range []struct {
		say  func() error
		want string
	}{
		{func() error { return m.Ready("at work") }, "READY=1\nSTATUS=at work"},
		{func() error { return m.Status("two\nlines READY=1") }, "STATUS=two lines READY=1"},
		{func() error { return m.Stopping(90*time.Second, "draining") }, "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\nSTATUS=draining"},
	} {
		if err := c.say(); err != nil {
			t.Fatal(err)
		}
		if got := next(t, conn); got != c.want {
			t.Errorf("said %q, want %q", got, c.want)
		}
	}
}

// A manager takes RELOADING for real only with the time of its own clock, which tells it from an older one.
func TestSupervisor_Reloading(t *testing.T) {
	conn := manager(t, 0)
	m := open(t)
	var last int64
	for range 2 {
		if err := m.Reloading(); err != nil {
			t.Fatal(err)
		}
		usec, ok := strings.CutPrefix(next(t, conn), "RELOADING=1\nMONOTONIC_USEC=")
		n, err := strconv.ParseInt(usec, 10, 64)
		if !ok || err != nil || n < last || n <= 0 {
			t.Fatalf("said %q, %v", usec, err)
		}
		last = n
	}
	if err := (*notify.Supervisor)(nil).Reloading(); err != nil {
		t.Error(err)
	}
}

func TestOpen_Nobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m := open(t)
	if m != nil {
		t.Fatal("there is a manager")
	}
	m.Watch(t.Context(), func(context.Context) error { t.Error("asked"); return nil }, func(error) {})
	if err := errors.Join(m.Ready(""), m.Status(""), m.Stopping(0, "")); err != nil {
		t.Error(err)
	}
}

func TestOpen_Abstract(t *testing.T) {
	name := "@devflow-notify-" + strconv.Itoa(os.Getpid())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := open(t).Ready(""); err != nil {
		t.Fatal(err)
	}
	if got := next(t, conn); !strings.HasPrefix(got, "READY=1") {
		t.Errorf("said %q", got)
	}
}

func TestOpen_Wrong(t *testing.T) {
	for _, c := range []struct{ socket, usec string }{{"relative", ""}, {"/run/x", "soon"}, {"/run/x", "-1"}} {
		t.Setenv("NOTIFY_SOCKET", c.socket)
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", "")
		if _, err := notify.Open(); err == nil {
			t.Errorf("%+v is taken", c)
		}
		if os.Getenv("NOTIFY_SOCKET") != "" {
			t.Errorf("%+v: the socket is still in the environment", c)
		}
	}
}

// A watchdog that is another process's does not count for this one.
func TestOpen_OtherProcess(t *testing.T) {
	manager(t, time.Minute)
	t.Setenv("WATCHDOG_PID", "1")
	if d := open(t).Watchdog(); d != 0 {
		t.Errorf("watchdog is %s", d)
	}
}

func TestSupervisor_WatchOnlyWhileAlive(t *testing.T) {
	conn := manager(t, 200*time.Millisecond)
	m := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	var dead, hangs atomic.Bool
	complaints := make(chan error, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Watch(ctx, func(context.Context) error {
			if dead.Load() {
				return errors.New("stuck")
			}
			if hangs.Load() {
				select {} // takes no notice of its context
			}
			return nil
		}, func(err error) { complaints <- err })
	}()
	for range 3 {
		if got := next(t, conn); got != "WATCHDOG=1" {
			t.Fatalf("said %q", got)
		}
	}
	dead.Store(true)
	if err := <-complaints; err.Error() != "stuck" {
		t.Errorf("complained of %v", err)
	}
	if err := <-complaints; err.Error() != "stuck" {
		t.Errorf("complained of %v", err)
	}
	// What was sent before is read; after that there must be silence for longer than the manager waits.
	for {
		if err := conn.SetReadDeadline(time.Now().Add(400 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(make([]byte, 100))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil || n == 0 {
			t.Fatal(err)
		}
		if len(complaints) > 3 {
			t.Fatal("a daemon that is stuck gives signs of life")
		}
	}
	dead.Store(false)
	if got := next(t, conn); got != "WATCHDOG=1" {
		t.Fatalf("said %q", got)
	}
	for len(complaints) > 0 {
		<-complaints
	}
	hangs.Store(true)
	if err := <-complaints; err == nil {
		t.Error("a check that hangs is no complaint")
	}
	cancel()
	<-done
}

// A manager that is gone is an error, and nothing waits for it.
func TestSupervisor_Gone(t *testing.T) {
	conn := manager(t, 0)
	m := open(t)
	_ = conn.Close()
	_ = os.Remove(os.Getenv("NOTIFY_SOCKET"))
	if err := m.Ready(""); err == nil {
		t.Error("told nobody, without an error")
	}
}
