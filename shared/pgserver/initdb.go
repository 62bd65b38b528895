package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"devflowbackup/shared/dbprocess"
	"devflowbackup/shared/secret"
)

// Nobody comes in without a password, not over the loopback interface and not over the socket.
const hba = `# Written once, when the data directory was made.
local all all scram-sha-256
local replication all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
`

// initialize makes the data directory. It is built beside its place and renamed into it, so that it exists whole or not
// at all; what a crash left of an earlier try is removed.
func (s *Server) initialize(ctx context.Context) error {
	leftovers, err := filepath.Glob(filepath.Join(s.dir, "data.new-*"))
	if err != nil {
		return err
	}
	for _, path := range leftovers {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove unfinished data directory: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("check data directory: %w", err)
	}
	if _, err := os.Lstat(s.data); err == nil {
		return fmt.Errorf("make data directory %s: it exists and is not of PostgreSQL: move it away", s.data)
	}

	staging, err := os.MkdirTemp(s.dir, "data.new-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(staging) }()
	if err := s.account.Own(staging); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := s.initdb(ctx, staging); err != nil {
		return err
	}
	if err := rewrite(filepath.Join(staging, "pg_hba.conf"), hba+s.opts.hbaLines()); err != nil {
		return fmt.Errorf("write pg_hba.conf: %w", err)
	}
	if err := os.Rename(staging, s.data); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return syncDir(s.dir)
}

func (s *Server) initdb(ctx context.Context, dir string) error {
	// The password goes through a pipe: never in an argument, an environment or a file that others may read.
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run initdb: %w", err)
	}
	defer func() { _ = read.Close() }()
	if s.account.Change {
		if err := read.Chown(int(s.account.UID), int(s.account.GID)); err != nil {
			_ = write.Close()
			return fmt.Errorf("run initdb: %w", err)
		}
	}
	_, err = write.WriteString(s.password.Reveal() + "\n")
	if err = errors.Join(err, write.Close()); err != nil {
		return fmt.Errorf("run initdb: %w", err)
	}
	args := []string{
		"-D", dir, "-U", s.opts.Superuser, "--pwfile=/dev/fd/3", "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8",
	}
	if !s.opts.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, s.bin.path("initdb"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{read}
	cmd.Dir, cmd.Env = "/", s.env()
	// The death signal is bound to the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account.Credential(), Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("run initdb: %w", context.Cause(ctx))
		}
		return fmt.Errorf("run initdb: %w: %s", err, dbprocess.LastLines(out.String()))
	}
	return nil
}

// rewrite replaces the content of a file that PostgreSQL owns, and keeps the owner.
func rewrite(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// loadPassword reads the superuser's password, or makes it before the data directory is made.
func (s *Server) loadPassword() error {
	path := filepath.Join(s.dir, "password")
	password, err := secret.LoadFile(path)
	if err == nil {
		s.password = password
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, statErr := os.Stat(filepath.Join(s.data, "PG_VERSION")); statErr == nil {
		return fmt.Errorf("%w: it belongs to the databases in %s: put it back from a copy, or set a new one with `postgres --single` as user %s",
			err, s.data, s.account.Name)
	}
	random := make([]byte, 24)
	_, _ = rand.Read(random)
	s.password = secret.String(base64.RawURLEncoding.EncodeToString(random))
	return writePrivate(path, s.password.Reveal()+"\n")
}

// dataMajor returns the major version that made the data directory, 0 if there is none.
func dataMajor(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of data directory: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read version of data directory %s: %w", data, err)
	}
	return major, nil
}

// writePrivate replaces the file at path, mode 0600, whole or not at all.
func writePrivate(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
