package daemon_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/shared/notify"
	"devflowbackup/shared/wire"
)

// manage makes the agent one that a service manager watches, and returns what that is told.
func (a *agent) manage() <-chan string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(a.t, err)
	a.t.Setenv("NOTIFY_SOCKET", path)
	a.t.Setenv("WATCHDOG_USEC", "200000")
	a.t.Setenv("WATCHDOG_PID", "")
	a.supervisor, err = notify.Open()
	must(a.t, err)
	told := make(chan string, 1000)
	go func() {
		defer close(told)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			select {
			case told <- string(b[:n]):
			default: // the manager never holds the agent up
			}
		}
	}()
	a.t.Cleanup(func() { _ = conn.Close() })
	return told
}

// hears waits for a message with that beginning and returns it.
func (a *agent) hears(told <-chan string, begins string) string {
	a.t.Helper()
	deadline := time.After(control.Patience)
	for {
		select {
		case m := <-told:
			if strings.HasPrefix(m, begins) {
				return m
			}
		case <-deadline:
			a.t.Fatalf("the service manager is never told %q", begins)
		}
	}
}

func TestDaemon_ServiceManager(t *testing.T) {
	a := prepare(t)
	told := a.manage()
	a.cfg.Limits.Drain = config.Duration(7 * time.Minute)
	unlock := a.c.Lock()
	a.c.Refuse = func(verb string, _ wire.Request) error {
		if verb == wire.VerbHello {
			return control.ErrSilent
		}
		return nil
	}
	unlock()
	a.launch()
	a.c.AwaitRequests(wire.VerbHello, 2)
	for len(told) > 0 {
		if m := <-told; strings.Contains(m, "READY") {
			t.Fatalf("ready before a controller has answered: %q", m)
		}
	}
	unlock = a.c.Lock()
	a.c.Refuse = nil
	unlock()
	if m := a.hears(told, "READY=1"); !strings.Contains(m, a.id.Installation().ServerName) {
		t.Errorf("told %q, without the server's name", m)
	}
	a.hears(told, "WATCHDOG=1")
	a.stop()
	// More than the seven minutes that running jobs may take.
	if m := a.hears(told, "STOPPING=1"); !strings.Contains(m, "\nEXTEND_TIMEOUT_USEC=455000000\n") {
		t.Errorf("told %q", m)
	}
	must(t, a.ended())
}

// The watchdog is not fed by an agent that has come to a halt, wherever that is.
func TestDaemon_WatchdogFindsHalt(t *testing.T) {
	for what, says := range map[string]string{"lease": "leases were last looked at", "beat": "the last heartbeat was", "command": "a command has been looked at"} {
		t.Run(what, func(t *testing.T) {
			a := prepare(t)
			told := a.manage()
			a.start()
			a.hears(told, "WATCHDOG=1")
			// The loops turn on here, so that a halt lasts only until the next turn: it must be seen before.
			a.await("the missing sign of life", func() bool {
				a.d.Stall(what)
				return strings.Contains(a.log.String(), says)
			})
		})
	}
}
