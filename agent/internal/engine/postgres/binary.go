package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/wire"
)

// binary is an installed program.
type binary struct {
	path    string
	version string // "15.18"
	major   int

	buffered bool // takes tool.Command.Buffered
}

// installed is what a file answered to --version.
type installed struct {
	binary
	size     int64
	modified time.Time
}

// find lists the installed programs of this name, in the order of the directories.
func (e *Engine) find(ctx context.Context, name string) []binary {
	patterns := e.cfg.BinDirs
	if len(patterns) == 0 {
		patterns = append([]string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}, filepath.SplitList(os.Getenv("PATH"))...)
	}
	var found []binary
	seen := map[string]bool{}
	for _, pattern := range patterns {
		if !filepath.IsAbs(pattern) {
			continue
		}
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			e.log.Warn("directory pattern is not valid", "pattern", pattern, "err", err)
		}
		for _, dir := range dirs {
			b, err := e.inspect(ctx, filepath.Join(dir, name))
			switch {
			case errors.Is(err, os.ErrNotExist), errors.Is(err, errWrapper):
			case err != nil:
				e.log.Warn("program does not tell its version", "path", filepath.Join(dir, name), "err", err)
			case !seen[b.path]:
				seen[b.path] = true
				found = append(found, b)
			}
		}
	}
	return found
}

// errWrapper is a script that chooses a PostgreSQL by the environment and the user's files.
var errWrapper = errors.New("not the program itself")

var versionLine = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^\s]*)`)

func (e *Engine) inspect(ctx context.Context, path string) (binary, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return binary{}, err
	}
	if filepath.Base(target) == "pg_wrapper" {
		return binary{}, errWrapper
	}
	info, err := os.Stat(target) //nolint:gosec // from bin_dirs and PATH, which the operator sets
	if err != nil {
		return binary{}, err
	}
	e.mu.Lock()
	known, ok := e.versions[path]
	e.mu.Unlock()
	if ok && known.size == info.Size() && known.modified.Equal(info.ModTime()) {
		return known.binary, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, buffered, err := tool.Version(ctx, path, "LC_ALL=C.UTF-8")
	if err != nil {
		return binary{}, err
	}
	m := versionLine.FindStringSubmatch(answer)
	if m == nil {
		return binary{}, fmt.Errorf("unknown answer %q", strings.TrimSpace(answer))
	}
	b := binary{path: path, version: m[1], major: leadingNumber(m[2]), buffered: buffered}
	e.mu.Lock()
	e.versions[path] = installed{b, info.Size(), info.ModTime()}
	e.mu.Unlock()
	return b, nil
}

// choose returns the program whose major version is nearest to the needed one and not older. Nearest, because what a
// program writes cannot be read by an older one, and a newer one may send settings that the server does not know.
func (e *Engine) choose(ctx context.Context, name string, major int, why string) (binary, error) {
	found := e.find(ctx, name)
	var best binary
	for _, b := range found {
		if b.major >= major && (best.path == "" || b.major < best.major) {
			best = b
		}
	}
	if best.path != "" {
		return best, nil
	}
	if f := stopped(ctx, "look for "+name); f != nil {
		return binary{}, f
	}
	if len(found) == 0 {
		return binary{}, wire.Failf(wire.CodeToolMissing, "%s is not installed: %s needs version %d", name, why, major).
			WithHint("apt install postgresql-client-%d, or set bin_dirs", major)
	}
	var have []string
	for _, b := range found {
		have = append(have, b.version+" ("+b.path+")")
	}
	return binary{}, wire.Failf(wire.CodeToolTooOld, "%s is too old: %s needs version %d or newer, found %s", name, why, major, strings.Join(have, ", ")).
		WithHint("apt install postgresql-client-%d, from apt.postgresql.org if the distribution does not have it", major)
}

// newest returns the newest program of this name.
func (e *Engine) newest(ctx context.Context, name string) (binary, error) {
	var best binary
	for _, b := range e.find(ctx, name) {
		if b.major > best.major {
			best = b
		}
	}
	if best.path == "" {
		if f := stopped(ctx, "look for "+name); f != nil {
			return binary{}, f
		}
		return binary{}, wire.Failf(wire.CodeToolMissing, "%s is not installed", name).WithHint("apt install postgresql-client, or set bin_dirs")
	}
	return best, nil
}
