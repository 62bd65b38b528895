package pgserver

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"devflowbackup/shared/dbprocess"
	"devflowbackup/shared/secret"
)

// writePassfile writes the password where psql reads it: a file that only we can open.
func (s *Server) writePassfile() error {
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	return writePrivate(filepath.Join(s.dir, "pgpass"),
		fmt.Sprintf("%s:%d:*:%s:%s\n", loopback, s.port, escape.Replace(s.opts.Superuser), escape.Replace(s.password.Reveal())))
}

// Exec runs SQL as the superuser in a database, by psql, until the first error, and returns what it prints: rows as
// lines, columns separated by "|". The text is the caller's: it must not contain what a user typed, except by Quote.
func (s *Server) Exec(ctx context.Context, database, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, s.bin.path("psql"), "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-")
	// The database is named in the environment: in an argument, a name such as host=evil would be a connection string.
	cmd.Env = append(s.env(), "PGHOST="+loopback, "PGPORT="+strconv.Itoa(s.Port()), "PGUSER="+s.opts.Superuser,
		"PGDATABASE="+database, "PGPASSFILE="+filepath.Join(s.dir, "pgpass"), "PGSSLMODE=disable", "PGCONNECT_TIMEOUT=10", "HOME=/")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(sql), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("run SQL: %w", context.Cause(ctx))
		}
		return "", fmt.Errorf("run SQL: %w: %s", err, dbprocess.LastLines(stderr.String()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// CreateRole makes a role that can log in with this password and has no other right.
func (s *Server) CreateRole(ctx context.Context, name string, password secret.String) error {
	// A failed statement must not put the password into the server's log.
	sql := "SET log_min_error_statement = panic; CREATE ROLE " + Quote(name) + " LOGIN PASSWORD " + quoteText(password.Reveal())
	if _, err := s.Exec(ctx, "postgres", sql); err != nil {
		return fmt.Errorf("create role %q: %s", name, secret.Scrub(err.Error(), password))
	}
	return nil
}

// CreateDatabase makes a database that belongs to owner, the superuser if empty.
func (s *Server) CreateDatabase(ctx context.Context, name, owner string) error {
	if owner == "" {
		owner = s.opts.Superuser
	}
	if _, err := s.Exec(ctx, "postgres", "CREATE DATABASE "+Quote(name)+" OWNER "+Quote(owner)+" TEMPLATE template0"); err != nil {
		return fmt.Errorf("create database %q: %w", name, err)
	}
	return nil
}

// DropDatabase removes a database if it exists and cuts its connections.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	if _, err := s.Exec(ctx, "postgres", "DROP DATABASE IF EXISTS "+Quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

// Quote returns name as an SQL identifier.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteText(text string) string {
	return ` E'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + `'`
}
