package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/dockit"
)

// docsPages are the pages whose marked blocks are run, in this order, against one installation. It is what the README has set up when it
// comes to its first backup: a project shop, a server db-1 with databases shop and orders of no project, an S3 storage main and a local one, disk.
var docsPages = []string{
	"README.md", "docs/install.md", "docs/restore.md", "docs/retention.md", "docs/schedules.md", "docs/reconciliation.md", "docs/security.md",
}

// docsBlocks is how many are known to be there: with fewer the marks got lost.
const docsBlocks = 17

// docsPrelude makes what pages show as placeholders the newest of their kind, when the command is run.
const docsPrelude = `set -euo pipefail
newest() { awk 'NR > 1 { print $1 }' | sort -n | tail -n 1; }
backup() { devflowctl backup list shop --database shop --status completed | newest; }
restore() { devflowctl restore list --project shop | newest; }
schedule() { devflowctl schedule list shop | newest; }
pause() { devflowctl pause list | newest; }
`

var placeholder = regexp.MustCompile(`(?m)(^|[ =])(BACKUP|RESTORE|SCHEDULE|PAUSE)( |$)`)

// script is a block as it is run.
func script(text string) string {
	return docsPrelude + placeholder.ReplaceAllStringFunc(text, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		return m[1] + `"$(` + strings.ToLower(m[2]) + `)"` + m[3]
	})
}

// What the pages tell people to type does what they say: each block that is marked is run, and ends well.
func TestDocs_Blocks(t *testing.T) {
	t.Parallel()
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := dockit.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	s, ctx := newStack(t)
	env, masterKey := docsInstallation(t, ctx, s)
	work := filepath.Join(s.Dir, "work")
	ran := 0
	for _, name := range docsPages {
		for _, p := range pages {
			if p.Name != name {
				continue
			}
			for _, b := range p.Blocks {
				if b.Run == "" {
					continue
				}
				ran++
				runBlock(t, ctx, work, env, p.Name, b)
			}
		}
	}
	if ran < docsBlocks {
		t.Errorf("%d blocks were run, at least %d are expected", ran, docsBlocks)
	}
	// docs/security.md: what came out of the catalog's copy is the key.
	want, errWant := os.ReadFile(masterKey)
	got, errGot := os.ReadFile(filepath.Join(work, "master.key"))
	if errWant != nil || errGot != nil || !bytes.Equal(want, got) {
		t.Errorf("the recovered master key is another one: %v, %v", errWant, errGot)
	}
	for _, p := range pages {
		for _, b := range p.Blocks {
			if b.Run != "" && !strings.Contains(strings.Join(docsPages, " "), p.Name) {
				t.Errorf("%s:%d: the block %q is run by nobody: name the page in docsPages", p.Name, b.Line, b.Run)
			}
		}
	}
}

func runBlock(t *testing.T, ctx context.Context, dir string, env []string, page string, b dockit.Block) {
	t.Helper()
	began := time.Now()
	cmd := exec.CommandContext(ctx, "bash", "-x", "-c", script(b.Text))
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, 5*time.Second
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s:%d, %s: %v\n%s\n%s", page, b.Line, b.Run, err, log.String(), out.String())
	}
	t.Logf("%s, %s: %s", page, b.Run, time.Since(began).Round(10*time.Millisecond))
}

// docsInstallation starts what the pages speak of, and gives the environment of someone who types there.
func docsInstallation(t *testing.T, ctx context.Context, s *stack.Stack) (env []string, masterKey string) {
	t.Helper()
	catalog, err := s.StartCatalog(ctx, "pg1", stack.PostgresOptions{Settings: map[string]string{"max_connections": "100"}})
	if err != nil {
		t.Fatal(err)
	}
	s3, err := s.StartS3(ctx, "s3", stack.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.NewController("controller", stack.ControllerOptions{CatalogDSN: catalog.DSN, Timing: stack.Quick()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	ctl := c.Admin()
	if err := ctl.AddStorage(ctx, "main", s3); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, ctl, "storage", "add", "disk", "--kind", "local")
	do(t, ctx, ctl, "project", "create", "shop")
	for _, name := range []string{"shop", "orders"} {
		makeDatabase(t, ctx, catalog.Postgres, name)
	}
	if err := catalog.AllowInPlace(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	agent, err := s.NewAgent("db-1", stack.AgentOptions{
		Servers: map[string]stack.Server{"main": catalog.Postgres}, InPlace: true, Local: true, Limits: map[string]any{"discovery_every": "10s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Enroll(ctx, c, "shop"); err != nil {
		t.Fatal(err)
	}
	if err := agent.StartOnline(ctx, c, 2); err != nil {
		t.Fatal(err)
	}

	work := filepath.Join(s.Dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(c.FirstStartFile)
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`AGE-SECRET-KEY-1\w+`).Find(first)
	if key == nil {
		t.Fatal("the first start printed no recovery key")
	}
	if err := os.WriteFile(filepath.Join(work, "recovery.key"), append(key, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(ctl.Env(),
		"PATH="+filepath.Dir(s.Program("devflowctl"))+":/usr/local/bin:/usr/bin:/bin", "HOME="+work, "LC_ALL=C.UTF-8", "TZ=UTC",
		"PGHOST="+catalog.Host(), fmt.Sprintf("PGPORT=%d", catalog.Port()), "PGUSER="+catalog.Superuser(), "PGPASSWORD="+catalog.Password().Reveal())
	return env, filepath.Join(c.Dir, "master.key")
}
