// Package sqlite is the SQLite engine: consistent copies of files that programs are writing, made by SQLite's own online
// backup, and files restored beside them.
//
// Invariants: a database's name is the absolute path of its file and is never parsed as anything else. Only paths that the
// configuration lists are touched, none through a symbolic link, and nothing but regular files. A source is opened
// read-only and no statement of a database's own making runs outside its file: nothing can be attached or loaded. A copy has
// no name in the file system while it exists, so that a crash leaves none. A file is only written to, or given another name, while
// no other program has it open, and never by SQLite itself, which would act on what lies beside it.
//
// In one process, closing any descriptor of a file drops the locks that SQLite holds on it. Descriptors of sources are
// therefore O_PATH, which hold no locks, and a source is read by one connection or for its header, one after the other.
package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	sqlite3 "modernc.org/sqlite/lib"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

const (
	toolName    = "sqlite"
	toolVersion = sqlite3.SQLITE_VERSION
	dumpMethod  = "sqlite online backup"

	defaultStall       = 2 * time.Minute
	defaultLockTimeout = 30 * time.Second

	// grace is how long work that was told to stop is waited for. What hangs in a system call, such as on a dead
	// network file system, is then left to end by itself.
	grace = 10 * time.Second

	// maxName is the longest path in bytes; controllers take no longer name.
	maxName = 255
	// maxDepth is how deep below a configured directory databases may lie.
	maxDepth = 3
	// maxFiles is how many directory entries one search looks at.
	maxFiles = 10_000
	// spareSpace stays free on a disk that copies or restored files are written to.
	spareSpace = 64 << 20
)

// Config names the files of one instance.
type Config struct {
	Name string // of the instance, in the agent's configuration
	// Paths are files, directories or patterns of such, absolute and clean: databases are these files, or lie at most
	// three directories deep in these directories. In each component "*", "?" and "[a-z]" match as in filepath.Match.
	Paths []string
	// SnapshotDir is where copies are made, 0700; it is made if it is not there.
	SnapshotDir string
	// Include and Exclude are patterns of whole paths, with * and ? for any characters. No Include means all.
	Include, Exclude []string
	// LockTimeout is how long a dump waits for a writer in rollback-journal mode; 30 seconds if zero.
	LockTimeout time.Duration
}

// Engine is the SQLite engine for the files of one instance.
type Engine struct {
	cfg   Config
	log   hclog.Logger
	rules []rule

	mu       sync.Mutex
	restores map[string]string // directories of the staging and kept files that this process made

	// reached is called at named places of a copy, for tests.
	reached func(place string)
}

var _ engine.Engine = (*Engine)(nil)

// New checks the configuration and removes what dead processes have left in the snapshot directory.
func New(cfg Config, log hclog.Logger) (*Engine, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	e := &Engine{cfg: cfg, log: log.Named("sqlite").With("instance", cfg.Name), restores: map[string]string{}, reached: func(string) {}}
	if e.cfg.LockTimeout == 0 {
		e.cfg.LockTimeout = defaultLockTimeout
	}
	if err := e.complete(); err != nil {
		return nil, fmt.Errorf("configure SQLite instance %q: %w", cfg.Name, err)
	}
	e.sweep()
	return e, nil
}

func (e *Engine) complete() error {
	if len(e.cfg.Paths) == 0 {
		return errors.New("paths is empty: list the files, or the directories that they lie in")
	}
	for _, path := range e.cfg.Paths {
		r, err := parseRule(path)
		if err != nil {
			return fmt.Errorf("paths has %q: %w", path, err)
		}
		e.rules = append(e.rules, r)
	}
	if !filepath.IsAbs(e.cfg.SnapshotDir) {
		return fmt.Errorf("snapshot_dir %q is not an absolute path", e.cfg.SnapshotDir)
	}
	return nil
}

// checkName refuses what cannot be the name of a database. What looks like a URI or an option is a relative path.
func checkName(name string) error {
	var problem string
	switch {
	case name == "":
		problem = "is empty"
	case len(name) > maxName:
		problem = fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.ContainsRune(name, 0):
		problem = "holds a zero byte"
	case !utf8.ValidString(name):
		problem = "is not UTF-8"
	case !filepath.IsAbs(name):
		problem = "is not an absolute path"
	case filepath.Clean(name) != name:
		problem = "is not a clean path, without . and .. and doubled slashes"
	case name == "/":
		problem = "is no file"
	default:
		return nil
	}
	return wire.Failf(wire.CodeBadRequest, "database name %q %s", name, problem).WithHint("the name of an SQLite database is the absolute path of its file")
}

func possible(name string) bool { return checkName(name) == nil }

// ours tells whether a file of that name was made by a restore or kept by a swap.
func ours(name string) bool {
	return strings.HasPrefix(filepath.Base(name), engine.StagingPrefix) || strings.HasPrefix(filepath.Base(name), engine.KeptPrefix)
}
