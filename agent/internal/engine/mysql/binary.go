package mysql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/wire"
)

// binary is an installed program.
type binary struct {
	path         string
	flavour      string
	version      string // "10.11.19"
	major, minor int
	buffered     bool // takes tool.Command.Buffered
}

func (b binary) atLeast(major, minor int) bool {
	return b.major > major || b.major == major && b.minor >= minor
}

func (b binary) String() string { return fmt.Sprintf("%s %s (%s)", b.flavour, b.version, b.path) }

// installed is what a file answered to --version.
type installed struct {
	binary
	size     int64
	modified time.Time
}

// purpose is what a program is for, with the names that it has.
type purpose struct {
	names map[string][]string // by flavour, the best first
	pkg   map[string]string   // the package that has it, for hints
}

var (
	dumpProgram = purpose{map[string][]string{flavourMariaDB: {"mariadb-dump", "mysqldump"}, flavourMySQL: {"mysqldump"}}, packages}
	client      = purpose{map[string][]string{flavourMariaDB: {"mariadb", "mysql"}, flavourMySQL: {"mysql"}}, packages}
	packages    = map[string]string{flavourMariaDB: "mariadb-client", flavourMySQL: "mysql-client"}
)

// find lists the installed programs of these names, in the order of the directories.
func (e *Engine) find(ctx context.Context, names []string) []binary {
	patterns := e.cfg.BinDirs
	if len(patterns) == 0 {
		patterns = append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/opt/mysql/bin")
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
			for _, name := range names {
				b, err := e.inspect(ctx, filepath.Join(dir, name))
				switch {
				case errors.Is(err, os.ErrNotExist):
				case err != nil:
					e.log.Warn("program does not tell its version", "path", filepath.Join(dir, name), "err", err)
				case !seen[b.path]:
					seen[b.path] = true
					found = append(found, b)
				}
			}
		}
	}
	return found
}

func (e *Engine) inspect(ctx context.Context, path string) (binary, error) {
	info, err := os.Stat(path) //nolint:gosec // from bin_dirs and PATH, which the operator sets
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
	answer, buffered, err := tool.Version(ctx, path, "LC_ALL=C.UTF-8", "HOME=/nonexistent")
	if err != nil {
		return binary{}, err
	}
	b, err := parseProgram(answer)
	if err != nil {
		return binary{}, err
	}
	b.path, b.buffered = path, buffered
	e.mu.Lock()
	e.versions[path] = installed{b, info.Size(), info.ModTime()}
	e.mu.Unlock()
	return b, nil
}

// The version of the distribution comes first in all of them but MySQL 8, which has no other.
var versionPatterns = []*regexp.Regexp{
	regexp.MustCompile(`Distrib (\d+\.\d+(?:\.\d+)?)`),
	regexp.MustCompile(`from (\d+\.\d+(?:\.\d+)?)`),
	regexp.MustCompile(`Ver (\d+\.\d+(?:\.\d+)?)`),
}

// parseProgram reads the answer to --version.
func parseProgram(answer string) (binary, error) {
	for _, pattern := range versionPatterns {
		m := pattern.FindStringSubmatch(answer)
		if m == nil {
			continue
		}
		b := binary{version: m[1], flavour: flavourMySQL}
		if strings.Contains(answer, "MariaDB") {
			b.flavour = flavourMariaDB
		}
		b.major, b.minor = majorMinor(b.version)
		return b, nil
	}
	return binary{}, fmt.Errorf("unknown answer %q", strings.TrimSpace(answer))
}

// choose returns the program of the server's own flavour whose version is nearest to the server's and not older. One that
// is older within the same major version is taken if there is no other.
func (e *Engine) choose(ctx context.Context, p purpose, s server) (binary, error) {
	names := p.names[s.flavour]
	var own, other []binary
	for _, b := range e.find(ctx, names) {
		if b.flavour == s.flavour {
			own = append(own, b)
		} else {
			other = append(other, b)
		}
	}
	if b, ok := nearest(own, s); ok {
		return b, nil
	}
	if f := stopped(ctx, "look for "+names[0]); f != nil {
		return binary{}, f
	}
	hint := fmt.Sprintf("apt install %s, from the repository of %s if the distribution's is older, or set bin_dirs", p.pkg[s.flavour], s.flavour)
	switch {
	case len(own) > 0:
		return binary{}, wire.Failf(wire.CodeToolTooOld, "%s is too old: %s needs version %d or newer, found %s", names[0], s, s.major, list(own)).WithHint("%s", hint)
	case len(other) > 0:
		return binary{}, wire.Failf(wire.CodeToolMissing, "%s of %s is not installed: %s needs version %d or newer, found %s", names[0], s.flavour, s, s.major, list(other)).
			WithHint("%s", hint)
	}
	return binary{}, wire.Failf(wire.CodeToolMissing, "%s is not installed: %s needs version %d or newer", names[0], s, s.major).WithHint("%s", hint)
}

func nearest(programs []binary, s server) (binary, bool) {
	programs = slices.Clone(programs)
	slices.SortStableFunc(programs, func(a, b binary) int { return (a.major-b.major)*1000 + a.minor - b.minor })
	for _, b := range programs {
		if b.atLeast(s.major, s.minor) {
			return b, true
		}
	}
	if len(programs) > 0 && programs[len(programs)-1].major == s.major {
		return programs[len(programs)-1], true
	}
	return binary{}, false
}

func list(programs []binary) string {
	var have []string
	for _, b := range programs {
		have = append(have, b.String())
	}
	return strings.Join(have, ", ")
}
