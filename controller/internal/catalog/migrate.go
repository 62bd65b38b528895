package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/uptrace/bun/migrate"

	"devflowbackup/controller"
	"devflowbackup/migrations"
)

// Advisory locks. The numbers are for ever: an older controller takes the same.
const (
	lockMigrate   = 0x6465760001
	lockSweep     = 0x6465760002
	lockClaim     = 0x6465760003
	lockRegister  = 0x6465760004
	lockFirst     = 0x6465760005
	lockDefault   = 0x6465760006
	lockStorages  = 0x6465760007
	lockSeal      = 0x6465760008
	lockAnchor    = 0x6465760009
	lockEvents    = 0x646576000a
	lockFold      = 0x646576000b
	lockAlarms    = 0x646576000c // who writes alarms and notices
	lockMessages  = 0x646576000d // who plans and claims messages
	lockRestoreTo = 0x64657606   // first of two numbers
	lockLimits    = 0x64657607   // first of two numbers
)

// Migrate brings the schema to what this binary knows and returns the names of the migrations that it ran. Any number of
// controllers may call it at once: one migrates, the others wait and then find nothing to do. A schema that is newer than
// the binary is refused.
func (c *Catalog) Migrate(ctx context.Context) ([]string, error) {
	config := c.config.Copy()
	for _, limit := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		config.RuntimeParams[limit] = "0"
	}
	config.RuntimeParams["devflow.scope"] = systemScope // else row-level security hides from a migration what it is to change
	db := c.connect(config, 2)                          // one holds the lock, one migrates
	defer func() { _ = db.Close() }()

	lock, err := db.Conn(ctx)
	if err != nil {
		return nil, c.connectError(ctx, err)
	}
	defer func() { _ = lock.Close() }() // closing the pool then ends the session, and the lock with it
	if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_lock("+strconv.Itoa(lockMigrate)+")"); err != nil {
		return nil, c.outward(ctx, classify(ctx, err), false, fmt.Errorf("lock migrations: %w", err))
	}
	known := migrate.NewMigrations()
	if err := known.Discover(migrations.FS); err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	m := migrate.NewMigrator(db, known, migrate.WithMarkAppliedOnSuccess(true))
	if err := m.Init(ctx); err != nil {
		return nil, c.outward(ctx, classify(ctx, err), false, fmt.Errorf("prepare migrations: %w", err))
	}
	if err := refuseNewer(ctx, m); err != nil {
		return nil, err
	}
	group, err := m.Migrate(ctx)
	if err != nil {
		return nil, c.outward(ctx, classify(ctx, err), false, fmt.Errorf("migrate: %w", err))
	}
	var names []string
	for _, one := range group.Migrations {
		names = append(names, one.Name+"_"+one.Comment)
		c.log.Info("catalog migrated", "migration", one.Name+"_"+one.Comment)
	}
	return names, nil
}

// MigrationsPending returns the names of the migrations that this binary knows and the schema does not have. A schema that is
// newer than the binary is an EConflict.
func (c *Catalog) MigrationsPending(ctx context.Context) ([]string, error) {
	known := migrate.NewMigrations()
	if err := known.Discover(migrations.FS); err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	m := migrate.NewMigrator(c.db, known)
	status := known.Sorted()
	var made bool
	if err := c.db.NewRaw("SELECT to_regclass('bun_migrations') IS NOT NULL").Scan(ctx, &made); err != nil {
		return nil, c.connectError(ctx, err)
	}
	if made {
		if err := refuseNewer(ctx, m); err != nil {
			return nil, err
		}
		var err error
		if status, err = m.MigrationsWithStatus(ctx); err != nil {
			return nil, c.outward(ctx, classify(ctx, err), false, fmt.Errorf("read migrations: %w", err))
		}
	}
	var names []string
	for _, one := range status {
		if !one.IsApplied() {
			names = append(names, one.Name+"_"+one.Comment)
		}
	}
	return names, nil
}

func refuseNewer(ctx context.Context, m *migrate.Migrator) error {
	newer, err := m.MissingMigrations(ctx)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if len(newer) == 0 {
		return nil
	}
	names := make([]string, len(newer))
	for i, one := range newer {
		names[i] = one.Name
	}
	return controller.Errorf(controller.EConflict, "the catalog was migrated by a newer controller (migration %s)", strings.Join(names, ", ")).
		WithHint("run the newer version of devflow-controller; an older one does not work on this catalog")
}
