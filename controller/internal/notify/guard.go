package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"devflowbackup/controller"
)

const (
	dialTimeout = 10 * time.Second
	maxHeader   = 64 << 10
	maxBody     = 4 << 10 // of an answer that nobody needs: no more is ever read
)

// guard is the one place that connects to anything. It looks at the address that is really dialled, after the name was resolved: a
// name that resolves to something else a moment later gains nothing.
type guard struct {
	allowed  controller.Allowed
	resolver *net.Resolver
	roots    *x509.CertPool
}

func newGuard(allow []string, ca []byte, dns string) (*guard, error) {
	allowed, err := controller.ParseAllowed(allow)
	if err != nil {
		return nil, fmt.Errorf("read allowed hosts: %w", err)
	}
	roots, err := pool(ca)
	if err != nil {
		return nil, err
	}
	g := &guard{allowed: allowed, roots: roots}
	if dns != "" {
		g.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, dns)
		}}
	}
	return g, nil
}

// refusedError tells that the guard did not let a connection through.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// dial connects to host:port. With open set nothing on the way is encrypted, which only what is allowed by name or address may have.
func (g *guard) dial(ctx context.Context, network, address string, open bool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	d := net.Dialer{Timeout: dialTimeout, Resolver: g.resolver}
	if !g.allowed.HasHost(host) {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return &refusedError{"an address that cannot be read is not connected to"}
			}
			addr := at.Addr()
			if g.allowed.HasAddr(addr) {
				return nil
			}
			if class := refusedClass(addr); class != "" {
				return &refusedError{fmt.Sprintf("%s is not connected to: it is %s", addr, class)}
			}
			if open {
				return &refusedError{fmt.Sprintf("%s is not connected to without encryption", addr)}
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, address)
}

// tlsConfig is for a server of this name.
func (g *guard) tlsConfig(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: g.roots, MinVersion: tls.VersionTLS12}
}

// transport carries requests over the guard: no proxy of the environment, nothing kept open, bounded answers.
func (g *guard) transport(most int64) http.RoundTripper {
	over := func(open bool) *http.Transport {
		return &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return g.dial(ctx, network, address, open)
			},
			TLSClientConfig:        &tls.Config{RootCAs: g.roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			DisableKeepAlives:      true,
			DisableCompression:     true, // a small answer would not be small
			MaxResponseHeaderBytes: maxHeader,
		}
	}
	return &roundTripper{clear: over(true), tls: over(false), most: most}
}

type roundTripper struct {
	clear, tls *http.Transport
	most       int64 // bytes of an answer
}

func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	t := r.tls
	switch req.URL.Scheme {
	case "https":
	case "http":
		t = r.clear
	default:
		return nil, &refusedError{"only http and https are spoken"}
	}
	res, err := t.RoundTrip(req)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, r.most), res.Body}
	}
	return res, err
}

// refusedClasses are addresses that no message goes to by itself: whoever may make a channel would otherwise reach what only the
// controller's own network can.
var refusedClasses = []struct {
	class    string
	prefixes []netip.Prefix
}{
	{"an address that clouds answer metadata at", prefixes("169.254.169.254/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128")},
	{"a loopback address", prefixes("127.0.0.0/8", "::1/128")},
	{"an unspecified address", prefixes("0.0.0.0/8", "::/128")},
	{"a private address", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")},
	{"a link-local address", prefixes("169.254.0.0/16", "fe80::/10")},
	{"an address behind a carrier's NAT", prefixes("100.64.0.0/10")},
	{"a multicast address", prefixes("224.0.0.0/4", "ff00::/8")},
	{"a reserved address", prefixes("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "100::/64", "2001:10::/28", "5f00::/16")},
	{"an address for benchmarks", prefixes("198.18.0.0/15", "2001:2::/48")},
	{"an address for documentation", prefixes("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")},
	// Where they lead, another machine decides.
	{"an IPv4 address in IPv6 clothes", prefixes("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "2001::/32")},
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// refusedClass names what an address is that is not connected to; empty for a public one.
func refusedClass(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	for _, c := range refusedClasses {
		for _, p := range c.prefixes {
			if p.Contains(addr) {
				return c.class
			}
		}
	}
	if !addr.Is6() {
		return ""
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return refusedClass(netip.AddrFrom4([4]byte(b[12:16])))
	case sixTo4.Contains(addr):
		return refusedClass(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return ""
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// laterError is what the other side answered with a wish to be left alone for a time.
type laterError struct {
	error
	wait time.Duration
}

func (e *laterError) Unwrap() error { return e.error }

var errRedirect = errors.New("the answer is a redirect, which is not followed: give the URL that it leads to")
