// Package smtpkit is an SMTP server for tests: it speaks TLS under an authority of its own, keeps every mail that it took, and refuses
// or hangs where it is told to. A mail counts as taken when the end of its data was answered, or should have been.
package smtpkit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Hang, as a reply, keeps the client waiting until the server ends or the client goes.
const Hang = "hang"

// Options of a Server.
type Options struct {
	Implicit bool   // TLS from the start
	NoTLS    bool   // no STARTTLS
	Username string // required if not empty
	Password string
	Mechs    string // that are offered; "PLAIN LOGIN" if empty
}

// Mail is one that was taken.
type Mail struct {
	From string
	To   []string
	Data []byte // headers and body, with CRLF
	TLS  bool
	User string // empty: not signed in
	At   time.Time
}

// Message reads headers and body.
func (m Mail) Message() (*mail.Message, error) {
	msg, err := mail.ReadMessage(bytes.NewReader(m.Data))
	if err != nil {
		return nil, fmt.Errorf("read mail: %w", err)
	}
	return msg, nil
}

// Server takes mails on 127.0.0.1 until the test ends.
type Server struct {
	Host string
	Port int
	CA   []byte // PEM of the authority that the certificate is under

	options  Options
	tls      *tls.Config
	listener net.Listener
	done     chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	mails   []Mail
	conns   map[net.Conn]bool
	reply   func(command, argument string) string
	changed chan struct{}
}

// Start starts one.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{options: o, listener: l, done: make(chan struct{}), conns: make(map[net.Conn]bool), changed: make(chan struct{})}
	s.Host = "127.0.0.1"
	if at, ok := l.Addr().(*net.TCPAddr); ok {
		s.Port = at.Port
	}
	if s.tls, s.CA, err = certificate(); err != nil {
		t.Fatal(err)
	}
	s.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			s.running.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *Server) stop() {
	close(s.done)
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Reply has a function answer commands: with a line such as "451 later", with Hang, or empty for the usual. The end of data is the
// command ".". Nil: as usual.
func (s *Server) Reply(f func(command, argument string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = f
}

// Mails are all that were taken, in their order.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Wait waits until what was taken is enough.
func (s *Server) Wait(ctx context.Context, enough func([]Mail) bool) error {
	for {
		s.mu.Lock()
		mails, changed := slices.Clone(s.mails), s.changed
		s.mu.Unlock()
		if enough(mails) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for mails, of which there are %d: %w", len(mails), context.Cause(ctx))
		}
	}
}

func (s *Server) keep(m Mail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	close(s.changed)
	s.changed = make(chan struct{})
}

// session is one connection.
type session struct {
	conn net.Conn
	text *textproto.Conn
	mail Mail
}

func (s *Server) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	c := &session{conn: conn}
	if s.options.Implicit {
		if !c.secure(s.tls) {
			return
		}
	}
	c.text = textproto.NewConn(c.conn)
	if !s.say(c, s.told("connect", "", "220 mail.test ESMTP")) {
		return
	}
	for {
		line, err := c.text.ReadLine()
		if err != nil {
			return
		}
		command, argument, _ := strings.Cut(line, " ")
		command = strings.ToUpper(command)
		if !s.command(c, command, argument) {
			return
		}
	}
}

func (c *session) secure(config *tls.Config) bool {
	secure := tls.Server(c.conn, config)
	if err := secure.Handshake(); err != nil {
		return false
	}
	c.conn, c.mail.TLS = secure, true
	return true
}

func (s *Server) command(c *session, command, argument string) bool {
	usual := "250 OK"
	switch command {
	case "EHLO", "HELO":
		lines := []string{"mail.test"}
		if !c.mail.TLS && !s.options.NoTLS {
			lines = append(lines, "STARTTLS")
		}
		if s.options.Username != "" {
			mechs := s.options.Mechs
			if mechs == "" {
				mechs = "PLAIN LOGIN"
			}
			lines = append(lines, "AUTH "+mechs)
		}
		usual = ""
		for i, l := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			usual += "250" + sep + l + "\r\n"
		}
		usual = strings.TrimSuffix(usual, "\r\n")
	case "STARTTLS":
		if told := s.told(command, argument, "220 go ahead"); told != "220 go ahead" {
			return s.say(c, told)
		}
		if !s.say(c, "220 go ahead") || !c.secure(s.tls) {
			return false
		}
		c.text = textproto.NewConn(c.conn)
		return true
	case "AUTH":
		if told := s.told(command, argument, ""); told != "" {
			return s.say(c, told)
		}
		return s.auth(c, argument)
	case "MAIL":
		c.mail.From, c.mail.To = path(argument), nil
		if s.options.Username != "" && c.mail.User == "" {
			usual = "530 sign in first"
		}
	case "RCPT":
		told := s.told(command, path(argument), usual)
		if strings.HasPrefix(told, "2") {
			c.mail.To = append(c.mail.To, path(argument))
		}
		return s.say(c, told)
	case "DATA":
		told := s.told(command, argument, "354 go on")
		if len(c.mail.To) == 0 {
			told = "503 nobody gets it"
		}
		if !s.say(c, told) {
			return false
		}
		if !strings.HasPrefix(told, "354") {
			return true
		}
		data, err := io.ReadAll(c.text.DotReader())
		if err != nil {
			return false
		}
		told = s.told(".", "", "250 taken")
		if strings.HasPrefix(told, "2") || told == Hang {
			m := c.mail
			m.Data, m.At = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")), time.Now()
			s.keep(m)
		}
		return s.say(c, told)
	case "RSET":
		c.mail.From, c.mail.To = "", nil
	case "NOOP":
	case "QUIT":
		_ = s.say(c, s.told(command, argument, "221 bye"))
		return false
	default:
		usual = "500 what?"
	}
	return s.say(c, s.told(command, argument, usual))
}

func (s *Server) told(command, argument, usual string) string {
	s.mu.Lock()
	reply := s.reply
	s.mu.Unlock()
	if reply != nil {
		if told := reply(command, argument); told != "" {
			return told
		}
	}
	return usual
}

// say answers, or hangs.
func (s *Server) say(c *session, line string) bool {
	if line == Hang {
		gone := make(chan struct{})
		go func() { _, _ = bufio.NewReader(c.conn).ReadByte(); close(gone) }()
		select {
		case <-gone:
		case <-s.done:
		}
		return false
	}
	return c.text.PrintfLine("%s", line) == nil
}

func (s *Server) auth(c *session, argument string) bool {
	mech, first, _ := strings.Cut(argument, " ")
	ask := func(prompt string) (string, bool) {
		if !s.say(c, "334 "+base64.StdEncoding.EncodeToString([]byte(prompt))) {
			return "", false
		}
		line, err := c.text.ReadLine()
		return line, err == nil
	}
	decode := func(text string) string {
		b, _ := base64.StdEncoding.DecodeString(text)
		return string(b)
	}
	var user, password string
	ok := true
	switch strings.ToUpper(mech) {
	case "PLAIN":
		if first == "" {
			first, ok = ask("")
		}
		parts := strings.Split(decode(first), "\x00")
		if len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	case "LOGIN":
		var u, p string
		if u = first; u == "" {
			u, ok = ask("Username:")
		}
		if ok {
			p, ok = ask("Password:")
		}
		user, password = decode(u), decode(p)
	default:
		return s.say(c, "504 not known")
	}
	if !ok {
		return false
	}
	if user != s.options.Username || password != s.options.Password {
		return s.say(c, "535 5.7.8 that is not the password of "+user)
	}
	c.mail.User = user
	return s.say(c, "235 welcome")
}

// path is the address of MAIL FROM:<a@b> SIZE=1.
func path(argument string) string {
	_, rest, _ := strings.Cut(argument, "<")
	address, _, _ := strings.Cut(rest, ">")
	return address
}

// certificate is one for 127.0.0.1 under an authority that is made for it.
func certificate() (*tls.Config, []byte, error) {
	key := func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
	caKey, err := key()
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smtpkit"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("make authority: %w", err)
	}
	leafKey, err := key()
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der, caDER}, PrivateKey: leafKey}}}
	return config, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
