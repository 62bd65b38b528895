package app

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/certificate"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/keys"
)

// How soon the end of a certificate is a warning.
const (
	givenEndsSoon     = 14 * 24 * time.Hour
	authorityEndsSoon = 365 * 24 * time.Hour
)

const dialPatience = 5 * time.Second

// CheckConfig looks at what a validated configuration names: files, their modes, and certificates. With reach it also asks the
// catalog and the external broker. It changes nothing, and may run beside the controller. file is the configuration's, empty if there is none.
func CheckConfig(ctx context.Context, cfg config.Config, file string, reach bool, log hclog.Logger) []Finding {
	var f findings
	now := time.Now()
	f.checkFile(cfg, file)
	f.checkDataDir(cfg.DataDir)
	switch _, err := keys.LoadMaster(cfg.MasterKeyFile); {
	case err == nil:
		f.ok("master_key_file", "%s, mode right", cfg.MasterKeyFile)
	case errors.Is(err, fs.ErrNotExist):
		f.add(FindingWarning, "master_key_file", cfg.MasterKeyFile+" does not exist",
			"on the first start of an installation it is made; otherwise copy the master key of the other controllers there, mode 0600")
	default:
		f.fail("master_key_file", err, "give it to the controller's account with mode 0600")
	}
	if cfg.Catalog.DSNFile != "" {
		f.ok("catalog.dsn_file", "%s, mode right", cfg.Catalog.DSNFile) // Validate has read it
	}
	if cfg.TLS.Given() {
		f.checkGiven(cfg, now)
	}
	f.checkAuthorities("storage_ca_file", cfg.StorageCAFile, now)
	f.checkAuthorities("oidc.ca_file", cfg.OIDC.CAFile, now)
	f.checkAuthorities("nats.ca_file", cfg.NATS.CAFile, now)
	f.checkAuthorities("the installation's CA", caFile(cfg), now)
	f.checkAddresses(cfg)
	if reach {
		f.reach(ctx, cfg, log)
	}
	return f
}

func caFile(cfg config.Config) string {
	path := filepath.Join(cfg.DataDir, "ca.pem")
	if _, err := os.Stat(path); err != nil {
		return "" // before the first start
	}
	return path
}

func (f *findings) checkFile(cfg config.Config, file string) {
	if file == "" {
		f.ok("configuration", "no file; environment, flags and defaults are valid")
		return
	}
	info, err := os.Stat(file)
	if err != nil {
		f.fail("configuration", err, "")
		return
	}
	perm := info.Mode().Perm()
	switch {
	case perm&0o022 != 0:
		f.add(FindingError, "configuration", fmt.Sprintf("%s can be written by others (mode %04o)", file, perm), fmt.Sprintf("run `chmod 640 %s`", file))
	case perm&0o007 != 0 && cfg.Catalog.DSNFile == "" && !cfg.Catalog.DSN.Empty() && os.Getenv(config.Variable("catalog.dsn")) == "":
		f.add(FindingError, "configuration", fmt.Sprintf("%s holds catalog.dsn and can be read by everybody (mode %04o)", file, perm),
			fmt.Sprintf("run `chmod 640 %s`, or use catalog.dsn_file", file))
	default:
		f.ok("configuration", "%s is valid", file)
	}
}

func (f *findings) checkDataDir(dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.add(FindingWarning, "data_dir", dir+" does not exist", "it is made by the first start, if the account of the controller may")
		return
	case err != nil:
		f.fail("data_dir", err, "")
		return
	case !info.IsDir():
		f.add(FindingError, "data_dir", dir+" is no directory", "name a directory")
		return
	case info.Mode().Perm()&0o022 != 0:
		f.add(FindingError, "data_dir", fmt.Sprintf("%s can be written by others (mode %04o)", dir, info.Mode().Perm()), fmt.Sprintf("run `chmod 711 %s`", dir))
		return
	}
	for _, name := range []string{"admin.token", "catalog.password"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			f.add(FindingError, "data_dir", fmt.Sprintf("%s is open to other users (mode %04o)", path, info.Mode().Perm()), fmt.Sprintf("run `chmod 600 %s`", path))
			return
		}
	}
	f.ok("data_dir", "%s, modes right", dir)
}

// checkGiven looks at the certificate that the operator gives.
func (f *findings) checkGiven(cfg config.Config, now time.Time) {
	pair, err := certificate.Load(cfg.TLS.CertFile, cfg.TLS.KeyFile)
	if err != nil {
		f.fail("tls", err, "name a certificate with its chain and its key, both PEM, the key with mode 0600")
		return
	}
	f.validity("tls", cfg.TLS.CertFile, pair.Leaf, givenEndsSoon, now)
}

func (f *findings) validity(check, what string, c *x509.Certificate, soon time.Duration, now time.Time) {
	text := fmt.Sprintf("%s is valid until %s", what, c.NotAfter.UTC().Format(time.RFC3339))
	switch left := c.NotAfter.Sub(now); {
	case now.Before(c.NotBefore):
		f.add(FindingError, check, fmt.Sprintf("%s is valid from %s only", what, c.NotBefore.UTC().Format(time.RFC3339)), "look at this host's clock")
	case left <= 0:
		f.add(FindingError, check, fmt.Sprintf("%s has ended at %s", what, c.NotAfter.UTC().Format(time.RFC3339)), "put a new one in its place")
	case left < soon:
		f.add(FindingWarning, check, text+fmt.Sprintf(", %d days from now", int(left.Hours()/24)), "put a new one in its place; the controller reads it by itself where it is its own certificate")
	default:
		f.ok(check, "%s", text)
	}
}

func (f *findings) checkAuthorities(check, path string, now time.Time) {
	if path == "" {
		return
	}
	rest, err := os.ReadFile(path)
	if err != nil {
		f.fail(check, err, "")
		return
	}
	var first *x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (first == nil || c.NotAfter.Before(first.NotAfter)) {
			first = c
		}
	}
	if first == nil {
		f.add(FindingError, check, path+" holds no PEM certificate", "")
		return
	}
	f.validity(check, path, first, authorityEndsSoon/4, now)
}

// checkAddresses tells what other hosts cannot reach.
func (f *findings) checkAddresses(cfg config.Config) {
	loopback := func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		ip := net.ParseIP(host)
		return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
	}
	if loopback(cfg.Listen) && !cfg.Embedded {
		f.add(FindingWarning, "listen", cfg.Listen+" is reached from this host alone", "set listen to an address of this host, such as 0.0.0.0:8443, unless a proxy stands before it")
	} else {
		f.ok("listen", "%s", cfg.Listen)
	}
	switch {
	case len(cfg.NATS.URLs) > 0:
		f.ok("nats", "external: %s", strings.Join(cfg.NATS.URLs, ", "))
	case loopback(cfg.NATS.Listen) && !cfg.Embedded:
		f.add(FindingWarning, "nats.listen", cfg.NATS.Listen+" is reached from this host alone", "set nats.listen to 0.0.0.0:4222, and nats.advertise to what agents shall call it")
	case unspecified(cfg.NATS.Listen) && len(cfg.NATS.Advertise) == 0:
		f.add(FindingWarning, "nats.advertise", "is not set: agents are told to connect to 127.0.0.1", "for agents on other hosts set nats.advertise, such as tls://backup.example.com:4222, and names: [backup.example.com]")
	default:
		f.ok("nats.listen", "%s", cfg.NATS.Listen)
	}
}

func unspecified(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// reach asks the catalog and the external broker whether they are there.
func (f *findings) reach(ctx context.Context, cfg config.Config, log hclog.Logger) {
	if !cfg.Embedded {
		err := withCatalog(ctx, cfg, "config check", log, func(cat *catalog.Catalog) error { return cat.Ping(ctx) })
		if err != nil {
			f.fail("catalog", err, "")
		} else {
			f.ok("catalog", "answers, and its role is bound by row-level security")
		}
	}
	for _, raw := range cfg.NATS.URLs {
		addr := hostOf(raw)
		conn, err := (&net.Dialer{Timeout: dialPatience}).DialContext(ctx, "tcp", addr)
		if err != nil {
			f.fail("nats "+addr, err, "look whether nats-server runs there, and at firewalls")
			continue
		}
		_ = conn.Close()
		f.ok("nats "+addr, "takes connections")
	}
}
