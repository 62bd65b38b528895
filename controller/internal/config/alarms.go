package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Alarms is how this controller tells people.
type Alarms struct {
	// Allow are CIDRs, addresses and host names of the own network that messages may be sent to, beside public addresses. Only there
	// http:// and SMTP without TLS are spoken.
	Allow []string `yaml:"allow"`
	// CAFile holds PEM certificates of authorities that targets are trusted by, beside the system's.
	CAFile string `yaml:"ca_file"`
	// PingURL is the dead-man switch of this controller: called every minute while it is well; none if empty.
	PingURL     secret.String `yaml:"ping_url"`
	PingURLFile string        `yaml:"ping_url_file"`
	// Every is how often conditions that stand are looked for.
	Every time.Duration `yaml:"every"`
	// GroupWait is how long notices wait for others to be told with; urgent ones no longer than two seconds.
	GroupWait time.Duration `yaml:"group_wait"`
	// GroupInterval is between two messages of a channel; ten seconds at most before an urgent one.
	GroupInterval time.Duration `yaml:"group_interval"`
	// FallbackAfter is how long a channel may fail before another one is told, of what it does not take and of itself.
	FallbackAfter time.Duration `yaml:"fallback_after"`
	// OfflineAfter is how long an agent may be silent before that is told.
	OfflineAfter time.Duration `yaml:"offline_after"`

	CA []byte `yaml:"-"` // of CAFile, after Validate
}

// alarmSpans are the least and the most of what may be waited for.
var alarmSpans = []struct {
	key      string
	of       func(*Alarms) time.Duration
	min, max time.Duration
}{
	{"alarms.every", func(a *Alarms) time.Duration { return a.Every }, time.Second, 10 * time.Minute},
	{"alarms.group_wait", func(a *Alarms) time.Duration { return a.GroupWait }, 100 * time.Millisecond, time.Hour},
	{"alarms.group_interval", func(a *Alarms) time.Duration { return a.GroupInterval }, 100 * time.Millisecond, 24 * time.Hour},
	{"alarms.fallback_after", func(a *Alarms) time.Duration { return a.FallbackAfter }, time.Second, 24 * time.Hour},
	{"alarms.offline_after", func(a *Alarms) time.Duration { return a.OfflineAfter }, time.Second, 7 * 24 * time.Hour},
}

// Grouping is how notices become messages.
func (a Alarms) Grouping() controller.Grouping {
	g := controller.DefaultGrouping
	g.Wait, g.UrgentWait = a.GroupWait, min(g.UrgentWait, a.GroupWait)
	g.Interval, g.UrgentInterval = a.GroupInterval, min(g.UrgentInterval, a.GroupInterval)
	g.FallbackAfter = a.FallbackAfter
	return g
}

// Patience is how long conditions hold before they are told.
func (a Alarms) Patience() controller.Patience {
	p := controller.DefaultPatience
	p.Offline, p.Channel = a.OfflineAfter, a.FallbackAfter
	return p
}

func (a *Alarms) validate() error {
	if _, err := controller.ParseAllowed(a.Allow); err != nil {
		return fmt.Errorf("alarms.allow: %w", err)
	}
	for _, s := range alarmSpans {
		if got := s.of(a); got < s.min || got > s.max {
			return fmt.Errorf("%s: %s is not allowed; use %s to %s", s.key, got, s.min, s.max)
		}
	}
	for _, p := range []struct {
		key  string
		path *string
	}{{"alarms.ca_file", &a.CAFile}, {"alarms.ping_url_file", &a.PingURLFile}} {
		if *p.path == "" {
			continue
		}
		abs, err := filepath.Abs(*p.path)
		if err != nil {
			return fmt.Errorf("%s: %w", p.key, err)
		}
		*p.path = abs
	}
	if err := certificates("alarms.ca_file", a.CAFile); err != nil {
		return err
	}
	a.CA = nil
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return fmt.Errorf("alarms.ca_file: %w", err)
		}
		a.CA = pem
	}
	switch {
	case !a.PingURL.Empty() && a.PingURLFile != "":
		return errors.New("alarms: ping_url and ping_url_file exclude each other; give one of them")
	case a.PingURLFile != "":
		text, err := secret.LoadFile(a.PingURLFile)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("alarms.ping_url_file: %s does not exist", a.PingURLFile)
		}
		if err != nil {
			return fmt.Errorf("alarms.ping_url_file: %w", err)
		}
		a.PingURL = text
	}
	if a.PingURL.Empty() {
		return nil
	}
	u, err := url.Parse(a.PingURL.Reveal())
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
		return errors.New("alarms.ping_url: is not a URL such as https://hc-ping.com/UUID")
	}
	return nil
}
