package setup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/agent/internal/setup"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/mysqlkit"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == setup.ChildCommand {
		if err := setup.Child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == byNobody {
		_, err := setup.Run(context.Background(), setup.Options{Config: "/nowhere"})
		fmt.Print(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// account is whom the agent of these tests runs as: nobody who may do anything.
const account, accountID = "nobody", 65534

// host is a database host with an agent that was just installed.
type host struct {
	dir  string
	file string
	o    setup.Options
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "setup-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the agent's account reaches it
		t.Fatal(err)
	}
	h := &host{dir: dir, file: filepath.Join(dir, "agent.yaml")}
	h.o = setup.Options{Config: h.file, Child: []string{"/proc/self/exe", setup.ChildCommand}, Sockets: []string{filepath.Join(dir, "none")}}
	state := filepath.Join(dir, "state")
	if err := errors.Join(os.Mkdir(state, 0o700), os.Chown(state, accountID, accountID)); err != nil {
		t.Fatal(err)
	}
	h.write(t, "state_dir: "+state+"\ninstances: [] # none yet\nconcurrency: 3 # mine\n")
	return h
}

func (h *host) write(t *testing.T, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(h.file, []byte(text), 0o640), os.Chmod(h.file, 0o640), os.Chown(h.file, 0, accountID)); err != nil { //nolint:gosec // as the package has it
		t.Fatal(err)
	}
}

func (h *host) read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (h *host) run(t *testing.T) setup.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := setup.Run(ctx, h.o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// peers makes a server know accounts of the host, as distributions set theirs up.
func peers(t *testing.T, s *pgserver.Server) {
	t.Helper()
	path, err := s.Exec(t.Context(), "postgres", "SHOW hba_file")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), "postgres", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
}

// socketRoot makes a server know its root by the host's.
func socketRoot(t *testing.T, s *mysqlserver.Server) {
	t.Helper()
	mysqlkit.Exec(t, s, "", "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('"+s.Password().Reveal()+"')")
}

func need(r setup.Report, parts ...string) bool {
	return slices.ContainsFunc(r.Needs, func(n setup.Need) bool {
		text := n.Instance + "|" + n.What + "|" + n.How
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
	})
}

func instance(t *testing.T, r setup.Report, name string) setup.Instance {
	t.Helper()
	i := slices.IndexFunc(r.Instances, func(i setup.Instance) bool { return i.Name == name })
	if i < 0 {
		t.Fatalf("no instance %s: %+v", name, r.Instances)
	}
	return r.Instances[i]
}

// TestRun goes the way of a host: found, told what is needed, granted, used.
func TestRun(t *testing.T) {
	h := newHost(t)
	one, two := pgkit.Start(t), pgkit.Start(t)
	maria := mysqlkit.Start(t)
	peers(t, one)
	peers(t, two)
	socketRoot(t, maria)
	for _, sql := range []string{"CREATE ROLE owner", "CREATE DATABASE shop OWNER owner"} {
		if _, err := one.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	mysqlkit.Exec(t, maria, "", "CREATE DATABASE blog")
	h.o.Sockets = []string{one.SocketDir(), two.SocketDir(), maria.Socket()}
	first := "postgresql-" + strconv.Itoa(one.Port())

	r := h.run(t)
	if r.State != setup.Written || r.Kept != "" || r.Account != account || len(r.Instances) != 3 {
		t.Fatalf("%+v", r)
	}
	i := instance(t, r, first)
	if i.State != setup.Blocked || !strings.HasPrefix(i.Version, "PostgreSQL 1") || i.FoundAt != filepath.Join(one.SocketDir(), ".s.PGSQL."+strconv.Itoa(one.Port())) {
		t.Errorf("%+v", i)
	}
	if i := instance(t, r, "mariadb"); i.State != setup.Blocked || !strings.HasPrefix(i.Version, "MariaDB 1") || i.FoundAt != maria.Socket() {
		t.Errorf("%+v", i)
	}
	for _, parts := range [][]string{
		{first + "|", "setup --grant", "--print postgresql", "runuser -u postgres -- psql", "-p " + strconv.Itoa(one.Port())},
		{"mariadb|", "setup --grant", "--print mariadb", "--socket=" + maria.Socket()},
	} {
		if !need(r, parts...) {
			t.Errorf("nothing tells of %q: %+v", parts, r.Needs)
		}
	}
	if out, err := one.Exec(t.Context(), "postgres", "SELECT count(*) FROM pg_roles WHERE rolname IN ('nobody', 'devflow_restore')"); err != nil || out != "0" {
		t.Errorf("a role was made without being asked for: %s, %v", out, err)
	}
	text := h.read(t)
	if !strings.Contains(text, "concurrency: 3 # mine\n") || strings.Contains(text, maria.Password().Reveal()) {
		t.Errorf("%s", text)
	}
	wantFile(t, h.file, 0, 0o640)
	password := filepath.Join(h.dir, "agent", "mariadb-restore.password")
	wantFile(t, password, accountID, 0o600)

	// The script by hand, without its lines for the server's files: these are what is left.
	script, err := engines.Setup(wire.EnginePostgreSQL, engine.SetupRequest{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Exec(t.Context(), "postgres", script.String()); err != nil {
		t.Fatal(err)
	}
	if r := h.run(t); !need(r, first+"|", `"local all devflow_restore peer map=devflow"`, `"devflow nobody devflow_restore"`) || r.State != setup.Unchanged {
		t.Errorf("%+v", r)
	}

	h.o.Grant = true
	for range 2 {
		r = h.run(t)
		if r.State != setup.Unchanged || len(r.Instances) != 3 {
			t.Fatalf("%+v", r)
		}
		for _, i := range r.Instances {
			if i.State == setup.Blocked {
				t.Errorf("%+v of %+v", i, r.Needs)
			}
		}
		if i := instance(t, r, first); i.State != setup.Ready || !slices.Contains(i.Databases, "shop") || strings.HasPrefix(i.Version, "PostgreSQL") {
			t.Errorf("%+v of %+v", i, r.Needs)
		}
		if i := instance(t, r, "mariadb"); !slices.Contains(i.Databases, "blog") {
			t.Errorf("%+v", i)
		}
		if need(r, "pg_hba.conf") || need(r, "setup --grant") {
			t.Errorf("%+v", r.Needs)
		}
	}
	path, err := one.Exec(t.Context(), "postgres", "SHOW hba_file")
	if err != nil {
		t.Fatal(err)
	}
	hba, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if h.read(t) != text {
		t.Errorf("setup has changed what it wrote:\n%s", h.read(t))
	}
	if n := strings.Count(string(hba), "devflow_restore"); n != 1 || !strings.Contains(string(hba), "local all all peer\n") {
		t.Errorf("pg_hba.conf has the role %d times:\n%s", n, hba)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "blog") {
		t.Errorf("%s, %v", out.String(), err)
	}

	// One that is found later is told of, and the file is left as it is.
	text, _, found := strings.Cut(text, "  - name: postgresql-"+strconv.Itoa(two.Port()))
	if !found {
		t.Fatalf("%s", text)
	}
	h.write(t, text)
	if r = h.run(t); r.State != setup.Unchanged || h.read(t) != text || !strings.Contains(r.Missing, "port: "+strconv.Itoa(two.Port())) || strings.Contains(r.Missing, "mariadb") {
		t.Errorf("%+v", r)
	}
	// Unless it is to be written anew.
	h.o.Force = true
	r = h.run(t)
	if r.State != setup.Written || r.Kept != h.file+".bak" || !strings.Contains(h.read(t), strconv.Itoa(two.Port())) {
		t.Errorf("%+v", r)
	}
	if kept, err := os.ReadFile(r.Kept); err != nil || string(kept) != text {
		t.Errorf("%s, %v", kept, err)
	}
	wantFile(t, r.Kept, 0, 0o640)
	if cfg, err := config.LoadFile(h.file, engines.Names()); err != nil || cfg.StateDir != filepath.Join(h.dir, "state") {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func wantFile(t *testing.T, path string, uid uint32, mode os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // it is Linux
	if st.Uid != uid || st.Gid != accountID || info.Mode().Perm() != mode {
		t.Errorf("%s has owner %d:%d and mode %v", path, st.Uid, st.Gid, info.Mode())
	}
}

// TestRun_GrantRefused: a server whose superuser is not let in fails setup, which says so and reports the rest all the same.
func TestRun_GrantRefused(t *testing.T) {
	h := newHost(t)
	s := mysqlkit.Start(t) // whose root has a password
	h.o.Sockets, h.o.Grant = []string{s.Socket()}, true
	r, err := setup.Run(t.Context(), h.o)
	if err == nil || !strings.Contains(err.Error(), "instance mariadb: connect to "+s.Socket()+" as root") {
		t.Errorf("%v", err)
	}
	if r.State != setup.Written || len(r.Instances) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestRun_GrantKeepsFiles: a server that would not understand its pg_hba.conf gets it back as it was.
func TestRun_GrantKeepsFiles(t *testing.T) {
	h := newHost(t)
	s := pgkit.Start(t)
	peers(t, s)
	files := map[string]string{}
	for setting, more := range map[string]string{"hba_file": "nonsense\n", "ident_file": ""} {
		path, err := s.Exec(t.Context(), "postgres", "SHOW "+setting)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(text) + more
		if err := os.WriteFile(path, []byte(files[path]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.o.Sockets, h.o.Grant = []string{s.SocketDir()}, true
	if _, err := setup.Run(t.Context(), h.o); err == nil || !strings.Contains(err.Error(), "pg_hba.conf") || !strings.Contains(err.Error(), "left as it was") {
		t.Errorf("%v", err)
	}
	for path, want := range files {
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s is\n%s, %v", path, text, err)
		}
	}
}

// TestRun_Files: each right at files is needed, and named where it is missing.
func TestRun_Files(t *testing.T) {
	h := newHost(t)
	dir := filepath.Join(h.dir, "apps")
	file := filepath.Join(dir, "one.sqlite")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // others read it
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	h.o.SQLite, h.o.InPlace = []string{dir}, true
	for _, c := range []struct {
		name      string
		file, dir os.FileMode
		uid       int
		state     string
		says      string
	}{
		{"all", 0o660, 0o2775, accountID, setup.Ready, ""},
		{"no reading", 0o600, 0o2775, 0, setup.Blocked, "let the agent's user read"},
		{"no writing beside it", 0o660, 0o2755, accountID, setup.Blocked, "may not write in"},
		{"not the owner", 0o660, 0o2775, 0, setup.Blocked, "the owner of the database"},
	} {
		if err := errors.Join(os.Chown(dir, 0, accountID), os.Chown(file, c.uid, accountID), os.Chmod(dir, c.dir.Perm()|os.ModeSetgid), os.Chmod(file, c.file)); err != nil {
			t.Fatal(err)
		}
		r := h.run(t)
		if i := instance(t, r, "sqlite"); i.State != c.state || i.Engine != wire.EngineSQLite || i.FoundAt != dir {
			t.Errorf("%s: %+v of %+v", c.name, i, r.Needs)
		}
		if !need(r, "sqlite|", c.says) && c.says != "" {
			t.Errorf("%s: %+v", c.name, r.Needs)
		}
	}
	h.o.SQLite = []string{filepath.Join(h.dir, "missing.sqlite")}
	if _, err := setup.Run(t.Context(), h.o); err == nil || !strings.Contains(err.Error(), "--sqlite") {
		t.Errorf("%v", err)
	}
}

func TestRun_Configuration(t *testing.T) {
	h := newHost(t)
	text := h.read(t)
	if r := h.run(t); r.State != setup.Unchanged || h.read(t) != text || !need(r, "no database server was found") {
		t.Errorf("%+v", r)
	}
	h.write(t, "instance: []\n")
	if _, err := setup.Run(t.Context(), h.o); err == nil || !strings.Contains(err.Error(), "instance") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	if h.read(t) != "instance: []\n" {
		t.Error("a configuration that cannot be read was replaced")
	}
	h.o.Force, h.o.SQLite, h.o.StateDir = true, []string{h.dir}, filepath.Join(h.dir, "state")
	if r := h.run(t); r.State != setup.Written || r.Kept == "" {
		t.Errorf("%+v", r)
	}
}

// TestFind: option files name sockets, and what holds a password is mentioned and not used.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"a.cnf": "[mysqld]\nsocket = \"" + dir + "/none.sock\" # here\n", "b.cnf": "[client]\npassword=canary-4711\n", "c.cnf": "[client]\n#password=x\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "none.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found, mentions := mysql.Find(t.Context(), engine.Places{OptionFiles: []string{filepath.Join(dir, "*.cnf")}})
	all := fmt.Sprint(mentions)
	if len(found) != 0 || !strings.Contains(all, "none.sock") || !strings.Contains(all, "b.cnf holds the password") || strings.Contains(all, "canary") || strings.Contains(all, "c.cnf") {
		t.Errorf("%v, %s", found, all)
	}
	if found, mentions := postgres.Find(t.Context(), engine.Places{Sockets: []string{dir, dir + "/not-there"}}); len(found)+len(mentions) != 0 {
		t.Errorf("%v, %v", found, mentions)
	}
}

const byNobody = "by-nobody"

func TestRun_NotRoot(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", byNobody)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: accountID, Gid: accountID}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != setup.ErrNotRoot.Error() || !strings.Contains(string(out), "sudo") {
		t.Errorf("%s, %v", out, err)
	}
}
