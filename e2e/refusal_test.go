package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"devflowbackup/e2e/stack"
)

// TestRefuse_UnknownDatabase: the name is repeated, and those that there are.
func TestRefuse_UnknownDatabase(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "unknown-db", "ledger")
	before := traceOf(t, ctx, r.s3, r.postgres)
	refused(t, ctx, r.ctl, 1, []string{`"legder"`, `"ledger"`}, "backup", "create", "unknown-db", "--database", "legder", "--wait")
	refused(t, ctx, r.ctl, 1, []string{`"nosuch"`, "database list"}, "database", "assign", "nosuch", "--project", "unknown-db")
	unchanged(t, ctx, before, r.s3, r.postgres, r.agent)
}

// TestRefuse_NotAssigned: a database that the agent found is not backed up before someone gave it to a project.
func TestRefuse_NotAssigned(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "not-assigned", "mine")
	r.project(t, ctx, "other-owner", "theirs")
	r.database(t, ctx, "nobodys")
	before := traceOf(t, ctx, r.s3, r.postgres)
	refused(t, ctx, r.ctl, 1, []string{`"nobodys"`, "not assigned", "not-assigned", "database assign"}, "backup", "create", "not-assigned", "--database", "nobodys", "--wait")
	refused(t, ctx, r.ctl, 1, []string{`"theirs"`, "not-assigned"}, "backup", "create", "not-assigned", "--database", "theirs", "--wait")
	unchanged(t, ctx, before, r.s3, r.postgres, r.agent)

	do(t, ctx, r.ctl, "project", "create", "no-grant")
	refused(t, ctx, r.ctl, 1, []string{"db1", "not granted", "no-grant", "project grant"}, "database", "assign", "nobodys", "--project", "no-grant")
}

// second is another PostgreSQL with its own agent at the rig's controller, for tests that break it.
type second struct {
	postgres *stack.Postgres
	agent    *stack.Agent
	options  stack.AgentOptions
}

func newSecond(t *testing.T, ctx context.Context, r *rig, name, project string) *second {
	t.Helper()
	s := &second{}
	var err error
	if s.postgres, err = r.StartPostgres(ctx, name+"-pg", stack.PostgresOptions{}); err != nil {
		t.Fatal(err)
	}
	s.options = stack.AgentOptions{
		Servers: map[string]stack.Server{"main": s.postgres}, Limits: map[string]any{"discovery_every": "2s"},
	}
	if s.agent, err = r.NewAgent(name, s.options); err != nil {
		t.Fatal(err)
	}
	if err := s.agent.Enroll(ctx, r.controller, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.agent.StartOnline(ctx, r.controller, 0); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, r.ctl, "project", "create", project)
	do(t, ctx, r.ctl, "project", "grant", project, name)
	database := name + "_data"
	makeDatabase(t, ctx, s.postgres, database)
	found(t, ctx, r.ctl, name, database)
	do(t, ctx, r.ctl, "database", "assign", database, "--project", project, "--on", name)
	return s
}

// restart starts the agent with other options.
func (s *second) restart(t *testing.T, ctx context.Context, r *rig, change func(*stack.AgentOptions)) {
	t.Helper()
	opt := s.options
	change(&opt)
	if err := errors.Join(s.agent.Configure(opt), s.agent.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.agent.Start(); err != nil {
		t.Fatal(err)
	}
	// Online may still be the agent that was stopped.
	if err := stack.Within(ctx, 30*time.Second, "the restarted agent is heard", func(ctx context.Context) (bool, error) {
		var server struct {
			LastSeenAt time.Time `json:"last_seen_at"`
		}
		err := r.ctl.API(ctx, http.MethodGet, "/servers/"+s.agent.Name, nil, &server)
		return server.LastSeenAt.After(began.Add(time.Second)), err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestRefuse_Host is about what is wrong on the database's host: each backup fails with its reason and leaves nothing.
func TestRefuse_Host(t *testing.T) {
	r, ctx := newRig(t)
	s := newSecond(t, ctx, r, "db2", "host")
	before := traceOf(t, ctx, r.s3, s.postgres)

	// fails backs up, and wants the code and the words in what devflowctl prints.
	fails := func(t *testing.T, code string, words ...string) {
		t.Helper()
		refused(t, ctx, r.ctl, 1, append([]string{"[" + code + "]", "db2_data", "1 failed"}, words...), "backup", "create", "host", "--wait")
		b := newestBackup(t, ctx, r.ctl, "host")
		if b.Status != "failed" || b.ErrorCode != code || b.ErrorHint == "" {
			t.Errorf("the catalog says %+v", b)
		}
		unchanged(t, ctx, before, r.s3, s.postgres, s.agent)
		if out, err := os.ReadFile(s.agent.LogFile()); err != nil || !strings.Contains(string(out), code) {
			t.Errorf("the agent's log does not name %s: %v", code, err)
		}
	}

	t.Run("WrongPassword", func(t *testing.T) {
		file := filepath.Join(r.Dir, "secrets", "wrong-password")
		if err := stack.WriteFile(file, "correct horse battery staple\n", 0o600); err != nil {
			t.Fatal(err)
		}
		s.restart(t, ctx, r, func(o *stack.AgentOptions) { o.Instance = map[string]any{"password_file": file} })
		fails(t, "auth", stack.BackupRole, "password")
		check, err := s.agent.Run(ctx, "check")
		if err != nil {
			t.Fatal(err)
		}
		says(t, check, 1, "main", stack.BackupRole, "password")
		for _, text := range []string{check.Text(), stack.Tail(s.agent.LogFile(), 10000), stack.Tail(r.controller.LogFile(), 10000)} {
			if strings.Contains(text, "horse") {
				t.Errorf("the password is shown: %s", text)
			}
		}
	})

	t.Run("ToolMissing", func(t *testing.T) {
		s.restart(t, ctx, r, func(o *stack.AgentOptions) { o.Instance = map[string]any{"bin_dirs": []string{t.TempDir()}} })
		fails(t, "tool_missing", "pg_dump", "install")
	})

	t.Run("ToolOlderThanServer", func(t *testing.T) {
		dir := t.TempDir()
		ran := filepath.Join(dir, "ran")
		script := fmt.Sprintf("#!/bin/sh\ncase $1 in --version|-V) echo \"${0##*/} (PostgreSQL) 9.6.24\";; *) echo \"$@\" >> %s; exit 1;; esac\n", ran)
		for _, tool := range []string{"pg_dump", "pg_dumpall", "pg_restore"} {
			if err := os.WriteFile(filepath.Join(dir, tool), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s.restart(t, ctx, r, func(o *stack.AgentOptions) { o.Instance = map[string]any{"bin_dirs": []string{dir}} })
		major := fmt.Sprint(s.postgres.Bin().Major)
		fails(t, "tool_too_old", "9.6", major)
		if _, err := os.Stat(ran); !os.IsNotExist(err) {
			t.Errorf("the tool ran although it is older than the server: %v", err)
		}
		check, err := s.agent.Run(ctx, "check")
		if err != nil {
			t.Fatal(err)
		}
		says(t, check, 1, "9.6", major)
	})

	t.Run("DatabaseDropped", func(t *testing.T) {
		s.restart(t, ctx, r, func(o *stack.AgentOptions) { o.Limits = map[string]any{"discovery_every": "1h"} })
		if err := s.postgres.DropDatabase(ctx, "db2_data"); err != nil {
			t.Fatal(err)
		}
		before = traceOf(t, ctx, r.s3, s.postgres)
		fails(t, "db_missing", "db2_data")
		makeDatabase(t, ctx, s.postgres, "db2_data")
		before = traceOf(t, ctx, r.s3, s.postgres)
	})

	t.Run("SuperuserRestore", func(t *testing.T) {
		s.restart(t, ctx, r, func(o *stack.AgentOptions) {})
		b := backUp(t, ctx, r.ctl, "host", "db2_data")
		now := traceOf(t, ctx, r.s3, s.postgres)
		if _, err := s.postgres.Exec(ctx, "postgres", "ALTER ROLE "+stack.RestoreRole+" SUPERUSER"); err != nil {
			t.Fatal(err)
		}
		refused(t, ctx, r.ctl, 1, []string{"superuser", stack.RestoreRole, "CREATE ROLE"}, "restore", "create", id(b.ID), "--to-database", "by_superuser", "--wait")
		unchanged(t, ctx, now, r.s3, s.postgres, s.agent)
		if _, err := s.postgres.Exec(ctx, "postgres", "ALTER ROLE "+stack.RestoreRole+" NOSUPERUSER"); err != nil {
			t.Fatal(err)
		}
		// All is mended: it works again.
		do(t, ctx, r.ctl, "restore", "create", id(b.ID), "--to-database", "by_role", "--wait")
		sameContent(t, ctx, s.postgres, "db2_data", "by_role")
	})
}

// TestRefuse_Storage: a storage that cannot be used is not added, with the step that failed; one that breaks later fails the backup.
func TestRefuse_Storage(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "storage", "stored")
	if err := r.s3.CreateUser(ctx, "stranger", "strangers-secret"); err != nil {
		t.Fatal(err)
	}
	secretOf := func(text string) string {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := map[string]string{"--endpoint": r.s3.URL(), "--bucket": r.s3.Bucket, "--access-key": r.s3.AccessKey, "--secret-key-file": r.s3.SecretKeyFile}
	for _, c := range []struct {
		name   string
		change map[string]string
		words  []string
	}{
		{"bucket-missing", map[string]string{"--bucket": "no-such-bucket"}, []string{"no-such-bucket", "exist"}},
		{"denied", map[string]string{"--access-key": "stranger", "--secret-key-file": secretOf("strangers-secret")}, []string{"denied", r.s3.Bucket}},
		{"wrong-secret", map[string]string{"--secret-key-file": secretOf("not-the-secret")}, []string{"secret"}},
		{"unknown-key", map[string]string{"--access-key": "nobody"}, []string{"access key"}},
		{"no-server", map[string]string{"--endpoint": "http://127.0.0.1:1"}, []string{"127.0.0.1:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := traceOf(t, ctx, r.s3, r.postgres)
			args := []string{"storage", "add", c.name}
			for flag, value := range good {
				if v, ok := c.change[flag]; ok {
					value = v
				}
				args = append(args, flag, value)
			}
			res, err := r.ctl.Ctl(ctx, args...)
			if err != nil {
				t.Fatal(err)
			}
			if res.Code == 0 {
				t.Errorf("the storage was added: %s", res.Text())
			}
			says(t, res, res.Code, c.words...)
			for _, secret := range []string{"strangers-secret", "not-the-secret", r.s3.SecretKey} {
				if strings.Contains(res.Text(), secret) {
					t.Errorf("the secret key is shown: %s", res.Text())
				}
			}
			refused(t, ctx, r.ctl, 1, []string{c.name, "storage list"}, "storage", "show", c.name)
			unchanged(t, ctx, before, r.s3, r.postgres)
		})
	}

	t.Run("BucketGoneLater", func(t *testing.T) {
		if err := r.s3.CreateBucket(ctx, "short-lived", false); err != nil {
			t.Fatal(err)
		}
		do(t, ctx, r.ctl, "storage", "add", "short-lived", "--endpoint", r.s3.URL(), "--bucket", "short-lived", "--access-key", r.s3.AccessKey, "--secret-key-file", r.s3.SecretKeyFile)
		resp, err := r.s3.Do(ctx, http.MethodDelete, "/short-lived", nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Fatalf("delete bucket: %s: the probe has left something in it", resp.Status)
		}
		before := traceOf(t, ctx, r.s3, r.postgres)
		refused(t, ctx, r.ctl, 1, []string{"short-lived", "storage_denied"}, "backup", "create", "storage", "--storage", "short-lived", "--wait")
		unchanged(t, ctx, before, r.s3, r.postgres, r.agent)
	})
}

// TestRefuse_WrongKey: a key that does not fit opens nothing, and the recipient that would is named.
func TestRefuse_WrongKey(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "wrong-key", "sealed")
	b := backUp(t, ctx, r.ctl, "wrong-key", "sealed")
	dir := t.TempDir()
	file := filepath.Join(dir, b.FileName)
	if _, _, err := r.s3.Download(ctx, b.FilePath, file); err != nil {
		t.Fatal(err)
	}
	wrong, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key, out := filepath.Join(dir, "key.txt"), filepath.Join(dir, "out.dump")
	if err := os.WriteFile(key, []byte(wrong.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, r.ctl, 1, []string{"key"}, "artifact", "decrypt", file, "-o", out, "--identity-file", key)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("something was written: %v, %v", entries, err)
	}

	// Cut by one byte, the right key opens it but the end is not proven.
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(file, info.Size()-1), os.WriteFile(key, []byte(do(t, ctx, r.ctl, "project", "key", "wrong-key")), 0o600)); err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, r.ctl, 1, []string{"damaged"}, "artifact", "decrypt", file, "-o", out, "--identity-file", key)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("something was written: %v, %v", entries, err)
	}
}

// TestRefuse_Damage: a damaged artifact is found by verify, marked, and never restored.
func TestRefuse_Damage(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "damage", "fragile")
	b := backUp(t, ctx, r.ctl, "damage", "fragile")
	do(t, ctx, r.ctl, "backup", "verify", id(b.ID))
	if err := r.s3.CorruptObject(r.s3.Bucket, b.FilePath, b.FileSize/2); err != nil {
		t.Fatal(err)
	}
	before := traceOf(t, ctx, r.s3, r.postgres)
	// Not verified again yet: the restore itself must notice.
	refused(t, ctx, r.ctl, 1, []string{"corrupt"}, "restore", "create", id(b.ID), "--to-database", "from_damaged", "--wait")
	unchanged(t, ctx, before, r.s3, r.postgres, r.agent)

	refused(t, ctx, r.ctl, 1, []string{"corrupt"}, "backup", "verify", id(b.ID))
	got, err := r.ctl.Backup(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Health != "corrupt" || got.VerifiedAt != nil {
		t.Errorf("the catalog says %+v", got)
	}
	refused(t, ctx, r.ctl, 1, []string{"corrupt"}, "restore", "create", id(b.ID), "--to-database", "from_damaged", "--wait")
}

// TestRefuse_Enrolment: a token works once and in its time; whatever is refused leaves no identity and no server.
func TestRefuse_Enrolment(t *testing.T) {
	r, ctx := newRig(t)
	try := func(t *testing.T, name, token string, words ...string) {
		t.Helper()
		a, err := r.NewAgent(name, stack.AgentOptions{})
		if err != nil {
			t.Fatal(err)
		}
		res, err := a.TryEnroll(ctx, r.controller.URL(), token)
		if err != nil {
			t.Fatal(err)
		}
		says(t, res, 1, words...)
		if strings.Contains(res.Text(), token) {
			t.Errorf("the token is shown: %s", res.Text())
		}
		if _, err := os.Stat(filepath.Join(a.Dir, "identity.json")); !os.IsNotExist(err) {
			t.Errorf("an identity was kept: %v", err)
		}
		refused(t, ctx, r.ctl, 1, []string{name, "server list"}, "server", "show", name)
	}

	t.Run("Reused", func(t *testing.T) {
		token, err := r.ctl.EnrolmentToken(ctx, "once", "")
		if err != nil {
			t.Fatal(err)
		}
		first, err := r.NewAgent("once", stack.AgentOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := first.TryEnroll(ctx, r.controller.URL(), token); err != nil || res.Code != 0 {
			t.Fatalf("%v: %s", err, res.Text())
		}
		try(t, "twice", token, "once", "already used", "server add")
		again, err := first.TryEnroll(ctx, r.controller.URL(), token)
		if err != nil {
			t.Fatal(err)
		}
		says(t, again, 1, "--force")
	})
	t.Run("Expired", func(t *testing.T) {
		var made struct {
			Token     string
			ExpiresAt time.Time `json:"expires_at"`
		}
		if err := r.ctl.Read(ctx, &made, "server", "token", "late", "--ttl", "1s"); err != nil {
			t.Fatal(err)
		}
		if err := stack.Within(ctx, 10*time.Second, "the token expires", func(context.Context) (bool, error) {
			return time.Now().After(made.ExpiresAt), nil
		}); err != nil {
			t.Fatal(err)
		}
		try(t, "late", made.Token, "late", "expired", "server add")
	})
	t.Run("Unknown", func(t *testing.T) {
		token, err := r.ctl.EnrolmentToken(ctx, "guess", "")
		if err != nil {
			t.Fatal(err)
		}
		secret, fingerprint, _ := strings.Cut(strings.TrimPrefix(token, "dfe_"), "_")
		try(t, "guess", "dfe_"+strings.Repeat("A", len(secret))+"_"+fingerprint, "not known")
	})
	t.Run("OtherInstallation", func(t *testing.T) {
		token, err := r.ctl.EnrolmentToken(ctx, "stray", "")
		if err != nil {
			t.Fatal(err)
		}
		secret, fingerprint, _ := strings.Cut(strings.TrimPrefix(token, "dfe_"), "_")
		try(t, "stray", "dfe_"+secret+"_"+strings.Repeat("0", len(fingerprint)), "not a controller of the installation", "token")
	})
}

// TestRefuse_ForeignToken: a token for one project does not learn that another exists.
func TestRefuse_ForeignToken(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "tenant-a", "tenant_a")
	r.project(t, ctx, "tenant-b", "tenant_b")
	b := backUp(t, ctx, r.ctl, "tenant-b", "tenant_b")
	made := read[struct{ Token string }](t, ctx, r.ctl, "token", "create", "for-a", "--project", "tenant-a",
		"--permission", "view-backups", "--permission", "create-backups", "--permission", "restore-backups", "--permission", "delete-backups", "--permission", "download-backups", "--permission", "manage-projects")
	foreign, err := r.controller.ClientWith("for-a", made.Token)
	if err != nil {
		t.Fatal(err)
	}
	before := traceOf(t, ctx, r.s3, r.postgres)
	for _, args := range [][]string{
		{"project", "show", "tenant-b"},
		{"project", "key", "tenant-b"},
		{"backup", "create", "tenant-b", "--wait"},
		{"backup", "list", "--project", "tenant-b"},
		{"backup", "show", id(b.ID)},
		{"backup", "manifest", id(b.ID)},
		{"backup", "verify", id(b.ID)},
		{"backup", "delete", id(b.ID)},
		{"backup", "log", id(b.ID)},
		{"restore", "create", id(b.ID), "--to-database", "stolen", "--wait"},
	} {
		refused(t, ctx, foreign, 1, []string{"does not exist"}, args...)
	}
	for _, args := range [][]string{{"backup", "list"}, {"project", "list"}, {"restore", "list"}} {
		if out := do(t, ctx, foreign, args...); strings.Contains(out, "tenant-b") || strings.Contains(out, "tenant_b") {
			t.Errorf("devflowctl %s shows the other project:\n%s", strings.Join(args, " "), out)
		}
	}
	unchanged(t, ctx, before, r.s3, r.postgres, r.agent)

	// What it may, it can.
	own := backUp(t, ctx, foreign, "tenant-a", "tenant_a")
	do(t, ctx, foreign, "backup", "verify", id(own.ID))
	refused(t, ctx, foreign, 1, []string{"manage-servers"}, "server", "revoke", "db1")
	refused(t, ctx, foreign, 1, []string{"manage-tokens"}, "token", "list")

	stranger, err := r.controller.ClientWith("stranger", "dfk_"+strings.Repeat("x", 43))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, stranger, 1, []string{"token"}, "project", "list")
}
