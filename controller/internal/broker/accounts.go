package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/wire"
)

const (
	// maxPayload is the largest message: one of wire's, and room for headers.
	maxPayload = wire.MaxMessage + 64<<10
	// maxAgentSubscriptions bounds what one agent can make the broker remember.
	maxAgentSubscriptions = 64
	// replyWithin is how long an agent may answer a command.
	replyWithin = 2 * time.Minute
	// revokedForGood is the time up to which credentials of a revoked key are void: a revoked key never comes back, whatever
	// is signed for it later and whatever the clocks say.
	revokedForGood = 253402300799 // the end of the year 9999
)

// ErrRevoked is returned when credentials are asked for a revoked key.
var ErrRevoked = errors.New("the key is revoked")

// authority signs: operator, accounts and users. All follows from the installation's keys and the list of revoked users,
// so that nothing the broker holds is worth keeping.
type authority struct {
	in                       *keys.Installation
	operator                 string // operator JWT
	system, control          string // account JWTs, which never change
	systemPub, controlPub    string
	agentsPub, agentsSignPub string
}

func newAuthority(in *keys.Installation) (*authority, error) {
	a := &authority{in: in}
	for _, k := range []struct {
		to   *string
		pair nkeys.KeyPair
	}{{&a.systemPub, in.System}, {&a.controlPub, in.Control}, {&a.agentsPub, in.Agents}, {&a.agentsSignPub, in.AgentsSigning}} {
		public, err := k.pair.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("read account key: %w", err)
		}
		*k.to = public
	}
	if err := errors.Join(a.signOperator(), a.signSystem(), a.signControl()); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *authority) signOperator() error {
	public, err := a.in.Operator.PublicKey()
	if err != nil {
		return fmt.Errorf("read operator key: %w", err)
	}
	claims := jwt.NewOperatorClaims(public)
	claims.Name = "devflow-" + a.in.ID
	claims.SystemAccount = a.systemPub
	if a.operator, err = claims.Encode(a.in.Operator); err != nil {
		return fmt.Errorf("sign operator: %w", err)
	}
	return nil
}

func (a *authority) signSystem() (err error) {
	claims := jwt.NewAccountClaims(a.systemPub)
	claims.Name = "SYS"
	if a.system, err = claims.Encode(a.in.Operator); err != nil {
		return fmt.Errorf("sign account SYS: %w", err)
	}
	return nil
}

// signControl makes the controllers' account. It exports what agents ask and imports what agents are told.
func (a *authority) signControl() (err error) {
	claims := jwt.NewAccountClaims(a.controlPub)
	claims.Name = "CTL"
	claims.Exports.Add(&jwt.Export{Name: "requests of agents", Subject: wire.AllControllerSubjects, Type: jwt.Service})
	claims.Imports.Add(&jwt.Import{Name: "commands to agents", Subject: wire.AllAgentSubjects, Account: a.agentsPub, Type: jwt.Service})
	if a.control, err = claims.Encode(a.in.Operator); err != nil {
		return fmt.Errorf("sign account CTL: %w", err)
	}
	return nil
}

// signAgents makes the agents' account with these users revoked.
func (a *authority) signAgents(revoked map[string]int64) (string, error) {
	claims := jwt.NewAccountClaims(a.agentsPub)
	claims.Name = "AGENTS"
	claims.Exports.Add(&jwt.Export{Name: "commands to agents", Subject: wire.AllAgentSubjects, Type: jwt.Service})
	// Share: the broker tells controllers which user sent a request.
	claims.Imports.Add(&jwt.Import{Name: "requests of agents", Subject: wire.AllControllerSubjects, Account: a.controlPub, Type: jwt.Service, Share: true})

	// Allow-lists only. The permissions are part of the account, not of each agent's credentials: a change here reaches
	// agents that are connected.
	scope := jwt.NewUserScope()
	scope.Key = a.agentsSignPub
	scope.Role = "agent"
	const name = "{{name()}}"
	scope.Template.Pub.Allow.Add(wire.ControllerSubject(name, ">"))
	scope.Template.Sub.Allow.Add(wire.AgentSubjects(name), wire.InboxPrefix(name)+".>")
	scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: replyWithin}
	scope.Template.Subs = maxAgentSubscriptions
	scope.Template.Payload = maxPayload
	scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard)
	claims.SigningKeys.AddScopedSigner(scope)

	if len(revoked) > 0 {
		claims.Revocations = maps.Clone(revoked)
	}
	token, err := claims.Encode(a.in.Operator)
	if err != nil {
		return "", fmt.Errorf("sign account AGENTS: %w", err)
	}
	return token, nil
}

// revocations reads the revoked users from an account JWT of our own operator.
func (a *authority) revocations(token string) (map[string]int64, error) {
	if token == "" {
		return nil, nil
	}
	claims, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return nil, fmt.Errorf("read account AGENTS: %w", err)
	}
	operator, err := a.in.Operator.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("read operator key: %w", err)
	}
	if claims.Issuer != operator || claims.Subject != a.agentsPub {
		return nil, errors.New("read account AGENTS: it belongs to another installation")
	}
	return claims.Revocations, nil
}

// agent signs the credentials of one agent. They hold no permission of their own: those come with the signing key.
func (a *authority) agent(server, userKey string) (string, error) {
	if !wire.ValidServerID(server) {
		return "", fmt.Errorf("issue credentials: %q is not a server id", server)
	}
	if !nkeys.IsValidPublicUserKey(userKey) {
		return "", fmt.Errorf("issue credentials for %s: not a public user key", server)
	}
	claims := jwt.NewUserClaims(userKey)
	claims.Name = server
	claims.IssuerAccount = a.agentsPub
	claims.SetScoped(true)
	token, err := claims.Encode(a.in.AgentsSigning)
	if err != nil {
		return "", fmt.Errorf("issue credentials for %s: %w", server, err)
	}
	return token, nil
}

// insider signs the credentials of a controller in the account CTL or SYS.
func (a *authority) insider(account nkeys.KeyPair, name, userKey string) (string, error) {
	claims := jwt.NewUserClaims(userKey)
	claims.Name = name
	token, err := claims.Encode(account)
	if err != nil {
		return "", fmt.Errorf("issue credentials for %s: %w", name, err)
	}
	return token, nil
}

// accounts returns the public key and JWT of each account, given that of AGENTS, in a fixed order.
func (a *authority) accounts(agents string) [][2]string {
	return [][2]string{{a.systemPub, a.system}, {a.controlPub, a.control}, {a.agentsPub, agents}}
}

func revoke(revoked map[string]int64, userKeys ...string) error {
	for _, key := range userKeys {
		if !nkeys.IsValidPublicUserKey(key) {
			return fmt.Errorf("revoke %q: not a public user key", key)
		}
		revoked[key] = revokedForGood
	}
	return nil
}

// same tells whether two JWTs of an account say the same, whenever they were signed.
func same(a, b string) bool {
	var texts [2][]byte
	for i, token := range []string{a, b} {
		claims, err := jwt.DecodeAccountClaims(token)
		if err != nil {
			return false
		}
		claims.ID, claims.IssuedAt = "", 0
		if texts[i], err = json.Marshal(claims); err != nil {
			return false
		}
	}
	return bytes.Equal(texts[0], texts[1])
}

// serverName reads the server id from an agent's credentials.
func serverName(token string) string {
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil || !wire.ValidServerID(claims.Name) || strings.Contains(claims.Name, ".") {
		return ""
	}
	return claims.Name
}
