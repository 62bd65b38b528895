package api

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// enrolIn keeps the address: an operation without a token is limited by it.
type enrolIn struct {
	Body   body.Enrol
	remote string
}

// Resolve is called by huma with the request.
func (in *enrolIn) Resolve(ctx huma.Context) []error {
	in.remote = humagin.Unwrap(ctx).RemoteIP()
	return nil
}

func (a *API) registerEnrolment() {
	manage := []string{controller.ManageServers}
	register(a, operation{id: "list-enrolments", method: http.MethodGet, path: "/enrolments", summary: "Enrolment tokens, without their secrets, newest first", tag: tagServers, access: manage},
		func(ctx context.Context, in *struct{ PageIn }) (*bodyOut[body.Page[controller.Enrolment]], error) {
			rows, err := a.opt.Store.Enrolments(ctx, actorOf(ctx), in.BeforeID, in.Limit)
			return page(rows, in.Limit, func(e controller.Enrolment) int64 { return e.ID }, err)
		})
	register(a, operation{id: "create-enrolment", audit: "enrolment.create", method: http.MethodPost, path: "/enrolments", summary: "Make a token by which one host enrols, once", tag: tagServers, access: manage, creates: true, secret: true}, a.createEnrolment)
	register(a, operation{id: "enrolment-status", unaudited: "it only tells", method: http.MethodPost, path: "/enroll/status", summary: "What became of an enrolment token, for whoever holds it", tag: tagServers, access: []string{accessPublic}}, a.enrolmentStatus)
	register(a, operation{id: "enrol", audit: "server.enrol", method: http.MethodPost, path: "/enroll", summary: "Called by an agent with its enrolment token", tag: tagServers, access: []string{accessPublic}, status: http.StatusCreated}, a.enrol)
}

func (a *API) createEnrolment(ctx context.Context, in *bodyIn[body.CreateEnrolment]) (*bodyOut[body.NewEnrolment], error) {
	spec := controller.EnrolmentSpec{
		ServerName: in.Body.ServerName, Project: in.Body.Project, Verifier: in.Body.Verifier, Replace: in.Body.Replace,
		TTL: time.Duration(cmp.Or(in.Body.TTLSeconds, int64(controller.MaxEnrolmentTTL/time.Second))) * time.Second,
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	token, hash := newEnrolmentToken(a.opt.Fleet.Enrolment().CAFingerprint)
	e, err := a.opt.Store.CreateEnrolment(ctx, actorOf(ctx), spec, hash)
	if err != nil {
		return nil, err
	}
	made := body.NewEnrolment{
		Enrolment: e, Token: token,
		Command:  "devflow-agent enroll --controller " + a.opt.PublicURL + " --token " + token,
		CASHA256: a.opt.Bootstrap.Fingerprint(),
	}
	var refused *controller.Error
	switch made.InstallCommand, err = a.opt.Bootstrap.Command(token, in.Body.Grant); {
	case errors.As(err, &refused):
		made.InstallHint = refused.Message + ": " + refused.Hint
	case err != nil:
		return nil, err
	}
	return out(made, nil)
}

// statusIn keeps the address, as enrolIn does.
type statusIn struct {
	Body   body.EnrolmentToken
	remote string
}

// Resolve is called by huma with the request.
func (in *statusIn) Resolve(ctx huma.Context) []error {
	in.remote = humagin.Unwrap(ctx).RemoteIP()
	return nil
}

func (a *API) enrolmentStatus(ctx context.Context, in *statusIn) (*bodyOut[controller.EnrolmentStatus], error) {
	if wait, ok := a.failures.allowed(in.remote); !ok {
		return nil, controller.Errorf(body.CodeTooMany, "too many refused tokens from this address").WithHint("try again in %d s", int(wait.Seconds())+1)
	}
	err := validEnrolmentToken(in.Body.Token, a.opt.Fleet.Enrolment().CAFingerprint)
	var s controller.EnrolmentStatus
	if err == nil {
		s, err = a.opt.Store.EnrolmentStatus(ctx, HashToken(in.Body.Token))
	}
	if controller.ErrorCode(err) == controller.EUnauthorized {
		a.failures.count(in.remote)
	}
	return out(s, err)
}

// enrol trades a token for an identity. The credential is issued first: if that fails the token is not used up, and a credential
// whose server was never committed is thrown away here. The catalog may say that the host is a server that it knows: it takes that one's
// place, or asks for the second time. Then the credential is for that one, and the keys that it had before are cut off.
func (a *API) enrol(ctx context.Context, in *enrolIn) (*bodyOut[body.Enrolled], error) {
	if wait, ok := a.failures.allowed(in.remote); !ok {
		return nil, controller.Errorf(body.CodeTooMany, "too many refused tokens from this address").WithHint("try again in %d s", int(wait.Seconds())+1)
	}
	info := a.opt.Fleet.Enrolment()
	b := in.Body
	host, err := validEnrol(b, info.CAFingerprint)
	if err != nil {
		if controller.ErrorCode(err) == controller.EUnauthorized {
			a.failures.count(in.remote)
		}
		return nil, err
	}
	agentID := "a" + wire.NewID()[:20]
	jwt, err := a.opt.Fleet.IssueAgent(ctx, agentID, b.NKey)
	if err != nil {
		return nil, err
	}
	s, err := a.opt.Store.Enrol(ctx, HashToken(b.Token), controller.NewServer{
		AgentID: agentID, NKey: b.NKey, SigningKey: b.SigningKey, Recipient: b.Recipient, AgentVersion: b.AgentVersion, Host: host,
	})
	if err != nil {
		if controller.ErrorCode(err) == controller.EUnauthorized {
			a.failures.count(in.remote)
		}
		return nil, err
	}
	if s.AgentID != agentID {
		if jwt, err = a.opt.Fleet.IssueAgent(ctx, s.AgentID, b.NKey); err != nil {
			return nil, err
		}
		if err := a.opt.Fleet.Revoke(context.WithoutCancel(ctx), s); err != nil {
			a.opt.Log.Error("the host that was replaced may still be connected to the broker; the catalog refuses what it says", "server", s.Name, "err", err)
		}
		a.opt.Fleet.Kick()
	}
	a.opt.Log.Info("server enrolled", "server", s.Name, "agent_id", s.AgentID, "known_before", s.AgentID != agentID, "remote", in.remote)
	return out(body.Enrolled{
		ServerID: s.AgentID, ServerName: s.Name, NATSURLs: append([]string{}, info.NATSURLs...), NATSJWT: jwt, CAPEM: string(info.CAPEM), KeySet: info.KeySet,
	}, nil)
}

func validEnrolmentToken(token, caFingerprint string) error {
	rest, ok := strings.CutPrefix(token, enrolmentPrefix)
	_, fingerprint, cut := strings.Cut(rest, "_")
	if !ok || !cut {
		return controller.Errorf(controller.EUnauthorized, "this is not an enrolment token").WithHint("it looks like dfe_…; `devflowctl server add NAME` makes one")
	}
	if fingerprint != caFingerprint {
		return controller.Errorf(controller.EUnauthorized, "the enrolment token is of another installation").WithHint("`devflowctl server add NAME` makes one of this")
	}
	return nil
}

func validEnrol(b body.Enrol, caFingerprint string) (host wire.Host, err error) {
	if err := validEnrolmentToken(b.Token, caFingerprint); err != nil {
		return host, err
	}
	if b.Protocol != wire.Version {
		return host, controller.Invalid("protocol", "%d is not spoken here; this controller speaks %d", b.Protocol, wire.Version).
			WithHint("install an agent of the same release as the controller")
	}
	if !nkeys.IsValidPublicUserKey(b.NKey) {
		return host, controller.Invalid("nkey", "is not the public key of a NATS user")
	}
	if len(b.SigningKey) != ed25519.PublicKeySize {
		return host, controller.Invalid("signing_key", "is %d bytes, not an Ed25519 public key of %d", len(b.SigningKey), ed25519.PublicKeySize)
	}
	if err := artifact.ValidRecipient(b.Recipient); err != nil {
		return host, controller.Invalid("recipient", "is not an age recipient")
	}
	if err := json.Unmarshal(b.Host, &host); err != nil {
		return host, controller.Invalid("host", "is not a description of a machine")
	}
	return host, checkText(reflect.ValueOf(host), "host")
}
