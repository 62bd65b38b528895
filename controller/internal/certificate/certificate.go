// Package certificate holds the certificates that the API shows: one of the installation's own authority, which agents know, and, if
// the operator gives one, another that browsers know.
//
// Invariants: there is always one to show; a changed one is shown to new connections, and no connection is dropped for it; files that
// cannot be used change nothing, so that the halves of a pair may be replaced one after the other.
package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	renewBefore = 60 * 24 * time.Hour // own certificates are made anew so long before they end
	warnBefore  = 14 * 24 * time.Hour // a given one that ends so soon is told once a day
	lookEvery   = 10 * time.Second
)

// Options of a Source.
type Options struct {
	// Issue makes a certificate of the installation's own authority.
	Issue func(now time.Time) (tls.Certificate, error)
	// CertFile and KeyFile are the given pair; empty for none.
	CertFile, KeyFile string
	Log               hclog.Logger
	Now               func() time.Time // time.Now by default
	Every             time.Duration    // how often files are looked at; 10 s by default
}

// Source chooses certificates. Its methods may be called from several goroutines.
type Source struct {
	opt Options

	mu                sync.Mutex
	own               *tls.Certificate
	given             *tls.Certificate // nil if there is none
	certFile, keyFile string
	seen              [2]look // of the files when they were last read
	warned            time.Time
}

// look is what tells that a file has changed.
type look struct {
	size int64
	at   time.Time
	file os.FileInfo
}

// New issues the own certificate and reads the given one.
func New(opt Options) (*Source, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Every == 0 {
		opt.Every = lookEvery
	}
	s := &Source{opt: opt}
	own, err := opt.Issue(opt.Now())
	if err != nil {
		return nil, err
	}
	s.own = &own
	if err := s.Use(opt.CertFile, opt.KeyFile); err != nil {
		return nil, err
	}
	return s, nil
}

// Load reads a pair. The key must be its owner's alone, and the certificate must be for it; that it is valid today is not looked at.
func Load(certFile, keyFile string) (tls.Certificate, error) {
	chain, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.cert_file: %w", err)
	}
	key, err := secret.LoadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, []byte(key.Reveal()))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls: %s and %s: %w", certFile, keyFile, err)
	}
	if len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0 {
		return tls.Certificate{}, fmt.Errorf("tls.cert_file: %s is for no host name: clients look at subjectAltName alone", certFile)
	}
	return pair, nil
}

// Use reads a pair and shows it from now on; empty names take the given one away. On an error nothing has changed.
func (s *Source) Use(certFile, keyFile string) error {
	if certFile == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.given, s.certFile, s.keyFile = nil, "", ""
		return nil
	}
	seen := [2]look{lookAt(certFile), lookAt(keyFile)} // before reading: what changes meanwhile is read again
	pair, err := Load(certFile, keyFile)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.certFile == certFile && s.keyFile == keyFile {
		s.seen = seen // a mistake is told once
	}
	if err != nil {
		return err
	}
	s.given, s.certFile, s.keyFile, s.seen = &pair, certFile, keyFile, seen
	s.opt.Log.Info("certificate read", "file", certFile, "subject", pair.Leaf.Subject.String(), "names", pair.Leaf.DNSNames, "valid_until", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return nil
}

// Get is for tls.Config.GetCertificate: the given certificate for names that it has, else the own one.
func (s *Source) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given != nil && hello.ServerName != "" && hello.ServerName != wire.ControllerName && s.given.Leaf.VerifyHostname(hello.ServerName) == nil {
		return s.given, nil
	}
	return s.own, nil
}

// Given is the given certificate, nil if there is none.
func (s *Source) Given() *x509.Certificate {
	if pair := s.GivenPair(); pair != nil {
		return pair.Leaf
	}
	return nil
}

// GivenPair is the given certificate with its chain, nil if there is none.
func (s *Source) GivenPair() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given
}

// Watch reads the given pair again when a file of it changes, and makes the own certificate anew before it ends, until ctx does.
func (s *Source) Watch(ctx context.Context) {
	tick := time.NewTicker(s.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := errors.Join(s.follow(), s.renew()); err != nil {
			s.opt.Log.Error("the certificate before stays in use", "err", err)
		}
	}
}

func (s *Source) follow() error {
	s.mu.Lock()
	certFile, keyFile, seen, given := s.certFile, s.keyFile, s.seen, s.given
	now := s.opt.Now()
	if given != nil && given.Leaf.NotAfter.Sub(now) < warnBefore && now.Sub(s.warned) > 24*time.Hour {
		s.warned = now
		s.opt.Log.Warn("the certificate ends soon, or has ended", "file", certFile, "valid_until", given.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	s.mu.Unlock()
	if certFile == "" || lookAt(certFile).same(seen[0]) && lookAt(keyFile).same(seen[1]) {
		return nil
	}
	return s.Use(certFile, keyFile)
}

func (s *Source) renew() error {
	now := s.opt.Now()
	s.mu.Lock()
	end := s.own.Leaf.NotAfter
	s.mu.Unlock()
	if end.Sub(now) > renewBefore {
		return nil
	}
	own, err := s.opt.Issue(now)
	if err != nil {
		return err
	}
	if !own.Leaf.NotAfter.After(end) {
		return nil // the authority itself ends
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = &own
	return nil
}

func lookAt(path string) look {
	info, err := os.Stat(path)
	if err != nil {
		return look{}
	}
	return look{size: info.Size(), at: info.ModTime(), file: info}
}

func (l look) same(o look) bool {
	if l.file == nil || o.file == nil {
		return l.file == nil && o.file == nil
	}
	return l.size == o.size && l.at.Equal(o.at) && os.SameFile(l.file, o.file)
}
