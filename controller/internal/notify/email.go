package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"sync"

	gomail "github.com/wneessen/go-mail"

	"devflowbackup/controller"
)

// email sends a message by SMTP: one transaction for all who get it. Where the server takes some of the addresses for good reason and
// refuses others, the ones that it takes get it, which is a success with a warning in the log: a wrong address must not keep the
// others from hearing. A repeated message has the same Message-ID.
func (s *Sender) email(ctx context.Context, t controller.ChannelTarget, m controller.Message) error {
	msg, err := s.mail(t, t.To, m)
	if err != nil {
		return err
	}
	err = s.deliver(ctx, t, msg)
	if err == nil || len(t.To) == 1 || !recipientRefused(err) {
		return err
	}
	var refused []string
	var last error
	for _, to := range t.To {
		one, err := s.mail(t, []string{to}, m)
		if err != nil {
			return err
		}
		if err := s.deliver(ctx, t, one); err != nil {
			if !recipientRefused(err) {
				return err
			}
			refused, last = append(refused, to), err
		}
	}
	if len(refused) == len(t.To) {
		return last
	}
	s.options.Log.Warn("a mail server refuses some of a channel's addresses", "host", t.Host, "refused", refused, "err", scrub(fmt.Sprint(last), t))
	return nil
}

func recipientRefused(err error) bool {
	var send *gomail.SendError
	return errors.As(err, &send) && send.Reason == gomail.ErrSMTPRcptTo
}

// deliver sends one mail over a connection of its own, which ends with the context.
func (s *Sender) deliver(ctx context.Context, t controller.ChannelTarget, msg *gomail.Msg) error {
	var open line
	// The library looks at the context only while it dials.
	stop := context.AfterFunc(ctx, open.close)
	defer stop()
	defer open.close()
	options := []gomail.Option{
		gomail.WithPort(t.Port), gomail.WithTimeout(2 * s.options.Timeout), gomail.WithTLSConfig(s.guard.tlsConfig(t.Host)), gomail.WithoutNoop(),
		gomail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := s.guard.dial(ctx, network, address, t.TLS == "none")
			if err != nil {
				return nil, err
			}
			open.hold(conn)
			if t.TLS != "implicit" {
				return conn, nil
			}
			secure := tls.Client(conn, s.guard.tlsConfig(t.Host))
			if err := secure.HandshakeContext(ctx); err != nil {
				return nil, fmt.Errorf("agree on TLS: %w", err)
			}
			return secure, nil
		}),
	}
	switch t.TLS {
	case "implicit":
		options = append(options, gomail.WithSSL())
	case "none":
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if t.Username != "" {
		options = append(options, gomail.WithOpportunisticSMTPAuth(mechanisms...), gomail.WithUsername(t.Username), gomail.WithPassword(t.Password.Reveal()))
	}
	client, err := gomail.NewClient(t.Host, options...)
	if err != nil {
		return fmt.Errorf("set up mail to %s: %w", t.Host, err)
	}
	if err := client.DialWithContext(ctx); err != nil {
		return fmt.Errorf("reach mail server %s: %w", t.Host, err)
	}
	sent := client.Send(msg)
	_ = client.Close() // taken is taken: how the conversation ends does not matter
	if sent != nil {
		return fmt.Errorf("mail by %s: %w", t.Host, sent)
	}
	return nil
}

// mechanisms are how to sign in, the best first. All of the connection is encrypted then.
var mechanisms = []gomail.SMTPAuthType{
	gomail.SMTPAuthSCRAMSHA256PLUS, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1PLUS, gomail.SMTPAuthSCRAMSHA1,
	gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5,
}

// line is a connection that can be closed from outside, before or after it is there.
type line struct {
	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

func (l *line) hold(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn = conn; l.closed {
		_ = conn.Close()
	}
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed = true; l.conn != nil {
		_ = l.conn.Close()
	}
}

var messageID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (s *Sender) mail(t controller.ChannelTarget, to []string, m controller.Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(t.From); err != nil {
		return nil, fmt.Errorf("set sender: %w", err)
	}
	if err := msg.To(to...); err != nil {
		return nil, fmt.Errorf("set recipients: %w", err)
	}
	id := m.UID
	if !messageID.MatchString(id) {
		sum := sha256.Sum256([]byte(m.UID))
		id = hex.EncodeToString(sum[:16])
	}
	domain := "devflow.invalid"
	if from, err := mail.ParseAddress(t.From); err == nil {
		domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	msg.SetMessageIDWithValue(id + "@" + domain)
	msg.SetDateWithValue(atTime(m, s.options.Now()))
	msg.Subject(subject(m))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetGenHeader(HeaderMessageID, headerText(m.UID))
	if m.Severity == controller.SeverityCritical {
		msg.SetImportance(gomail.ImportanceHigh)
	}
	page, err := html(m)
	if err != nil {
		return nil, err
	}
	msg.SetBodyString(gomail.TypeTextPlain, plain(m))
	msg.AddAlternativeString(gomail.TypeTextHTML, page)
	return msg, nil
}
