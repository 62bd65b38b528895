package config_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/secret"
)

// variables are one for each key, none with its default.
var variables = map[string]string{
	"data_dir": "/srv/d", "listen": "0.0.0.0:1", "public_url": "https://b", "names": "a, b", "master_key_file": "/m", "storage_ca_file": "/s",
	"tls.cert_file": "/t.pem", "tls.key_file": "/t.key",
	"catalog.dsn": "postgres://" + canary, "catalog.dsn_file": "/dsn",
	"nats.listen": "0.0.0.0:2", "nats.urls": "tls://a:1,tls://b:1", "nats.ca_file": "/n", "nats.advertise": "tls://c:1",
	"packages.dir": "/p", "packages.url": "https://mirror/p",
	"api.requests_per_second": "7", "api.request_burst": "8", "api.cors_origins": "https://a.test, https://b.test",
	"timing.heartbeat": "11s", "timing.lease": "3m", "timing.lease_max": "2h", "timing.retry_base": "1s", "timing.retry_max": "2s",
	"oidc.issuer": "https://idp", "oidc.client_id": "me", "oidc.client_secret": canary, "oidc.client_secret_file": "/os", "oidc.scopes": "a, b", "oidc.name_claim": "email",
	"oidc.groups_claim": "roles", "oidc.groups": "dba=admin,dev=view-backups@shop", "oidc.title": "Us", "oidc.ca_file": "/oc",
	"alarms.allow": "10.0.0.0/8, mail.test", "alarms.ca_file": "/ac", "alarms.ping_url": "https://hc.test/" + canary, "alarms.ping_url_file": "/ap", "alarms.every": "5s",
	"alarms.group_wait": "1s", "alarms.group_interval": "2s", "alarms.fallback_after": "3s", "alarms.offline_after": "4s",
	"metrics.allow": "10.0.0.0/8, fd00::/8", "metrics.token_file": "/mt",
	"timing.session_idle": "1h", "timing.session_age": "48h",
	"timing.url_expires": "1m", "timing.delete_grace": "1h", "timing.max_attempts": "9", "log.level": "debug", "log.format": "json",
}

// Every key can be set by its variable, and only that key changes.
func TestEnvironment_EveryKey(t *testing.T) {
	for _, key := range config.Keys() {
		value, ok := variables[key]
		if !ok {
			t.Errorf("no value to try for %s", key)
			continue
		}
		c, want := config.Default(), config.Default()
		if err := c.Environment([]string{"PATH=/bin", config.Variable(key) + "=" + value}); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if reflect.DeepEqual(c, want) {
			t.Errorf("%s changes nothing", config.Variable(key))
		}
		yaml := value
		if slices.Contains([]string{"names", "nats.urls", "nats.advertise", "oidc.scopes", "oidc.groups", "api.cors_origins", "alarms.allow", "metrics.allow"}, key) {
			yaml = "[" + value + "]"
		}
		text := key + ": " + yaml
		if section, name, ok := strings.Cut(key, "."); ok {
			text = section + ":\n  " + name + ": " + yaml
		}
		if err := want.Load([]byte(text)); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s is not what the file's %s is: %+v", config.Variable(key), key, c)
		}
	}
}

func TestEnvironment_WinsOverFile(t *testing.T) {
	c := config.Default()
	if err := c.Load([]byte("listen: 1.2.3.4:1\ncatalog: {dsn_file: /file}\nnats: {listen: 1.2.3.4:2}")); err != nil {
		t.Fatal(err)
	}
	if err := c.Environment([]string{"DEVFLOW_LISTEN=5.6.7.8:1", "DEVFLOW_CATALOG_DSN=" + canary, "DEVFLOW_NATS_LISTEN="}); err != nil {
		t.Fatal(err)
	}
	if c.Listen != "5.6.7.8:1" || c.NATS.Listen != "1.2.3.4:2" || c.Catalog.DSN != secret.String(canary) || c.Catalog.DSNFile != "" {
		t.Errorf("%+v", c)
	}
	if err := c.Environment([]string{"DEVFLOW_CATALOG_DSN_FILE=/other"}); err != nil || !c.Catalog.DSN.Empty() || c.Catalog.DSNFile != "/other" {
		t.Errorf("%v: %+v", err, c)
	}
	if !slices.Contains(config.Secrets(), "DEVFLOW_CATALOG_DSN") {
		t.Error("the DSN's variable is not secret")
	}
}

func TestEnvironment_Refuses(t *testing.T) {
	for line, want := range map[string]string{
		"DEVFLOW_TIMING_LEASE=90":            "DEVFLOW_TIMING_LEASE",
		"DEVFLOW_TIMING_MAX_ATTEMPTS=many":   "whole number",
		"DEVFLOW_NATS_LISTENS=x":             "nats has no such key",
		"DEVFLOW_CATALOG_PASSWORD=" + canary: "catalog has no such key",
	} {
		c := config.Default()
		err := c.Environment([]string{line})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(fmt.Sprint(err), canary) {
			t.Errorf("%s: %v", line, err)
		}
	}
	c := config.Default()
	if err := c.Environment([]string{"DEVFLOW_TOKEN=x", "DEVFLOW_URL=https://x", "OTHER_TIMING_LEASE=1"}); err != nil {
		t.Errorf("a variable of another program: %v", err)
	}
}

// The sample says how variables are called, and has each one in full.
func TestSample_Environment(t *testing.T) {
	for _, want := range []string{"DEVFLOW_NATS_LISTEN", config.Prefix} {
		if !strings.Contains(string(config.Sample), want) {
			t.Errorf("the sample does not tell of %s", want)
		}
	}
}
