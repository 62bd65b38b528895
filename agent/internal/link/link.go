// Package link is the agent's connection to its controllers: one NATS connection, commands in, requests out.
//
// Nothing that came over the broker is believed unless a pinned key signed it for this server, this session, this verb
// and, in a reply, this very request. Everything else is dropped, counted and reported, and never acted on. Requests are
// repeated until a controller has answered or their context ends; no wall clock is compared.
package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"devflowbackup/shared/wire"
)

var (
	// ErrSuperseded says that another process speaks with this agent's identity since later than we do.
	ErrSuperseded = errors.New("another agent runs with this identity (a cloned machine, or a copy of the state directory): stop one of them and enrol it anew")
	// ErrRevoked says that the installation has revoked this server.
	ErrRevoked = errors.New("this server is revoked: enrol the agent again with a new token")
	// ErrClosed is the cause of requests that a closed link ended.
	ErrClosed = errors.New("link is closed")
)

// Config says who connects to what.
type Config struct {
	Server  string
	Session string
	URLs    []string
	JWT     string
	Sign    func(nonce []byte) ([]byte, error) // by the NATS key
	Roots   *x509.CertPool
	KeySet  func() wire.KeySet
	Log     hclog.Logger

	// Beside lists commands whose handlers may take long: they run beside each other and beside all other commands.
	Beside []string

	// FirstTimeout is how long the first try of a request waits, 5 s if zero; it doubles with each try, up to 12 times.
	FirstTimeout time.Duration
	// RetryWait is the least time between two tries, 500 ms if zero.
	RetryWait time.Duration
}

const (
	// besideRun is how many of Config.Beside run at once; besideHeld how many are held at most, with those that wait.
	besideRun  = 16
	besideHeld = 256
)

// Handler acts on a verified command and returns the message to answer with, or nil for none.
type Handler func(d wire.Directive) any

// Link is a connection that comes back by itself. Its methods may be called from several goroutines.
type Link struct {
	cfg Config
	log hclog.Logger
	nc  *nats.Conn

	handlers map[string]Handler
	held     chan struct{} // one token for each command of cfg.Beside that is held
	run      chan struct{} // and for each that runs
	beside   sync.WaitGroup

	ctx       context.Context // ends with Close, or for good by the broker's or a controller's word
	cancel    context.CancelCauseFunc
	connected chan struct{} // one token when a connection was made
	heard     atomic.Pointer[time.Time]

	noticeMu sync.Mutex
	notices  map[string]*wire.SecurityNotice
	noticed  chan struct{}
	counts   map[string]int64 // since the start
}

// Open starts to connect and returns at once; it keeps trying until Close. handlers are the commands that are known.
func Open(cfg Config, handlers map[string]Handler) (*Link, error) {
	if cfg.FirstTimeout == 0 {
		cfg.FirstTimeout = 5 * time.Second
	}
	if cfg.RetryWait == 0 {
		cfg.RetryWait = 500 * time.Millisecond
	}
	l := &Link{
		cfg: cfg, log: cfg.Log, handlers: handlers,
		held: make(chan struct{}, besideHeld), run: make(chan struct{}, besideRun),
		connected: make(chan struct{}, 1), noticed: make(chan struct{}, 1),
		notices: make(map[string]*wire.SecurityNotice), counts: make(map[string]int64),
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.hear()
	opts := []nats.Option{
		nats.Name("devflow-agent " + cfg.Server),
		nats.UserJWT(func() (string, error) { return cfg.JWT, nil }, cfg.Sign),
		nats.CustomInboxPrefix(wire.InboxPrefix(cfg.Server)),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		nats.ReconnectJitter(time.Second, 2*time.Second),
		nats.IgnoreAuthErrorAbort(), // a broker that is set up anew refuses us for a while; a revocation says so
		nats.ReconnectBufSize(-1),   // late heartbeats are worse than none, and requests are repeated by us
		nats.Timeout(10 * time.Second),
		nats.PingInterval(20 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(nc *nats.Conn) { l.onConnect(nc, "connected") }),
		nats.ReconnectHandler(func(nc *nats.Conn) { l.onConnect(nc, "reconnected") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.onError("disconnected", err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.onError("connect", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.onError("broker error", err) }),
		nats.ClosedHandler(func(nc *nats.Conn) {
			l.cancel(errors.Join(ErrClosed, nc.LastError()))
		}),
	}
	if cfg.Roots != nil {
		opts = append(opts, nats.Secure(&tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12}))
	}
	nc, err := nats.Connect(strings.Join(cfg.URLs, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	l.nc = nc
	if _, err := nc.Subscribe(wire.AgentSubjects(cfg.Server), l.onCommand); err != nil {
		nc.Close()
		return nil, fmt.Errorf("subscribe to commands: %w", err)
	}
	return l, nil
}

// Close ends the connection and all requests, and waits for the commands that run.
func (l *Link) Close() {
	l.cancel(ErrClosed)
	l.nc.Close()
	l.beside.Wait()
}

// Done is closed when the link is closed or has ended for good; Err says why.
func (l *Link) Done() <-chan struct{} { return l.ctx.Done() }

// Err is nil while the link lives. It wraps ErrSuperseded or ErrRevoked if that ended it.
func (l *Link) Err() error { return context.Cause(l.ctx) }

// IsConnected tells whether there is a connection now.
func (l *Link) IsConnected() bool { return l.nc.IsConnected() }

// Connected yields after each connection that was made.
func (l *Link) Connected() <-chan struct{} { return l.connected }

// LastHeard is when the other side last proved that it is there: a signed reply or a completed flush. It starts with Open.
func (l *Link) LastHeard() time.Time { return *l.heard.Load() }

func (l *Link) hear() {
	now := time.Now() // monotonic
	l.heard.Store(&now)
}

// fail ends the link for good.
func (l *Link) fail(err error) {
	l.cancel(err)
	l.nc.Close()
}

func (l *Link) onConnect(nc *nats.Conn, what string) {
	l.log.Info(what+" to the broker", "url", nc.ConnectedUrlRedacted())
	select {
	case l.connected <- struct{}{}:
	default:
	}
}

func (l *Link) onError(what string, err error) {
	switch {
	case err == nil || l.ctx.Err() != nil:
	case errors.Is(err, nats.ErrAuthRevoked):
		l.cancel(ErrRevoked)
		go l.nc.Close() // not from within its callback
	case errors.Is(err, nats.ErrAuthorization):
		l.log.Error("the broker refuses this agent's credential; if the server was revoked, enrol it again", "err", err)
	case errors.Is(err, nats.ErrPermissionViolation):
		l.log.Error("the broker refused a subject", "err", err)
	default:
		l.log.Warn(what, "err", err)
	}
}

// Publish sends a message that nobody answers, as it is: it names its session itself. It is lost while there is no
// connection, and that is no matter.
func (l *Link) Publish(verb string, body any) error {
	data, err := wire.Encode(body)
	if err != nil {
		return fmt.Errorf("publish %s: %w", verb, err)
	}
	if err := l.nc.Publish(wire.ControllerSubject(l.cfg.Server, verb), data); err != nil {
		return fmt.Errorf("publish %s: %w", verb, err)
	}
	return nil
}

// encode wraps a body in a new request of this session.
func (l *Link) encode(verb string, body any) (id string, data []byte, err error) {
	req := wire.Request{V: wire.Version, ID: wire.NewID(), Session: l.cfg.Session}
	if req.Body, err = wire.Encode(body); err == nil {
		data, err = wire.Encode(req)
	}
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", verb, err)
	}
	return req.ID, data, nil
}

// Flush waits until the broker has taken all that was sent. Success counts as heard.
func (l *Link) Flush(ctx context.Context) error {
	if err := l.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	l.hear()
	return nil
}

// Request asks the controllers and decodes the signed reply into out. It tries until a controller has answered, ctx ends
// or the link does. A controller's refusal is a *wire.Failure; wire.CodeUnavailable is not one, but asked again. The
// request may arrive more than once.
func (l *Link) Request(ctx context.Context, verb string, body, out any) error {
	id, data, err := l.encode(verb, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	defer stop()

	timeout, wait := l.cfg.FirstTimeout, l.cfg.RetryWait
	for try := 1; ; try++ {
		err := l.ask(ctx, verb, id, data, timeout, out)
		var again *tryAgain
		if !errors.As(err, &again) {
			return err
		}
		if try == 1 || try%10 == 0 {
			l.log.Debug("request is repeated", "verb", verb, "try", try, "err", again.err)
		}
		if again.slow {
			timeout = min(2*timeout, 12*l.cfg.FirstTimeout)
		}
		if err := pause(ctx, jitter(wait)); err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		wait = min(2*wait, 20*l.cfg.RetryWait)
	}
}

// tryAgain is an outcome of one try that says nothing about the request.
type tryAgain struct {
	err  error
	slow bool // nobody answered in time
}

func (t *tryAgain) Error() string { return t.err.Error() }

func (l *Link) ask(ctx context.Context, verb, id string, data []byte, timeout time.Duration, out any) error {
	tctx, cancel := context.WithTimeout(ctx, jitter(timeout))
	defer cancel()
	msg, err := l.nc.RequestWithContext(tctx, wire.ControllerSubject(l.cfg.Server, verb), data)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", verb, context.Cause(ctx))
	case errors.Is(err, nats.ErrMaxPayload):
		return wire.Failf(wire.CodeBadRequest, "%s: %d bytes are more than the broker takes: %w", verb, len(data), err).
			WithHint("set max_payload of the NATS server to at least 1 MB")
	case err != nil:
		return &tryAgain{err: err, slow: errors.Is(err, context.DeadlineExceeded)}
	}
	d, err := l.cfg.KeySet().Open(msg.Data, wire.Expect{
		Kind: wire.KindReply, Server: l.cfg.Server, Session: l.cfg.Session, Verb: verb, ID: id,
	})
	if err != nil {
		l.notice("reply", fmt.Sprintf("reply to %s: %v", verb, err))
		return &tryAgain{err: err}
	}
	l.hear()
	err = d.Into(out)
	switch {
	case wire.HasCode(err, wire.CodeUnavailable):
		return &tryAgain{err: err}
	case wire.HasCode(err, wire.CodeSuperseded):
		l.fail(ErrSuperseded)
	case wire.HasCode(err, wire.CodeRevoked):
		l.fail(ErrRevoked)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// onCommand runs for each message on the agent's own subjects, one after the other. What is in cfg.Beside does not hold up
// what follows it.
func (l *Link) onCommand(msg *nats.Msg) {
	verb := strings.TrimPrefix(msg.Subject, wire.AgentSubject(l.cfg.Server, ""))
	d, err := l.cfg.KeySet().Open(msg.Data, wire.Expect{
		Kind: wire.KindCommand, Server: l.cfg.Server, Session: l.cfg.Session, Verb: verb,
	})
	if err != nil {
		// No answer: whoever sent it learns nothing.
		l.notice("command", fmt.Sprintf("command %.32q: %v", verb, err))
		return
	}
	l.hear()
	if !slices.Contains(l.cfg.Beside, verb) {
		l.act(msg, verb, d)
		return
	}
	select {
	case l.held <- struct{}{}:
	default:
		l.respond(msg, verb, wire.Accepted{
			V: wire.Version, Session: l.cfg.Session,
			Failure: wire.Failf(wire.CodeBusy, "%d commands of this kind are waiting", besideHeld).Retry(),
		})
		return
	}
	l.beside.Go(func() {
		defer func() { <-l.held }()
		select {
		case l.run <- struct{}{}:
			defer func() { <-l.run }()
			l.act(msg, verb, d)
		case <-l.ctx.Done():
		}
	})
}

// act runs the handler of a verified command and answers with what it returns.
func (l *Link) act(msg *nats.Msg, verb string, d wire.Directive) {
	if h, ok := l.handlers[verb]; ok {
		l.respond(msg, verb, h(d))
		return
	}
	l.respond(msg, verb, wire.Accepted{
		V: wire.Version, Session: l.cfg.Session, Failure: wire.Failf(wire.CodeUnknownVerb, "this agent does not know the command %q", verb),
	})
}

func (l *Link) respond(msg *nats.Msg, verb string, answer any) {
	if answer == nil || msg.Reply == "" {
		return
	}
	data, err := wire.Encode(answer)
	if err != nil {
		l.log.Error("encode answer", "verb", verb, "err", err)
		return
	}
	if err := msg.Respond(data); err != nil {
		l.log.Warn("answer a command", "verb", verb, "err", err)
	}
}

// notice counts what was dropped.
func (l *Link) notice(kind, detail string) {
	l.noticeMu.Lock()
	l.counts[kind]++
	n := l.notices[kind]
	if n == nil {
		n = &wire.SecurityNotice{Kind: kind}
		l.notices[kind] = n
	}
	n.Count++
	n.Detail = detail
	first := n.Count == 1
	l.noticeMu.Unlock()
	if first { // the rest only in numbers
		l.log.Error("dropped a message that no controller of this installation signed for us", "kind", kind, "detail", detail)
	}
	select {
	case l.noticed <- struct{}{}:
	default:
	}
}

// Dropped is how many messages of a kind ("command" or "reply") were dropped since the start.
func (l *Link) Dropped(kind string) int64 {
	l.noticeMu.Lock()
	defer l.noticeMu.Unlock()
	return l.counts[kind]
}

// ReportDropped tells controllers of dropped messages, summed up, at most once in every. It returns when ctx ends.
func (l *Link) ReportDropped(ctx context.Context, every time.Duration) {
	for {
		select {
		case <-l.noticed:
		case <-ctx.Done():
			return
		}
		l.noticeMu.Lock()
		notices := l.notices
		l.notices = make(map[string]*wire.SecurityNotice)
		l.noticeMu.Unlock()
		for _, n := range notices {
			if err := l.Request(ctx, wire.VerbSecurity, n, nil); err != nil && ctx.Err() == nil {
				l.log.Warn("report dropped messages", "err", err)
			}
		}
		if pause(ctx, every) != nil {
			return
		}
	}
}

// jitter spreads d over ±20 %.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // no secret: it spreads load
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
