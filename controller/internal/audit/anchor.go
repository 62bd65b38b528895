package audit

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// anchorContext keeps a signature of an anchor from being one of anything else, and the other way round.
const anchorContext = "devflow audit anchor v1\n"

// anchor is a head as it is kept at a storage.
type anchor struct {
	V            int    `json:"v"`
	Installation string `json:"installation"`
	Seq          int64  `json:"seq"`
	Hash         string `json:"hash"`
	At           string `json:"at"` // RFC 3339
	KeyID        string `json:"key_id"`
	Signature    []byte `json:"signature"` // Ed25519, over signed
}

// signed is what the signature is over: a line that names it, then installation, seq, hash and time, a line each.
func (a anchor) signed() []byte {
	return []byte(anchorContext + a.Installation + "\n" + strconv.FormatInt(a.Seq, 10) + "\n" + a.Hash + "\n" + a.At + "\n")
}

// encode makes the object of a head. The same head, key and installation give the same bytes.
func encode(installation string, h controller.AuditHead, key ed25519.PrivateKey) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the signing key is not an Ed25519 key")
	}
	a := anchor{V: 1, Installation: installation, Seq: h.Seq, Hash: h.Hash, At: h.At.UTC().Format(time.RFC3339Nano), KeyID: wire.KeyID(public)}
	a.Signature = ed25519.Sign(key, a.signed())
	text, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode anchor: %w", err)
	}
	return append(text, '\n'), nil
}

var (
	errForeign = errors.New("it belongs to another installation")
	errForged  = errors.New("it does not have this installation's signature")
)

// decode reads an object that encode made: errForeign, or errForged for whatever else is wrong with it.
func decode(text []byte, installation string, keys []wire.Key) (controller.AuditHead, error) {
	var a anchor
	if err := json.Unmarshal(text, &a); err != nil {
		return controller.AuditHead{}, fmt.Errorf("%w: %w", errForged, err)
	}
	if a.Installation != installation && a.Installation != "" {
		return controller.AuditHead{}, errForeign
	}
	for _, k := range keys {
		if k.ID != a.KeyID || !ed25519.Verify(k.Public, a.signed(), a.Signature) {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, a.At)
		if err != nil {
			return controller.AuditHead{}, fmt.Errorf("%w: %w", errForged, err)
		}
		return controller.AuditHead{Seq: a.Seq, Hash: a.Hash, At: at}, nil
	}
	return controller.AuditHead{}, errForged
}
