//go:build upgrade

// Package upgrade_test runs agents and controllers that are one version apart. It needs the programs that scripts/build-upgrade.sh
// builds: see make test-upgrade.
package upgrade_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

const patience = 4 * time.Minute

// builds are the directories of both versions.
func builds(t *testing.T) (old, new string) {
	t.Helper()
	root, err := s3kit.Root()
	if err != nil {
		t.Fatal(err)
	}
	old, new = filepath.Join(root, "bin", "upgrade", "old"), filepath.Join(root, "bin", "upgrade", "new")
	for _, dir := range []string{old, new} {
		if _, err := os.Stat(filepath.Join(dir, "devflow-agent")); err != nil {
			t.Fatalf("%v: run `make test-upgrade`", err)
		}
	}
	return old, new
}

// TestUpgrade begins with one side older than the other, works, and then brings the older one up to date under what there is.
func TestUpgrade(t *testing.T) {
	older, newer := builds(t)
	for _, c := range []struct {
		name              string
		agent, controller string
		outdated          bool // the agent, at first
	}{
		{"old agent, new controller", older, newer, true},
		{"new agent, old controller", newer, older, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			dir, err := os.MkdirTemp("/tmp", "devflow-upgrade-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			s, err := stack.New(stack.Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if err := s.Stop(ctx); err != nil {
					t.Error(err)
				}
			})
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
			must(err)
			s3, err := s.StartS3(ctx, "s3", stack.S3Options{})
			must(err)
			controller, err := s.NewController("controller", stack.ControllerOptions{Timing: stack.Quick(), Bin: c.controller})
			must(err)
			must(controller.Start(ctx))
			ctl := controller.Admin()
			agent, err := s.NewAgent("db1", stack.AgentOptions{Servers: map[string]stack.Server{"main": pg}, Limits: map[string]any{"discovery_every": "1s"}})
			must(err)
			agent.Use(c.agent)
			must(ctl.AddStorage(ctx, "store", s3))
			must(errors.Join(agent.Enroll(ctx, controller, ""), agent.StartOnline(ctx, controller, 0)))
			do := func(args ...string) string {
				t.Helper()
				res, err := ctl.Do(ctx, args...)
				must(err)
				return res.Out
			}
			must(pg.CreateDatabase(ctx, "shop", ""))
			_, err = pg.Exec(ctx, "shop", "CREATE TABLE people AS SELECT n, md5(n::text) AS name FROM generate_series(1, 5000) n")
			must(err)
			do("project", "create", "p")
			do("project", "grant", "p", "db1")
			must(stack.Within(ctx, time.Minute, "the database is found", func(ctx context.Context) (bool, error) {
				all, err := ctl.Databases(ctx, "db1")
				for _, d := range all {
					if d.Name == "shop" {
						return true, err
					}
				}
				return false, err
			}))
			do("database", "assign", "shop", "--project", "p")

			restores := 0
			round := func() {
				t.Helper()
				do("backup", "create", "p", "--wait")
				all, err := ctl.Backups(ctx, "p")
				must(err)
				do("backup", "verify", strconv.FormatInt(all[0].ID, 10), "--level", "content", "--wait")
				for _, b := range all { // also what the other version made
					restores++
					name := "copy" + strconv.Itoa(restores)
					do("restore", "create", strconv.FormatInt(b.ID, 10), "--to-database", name, "--wait")
					want, err := pg.Content(ctx, "shop")
					must(err)
					got, err := pg.Content(ctx, name)
					must(err)
					if diff := want.Diff(got); diff != "" {
						t.Errorf("backup %d: %s", b.ID, diff)
					}
				}
			}
			outdated := func() bool { return strings.Contains(do("server", "list"), "(outdated)") }
			round()
			if c.controller == newer && outdated() != c.outdated {
				t.Errorf("the agent is shown outdated: %t", !c.outdated)
			}
			// The order of an upgrade does not matter: here the older one is brought up to date under running work.
			do("backup", "create", "p")
			if c.agent == older {
				agent.Use(newer)
				must(agent.Restart(ctx))
				must(agent.AwaitOnline(ctx, controller, 0))
			} else {
				controller.Use(newer)
				must(controller.Restart(ctx))
			}
			all, err := ctl.Backups(ctx, "p")
			must(err)
			if _, err := ctl.AwaitBackup(ctx, all[0].ID, "completed", time.Minute); err != nil {
				t.Error(err)
			}
			round()
			if outdated() {
				t.Error("an agent of the same version is shown outdated")
			}
		})
	}
}
