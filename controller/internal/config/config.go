// Package config is the controller's configuration: Default, then Load (strict: an unknown key is an error), then Environment, then
// Validate.
package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"devflowbackup/controller"
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
	// StorageCAFile holds PEM certificates of authorities that are trusted for S3 endpoints beside the system's.
	StorageCAFile string `yaml:"storage_ca_file"`

	TLS      TLS      `yaml:"tls"`
	Catalog  Catalog  `yaml:"catalog"`
	NATS     NATS     `yaml:"nats"`
	Packages Packages `yaml:"packages"`
	API      API      `yaml:"api"`
	OIDC     OIDC     `yaml:"oidc"`
	Metrics  Metrics  `yaml:"metrics"`
	Alarms   Alarms   `yaml:"alarms"`
	Timing   Timing   `yaml:"timing"`
	Log      Log      `yaml:"log"`

	// Embedded also runs a private PostgreSQL in DataDir. A flag, not a key: a file describes a real installation.
	Embedded bool `yaml:"-"`
}

// TLS is a certificate for the API from another authority than the installation's own. Agents are served the installation's own
// beside it.
type TLS struct {
	CertFile string `yaml:"cert_file"` // PEM, with its chain
	KeyFile  string `yaml:"key_file"`  // PEM
}

// Given tells whether there is one.
func (t TLS) Given() bool { return t.CertFile != "" }

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

// Packages are what hosts install the agent from.
type Packages struct {
	// Dir holds SHA256SUMS and the files that it names; it may be missing, and is looked at on each request.
	Dir string `yaml:"dir"`
	// URL is a directory of a web server with the same files; the checksums still come from Dir. The controller itself if empty.
	URL string `yaml:"url"`
}

// OIDC is an OpenID Connect provider by which people sign in; none if Issuer is empty.
type OIDC struct {
	Issuer           string        `yaml:"issuer"`
	ClientID         string        `yaml:"client_id"`
	ClientSecret     secret.String `yaml:"client_secret"`
	ClientSecretFile string        `yaml:"client_secret_file"`
	// Scopes are asked for beside openid.
	Scopes []string `yaml:"scopes"`
	// NameClaim is the user's name, GroupsClaim the groups of the user.
	NameClaim   string `yaml:"name_claim"`
	GroupsClaim string `yaml:"groups_claim"`
	// Groups are what people of a group may do, as controller.ParseGroup reads it; who is in none does not get in.
	Groups []string `yaml:"groups"`
	// Title is what the button says.
	Title string `yaml:"title"`
	// CAFile holds PEM certificates of authorities that the provider is trusted by, beside the system's.
	CAFile string `yaml:"ca_file"`
}

// Given tells whether there is one.
func (o OIDC) Given() bool { return o.Issuer != "" }

// API is what callers of the HTTP API may do beside their permissions.
type API struct {
	// RequestsPerSecond of one caller, RequestBurst of them at once; 0 requests per second is no limit.
	RequestsPerSecond int `yaml:"requests_per_second"`
	RequestBurst      int `yaml:"request_burst"`
	// CORSOrigins are sites whose pages may call the API by a token.
	CORSOrigins []string `yaml:"cors_origins"`
}

func (a API) validate() error {
	if a.RequestsPerSecond < 0 || a.RequestsPerSecond > maxRequests {
		return fmt.Errorf("api.requests_per_second: %d is not allowed; use 1 to %d, or 0 for no limit", a.RequestsPerSecond, maxRequests)
	}
	if a.RequestBurst < 1 || a.RequestBurst > maxRequests {
		return fmt.Errorf("api.request_burst: %d is not allowed; use 1 to %d", a.RequestBurst, maxRequests)
	}
	for _, o := range a.CORSOrigins {
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return fmt.Errorf("api.cors_origins: %q is not an origin such as https://panel.example.com, without a path", secret.ScrubURLs(o))
		}
	}
	return nil
}

// Metrics says who may read /metrics beside callers of the API that may see the backups of all projects.
type Metrics struct {
	// Allow are addresses, in CIDR notation, of whoever needs no token. The connection's own address counts, never a header.
	Allow []string `yaml:"allow"`
	// TokenFile holds a bearer token for it.
	TokenFile string `yaml:"token_file"`

	Token secret.String `yaml:"-"` // of TokenFile, after Validate
}

// Prefixes are those of Allow.
func (m Metrics) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range m.Allow {
		if p, err := netip.ParsePrefix(text); err == nil { // Validate has looked
			out = append(out, p.Masked())
		}
	}
	return out
}

// minToken is the least length of a token in a file, in bytes.
const minToken = 16

func (m *Metrics) validate() error {
	for _, text := range m.Allow {
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("metrics.allow: %q is no CIDR such as 10.0.0.0/8 or 192.0.2.7/32", text)
		}
	}
	m.Token = ""
	if m.TokenFile == "" {
		return nil
	}
	token, err := secret.LoadFile(m.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("metrics.token_file: %s does not exist", m.TokenFile)
	}
	if err != nil {
		return fmt.Errorf("metrics.token_file: %w", err)
	}
	if len(token) < minToken {
		return fmt.Errorf("metrics.token_file: %s holds fewer than %d bytes; `openssl rand -hex 32` makes a good one", m.TokenFile, minToken)
	}
	m.Token = token
	return nil
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
	// SessionIdle ends the session of a person that is not used for so long, SessionAge any.
	SessionIdle time.Duration `yaml:"session_idle"`
	SessionAge  time.Duration `yaml:"session_age"`
}

// Log is the controller's own log, on standard error.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Default is a controller on this host alone.
func Default() Config {
	return Config{
		DataDir:  "/var/lib/devflow-controller",
		Listen:   "127.0.0.1:8443",
		NATS:     NATS{Listen: "127.0.0.1:4222"},
		Packages: Packages{Dir: "/usr/share/devflow-controller/packages"},
		API:      API{RequestsPerSecond: 50, RequestBurst: 200},
		OIDC: OIDC{
			Scopes: []string{"profile", "email", "groups"}, NameClaim: "preferred_username", GroupsClaim: "groups", Title: "Single sign-on",
		},
		Metrics: Metrics{Allow: []string{"127.0.0.1/32", "::1/128"}},
		Alarms: Alarms{
			Every: 30 * time.Second, GroupWait: controller.DefaultGrouping.Wait, GroupInterval: controller.DefaultGrouping.Interval,
			FallbackAfter: controller.DefaultGrouping.FallbackAfter, OfflineAfter: controller.DefaultPatience.Offline,
		},
		Timing: Timing{
			Heartbeat: 10 * time.Second, Lease: time.Minute, LeaseMax: time.Hour, RetryBase: 10 * time.Second, RetryMax: 10 * time.Minute,
			URLExpires: 15 * time.Minute, DeleteGrace: 24 * time.Hour, MaxAttempts: 3,
			SessionIdle: 2 * time.Hour, SessionAge: 24 * time.Hour,
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

// Load reads one YAML document over c. An unknown key is an error that names it and its line. No error shows the text
// around it: there may be a secret in it.
func (c *Config) Load(b []byte) error {
	if err := checkDurations(b); err != nil {
		return err
	}
	loaded := *c
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := d.Decode(&loaded); err != nil && !errors.Is(err, io.EOF) {
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document: what follows the second --- would be ignored")
	}
	// A document of nothing but comments is a null, which the decoder takes for the zero value.
	if !reflect.ValueOf(loaded).IsZero() {
		*c = loaded
	}
	return nil
}

// checkDurations names the key of a duration that is none: the decoder names only its value.
func checkDurations(b []byte) error {
	var text struct {
		Timing map[string]any `yaml:"timing"`
		Alarms map[string]any `yaml:"alarms"`
	}
	if err := yaml.Unmarshal(b, &text); err != nil {
		return nil //nolint:nilerr // the strict decoder says it better
	}
	for _, section := range []struct {
		name   string
		of     reflect.Type
		values map[string]any
	}{{"timing", reflect.TypeFor[Timing](), text.Timing}, {"alarms", reflect.TypeFor[Alarms](), text.Alarms}} {
		for _, f := range reflect.VisibleFields(section.of) {
			value := section.values[f.Tag.Get("yaml")]
			if f.Type != reflect.TypeFor[time.Duration]() || value == nil {
				continue
			}
			s, ok := value.(string)
			if _, err := time.ParseDuration(s); !ok || err != nil {
				return fmt.Errorf("%s.%s: %v is not a duration; give it a unit, such as 10s, 2m or 1h", section.name, f.Tag.Get("yaml"), value)
			}
		}
	}
	return nil
}

// Validate fills what follows from other keys, reads secrets from their files, and names the first key that is wrong.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		return errors.New("data_dir: is empty; give an absolute directory")
	}
	if c.MasterKeyFile == "" {
		c.MasterKeyFile = filepath.Join(c.DataDir, "master.key")
	}
	for _, p := range []struct {
		key  string
		path *string
	}{
		{"data_dir", &c.DataDir},
		{"master_key_file", &c.MasterKeyFile},
		{"storage_ca_file", &c.StorageCAFile},
		{"tls.cert_file", &c.TLS.CertFile},
		{"tls.key_file", &c.TLS.KeyFile},
		{"catalog.dsn_file", &c.Catalog.DSNFile},
		{"nats.ca_file", &c.NATS.CAFile},
		{"packages.dir", &c.Packages.Dir},
		{"oidc.client_secret_file", &c.OIDC.ClientSecretFile},
		{"oidc.ca_file", &c.OIDC.CAFile},
		{"metrics.token_file", &c.Metrics.TokenFile},
	} {
		if *p.path == "" {
			continue
		}
		abs, err := filepath.Abs(*p.path)
		if err != nil {
			return fmt.Errorf("%s: %w", p.key, err)
		}
		*p.path = abs
	}
	if err := hostPort("listen", c.Listen); err != nil {
		return err
	}
	if err := certificates("storage_ca_file", c.StorageCAFile); err != nil {
		return err
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return errors.New("tls: cert_file and key_file belong together; give both or none")
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
	for _, l := range []struct {
		key  string
		urls []string
	}{{"nats.urls", c.NATS.URLs}, {"nats.advertise", c.NATS.Advertise}} {
		for _, raw := range l.urls {
			if u, err := url.Parse(raw); err != nil || u.Host == "" || u.User != nil || !slices.Contains([]string{"tls", "nats", "wss"}, u.Scheme) {
				return fmt.Errorf("%s: %q is not a URL such as tls://nats1:4222", l.key, secret.ScrubURLs(raw))
			}
		}
	}
	if c.Packages.URL != "" {
		u, err := url.Parse(c.Packages.URL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("packages.url: %q is not the URL of a directory, such as https://mirror.example.com/devflow", secret.ScrubURLs(c.Packages.URL))
		}
	}
	if err := c.OIDC.validate(); err != nil {
		return err
	}
	if err := c.API.validate(); err != nil {
		return err
	}
	if err := c.Metrics.validate(); err != nil {
		return err
	}
	if err := c.Alarms.validate(); err != nil {
		return err
	}
	if err := c.Timing.validate(); err != nil {
		return err
	}
	for _, w := range words {
		if got := w.of(c); !slices.Contains(w.allowed, got) {
			last := len(w.allowed) - 1
			return fmt.Errorf("%s: %q is not allowed; use %s or %s", w.key, got, strings.Join(w.allowed[:last], ", "), w.allowed[last])
		}
	}
	return c.catalog()
}

func (c *Config) catalog() error {
	given := !c.Catalog.DSN.Empty() || c.Catalog.DSNFile != ""
	switch {
	case c.Embedded && given:
		return errors.New("catalog: a DSN and --embedded exclude each other; give one of them")
	case c.Embedded:
		return nil
	case !given:
		return errors.New("catalog.dsn_file: is missing; name a file that holds postgres://user:password@host/database, or start with --embedded")
	case !c.Catalog.DSN.Empty() && c.Catalog.DSNFile != "":
		return errors.New("catalog: dsn and dsn_file exclude each other; give one of them")
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

func (o *OIDC) validate() error {
	if !o.Given() {
		if o.ClientID != "" || len(o.Groups) > 0 || o.ClientSecretFile != "" || !o.ClientSecret.Empty() {
			return errors.New("oidc.issuer: is missing; give the provider's URL, or no key of oidc")
		}
		return nil
	}
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !net.ParseIP(u.Hostname()).IsLoopback()) {
		return fmt.Errorf("oidc.issuer: %q is not an https:// URL without user, query and fragment", secret.ScrubURLs(o.Issuer))
	}
	for _, k := range []struct{ key, value string }{{"client_id", o.ClientID}, {"name_claim", o.NameClaim}, {"groups_claim", o.GroupsClaim}, {"title", o.Title}} {
		if k.value == "" {
			return fmt.Errorf("oidc.%s: is missing", k.key)
		}
	}
	if len(o.Groups) == 0 {
		return errors.New("oidc.groups: is empty, and nobody could sign in; use GROUP=admin, GROUP=view-backups+create-backups or GROUP=view-backups@project+project")
	}
	for _, text := range o.Groups {
		if _, err := controller.ParseGroup(text); err != nil {
			return fmt.Errorf("oidc.groups: %w", err)
		}
	}
	if err := certificates("oidc.ca_file", o.CAFile); err != nil {
		return err
	}
	switch {
	case !o.ClientSecret.Empty() && o.ClientSecretFile != "":
		return errors.New("oidc: client_secret and client_secret_file exclude each other; give one of them")
	case o.ClientSecretFile != "":
		if o.ClientSecret, err = secret.LoadFile(o.ClientSecretFile); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("oidc.client_secret_file: %s does not exist", o.ClientSecretFile)
		} else if err != nil {
			return fmt.Errorf("oidc.client_secret_file: %w", err)
		}
	}
	return nil
}

func (t Timing) validate() error {
	for _, s := range spans {
		if got := s.of(t); got < s.min || got > s.max {
			return fmt.Errorf("%s: %s is not allowed; use %s to %s", s.key, got, s.min, s.max)
		}
	}
	if t.Lease < 2*t.Heartbeat {
		return fmt.Errorf("timing.lease: %s is not allowed; use at least twice timing.heartbeat (%s)", t.Lease, t.Heartbeat)
	}
	if t.RetryMax < t.RetryBase {
		return fmt.Errorf("timing.retry_max: %s is not allowed; use at least timing.retry_base (%s)", t.RetryMax, t.RetryBase)
	}
	if t.SessionAge < t.SessionIdle {
		return fmt.Errorf("timing.session_age: %s is not allowed; use at least timing.session_idle (%s)", t.SessionAge, t.SessionIdle)
	}
	if t.MaxAttempts < minAttempts || t.MaxAttempts > maxAttempts {
		return fmt.Errorf("timing.max_attempts: %d is not allowed; use %d to %d", t.MaxAttempts, minAttempts, maxAttempts)
	}
	return nil
}

// certificates tells why a file, if one is named, gives no authorities.
func certificates(key, path string) error {
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %s does not exist", key, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: %s holds no PEM certificate", key, path)
	}
	return nil
}

func hostPort(key, value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s: %q is not host:port, such as 0.0.0.0:8443", key, value)
	}
	return nil
}
