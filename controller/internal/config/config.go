// Package config is the controller's configuration: Default, then Load (strict: an unknown key is an error), then Validate.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"devflowbackup/shared/secret"
)

// Config of one controller. Paths are absolute after Validate.
type Config struct {
	// DataDir holds the master key, the CA certificate, the first admin token and, with Embedded, the private PostgreSQL.
	DataDir string `yaml:"data_dir"`
	// Listen is where the HTTPS API listens, host:port; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// PublicURL is what agents and people call this controller; https://<listen> if empty.
	PublicURL string `yaml:"public_url"`
	// Names are host names and addresses that the certificates of API and broker shall carry beside the host's own.
	Names []string `yaml:"names"`
	// MasterKeyFile is the same key for every controller of an installation; <data_dir>/master.key if empty.
	MasterKeyFile string `yaml:"master_key_file"`

	Catalog Catalog `yaml:"catalog"`
	NATS    NATS    `yaml:"nats"`
	Timing  Timing  `yaml:"timing"`
	Log     Log     `yaml:"log"`

	// Embedded also runs a private PostgreSQL in DataDir. A flag, not a key: a file describes a real installation.
	Embedded bool `yaml:"-"`
}

// Catalog is the PostgreSQL that holds the truth.
type Catalog struct {
	DSN     secret.String `yaml:"dsn"`
	DSNFile string        `yaml:"dsn_file"`
}

// NATS is the broker: embedded at Listen, or an external cluster by URLs.
type NATS struct {
	Listen string   `yaml:"listen"`
	URLs   []string `yaml:"urls"`
	CAFile string   `yaml:"ca_file"`
	// Advertise is what agents are told to connect to; the listen address, or the URLs, if empty.
	Advertise []string `yaml:"advertise"`
}

// Timing is how long things may take.
type Timing struct {
	Heartbeat   time.Duration `yaml:"heartbeat"`
	Lease       time.Duration `yaml:"lease"`
	LeaseMax    time.Duration `yaml:"lease_max"`
	RetryBase   time.Duration `yaml:"retry_base"`
	RetryMax    time.Duration `yaml:"retry_max"`
	URLExpires  time.Duration `yaml:"url_expires"`
	DeleteGrace time.Duration `yaml:"delete_grace"`
	MaxAttempts int           `yaml:"max_attempts"`
}

// Log is the controller's own log, on standard error.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Default is a controller on this host alone.
func Default() Config {
	return Config{
		DataDir: "/var/lib/devflow-controller",
		Listen:  "127.0.0.1:8443",
		NATS:    NATS{Listen: "127.0.0.1:4222"},
		Timing: Timing{
			Heartbeat: 10 * time.Second, Lease: time.Minute, LeaseMax: time.Hour, RetryBase: 10 * time.Second, RetryMax: 10 * time.Minute,
			URLExpires: 15 * time.Minute, DeleteGrace: 24 * time.Hour, MaxAttempts: 3,
		},
		Log: Log{Level: "info", Format: "text"},
	}
}

// LoadFile reads a file over c.
func (c *Config) LoadFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := c.Load(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Load reads YAML over c. An unknown key is an error that names it and its line.
func (c *Config) Load(b []byte) error {
	if len(strings.TrimSpace(string(b))) == 0 {
		return nil
	}
	if err := yaml.UnmarshalWithOptions(b, c, yaml.Strict()); err != nil {
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	return nil
}

// Validate fills what follows from other keys, reads secrets from their files, and names the first key that is wrong.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		return errors.New("data_dir: is empty; give an absolute directory")
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	c.DataDir = abs
	if c.MasterKeyFile == "" {
		c.MasterKeyFile = filepath.Join(c.DataDir, "master.key")
	}
	if err := hostPort("listen", c.Listen); err != nil {
		return err
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("public_url: %q is not an https:// URL", c.PublicURL)
		}
	}
	if len(c.NATS.URLs) == 0 {
		if err := hostPort("nats.listen", c.NATS.Listen); err != nil {
			return err
		}
	}
	for _, raw := range c.NATS.URLs {
		if u, err := url.Parse(raw); err != nil || u.Host == "" || !slices.Contains([]string{"tls", "nats", "wss"}, u.Scheme) {
			return fmt.Errorf("nats.urls: %q is not a URL such as tls://nats1:4222", raw)
		}
	}
	if err := c.Timing.validate(); err != nil {
		return err
	}
	if !slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, c.Log.Level) {
		return fmt.Errorf("log.level: %q is not allowed; use trace, debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format: %q is not allowed; use text or json", c.Log.Format)
	}
	return c.catalog()
}

func (c *Config) catalog() error {
	given := c.Catalog.DSN.Reveal() != "" || c.Catalog.DSNFile != ""
	switch {
	case c.Embedded && given:
		return errors.New("catalog: a DSN and --embedded exclude each other")
	case c.Embedded:
		return nil
	case !given:
		return errors.New("catalog.dsn_file: is missing; name a file that holds postgres://user:password@host/database, or start with --embedded")
	case c.Catalog.DSN.Reveal() != "" && c.Catalog.DSNFile != "":
		return errors.New("catalog: dsn and dsn_file exclude each other")
	case c.Catalog.DSNFile != "":
		dsn, err := secret.LoadFile(c.Catalog.DSNFile)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("catalog.dsn_file: %s does not exist", c.Catalog.DSNFile)
		}
		if err != nil {
			return fmt.Errorf("catalog.dsn_file: %w", err)
		}
		c.Catalog.DSN = dsn
	}
	return nil
}

func (t Timing) validate() error {
	for _, d := range []struct {
		key      string
		value    time.Duration
		min, max time.Duration
	}{
		{"heartbeat", t.Heartbeat, time.Second, 5 * time.Minute},
		{"lease", t.Lease, 2 * time.Second, time.Hour},
		{"lease_max", t.LeaseMax, 2 * time.Second, 7 * 24 * time.Hour},
		{"retry_base", t.RetryBase, 10 * time.Millisecond, time.Hour},
		{"retry_max", t.RetryMax, 10 * time.Millisecond, 24 * time.Hour},
		{"url_expires", t.URLExpires, time.Second, 12 * time.Hour},
		{"delete_grace", t.DeleteGrace, 0, 365 * 24 * time.Hour},
	} {
		if d.value < d.min || d.value > d.max {
			return fmt.Errorf("timing.%s: %s is not allowed; use %s to %s", d.key, d.value, d.min, d.max)
		}
	}
	if t.Lease < 2*t.Heartbeat {
		return fmt.Errorf("timing.lease: %s is not allowed; use at least twice timing.heartbeat (%s)", t.Lease, t.Heartbeat)
	}
	if t.MaxAttempts < 1 || t.MaxAttempts > 100 {
		return fmt.Errorf("timing.max_attempts: %d is not allowed; use 1 to 100", t.MaxAttempts)
	}
	return nil
}

func hostPort(key, value string) error {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return fmt.Errorf("%s: %q is not host:port", key, value)
	}
	return nil
}
