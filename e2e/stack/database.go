package stack

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"devflowbackup/shared/freeport"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
)

// The roles that an agent uses, as the documentation tells to make them.
const (
	BackupRole  = "devflow_backup"  // reads all data
	RestoreRole = "devflow_restore" // makes databases, and is no superuser
	SwapRole    = "devflow_swap"    // MariaDB: puts restored databases in the place of others; no dump runs as it
	OwnerRole   = "shop_owner"      // PostgreSQL: owns the databases in whose place restores are made
)

// PostgresOptions of StartPostgres.
type PostgresOptions struct {
	// Port on loopback; a free one if 0.
	Port int
	// Settings are server settings, such as max_connections.
	Settings map[string]string
	// HBA are lines for the end of pg_hba.conf, when the server is made.
	HBA []string
	// Bin is the PostgreSQL to run; the newest if empty.
	Bin pgserver.Bin
}

// Postgres is a running PostgreSQL server with the roles of an agent.
type Postgres struct {
	*pgserver.Server
	BackupPasswordFile  string
	RestorePasswordFile string
}

// StartPostgres starts a database server with the roles BackupRole and RestoreRole.
func (s *Stack) StartPostgres(ctx context.Context, name string, opt PostgresOptions) (*Postgres, error) {
	log, err := os.OpenFile(s.LogFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if opt.Port == 0 {
		if opt.Port, err = freeport.Pick(); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
		}
	}
	settings := map[string]string{"shared_buffers": "64MB", "max_wal_size": "2GB", "log_min_messages": "warning"}
	for k, v := range opt.Settings {
		settings[k] = v
	}
	server, err := pgserver.Start(ctx, pgserver.Options{Dir: s.path(name), Port: opt.Port, Settings: settings, HBA: opt.HBA, Bin: opt.Bin, Log: log})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	s.onStop(func(ctx context.Context) error { return errors.Join(server.Stop(ctx), log.Close()) })
	p := &Postgres{Server: server}
	s.mu.Lock()
	s.databases = append(s.databases, p)
	s.mu.Unlock()
	if err := p.prepare(ctx, s, name); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	s.note("started %s on port %d, process id %d", name, server.Port(), server.Pid())
	return p, nil
}

func (p *Postgres) prepare(ctx context.Context, s *Stack, name string) error {
	var backup, restore string
	var err error
	if p.BackupPasswordFile, backup, err = s.secretFile("secrets", name+"-backup"); err != nil {
		return err
	}
	if p.RestorePasswordFile, restore, err = s.secretFile("secrets", name+"-restore"); err != nil {
		return err
	}
	conn, err := p.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, role := range []struct{ name, password, grant string }{
		{BackupRole, backup, "GRANT pg_read_all_data TO " + BackupRole},
		{RestoreRole, restore, "ALTER ROLE " + RestoreRole + " CREATEDB"},
	} {
		var have bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role.name).Scan(&have); err != nil {
			return fmt.Errorf("look for role %s: %w", role.name, err)
		}
		if !have {
			if err := p.CreateRole(ctx, role.name, secret.String(role.password)); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, role.grant); err != nil {
			return fmt.Errorf("give rights to role %s: %w", role.name, err)
		}
	}
	return nil
}

// Connect opens a connection as the superuser.
func (p *Postgres) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("connect to database %q: %w", database, err)
	}
	// Set as fields: a name that looks like a connection string stays a name.
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = p.Host(), uint16(p.Port()), p.Superuser(), p.Password().Reveal(), database
	cfg.TLSConfig, cfg.Fallbacks = nil, nil
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to database %q: %w", database, err)
	}
	return conn, nil
}

// Databases are the names of all databases, staging databases included, except PostgreSQL's own.
func (p *Postgres) Databases(ctx context.Context) ([]string, error) {
	conn, err := p.Connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, _ := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY datname")
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	return names, nil
}
