package runner

import (
	"crypto/hmac"
	"encoding/json"

	"filippo.io/age"

	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// unseal opens a key that was sealed to this agent. It must name this attempt and this object: one that was sealed for
// another is refused. No error shows anything of it.
func (r *Runner) unseal(a *attempt, object string, sealed []byte) (k wire.SealedKey, err error) {
	if len(sealed) == 0 {
		return k, wire.Failf(wire.CodeWrongKey, "the order holds no key for the %s", object).
			WithHint("give the target host the project's key, if the project holds its own")
	}
	text, err := r.cfg.Identity.OpenSealed(sealed)
	if err != nil {
		return k, wire.Failf(wire.CodeWrongKey, "the key of the %s was not sealed to this agent: %w", object, err)
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, wire.Failf(wire.CodeWrongKey, "the key of the %s does not decode", object) // the cause could quote it
	}
	if k.Attempt != a.job.Attempt || k.Object != object {
		return k, wire.Failf(wire.CodeWrongKey, "the key of the %s was sealed for another attempt or object", object)
	}
	return k, nil
}

func (r *Runner) unsealAES(a *attempt, object string, sealed []byte) (*artifact.AESKeys, error) {
	k, err := r.unseal(a, object, sealed)
	if err != nil {
		return nil, err
	}
	var keys artifact.AESKeys
	if len(k.Cipher) != len(keys.Cipher) || len(k.MAC) != len(keys.MAC) {
		return nil, wire.Failf(wire.CodeWrongKey, "the key of the %s is none for %s", object, artifact.AES256CBC)
	}
	copy(keys.Cipher[:], k.Cipher)
	copy(keys.MAC[:], k.MAC)
	return &keys, nil
}

// orderedKeys opens the keys of a backup's objects, for the encryption that needs them from the controller.
func (r *Runner) orderedKeys(a *attempt, o *wire.BackupOrder) (map[string]*artifact.AESKeys, error) {
	if o.Codec.Encryption != artifact.AES256CBC {
		return nil, nil
	}
	out := make(map[string]*artifact.AESKeys)
	for _, object := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals} {
		keys, err := r.unsealAES(a, object, o.SealedKeys[object])
		if err != nil {
			return nil, err
		}
		out[object] = keys
	}
	return out, nil
}

// opened is what opens an object: one of both, or neither where nothing is encrypted.
type opened struct {
	age age.Identity
	aes *artifact.AESKeys
}

// open opens the sealed key of an object, and proves for aes-256-cbc that the checksum which is expected is the one that
// the key's owner has authenticated.
func (r *Runner) open(a *attempt, o object) (opened, error) {
	switch o.codec.Encryption {
	case artifact.None:
		return opened{}, nil
	case artifact.AES256CBC:
		keys, err := r.unsealAES(a, o.name, o.key)
		if err != nil {
			return opened{}, err
		}
		if tag := keys.Tag(o.sums.StoredSHA256); !hmac.Equal(tag[:], o.sums.MAC[:]) {
			return opened{}, wire.Failf(wire.CodeWrongKey, "%s: %w", o.name, &artifact.WrongKeyError{Encryption: artifact.AES256CBC})
		}
		return opened{aes: keys}, nil
	default:
		k, err := r.unseal(a, o.name, o.key)
		if err != nil {
			return opened{}, err
		}
		return opened{age: artifact.FileKeyIdentity(k.FileKey)}, nil
	}
}
