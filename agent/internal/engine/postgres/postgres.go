// Package postgres is the PostgreSQL engine: pg_dump and pg_restore, driven so that a database name is never read as
// anything else, a password is seen by nobody, and a dump that is restored can do no more than its role.
//
// Invariants: a name reaches a program only in its environment, and a statement only as a quoted identifier. What is
// restored goes into a database of a staging name, filled by a role without rights over the server. Whatever fails, no
// process and no half-filled database is left.
package postgres

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	defaultHost           = "/var/run/postgresql"
	defaultPort           = 5432
	defaultDatabase       = "postgres"
	defaultStall          = 2 * time.Minute
	defaultRestoreStall   = 10 * time.Minute
	defaultLockTimeout    = time.Minute
	defaultConnectTimeout = 10 * time.Second

	// cleanupTimeout bounds what is done after a cancellation.
	cleanupTimeout = 30 * time.Second

	// minMajor is the oldest server whose catalogs we read.
	minMajor = 12
)

// Config names one PostgreSQL server and the accounts on it.
type Config struct {
	Name string // of the instance, in the agent's configuration
	// Host is a name, an address or the directory of a Unix socket; /var/run/postgresql if empty.
	Host string
	Port int // 5432 if zero
	// User reads: it dumps, describes, and creates the extensions in AllowedExtensions. An empty Password means peer,
	// certificate or trust authentication.
	User     string
	Password secret.String
	// Database is where connections go that concern the server; "postgres" if empty.
	Database string
	// SSLMode as libpq has it. Empty: disable for a socket, prefer for a loopback address, verify-full for all others.
	SSLMode string
	// SSLRootCert is the file of the authorities that sign the server's certificate; the system's if empty.
	SSLRootCert string
	// Include and Exclude are patterns of database names, with * and ?. No Include means all.
	Include, Exclude []string
	// RestoreUser creates and fills databases. If empty, it is User, which then must be without rights over the server.
	RestoreUser     string
	RestorePassword secret.String
	// AllowedExtensions may be created by User during a restore although only a superuser can.
	AllowedExtensions []string
	// BinDirs are directories, or patterns of such, with pg_dump and pg_restore. Empty: /usr/lib/postgresql/*/bin,
	// /usr/pgsql-*/bin and PATH.
	BinDirs []string
	// LockTimeout is how long a dump waits for the lock of a table; a minute if zero.
	LockTimeout time.Duration
	// Nice lowers the priority of the programs.
	Nice int
}

// Engine is the PostgreSQL engine for one server.
type Engine struct {
	cfg     Config
	log     hclog.Logger
	backup  account
	restore account

	mu       sync.Mutex
	versions map[string]installed // what programs answered, by path
}

var _ engine.Engine = (*Engine)(nil)

// account is who we are on the server.
type account struct {
	user     string
	password secret.String
}

// New checks the configuration. It does not connect.
func New(cfg Config, log hclog.Logger) (*Engine, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("configure PostgreSQL instance %q: %w", cfg.Name, err)
	}
	e := &Engine{cfg: cfg, log: log.Named("postgres").With("instance", cfg.Name), versions: map[string]installed{}}
	e.backup = account{cfg.User, cfg.Password}
	e.restore = e.backup
	if cfg.RestoreUser != "" {
		e.restore = account{cfg.RestoreUser, cfg.RestorePassword}
	}
	return e, nil
}

var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

func (c *Config) complete() error {
	if c.Host == "" {
		c.Host = defaultHost
	}
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.Database == "" {
		c.Database = defaultDatabase
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = defaultLockTimeout
	}
	if c.SSLMode == "" {
		switch {
		case c.socket():
			c.SSLMode = "disable"
		case c.local():
			c.SSLMode = "prefer"
		default:
			c.SSLMode = "verify-full"
		}
	}
	switch {
	case c.User == "":
		return fmt.Errorf("user is empty: name the role that reads the databases")
	case strings.ContainsAny(c.Host, ",\x00") || strings.ContainsRune(c.User+c.RestoreUser+c.Database, 0):
		return fmt.Errorf("host %q, user or database holds a comma or a zero byte: name one server", c.Host)
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("port %d is not between 1 and 65535", c.Port)
	case !slices.Contains(sslModes, c.SSLMode):
		return fmt.Errorf("ssl_mode %q is not one of %s", c.SSLMode, strings.Join(sslModes, ", "))
	case c.SSLRootCert != "" && !filepath.IsAbs(c.SSLRootCert):
		return fmt.Errorf("ssl_root_cert %q is not an absolute path", c.SSLRootCert)
	case c.SSLRootCert == "" && (c.SSLMode == "verify-ca" || c.SSLMode == "verify-full"):
		if c.SSLRootCert = systemAuthorities(); c.SSLRootCert == "" {
			return fmt.Errorf("ssl_mode %s needs ssl_root_cert: this system has no file of certificate authorities", c.SSLMode)
		}
	}
	if strings.ContainsAny(c.Password.Reveal()+c.RestorePassword.Reveal(), "\n\r\x00") {
		return fmt.Errorf("a password holds a line end or a zero byte, which libpq cannot read")
	}
	return nil
}

func (c *Config) socket() bool {
	return strings.HasPrefix(c.Host, "/") || strings.HasPrefix(c.Host, "@")
}

func (c *Config) local() bool {
	return c.socket() || c.Host == "localhost" || c.Host == "::1" || strings.HasPrefix(c.Host, "127.")
}

// maxName is the longest name in bytes; the server would cut a longer one in silence.
const maxName = 63

// checkName refuses what cannot be the name of a database.
func checkName(name string) error {
	var problem string
	switch {
	case name == "":
		problem = "is empty"
	case len(name) > maxName:
		problem = fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.ContainsRune(name, 0):
		problem = "holds a zero byte"
	case strings.ToValidUTF8(name, "") != name:
		problem = "is not UTF-8"
	default:
		return nil
	}
	return wire.Failf(wire.CodeBadRequest, "database name %q %s", name, problem)
}

func possible(name string) bool { return checkName(name) == nil }

func staging(name string) bool { return strings.HasPrefix(name, engine.StagingPrefix) }

func kept(name string) bool { return strings.HasPrefix(name, engine.KeptPrefix) }

// allowed tells whether the configuration lets the database be backed up.
func (e *Engine) allowed(name string) bool {
	if staging(name) || kept(name) {
		return false
	}
	for _, pattern := range e.cfg.Exclude {
		if match(pattern, name) {
			return false
		}
	}
	for _, pattern := range e.cfg.Include {
		if match(pattern, name) {
			return true
		}
	}
	return len(e.cfg.Include) == 0
}

// match is a pattern with * for any text and ? for any character; nothing else is special.
func match(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == n[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func (e *Engine) secrets() []secret.String {
	return []secret.String{e.cfg.Password, e.cfg.RestorePassword}
}
