// Package bootstrap makes a bare host a server of the installation in one line: the command that is pasted into a root shell, the
// script that it runs, and the files that the script installs.
//
// Invariants: nothing that a host has not verified is run or installed there. The command trusts the installation's own authority,
// whose certificate it knows by its SHA-256, or, for a controller with a certificate that this machine trusts too, the authorities of
// the host. The script asks with that certificate alone, and takes the checksums of files from the controller, wherever the files come
// from. Of the directory of files only those are served that its SHA256SUMS names. The token is in no command line of any program.
package bootstrap

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	_ "embed" // the script
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

//go:embed install.sh
var script string

// Options of New.
type Options struct {
	// URL is where hosts reach the controller.
	URL string
	// CA is the certificate of the installation's authority, PEM.
	CA []byte
	// Given is the certificate of another authority that the controller shows, nil if there is none now.
	Given func() *tls.Certificate
	// Roots are what the given certificate is held against; the system's if nil.
	Roots *x509.CertPool
	// Dir holds SHA256SUMS and the files that it names. Link is a directory of a web server with the same files, in place of the
	// controller; empty if there is none.
	Dir, Link string
	Version   string
	Now       func() time.Time // time.Now if nil
}

// Bootstrap serves hosts. Its methods may be called from several goroutines.
type Bootstrap struct {
	opt  Options
	base *url.URL
}

// New makes one of a valid URL.
func New(opt Options) (*Bootstrap, error) {
	base, err := url.Parse(strings.TrimRight(opt.URL, "/"))
	if err != nil || base.Scheme != "https" || base.Hostname() == "" {
		return nil, fmt.Errorf("the controller's URL %q is not an https:// URL", opt.URL)
	}
	opt.URL, opt.Link = base.String(), strings.TrimRight(opt.Link, "/")
	if opt.Given == nil {
		opt.Given = func() *tls.Certificate { return nil }
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Bootstrap{opt: opt, base: base}, nil
}

// CA is the certificate of the installation's authority, PEM. It is no secret: the command knows its SHA-256.
func (b *Bootstrap) CA() []byte { return b.opt.CA }

// Fingerprint is the SHA-256 of what CA gives, in lower-case hex.
func (b *Bootstrap) Fingerprint() string {
	sum := sha256.Sum256(b.opt.CA)
	return hex.EncodeToString(sum[:])
}

// shown tells whether hosts that ask for the controller by its URL see a certificate of another authority, and whether this machine
// trusts it for that name.
func (b *Bootstrap) shown() (other, trusted bool) {
	given := b.opt.Given()
	if given == nil || given.Leaf == nil || net.ParseIP(b.base.Hostname()) != nil || given.Leaf.VerifyHostname(b.base.Hostname()) != nil {
		return false, false
	}
	between := x509.NewCertPool()
	for _, der := range given.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err := given.Leaf.Verify(x509.VerifyOptions{Roots: b.opt.Roots, Intermediates: between, DNSName: b.base.Hostname(), CurrentTime: b.opt.Now()})
	return true, err == nil
}

// own is how the controller is asked so that it shows a certificate of the installation's own authority: the URL, and what curl has
// to connect to for it; empty if that is the URL itself.
func (b *Bootstrap) own() (base, connect string) {
	if other, _ := b.shown(); !other {
		return b.opt.URL, ""
	}
	port := b.base.Port()
	if port == "" {
		port = "443"
	}
	u := *b.base
	u.Host = net.JoinHostPort(wire.ControllerName, port)
	return u.String(), "::" + net.JoinHostPort(b.base.Hostname(), port)
}

// Script is what the command runs on the host.
func (b *Bootstrap) Script() []byte {
	base, connect := b.own()
	out := script
	for name, value := range map[string]string{
		"URL": b.opt.URL, "BASE": base, "CONNECT": connect, "LINK": b.opt.Link, "VERSION": b.opt.Version, "CA": strings.TrimSpace(string(b.opt.CA)),
	} {
		out = strings.Replace(out, "'@"+name+"@'", quote(value), 1)
	}
	return []byte(out)
}

var enrolmentToken = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// ErrNoAddress says that hosts cannot be told where the controller is.
var ErrNoAddress = controller.Errorf(controller.EConflict, "the controller does not know by what address hosts reach it").
	WithHint("set public_url in its configuration, and restart it")

// Command is one line for a root shell (sh, bash, dash, ksh, zsh or busybox) of a bare host. It is ErrNoAddress if no host could use
// it. With grant the script lets setup make database accounts.
func (b *Bootstrap) Command(token string, grant bool) (string, error) {
	if !enrolmentToken.MatchString(token) {
		return "", errors.New("the enrolment token has an unknown form")
	}
	if ip := net.ParseIP(b.base.Hostname()); ip != nil && ip.IsUnspecified() {
		return "", ErrNoAddress
	}
	run := "DEVFLOW_ENROLMENT=" + token + " sh i"
	if grant {
		run += " --grant"
	}
	const (
		begin = `(umask 77; d=$(mktemp -d) && trap 'rm -rf "$d"' 0 && cd "$d" && `
		get   = "curl -fsS -m 60 "
	)
	if _, trusted := b.shown(); trusted {
		return begin + get + "-o i " + quote(b.opt.URL+"/install.sh") + " && " + run + ")", nil
	}
	base, connect := b.own()
	if connect != "" {
		connect = "--connect-to " + quote(connect) + " "
	}
	// What comes with -k is used for nothing before its checksum was compared: it is the certificate that all else is verified by.
	return begin + "u=" + quote(base) + " && " + get + connect + "-ko ca $u/ca.pem && { echo '" + b.Fingerprint() +
		"  ca' | sha256sum -c - >/dev/null || { echo 'refused: this is not the controller that the command is of' >&2; false; }; } && " +
		get + connect + "--cacert ca -o i $u/install.sh && " + run + ")", nil
}

// quote makes one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
