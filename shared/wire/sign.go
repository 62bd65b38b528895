package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

const (
	directiveContext = "devflow directive v1\n"
	keySetContext    = "devflow key set v1\n"
)

// Kinds of directives.
const (
	KindCommand = "command"
	KindReply   = "reply"
)

// Directive is what a controller tells one agent: a command, or the reply to a request. It names the server, the session, the verb
// and the request that it answers, so that it means nothing anywhere else or at any other time.
type Directive struct {
	V       int             `json:"v"`
	Kind    string          `json:"kind"`
	Server  string          `json:"server"`
	Session string          `json:"session"`
	Verb    string          `json:"verb"`
	ID      string          `json:"id"` // the request's id in a reply, a random one in a command
	Body    json.RawMessage `json:"body,omitempty"`
	Failure *Failure        `json:"failure,omitempty"` // replies only: the request was refused
}

// Signed is a Directive as it travels: exact bytes and an Ed25519 signature over them.
type Signed struct {
	V         int    `json:"v"`
	KeyID     string `json:"key_id"`
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

// Key is one command-signing public key.
type Key struct {
	ID     string            `json:"id"`
	Public ed25519.PublicKey `json:"public"`
}

// KeyID names a public key: the first 16 hexadecimal digits of its SHA-256.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// KeySet is the set of keys whose directives an agent obeys. An agent pins one at enrolment and replaces it only by a
// higher version signed by a key that it has pinned.
type KeySet struct {
	Version int   `json:"version"`
	Keys    []Key `json:"keys"`
}

// SignedKeySet is a KeySet as it travels.
type SignedKeySet struct {
	KeyID     string `json:"key_id"`
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

// SignKeySet signs a set with a key of the set before it.
func SignKeySet(priv ed25519.PrivateKey, set KeySet) (SignedKeySet, error) {
	b, err := Encode(set)
	if err != nil {
		return SignedKeySet{}, err
	}
	pub, _ := priv.Public().(ed25519.PublicKey)
	return SignedKeySet{KeyID: KeyID(pub), Payload: b, Signature: ed25519.Sign(priv, append([]byte(keySetContext), b...))}, nil
}

// Next returns the set that s carries if a key of the current set signed it, its version is higher and every key in it can
// verify. Every other outcome is a Failure with CodeNotSigned, and the pinned set stays.
func (k KeySet) Next(s SignedKeySet) (KeySet, error) {
	if !k.verify(s.KeyID, keySetContext, s.Payload, s.Signature) {
		return KeySet{}, Failf(CodeNotSigned, "key set: no pinned key signed it")
	}
	var next KeySet
	if err := Decode(s.Payload, &next); err != nil {
		return KeySet{}, Failf(CodeNotSigned, "key set does not decode: %w", err)
	}
	if next.Version <= k.Version {
		return KeySet{}, Failf(CodeNotSigned, "key set: version %d does not follow the pinned %d", next.Version, k.Version)
	}
	if len(next.Keys) == 0 {
		return KeySet{}, Failf(CodeNotSigned, "key set: version %d holds no key", next.Version)
	}
	for _, key := range next.Keys {
		if len(key.Public) != ed25519.PublicKeySize { // pinned, it would lock every controller out
			return KeySet{}, Failf(CodeNotSigned, "key set: version %d holds a key of %d bytes, not %d", next.Version, len(key.Public), ed25519.PublicKeySize)
		}
	}
	return next, nil
}

func (k KeySet) verify(id, context string, payload, sig []byte) bool {
	for _, key := range k.Keys {
		if len(key.Public) == ed25519.PublicKeySize && KeyID(key.Public) == id {
			return ed25519.Verify(key.Public, append([]byte(context), payload...), sig)
		}
	}
	return false
}

// Sign encodes and signs a directive; the result is ready to send.
func Sign(priv ed25519.PrivateKey, d Directive) ([]byte, error) {
	d.V = Version
	payload, err := Encode(d)
	if err != nil {
		return nil, err
	}
	pub, _ := priv.Public().(ed25519.PublicKey)
	return Encode(Signed{V: Version, KeyID: KeyID(pub), Payload: payload, Signature: ed25519.Sign(priv, append([]byte(directiveContext), payload...))})
}

// Expect is what an agent holds a directive against.
type Expect struct {
	Kind, Server, Session, Verb string
	ID                          string // replies: the id of the request; empty accepts any, for commands
}

// Open verifies a signed message against the set and against what the receiver expects and returns its directive. Every
// other outcome is a Failure with CodeNotSigned; the message must then be dropped, counted and reported.
func (k KeySet) Open(msg []byte, want Expect) (Directive, error) {
	var s Signed
	if err := Decode(msg, &s); err != nil {
		return Directive{}, Failf(CodeNotSigned, "not a signed message: %w", err)
	}
	if !k.verify(s.KeyID, directiveContext, s.Payload, s.Signature) {
		return Directive{}, Failf(CodeNotSigned, "signature by key %.16q does not verify", s.KeyID)
	}
	var d Directive
	if err := Decode(s.Payload, &d); err != nil {
		return Directive{}, Failf(CodeNotSigned, "signed message does not decode: %w", err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"kind", d.Kind, want.Kind}, {"server", d.Server, want.Server}, {"session", d.Session, want.Session}, {"verb", d.Verb, want.Verb},
	} {
		if c.got != c.want {
			return Directive{}, Failf(CodeNotSigned, "signed for %s %.64q, not for %.64q", c.what, c.got, c.want)
		}
	}
	if want.ID != "" && d.ID != want.ID {
		return Directive{}, Failf(CodeNotSigned, "signed as the answer to another request")
	}
	return d, nil
}

// Into decodes a directive's body, or returns the failure that it carries.
func (d Directive) Into(v any) error {
	if d.Failure != nil {
		return d.Failure
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(d.Body, v); err != nil {
		return fmt.Errorf("decode %s %s: %w", d.Kind, d.Verb, err)
	}
	return nil
}
