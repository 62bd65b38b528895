package stack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/wire"
)

// Server is a database server of any engine, or what stands for one: a directory of SQLite files.
type Server interface {
	// Engine is its name in the product's words.
	Engine() string
	// Instance is how an agent is configured for it, but for the instance's name.
	Instance() map[string]any
	// InPlace are the keys of its restore section, beside in_place itself, for restores in the place of its databases.
	InPlace() map[string]any
	// AllowInPlace gives the agent's accounts what a restore in the place of one database takes, as the documentation tells to.
	AllowInPlace(ctx context.Context, name string) error
	// Name makes the name of a database from a plain word.
	Name(word string) string
	// Create makes an empty database, Drop removes one if it is there.
	Create(ctx context.Context, name string) error
	Drop(ctx context.Context, name string) error
	// Exec runs SQL in a database, as its administrator, and returns what it prints.
	Exec(ctx context.Context, database, sql string) (string, error)
	// Databases lists all databases but the server's own, staging databases included.
	Databases(ctx context.Context) ([]string, error)
	// Content reads a whole database by plain SQL.
	Content(ctx context.Context, database string) (Content, error)
	// Load fills a new database with a raw dump, by programs that any distribution ships and none of ours.
	Load(ctx context.Context, database, dump string) error
}

var (
	_ Server = (*Postgres)(nil)
	_ Server = (*MariaDB)(nil)
	_ Server = (*SQLite)(nil)
)

// Engine is PostgreSQL.
func (p *Postgres) Engine() string { return wire.EnginePostgreSQL }

// Name is the word itself.
func (p *Postgres) Name(word string) string { return word }

// Instance has the roles that StartPostgres made.
func (p *Postgres) Instance() map[string]any {
	return map[string]any{
		"engine": p.Engine(), "host": p.Host(), "port": p.Port(), "sslmode": "disable",
		"user": BackupRole, "password_file": p.BackupPasswordFile,
		"restore": map[string]any{"user": RestoreRole, "password_file": p.RestorePasswordFile},
	}
}

// InPlace is nothing: the account that backs up renames databases.
func (p *Postgres) InPlace() map[string]any { return nil }

// AllowInPlace gives the database to OwnerRole, with whose rights, and those of RestoreRole, BackupRole may rename it.
func (p *Postgres) AllowInPlace(ctx context.Context, name string) error {
	_, err := p.Exec(ctx, "postgres", fmt.Sprintf(`
		DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') THEN CREATE ROLE %[1]s; END IF; END $$;
		ALTER ROLE %[2]s CREATEDB;
		GRANT %[1]s, %[3]s, pg_signal_backend TO %[2]s;
		ALTER DATABASE %[4]s OWNER TO %[1]s;`, OwnerRole, BackupRole, RestoreRole, pgserver.Quote(name)))
	return err
}

// Create makes an empty database.
func (p *Postgres) Create(ctx context.Context, name string) error {
	return p.CreateDatabase(ctx, name, "")
}

// Drop removes a database if it is there.
func (p *Postgres) Drop(ctx context.Context, name string) error { return p.DropDatabase(ctx, name) }

// Load restores a dump by pg_restore.
func (p *Postgres) Load(ctx context.Context, database, dump string) error {
	if err := p.Create(ctx, database); err != nil {
		return err
	}
	args := []string{
		"--no-owner", "--no-privileges", "--exit-on-error", "--no-password", "-h", p.Host(), "-p", strconv.Itoa(p.Port()), "-U", p.Superuser(),
		"-d", database, dump,
	}
	_, err := public(ctx, []string{"PGPASSFILE=" + p.Passfile()}, nil, filepath.Join(p.Bin().Dir, "pg_restore"), args...)
	return err
}

// public runs a program that is not ours, with an environment of nothing but the given settings.
func public(ctx context.Context, env []string, stdin *os.File, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", filepath.Base(program), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
