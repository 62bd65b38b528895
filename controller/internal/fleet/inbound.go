package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// call is one request of an agent. The broker proves the agent; the session is checked in the catalog.
type call struct {
	agent   string
	key     string // of the broker's user, empty where the broker does not tell
	session string
	body    json.RawMessage
}

type handler func(context.Context, call) (any, error)

const (
	requestTimeout = 30 * time.Second
	maxIDLen       = 128 // of a session or a request
)

func (f *Fleet) handlers() map[string]handler {
	return map[string]handler{
		wire.VerbHello:     f.hello,
		wire.VerbInventory: f.inventory,
		wire.VerbPart:      f.part,
		wire.VerbRead:      f.read,
		wire.VerbReport:    f.report,
		wire.VerbSecurity:  f.security,
	}
}

// onRequest answers one message of an agent. Beyond the requests that run at once the subscription waits.
func (f *Fleet) onRequest(ctx context.Context, m *nats.Msg, handlers map[string]handler) {
	agent, verb, err := wire.ParseControllerSubject(m.Subject)
	if err != nil {
		f.log.Warn("agent request", "err", err)
		return
	}
	if verb == wire.VerbHeartbeat || verb == wire.VerbProgress {
		return // they have subscriptions of their own
	}
	handle, ok := handlers[verb]
	if !ok {
		handle = func(context.Context, call) (any, error) {
			return nil, wire.Failf(wire.CodeUnknownVerb, "this controller does not know the request %q", clip(verb, 64)).WithHint("update the controller")
		}
	}
	f.requests.do(ctx, func() {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		f.answer(ctx, m, agent, verb, handle)
	})
}

// answer handles one request and signs the reply. What cannot be read has no session and no id to reply to: it is dropped.
func (f *Fleet) answer(ctx context.Context, m *nats.Msg, agent, verb string, handle handler) {
	var req wire.Request
	if err := wire.Decode(m.Data, &req); err != nil {
		f.log.Warn("agent request", "server", agent, "verb", verb, "err", err)
		return
	}
	if len(req.ID) > maxIDLen || len(req.Session) > maxIDLen {
		f.log.Warn("agent request with an id that is none", "server", agent, "verb", verb)
		return
	}
	body, err := handle(ctx, call{agent: agent, key: f.sender(m), session: req.Session, body: req.Body})
	if m.Reply == "" {
		if err != nil {
			f.log.Warn("agent message", "server", agent, "verb", verb, "err", err)
		}
		return
	}
	d := wire.Directive{Kind: wire.KindReply, Server: agent, Session: req.Session, Verb: verb, ID: req.ID}
	if err != nil {
		d.Failure = f.refusal(agent, verb, err)
	} else if d.Body, err = json.Marshal(body); err != nil {
		f.log.Error("encode reply", "verb", verb, "err", err)
		return
	}
	msg, err := wire.Sign(f.opt.SigningKey, d)
	if err != nil { // too large; a requester without an answer would ask for ever
		f.log.Error("sign reply", "server", agent, "verb", verb, "err", err)
		d.Body, d.Failure = nil, wire.Failf(wire.CodeInternal, "the reply is larger than a message may be")
		if msg, err = wire.Sign(f.opt.SigningKey, d); err != nil {
			return
		}
	}
	if err := m.Respond(msg); err != nil {
		f.log.Debug("reply to agent", "server", agent, "verb", verb, "err", err)
	}
}

// sender is the key of the broker's user that sent a message.
func (f *Fleet) sender(m *nats.Msg) string {
	if f.opt.Sender == nil {
		return ""
	}
	key, err := f.opt.Sender(m)
	if err != nil {
		f.log.Warn("agent request of an unknown sender", "subject", m.Subject, "err", err)
		return ""
	}
	return key
}

// refusal turns an error into what the agent hears. An unexpected one is logged here and told without its detail.
func (f *Fleet) refusal(agent, verb string, err error) *wire.Failure {
	var fail *wire.Failure
	if errors.As(err, &fail) {
		return fail
	}
	f.log.Warn("agent request not answered", "server", agent, "verb", verb, "err", err)
	return wire.Failf(wire.CodeUnavailable, "the controller cannot answer now").Retry()
}

func (f *Fleet) hello(ctx context.Context, c call) (any, error) {
	var h wire.Hello
	if err := decode(c, &h); err != nil {
		return nil, err
	}
	if h.Protocol < wire.Version {
		return nil, wire.Failf(wire.CodeBadRequest, "agent %s speaks protocol %d, this controller needs %d", h.AgentVersion, h.Protocol, wire.Version).
			WithHint("install a newer agent")
	}
	res, server, err := f.opt.Store.Hello(ctx, c.agent, c.key, c.session, h)
	if err != nil {
		return nil, err
	}
	if res.Superseded {
		f.log.Error("duplicate agent: a superseded session spoke", "server", server.Name)
		return nil, wire.Failf(wire.CodeSuperseded, "a newer agent with the identity of server %q has started", server.Name).
			WithHint("if this machine is a copy, remove the agent's state directory here and enrol it anew")
	}
	if res.Replaced != "" {
		f.log.Info("agent session replaced", "server", server.Name)
	}
	for _, a := range res.Lost {
		f.log.Warn("attempt lost: the agent no longer holds it", "server", server.Name, "job_id", a.Job, "attempt", a.No)
	}
	f.Kick()
	w := wire.Welcome{
		Drop: res.Drop, WantInventory: res.WantInventory,
		HeartbeatSeconds: int(max(f.opt.Heartbeat/time.Second, 1)), LeaseMaxSeconds: int(f.opt.LeaseMax / time.Second),
	}
	if h.KeySet < f.opt.KeySet.Version {
		w.KeySet = f.opt.SignedSet
	}
	return w, nil
}

func (f *Fleet) inventory(ctx context.Context, c call) (any, error) {
	var inv wire.Inventory
	if err := decode(c, &inv); err != nil {
		return nil, err
	}
	return struct{}{}, f.opt.Store.Inventory(ctx, c.agent, c.session, inv)
}

func (f *Fleet) part(ctx context.Context, c call) (any, error) {
	var req wire.PartRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	target, err := f.opt.Store.SignPart(ctx, c.agent, c.session, req, f.opt.URLExpires)
	if err != nil {
		return nil, err
	}
	objects, err := f.storageFor(ctx, target.StorageID, controller.Server{}, target.Checksum)
	if err != nil {
		return nil, err
	}
	if req.Object == wire.ObjectArtifact {
		return objects.SignPart(ctx, target.Key, target.UploadID, req, f.opt.URLExpires)
	}
	return objects.SignPut(ctx, target.Key, req, f.opt.URLExpires)
}

func (f *Fleet) read(ctx context.Context, c call) (any, error) {
	var req wire.ReadRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	target, err := f.opt.Store.SignRead(ctx, c.agent, c.session, req)
	if err != nil {
		return nil, err
	}
	objects, err := f.storage(ctx, target.StorageID, controller.Server{})
	if err != nil {
		return nil, err
	}
	return objects.SignRead(ctx, target.Object, req.Offset, req.Length, f.opt.URLExpires)
}

func (f *Fleet) report(ctx context.Context, c call) (any, error) {
	var r wire.Report
	if err := decode(c, &r); err != nil {
		return nil, err
	}
	if r.Outcome == wire.OutcomeUploaded {
		if err := f.uploaded(ctx, c, r); err != nil {
			return nil, err
		}
		f.Kick()
		return struct{}{}, nil
	}
	failpoint.Hit("controller.before_report_commit")
	if err := f.opt.Store.ReportDone(ctx, c.agent, c.session, r); err != nil {
		return nil, err
	}
	failpoint.Hit("controller.after_report_commit")
	f.progress.drop(r.Attempt.Job)
	args := []any{"server", c.agent, "job_id", r.Attempt.Job, "attempt", r.Attempt.No, "outcome", r.Outcome}
	if r.Failure != nil {
		args = append(args, "code", r.Failure.Code, "stage", r.Failure.Stage, "err", r.Failure.Error())
	}
	f.log.Info("attempt reported", args...)
	f.Kick()
	return struct{}{}, nil
}

// onHeartbeat puts a heartbeat into the batch. Like progress it is published, not asked, and stands for itself.
func (f *Fleet) onHeartbeat(m *nats.Msg) {
	agent, _, err := wire.ParseControllerSubject(m.Subject)
	if err != nil {
		return
	}
	var hb wire.Heartbeat
	if err := wire.Decode(m.Data, &hb); err != nil {
		f.log.Warn("agent heartbeat", "server", agent, "err", err)
		return
	}
	if !f.beats.add(controller.AgentBeat{AgentID: agent, Session: hb.Session, Host: hb.Host, Running: hb.Running}) {
		f.log.Warn("agent heartbeat dropped: too many sessions", "server", agent)
	}
}

func (f *Fleet) security(ctx context.Context, c call) (any, error) {
	var n wire.SecurityNotice
	if err := decode(c, &n); err != nil {
		return nil, err
	}
	f.log.Error("security notice from agent", "server", c.agent, "kind", clip(n.Kind, 64), "detail", clip(n.Detail, 500), "count", n.Count)
	// What an agent can tell of is one kind of event: the others are the controllers' own findings.
	detail := clip(n.Kind, 64) + ": " + clip(n.Detail, 500)
	return struct{}{}, f.opt.Store.AddSecurityEvent(ctx, c.agent, controller.EventForgedDirective, detail, min(max(n.Count, 1), maxCount))
}

// maxCount bounds what one notice may add to a counter.
const maxCount = 1 << 32

func (f *Fleet) onProgress(m *nats.Msg) {
	agent, _, err := wire.ParseControllerSubject(m.Subject)
	if err != nil {
		return
	}
	var p wire.Progress
	if wire.Decode(m.Data, &p) == nil {
		f.progress.put(agent, p)
	}
}

func decode(c call, v any) error {
	if err := wire.Decode(c.body, v); err != nil {
		return wire.Failf(wire.CodeBadRequest, "%w", err)
	}
	return nil
}

// clip cuts s to at most n bytes, between two characters.
func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
