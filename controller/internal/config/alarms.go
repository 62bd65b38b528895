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

	CA []byte `yaml:"-"` // of CAFile, after Validate
}

const minEvery, maxEvery = time.Second, 10 * time.Minute

func (a *Alarms) validate() error {
	if _, err := controller.ParseAllowed(a.Allow); err != nil {
		return fmt.Errorf("alarms.allow: %w", err)
	}
	if a.Every < minEvery || a.Every > maxEvery {
		return fmt.Errorf("alarms.every: %s is not allowed; use %s to %s", a.Every, minEvery, maxEvery)
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
