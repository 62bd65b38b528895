package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/shared/wire"
)

// systemAuthorities is the system's file of certificate authorities, empty if there is none.
func systemAuthorities() string {
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// Flavours of servers and programs.
const (
	flavourMariaDB = "MariaDB"
	flavourMySQL   = "MySQL"
)

// server is what a connection told of its server.
type server struct {
	flavour      string
	version      string // "10.11.19-MariaDB" or "8.4.3"
	major, minor int
}

func (s server) String() string {
	if s.flavour == flavourMariaDB {
		return "MariaDB " + strings.TrimSuffix(s.version, "-MariaDB")
	}
	return "MySQL " + s.version
}

func (s server) atLeast(major, minor int) bool {
	return s.major > major || s.major == major && s.minor >= minor
}

// supported refuses servers whose catalogs we do not read.
func (s server) supported() error {
	least := "MySQL 8.0"
	ok := s.atLeast(8, 0)
	if s.flavour == flavourMariaDB {
		least, ok = "MariaDB 10.3", s.atLeast(10, 3)
	}
	if ok {
		return nil
	}
	return wire.Failf(wire.CodeNotAllowed, "%s is not supported: %s or newer is", s, least)
}

func parseServer(version, comment string) server {
	s := server{flavour: flavourMySQL}
	number := version
	if strings.Contains(strings.ToLower(version+comment), "mariadb") {
		s.flavour = flavourMariaDB
		number = strings.TrimPrefix(number, "5.5.5-") // for old replicas
	}
	end := strings.IndexFunc(number, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		number = number[:end]
	}
	number = strings.TrimSuffix(number, ".")
	s.major, s.minor = majorMinor(number)
	s.version = number
	if s.flavour == flavourMariaDB {
		s.version += "-MariaDB"
	}
	return s
}

func majorMinor(version string) (major, minor int) {
	parts := strings.SplitN(version, ".", 3)
	major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}

// conn is one connection, with settings that nothing on the server changes the meaning of.
type conn struct {
	e      *Engine
	who    account
	db     *sql.DB
	c      *sql.Conn
	id     int64
	server server
}

// connect opens a connection without a current database. The caller closes it with hangUp.
func (e *Engine) connect(ctx context.Context, who account) (*conn, error) {
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr = "tcp", e.address()
	if e.cfg.socket() {
		cfg.Net, cfg.Addr = "unix", e.cfg.Host
	}
	cfg.User, cfg.Passwd = who.user, who.password.Reveal()
	cfg.Timeout = defaultConnectTimeout
	cfg.InterpolateParams = true
	cfg.Logger = &driver.NopLogger{}
	cfg.Collation = "utf8mb4_bin"
	cfg.Params = map[string]string{
		"sql_mode": "''", "time_zone": "'+00:00'", "wait_timeout": "28800", "net_write_timeout": "600", "sql_quote_show_create": "1",
		"lock_wait_timeout": strconv.Itoa(max(1, int(e.cfg.LockTimeout.Seconds()))),
	}
	var err error
	if cfg.TLS, err = e.tlsConfig(); err != nil {
		return nil, wire.Failf(wire.CodeTLS, "connect to %s: %w", e.address(), err).WithHint("look at ssl_root_cert of the instance %q", e.cfg.Name)
	}
	cfg.AllowFallbackToPlaintext = e.cfg.SSLMode == "prefer"
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, e.connectFailure(ctx, err, who)
	}
	c := &conn{e: e, who: who, db: sql.OpenDB(connector)}
	c.db.SetMaxOpenConns(1)
	dial, cancel := context.WithTimeoutCause(ctx, defaultConnectTimeout, fmt.Errorf("no answer within %s", defaultConnectTimeout))
	defer cancel()
	if c.c, err = c.db.Conn(dial); err != nil {
		_ = c.db.Close()
		if dial.Err() != nil && ctx.Err() == nil {
			err = errors.Join(context.Cause(dial), err)
		}
		return nil, e.connectFailure(ctx, err, who)
	}
	if err := c.greet(ctx); err != nil {
		c.hangUp(ctx)
		return nil, e.connectFailure(ctx, err, who)
	}
	return c, nil
}

// greet learns who the server is and takes off its limits on statements.
func (c *conn) greet(ctx context.Context) error {
	var version, comment string
	err := c.c.QueryRowContext(ctx, "SELECT VERSION(), @@version_comment, CONNECTION_ID()").Scan(&version, &comment, &c.id)
	if err != nil {
		return err
	}
	c.server = parseServer(version, comment)
	settings := "SET SESSION max_execution_time = 0, information_schema_stats_expiry = 0, innodb_parallel_read_threads = 1"
	switch {
	case c.server.flavour == flavourMariaDB && c.server.atLeast(10, 11):
		settings = "SET SESSION max_statement_time = 0, system_versioning_alter_history = KEEP"
	case c.server.flavour == flavourMariaDB:
		settings = "SET SESSION max_statement_time = 0"
	}
	_, err = c.c.ExecContext(ctx, settings)
	return err
}

func (e *Engine) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	switch e.cfg.SSLMode {
	case "disable":
		return nil, nil //nolint:nilnil // no TLS, as configured
	case "prefer", "require":
		cfg.InsecureSkipVerify = true //nolint:gosec // what these modes mean
		return cfg, nil
	}
	pem, err := os.ReadFile(e.cfg.SSLRootCert)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authorities: %s holds no certificate", e.cfg.SSLRootCert)
	}
	cfg.ServerName = e.cfg.Host
	if e.cfg.SSLMode == "verify-ca" {
		// The chain is checked, the name is not.
		cfg.InsecureSkipVerify = true //nolint:gosec // VerifyConnection does it
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, cert := range state.PeerCertificates[1:] {
				between.AddCert(cert)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: cfg.RootCAs, Intermediates: between})
			return err
		}
	}
	return cfg, nil
}

// hangUp closes a connection, also after ctx has ended; then the server is told to give up what it still does for it.
func (c *conn) hangUp(ctx context.Context) {
	_ = c.c.Close()
	_ = c.db.Close()
	if ctx.Err() == nil || c.id == 0 {
		return
	}
	c.e.kill(ctx, c.who, c.id)
}

// kill ends connections of an account of ours. That they are gone already is no problem.
func (e *Engine) kill(ctx context.Context, who account, ids ...int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultConnectTimeout)
	defer cancel()
	k, err := e.connect(ctx, who)
	if err != nil {
		return
	}
	defer k.hangUp(ctx)
	for _, id := range ids {
		_, _ = k.c.ExecContext(ctx, "KILL "+strconv.FormatInt(id, 10))
	}
}

func (c *conn) exec(ctx context.Context, statement string, args ...any) error {
	_, err := c.c.ExecContext(ctx, statement, args...)
	return err
}

// prepares tells whether the server takes a statement, without running it.
func (c *conn) prepares(ctx context.Context, statement string) error {
	s, err := c.c.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	return nil
}

// one reads a single row.
func (c *conn) one(ctx context.Context, query string, args []any, to ...any) error {
	return c.c.QueryRowContext(ctx, query, args...).Scan(to...)
}

// each calls use for each row; scan reads it.
func (c *conn) each(ctx context.Context, query string, args []any, use func(scan func(to ...any) error) error) error {
	rows, err := c.c.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := use(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// strings reads the first column.
func (c *conn) strings(ctx context.Context, query string, args ...any) (found []string, err error) {
	err = c.each(ctx, query, args, func(scan func(to ...any) error) error {
		var s string
		if err := scan(&s); err != nil {
			return err
		}
		found = append(found, s)
		return nil
	})
	return found, err
}

// records reads the answer of a SHOW statement, whose columns differ between servers, by column names in lower case.
// NULL is absent.
func (c *conn) records(ctx context.Context, query string, args ...any) (found []map[string]string, err error) {
	rows, err := c.c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		to := make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		record := map[string]string{}
		for i, v := range values {
			if v.Valid {
				record[strings.ToLower(columns[i])] = v.String
			}
		}
		found = append(found, record)
	}
	return found, rows.Err()
}

// same compares a column of the information schema with a placeholder byte by byte: its own collation takes ü for u. The
// first comparison lets the server look at one database only.
func same(column string) string {
	return column + " = ? AND CONVERT(" + column + " USING utf8mb4) COLLATE utf8mb4_bin = ?"
}

// variable is a server variable as a number, 0 if the server does not have it.
func (c *conn) variable(ctx context.Context, name string) (value int64) {
	if err := c.one(ctx, "SELECT @@GLOBAL."+name, nil, &value); err != nil {
		return 0
	}
	return value
}

// seconds is a server variable that is a time.
func (c *conn) seconds(ctx context.Context, name string) time.Duration {
	return time.Duration(c.variable(ctx, name)) * time.Second
}
