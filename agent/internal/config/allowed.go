package config

import (
	"fmt"
	"strings"
	"time"
)

const minConcurrency, maxConcurrency = 1, 64

// words are the keys, outside of instances, that take one of some words.
var words = []struct {
	key     string
	of      func(Config) string
	allowed []string
}{
	{"log.level", func(c Config) string { return c.Log.Level }, []string{"trace", "debug", "info", "warn", "error"}},
	{"log.format", func(c Config) string { return c.Log.Format }, []string{"text", "json"}},
	{"limits.prove_blocks", func(c Config) string { return c.Limits.ProveBlocks }, []string{ProveAuto, ProveAll, ProveSample}},
}

// spans are the least and the most of durations.
var spans = []struct {
	key      string
	of       func(Config) Duration
	min, max time.Duration
}{
	{"limits.stall_timeout", func(c Config) Duration { return c.Limits.StallTimeout }, time.Second, 24 * time.Hour},
	{"limits.upload_timeout", func(c Config) Duration { return c.Limits.UploadTimeout }, time.Second, 24 * time.Hour},
	{"limits.drain", func(c Config) Duration { return c.Limits.Drain }, 0, time.Hour},
	{"limits.discovery_every", func(c Config) Duration { return c.Limits.DiscoveryEvery }, time.Second, 24 * time.Hour},
	{"limits.hello_delay", func(c Config) Duration { return c.Limits.HelloDelay }, 0, time.Minute},
}

// Allowed says in words what a key may be, as far as Validate bounds it more than its type does; empty for others. Keys of an
// instance begin with instances[].
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
	switch key {
	case "concurrency":
		return fmt.Sprintf("%d to %d", minConcurrency, maxConcurrency)
	case "metrics.listen":
		return "host:port"
	case "instances[].name":
		return "1 to 63 letters, digits, dots, dashes, underscores"
	case "instances[].port":
		return "1 to 65535"
	case "instances[].sslmode":
		return strings.Join(sslModes, ", ")
	case "instances[].restore.definers":
		return strings.Join(definers, ", ")
	}
	return ""
}

// fixed are the keys and sections that a running agent cannot change.
var fixed = []struct {
	key  string
	same func(a, b Config) bool
	keep func(c *Config, before Config)
}{
	{"state_dir", func(a, b Config) bool { return a.StateDir == b.StateDir }, func(c *Config, before Config) { c.StateDir = before.StateDir }},
	{
		"storage.local", func(a, b Config) bool { return a.Storage.Local == b.Storage.Local },
		func(c *Config, before Config) { c.Storage.Local = before.Storage.Local },
	},
	{"log.format", func(a, b Config) bool { return a.Log.Format == b.Log.Format }, func(c *Config, before Config) { c.Log.Format = before.Log.Format }},
	{"metrics", func(a, b Config) bool { return a.Metrics == b.Metrics }, func(c *Config, before Config) { c.Metrics = before.Metrics }},
}

// Keep sets what cannot change while an agent runs to what it was before, and names the keys that the file wanted otherwise.
func (c *Config) Keep(before Config) []string {
	var kept []string
	for _, f := range fixed {
		if !f.same(*c, before) {
			kept = append(kept, f.key)
			f.keep(c, before)
		}
	}
	return kept
}

// Reloaded tells whether a change of the key is in force without a restart.
func Reloaded(key string) bool {
	for _, f := range fixed {
		if key == f.key || strings.HasPrefix(key, f.key+".") {
			return false
		}
	}
	return true
}
