// Package mysqlserver runs a private MariaDB or MySQL server from installed binaries in a directory of its own.
// A data directory has at most one server, and no server outlives the process that started it.
package mysqlserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
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
	// How long a start waits for the server of a killed predecessor, which is shutting down, and how long a stop may take.
	stopTimeout = 30 * time.Second
	pollEvery   = 5 * time.Millisecond

	// socketPathMax is the kernel's limit for the path of a Unix socket.
	socketPathMax = 107
)

var (
	// ErrInUse is wrapped by the error for a directory whose server is running already.
	ErrInUse = dbprocess.ErrInUse
	// ErrStopped is wrapped by errors of a server that was stopped or has ended.
	ErrStopped = errors.New("the database server is not running")
)

// Options say how a server runs.
type Options struct {
	// Dir holds everything: the data directory, root's password, the socket. It is made if it does not exist. If we are
	// the operating system's root, the user mysql (or nobody) must be able to reach it.
	Dir string
	// Port on the loopback interface, 0 for a free one. It stays the same over Restart.
	Port int
	// Durable is for data that must survive a crash of the machine.
	Durable bool
	// CertFile and KeyFile make the server offer TLS. Both must be readable by the server's user.
	CertFile, KeyFile string
	// Settings are server settings, such as max_connections; an empty value gives an option without one. They must not be
	// secret: they are arguments.
	Settings map[string]string
	// Bin is the server to run; by default the installed MariaDB.
	Bin Bin
	// Log receives the server's log, if set.
	Log io.Writer
}

// Server is a running server. It listens on 127.0.0.1 and on a socket. Its methods may be called from several
// goroutines.
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
	dir, err := filepath.Abs(opts.Dir)
	if err != nil || opts.Dir == "" {
		return nil, fmt.Errorf("start database server: directory %q is not usable: %w", opts.Dir, errors.Join(err, fs.ErrInvalid))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start database server: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("start database server: %w", err)
	}
	s := &Server{opts: opts, bin: opts.Bin, dir: dir, data: filepath.Join(dir, "data"), port: opts.Port}
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("start database server: %w", err)
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if s.account, err = dbprocess.For(s.data, "mysql", "nobody"); err != nil {
		return err
	}
	if err := s.account.Reach(s.dir); err != nil {
		return err
	}
	if s.lock, err = dbprocess.Lock(filepath.Join(s.dir, "lock")); err != nil {
		return fmt.Errorf("lock %s: %w", s.dir, err)
	}
	if s.bin.Server == "" {
		if s.bin, err = Find(); err != nil {
			return err
		}
	}
	if err := s.awaitPredecessor(ctx); err != nil {
		return err
	}
	if err := s.loadPassword(); err != nil {
		return err
	}
	if err := s.makeTmpDir(); err != nil {
		return err
	}
	if err := s.initialize(ctx); err != nil {
		return err
	}
	if err := s.makeSocketDir(); err != nil {
		return err
	}
	if err := s.writeInit(); err != nil {
		return err
	}
	if err := s.writeOptions(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launch(ctx)
}

// awaitPredecessor waits until no process works in the data directory any more.
func (s *Server) awaitPredecessor(ctx context.Context) error {
	deadline := time.Now().Add(stopTimeout)
	for {
		pids := dbprocess.In(s.data)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("use data directory %s: %w by the server with process id %d: stop it first", s.data, ErrInUse, pids[0])
		}
		if err := dbprocess.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *Server) tmpDir() string { return filepath.Join(s.dir, "tmp") }

// makeTmpDir makes an empty directory for temporary files: a server that starts deletes what others have in a shared one.
func (s *Server) makeTmpDir() error {
	if err := errors.Join(os.RemoveAll(s.tmpDir()), os.Mkdir(s.tmpDir(), 0o700), s.account.Own(s.tmpDir())); err != nil {
		return fmt.Errorf("make directory for temporary files: %w", err)
	}
	return nil
}

// makeSocketDir makes the directory of the socket: in our own directory, or under /tmp if that path is too long.
func (s *Server) makeSocketDir() (err error) {
	s.socketDir = filepath.Join(s.dir, "run")
	if len(s.socketDir)+len("/mysqld.sock") <= socketPathMax {
		if err := os.MkdirAll(s.socketDir, 0o755); err != nil {
			return fmt.Errorf("make socket directory: %w", err)
		}
	} else {
		if s.socketDir, err = os.MkdirTemp("/tmp", "devflow-mysql-"); err != nil {
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
		// A socket of a killed server would look like a new one.
		if err := os.Remove(s.Socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale socket: %w", err)
		}
		p, err := dbprocess.Start(dbprocess.Command{
			Program: s.bin.Server, Args: s.args(), Env: environment(), Dir: s.data, Account: s.account,
			Death: syscall.SIGTERM, Ended: ErrStopped, Log: s.opts.Log,
		})
		if err != nil {
			return err
		}
		s.process = p
		err = s.awaitReady(ctx, p)
		if err == nil {
			return nil
		}
		p.Signal(syscall.SIGKILL)
		<-p.Done()
		if s.opts.Port != 0 || try == 5 || ctx.Err() != nil || !strings.Contains(p.Output(), "Address already in use") {
			return err
		}
		s.port = 0
	}
}

func (s *Server) args() []string {
	settings := map[string]string{
		"datadir":             s.data,
		"bind-address":        loopback,
		"port":                strconv.Itoa(s.port),
		"socket":              s.Socket(),
		"tmpdir":              s.tmpDir(),
		"pid-file":            filepath.Join(s.data, "server.pid"),
		"init-file":           filepath.Join(s.dir, "init.sql"),
		"skip-name-resolve":   "",
		"performance-schema":  "OFF",
		"secure-file-priv":    s.data,
		"skip-symbolic-links": "",
	}
	if s.bin.BaseDir != "" {
		settings["basedir"] = s.bin.BaseDir
	}
	if s.bin.Flavour == MySQL {
		delete(settings, "skip-symbolic-links")
		maps.Copy(settings, map[string]string{"mysqlx": "OFF", "disable-log-bin": "", "innodb-redo-log-capacity": "64M"})
		if _, ok := s.opts.Settings["log-bin"]; ok {
			delete(settings, "disable-log-bin")
		}
	} else {
		settings["innodb-log-file-size"] = "48M"
	}
	if s.opts.CertFile != "" {
		settings["ssl-cert"], settings["ssl-key"] = s.opts.CertFile, s.opts.KeyFile
	}
	if !s.opts.Durable {
		maps.Copy(settings, map[string]string{"innodb-flush-log-at-trx-commit": "0", "innodb-doublewrite": "OFF", "sync-binlog": "0"})
		if s.bin.Flavour == MariaDB {
			settings["innodb-flush-method"], settings["sync-frm"] = "nosync", "OFF"
		}
	}
	maps.Copy(settings, s.opts.Settings)
	args := []string{"--no-defaults"}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		arg := "--" + name
		if settings[name] != "" {
			arg += "=" + settings[name]
		}
		args = append(args, arg)
	}
	return args
}

// awaitReady waits until the server greets on its socket, which it opens to clients last.
func (s *Server) awaitReady(ctx context.Context, p *dbprocess.Process) error {
	for {
		if s.greets(ctx) {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("the server ended (%w): %s", p.Err(), dbprocess.LastLines(p.Output()))
		default:
		}
		if err := dbprocess.Pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("wait for the server: %w: %s", err, dbprocess.LastLines(p.Output()))
		}
	}
}

func (s *Server) greets(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.Socket())
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	// Before it is ready the server accepts and stays silent.
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	greeting := make([]byte, 5)
	_, err = io.ReadFull(conn, greeting)
	return err == nil && greeting[4] == 10 // the protocol's version
}

// Stop ends the server: a clean shutdown; if that takes longer than the context or 30 seconds, it is killed, from which
// the next start recovers. It returns when no process is left. A stopped server cannot be started again; stopping twice
// does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.close()
	return s.halt(ctx, syscall.SIGTERM)
}

// Restart stops the server and starts it again on the same port. An immediate restart cuts it short as a crash would.
// A server that ended by itself or by Kill is started again.
func (s *Server) Restart(ctx context.Context, immediate bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("restart database server: %w", ErrStopped)
	}
	how := syscall.SIGTERM
	if immediate {
		how = syscall.SIGKILL
	}
	if err := s.halt(ctx, how); err != nil {
		return fmt.Errorf("restart database server: %w", err)
	}
	// The port is known to clients by now: it must not change.
	s.opts.Port = s.port
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restart database server: %w", err)
	}
	return nil
}

// Kill ends the server with SIGKILL, as the kernel does when memory runs out, and returns when it is gone. Restart
// starts it again.
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
	}{{how, stopTimeout}, {syscall.SIGKILL, 10 * time.Second}} {
		p.Signal(step.signal)
		limit, cancel := context.WithTimeout(ctx, step.wait)
		select {
		case <-p.Done():
			cancel()
			return nil
		case <-limit.Done():
			cancel()
			ctx = context.WithoutCancel(ctx)
		}
	}
	return fmt.Errorf("stop database server: process %d does not end", p.Pid)
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

// Bin is the server that runs.
func (s *Server) Bin() Bin { return s.bin }

// Host is the address that the server listens on.
func (s *Server) Host() string { return loopback }

// Port is the TCP port on the loopback interface.
func (s *Server) Port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port
}

// Socket is the path of the Unix socket.
func (s *Server) Socket() string { return filepath.Join(s.socketDir, "mysqld.sock") }

// Root is the name of the account with all rights, from this host.
func (s *Server) Root() string { return "root" }

// OptionFile is the path of a file by which a client program logs in as root: --defaults-file.
func (s *Server) OptionFile() string { return filepath.Join(s.dir, "client.cnf") }

// Password is root's password.
func (s *Server) Password() secret.String { return s.password }
