package artifact_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"devflowbackup/shared/artifact"
)

var at = time.Date(2025, 3, 9, 23, 5, 7, 0, time.FixedZone("far west", -3*3600)) // 10 March in UTC

const attempt = "abcdefghij234567"

// FAULTS 59: names that hurt.
func TestFileName(t *testing.T) {
	t.Parallel()
	c := artifact.Codec{Compression: "zstd", Encryption: "age"}
	const rest = "_2025-03-10_020507_abcdefghij234567.dump.zst.age"
	for database, want := range map[string]string{
		"shop":                     "shop",
		"Shop-2_eu.test":           "Shop-2_eu.test",
		"":                         "database",
		"ünïcode 🦀":                "_n_code__",
		`o'brien; drop "x"`:        "o_brien__drop__x_",
		"$(reboot)`id`":            "__reboot__id_",
		"two\nlines\tand\x00nul":   "two_lines_and_nul",
		"-rf":                      "_rf",
		"--help":                   "_-help",
		"host=evil":                "host_evil",
		"postgres://u:p@h/db":      "postgres___u_p_h_db",
		"../../etc/passwd":         "_._.__etc_passwd",
		"..":                       "__",
		".hidden":                  "_hidden",
		"a..b":                     "a._b",
		"dot.":                     "dot_",
		`back\slash`:               "back_slash",
		"\u202edrowssap":           "_drowssap",
		"\xff\xfe":                 "__",
		strings.Repeat("x", 63):    strings.Repeat("x", 63),
		strings.Repeat("é", 500):   strings.Repeat("_", 100),
		strings.Repeat("ab.", 200): strings.Repeat("ab.", 33) + "a",
	} {
		if got := artifact.FileName(database, at, attempt, "dump", c); got != want+rest {
			t.Errorf("file name of %q is %q, want %q", database, got, want+rest)
		}
	}
	for want, c := range map[string]artifact.Codec{
		".sql":     {Compression: "none", Encryption: "none"},
		".sql.zst": {Compression: "zstd", Encryption: "none"},
		".sql.age": {Compression: "none", Encryption: "age"},

		".sql.gz":      {Compression: "gzip", Encryption: "none"},
		".sql.gz.age":  {Compression: "gzip", Encryption: "age"},
		".sql.gz.enc":  {Compression: "gzip", Encryption: "aes-256-cbc"},
		".sql.zst.enc": {Compression: "zstd", Encryption: "aes-256-cbc"},
		".sql.enc":     {Compression: "none", Encryption: "aes-256-cbc"},
	} {
		if got := artifact.FileName("shop", at, attempt, "sql", c); !strings.HasSuffix(got, attempt+want) {
			t.Errorf("file name is %q, want the end %q", got, want)
		}
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"":                "backups/2025/03/10/f",
		"acme":            "acme/backups/2025/03/10/f",
		"/acme//eu/":      "acme/eu/backups/2025/03/10/f",
		"../../acme/./eu": "acme/eu/backups/2025/03/10/f",
	} {
		if got := artifact.Key(prefix, at, "f"); got != want {
			t.Errorf("key with prefix %q is %q, want %q", prefix, got, want)
		}
	}
	c := artifact.Codec{Compression: "zstd", Encryption: "age"}
	for got, want := range map[string]string{
		artifact.FingerprintKey("k.dump.zst.age", c): "k.dump.zst.age.fingerprint.json.zst.age",
		artifact.GlobalsKey("k.dump.zst.age", c):     "k.dump.zst.age.globals.sql.zst.age",
		artifact.ManifestKey("k.dump.zst.age"):       "k.dump.zst.age.manifest.json",
	} {
		if got != want {
			t.Errorf("key is %q, want %q", got, want)
		}
	}
}

func TestNewAttemptID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := artifact.NewAttemptID()
		if !artifact.ValidAttemptID(id) || seen[id] {
			t.Fatalf("attempt id %q is not valid or not new", id)
		}
		seen[id] = true
	}
	for _, id := range []string{"", "abcdefghij23456", "abcdefghij2345678", "ABCDEFGHIJ234567", "abcdefghij234561", "abcdefghij2345/7", "../../../../../a"} {
		if artifact.ValidAttemptID(id) {
			t.Errorf("%q is valid", id)
		}
	}
}

var safe = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

func FuzzFileName(f *testing.F) {
	f.Add("shop", attempt, "dump", int64(0))
	f.Add("../..", "../../x", "/../sh", int64(-1<<60))
	f.Add("🦀\x00\n", "", "", int64(1<<61))
	f.Add("a.", ".", "..", int64(253402300800))
	f.Fuzz(func(t *testing.T, database, attemptID, ext string, unix int64) {
		c := artifact.Codec{Compression: "zstd", Encryption: "age"}
		when := time.Unix(unix, 0)
		name := artifact.FileName(database, when, attemptID, ext, c)
		if !safe.MatchString(name) || strings.Contains(name, "..") || len(name) > 400 {
			t.Fatalf("file name %q is not safe", name)
		}
		key := artifact.Key(database, when, name)
		if path.Clean("/"+key) != "/"+key || path.Base(key) != name {
			t.Fatalf("key %q is not clean", key)
		}
	})
}
