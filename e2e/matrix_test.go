package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"devflowbackup/e2e/stack"
)

// wholeMatrix is set by make test-matrix: every engine in every case. Otherwise the engines share the cases among them.
var wholeMatrix = os.Getenv("DEVFLOW_MATRIX") == "all"

// share gives the cases of one of the three engines, of those in which it has no part of its own.
func share[T any](engine int, cases []T) []T {
	if wholeMatrix {
		return cases
	}
	var its []T
	for i := engine; i < len(cases); i += 3 {
		its = append(its, cases[i])
	}
	return its
}

// combination is one way to keep a backup.
type combination struct{ compression, encryption, disk string }

func (c combination) String() string { return c.compression + "," + c.encryption + "," + c.disk }

// suffix is the end of the file's name.
func (c combination) suffix(engine string) string {
	return map[string]string{"postgresql": ".dump", "mysql": ".sql", "sqlite": ".sqlite"}[engine] +
		map[string]string{"zstd": ".zst", "gzip": ".gz", "none": ""}[c.compression] +
		map[string]string{"age": ".age", "aes-256-cbc": ".enc", "none": ""}[c.encryption]
}

// combinations of one of the three engines: all 18 of them if asked for (make test-matrix), else every third one, so that the engines
// together have each combination, and each engine has each codec and each kind of storage.
func combinations(engine int) (all []combination) {
	for i, compression := range []string{"zstd", "gzip", "none"} {
		for j, encryption := range []string{"age", "aes-256-cbc", "none"} {
			for k, disk := range []string{"s3", "local"} {
				if wholeMatrix || (i+j+k)%3 == engine {
					all = append(all, combination{compression, encryption, disk})
				}
			}
		}
	}
	return all
}

// TestMatrix: a backup of each engine, in each compression, each encryption and each kind of storage, verifies at both levels, is
// restored equal, and is recovered equal by public programs alone.
func TestMatrix(t *testing.T) {
	t.Parallel()
	e := newEstate(t, estateOptions{})
	ctx := testContext(t)
	e.project(t, ctx, "matrix")
	keys := filepath.Join(t.TempDir(), "keys.txt")
	do(t, ctx, e.ctl, "project", "key", "matrix", "-o", keys)
	sources := make([]*source, len(e.servers))
	for i, s := range e.servers {
		sources[i] = &source{Server: s, name: e.database(t, ctx, s, "matrix", "shop", "")}
		sources[i].content = contentOf(t, ctx, s, sources[i].name)
	}

	// A database has one backup at a time, and so the engines go side by side.
	var engines sync.WaitGroup
	for n, src := range sources {
		engines.Go(func() {
			for _, c := range combinations(n) {
				t.Run(src.Engine()+","+c.String(), func(t *testing.T) { e.combination(t, testContext(t), src, c, keys) })
			}
		})
	}
	engines.Wait()
	ctx = testContext(t)
	for _, src := range sources {
		same(t, ctx, src.Server, src.content, src.name)
	}
	e.invariants(t, ctx)
}

// source is a database that is backed up.
type source struct {
	stack.Server
	name    string
	content stack.Content
}

func (e *estate) combination(t *testing.T, ctx context.Context, src *source, c combination, keys string) {
	b := e.backUp(t, ctx, "matrix", src.name, "--compression", c.compression, "--encryption", c.encryption, "--storage-disk", c.disk)
	if b.DatabaseType != src.Engine() || b.Compression != c.compression || b.Encryption != c.encryption || b.StorageDisk != c.disk || b.SameHost != (c.disk == "local") {
		t.Errorf("it is not what was asked for: %+v", b)
	}
	if !strings.HasSuffix(b.FileName, c.suffix(src.Engine())) {
		t.Errorf("its file is %s, want a name that ends with %s", b.FileName, c.suffix(src.Engine()))
	}

	for _, level := range []string{"checksum", "content"} {
		do(t, ctx, e.ctl, "backup", "verify", id(b.ID), "--level", level)
		if now := e.backup(t, ctx, b.ID); now.VerifiedAt == nil || now.VerifiedLevel != level || now.Health != "ok" {
			t.Errorf("after verify --level %s: %+v", level, now)
		}
	}

	word := strings.NewReplacer(",", "_", "-", "_").Replace(c.String())
	restored := copyName(src, word)
	e.restore(t, ctx, b, restored)
	same(t, ctx, src, src.content, restored)
	drop(t, ctx, src, restored)

	dump, err := e.recoverByTools(ctx, b, keys, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if sum, size, err := sumFile(dump); err != nil || sum != b.RawChecksum || size != b.RawSize {
		t.Errorf("the recovered dump has SHA-256 %s and %d bytes, the catalog says %s and %d: %v", sum, size, b.RawChecksum, b.RawSize, err)
	}
	recovered := src.Name("hand_" + word)
	if err := src.Load(ctx, recovered, dump); err != nil {
		t.Fatal(err)
	}
	same(t, ctx, src, src.content, recovered)
	drop(t, ctx, src, recovered)
}

// recoverByTools takes a backup's file out of its storage and brings it back to the raw dump by programs that any distribution
// ships. For aes-256-cbc, devflowctl computes the keys, without a controller; openssl does the rest, as the printed commands say.
func (e *estate) recoverByTools(ctx context.Context, b fullBackup, keys, dir string) (dump string, err error) {
	file, err := e.fetch(ctx, b, b.FilePath, dir)
	if err != nil {
		return "", err
	}
	out, err := shell(ctx, dir, `sha256sum < "$1"`, file)
	if err != nil {
		return "", err
	}
	if sum, _, _ := strings.Cut(out, " "); sum != b.Checksum {
		return "", fmt.Errorf("sha256sum of %s says %s, the catalog %s", file, sum, b.Checksum)
	}
	if b.Encryption == "aes-256-cbc" {
		return e.recoverByOpenSSL(ctx, b, file, keys)
	}
	decrypt := map[string]string{"age": `age -d -i "$2" "$1"`, "none": `cat "$1"`}[b.Encryption]
	expand := map[string]string{"zstd": "zstd -d -q", "gzip": "gunzip", "none": "cat"}[b.Compression]
	dump = filepath.Join(dir, "recovered")
	_, err = shell(ctx, dir, "set -o pipefail; "+decrypt+" | "+expand+` > "$3"`, file, keys, dump)
	return dump, err
}

func (e *estate) recoverByOpenSSL(ctx context.Context, b fullBackup, file, keys string) (dump string, err error) {
	// Its manifest is not needed, but tells the MAC to compare with.
	if _, err := e.fetch(ctx, b, b.FilePath+".manifest.json", filepath.Dir(file)); err != nil {
		return "", err
	}
	var d struct {
		Check   string `json:"check_command"`
		Decrypt string `json:"decrypt_command"`
	}
	if err := e.offline(ctx, &d, "key", "derive", file, "--app-key-file", keys); err != nil {
		return "", err
	}
	dump = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(file, ".enc"), ".zst"), ".gz")
	if out, err := shell(ctx, filepath.Dir(file), d.Check); err != nil || !strings.Contains(out, "the MAC holds") {
		return "", fmt.Errorf("%s says %q: %w", d.Check, out, err)
	}
	_, err = shell(ctx, filepath.Dir(file), "set -o pipefail; "+d.Decrypt)
	return dump, err
}

// shell runs a script with arguments and nothing of ours in its environment.
func shell(ctx context.Context, dir, script string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", script, "bash"}, args...)...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", script, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// offline runs devflowctl without any setting by which it could find a controller, and decodes what it prints.
func (e *estate) offline(ctx context.Context, out any, args ...string) error {
	cmd := exec.CommandContext(ctx, e.Program("devflowctl"), append(args, "--output", "json")...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent"}
	text, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return fmt.Errorf("devflowctl %s: %w", strings.Join(args, " "), err)
	}
	return json.Unmarshal(text, out)
}

func sumFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
