// Package notify tells people: it sends one message to one target, by email, a signed webhook, or the service of a third party.
//
// It knows nothing of the catalog and keeps nothing: whoever calls it repeats what failed. Three things hold for every kind of
// channel. No address is connected to that is not public, unless the operator allows it (guard.go). No error, log line, argument or
// environment shows what opens the target. And nil means that the other side has taken the message, which may then arrive twice,
// with the same id, if the answer got lost.
package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Timeout is how long one message may take at most.
const Timeout = 15 * time.Second

// Options of a Sender.
type Options struct {
	Allow   []string      // CIDRs, addresses and host names beside the public ones
	CA      []byte        // PEM certificates that targets are trusted by, beside the system's
	DNS     string        // address of the DNS server that is asked; the system's resolver if empty
	Exe     string        // program that has the command internal-send; this one if empty
	Timeout time.Duration // for one message; Timeout if 0
	Log     hclog.Logger
	Now     func() time.Time
}

// Sender sends messages. It may be used by many at once.
type Sender struct {
	guard   *guard
	options Options
	client  *http.Client
}

// New makes a Sender.
func New(o Options) (*Sender, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout <= 0 {
		o.Timeout = Timeout
	}
	if o.Exe == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the own program: %w", err)
		}
		o.Exe = exe
	}
	g, err := newGuard(o.Allow, o.CA, o.DNS)
	if err != nil {
		return nil, err
	}
	return &Sender{guard: g, options: o, client: &http.Client{
		Transport:     g.transport(maxBody),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Send sends a message to a target of a kind. Its error is a *controller.Error that may be shown; RetryAfter is set where the other
// side asked for a pause. Retry tells whether another try can succeed: it cannot where the target itself is invalid.
func (s *Sender) Send(ctx context.Context, kind string, target controller.ChannelTarget, m controller.Message) (retry bool, err error) {
	target, _, err = Check(kind, target)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, fmt.Errorf("no answer within %s", s.options.Timeout))
	defer cancel()
	switch k, _ := kindOf(kind); {
	case kind == KindEmail:
		err = s.email(ctx, target, m)
	case kind == KindWebhook:
		err = s.webhook(ctx, target, m)
	case kind == KindTeams && isWorkflow(target.URL):
		err = s.workflow(ctx, target, m)
	default:
		err = s.service(ctx, k, target, m)
	}
	if err != nil {
		return true, s.told(ctx, kind, err, target)
	}
	return false, nil
}

// Ping calls the URL of a dead-man switch by GET. Any answer but 2xx is an error.
func (s *Sender) Ping(ctx context.Context, url secret.String) (retry bool, err error) {
	if _, err := CheckPing(url); err != nil {
		return false, err
	}
	target := controller.ChannelTarget{URL: url}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, fmt.Errorf("no answer within %s", s.options.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url.Reveal(), http.NoBody)
	if err != nil {
		return false, controller.Invalid("ping_url", "is not a URL")
	}
	if err := s.do(req); err != nil {
		return true, s.told(ctx, "ping", err, target)
	}
	return false, nil
}

// told makes an error that may be shown of any.
func (s *Sender) told(ctx context.Context, kind string, err error, target controller.ChannelTarget) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	out := &controller.Error{Code: controller.EUnavailable, Message: scrub(err.Error(), target)}
	var refused *refusedError
	if errors.As(err, &refused) {
		out = controller.Errorf(controller.EUnavailable, "%s", scrub(refused.Error(), target)).
			WithHint("alarms.allow in the controller's configuration may name it")
	}
	var later *laterError
	if errors.As(err, &later) {
		out.RetryAfter = later.wait
	}
	s.options.Log.Debug("a message was not taken", "kind", kind, "err", out)
	return out
}

// pool are the authorities of the system and those of PEM text.
func pool(pem []byte) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if len(pem) > 0 && !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("read authorities: no PEM certificate")
	}
	return roots, nil
}
