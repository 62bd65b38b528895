package mysqlserver

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
	"strings"
	"syscall"
	"time"

	"devflowbackup/shared/dbprocess"
	"devflowbackup/shared/secret"
)

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
	if _, err := os.Stat(filepath.Join(s.data, "mysql")); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("check data directory: %w", err)
	}
	if _, err := os.Lstat(s.data); err == nil {
		return fmt.Errorf("make data directory %s: it exists and is not of a database server: move it away", s.data)
	}
	staging, err := os.MkdirTemp(s.dir, "data.new-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(staging) }()
	if err := s.account.Own(staging); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := s.install(ctx, staging); err != nil {
		return err
	}
	if err := os.Rename(staging, s.data); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return syncDir(s.dir)
}

// install fills an empty data directory. Root has no password until the server's first start sets it.
func (s *Server) install(ctx context.Context, dir string) error {
	var argv []string
	if s.bin.Flavour == MySQL {
		argv = []string{
			s.bin.Server, "--no-defaults", "--initialize-insecure", "--datadir=" + dir, "--basedir=" + s.bin.BaseDir, "--tmpdir=" + s.tmpDir(),
			"--innodb-redo-log-capacity=64M",
		}
	} else {
		argv = []string{
			s.bin.Install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
			"--datadir=" + dir, "--tmpdir=" + s.tmpDir(), "--innodb-log-file-size=48M",
		}
		if s.bin.BaseDir != "" {
			argv = append(argv, "--basedir="+s.bin.BaseDir)
		}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir, cmd.Env = "/", append(environment(), "TMPDIR="+s.tmpDir())
	// The death signal is bound to the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account.Credential(), Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("make data directory: %w", context.Cause(ctx))
		}
		return fmt.Errorf("make data directory: %w: %s", err, dbprocess.LastLines(out.String()))
	}
	return nil
}

// loadPassword reads root's password, or makes it before the data directory is made.
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
	random := make([]byte, 24)
	_, _ = rand.Read(random)
	s.password = secret.String(base64.RawURLEncoding.EncodeToString(random))
	return writePrivate(path, s.password.Reveal()+"\n", nil)
}

// writeInit writes what the server runs before it accepts connections: it gives root the password of our file, also if
// the first start was cut short. Root comes from this host only.
func (s *Server) writeInit() error {
	password := quoteText(s.password.Reveal())
	lines := []string{
		// A replica must not get the source's root.
		"SET sql_log_bin = 0;",
		"CREATE USER IF NOT EXISTS 'root'@'localhost';",
		"ALTER USER 'root'@'localhost' IDENTIFIED BY " + password + ";",
		"CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';",
		"ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY " + password + ";",
		"GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;",
	}
	if s.bin.Flavour == MariaDB {
		lines = append(lines, "DROP USER IF EXISTS 'root'@'::1';", "DROP USER IF EXISTS ''@'localhost';")
	}
	return writePrivate(filepath.Join(s.dir, "init.sql"), strings.Join(lines, "\n")+"\n", s.account.Own)
}

// writeOptions writes root's option file for the client.
func (s *Server) writeOptions() error {
	return writePrivate(filepath.Join(s.dir, "client.cnf"),
		fmt.Sprintf("[client]\nprotocol=socket\nsocket=\"%s\"\nuser=root\npassword=\"%s\"\ndefault-character-set=utf8mb4\n", s.Socket(), s.password.Reveal()), nil)
}

// writePrivate replaces the file at path, mode 0600, whole or not at all.
func writePrivate(path, content string, own func(path string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(content)
	if own != nil {
		err = errors.Join(err, own(f.Name()))
	}
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
