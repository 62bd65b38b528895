package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

// program is the built devflowctl.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "devflowctl-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "devflowctl")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build devflowctl:", err)
	} else {
		code = pgkit.Run(m)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// rig is a controller to talk to, and an empty home.
type rig struct {
	*apitest.Rig
	home string
	env  []string
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{Rig: apitest.New(t), home: t.TempDir()}
	r.env = []string{"DEVFLOW_URL=" + r.URL, "DEVFLOW_TOKEN=" + r.Token}
	return r
}

// offline is a rig without a controller.
func offline(t *testing.T) *rig {
	t.Helper()
	return &rig{Rig: &apitest.Rig{TB: t}, home: t.TempDir()}
}

// result of one run.
type result struct {
	*rig
	args     []string
	out, err string
	status   int
}

func (r *rig) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"HOME=" + r.home, "PATH=/usr/bin:/bin"}, r.env...)
	cmd.Dir = r.home
	return cmd
}

// ctl runs the program with r's environment.
func (r *rig) ctl(args ...string) *result {
	r.Helper()
	var out, stderr bytes.Buffer
	cmd := r.command(r.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.Fatal(err)
	}
	return &result{r, args, out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ends checks the exit status, and that both outputs together say all of the words.
func (x *result) ends(status int, words ...string) *result {
	x.Helper()
	if x.status != status {
		x.Fatalf("devflowctl %s: status %d, want %d\n%s%s", strings.Join(x.args, " "), x.status, status, x.out, x.err)
	}
	for _, w := range words {
		if !strings.Contains(x.out+x.err, w) {
			x.Fatalf("devflowctl %s: does not say %q:\n%s%s", strings.Join(x.args, " "), w, x.out, x.err)
		}
	}
	return x
}

// into decodes the standard output.
func into[T any](x *result) T {
	x.Helper()
	var v T
	if err := json.Unmarshal([]byte(x.out), &v); err != nil {
		x.Fatalf("devflowctl %s: %v: %s", strings.Join(x.args, " "), err, x.out)
	}
	return v
}

func (r *rig) file(name, text string) string {
	r.Helper()
	path := filepath.Join(r.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// play answers, as the agent would, whatever is ordered until stop is called: databases in bad fail, the others come out well.
func (r *rig) play(a *apitest.Agent, bad ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		apitest.Each(ctx, func() {
			for _, o := range r.Start(a) {
				switch {
				case o.Kind == wire.JobBackup && slices.Contains(bad, o.DatabaseName):
					r.Break(a, o, wire.Failf(wire.CodeAuth, "the login of backup was refused").WithHint("correct the password in agent.yaml"))
				case o.Kind == wire.JobBackup:
					r.Complete(a, o)
				case o.Kind == wire.JobVerify:
					r.Verified(a, o)
				case o.Kind == wire.JobRestore:
					r.Restored(a, o)
				case o.Kind == wire.JobUndo:
					r.Settled(a, o, wire.SwapAfter)
				case o.Kind == wire.JobDiscard:
					r.Discarded(a, o)
				}
			}
		})
	}()
	return func() { cancel(); wg.Wait() }
}

// world is a project with two databases on one server, and a storage.
func (r *rig) world(databases ...string) *apitest.Agent {
	r.Helper()
	r.Project("shop")
	r.Storage("s3")
	return r.Agent("db-1", "shop", databases...)
}

func (r *rig) backups() []controller.Backup {
	r.Helper()
	all, err := r.Store.Backups(r.Context(), r.Admin, controller.BackupFilter{})
	if err != nil {
		r.Fatal(err)
	}
	return all
}
