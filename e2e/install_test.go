package e2e_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"devflowbackup/e2e/stack"
)

// installWorld is a controller with the plain program of the agent as its packages.
type installWorld struct {
	*stack.Stack
	controller *stack.Controller
	ctl        *stack.Client
	packages   string
	host       *stack.Host // on which nothing may be installed

	mirror *httptest.Server // where files come from
	sync.Mutex
	secrets []string // what no command line may hold while a file is fetched
	leaked  []string
	fetched int
	damage  bool
}

func newInstallWorld(t *testing.T, ctx context.Context) *installWorld {
	t.Helper()
	dir, err := stackDir()
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.New(stack.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stopStack(dir, s); err != nil {
			t.Error(err)
		}
	})
	showLogs(t, s)
	w := &installWorld{Stack: s, packages: filepath.Join(dir, "packages")}
	w.pack(t)
	w.mirror = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.mirror.Close)
	extra := map[string]any{"packages": map[string]any{"dir": w.packages, "url": w.mirror.URL + "/mirror"}}
	if w.controller, err = s.NewController("controller", stack.ControllerOptions{Timing: stack.Quick(), Extra: extra}); err != nil {
		t.Fatal(err)
	}
	if err := w.controller.Start(ctx); err != nil {
		t.Fatal(err)
	}
	w.ctl = w.controller.Admin()
	if w.host, err = s.NewHost("bare"); err != nil {
		t.Fatal(err)
	}
	return w
}

// pack makes the file that hosts without a package manager take, as scripts/packages.sh does.
func (w *installWorld) pack(t *testing.T) {
	t.Helper()
	program, err := os.ReadFile(w.Program("devflow-agent"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(w.packages, 0o755); err != nil {
		t.Fatal(err)
	}
	name := "devflow-agent-9.9.9-linux-" + runtime.GOARCH + ".tar.gz"
	f, err := os.Create(filepath.Join(w.packages, name))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	z, _ := gzip.NewWriterLevel(both{f, sum}, gzip.BestSpeed)
	a := tar.NewWriter(z)
	if err := a.WriteHeader(&tar.Header{Name: "devflow-agent-9.9.9/devflow-agent", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(program); err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{a, z, f} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := stack.WriteFile(filepath.Join(w.packages, "SHA256SUMS"), hex.EncodeToString(sum.Sum(nil))+"  "+name+"\n", 0o644); err != nil {
		t.Fatal(err)
	}
}

// both writes to two.
type both struct {
	a, b interface{ Write(p []byte) (int, error) }
}

func (w both) Write(p []byte) (int, error) {
	if n, err := w.a.Write(p); err != nil {
		return n, err
	}
	return w.b.Write(p)
}

// serve is the mirror. While a host fetches, it looks at the command lines of all processes.
func (w *installWorld) serve(rw http.ResponseWriter, r *http.Request) {
	w.Lock()
	defer w.Unlock()
	w.fetched++
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, _ := os.ReadFile(file)
		for _, s := range w.secrets {
			if strings.Contains(string(line), s) {
				w.leaked = append(w.leaked, strings.ReplaceAll(string(line), "\x00", " "))
			}
		}
	}
	if w.damage {
		fmt.Fprint(rw, "something else")
		return
	}
	http.StripPrefix("/mirror/", http.FileServer(http.Dir(w.packages))).ServeHTTP(rw, r)
}

// line is what `server add` prints, and its token.
func (w *installWorld) line(t *testing.T, ctx context.Context, args ...string) (line, token string) {
	t.Helper()
	line = strings.TrimSpace(do(t, ctx, w.ctl, append([]string{"server", "add"}, args...)...))
	_, rest, ok := strings.Cut(line, "DEVFLOW_ENROLMENT=")
	if strings.Contains(line, "\n") || !ok || len(line) > 700 {
		t.Fatalf("this is not one line to paste: %q", line)
	}
	token, _, _ = strings.Cut(rest, " ")
	// The machine of the test has dpkg, and would take a package.
	return strings.Replace(line, "sh i)", "sh i --kind tar)", 1), token
}

// paste runs a line in a shell of a host.
func paste(t *testing.T, ctx context.Context, h *stack.Host, line string, shell ...string) stack.Result {
	t.Helper()
	if len(shell) == 0 {
		shell = []string{"sh"}
	}
	res, err := h.Run(ctx, line+"\n", shell...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// untouched runs a line that has to be refused, and holds that the host is as it was.
func (w *installWorld) untouched(t *testing.T, ctx context.Context, line string, words ...string) {
	t.Helper()
	for _, shell := range [][]string{{"sh"}, {"bash"}} {
		res := paste(t, ctx, w.host, line, shell...)
		if res.Code == 0 {
			t.Fatalf("it was not refused: %s", res.Text())
		}
		for _, word := range words {
			if !strings.Contains(res.Text(), word) {
				t.Errorf("%q is not said: %s", word, res.Text())
			}
		}
		if changed, err := w.host.Changed(ctx); err != nil || len(changed) != 0 {
			t.Fatalf("refused, and yet there is %v, %v", changed, err)
		}
		if res, err := w.host.Run(ctx, "", "ls", "-A", "/tmp", "/run"); err != nil || strings.ReplaceAll(res.Out, "\n", "") != "/run:/tmp:" {
			t.Fatalf("left behind: %s", res.Text())
		}
	}
}

// TestInstall: one line makes a bare host a server. What is refused leaves nothing there.
func TestInstall(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	w := newInstallWorld(t, ctx)
	const unchanged = "Nothing was changed on this host."
	line, token := w.line(t, ctx, "db-1")

	t.Run("an impostor", func(t *testing.T) {
		w.untouched(t, ctx, strings.Replace(line, w.controller.URL(), impostor(t, nil), 1), "refused: this is not the controller")
		// One that shows the true certificate of the authority, which is no secret, has no certificate of it.
		ca, err := os.ReadFile(w.ctl.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		w.untouched(t, ctx, strings.Replace(line, w.controller.URL(), impostor(t, ca), 1), "certificate")
	})
	t.Run("a wrong checksum of the authority", func(t *testing.T) {
		at := strings.Index(line, "  ca'") - 64
		w.untouched(t, ctx, line[:at]+strings.Repeat("0", 64)+line[at+64:], "refused: this is not the controller")
	})
	t.Run("a token that is none", func(t *testing.T) {
		w.untouched(t, ctx, strings.Replace(line, token, token[:20], 1), "not an enrolment token", unchanged)
		w.untouched(t, ctx, strings.Replace(line, token, strings.Replace(token, token[4:10], "000000", 1), 1), "the enrolment token is not known", "devflowctl server add", unchanged)
		w.untouched(t, ctx, strings.Replace(line, token, "", 1), "there is no enrolment token", unchanged)
	})
	t.Run("an expired token", func(t *testing.T) {
		old, oldToken := w.line(t, ctx, "db-old", "--ttl", "1s")
		eventually(t, ctx, "the token expires", func(ctx context.Context) (bool, error) {
			var status struct{ Expired bool }
			err := w.ctl.API(ctx, http.MethodPost, "/enroll/status", map[string]string{"token": oldToken}, &status)
			return status.Expired, err
		})
		w.untouched(t, ctx, old, `the enrolment token for server "db-old" has expired`, unchanged)
	})
	t.Run("another architecture", func(t *testing.T) {
		w.untouched(t, ctx, strings.Replace(line, "sh i ", "setarch i686 sh i ", 1), "architecture i686", "x86_64 (amd64)", unchanged)
	})
	t.Run("no root", func(t *testing.T) {
		res := paste(t, ctx, w.host, line, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh")
		if res.Code != 1 || !strings.Contains(res.Err, "this needs root") {
			t.Error(res.Text())
		}
	})
	t.Run("a damaged file", func(t *testing.T) {
		w.set(func() { w.damage = true })
		defer w.set(func() { w.damage = false })
		w.untouched(t, ctx, line, "has another checksum than the controller says", unchanged)
	})
	t.Run("no such package", func(t *testing.T) {
		w.untouched(t, ctx, strings.Replace(line, "--kind tar", "--kind rpm", 1), "the controller has no .rpm of the agent", unchanged)
	})
	if t.Failed() {
		return
	}

	// None of that has used the token.
	w.set(func() { w.secrets, w.fetched, w.leaked = []string{token, strings.Split(token, "_")[1]}, 0, nil })
	db, err := w.NewHost("db-1")
	if err != nil {
		t.Fatal(err)
	}
	res := paste(t, ctx, db, line)
	if res.Code != 3 {
		t.Fatalf("installed where no init system runs: %s", res.Text())
	}
	for _, want := range []string{`enrolled as server db-1`, "No init system runs here", "/usr/local/bin/devflow-agent run"} {
		if !strings.Contains(res.Out, want) {
			t.Errorf("%q is not said: %s", want, res.Text())
		}
	}
	if strings.Contains(res.Out+res.Err, strings.Split(token, "_")[1]) {
		t.Error("the token is shown")
	}
	w.set(func() {
		if w.fetched != 1 || len(w.leaked) != 0 {
			t.Errorf("fetched %d times; command lines with the token: %q", w.fetched, w.leaked)
		}
	})
	if is, err := db.Run(ctx, "", "stat", "-c", "%U %a", "/var/lib/devflow-agent/identity.json", "/usr/local/bin/devflow-agent"); err != nil || is.Out != "devflow-agent 600\nroot 755\n" {
		t.Errorf("%s, %v", is.Text(), err)
	}
	if left, err := db.Run(ctx, "", "ls", "-A", "/tmp"); err != nil || left.Out != "" {
		t.Errorf("left behind: %s, %v", left.Out, err)
	}

	// Started, and the same line again: nothing is done twice, and the token is not needed.
	if err := db.Start("/usr/local/bin/devflow-agent", "run"); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the agent runs", func(ctx context.Context) (bool, error) {
		res, err := db.Run(ctx, "", "devflow-agent", "status")
		return res.Code == 0, err
	})
	res = paste(t, ctx, db, line)
	if res.Code != 0 || !strings.Contains(res.Out, `Server "db-1" is online.`) || strings.Contains(res.Out, "enrolling") || strings.Contains(res.Out, "installing") {
		t.Errorf("again: %s", res.Text())
	}
	if res = paste(t, ctx, db, strings.Replace(line, "DEVFLOW_ENROLMENT="+token, "", 1)); res.Code != 0 || !strings.Contains(res.Out, "The agent runs") {
		t.Errorf("again, without the token: %s", res.Text())
	}
	// Another host cannot use it, and this one is not made another.
	w.untouched(t, ctx, line, `the enrolment token for server "db-1" was already used`, unchanged)
	other, _ := w.line(t, ctx, "db-2")
	if res = paste(t, ctx, db, other); res.Code != 0 || !strings.Contains(res.Out, `the token for server "db-2" is not used`) {
		t.Errorf("another token: %s", res.Text())
	}
	if online, err := w.ctl.Online(ctx, "db-1", 0); err != nil || !online {
		t.Errorf("db-1 is not online: %v", err)
	}
}

func (w *installWorld) set(do func()) {
	w.Lock()
	defer w.Unlock()
	do()
}

// impostor is a server of another authority, whose script makes a file. It shows the given certificate as that of its authority.
func impostor(t *testing.T, ca []byte) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/ca.pem" && ca != nil:
			_, _ = w.Write(ca)
		case r.URL.Path == "/ca.pem":
			_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		default:
			fmt.Fprint(w, "touch /owned\n")
		}
	})
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}
