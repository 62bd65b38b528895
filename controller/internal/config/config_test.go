package config_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/secret"
)

const canary = "canary-p4ss"

// certificate is one that nobody has the key of.
const certificate = `-----BEGIN CERTIFICATE-----
MIIBNDCB56ADAgECAhQgqPME5LGbkVRYwskZo/y/pljN9zAFBgMrZXAwDzENMAsG
A1UEAwwEdGVzdDAgFw0yNjExMjMwMjM3MjhaGA8yMTI2MTAzMDAyMzcyOFowDzEN
MAsGA1UEAwwEdGVzdDAqMAUGAytlcAMhAGO6iefKw5UGNIJSQsj6lWK3V42/gvII
02kp7GaBmUxoo1MwUTAdBgNVHQ4EFgQUYXXL7XoJ5k3aobfhVNK9oVNYWJYwHwYD
VR0jBBgwFoAUYXXL7XoJ5k3aobfhVNK9oVNYWJYwDwYDVR0TAQH/BAUwAwEB/zAF
BgMrZXADQQDxvFmWZtELaNvOp+UVDhDeZ72S6OIG9eduIllFvfi36FfKQtvKIAoc
Fn2VEyWPnTmKgS+RdID8g6vgxAP3wswA
-----END CERTIFICATE-----
`

const whole = `
data_dir: /srv/devflow
listen: 0.0.0.0:9443
public_url: https://backup.example.com:9443
names: [backup.example.com, 10.0.0.7]
master_key_file: /etc/devflow/master.key
catalog:
  dsn: postgres://devflow:canary-p4ss@db/devflow
nats:
  listen: 0.0.0.0:4333
  urls: [tls://nats1:4222, "nats://nats2:4222"]
  ca_file: /etc/devflow/nats.pem
  advertise: [tls://nats.example.com:4222]
timing:
  heartbeat: 5s
  lease: 60s
  lease_max: 2h
  retry_base: 1m30s
  retry_max: 0.5h
  url_expires: 10m
  delete_grace: 0s
  max_attempts: 7
log: {level: debug, format: json}
`

func TestLoad(t *testing.T) {
	c := config.Default()
	if err := c.Load([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		DataDir: "/srv/devflow", Listen: "0.0.0.0:9443", PublicURL: "https://backup.example.com:9443", Names: []string{"backup.example.com", "10.0.0.7"},
		MasterKeyFile: "/etc/devflow/master.key",
		Catalog:       config.Catalog{DSN: "postgres://devflow:canary-p4ss@db/devflow"},
		NATS: config.NATS{
			Listen: "0.0.0.0:4333", URLs: []string{"tls://nats1:4222", "nats://nats2:4222"}, CAFile: "/etc/devflow/nats.pem", Advertise: []string{"tls://nats.example.com:4222"},
		},
		Timing: config.Timing{
			Heartbeat: 5 * time.Second, Lease: time.Minute, LeaseMax: 2 * time.Hour, RetryBase: 90 * time.Second, RetryMax: 30 * time.Minute,
			URLExpires: 10 * time.Minute, DeleteGrace: 0, MaxAttempts: 7, SessionIdle: 2 * time.Hour, SessionAge: 24 * time.Hour,
		},
		Packages: config.Default().Packages, OIDC: config.Default().OIDC, API: config.Default().API, Metrics: config.Default().Metrics, Alarms: config.Default().Alarms,
		Log: config.Log{Level: "debug", Format: "json"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("loaded\n%+v\nwant\n%+v", c, want)
	}

	// A key that is not given keeps its default, also beside one that is.
	d := config.Default()
	if err := d.Load([]byte("timing: {lease: 2m}\n")); err != nil {
		t.Fatal(err)
	}
	kept := config.Default()
	kept.Timing.Lease = 2 * time.Minute
	if !reflect.DeepEqual(d, kept) {
		t.Errorf("loaded\n%+v\nwant\n%+v", d, kept)
	}
	for _, nothing := range []string{"", " \n", "# a comment\n", "---\n", "timing:\n", "timing:\n  # heartbeat: 5s\nlog:\n", "log: ~\nnats: null\n", "listen:\n"} {
		e := config.Default()
		if err := e.Load([]byte(nothing)); err != nil || !reflect.DeepEqual(e, config.Default()) {
			t.Errorf("%q: %+v, %v", nothing, e, err)
		}
	}
}

func TestLoad_errors(t *testing.T) {
	for text, says := range map[string]string{
		"lissen: 1.2.3.4:1\n":                           `[1:1] unknown field "lissen"`,
		"listen: 1.2.3.4:1\ntiming:\n  hartbeat: 10s\n": `[3:3] unknown field "hartbeat"`,
		"embedded: true\n":                              `[1:1] unknown field "embedded"`,
		"listen: a:1\nlisten: b:2\n":                    `[2:1] mapping key "listen" already defined`,
		"listen: a:1\n---\nlisten: b:2\n":               "more than one document",
		"[]":                                            "[1:1]",
		"names: 7\n":                                    "[1:8]",
		"timing:\n  max_attempts: many\n":               "[2:17]",
		"timing:\n  heartbeat: 60\n":                    "timing.heartbeat: 60 is not a duration; give it a unit",
		"timing:\n  lease: soon\n":                      "timing.lease: soon is not a duration",
		"timing:\n  delete_grace: 24\n":                 "timing.delete_grace: 24 is not a duration",
		"timing:\n  retry_max: 10 m\n":                  "timing.retry_max: 10 m is not a duration",
		"alarms:\n  every: 30\n":                        "alarms.every: 30 is not a duration",
		"timing:\n  retry_base: [1s]\n":                 "timing.retry_base: [1s] is not a duration",
	} {
		c := config.Default()
		if err := c.Load([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want %q", text, err, says)
		}
	}
	// What stands beside a mistake is not shown.
	for _, text := range []string{
		"catalog:\n  dsn: \"" + canary + "\n", "catalog:\n  dsn: [" + canary + "]\n", "catalog: " + canary + "\n",
		"catalog: {dsn: " + canary + ", x: 1}\n", "catalog:\n  dsn: " + canary + "\n dsn_file: x\n", canary,
	} {
		c := config.Default()
		if err := c.Load([]byte(text)); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "controller.yaml")
	c := config.Default()
	if err := c.LoadFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	write(t, path, "x: 1\n", 0o644)
	if err := c.LoadFile(path); err == nil || !strings.Contains(err.Error(), path+`: [1:1] unknown field "x"`) {
		t.Errorf("an unknown key: %v", err)
	}
	write(t, path, "listen: 127.0.0.1:1\n", 0o644)
	if err := c.LoadFile(path); err != nil || c.Listen != "127.0.0.1:1" {
		t.Errorf("%q, %v", c.Listen, err)
	}
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestDefault(t *testing.T) {
	c := config.Default()
	c.Embedded = true
	if err := c.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	if c.MasterKeyFile != "/var/lib/devflow-controller/master.key" || c.Timing.LeaseMax != time.Hour {
		t.Errorf("%+v", c)
	}
	c = config.Default()
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "catalog.dsn_file: is missing") || !strings.Contains(err.Error(), "--embedded") {
		t.Errorf("without a catalog: %v", err)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Config)
		says   []string // none: it is allowed
	}{
		"as it is":            {func(*config.Config) {}, nil},
		"a free port":         {func(c *config.Config) { c.Listen, c.NATS.Listen = "127.0.0.1:0", "[::1]:0" }, nil},
		"external":            {func(c *config.Config) { c.NATS.Listen, c.NATS.URLs = "", []string{"wss://n:443"} }, nil},
		"shortest":            {func(c *config.Config) { c.Timing.Heartbeat, c.Timing.Lease = time.Second, 2*time.Second }, nil},
		"no data directory":   {func(c *config.Config) { c.DataDir = "" }, []string{"data_dir", "absolute directory"}},
		"listen":              {func(c *config.Config) { c.Listen = "8443" }, []string{"listen", `"8443"`, "host:port"}},
		"listen, no port":     {func(c *config.Config) { c.Listen = "host:" }, []string{"listen", `"host:"`}},
		"listen, a high port": {func(c *config.Config) { c.Listen = "127.0.0.1:84430" }, []string{"listen", `"127.0.0.1:84430"`}},
		"storage ca":          {func(c *config.Config) { c.StorageCAFile = "/nowhere/ca.pem" }, []string{"storage_ca_file", "/nowhere/ca.pem does not exist"}},
		"storage ca, a dir":   {func(c *config.Config) { c.StorageCAFile = "/" }, []string{"storage_ca_file", "directory"}},
		"storage ca, none":    {func(c *config.Config) { c.StorageCAFile = "/proc/self/cmdline" }, []string{"storage_ca_file", "holds no PEM certificate"}},
		"public url":          {func(c *config.Config) { c.PublicURL = "http://a" }, []string{"public_url", `"http://a"`, "https://"}},
		"public url, no host": {func(c *config.Config) { c.PublicURL = "https:///x" }, []string{"public_url"}},
		"public url, broken":  {func(c *config.Config) { c.PublicURL = "https://[" }, []string{"public_url"}},
		"nats listen":         {func(c *config.Config) { c.NATS.Listen = "" }, []string{"nats.listen", "host:port"}},
		"nats urls":           {func(c *config.Config) { c.NATS.URLs = []string{"tls://a:1", "nats1:4222"} }, []string{"nats.urls", `"nats1:4222"`, "tls://nats1:4222"}},
		"nats urls, http":     {func(c *config.Config) { c.NATS.URLs = []string{"http://a:1"} }, []string{"nats.urls", "http://a:1"}},
		"nats urls, password": {func(c *config.Config) { c.NATS.URLs = []string{"tls://me:" + canary + "@a:1"} }, []string{"nats.urls", "tls://me:***@a:1"}},
		"advertise":           {func(c *config.Config) { c.NATS.Advertise = []string{"nats.example.com"} }, []string{"nats.advertise", "nats.example.com"}},
		"packages":            {func(c *config.Config) { c.Packages = config.Packages{Dir: "/p", URL: "http://mirror/p"} }, nil},
		"packages url":        {func(c *config.Config) { c.Packages.URL = "mirror/p" }, []string{"packages.url", `"mirror/p"`, "https://"}},
		"packages url, user":  {func(c *config.Config) { c.Packages.URL = "https://me:" + canary + "@m/p" }, []string{"packages.url", "me:***@m"}},
		"packages url, query": {func(c *config.Config) { c.Packages.URL = "https://m/p?x=1" }, []string{"packages.url"}},
		"oidc": {func(c *config.Config) {
			c.OIDC.Issuer, c.OIDC.ClientID, c.OIDC.Groups = "https://idp.example.com/realm", "me", []string{"dba=admin"}
		}, nil},
		"requests":       {func(c *config.Config) { c.API.RequestsPerSecond = -1 }, []string{"api.requests_per_second", "-1", "0 for no limit"}},
		"burst":          {func(c *config.Config) { c.API.RequestBurst = 0 }, []string{"api.request_burst", "1 to"}},
		"origin, path":   {func(c *config.Config) { c.API.CORSOrigins = []string{"https://panel.example.com/"} }, []string{"api.cors_origins", "https://panel.example.com"}},
		"origin, any":    {func(c *config.Config) { c.API.CORSOrigins = []string{"*"} }, []string{"api.cors_origins"}},
		"metrics":        {func(c *config.Config) { c.Metrics.Allow = []string{"10.0.0.0/8", "fd00::/8"} }, nil},
		"metrics, host":  {func(c *config.Config) { c.Metrics.Allow = []string{"10.0.0.7"} }, []string{"metrics.allow", `"10.0.0.7"`, "10.0.0.0/8"}},
		"metrics, token": {func(c *config.Config) { c.Metrics.TokenFile = "/nowhere/token" }, []string{"metrics.token_file", "/nowhere/token does not exist"}},
		"alarms": {func(c *config.Config) {
			c.Alarms.Allow, c.Alarms.PingURL, c.Alarms.Every = []string{"10.0.0.0/8", "fd00::7", "mail.example.com"}, "https://hc.test/"+canary, time.Minute
		}, nil},
		"alarms, allow":   {func(c *config.Config) { c.Alarms.Allow = []string{"10.0.0.0/33"} }, []string{"alarms.allow", `"10.0.0.0/33"`, "10.1.0.0/16"}},
		"alarms, every":   {func(c *config.Config) { c.Alarms.Every = 0 }, []string{"alarms.every", "1s to 10m0s"}},
		"alarms, wait":    {func(c *config.Config) { c.Alarms.GroupWait = 0 }, []string{"alarms.group_wait", "100ms to 1h0m0s"}},
		"alarms, ping":    {func(c *config.Config) { c.Alarms.PingURL = "hc.test/" + canary }, []string{"alarms.ping_url", "https://"}},
		"alarms, both":    {func(c *config.Config) { c.Alarms.PingURL, c.Alarms.PingURLFile = "https://hc.test/"+canary, "/p" }, []string{"alarms", "exclude each other"}},
		"alarms, no file": {func(c *config.Config) { c.Alarms.PingURLFile = "/nowhere/ping" }, []string{"alarms.ping_url_file", "/nowhere/ping does not exist"}},
		"alarms, ca":      {func(c *config.Config) { c.Alarms.CAFile = "/nowhere/ca.pem" }, []string{"alarms.ca_file", "/nowhere/ca.pem does not exist"}},
		"oidc, no issuer": {func(c *config.Config) { c.OIDC.ClientID = "me" }, []string{"oidc.issuer", "missing"}},
		"oidc, plain":     {func(c *config.Config) { c.OIDC.Issuer = "http://idp.example.com" }, []string{"oidc.issuer", "http://idp.example.com", "https://"}},
		"oidc, user":      {func(c *config.Config) { c.OIDC.Issuer = "https://me:" + canary + "@idp" }, []string{"oidc.issuer", "me:***@idp"}},
		"oidc, no client": {func(c *config.Config) { c.OIDC.Issuer = "https://idp" }, []string{"oidc.client_id", "missing"}},
		"oidc, no groups": {func(c *config.Config) { c.OIDC.Issuer, c.OIDC.ClientID = "https://idp", "me" }, []string{"oidc.groups", "GROUP=admin"}},
		"oidc, groups": {func(c *config.Config) {
			c.OIDC.Issuer, c.OIDC.ClientID, c.OIDC.Groups = "https://idp", "me", []string{"dba=fly"}
		}, []string{"oidc.groups", `"fly"`, "view-backups"}},
		"session idle":      {func(c *config.Config) { c.Timing.SessionIdle = time.Minute }, []string{"timing.session_idle", "1m0s", "5m0s"}},
		"session age":       {func(c *config.Config) { c.Timing.SessionAge = time.Hour }, []string{"timing.session_age", "1h0m0s", "timing.session_idle (2h0m0s)"}},
		"heartbeat":         {func(c *config.Config) { c.Timing.Heartbeat = 0 }, []string{"timing.heartbeat", "0s", "1s to 5m0s"}},
		"heartbeat, long":   {func(c *config.Config) { c.Timing.Heartbeat = 6 * time.Minute }, []string{"timing.heartbeat", "6m0s", "1s to 5m0s"}},
		"lease":             {func(c *config.Config) { c.Timing.Lease = time.Second }, []string{"timing.lease", "1s", "2s to 1h0m0s"}},
		"lease, too near":   {func(c *config.Config) { c.Timing.Lease = 19 * time.Second }, []string{"timing.lease", "19s", "timing.heartbeat (10s)"}},
		"lease max":         {func(c *config.Config) { c.Timing.LeaseMax = 8 * 24 * time.Hour }, []string{"timing.lease_max", "192h0m0s", "168h0m0s"}},
		"retry base":        {func(c *config.Config) { c.Timing.RetryBase = 0 }, []string{"timing.retry_base", "10ms to 1h0m0s"}},
		"retry max":         {func(c *config.Config) { c.Timing.RetryMax = 25 * time.Hour }, []string{"timing.retry_max", "25h0m0s"}},
		"retry max, below":  {func(c *config.Config) { c.Timing.RetryMax = time.Second }, []string{"timing.retry_max", "1s", "timing.retry_base (10s)"}},
		"url expires":       {func(c *config.Config) { c.Timing.URLExpires = 13 * time.Hour }, []string{"timing.url_expires", "13h0m0s", "12h0m0s"}},
		"delete grace":      {func(c *config.Config) { c.Timing.DeleteGrace = -time.Second }, []string{"timing.delete_grace", "-1s", "0s to 8760h0m0s"}},
		"no attempt":        {func(c *config.Config) { c.Timing.MaxAttempts = 0 }, []string{"timing.max_attempts", "0", "1 to 100"}},
		"many attempts":     {func(c *config.Config) { c.Timing.MaxAttempts = 101 }, []string{"timing.max_attempts", "101", "1 to 100"}},
		"log level":         {func(c *config.Config) { c.Log.Level = "verbose" }, []string{"log.level", `"verbose"`, "trace, debug, info, warn or error"}},
		"log format":        {func(c *config.Config) { c.Log.Format = "xml" }, []string{"log.format", `"xml"`, "text or json"}},
		"dsn and embedded":  {func(c *config.Config) { c.Catalog.DSN = canary }, []string{"catalog", "--embedded", "exclude each other"}},
		"file and embedded": {func(c *config.Config) { c.Catalog.DSNFile = "/x" }, []string{"catalog", "--embedded", "exclude each other"}},
		"dsn and file": {
			func(c *config.Config) { c.Embedded, c.Catalog = false, config.Catalog{DSN: canary, DSNFile: "/x"} },
			[]string{"catalog", "dsn and dsn_file", "exclude each other"},
		},
	} {
		cfg := config.Default()
		cfg.Embedded = true
		c.change(&cfg)
		err := cfg.Validate()
		if c.says == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: is allowed", name)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the secret is shown: %v", name, err)
		}
	}
}

func TestValidate_paths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "dsn", canary+"\n", 0o600)
	c := config.Default()
	write(t, "storage.pem", certificate, 0o644)
	c.DataDir, c.MasterKeyFile, c.NATS.CAFile, c.Catalog.DSNFile, c.StorageCAFile = "data", "keys/master", "ca.pem", "dsn", "storage.pem"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{c.DataDir: "data", c.MasterKeyFile: "keys/master", c.NATS.CAFile: "ca.pem", c.Catalog.DSNFile: "dsn", c.StorageCAFile: "storage.pem"} {
		if got != filepath.Join(dir, want) {
			t.Errorf("%q, want %q", got, filepath.Join(dir, want))
		}
	}
}

func TestValidate_dsnFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dsn")
	load := func() (config.Config, error) {
		c := config.Default()
		c.Catalog.DSNFile = path
		return c, c.Validate()
	}
	if _, err := load(); err == nil || !strings.Contains(err.Error(), "catalog.dsn_file: "+path+" does not exist") {
		t.Errorf("a missing file: %v", err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o602} {
		write(t, path, canary, mode)
		if _, err := load(); err == nil || !strings.Contains(err.Error(), "catalog.dsn_file") || !strings.Contains(err.Error(), "chmod 600 "+path) || strings.Contains(err.Error(), canary) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	write(t, path, "\n", 0o600)
	if _, err := load(); err == nil || !strings.Contains(err.Error(), "file is empty") {
		t.Errorf("an empty file: %v", err)
	}
	write(t, path, "postgres://me:"+canary+"@db/x\n", 0o600)
	c, err := load()
	if err != nil || c.Catalog.DSN.Reveal() != "postgres://me:"+canary+"@db/x" {
		t.Errorf("%v, %v", c.Catalog.DSN, err)
	}
}

// A configuration may be printed or logged: no way of showing it shows a secret.
func TestValidate_metricsToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	load := func() (config.Config, error) {
		c := config.Default()
		c.Embedded, c.Metrics.TokenFile = true, path
		return c, c.Validate()
	}
	for text, mode := range map[string]fs.FileMode{canary: 0o644, "short": 0o600} {
		write(t, path, text, mode)
		if _, err := load(); err == nil || !strings.Contains(err.Error(), "metrics.token_file") || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), canary) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	write(t, path, canary+canary+"\n", 0o600)
	if c, err := load(); err != nil || c.Metrics.Token.Reveal() != canary+canary || strings.Contains(fmt.Sprintf("%+v", c), canary) || len(c.Metrics.Prefixes()) != 2 {
		t.Errorf("%+v, %v", c.Metrics, err)
	}
}

func TestConfig_neverShowsSecrets(t *testing.T) {
	c := config.Default()
	if err := c.Load([]byte("catalog:\n  dsn: postgres://me:" + canary + "@db/x\n")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.Catalog.DSN.Reveal(), canary) {
		t.Fatal("the secret was not read")
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s", c, c, c, c.Catalog)
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), canary) || !strings.Contains(out.String(), secret.Mask) {
		t.Errorf("shown: %s", &out)
	}
}
