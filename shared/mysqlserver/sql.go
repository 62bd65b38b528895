package mysqlserver

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"devflowbackup/shared/dbprocess"
	"devflowbackup/shared/secret"
)

// Exec runs SQL as root in a database, none if empty, by the client program, until the first error, and returns what it
// prints: rows as lines, columns separated by tabs. The text is the caller's: it must not contain what a user typed,
// except by Quote.
func (s *Server) Exec(ctx context.Context, database, sql string) (string, error) {
	args := []string{
		"--defaults-file=" + filepath.Join(s.dir, "client.cnf"), "--batch", "--skip-column-names", "--no-auto-rehash", "--comments",
		"--max-allowed-packet=1G",
	}
	if database != "" {
		args = append(args, "--", database)
	}
	cmd := exec.CommandContext(ctx, s.bin.Client, args...)
	cmd.Env = environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(sql), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("run SQL: %w", context.Cause(ctx))
		}
		return "", fmt.Errorf("run SQL: %w: %s", err, secret.Scrub(dbprocess.LastLines(stderr.String()), s.password))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// CreateUser makes an account that can log in from this host with this password and has no right.
func (s *Server) CreateUser(ctx context.Context, name string, password secret.String) error {
	sql := ""
	for _, host := range []string{"localhost", loopback} {
		sql += "CREATE USER " + quoteText(name) + "@'" + host + "' IDENTIFIED BY " + quoteText(password.Reveal()) + ";\n"
	}
	if _, err := s.Exec(ctx, "", sql); err != nil {
		return fmt.Errorf("create user %q: %s", name, secret.Scrub(err.Error(), password))
	}
	return nil
}

// Grant gives privileges on something to an account that CreateUser made: Grant(ctx, "SELECT", "*.*", "reader").
func (s *Server) Grant(ctx context.Context, privileges, on, user string) error {
	sql := ""
	for _, host := range []string{"localhost", loopback} {
		sql += "GRANT " + privileges + " ON " + on + " TO " + quoteText(user) + "@'" + host + "';\n"
	}
	if _, err := s.Exec(ctx, "", sql); err != nil {
		return fmt.Errorf("grant %s on %s to %q: %w", privileges, on, user, err)
	}
	return nil
}

// CreateDatabase makes an empty database with the server's character set.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	if _, err := s.Exec(ctx, "", "CREATE DATABASE "+Quote(name)); err != nil {
		return fmt.Errorf("create database %q: %w", name, err)
	}
	return nil
}

// DropDatabase removes a database if it exists.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	if _, err := s.Exec(ctx, "", "DROP DATABASE IF EXISTS "+Quote(name)); err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

// Replicate makes s a replica of source, which needs a server id of its own and its binary log. It returns when the
// replica has what the source has now.
func (s *Server) Replicate(ctx context.Context, source *Server) error {
	const user = "replicator"
	password := secret.String("replicator-" + filepath.Base(source.dir))
	if err := source.CreateUser(ctx, user, password); err != nil {
		return err
	}
	if err := source.Grant(ctx, "REPLICATION SLAVE", "*.*", user); err != nil {
		return err
	}
	sql := fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD=%s, MASTER_USE_GTID=slave_pos; START SLAVE;",
		source.Host(), source.Port(), user, quoteText(password.Reveal()))
	if s.bin.Flavour == MySQL {
		sql = fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='%s', SOURCE_PASSWORD=%s, GET_SOURCE_PUBLIC_KEY=1; START REPLICA;",
			source.Host(), source.Port(), user, quoteText(password.Reveal()))
	}
	if _, err := s.Exec(ctx, "", sql); err != nil {
		return fmt.Errorf("replicate: %s", secret.Scrub(err.Error(), password))
	}
	return s.CatchUp(ctx, source)
}

// CatchUp waits until a replica has what its source has now.
func (s *Server) CatchUp(ctx context.Context, source *Server) error {
	var wait string
	if s.bin.Flavour == MariaDB {
		position, err := source.Exec(ctx, "", "SELECT @@gtid_binlog_pos")
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		wait = fmt.Sprintf("SELECT MASTER_GTID_WAIT(%s, 30)", quoteText(position))
	} else {
		statement := "SHOW BINARY LOG STATUS"
		if strings.HasPrefix(source.bin.Version, "8.0") {
			statement = "SHOW MASTER STATUS"
		}
		position, err := source.Exec(ctx, "", statement)
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		fields := strings.Split(position, "\t")
		if len(fields) < 2 {
			return fmt.Errorf("catch up: the source has no binary log")
		}
		wait = fmt.Sprintf("SELECT SOURCE_POS_WAIT(%s, %s, 30)", quoteText(fields[0]), fields[1])
	}
	answer, err := s.Exec(ctx, "", wait)
	if err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	if answer == "NULL" || strings.HasPrefix(answer, "-") {
		return fmt.Errorf("catch up: the replica did not get there (%s)", answer)
	}
	return nil
}

// Quote returns name as an SQL identifier.
func Quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func quoteText(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\x00", `\0`).Replace(text) + "'"
}
