package unit_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"devflowbackup/shared/unit"
)

var daemons = []struct {
	name, verb, config string
	exposure           float64 // at most
}{
	{"devflow-agent", "run", "/etc/devflow/agent.yaml", 4.5},
	{"devflow-controller", "serve", "/etc/devflow/controller.yaml", 3.0},
}

func place(name, verb, config string) unit.Place {
	p := unit.Place{Program: "/usr/bin/" + name, Verb: verb, Config: config, User: name, Group: name, State: "/var/lib/" + name}
	if verb == "run" {
		p.Needs = "identity.json"
	}
	return p
}

func text(t *testing.T, name string, p unit.Place) string {
	t.Helper()
	s, err := unit.Text(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Where the packages install to, the unit is theirs.
func TestText_AsPackaged(t *testing.T) {
	for _, d := range daemons {
		want, err := unit.Packaged(d.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, d.name, place(d.name, d.verb, d.config)); got != want {
			t.Errorf("%s differs from the packaged unit:\n%s", d.name, got)
		}
	}
}

func TestText_ElsewhereAndAsSomebodyElse(t *testing.T) {
	got := text(t, "devflow-agent", unit.Place{
		Program: "/opt/dev flow/devflow-agent", Verb: "run", Config: "/srv/50%/a.yaml", User: "backup", Group: "staff",
		State: "/srv/state", Writes: []string{"/srv/my files", "/data"}, Needs: "identity.json",
	})
	for _, line := range []string{
		`ExecStart="/opt/dev flow/devflow-agent" run --config /srv/50%%/a.yaml`,
		`ExecReload="/opt/dev flow/devflow-agent" reload --pid $MAINPID --config /srv/50%%/a.yaml`,
		"User=backup", "Group=staff", "ConditionPathExists=/srv/state/identity.json",
		`ReadWritePaths=-/srv/state "-/srv/my files" -/data`, "ProtectHome=yes",
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("misses %s", line)
		}
	}
	if strings.Contains(got, "\nStateDirectory") || strings.Contains(got, "/var/lib/devflow-agent") {
		t.Error("still names the default state directory")
	}
	p := place("devflow-agent", "run", "/etc/devflow/agent.yaml")
	p.Writes = []string{"/home/shop/db"}
	if got := text(t, "devflow-agent", p); !strings.Contains(got, "\nProtectHome=no\n") {
		t.Error("what lies below /home cannot be reached")
	}
}

func TestText_Refuses(t *testing.T) {
	for _, path := range []string{"relative", "/a\nUser=root", "/a/{{Path}}", ""} {
		p := place("devflow-agent", "run", "/etc/devflow/agent.yaml")
		p.Program = path
		if s, err := unit.Text("devflow-agent", p); err == nil {
			t.Errorf("%q is taken:\n%s", path, s)
		}
		p = place("devflow-agent", "run", "/etc/devflow/agent.yaml")
		p.Writes = []string{path}
		if _, err := unit.Text("devflow-agent", p); err == nil {
			t.Errorf("%q is taken as a directory to write to", path)
		}
	}
	if _, err := unit.Text("cron", place("cron", "run", "/x")); err == nil {
		t.Error("a unit that there is not")
	}
}

var (
	exposure = regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`)
	// systemd before 254 does not know these, and says so.
	newer = regexp.MustCompile(`(?m)^.*Unknown key( name)? '(RestartSteps|RestartMaxDelaySec)'.*\n`)
)

// analyze runs systemd-analyze, which needs no running systemd, on a unit whose program exists.
func analyze(t *testing.T, name, text string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".service")
	text = regexp.MustCompile(`(ExecStart|ExecReload)=\S+`).ReplaceAllString(text, "$1=/bin/true")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", append(args, path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", args, err, out)
	}
	return newer.ReplaceAllString(string(out), "")
}

func TestUnits_Verify(t *testing.T) {
	for _, d := range daemons {
		p := place(d.name, d.verb, d.config)
		elsewhere := p
		elsewhere.State, elsewhere.Writes = "/srv/state", []string{"/srv/a b", "/data"}
		for _, p := range []unit.Place{p, elsewhere} {
			if out := analyze(t, d.name, text(t, d.name, p), "verify", "--man=no"); out != "" {
				t.Errorf("%s: %s", d.name, out)
			}
		}
	}
	// What is wrong is found: the test can fail.
	s := strings.Replace(text(t, "devflow-agent", place("devflow-agent", "run", "/x")), "ProtectHome=yes", "ProtectHome=perhaps", 1)
	if out := analyze(t, "devflow-agent", s, "verify", "--man=no"); !strings.Contains(out, "protect home") {
		t.Errorf("a mistake is not found: %q", out)
	}
}

func TestUnits_Exposure(t *testing.T) {
	for _, d := range daemons {
		out := analyze(t, d.name, text(t, d.name, place(d.name, d.verb, d.config)), "security", "--offline=true", "--no-pager")
		m := exposure.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no exposure in:\n%s", out)
		}
		if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > d.exposure {
			t.Errorf("%s: exposure %s, at most %.1f:\n%s", d.name, m[1], d.exposure, out)
		} else {
			t.Logf("%s: exposure %s", d.name, m[1])
		}
	}
}

// A service that a package has brought is left alone.
func TestDaemon_Packaged(t *testing.T) {
	for _, dir := range []string{"/usr/lib/systemd/system", "/lib/systemd/system"} {
		root := t.TempDir()
		if err := os.MkdirAll(root+dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+dir+"/devflow-agent.service", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(t.TempDir(), "none", "agent.yaml")
		d := unit.Daemon{Name: "devflow-agent", Short: "agent", Verb: "run"}.In(root)
		var out bytes.Buffer
		if err := d.Install(t.Context(), unit.Request{Config: config}, &out); !errors.Is(err, unit.ErrPackaged) || !strings.Contains(err.Error(), dir) {
			t.Errorf("install: %v", err)
		}
		if err := d.Uninstall(&out); !errors.Is(err, unit.ErrPackaged) {
			t.Errorf("uninstall: %v", err)
		}
		if _, err := os.Stat(filepath.Dir(config)); err == nil || out.Len() > 0 {
			t.Errorf("something was done: %s", out.String())
		}
	}
}

// Without systemd, status still tells which process works on the state directory.
func TestDaemon_StatusByLock(t *testing.T) {
	state := t.TempDir()
	d := unit.Daemon{Name: "devflow-unit-test", Short: "test", Verb: "run", Read: func(string) (string, []string, error) { return state, nil, nil }}
	var out bytes.Buffer
	if err := d.Status("/etc/x.yaml", &out); !errors.Is(err, unit.ErrNotRunning) || !strings.Contains(out.String(), "none works on "+state) {
		t.Errorf("%v\n%s", err, out.String())
	}
	f, err := os.OpenFile(filepath.Join(state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if pid, err := unit.Holder(f.Name()); pid != 0 || err != nil {
		t.Errorf("nobody's lock is held by %d (%v)", pid, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := d.Status("/etc/x.yaml", &out); err != nil || !strings.Contains(out.String(), strconv.Itoa(os.Getpid())+" works on "+state) {
		t.Errorf("%v\n%s", err, out.String())
	}
	d.Read = func(string) (string, []string, error) { return "", nil, errors.New("unreadable") }
	out.Reset()
	if err := d.Status("/etc/x.yaml", &out); !errors.Is(err, unit.ErrNotRunning) || !strings.Contains(out.String(), "unreadable") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Whatever runs on the state directory is told by a signal, and a mistake in the configuration is told to whoever asks.
func TestDaemon_Reload(t *testing.T) {
	state := t.TempDir()
	d := unit.Daemon{Name: "devflow-unit-test", Short: "test", Verb: "run", Read: func(string) (string, []string, error) { return state, nil, nil }}
	if err := d.Reload("/etc/x.yaml", 0); err == nil || !strings.Contains(err.Error(), "works on "+state) {
		t.Errorf("nobody is there: %v", err)
	}
	f, err := os.OpenFile(filepath.Join(state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	hangup := make(chan os.Signal, 2)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for _, pid := range []int{0, os.Getpid()} {
		if err := d.Reload("/etc/x.yaml", pid); err != nil {
			t.Fatal(err)
		}
		select {
		case <-hangup:
		case <-time.After(10 * time.Second):
			t.Fatal("no signal has come")
		}
	}
	d.Read = func(string) (string, []string, error) { return "", nil, errors.New("line 3") }
	if err := d.Reload("/etc/x.yaml", os.Getpid()); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("a mistake: %v", err)
	}
	if len(hangup) > 0 {
		t.Error("the program was told to read a configuration with a mistake")
	}
}
