// Package mysqlkit gives tests a real MariaDB. A missing server fails the test, it never skips it, and no server,
// process or directory is left when the test binary ends.
package mysqlkit

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"devflowbackup/shared/mysqlserver"
)

const patience = 2 * time.Minute

// RootVariable names a directory whose bin has Oracle MySQL, which is tested instead of the installed MariaDB.
const RootVariable = "DEVFLOW_MYSQL_ROOT"

// Start runs a server of the test's own, without durability, and stops it at the test's end. Each option may change how
// it runs. Use it for tests that restart the server or change its settings; others use Shared.
func Start(tb testing.TB, options ...func(*mysqlserver.Options)) *mysqlserver.Server {
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
		// Nothing of it is looked at again.
		if err := s.Kill(); err != nil {
			tb.Error(err)
		}
		stop(tb, s)
	})
	return s
}

// Pair runs a source with a binary log and its replica.
func Pair(tb testing.TB) (source, replica *mysqlserver.Server) {
	tb.Helper()
	source = Start(tb, func(o *mysqlserver.Options) { o.Settings["server-id"], o.Settings["log-bin"] = "1", "binlog" })
	replica = Start(tb, func(o *mysqlserver.Options) { o.Settings["server-id"], o.Settings["log-bin"] = "2", "binlog" })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := replica.Replicate(ctx, source); err != nil {
		tb.Fatal(err)
	}
	return source, replica
}

func start(dir string, options ...func(*mysqlserver.Options)) (*mysqlserver.Server, error) {
	opts := mysqlserver.Options{Dir: dir, Settings: map[string]string{
		"innodb-buffer-pool-size": "64M", "max-allowed-packet": "1G", "character-set-server": "utf8mb4",
	}}
	if root := os.Getenv(RootVariable); root != "" {
		bin, err := mysqlserver.FindIn(root)
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
	return mysqlserver.Start(ctx, opts)
}

func stop(tb testing.TB, s *mysqlserver.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		tb.Error(err)
	}
}

// makeDir makes a directory straight under /tmp that the server's user can reach: the test's own TempDir is closed to it.
func makeDir() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "mysqlkit-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

var shared struct {
	sync.Mutex
	main   bool
	dir    string
	server *mysqlserver.Server
	err    error
}

// Main runs the tests of a binary that uses Shared, stops the shared server and exits:
//
//	func TestMain(m *testing.M) { mysqlkit.Main(m) }
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
			fmt.Fprintln(os.Stderr, "mysqlkit:", err)
			code = 1
		}
	}
	if shared.dir != "" {
		if err := os.RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, "mysqlkit:", err)
			code = 1
		}
	}
	return code
}

// Shared is the server that all tests of this binary share, started by the first one that asks. Main must run.
func Shared(tb testing.TB) *mysqlserver.Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.main {
		tb.Fatal("mysqlkit: call mysqlkit.Main in TestMain: it stops the shared server")
	}
	if shared.server == nil && shared.err == nil {
		shared.dir, shared.err = makeDir()
		if shared.err == nil {
			shared.server, shared.err = start(shared.dir)
		}
	}
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return shared.server
}

// Exec runs SQL as root in a database, none if empty, and returns what the client prints.
func Exec(tb testing.TB, s *mysqlserver.Server, database, sql string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := s.Exec(ctx, database, sql)
	if err != nil {
		tb.Fatalf("%v in %.200s", err, sql)
	}
	return out
}
