// Package catalog is the PostgreSQL catalog, the only truth, and the only place with SQL.
//
// Invariants: each method is one transaction on PostgreSQL's clock; every query of a caller names the projects that the
// caller may see, and row-level security stands behind it; a terminal state never changes; a message or a completion with
// a token that no longer stands changes nothing.
//
// Errors for callers of the API are *controller.Error, for agents *wire.Failure. A catalog that cannot be reached, or that
// cannot write, is EUnavailable; then nothing was changed, unless the connection broke while the commit was on its way:
// every method may be repeated.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

const (
	statementTimeout = 30 * time.Second
	lockTimeout      = 5 * time.Second
	idleTimeout      = 20 * time.Second // a controller that was stopped inside a transaction must not hold its locks
	claimTime        = 60 * time.Second // of a finishing job
	offerTime        = 30 * time.Second // of an offer being delivered
	minVersion       = 130000
)

// Sealer seals values under the installation's master key.
type Sealer interface {
	Seal(purpose string, plaintext []byte) ([]byte, error)
	Open(purpose string, sealed []byte) ([]byte, error)
}

// Options of a Catalog. Zero durations and numbers take the defaults.
type Options struct {
	DSN          secret.String // URL or key=value
	ControllerID string        // names this controller in claims; unique among those on one catalog
	Sealer       Sealer        // may be set later, by SetSealer
	Log          hclog.Logger

	Retry          controller.Retry // between attempts; default 30 s doubling to 15 min
	Lease          time.Duration    // a heartbeat keeps an attempt for so long, default 90 s
	LeaseMax       time.Duration    // a suspect attempt is lost after so much controller time, default 1 h
	OfflineAfter   time.Duration    // an agent unheard for so long is offline, default 90 s
	DeleteGrace    time.Duration    // default 7 days
	MinUploadLimit int64            // bytes that any attempt may sign, default 1 GiB
	MaxAttempts    int              // of a job, default 3
	MaxConns       int              // default 4 per CPU, at least 16
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	or(&o.Retry.Base, 30*time.Second)
	or(&o.Retry.Max, 15*time.Minute)
	or(&o.Lease, 90*time.Second)
	or(&o.LeaseMax, time.Hour)
	or(&o.OfflineAfter, 90*time.Second)
	or(&o.DeleteGrace, 7*24*time.Hour)
	if o.MinUploadLimit == 0 {
		o.MinUploadLimit = 1 << 30
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 3
	}
	if o.MaxConns == 0 {
		o.MaxConns = max(16, 4*runtime.NumCPU())
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o
}

// Catalog is a pool of connections. It is safe for concurrent use.
type Catalog struct {
	opts   Options
	config *pgx.ConnConfig
	db     *bun.DB
	log    hclog.Logger
	sealer atomic.Pointer[Sealer]

	stuckAt atomic.Int64 // when this controller last looked for rows that are stuck; nanoseconds since 1970
}

// Open connects and refuses a role for which row-level security would not hold. It changes nothing: see Migrate.
func Open(ctx context.Context, opts Options) (*Catalog, error) {
	opts = opts.withDefaults()
	config, err := pgx.ParseConfig(opts.DSN.Reveal())
	if err != nil {
		// The parser's error quotes the text, which may hold a password where it is malformed.
		return nil, controller.Errorf(controller.EInvalid, "the catalog's DSN cannot be parsed").
			WithHint("use postgres://USER:PASSWORD@HOST:5432/DATABASE or key=value pairs, and percent-encode special characters of the password")
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	config.ConnectTimeout = 5 * time.Second
	for name, value := range map[string]string{
		"application_name":                    "devflow-controller",
		"timezone":                            "UTC",
		"client_encoding":                     "UTF8",
		"standard_conforming_strings":         "on",
		"default_transaction_isolation":       "read committed",
		"statement_timeout":                   milliseconds(statementTimeout),
		"lock_timeout":                        milliseconds(lockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(idleTimeout),
	} {
		config.RuntimeParams[name] = value
	}
	c := &Catalog{opts: opts, config: config, log: opts.Log}
	if opts.Sealer != nil {
		c.SetSealer(opts.Sealer)
	}
	c.db = c.connect(config, opts.MaxConns)
	if err := c.checkRole(ctx); err != nil {
		_ = c.db.Close()
		return nil, err
	}
	return c, nil
}

func (c *Catalog) connect(config *pgx.ConnConfig, conns int) *bun.DB {
	db := sql.OpenDB(stdlib.GetConnector(*config))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return bun.NewDB(db, pgdialect.New())
}

// Close closes the connections.
func (c *Catalog) Close() error { return c.db.Close() }

// SetSealer gives the catalog the master key, once it has proven right.
func (c *Catalog) SetSealer(s Sealer) { c.sealer.Store(&s) }

var (
	errNoSealer = errors.New("the master key is not loaded yet")
	errSealed   = errors.New("the value does not open under the master key")
)

func (c *Catalog) seal(purpose string, plaintext []byte) ([]byte, error) {
	s := c.sealer.Load()
	if s == nil {
		return nil, errNoSealer
	}
	sealed, err := (*s).Seal(purpose, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", purpose, err)
	}
	return sealed, nil
}

func (c *Catalog) unseal(purpose string, sealed []byte) ([]byte, error) {
	s := c.sealer.Load()
	if s == nil {
		return nil, errNoSealer
	}
	plain, err := (*s).Open(purpose, sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", purpose, errSealed, err)
	}
	return plain, nil
}

// Ping tells whether the catalog answers. The error names host and database, never the password.
func (c *Catalog) Ping(ctx context.Context) error {
	var one int
	if err := c.db.NewRaw("SELECT 1").Scan(ctx, &one); err != nil {
		return c.connectError(ctx, err)
	}
	return nil
}

func (c *Catalog) connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("reach catalog %s: %w", c.where(), context.Cause(ctx))
	}
	return fmt.Errorf("%w: %w", controller.Errorf(controller.EUnavailable, "the catalog at %s cannot be reached", c.where()).
		WithHint("check that PostgreSQL runs there and that the DSN's host, port, database, user and password are right"),
		scrub(err, c.config.Password))
}

func (c *Catalog) where() string {
	return fmt.Sprintf("host %s port %d database %q", c.config.Host, c.config.Port, c.config.Database)
}

// scrub makes sure that a driver's message does not hold the password.
func scrub(err error, password string) error {
	if password == "" {
		return err
	}
	if clean := secret.Scrub(err.Error(), secret.String(password)); clean != err.Error() {
		return errors.New(clean)
	}
	return err
}

// checkRole refuses a role that row-level security does not bind.
func (c *Catalog) checkRole(ctx context.Context) error {
	var role struct {
		Name     string
		Super    bool
		Bypass   bool
		Version  int
		Database string
	}
	err := c.db.NewRaw(`SELECT rolname AS name, rolsuper AS super, rolbypassrls AS bypass, current_database() AS database,
		current_setting('server_version_num')::int AS version FROM pg_roles WHERE rolname = current_user`).Scan(ctx, &role)
	if err != nil {
		return c.connectError(ctx, err)
	}
	if role.Version < minVersion {
		return controller.Errorf(controller.EInvalid, "the catalog's PostgreSQL has version %d; 13 or newer is needed", role.Version/10000)
	}
	if !role.Super && !role.Bypass {
		return nil
	}
	what := "is a superuser"
	if !role.Super {
		what = "has BYPASSRLS"
	}
	owner := "devflow"
	if role.Name == owner {
		owner = "devflow_catalog"
	}
	return controller.Errorf(controller.EInvalid, "the catalog's role %q %s: row-level security would not hold", role.Name, what).
		WithHint("make a role of its own and put it into the DSN: CREATE ROLE %s LOGIN PASSWORD '...' NOSUPERUSER NOBYPASSRLS; ALTER DATABASE %s OWNER TO %s;",
			owner, pgx.Identifier{role.Database}.Sanitize(), owner)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// interval is d as SQL.
func interval(d time.Duration) bun.Safe {
	return bun.Safe("interval '" + strconv.FormatFloat(d.Seconds(), 'f', 6, 64) + " seconds'")
}
