// Package s3kit gives tests, benches and demos a real S3 server (versitygw) on loopback and a proxy in front of it that
// injects faults by script.
//
// Its invariant: what it starts it also stops, by process id, and everything it writes lies under one directory. It uses
// the standard library alone, so that every module can import it.
package s3kit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"devflowbackup/shared/freeport"
)

// TB is the part of testing.TB that the package needs; a plain program uses Launch instead.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// Options of Launch. The zero value starts a throwaway server with random credentials on a free port.
type Options struct {
	// Dir holds data, versions and accounts. Empty: a new temporary directory, removed by Close.
	Dir string
	// Addr is the listen address, host:port. Empty: a free port on 127.0.0.1.
	Addr string
	// AccessKey and SecretKey of the root account. Empty: random.
	AccessKey, SecretKey string
	// Bucket is created if it is not there. Empty: "devflow".
	Bucket string
	// Versioned turns versioning on for Bucket.
	Versioned bool
	// ObjectLock creates Bucket with object lock, which implies versioning.
	ObjectLock bool
	// TLS serves https with a certificate of a throwaway authority: Server.CA.
	TLS bool
	// Binary is the path of versitygw. Empty: bin/tools/versitygw in the repository that holds the working directory.
	Binary string
	// Log receives the server's own output. Nil: kept in memory and shown when the start fails.
	Log *os.File
}

// Server is a running S3 server. Its fields do not change after the start.
type Server struct {
	Endpoint  string // http://127.0.0.1:port, https with TLS
	Region    string
	AccessKey string
	SecretKey string
	Bucket    string
	Dir       string // everything the server stores
	CA        []byte // PEM of the authority that signed the server's certificate; nil without TLS

	binary  string
	cmd     *exec.Cmd
	exited  chan struct{}
	waitErr error
	output  *tail
	owned   bool // Dir is ours to remove
	close   sync.Once
}

// Start runs a server until the test ends. A missing binary or a server that does not answer fails the test.
func Start(tb TB) *Server { tb.Helper(); return StartWith(tb, Options{}) }

// StartWith is Start with options.
func StartWith(tb TB, opt Options) *Server {
	tb.Helper()
	s, err := Launch(context.Background(), opt)
	if err != nil {
		tb.Fatalf("start S3 server: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Logf("stop S3 server: %v", err)
		}
	})
	return s
}

// Launch starts a server and waits until it answers and its bucket exists. ctx bounds the start only; the server runs
// until Close, or until this process dies.
func Launch(ctx context.Context, opt Options) (*Server, error) {
	s := &Server{
		Region: "us-east-1", AccessKey: opt.AccessKey, SecretKey: opt.SecretKey, Bucket: opt.Bucket,
		Dir: opt.Dir, binary: opt.Binary, exited: make(chan struct{}), output: &tail{max: 16 << 10},
	}
	if s.binary == "" {
		bin, err := findBinary()
		if err != nil {
			return nil, err
		}
		s.binary = bin
	}
	if s.AccessKey == "" {
		s.AccessKey = "key" + randomHex(8)
	}
	if s.SecretKey == "" {
		s.SecretKey = "secret" + randomHex(16)
	}
	if s.Bucket == "" {
		s.Bucket = "devflow"
	}
	if s.Dir == "" {
		dir, err := os.MkdirTemp("", "s3kit-")
		if err != nil {
			return nil, fmt.Errorf("make data directory: %w", err)
		}
		s.Dir, s.owned = dir, true
	}
	// The server changes into its data directory, so relative paths would mean something else to it.
	abs, err := filepath.Abs(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory %s: %w", s.Dir, err)
	}
	s.Dir = abs
	for _, d := range []string{"data", "versions", "iam"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make data directory: %w", err)
		}
	}
	if opt.TLS {
		if s.CA, err = writeCertificate(s.certFile(), s.keyFile()); err != nil {
			return nil, err
		}
	}

	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	// A free port can be taken between finding and using it; then the server exits at once and another one is tried.
	for try := 0; ; try++ {
		err = s.run(ctx, opt)
		if err == nil {
			break
		}
		if opt.Addr != "" || try == 4 || ctx.Err() != nil {
			s.Close()
			return nil, err
		}
	}
	if err := s.CreateBucket(ctx, s.Bucket, opt.ObjectLock); err != nil {
		s.Close()
		return nil, err
	}
	if opt.Versioned {
		if err := s.EnableVersioning(ctx, s.Bucket); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) run(ctx context.Context, opt Options) error {
	addr := opt.Addr
	if addr == "" {
		port, err := freeport.Pick()
		if err != nil {
			return err
		}
		addr = freeport.Address(port)
	}
	s.exited = make(chan struct{})
	args := []string{"--port", addr, "--region", s.Region, "--keep-alive", "--quiet", "--iam-dir", filepath.Join(s.Dir, "iam")}
	s.Endpoint = "http://" + addr
	if s.CA != nil {
		args = append(args, "--cert", s.certFile(), "--key", s.keyFile())
		s.Endpoint = "https://" + addr
	}
	s.cmd = exec.Command(s.binary, append(args, "posix", "--versioning-dir", filepath.Join(s.Dir, "versions"), filepath.Join(s.Dir, "data"))...)
	s.cmd.Env = []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey, "HOME=" + s.Dir, "PATH=/usr/bin:/bin"}
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if opt.Log != nil {
		s.cmd.Stdout, s.cmd.Stderr = opt.Log, opt.Log
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan struct{}) {
		// The death signal follows the thread that forked, so that thread lives as long as the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		s.waitErr = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	if err := <-started; err != nil {
		close(s.exited)
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	return s.awaitAnswer(ctx)
}

func (s *Server) awaitAnswer(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := s.Do(ctx, http.MethodGet, "/", nil, nil, nil)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %s", resp.Status)
		}
		select {
		case <-s.exited:
			return fmt.Errorf("S3 server at %s ended during its start: %w\n%s", s.Endpoint, s.waitErr, s.output)
		case <-ctx.Done():
			return fmt.Errorf("S3 server at %s does not answer: %w\n%s", s.Endpoint, err, s.output)
		case <-tick.C:
		}
	}
}

// PID is the process id of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Close stops the server and waits for its end: SIGTERM, then SIGKILL after five seconds. It removes the directory if
// Launch made it. Closing twice is fine.
func (s *Server) Close() error {
	var err error
	s.close.Do(func() {
		if s.cmd != nil && s.cmd.Process != nil {
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-s.exited:
			case <-time.After(5 * time.Second):
				_ = s.cmd.Process.Kill()
				<-s.exited
			}
		}
		if s.owned {
			err = os.RemoveAll(s.Dir)
		}
	})
	return err
}

// ObjectPath is the file that holds the current version of an object.
func (s *Server) ObjectPath(bucket, key string) string {
	return filepath.Join(s.Dir, "data", bucket, filepath.FromSlash(key))
}

// CorruptObject changes the byte at off of a stored object on disk, behind the server's back. A negative off counts
// from the end.
func (s *Server) CorruptObject(bucket, key string, off int64) error {
	f, err := os.OpenFile(s.ObjectPath(bucket, key), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("corrupt object %s: %w", key, err)
	}
	defer f.Close()
	if off < 0 {
		st, err := f.Stat()
		if err != nil {
			return fmt.Errorf("corrupt object %s: %w", key, err)
		}
		off += st.Size()
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		return fmt.Errorf("corrupt object %s at %d: %w", key, off, err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, off); err != nil {
		return fmt.Errorf("corrupt object %s at %d: %w", key, off, err)
	}
	return nil
}

// TruncateObject cuts a stored object on disk to size bytes, behind the server's back.
func (s *Server) TruncateObject(bucket, key string, size int64) error {
	if err := os.Truncate(s.ObjectPath(bucket, key), size); err != nil {
		return fmt.Errorf("truncate object %s: %w", key, err)
	}
	return nil
}

// CreateUser adds an account that owns no bucket: its requests to Bucket are denied.
func (s *Server) CreateUser(ctx context.Context, accessKey, secretKey string) error {
	return s.createAccount(ctx, accessKey, secretKey, "user")
}

// CreateAdmin adds an account that may do everything in every bucket: another key for the same storage.
func (s *Server) CreateAdmin(ctx context.Context, accessKey, secretKey string) error {
	return s.createAccount(ctx, accessKey, secretKey, "admin")
}

func (s *Server) createAccount(ctx context.Context, accessKey, secretKey, role string) error {
	body := fmt.Sprintf("<Account><Access>%s</Access><Secret>%s</Secret><Role>%s</Role></Account>", accessKey, secretKey, role)
	resp, err := s.Do(ctx, http.MethodPatch, "/create-user", nil, nil, []byte(body))
	return expect("create user "+accessKey, resp, err)
}

// DeleteUser removes an account: its key is no longer known.
func (s *Server) DeleteUser(ctx context.Context, accessKey string) error {
	resp, err := s.Do(ctx, http.MethodPatch, "/delete-user", map[string][]string{"access": {accessKey}}, nil, nil)
	return expect("delete user "+accessKey, resp, err)
}

// CreateBucket makes a bucket, with object lock on request. One that is already there is no error.
func (s *Server) CreateBucket(ctx context.Context, bucket string, lock bool) error {
	h := http.Header{}
	if lock {
		h.Set("X-Amz-Bucket-Object-Lock-Enabled", "true")
	}
	resp, err := s.Do(ctx, http.MethodPut, "/"+bucket, nil, h, nil)
	if err == nil && resp.StatusCode == http.StatusConflict {
		resp.Body.Close()
		return nil
	}
	return expect("create bucket "+bucket, resp, err)
}

// EnableVersioning turns versioning on for a bucket.
func (s *Server) EnableVersioning(ctx context.Context, bucket string) error {
	body := `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`
	resp, err := s.Do(ctx, http.MethodPut, "/"+bucket, map[string][]string{"versioning": {""}}, nil, []byte(body))
	return expect("enable versioning of "+bucket, resp, err)
}

// SetPolicy gives a bucket a policy, in JSON, in place of the one that it has.
func (s *Server) SetPolicy(ctx context.Context, bucket string, policy []byte) error {
	resp, err := s.Do(ctx, http.MethodPut, "/"+bucket, map[string][]string{"policy": {""}}, nil, policy)
	return expect("set policy of "+bucket, resp, err)
}

func expect(what string, resp *http.Response, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var b bytes.Buffer
		_, _ = b.ReadFrom(http.MaxBytesReader(nil, resp.Body, 4<<10))
		return fmt.Errorf("%s: %s: %s", what, resp.Status, strings.TrimSpace(b.String()))
	}
	return nil
}

// Root is the repository's root: the nearest directory above the working directory that holds go.work.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find repository root: no go.work above the working directory")
		}
		dir = up
	}
}

func findBinary() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin", "tools", "versitygw")
	if _, err := os.Stat(bin); err != nil {
		return "", fmt.Errorf("%s is missing: run make tools", bin)
	}
	return bin, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// tail keeps the last max bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
