// Package mysql is the engine for MariaDB and MySQL: mariadb-dump or mysqldump and their clients, driven so that a
// database name is never read as anything else, a password is seen by nobody, and a dump that is restored can do no more
// than its account.
//
// Invariants: a name reaches a program only behind "--" and a statement only as a quoted identifier. A dump is complete
// if the program ended with status 0 and its end mark is the last line. What is restored goes into a database of a
// staging name, filled by an account without rights over the server, with definers taken off and events disabled.
// Whatever fails, no process and no half-filled database is left.
package mysql

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	defaultHost           = "/run/mysqld/mysqld.sock"
	defaultPort           = 3306
	defaultStall          = 2 * time.Minute
	defaultRestoreStall   = 10 * time.Minute
	defaultLockTimeout    = time.Minute
	defaultConnectTimeout = 10 * time.Second

	// cleanupTimeout bounds what is done after a cancellation.
	cleanupTimeout = 30 * time.Second
)

// What becomes of the definers of views, routines, triggers and events when a dump is restored.
const (
	StripDefiners = "strip" // they belong to the restore account
	KeepDefiners  = "keep"  // needs the right to set any definer
)

// Config names one MariaDB or MySQL server and the accounts on it.
type Config struct {
	Name string // of the instance, in the agent's configuration
	// Host is a name, an address or the path of a Unix socket; /run/mysqld/mysqld.sock if empty.
	Host string
	Port int // 3306 if zero
	// User reads: it dumps and describes. An empty Password is for authentication by socket.
	User     string
	Password secret.String
	// SSLMode is disable, prefer, require, verify-ca or verify-full. Empty: disable for a socket, prefer for a loopback
	// address, verify-full for all others.
	SSLMode string
	// SSLRootCert is the file of the authorities that sign the server's certificate; the system's if empty.
	SSLRootCert string
	// Include and Exclude are patterns of database names, with * and ?. No Include means all.
	Include, Exclude []string
	// RestoreUser creates and fills databases. If empty, it is User, which then must be without rights over the server.
	RestoreUser     string
	RestorePassword secret.String
	// SwapUser puts a restored database in the place of another one. No dump runs as it. If empty, it is the restore account, which
	// can do so only where all views, routines, triggers and events of the target are its own.
	SwapUser     string
	SwapPassword secret.String
	// Definers is StripDefiners, also if empty, or KeepDefiners.
	Definers string
	// BinDirs are directories, or patterns of such, with the dump programs and the clients. Empty: PATH and the usual ones.
	BinDirs []string
	// LockTimeout is how long a dump waits for a table that somebody alters; a minute if zero.
	LockTimeout time.Duration
	// Nice lowers the priority of the programs.
	Nice int
}

// Engine is the engine for one server.
type Engine struct {
	cfg     Config
	log     hclog.Logger
	backup  account
	restore account
	swap    account

	mu       sync.Mutex
	versions map[string]installed // what programs answered, by path

	// beforeStep is called before each step of Publish and after each of Swap and Settle, with its name; for tests of what a crash leaves.
	beforeStep func(step string) error
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
		return nil, fmt.Errorf("configure MySQL instance %q: %w", cfg.Name, err)
	}
	e := &Engine{cfg: cfg, log: log.Named("mysql").With("instance", cfg.Name), versions: map[string]installed{}}
	e.backup = account{cfg.User, cfg.Password}
	e.restore = e.backup
	if cfg.RestoreUser != "" {
		e.restore = account{cfg.RestoreUser, cfg.RestorePassword}
	}
	e.swap = e.restore
	if cfg.SwapUser != "" {
		e.swap = account{cfg.SwapUser, cfg.SwapPassword}
	}
	return e, nil
}

var sslModes = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}

func (c *Config) complete() error {
	if c.Host == "" {
		c.Host = defaultHost
	}
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = defaultLockTimeout
	}
	if c.Definers == "" {
		c.Definers = StripDefiners
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
		return errors.New("user is empty: name the account that reads the databases")
	case strings.ContainsAny(c.Host, ",\x00\n\r") || strings.ContainsAny(c.User+c.RestoreUser+c.SwapUser, "\x00\n\r"):
		return fmt.Errorf("host %q or user holds a comma, a line end or a zero byte: name one server", c.Host)
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("port %d is not between 1 and 65535", c.Port)
	case !slices.Contains(sslModes, c.SSLMode):
		return fmt.Errorf("sslmode %q is not one of %s", c.SSLMode, strings.Join(sslModes, ", "))
	case c.SSLRootCert != "" && !filepath.IsAbs(c.SSLRootCert):
		return fmt.Errorf("ssl_root_cert %q is not an absolute path", c.SSLRootCert)
	case c.Definers != StripDefiners && c.Definers != KeepDefiners:
		return fmt.Errorf("restore.definers %q is not %s or %s", c.Definers, StripDefiners, KeepDefiners)
	case c.SSLRootCert == "" && (c.SSLMode == "verify-ca" || c.SSLMode == "verify-full"):
		if c.SSLRootCert = systemAuthorities(); c.SSLRootCert == "" {
			return fmt.Errorf("sslmode %s needs ssl_root_cert: this system has no file of certificate authorities", c.SSLMode)
		}
	}
	if strings.Contains(c.Password.Reveal()+c.RestorePassword.Reveal()+c.SwapPassword.Reveal(), "\x00") {
		return errors.New("a password holds a zero byte, which no server can check")
	}
	return nil
}

func (c *Config) socket() bool { return strings.HasPrefix(c.Host, "/") }

func (c *Config) local() bool {
	return c.socket() || c.Host == "localhost" || c.Host == "::1" || strings.HasPrefix(c.Host, "127.")
}

func (e *Engine) address() string {
	if e.cfg.socket() {
		return "socket " + e.cfg.Host
	}
	return net.JoinHostPort(e.cfg.Host, strconv.Itoa(e.cfg.Port))
}

func (e *Engine) where(database string) string {
	return fmt.Sprintf("database %q on %s", database, e.address())
}

func (e *Engine) secrets() []secret.String {
	return []secret.String{e.cfg.Password, e.cfg.RestorePassword, e.cfg.SwapPassword}
}

// maxName is the longest name in characters.
const maxName = 64

// checkName refuses what cannot be the name of a database.
func checkName(name string) error {
	var problem string
	switch {
	case name == "":
		problem = "is empty"
	case !utf8.ValidString(name):
		problem = "is not UTF-8"
	case utf8.RuneCountInString(name) > maxName:
		problem = fmt.Sprintf("is longer than %d characters", maxName)
	case strings.ContainsRune(name, 0):
		problem = "holds a zero byte"
	case strings.ContainsFunc(name, func(r rune) bool { return r > 0xFFFF }):
		problem = "holds a character outside the basic plane, which the server cannot store"
	case strings.HasSuffix(name, " "):
		problem = "ends with a space"
	case strings.HasPrefix(name, "#mysql50#"):
		problem = "is a directory, not a name"
	default:
		return nil
	}
	return wire.Failf(wire.CodeBadRequest, "database name %q %s", name, problem)
}

func possible(name string) bool { return checkName(name) == nil }

func staging(name string) bool { return strings.HasPrefix(name, engine.StagingPrefix) }

func kept(name string) bool { return strings.HasPrefix(name, engine.KeptPrefix) }

// ours tells whether a database is of a restore, and nobody else's.
func ours(name string) bool { return staging(name) || kept(name) }

// owner is who works on a database.
func (e *Engine) owner(name string) account {
	switch {
	case staging(name):
		return e.restore
	case kept(name):
		return e.swap
	}
	return e.backup
}

var systemSchemas = []string{"information_schema", "performance_schema", "mysql", "sys", "ndbinfo"}

func system(name string) bool {
	return slices.ContainsFunc(systemSchemas, func(s string) bool { return strings.EqualFold(s, name) })
}

// allowed tells whether the configuration lets the database be backed up.
func (e *Engine) allowed(name string) bool {
	if ours(name) || system(name) {
		return false
	}
	fits := func(pattern string) bool { return match(pattern, name) }
	if slices.ContainsFunc(e.cfg.Exclude, fits) {
		return false
	}
	return len(e.cfg.Include) == 0 || slices.ContainsFunc(e.cfg.Include, fits)
}

// match is a pattern with * for any text and ? for any character; nothing else is special.
func match(pattern, name string) bool { return wild([]rune(pattern), []rune(name), '*', '?', 0) }

// like is a pattern of a privilege: % for any text, _ for any character, a backslash before either for itself.
func like(pattern, name string) bool { return wild([]rune(pattern), []rune(name), '%', '_', '\\') }

func wild(p, n []rune, many, one, escape rune) bool {
	for len(p) > 0 {
		switch {
		case p[0] == many:
			for i := 0; i <= len(n); i++ {
				if wild(p[1:], n[i:], many, one, escape) {
					return true
				}
			}
			return false
		case len(n) == 0:
			return false
		case escape != 0 && p[0] == escape && len(p) > 1:
			if p[1] != n[0] {
				return false
			}
			p = p[1:]
		case p[0] != one && p[0] != n[0]:
			return false
		}
		p, n = p[1:], n[1:]
	}
	return len(n) == 0
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
