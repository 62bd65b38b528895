// Package objectstore is the adapter to S3 and what speaks its protocol.
//
// Its invariant: an artifact counts as stored only when the store itself, asked by HEAD, shows an object of the size and
// checksum that the agent's statement gives. A reply to a write is a hint, its absence proves nothing. Presigned
// requests allow exactly one request each: method, key, part, length and checksum are signed.
package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/go-hclog"
)

// ChecksumMode is the checksum that parts and objects are signed with.
type ChecksumMode string

const (
	// ChecksumSHA256 signs x-amz-checksum-sha256; the store keeps a composite checksum of a multipart object.
	ChecksumSHA256 ChecksumMode = "sha256"
	// ChecksumMD5 signs Content-MD5, for stores without SHA-256; ETags are compared in place of composite checksums.
	ChecksumMD5 ChecksumMode = "md5"
)

// Config of one storage. Endpoint may be empty for AWS itself.
type Config struct {
	Endpoint  string // https://host[:port]; http is accepted and reported by Store.Insecure
	Region    string // default us-east-1
	Bucket    string
	Prefix    string // under which Key places objects; no leading or trailing slash needed
	AccessKey string
	SecretKey string

	// PathStyle addresses the bucket in the path, VirtualHosted in the host name. With neither, the path is used if
	// Endpoint is set.
	PathStyle     bool
	VirtualHosted bool
	// CACert holds PEM certificates, RootCAs a pool, trusted for this endpoint in place of the system's. With both, either will do.
	CACert  []byte
	RootCAs *x509.CertPool

	// Checksum is what Probe found; empty is ChecksumSHA256.
	Checksum ChecksumMode
	// ConditionalPut and ConditionalComplete tell that the store honours If-None-Match on these, ConditionalRead that it
	// honours If-Match on GET; Probe finds out.
	ConditionalPut      bool
	ConditionalComplete bool
	ConditionalRead     bool

	// MaxAttempts of one idempotent call, default 6, with jittered, doubling pauses up to MaxBackoff, default 10 s.
	MaxAttempts int
	MaxBackoff  time.Duration
	// Timeout of one call with all its attempts, default 2 min. CompleteTimeout of one completion, default 15 min.
	Timeout         time.Duration
	CompleteTimeout time.Duration
	// LostAfter is how long Settle looks for an object whose upload is gone before it calls it lost, default 5 s.
	LostAfter time.Duration

	// Now is the clock that signs, default time.Now.
	Now func() time.Time
	// Log receives what is retried or odd, never credentials or signed URLs. Nil discards.
	Log hclog.Logger
}

// Store is one bucket. It is safe for concurrent use and holds no state but connections.
type Store struct {
	cfg     Config
	client  *s3.Client // idempotent calls, retried
	once    *s3.Client // calls that are never repeated silently, and may take minutes
	presign *s3.PresignClient
	http    *http.Client // for presigned requests of our own (the probe)
	watch   *clockWatch
	log     hclog.Logger
}

// New checks the configuration and returns a Store. It does not talk to the store: see Probe.
func New(cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	tr, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: cfg.Log, watch: &clockWatch{base: tr, now: cfg.Now}}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	quick := &http.Client{Transport: s.watch, CheckRedirect: noRedirect}
	slowTr := tr.Clone()
	slowTr.ResponseHeaderTimeout = 0 // a completion may say nothing for minutes; its context bounds it
	slow := &http.Client{Transport: &clockWatch{base: slowTr, now: cfg.Now, shared: s.watch}, CheckRedirect: noRedirect}

	signer := clockSigner{now: cfg.Now, signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
	opts := s3.Options{
		Region:       cfg.Region,
		Credentials:  credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, ""),
		UsePathStyle: cfg.PathStyle || cfg.Endpoint != "" && !cfg.VirtualHosted,
		HTTPClient:   quick,
		HTTPSignerV4: signer,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = cfg.MaxAttempts, cfg.MaxBackoff
			o.Backoff = retry.NewExponentialJitterBackoff(cfg.MaxBackoff)
			// The SDK's token bucket is shared by all calls: one bad minute would take the retries of the next.
			o.RateLimiter = ratelimit.None
		}),
		// Many stores refuse the SDK's own CRC headers; we say ourselves which checksum goes where.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		// A wrong clock is reported, not corrected: presigned URLs would carry it all the same.
		DisableClockSkewCorrection:                true,
		DisableLogOutputChecksumValidationSkipped: true,
	}
	if cfg.Endpoint != "" {
		opts.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	s.client = s3.New(opts)
	onceOpts := opts
	onceOpts.HTTPClient, onceOpts.Retryer = slow, aws.NopRetryer{}
	s.once = s3.New(onceOpts)
	s.presign = s3.NewPresignClient(s.client, func(o *s3.PresignOptions) { o.Presigner = signer })
	s.http = quick
	return s, nil
}

func (c *Config) complete() error {
	if c.Bucket == "" {
		return errors.New("storage configuration: bucket is empty")
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		return errors.New("storage configuration: access key or secret key is empty")
	}
	if c.PathStyle && c.VirtualHosted {
		return errors.New("storage configuration: path style and virtual-hosted style exclude each other")
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			// The value may hold a password by mistake, so it is not repeated.
			return errors.New("storage configuration: endpoint is not a URL of the form https://host[:port] without user, query or fragment")
		}
	}
	switch c.Checksum {
	case "":
		c.Checksum = ChecksumSHA256
	case ChecksumSHA256, ChecksumMD5:
	default:
		return fmt.Errorf("storage configuration: checksum %q: valid are sha256, md5", c.Checksum)
	}
	c.Prefix = strings.Trim(c.Prefix, "/")
	setDefault(&c.Region, "us-east-1")
	setDefault(&c.MaxAttempts, 6)
	setDefault(&c.MaxBackoff, 10*time.Second)
	setDefault(&c.Timeout, 2*time.Minute)
	setDefault(&c.CompleteTimeout, 15*time.Minute)
	setDefault(&c.LostAfter, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return s.cfg.Bucket }

// Checksum is the mode that parts and objects are signed with.
func (s *Store) Checksum() ChecksumMode { return s.cfg.Checksum }

// Key places a relative name under the storage's prefix. All other methods take full keys, as the catalog keeps them: a
// changed prefix does not move what is stored.
func (s *Store) Key(rel ...string) string {
	return path.Join(append([]string{s.cfg.Prefix}, rel...)...)
}

// Insecure tells that requests travel without TLS to a host other than this one.
func (s *Store) Insecure() bool {
	u, err := url.Parse(s.cfg.Endpoint)
	if err != nil || u.Scheme != "http" {
		return false
	}
	if u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.IsLoopback()
}

// Close drops idle connections. Calls in flight go on.
func (s *Store) Close() { s.http.CloseIdleConnections(); s.watch.base.CloseIdleConnections() }

// ClockSkew is how far the store's clock was ahead of ours at its last reply, to the second; false before the first.
func (s *Store) ClockSkew() (time.Duration, bool) {
	return time.Duration(s.watch.skew.Load()), s.watch.seen.Load()
}

// call bounds one call with all its attempts.
func (s *Store) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

func (s *Store) timeout(op string) time.Duration {
	if op == opComplete {
		return s.cfg.CompleteTimeout
	}
	return s.cfg.Timeout
}

func newTransport(cfg Config) (*http.Transport, error) {
	tr := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: refuseLinkLocal}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 45 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   32,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
	}
	if !strings.HasPrefix(cfg.Endpoint, "http://") {
		// Over TLS a proxy sees a host name, no more. Plain requests, signatures and all, are not shown to one.
		tr.Proxy = http.ProxyFromEnvironment
	}
	roots := cfg.RootCAs
	if len(cfg.CACert) > 0 {
		if roots == nil {
			roots = x509.NewCertPool()
		} else {
			roots = roots.Clone()
		}
		if !roots.AppendCertsFromPEM(cfg.CACert) {
			return nil, errors.New("storage configuration: CA certificate holds no PEM certificate")
		}
	}
	tr.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return tr, nil
}

// refuseLinkLocal keeps an endpoint from reaching the cloud's metadata service, whatever its name resolves to.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip == metadataIPv6 {
		return fmt.Errorf("dial %s: link-local and metadata addresses are not allowed as storage", address)
	}
	return nil
}

var metadataIPv6 = netip.MustParseAddr("fd00:ec2::254")

// clockWatch notes how far the store's clock is from ours.
type clockWatch struct {
	base   *http.Transport
	now    func() time.Time
	shared *clockWatch // where to note it, if not here
	skew   atomic.Int64
	seen   atomic.Bool
}

func (c *clockWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		to := c
		if c.shared != nil {
			to = c.shared
		}
		// The header is cut to the second, so the middle of that second is the best guess.
		to.skew.Store(int64(t.Add(500 * time.Millisecond).Sub(c.now()).Round(time.Second)))
		to.seen.Store(true)
	}
	return resp, nil
}

// clockSigner signs with the configured clock.
type clockSigner struct {
	signer *v4.Signer
	now    func() time.Time
}

func (c clockSigner) SignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, _ time.Time, optFns ...func(*v4.SignerOptions)) error {
	return c.signer.SignHTTP(ctx, creds, r, payloadHash, service, region, c.now().UTC(), optFns...)
}

func (c clockSigner) PresignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, _ time.Time, optFns ...func(*v4.SignerOptions)) (string, http.Header, error) {
	return c.signer.PresignHTTP(ctx, creds, r, payloadHash, service, region, c.now().UTC(), optFns...)
}
