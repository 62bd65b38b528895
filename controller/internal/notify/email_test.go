package notify_test

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/smtpkit"
)

const password = secret.String("canary-p4ss")

func mailTo(s *smtpkit.Server) controller.ChannelTarget {
	return controller.ChannelTarget{Host: s.Host, Port: s.Port, From: "DevFlow <backup@example.com>", To: []string{"ops@example.com", "Ada <ada@example.com>"}}
}

// parts are the bodies of a mail by their types.
func parts(t *testing.T, m smtpkit.Mail) (header func(string) string, bodies map[string]string) {
	t.Helper()
	msg, err := m.Message()
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("the mail is %s, %v", kind, err)
	}
	bodies = make(map[string]string)
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		bodies[kind] = string(b)
	}
	return msg.Header.Get, bodies
}

// A mail goes by TLS, signed in, to all at once, as text and as HTML; the same message is the same mail when it is sent again.
func TestEmail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options smtpkit.Options
		tls     string
		user    string
	}{
		"starttls, plain": {smtpkit.Options{Username: "me", Password: password.Reveal(), Mechs: "PLAIN"}, "", "me"},
		"implicit, login": {smtpkit.Options{Username: "me", Password: password.Reveal(), Mechs: "LOGIN", Implicit: true}, "implicit", "me"},
		"none":            {smtpkit.Options{NoTLS: true}, "none", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := smtpkit.Start(t, c.options)
			s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: server.CA})
			target := mailTo(server)
			target.TLS = c.tls
			if c.user != "" {
				target.Username, target.Password = c.user, password
			}
			for range 2 {
				if _, err := s.Send(t.Context(), notify.KindEmail, target, message()); err != nil {
					t.Fatal(err)
				}
			}
			mails := server.Mails()
			if len(mails) != 2 {
				t.Fatalf("%d mails", len(mails))
			}
			m := mails[0]
			if m.TLS != (c.tls != "none") || m.User != c.user || m.From != "backup@example.com" || strings.Join(m.To, " ") != "ops@example.com ada@example.com" {
				t.Errorf("mail %+v", m)
			}
			header, bodies := parts(t, m)
			for name, want := range map[string]string{
				"Message-ID": "<0f3c2b1a-message@example.com>", "DevFlow-Message-Id": "0f3c2b1a-message", "Auto-Submitted": "auto-generated",
				"Subject": "[critical] Backups of shop fail", "Date": "Wed, 04 Mar 2026 05:06:07 +0000", "From": `"DevFlow" <backup@example.com>`,
			} {
				if header(name) != want {
					t.Errorf("%s: %q; want %q", name, header(name), want)
				}
			}
			for kind, body := range bodies {
				for _, want := range []string{"Backups of shop fail", "pg_dump ended with exit status 1", "database shop", "project web", "backup 4711", "2026-03-04 05:06 UTC", "https://backup.example.com/alarms"} {
					if !strings.Contains(body, want) {
						t.Errorf("%s does not say %q: %s", kind, want, body)
					}
				}
			}
			if len(bodies) != 2 || strings.Contains(bodies["text/html"], "<img") || strings.Contains(bodies["text/html"], "<script") {
				t.Errorf("bodies %v", bodies)
			}
			again, _ := parts(t, mails[1])
			if again("Message-ID") != header("Message-ID") || again("Date") != header("Date") {
				t.Error("a repeated mail is another one")
			}
		})
	}
}

// What stops a mail is said, without the password; whatever it is, the next try may succeed.
func TestEmail_Fails(t *testing.T) {
	t.Parallel()
	reply := func(at, line string) func(string, string) string {
		return func(command, _ string) string {
			if command == at {
				return line
			}
			return ""
		}
	}
	for name, c := range map[string]struct {
		options smtpkit.Options
		change  func(*controller.ChannelTarget)
		reply   func(string, string) string
		foreign bool // a certificate of nobody
		words   []string
	}{
		"no STARTTLS":     {smtpkit.Options{NoTLS: true}, nil, nil, false, []string{"STARTTLS"}},
		"not TLS":         {smtpkit.Options{}, func(t *controller.ChannelTarget) { t.TLS = "implicit" }, nil, false, []string{"TLS"}},
		"foreign":         {smtpkit.Options{}, nil, nil, true, []string{"certificate"}},
		"other name":      {smtpkit.Options{Implicit: true}, func(t *controller.ChannelTarget) { t.TLS, t.Host = "implicit", "mail.example.com" }, nil, false, []string{"certificate is valid for"}},
		"wrong password":  {smtpkit.Options{Username: "me", Password: "other"}, func(t *controller.ChannelTarget) { t.Username, t.Password = "me", password }, nil, false, []string{"535"}},
		"sender refused":  {smtpkit.Options{}, nil, reply("MAIL", "550 5.1.8 not you"), false, []string{"550", "not you"}},
		"later":           {smtpkit.Options{}, nil, reply(".", "451 4.3.0 come back"), false, []string{"451", "come back"}},
		"all refused":     {smtpkit.Options{}, nil, reply("RCPT", "550 5.1.1 nobody here"), false, []string{"550", "nobody here"}},
		"hangs":           {smtpkit.Options{}, nil, reply("connect", smtpkit.Hang), false, []string{"no answer within"}},
		"hangs with data": {smtpkit.Options{}, nil, reply(".", smtpkit.Hang), false, []string{"no answer within"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := smtpkit.Start(t, c.options)
			server.Reply(c.reply)
			ca := server.CA
			if c.foreign {
				ca = nil
			}
			s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: ca, Timeout: 700 * time.Millisecond, DNS: dns(t, "127.0.0.1")})
			target := mailTo(server)
			if c.change != nil {
				c.change(&target)
			}
			started := time.Now()
			retry, err := s.Send(t.Context(), notify.KindEmail, target, message())
			fails(t, err, c.words...)
			if !retry {
				t.Error("it is given up")
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			if len(server.Mails()) > 0 && !strings.HasPrefix(name, "hangs") {
				t.Error("a mail was taken nevertheless")
			}
		})
	}
}

// One wrong address does not keep the others from hearing.
func TestEmail_RecipientRefused(t *testing.T) {
	t.Parallel()
	server := smtpkit.Start(t, smtpkit.Options{})
	server.Reply(func(command, argument string) string {
		if command == "RCPT" && argument == "ops@example.com" {
			return "550 5.1.1 nobody here"
		}
		return ""
	})
	s, l := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: server.CA})
	if _, err := s.Send(t.Context(), notify.KindEmail, mailTo(server), message()); err != nil {
		t.Fatal(err)
	}
	if mails := server.Mails(); len(mails) != 1 || strings.Join(mails[0].To, " ") != "ada@example.com" {
		t.Errorf("mails %+v", mails)
	}
	if !strings.Contains(l.String(), "ops@example.com") {
		t.Errorf("the log does not name the address: %s", l)
	}
}

// A mail ends with its context.
func TestEmail_Cancelled(t *testing.T) {
	t.Parallel()
	server := smtpkit.Start(t, smtpkit.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	server.Reply(func(command, _ string) string {
		if command == "DATA" {
			cancel()
			return smtpkit.Hang
		}
		return ""
	})
	s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: server.CA})
	started := time.Now()
	if _, err := s.Send(ctx, notify.KindEmail, mailTo(server), message()); err == nil || time.Since(started) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(started))
	}
}

// What people may name things cannot make headers, addresses or markup of a mail.
func TestEmail_Hostile(t *testing.T) {
	t.Parallel()
	server := smtpkit.Start(t, smtpkit.Options{})
	s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: server.CA})
	m := message()
	m.UID = "x>\r\nBcc: evil@example.com"
	m.Title = "shop\r\nBcc: evil@example.com\r\n\r\n<script>alert(1)</script>"
	m.Notices[0].Title, m.Notices[0].Database, m.Notices[0].Detail = m.Title, `"><img src=https://evil.test/x>`, "\r\n.\r\nMAIL FROM:<evil@example.com>"
	m.URL = "javascript:alert(1)"
	if _, err := s.Send(t.Context(), notify.KindEmail, mailTo(server), m); err != nil {
		t.Fatal(err)
	}
	mails := server.Mails()
	if len(mails) != 1 || len(mails[0].To) != 2 {
		t.Fatalf("mails %+v", mails)
	}
	header, bodies := parts(t, mails[0])
	if header("Bcc") != "" || strings.Contains(header("Message-ID"), "Bcc") {
		t.Errorf("a header was made: %q, %q", header("Bcc"), header("Message-ID"))
	}
	for _, bad := range []string{"<script", "<img", "javascript:"} {
		if strings.Contains(bodies["text/html"], bad) {
			t.Errorf("HTML has %s: %s", bad, bodies["text/html"])
		}
	}
}
