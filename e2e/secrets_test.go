package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

// text is something that someone other than its owner may get to see.
type text struct{ where, what string }

// TestSecrets (I12): no secret of the installation is in a log, in the arguments or the environment of a process, in the catalog,
// in the bucket or in an answer of the API, after backups, verifications, restores and everything that the tests before did.
func TestSecrets(t *testing.T) {
	r, ctx := newRig(t)
	token, err := r.ctl.EnrolmentToken(ctx, "secretive", "")
	if err != nil {
		t.Fatal(err)
	}
	enrolled, err := r.NewAgent("secretive", stack.AgentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := enrolled.TryEnroll(ctx, r.controller.URL(), token); err != nil || res.Code != 0 {
		t.Fatalf("%v: %s", err, res.Text())
	}
	apiToken := read[struct{ Token string }](t, ctx, r.ctl, "token", "create", "secretive", "--permission", "view-backups").Token

	watch := watchProcesses(r.Stack)
	r.project(t, ctx, "secretive", "hidden")
	b := backUpSlowly(t, ctx, r, "secretive", "hidden")
	do(t, ctx, r.ctl, "backup", "verify", id(b.ID), "--level", "content")
	do(t, ctx, r.ctl, "restore", "create", id(b.ID), "--to-database", "hidden_copy", "--wait")
	refused(t, ctx, r.ctl, 1, []string{"hidden_copy"}, "restore", "create", id(b.ID), "--to-database", "hidden_copy", "--wait")
	texts := watch()
	seen := map[string]bool{}
	for _, x := range texts {
		for _, program := range []string{"pg_dump", "devflow-agent", "devflow-controller"} {
			seen[program] = seen[program] || strings.Contains(x.where, program)
		}
	}
	if len(seen) != 3 || !seen["pg_dump"] || !seen["devflow-agent"] || !seen["devflow-controller"] {
		t.Errorf("the processes that were looked at lack one: %v", seen)
	}

	texts = append(texts, filesBelow(t, filepath.Join(r.Dir, "logs"))...)
	texts = append(texts, filesBelow(t, filepath.Join(r.s3.Dir, "data"))...)
	texts = append(texts, filesBelow(t, filepath.Join(r.Dir, "config"))...)
	texts = append(texts, catalogText(t, ctx, r))
	for _, args := range [][]string{
		{"storage", "show", "store"},
		{"server", "show", "db1"},
		{"project", "show", "secretive"},
		{"backup", "show", id(b.ID)},
		{"backup", "log", id(b.ID)},
		{"backup", "manifest", id(b.ID)},
		{"token", "list"},
		{"audit", "list"},
	} {
		texts = append(texts, text{"devflowctl " + strings.Join(args, " "), do(t, ctx, r.ctl, append(args, "--output", "json")...)})
	}

	// The search finds what is there: it would find a secret.
	for name, public := range map[string]string{"a log": b.Checksum, "an argument": r.agent.Config(), "the environment": stack.BackupRole, "the catalog": b.FilePath, "the bucket": b.RawChecksum} {
		if !holds(texts, public) {
			t.Errorf("the search does not see %s: %s is not found", name, public)
		}
	}
	for name, secret := range secretsOf(t, ctx, r, enrolled) {
		check(t, texts, name, secret)
	}
	check(t, texts, "an enrolment token", strings.Split(strings.TrimPrefix(token, "dfe_"), "_")[0])
	check(t, texts, "an API token", strings.TrimPrefix(apiToken, "dfk_"))
}

func holds(texts []text, what string) bool {
	for _, x := range texts {
		if strings.Contains(x.what, what) {
			return true
		}
	}
	return false
}

func check(t *testing.T, texts []text, name, secret string) {
	t.Helper()
	if len(secret) < 8 {
		t.Errorf("%s is %q: that cannot be searched for", name, secret)
		return
	}
	for _, x := range texts {
		if strings.Contains(x.what, secret) {
			t.Errorf("%s is in %s", name, x.where)
		}
	}
}

func secretsOf(t *testing.T, ctx context.Context, r *rig, enrolled *stack.Agent) map[string]string {
	t.Helper()
	file := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		return lines[len(lines)-1] // what stands before it is a comment
	}
	first, err := os.ReadFile(r.controller.FirstStartFile)
	if err != nil {
		t.Fatal(err)
	}
	recovery := regexp.MustCompile(`recovery key\s+(\S+)`).FindStringSubmatch(string(first))
	if recovery == nil {
		t.Fatalf("the first start has not told the recovery key:\n%s", first)
	}
	secrets := map[string]string{
		"the superuser's password":       r.postgres.Password().Reveal(),
		"the backup role's password":     file(r.postgres.BackupPasswordFile),
		"the restore role's password":    file(r.postgres.RestorePasswordFile),
		"the S3 secret key":              r.s3.SecretKey,
		"the admin token":                strings.TrimPrefix(file(filepath.Join(r.controller.Dir, "admin.token")), "dfk_"),
		"the master key":                 file(filepath.Join(r.controller.Dir, "master.key")),
		"the catalog's password":         file(filepath.Join(r.controller.Dir, "catalog.password")),
		"the embedded server's password": file(filepath.Join(r.controller.Dir, "postgres", "password")),
		"the recovery key":               recovery[1],
		"the project's key":              regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]+`).FindString(do(t, ctx, r.ctl, "project", "key", "secretive")),
	}
	for _, dir := range []string{r.agent.Dir, enrolled.Dir} {
		var identity struct {
			NKeySeed    string `json:"nkey_seed"`
			SigningSeed string `json:"signing_seed"`
			AgeIdentity string `json:"age_identity"`
		}
		b, err := os.ReadFile(filepath.Join(dir, "identity.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &identity); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(dir)
		secrets["the NATS key of "+name], secrets["the signing key of "+name], secrets["the age key of "+name] = identity.NKeySeed, identity.SigningSeed, identity.AgeIdentity
	}
	return secrets
}

// watchProcesses looks at arguments and environment of every process of the stack until the returned function is called.
func watchProcesses(s *stack.Stack) func() []text {
	stop, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	all := map[text]bool{}
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, p := range s.Processes() {
				command, environ, err := stack.CommandAndEnviron(p.PID)
				// The S3 server of the tests takes its own credentials from its environment.
				if err != nil || len(command) == 0 || strings.HasSuffix(command[0], "versitygw") {
					continue
				}
				program := filepath.Base(command[0])
				all[text{"the arguments of " + program, strings.Join(command, " ")}] = true
				all[text{"the environment of " + program, strings.Join(environ, " ")}] = true
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() []text {
		once.Do(func() { close(stop) })
		<-done
		list := make([]text, 0, len(all))
		for x := range all {
			list = append(list, x)
		}
		return list
	}
}

// backUpSlowly backs up a database whose dump waits for a lock, so that the dump tool is surely seen.
func backUpSlowly(t *testing.T, ctx context.Context, r *rig, project, database string) stack.Backup {
	t.Helper()
	conn, err := r.postgres.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, r.ctl, "backup", "create", project)
	if _, err := r.agent.AwaitChild(ctx, "pg_dump"); err != nil {
		t.Fatal(err)
	}
	// The watcher looks every few milliseconds; a whole request fits between two of its looks.
	do(t, ctx, r.ctl, "backup", "list", "--project", project)
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	b, err := r.ctl.AwaitBackup(ctx, newestBackup(t, ctx, r.ctl, project).ID, "completed", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func filesBelow(t *testing.T, dir string) []text {
	t.Helper()
	var texts []text
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		texts = append(texts, text{path, string(b)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// catalogText is everything that the embedded catalog holds, as text.
func catalogText(t *testing.T, ctx context.Context, r *rig) text {
	t.Helper()
	dir := filepath.Join(r.controller.Dir, "postgres")
	pass, err := os.ReadFile(filepath.Join(dir, "pgpass"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Split(string(pass), ":")
	if _, err := strconv.Atoi(f[1]); err != nil {
		t.Fatalf("pgpass: %v", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(r.postgres.Bin().Dir, "pg_dump"), "--data-only", "--inserts", "-h", f[0], "-p", f[1], "-U", f[3], "-d", "devflow")
	cmd.Env = []string{"PGPASSFILE=" + filepath.Join(dir, "pgpass"), "LC_ALL=C.UTF-8"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dump the catalog: %v", err)
	}
	return text{"the catalog", string(out)}
}
