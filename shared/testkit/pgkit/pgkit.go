// Package pgkit gives tests a real PostgreSQL. A missing server fails the test, it never skips it, and no server,
// process or directory is left when the test binary ends.
package pgkit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
)

const patience = 2 * time.Minute

// RootVariable names a directory whose bin has another PostgreSQL, which is tested instead of the installed one.
const RootVariable = "DEVFLOW_POSTGRES_ROOT"

// Start runs a server of the test's own, with fsync off, and stops it at the test's end. Each option may change how it
// runs. Use it for tests that restart the server or change its roles; others share one by NewDatabase.
func Start(tb testing.TB, options ...func(*pgserver.Options)) *pgserver.Server {
	tb.Helper()
	dir, err := makeDir()
	if err != nil {
		tb.Fatal(err)
	}
	// Registered first, so that it runs after the server has stopped.
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	s, err := start(dir, options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func start(dir string, options ...func(*pgserver.Options)) (*pgserver.Server, error) {
	opts := pgserver.Options{Dir: dir, Settings: map[string]string{"shared_buffers": "32MB", "max_wal_size": "2GB"}}
	if root := os.Getenv(RootVariable); root != "" {
		bin, err := pgserver.FindIn(root)
		if err != nil {
			return nil, err
		}
		opts.Bin = bin
	}
	for _, option := range options {
		option(&opts)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return pgserver.Start(ctx, opts)
}

// makeDir makes a directory straight under /tmp that the server's user can reach: the test's own TempDir is closed to it.
func makeDir() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "pgkit-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

var shared struct {
	sync.Mutex
	main   bool
	dir    string
	server *pgserver.Server
	err    error
}

// Main runs the tests of a binary that uses Shared or NewDatabase, stops the shared server and exits:
//
//	func TestMain(m *testing.M) { pgkit.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main without the exit, for a TestMain that has more to do: it returns the exit status.
func Run(m *testing.M) int {
	shared.Lock()
	shared.main = true
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := shared.server.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "pgkit:", err)
			code = 1
		}
	}
	if shared.dir != "" {
		if err := os.RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, "pgkit:", err)
			code = 1
		}
	}
	return code
}

// NewOwnedDatabase makes an empty database on the shared server that belongs to a role of its own without other rights, and returns that
// role's DSN.
func NewOwnedDatabase(tb testing.TB) secret.String {
	tb.Helper()
	super, err := url.Parse(NewDatabase(tb))
	if err != nil {
		tb.Fatal(err)
	}
	s, name := Shared(tb), strings.TrimPrefix(super.Path, "/")
	role, password := name+"_role", secret.String("only for tests")
	if err := s.CreateRole(tb.Context(), role, password); err != nil {
		tb.Fatal(err)
	}
	if _, err := s.Exec(tb.Context(), "postgres", "ALTER DATABASE "+pgserver.Quote(name)+" OWNER TO "+pgserver.Quote(role)); err != nil {
		tb.Fatal(err)
	}
	return s.UserDSN(role, password, name)
}

// Shared is the server that all tests of this binary share, started by the first one that asks. Main must run.
func Shared(tb testing.TB) *pgserver.Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.main {
		tb.Fatal("pgkit: call pgkit.Main in TestMain: it stops the shared server")
	}
	if shared.server == nil && shared.err == nil {
		shared.dir, shared.err = makeDir()
		if shared.err == nil {
			shared.server, shared.err = start(shared.dir, func(o *pgserver.Options) { o.Settings["max_connections"] = "300" })
		}
	}
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return shared.server
}

// NewDatabase makes an empty database on the shared server and returns its superuser connection URL. It is dropped, and
// its connections are cut, at the test's end.
func NewDatabase(tb testing.TB) string {
	tb.Helper()
	return newDatabase(tb, "template0")
}

// CloneDatabase is NewDatabase with the content of a database of the shared server that nobody is connected to.
func CloneDatabase(tb testing.TB, of string) string {
	tb.Helper()
	return newDatabase(tb, of)
}

func newDatabase(tb testing.TB, template string) string {
	tb.Helper()
	s := Shared(tb)
	var random [6]byte
	_, _ = rand.Read(random[:])
	name := "test_" + hex.EncodeToString(random[:])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+pgserver.Quote(template)); err != nil {
		tb.Fatalf("create database %q: %v", name, err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.DropDatabase(ctx, name); err != nil {
			tb.Error(err)
		}
	})
	return s.DSN(s.Superuser(), name).Reveal()
}
