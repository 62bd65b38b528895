package config

import (
	"fmt"
	"strings"
	"time"
)

const minAttempts, maxAttempts = 1, 100

const maxRequests = 100_000

// words are the keys that take one of some words.
var words = []struct {
	key     string
	of      func(*Config) string
	allowed []string
}{
	{"log.level", func(c *Config) string { return c.Log.Level }, []string{"trace", "debug", "info", "warn", "error"}},
	{"log.format", func(c *Config) string { return c.Log.Format }, []string{"text", "json"}},
}

// spans are the least and the most of durations.
var spans = []struct {
	key      string
	of       func(Timing) time.Duration
	min, max time.Duration
}{
	{"timing.heartbeat", func(t Timing) time.Duration { return t.Heartbeat }, time.Second, 5 * time.Minute},
	{"timing.lease", func(t Timing) time.Duration { return t.Lease }, 2 * time.Second, time.Hour},
	{"timing.lease_max", func(t Timing) time.Duration { return t.LeaseMax }, 2 * time.Second, 7 * 24 * time.Hour},
	{"timing.retry_base", func(t Timing) time.Duration { return t.RetryBase }, 10 * time.Millisecond, time.Hour},
	{"timing.retry_max", func(t Timing) time.Duration { return t.RetryMax }, 10 * time.Millisecond, 24 * time.Hour},
	{"timing.url_expires", func(t Timing) time.Duration { return t.URLExpires }, time.Second, 12 * time.Hour},
	{"timing.session_idle", func(t Timing) time.Duration { return t.SessionIdle }, 5 * time.Minute, 7 * 24 * time.Hour},
	{"timing.session_age", func(t Timing) time.Duration { return t.SessionAge }, 5 * time.Minute, 30 * 24 * time.Hour},
	{"timing.delete_grace", func(t Timing) time.Duration { return t.DeleteGrace }, 0, 365 * 24 * time.Hour},
}

// Allowed says in words what a key may be, as far as Validate bounds it more than its type does; empty for others.
func Allowed(key string) string {
	for _, w := range words {
		if w.key == key {
			return strings.Join(w.allowed, ", ")
		}
	}
	for _, s := range spans {
		if s.key == key {
			return s.min.String() + " to " + s.max.String()
		}
	}
	for _, s := range alarmSpans {
		if s.key == key {
			return s.min.String() + " to " + s.max.String()
		}
	}
	switch key {
	case "api.requests_per_second":
		return fmt.Sprintf("0 to %d", maxRequests)
	case "api.request_burst":
		return fmt.Sprintf("1 to %d", maxRequests)
	case "alarms.allow":
		return "CIDRs, addresses and host names"
	case "alarms.ping_url":
		return "https:// URL"
	case "api.cors_origins":
		return "origins such as https://panel.example.com"
	case "metrics.allow":
		return "CIDRs such as 10.0.0.0/8"
	case "timing.max_attempts":
		return fmt.Sprintf("%d to %d", minAttempts, maxAttempts)
	case "listen", "nats.listen":
		return "host:port"
	case "public_url":
		return "https:// URL"
	case "oidc.issuer":
		return "https:// URL"
	case "oidc.groups":
		return "GROUP=admin, GROUP=PERMISSION+PERMISSION, either with @PROJECT+PROJECT"
	case "nats.urls", "nats.advertise":
		return "tls://, nats:// or wss:// URLs"
	}
	return ""
}

// Reloaded tells whether a change of the key is in force without a restart.
func Reloaded(key string) bool {
	return strings.HasPrefix(key, "tls.") || key == "log.level"
}
