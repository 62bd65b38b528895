// Package console_test drives the console that is built into the controller by a real browser, against a running installation with an
// agent and databases. What it sees is kept as pictures in bin/screenshots.
package console_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

// patience bounds all of it.
const patience = 8 * time.Minute

const (
	adminPassword  = "correct horse battery"
	viewerPassword = "only looks at backups"
)

// world is an installation in which nothing is set up: a controller with one user, an S3 server that it does not know, and a host
// with PostgreSQL and SQLite databases whose agent has not been enrolled.
type world struct {
	*stack.Stack
	*browser
	ctx            context.Context
	controller     *stack.Controller
	ctl            *stack.Client
	agent          *stack.Agent
	s3             *stack.S3
	postgres       *stack.Postgres
	sqlite         *stack.SQLite
	slowly, broken string // files: while they exist, dumps are slow, or fail
}

func startWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("the test took longer than %s", patience))
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp("/tmp", "devflow-console-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := stack.New(stack.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			for _, log := range []string{"controller", "db1"} {
				t.Logf("--- %s\n%s", log, stack.Tail(s.LogFile(log), 15))
			}
		}
		if err := s.Stop(limit); err != nil {
			t.Error(err)
		}
	})
	w := &world{Stack: s, ctx: ctx, slowly: filepath.Join(dir, "slow"), broken: filepath.Join(dir, "fail")}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	root, err := s3kit.Root()
	if err != nil {
		t.Fatal(err)
	}
	shots := filepath.Join(root, "bin", "screenshots")
	if err := os.RemoveAll(shots); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b, stop, err := startBrowser(ctx, t.Logf, filepath.Join(dir, "browser"), shots, filepath.Join(root, "controller", "web", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	b.url = w.controller.URL() + "/console"
	w.browser = b
	return w
}

func (w *world) start() (err error) {
	if w.postgres, err = w.StartPostgres(w.ctx, "pg1", stack.PostgresOptions{}); err != nil {
		return err
	}
	for _, name := range []string{"shop", "orders", "secrets"} {
		if err := w.postgres.Create(w.ctx, name); err != nil {
			return err
		}
		if _, err := w.postgres.Exec(w.ctx, name, "CREATE TABLE goods (id integer PRIMARY KEY, name text); INSERT INTO goods SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 4000) n"); err != nil {
			return err
		}
		if err := w.postgres.AllowInPlace(w.ctx, name); err != nil {
			return err
		}
	}
	if w.sqlite, err = w.NewSQLite("files"); err != nil {
		return err
	}
	notes := w.sqlite.Name("notes")
	if err := w.sqlite.Create(w.ctx, notes); err != nil {
		return err
	}
	if _, err := w.sqlite.Exec(w.ctx, notes, "CREATE TABLE notes (id integer PRIMARY KEY, text varchar(200)); INSERT INTO notes VALUES (1, 'first'), (2, 'second')"); err != nil {
		return err
	}
	if w.s3, err = w.StartS3(w.ctx, "s3", stack.S3Options{}); err != nil {
		return err
	}
	catalog, err := w.StartCatalog(w.ctx, "catalog", stack.PostgresOptions{})
	if err != nil {
		return err
	}
	if w.controller, err = w.NewController("controller", stack.ControllerOptions{CatalogDSN: catalog.DSN, Timing: stack.Quick(), Extra: map[string]any{
		"alarms": map[string]any{"allow": []string{"127.0.0.1/32"}, "every": "1s"},
	}}); err != nil {
		return err
	}
	if err := w.controller.Start(w.ctx); err != nil {
		return err
	}
	w.ctl = w.controller.Admin()
	tools, err := w.tools()
	if err != nil {
		return err
	}
	if w.agent, err = w.NewAgent("db1", stack.AgentOptions{
		Servers: map[string]stack.Server{"main": tooled{w.postgres, []string{tools, w.postgres.Bin().Dir}}, "files": w.sqlite}, InPlace: true, Local: true, Limits: map[string]any{"discovery_every": "2s"},
	}); err != nil {
		return err
	}
	return nil
}

// tooled is a server whose agent takes its tools from these directories.
type tooled struct {
	*stack.Postgres
	dirs []string
}

func (s tooled) Instance() map[string]any {
	all := s.Postgres.Instance()
	all["bin_dirs"] = s.dirs
	return all
}

// tools makes a directory with a pg_dump that a test can slow down, or let fail.
func (w *world) tools() (string, error) {
	dir := filepath.Join(w.Dir, "tools")
	script := fmt.Sprintf(`#!/bin/bash
set -o pipefail
case " $* " in *" --version "*) exec %[1]s/pg_dump --version ;; esac
if [[ -e %[3]s ]]; then
	echo 'pg_dump: error: query failed: ERROR:  could not read block 7 in file "base/16384/2619": Input/output error' >&2
	exit 1
fi
%[1]s/pg_dump "$@" | {
	for ((i = 0; i < 60; i++)); do
		[[ -e %[2]s ]] || break
		/usr/bin/head -c 100000
		/usr/bin/sleep 0.4
	done
	exec /usr/bin/cat
}
`, w.postgres.Bin().Dir, w.slowly, w.broken)
	return dir, stack.WriteFile(filepath.Join(dir, "pg_dump"), script, 0o755)
}

// touch makes a file, or removes it.
func (w *world) touch(t *testing.T, file string, there bool) {
	t.Helper()
	var err error
	if there {
		err = os.WriteFile(file, nil, 0o644)
	} else {
		err = os.Remove(file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// firstUser makes the first person as the documentation says, on the controller's host.
func (w *world) firstUser(name, password string) error {
	cmd := exec.CommandContext(w.ctx, w.Program("devflow-controller"), w.controller.Args("user", "add", name, "--admin", "--display-name", "Anna Admin")...)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make user %s: %w: %s", name, err, out)
	}
	return nil
}

// one is one number that SQL yields.
func (w *world) one(t *testing.T, database, sql string) string {
	t.Helper()
	out, err := w.postgres.Exec(w.ctx, database, sql)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
