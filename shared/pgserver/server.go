// Package pgserver runs a private PostgreSQL server from the system's binaries in a directory of its own.
// A data directory has at most one server, and no server outlives the process that started it.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"devflowbackup/shared/dbprocess"
	"devflowbackup/shared/freeport"
	"devflowbackup/shared/secret"
)

const (
	loopback = "127.0.0.1"

	startTimeout = 60 * time.Second
	// How long a start waits for the server of a killed predecessor, which is shutting down, and how long a fast stop may take.
	stopTimeout = 20 * time.Second
	pollEvery   = 5 * time.Millisecond

	// socketPathMax is the kernel's limit for the path of a Unix socket.
	socketPathMax = 107
)

var (
	// ErrInUse is wrapped by the error for a directory whose server is running already.
	ErrInUse = dbprocess.ErrInUse
	// ErrStopped is wrapped by errors of a server that was stopped or has ended.
	ErrStopped = errors.New("PostgreSQL is not running")
)

// Options say how a server runs.
type Options struct {
	// Dir holds everything: the data directory, the superuser's password, the socket. It is made if it does not exist.
	// If we are root, the user postgres (or nobody) must be able to reach it.
	Dir string
	// Port on the loopback interface, 0 for a free one. It stays the same over Restart.
	Port int
	// Superuser is the name of the first role, "postgres" by default. It counts when the data directory is made.
	Superuser string
	// Durable is for data that must survive a crash of the machine. Without it, fsync is off.
	Durable bool
	// Settings are server settings, such as max_connections. They must not be secret: they are arguments.
	Settings map[string]string
	// HBA are lines put after the standard ones of pg_hba.conf when the data directory is made.
	HBA []string
	// Bin is the PostgreSQL to run; by default the newest, or the one that made the data directory.
	Bin Bin
	// Log receives the server's log, if set.
	Log io.Writer
}

func (o Options) hbaLines() string {
	if len(o.HBA) == 0 {
		return ""
	}
	return strings.Join(o.HBA, "\n") + "\n"
}

// Server is a running PostgreSQL. It listens on 127.0.0.1 and on a socket, and asks for a password on both. Its methods
// may be called from several goroutines.
type Server struct {
	opts      Options
	bin       Bin
	dir, data string
	account   dbprocess.Account
	password  secret.String
	socketDir string
	tempDir   bool // socketDir is ours to remove
	lock      *os.File

	mu      sync.Mutex // held while the server starts or stops
	port    int
	process *dbprocess.Process // nil before the first start
	closed  bool
}

// Start makes the data directory if there is none and starts the server in it; it returns when connections are
// accepted. The context bounds the start only. A directory with a running server is refused with ErrInUse; a server
// whose parent was killed a moment ago is waited for. If this process dies, the kernel tells the server to stop.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Superuser == "" {
		opts.Superuser = "postgres"
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil || opts.Dir == "" {
		return nil, fmt.Errorf("start PostgreSQL: directory %q is not usable: %w", opts.Dir, errors.Join(err, fs.ErrInvalid))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	s := &Server{opts: opts, dir: dir, data: filepath.Join(dir, "data"), port: opts.Port}
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if s.account, err = dbprocess.For(s.data, "postgres", "nobody"); err != nil {
		return err
	}
	if err := s.account.Reach(s.dir); err != nil {
		return err
	}
	if s.lock, err = dbprocess.Lock(filepath.Join(s.dir, "lock")); err != nil {
		return fmt.Errorf("lock %s: %w", s.dir, err)
	}
	if err := s.chooseBin(); err != nil {
		return err
	}
	if err := s.awaitPredecessor(ctx); err != nil {
		return err
	}
	if err := s.loadPassword(); err != nil {
		return err
	}
	if err := s.initialize(ctx); err != nil {
		return err
	}
	if err := s.makeSocketDir(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launch(ctx)
}

func (s *Server) chooseBin() error {
	major, err := dataMajor(s.data)
	if err != nil {
		return err
	}
	s.bin = s.opts.Bin
	switch {
	case s.bin.Dir != "" && major != 0 && s.bin.Major != major:
		return fmt.Errorf("use data directory %s: it was made by PostgreSQL %d, not %d", s.data, major, s.bin.Major)
	case s.bin.Dir != "":
	case major != 0:
		s.bin, err = FindMajor(major)
	default:
		s.bin, err = Find()
	}
	return err
}

// awaitPredecessor waits until no process works in the data directory any more, and removes a stale postmaster.pid: its
// number may since belong to someone else, which would make PostgreSQL refuse to start.
func (s *Server) awaitPredecessor(ctx context.Context) error {
	deadline := time.Now().Add(stopTimeout)
	for {
		pids := dbprocess.In(s.data)
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("use data directory %s: %w by the PostgreSQL with process id %d: stop it first", s.data, ErrInUse, pids[0])
		}
		if err := dbprocess.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(s.data, "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale postmaster.pid: %w", err)
	}
	return nil
}

// makeSocketDir makes the directory of the socket: in our own directory, or under /tmp if that path is too long.
func (s *Server) makeSocketDir() (err error) {
	s.socketDir = filepath.Join(s.dir, "run")
	if len(s.socketDir)+len("/.s.PGSQL.65535.lock") <= socketPathMax {
		if err := os.MkdirAll(s.socketDir, 0o755); err != nil {
			return fmt.Errorf("make socket directory: %w", err)
		}
	} else {
		if s.socketDir, err = os.MkdirTemp("/tmp", "devflow-pg-"); err != nil {
			return fmt.Errorf("make socket directory: %w", err)
		}
		s.tempDir = true
	}
	if err := errors.Join(os.Chmod(s.socketDir, 0o755), s.account.Own(s.socketDir)); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	return nil
}

// launch starts the server. If it may choose the port and another process took it meanwhile, it chooses again.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready within %s", startTimeout))
	defer cancel()
	for try := 1; ; try++ {
		if s.port == 0 {
			port, err := freeport.Pick()
			if err != nil {
				return err
			}
			s.port = port
		}
		if err := s.writePassfile(); err != nil {
			return err
		}
		p, err := dbprocess.Start(dbprocess.Command{
			Program: s.bin.path("postgres"), Args: s.args(), Env: s.env(), Dir: s.data, Account: s.account,
			Death: syscall.SIGINT, Ended: ErrStopped, Log: s.opts.Log,
		})
		if err != nil {
			return err
		}
		s.process = p
		err = s.awaitReady(ctx, p)
		if err == nil {
			return nil
		}
		p.Signal(syscall.SIGQUIT)
		if !p.Wait(5 * time.Second) {
			p.Signal(syscall.SIGKILL)
			<-p.Done()
		}
		if s.opts.Port != 0 || try == 5 || ctx.Err() != nil || !strings.Contains(p.Output(), "Address already in use") {
			return err
		}
		s.port = 0
	}
}

func (s *Server) args() []string {
	settings := map[string]string{
		"listen_addresses":        loopback,
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": s.socketDir,
		"password_encryption":     "scram-sha-256",
		"logging_collector":       "off",
		"log_destination":         "stderr",
	}
	if !s.opts.Durable {
		maps.Copy(settings, map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
	}
	maps.Copy(settings, s.opts.Settings)
	args := []string{"-D", s.data}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// env is the whole environment of the child processes.
func (s *Server) env() []string {
	return []string{"PATH=" + s.bin.Dir + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
}

// awaitReady waits until the server has written into its pid file that it answers, as pg_ctl does.
func (s *Server) awaitReady(ctx context.Context, p *dbprocess.Process) error {
	for {
		if ready(filepath.Join(s.data, "postmaster.pid"), p.Pid) {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("PostgreSQL ended (%w): %s", p.Err(), dbprocess.LastLines(p.Output()))
		default:
		}
		if err := dbprocess.Pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("wait for PostgreSQL: %w: %s", err, dbprocess.LastLines(p.Output()))
		}
	}
}

func ready(pidFile string, pid int) bool {
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(pid) {
		return false
	}
	status := strings.TrimSpace(lines[7])
	return status == "ready" || status == "standby" // which answers, too
}

// Stop ends the server: a fast stop, which rolls back what is open and writes everything to disk; if that takes longer
// than the context or 20 seconds, an immediate one, from which the next start recovers. It returns when no process is
// left. A stopped server cannot be started again; stopping twice does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.close()
	return s.halt(ctx, syscall.SIGINT)
}

// Restart stops the server and starts it again on the same port. An immediate restart cuts it short as a crash would.
// A server that ended by itself or by Kill is started again.
func (s *Server) Restart(ctx context.Context, immediate bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("restart PostgreSQL: %w", ErrStopped)
	}
	how := syscall.SIGINT
	if immediate {
		how = syscall.SIGQUIT
	}
	if err := s.halt(ctx, how); err != nil {
		return fmt.Errorf("restart PostgreSQL: %w", err)
	}
	if err := s.awaitPredecessor(ctx); err != nil {
		return fmt.Errorf("restart PostgreSQL: %w", err)
	}
	// The port is known to clients by now: it must not change.
	s.opts.Port = s.port
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restart PostgreSQL: %w", err)
	}
	return nil
}

// Kill ends the server with SIGKILL, as the kernel does when memory runs out, and returns when all its processes are
// gone. Restart starts it again.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halt(context.Background(), syscall.SIGKILL)
}

func (s *Server) halt(ctx context.Context, how syscall.Signal) error {
	p := s.process
	if p == nil {
		return nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{how, stopTimeout}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		p.Signal(step.signal)
		if step.signal != how {
			ctx = context.WithoutCancel(ctx)
		}
		limit, cancel := context.WithTimeout(ctx, step.wait)
		select {
		case <-p.Done():
			cancel()
			return s.awaitBackends()
		case <-limit.Done():
			cancel()
		}
	}
	return fmt.Errorf("stop PostgreSQL: process %d does not end", p.Pid)
}

// awaitBackends waits for the server's children, which end by themselves when their parent is gone.
func (s *Server) awaitBackends() error {
	deadline := time.Now().Add(stopTimeout)
	for {
		pids := dbprocess.In(s.data)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("stop PostgreSQL: process %d does not end", pids[0])
		}
		_ = dbprocess.Pause(context.Background(), pollEvery)
	}
}

func (s *Server) close() {
	if s.tempDir {
		_ = os.RemoveAll(s.socketDir)
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// Done is closed when the server process that runs now has ended, asked or not.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Done()
}

// Pid is the process id of the server.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Pid
}

// Bin is the PostgreSQL that runs.
func (s *Server) Bin() Bin { return s.bin }

// Host is the address that the server listens on.
func (s *Server) Host() string { return loopback }

// Port is the TCP port on the loopback interface.
func (s *Server) Port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port
}

// SocketDir is the directory of the Unix socket.
func (s *Server) SocketDir() string { return s.socketDir }

// Superuser is the name of the first role.
func (s *Server) Superuser() string { return s.opts.Superuser }

// Password is the superuser's password.
func (s *Server) Password() secret.String { return s.password }

// Passfile is the path of a file, in the form of .pgpass, with the superuser's password.
func (s *Server) Passfile() string { return filepath.Join(s.dir, "pgpass") }

// DSN is a connection URL for a user and a database, with the password if the user is the superuser.
func (s *Server) DSN(user, database string) secret.String {
	if user == s.opts.Superuser {
		return s.UserDSN(user, s.password, database)
	}
	return s.UserDSN(user, "", database)
}

// UserDSN is a connection URL for a user with this password.
func (s *Server) UserDSN(user string, password secret.String, database string) secret.String {
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort(loopback, strconv.Itoa(s.Port())), Path: "/" + database, RawQuery: "sslmode=disable"}
	u.User = url.User(user)
	if !password.Empty() {
		u.User = url.UserPassword(user, password.Reveal())
	}
	return secret.String(u.String())
}
