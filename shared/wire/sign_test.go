package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"devflowbackup/shared/wire"
)

// signer makes the same key for the same seed.
func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func key(priv ed25519.PrivateKey) wire.Key {
	pub := priv.Public().(ed25519.PublicKey) //nolint:forcetypeassert // Ed25519 has no other
	return wire.Key{ID: wire.KeyID(pub), Public: pub}
}

func set(version int, privs ...ed25519.PrivateKey) wire.KeySet {
	s := wire.KeySet{Version: version}
	for _, p := range privs {
		s.Keys = append(s.Keys, key(p))
	}
	return s
}

var (
	reply  = wire.Directive{Kind: wire.KindReply, Server: "s1", Session: "session", Verb: wire.VerbPart, ID: "request-1", Body: json.RawMessage(`{"method":"PUT"}`)}
	wanted = wire.Expect{Kind: wire.KindReply, Server: "s1", Session: "session", Verb: wire.VerbPart, ID: "request-1"}
)

func signed(t *testing.T, priv ed25519.PrivateKey, d wire.Directive) []byte {
	t.Helper()
	msg, err := wire.Sign(priv, d)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// equal compares what travels of two directives without a failure.
func equal(a, b wire.Directive) bool {
	return a.Failure == nil && b.Failure == nil && bytes.Equal(a.Body, b.Body) &&
		a.V == b.V && a.Kind == b.Kind && a.Server == b.Server && a.Session == b.Session && a.Verb == b.Verb && a.ID == b.ID
}

// refused fails the test unless err is CodeNotSigned and d is empty.
func refused(t *testing.T, what string, d wire.Directive, err error) {
	t.Helper()
	if !wire.HasCode(err, wire.CodeNotSigned) || !equal(d, wire.Directive{}) {
		t.Errorf("%s: opened %+v, %v", what, d, err)
	}
}

func TestKeySet_Open(t *testing.T) {
	old, current := signer(1), signer(2)
	keys := set(3, old, current)
	for _, priv := range []ed25519.PrivateKey{old, current} {
		d, err := keys.Open(signed(t, priv, reply), wanted)
		want := reply
		want.V = wire.Version
		if err != nil || !equal(d, want) {
			t.Fatalf("opened %+v, %v", d, err)
		}
		var grant wire.Grant
		if err := d.Into(&grant); err != nil || grant.Method != http.MethodPut {
			t.Fatalf("body %+v, %v", grant, err)
		}
	}
	command := reply
	command.Kind, command.Verb = wire.KindCommand, wire.VerbRun
	if _, err := keys.Open(signed(t, old, command), wire.Expect{Kind: wire.KindCommand, Server: "s1", Session: "session", Verb: wire.VerbRun}); err != nil {
		t.Errorf("a command has no id to expect: %v", err)
	}
}

func TestKeySet_Open_refuses(t *testing.T) {
	priv, stranger := signer(1), signer(9)
	keys := set(1, priv)
	good := signed(t, priv, reply)

	// What the message says must be exactly what the receiver expects.
	for name, change := range map[string]func(*wire.Expect){
		"kind":              func(w *wire.Expect) { w.Kind = wire.KindCommand },
		"server":            func(w *wire.Expect) { w.Server = "s2" },
		"session":           func(w *wire.Expect) { w.Session = "another" },
		"verb":              func(w *wire.Expect) { w.Verb = wire.VerbRead },
		"request":           func(w *wire.Expect) { w.ID = "request-2" },
		"request, a prefix": func(w *wire.Expect) { w.ID = "request-" },
		"server, empty":     func(w *wire.Expect) { w.Server = "" },
	} {
		want := wanted
		change(&want)
		d, err := keys.Open(good, want)
		refused(t, "another "+name, d, err)
	}

	envelope := func(change func(*wire.Signed)) []byte {
		var s wire.Signed
		if err := json.Unmarshal(good, &s); err != nil {
			t.Fatal(err)
		}
		change(&s)
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	other := reply
	other.Body = json.RawMessage(`{"method":"GET"}`)
	keySet, err := wire.SignKeySet(priv, wire.KeySet{Version: 2, Keys: keys.Keys})
	if err != nil {
		t.Fatal(err)
	}
	for name, msg := range map[string][]byte{
		"unknown key":                       signed(t, stranger, reply),
		"unknown key under a known id":      envelope(func(s *wire.Signed) { s.Signature = ed25519.Sign(stranger, s.Payload) }),
		"a key's id, signed by no one":      envelope(func(s *wire.Signed) { s.Signature = nil }),
		"a signature over the bare payload": envelope(func(s *wire.Signed) { s.Signature = ed25519.Sign(priv, s.Payload) }),
		"another payload":                   envelope(func(s *wire.Signed) { s.Payload = bytes.Replace(s.Payload, []byte("PUT"), []byte("GET"), 1) }),
		"no payload":                        envelope(func(s *wire.Signed) { s.Payload = nil }),
		"no key id":                         envelope(func(s *wire.Signed) { s.KeyID = "" }),
		"a long signature":                  envelope(func(s *wire.Signed) { s.Signature = append(s.Signature, 0) }),
		"a signature of another directive":  envelope(func(s *wire.Signed) { s.Signature = signatureOf(t, signed(t, priv, other)) }),
		"a signed key set":                  envelope(func(s *wire.Signed) { s.Payload, s.Signature = keySet.Payload, keySet.Signature }),
		"an unsigned directive":             must(json.Marshal(reply)),
		"nothing":                           nil,
		"null":                              []byte("null"),
		"not JSON":                          []byte("\x00\xff"),
		"two messages":                      append(bytes.Clone(good), good...),
		"more than a message may have":      append(bytes.Clone(good), bytes.Repeat([]byte(" "), wire.MaxMessage)...),
	} {
		d, err := keys.Open(msg, wanted)
		refused(t, name, d, err)
	}
	for name, bad := range map[string]wire.KeySet{
		"no key":      {Version: 1},
		"a short key": {Version: 1, Keys: []wire.Key{{ID: wire.KeyID([]byte("short")), Public: []byte("short")}}},
	} {
		d, err := bad.Open(good, wanted)
		refused(t, "a set with "+name, d, err)
	}
}

// A key is found by what it is, not by the name that came with it.
func TestKeySet_Open_keyNames(t *testing.T) {
	priv := signer(1)
	keys := set(1, priv)
	keys.Keys[0].ID = "renamed"
	if _, err := keys.Open(signed(t, priv, reply), wanted); err != nil {
		t.Error(err)
	}
}

func signatureOf(t *testing.T, msg []byte) []byte {
	t.Helper()
	var s wire.Signed
	if err := json.Unmarshal(msg, &s); err != nil {
		t.Fatal(err)
	}
	return s.Signature
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// Whatever happens to a message on its way, it opens as what was signed or not at all.
func TestKeySet_Open_damage(t *testing.T) {
	priv := signer(1)
	keys := set(1, priv)
	good := signed(t, priv, reply)
	want := reply
	want.V = wire.Version
	for n := range good {
		d, err := keys.Open(good[:n], wanted)
		refused(t, "cut short", d, err)
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if d, err := keys.Open(bad, wanted); err == nil && !equal(d, want) {
				t.Fatalf("byte %d, bit %d: opened as %+v", i, bit, d)
			} else if err != nil {
				refused(t, "bit flipped", d, err)
			}
		}
	}
	var s wire.Signed
	if err := json.Unmarshal(good, &s); err != nil {
		t.Fatal(err)
	}
	// In what is signed and in the signature, no flipped bit passes.
	for _, part := range [][]byte{s.Payload, s.Signature} {
		for i := range part {
			for bit := range 8 {
				part[i] ^= 1 << bit
				d, err := keys.Open(must(json.Marshal(s)), wanted)
				refused(t, "signed bit flipped", d, err)
				part[i] ^= 1 << bit
			}
		}
	}
	if _, err := keys.Open(must(json.Marshal(s)), wanted); err != nil {
		t.Fatalf("the undamaged message: %v", err)
	}
}

func TestSign_limit(t *testing.T) {
	d := reply
	d.Body = must(json.Marshal(strings.Repeat("x", wire.MaxMessage)))
	if msg, err := wire.Sign(signer(1), d); err == nil || msg != nil {
		t.Fatalf("a directive of %d bytes was signed: %v", len(d.Body), err)
	}
	d.Body = must(json.Marshal(strings.Repeat("x", wire.MaxMessage*3/4-1000))) // base64 takes a third more
	msg, err := wire.Sign(signer(1), d)
	if err != nil || len(msg) > wire.MaxMessage {
		t.Fatalf("%d bytes, %v", len(msg), err)
	}
	if _, err := set(1, signer(1)).Open(msg, wanted); err != nil {
		t.Fatal(err)
	}
}

func TestKeyID(t *testing.T) {
	// Fixed: agents hold these names in their state.
	if got := key(signer(1)).ID; got != "34750f98bd59fcfc" {
		t.Errorf("KeyID = %s", got)
	}
	if key(signer(1)).ID == key(signer(2)).ID {
		t.Error("two keys have one id")
	}
}

func TestKeySet_Next(t *testing.T) {
	first, second, stranger := signer(1), signer(2), signer(9)
	pinned := set(2, first)
	sign := func(priv ed25519.PrivateKey, s wire.KeySet) wire.SignedKeySet {
		signed, err := wire.SignKeySet(priv, s)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	next, err := pinned.Next(sign(first, set(3, first, second)))
	if err != nil || !reflect.DeepEqual(next, set(3, first, second)) {
		t.Fatalf("next %+v, %v", next, err)
	}
	if next, err = next.Next(sign(second, set(9, second))); err != nil || next.Version != 9 {
		t.Fatalf("a key that the set brought does not sign the next: %+v, %v", next, err)
	}
	if _, err := next.Open(signed(t, first, reply), wanted); !wire.HasCode(err, wire.CodeNotSigned) {
		t.Fatalf("a key that was taken out still counts: %v", err)
	}

	damaged := sign(first, set(3, second))
	damaged.Payload = bytes.Replace(damaged.Payload, []byte(`"version":3`), []byte(`"version":4`), 1)
	directive := sign(first, set(3, second))
	var s wire.Signed
	if err := json.Unmarshal(signed(t, first, reply), &s); err != nil {
		t.Fatal(err)
	}
	directive.Payload, directive.Signature = s.Payload, s.Signature
	short := set(3, second)
	short.Keys[0].Public = short.Keys[0].Public[:31]
	for name, offered := range map[string]wire.SignedKeySet{
		"signed by a stranger":                sign(stranger, set(3, second)),
		"signed by a key that it brings":      sign(second, set(3, first, second)),
		"the same version":                    sign(first, set(2, first, second)),
		"an older version":                    sign(first, set(1, second)),
		"no key":                              sign(first, set(3)),
		"a key that cannot verify":            sign(first, short),
		"a changed payload":                   damaged,
		"a signed directive":                  directive,
		"nothing":                             {},
		"a payload that is not a set, signed": {KeyID: key(first).ID, Payload: []byte("[]"), Signature: ed25519.Sign(first, []byte("devflow key set v1\n[]"))},
	} {
		if next, err := pinned.Next(offered); !wire.HasCode(err, wire.CodeNotSigned) || next.Version != 0 || next.Keys != nil {
			t.Errorf("%s: %+v, %v", name, next, err)
		}
	}
}

func TestDirective_Into(t *testing.T) {
	var grant wire.Grant
	d := wire.Directive{Failure: wire.Failf(wire.CodeLimit, "too much"), Body: json.RawMessage(`{"method":"PUT"}`)}
	if err := d.Into(&grant); !wire.HasCode(err, wire.CodeLimit) || grant.Method != "" {
		t.Errorf("a refused request: %v, %+v", err, grant)
	}
	if err := d.Into(nil); !errors.Is(err, d.Failure) {
		t.Errorf("a refused request without a body to read: %v", err)
	}
	if err := (wire.Directive{}).Into(nil); err != nil {
		t.Errorf("nobody reads the body: %v", err)
	}
	for _, body := range []string{"", "[]", "{"} {
		if err := (wire.Directive{Kind: "reply", Verb: "part", Body: json.RawMessage(body)}).Into(&grant); err == nil || !strings.Contains(err.Error(), "decode reply part") {
			t.Errorf("body %q: %v", body, err)
		}
	}
}
