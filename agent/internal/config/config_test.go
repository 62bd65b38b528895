package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/agent/internal/config"
)

var engines = []string{"postgresql", "mysql", "sqlite"}

const good = `
state_dir: /var/lib/x
concurrency: 3
log: {level: debug, format: json}
instances:
  - name: main
    engine: postgresql
    host: /var/run/postgresql
    user: devflow_backup
    password: hunter2
    databases: {include: ["*"], exclude: ["template*"]}
    restore: {allow: false, extensions: [hstore]}
  - {name: second, engine: postgresql, host: db, port: 5433, sslmode: verify-full}
limits: {stall_timeout: 90s, drain: 5s}
storage: {local: {dir: /srv/backups, min_free: 500MiB}}
`

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFile(t *testing.T) {
	c, err := config.LoadFile(write(t, good, 0o600), engines)
	if err != nil {
		t.Fatal(err)
	}
	in, ok := c.Instance("main")
	if !ok || in.Port != 5432 || in.Password.Reveal() != "hunter2" || in.Restore.Allowed() || !in.Databases.Allows("shop") || in.Databases.Allows("template1") {
		t.Fatalf("%+v", in)
	}
	second, _ := c.Instance("second")
	if second.Port != 5433 || !second.Restore.Allowed() || !second.Databases.Allows("x") {
		t.Fatalf("%+v", second)
	}
	if c.Limits.StallTimeout.D() != 90*time.Second || c.Limits.UploadTimeout.D() != 10*time.Minute || c.Concurrency != 3 || c.StateDir != "/var/lib/x" {
		t.Fatalf("%+v", c)
	}
	if c.Storage.Local.Dir != "/srv/backups" || c.Storage.Local.MinFree != 500<<20 {
		t.Fatalf("%+v", c.Storage)
	}
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n"} {
		if c, err := config.LoadFile(write(t, empty, 0o644), engines); err != nil || c.Concurrency != 2 || c.Storage.Local.Dir != "" || c.Storage.Local.MinFree != 1<<30 {
			t.Fatalf("empty file %q: %v", empty, err)
		}
	}
}

func TestLoadFile_SQLite(t *testing.T) {
	c, err := config.LoadFile(write(t, `
state_dir: /var/lib/x
instances:
  - {name: files, engine: sqlite, paths: [/srv/*/database/*.sqlite, /var/lib/app/app.db], databases: {exclude: ["*/test/*"]}}
  - {name: elsewhere, engine: sqlite, paths: [/srv], snapshot_dir: /big/copies}
`, 0o644), engines)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"files": "/var/lib/x/snapshots", "elsewhere": "/big/copies"} {
		if in, _ := c.Instance(name); in.SnapshotDir != want || len(in.Paths) == 0 || in.Port != 0 {
			t.Errorf("%+v", in)
		}
	}
}

// What a restore in place needs.
func TestLoadFile_InPlace(t *testing.T) {
	swap := write(t, "swap-secret\n", 0o600)
	c, err := config.LoadFile(write(t, `
instances:
  - {name: pg, engine: postgresql, database: template1, restore: {in_place: true}}
  - {name: maria, engine: mysql, restore: {in_place: true, user: r, swap_user: s, swap_password_file: `+swap+`}}
  - {name: files, engine: sqlite, paths: [/srv], restore: {in_place: true}}
  - {name: frozen, engine: sqlite, paths: [/srv], restore: {in_place: true, allow: false}}
  - {name: plain, engine: postgresql}
`, 0o644), engines)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"pg": true, "maria": true, "files": true, "frozen": false, "plain": false} {
		if in, _ := c.Instance(name); in.Restore.InPlaceAllowed() != want {
			t.Errorf("%s: in place %t", name, !want)
		}
	}
	if in, _ := c.Instance("maria"); in.Restore.SwapUser != "s" || in.Restore.SwapPassword.Reveal() != "swap-secret" {
		t.Errorf("%+v", in.Restore)
	}
	if in, _ := c.Instance("pg"); in.Database != "template1" {
		t.Errorf("%+v", in)
	}
	in, _ := c.Instance("maria")
	if text := fmt.Sprintf("%+v", in); strings.Contains(text, "swap-secret") {
		t.Errorf("a configuration that is printed shows a password: %s", text)
	}
}

// Each mistake is named: the file, the key, the value, what is allowed. No error shows the password that stands beside it.
func TestLoadFile_Errors(t *testing.T) {
	secretFile, shortFile := write(t, "hunter2\n", 0o644), write(t, "hunter2\n", 0o600)
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want []string
	}{
		"unknown key":           {"concurency: 2\n", 0o600, []string{"concurency", "[1:1]"}},
		"nested unknown":        {"instances:\n  - name: a\n    password: hunter2\n    pasword_file: x\n", 0o600, []string{"pasword_file", "[4:"}},
		"bare duration":         {"limits: {drain: 30}\n", 0o600, []string{`"30" is not a duration`, "90s"}},
		"duration range":        {"limits: {stall_timeout: 1ms}\n", 0o600, []string{"limits.stall_timeout is 1ms", "1s to 24h"}},
		"wrong type":            {"concurrency: many\n", 0o600, []string{"[1:14]"}},
		"concurrency":           {"concurrency: 0\n", 0o600, []string{"concurrency is 0", "1 to 64"}},
		"level":                 {"log: {level: loud}\n", 0o600, []string{`log.level is "loud"`, "trace, debug, info"}},
		"proof":                 {"limits: {prove_blocks: some}\n", 0o600, []string{`limits.prove_blocks is "some"`, "auto, all"}},
		"engine":                {"instances: [{name: a, engine: oracle}]\n", 0o600, []string{`instances[0].engine is "oracle"`, "postgresql"}},
		"sslmode":               {"instances: [{name: a, engine: postgresql, sslmode: yes-please}]\n", 0o600, []string{"instances[0].sslmode", "verify-full"}},
		"port":                  {"instances: [{name: a, engine: postgresql, port: 70000}]\n", 0o600, []string{"instances[0].port is 70000"}},
		"name":                  {"instances: [{name: 'a b', engine: postgresql}]\n", 0o600, []string{`instances[0].name is "a b"`}},
		"same name":             {"instances: [{name: a, engine: postgresql}, {name: a, engine: postgresql}]\n", 0o600, []string{`instances[1].name is "a"`}},
		"relative":              {"state_dir: x\n", 0o600, []string{`state_dir is "x"`}},
		"both passwords":        {"instances: [{name: a, engine: postgresql, password: hunter2, password_file: /x}]\n", 0o600, []string{"password and password_file"}},
		"missing file":          {"instances: [{name: a, engine: postgresql, password_file: /nowhere/pw}]\n", 0o600, []string{"instances[0].password_file", "/nowhere/pw"}},
		"exposed file":          {"instances: [{name: a, engine: postgresql, password_file: " + secretFile + "}]\n", 0o600, []string{"chmod 600 " + secretFile}},
		"exposed password":      {"instances: [{name: a, engine: postgresql, password: hunter2}]\n", 0o644, []string{"instances[0].password", "chmod 600"}},
		"local relative":        {"storage: {local: {dir: backups}}\n", 0o600, []string{`storage.local.dir is "backups"`, "absolute"}},
		"local root":            {"storage: {local: {dir: /}}\n", 0o600, []string{`storage.local.dir is "/"`}},
		"local dots":            {"storage: {local: {dir: /srv/../etc}}\n", 0o600, []string{`storage.local.dir is "/srv/../etc"`}},
		"local slash":           {"storage: {local: {dir: /srv/}}\n", 0o600, []string{`storage.local.dir is "/srv/"`}},
		"local is state":        {"state_dir: /srv/x/\nstorage: {local: {dir: /srv/x}}\n", 0o600, []string{`storage.local.dir is "/srv/x"`, "state_dir"}},
		"local over state":      {"state_dir: /srv/x\nstorage: {local: {dir: /srv}}\n", 0o600, []string{`storage.local.dir is "/srv"`, "state_dir"}},
		"local size":            {"storage: {local: {dir: /srv, min_free: 500}}\n", 0o600, []string{`"500" is not a size`, "500MiB"}},
		"local unknown":         {"storage: {local: {path: /srv}}\n", 0o600, []string{"path", "[1:19]"}},
		"paths of a server":     {"instances: [{name: a, engine: postgresql, paths: [/srv]}]\n", 0o600, []string{"instances[0].paths", "postgresql"}},
		"snapshots of a server": {"instances: [{name: a, engine: postgresql, snapshot_dir: /srv}]\n", 0o600, []string{"instances[0].snapshot_dir"}},
		"no paths":              {"instances: [{name: a, engine: sqlite}]\n", 0o600, []string{"instances[0].paths is empty"}},
		"relative paths":        {"instances: [{name: a, engine: sqlite, paths: [db]}]\n", 0o600, []string{`instances[0].paths has "db"`, "absolute"}},
		"paths upwards":         {"instances: [{name: a, engine: sqlite, paths: [/srv/../etc]}]\n", 0o600, []string{`"/srv/../etc"`}},
		"all paths":             {"instances: [{name: a, engine: sqlite, paths: [/]}]\n", 0o600, []string{`instances[0].paths has "/"`}},
		"broken pattern":        {"instances: [{name: a, engine: sqlite, paths: ['/srv/[a']}]\n", 0o600, []string{`"[a"`}},
		"snapshots nowhere":     {"instances: [{name: a, engine: sqlite, paths: [/srv], snapshot_dir: x}]\n", 0o600, []string{`instances[0].snapshot_dir has "x"`}},
		"host of files":         {"instances: [{name: a, engine: sqlite, paths: [/srv], host: db}]\n", 0o600, []string{"instances[0].host is set", "sqlite"}},
		"port of files":         {"instances: [{name: a, engine: sqlite, paths: [/srv], port: 1}]\n", 0o600, []string{"instances[0].port is set"}},
		"user of files":         {"instances: [{name: a, engine: sqlite, paths: [/srv], user: x}]\n", 0o600, []string{"instances[0].user is set"}},
		"password of files":     {"instances: [{name: a, engine: sqlite, paths: [/srv], password: hunter2}]\n", 0o600, []string{"instances[0].password is set"}},
		"sslmode of files":      {"instances: [{name: a, engine: sqlite, paths: [/srv], sslmode: require}]\n", 0o600, []string{"instances[0].sslmode is set"}},
		"programs of files":     {"instances: [{name: a, engine: sqlite, paths: [/srv], bin_dirs: [/bin]}]\n", 0o600, []string{"instances[0].bin_dirs is set"}},
		"both swap passwords":   {"instances: [{name: a, engine: mysql, restore: {swap_user: s, swap_password: hunter2, swap_password_file: /x}}]\n", 0o600, []string{"restore.swap_password and restore.swap_password_file"}},
		"swap file missing":     {"instances: [{name: a, engine: mysql, restore: {swap_user: s, swap_password_file: /nowhere/pw}}]\n", 0o600, []string{"instances[0].restore.swap_password_file", "/nowhere/pw"}},
		"exposed swap password": {"instances: [{name: a, engine: mysql, restore: {swap_user: s, swap_password: hunter2}}]\n", 0o644, []string{"instances[0].restore.swap_password", "chmod 600"}},
		"swap user of postgres": {"instances: [{name: a, engine: postgresql, restore: {swap_user: s}}]\n", 0o600, []string{"restore.swap_user is set", "mysql"}},
		"swap user of files":    {"instances: [{name: a, engine: sqlite, paths: [/srv], restore: {swap_user: s}}]\n", 0o600, []string{"instances[0].restore.swap_user is set"}},
		"swap without a user":   {"instances: [{name: a, engine: mysql, restore: {swap_password: hunter2}}]\n", 0o600, []string{"restore.swap_user is not"}},
		"database of files":     {"instances: [{name: a, engine: sqlite, paths: [/srv], database: x}]\n", 0o600, []string{"instances[0].database is set"}},
		"database of mysql":     {"instances: [{name: a, engine: mysql, database: x}]\n", 0o600, []string{"instances[0].database is set", "postgresql"}},
		"metrics, no port":      {"metrics: {listen: 127.0.0.1}\n", 0o600, []string{`metrics.listen is "127.0.0.1"`, "host:port"}},
		"metrics for others":    {"metrics: {listen: '0.0.0.0:9187'}\n", 0o600, []string{`metrics.listen is "0.0.0.0:9187"`, "token_file"}},
		"metrics everywhere":    {"metrics: {listen: ':9187'}\n", 0o600, []string{`metrics.listen is ":9187"`, "token_file"}},
		"metrics by a name":     {"metrics: {listen: 'db-1:9187'}\n", 0o600, []string{`metrics.listen is "db-1:9187"`, "token_file"}},
		"metrics nowhere":       {"metrics: {token_file: /x}\n", 0o600, []string{"metrics.token_file is set", "listen is not"}},
		"metrics token missing": {"metrics: {listen: '0.0.0.0:9187', token_file: /nowhere/token}\n", 0o600, []string{"metrics.token_file", "/nowhere/token"}},
		"metrics token short":   {"metrics: {listen: '0.0.0.0:9187', token_file: " + shortFile + "}\n", 0o600, []string{"metrics.token_file", "16 bytes"}},
		"metrics token exposed": {"metrics: {listen: '0.0.0.0:9187', token_file: " + secretFile + "}\n", 0o600, []string{"metrics.token_file", "chmod 600"}},
		"two documents":         {"concurrency: 2\n---\nconcurrency: 3\n", 0o600, []string{"one"}},
		"not yaml":              {"instances: [\n", 0o600, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, tc.text, tc.mode)
			_, err := config.LoadFile(path, engines)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range append(tc.want, path) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows the password: %v", err)
			}
		})
	}
}

// Where metrics are served to this host alone, nobody needs a token; the token that there is, is read, and never shown.
func TestLoadFile_Metrics(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:9187", "127.8.0.1:0", "'[::1]:9187'", "localhost:9187"} {
		if _, err := config.LoadFile(write(t, "metrics: {listen: "+listen+"}\n", 0o600), engines); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	token := write(t, "hunter2-hunter2-hunter2\n", 0o600)
	c, err := config.LoadFile(write(t, "metrics: {listen: '0.0.0.0:9187', token_file: "+token+"}\n", 0o644), engines)
	if err != nil || c.Metrics.Token.Reveal() != "hunter2-hunter2-hunter2" || strings.Contains(fmt.Sprintf("%+v", c), "hunter2") {
		t.Errorf("%+v, %v", c.Metrics, err)
	}
	before := config.Default()
	if kept := c.Keep(before); !slices.Contains(kept, "metrics") || c.Metrics != before.Metrics || config.Reloaded("metrics.listen") {
		t.Errorf("a running agent takes over %+v, keeps %v", c.Metrics, kept)
	}
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true},
		{"*", "a/b\n🦀", true},
		{"shop", "shop", true},
		{"shop", "shop2", false},
		{"shop*", "shop2", true},
		{"*_test", "a_b_test", true},
		{"*_test", "a_test_b", false},
		{"a?c", "a🦀c", true},
		{"a?c", "ac", false},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		{"a*b*c", "aXbYbZc", true},
		{"", "a", false},
	} {
		if got := config.Match(tc.pattern, tc.name); got != tc.want {
			t.Errorf("Match(%q, %q) = %v", tc.pattern, tc.name, got)
		}
	}
}

func TestLimits_ProveAll(t *testing.T) {
	for _, tc := range []struct {
		setting    string
		processors int
		want       bool
	}{{"auto", 2, false}, {"auto", 4, true}, {"all", 1, true}, {"sample", 64, false}} {
		if got := (config.Limits{ProveBlocks: tc.setting}).ProveAll(tc.processors); got != tc.want {
			t.Errorf("%s with %d processors: %t", tc.setting, tc.processors, got)
		}
	}
	if got := config.Default().Limits.ProveBlocks; got != config.ProveAuto {
		t.Errorf("default is %q", got)
	}
}
