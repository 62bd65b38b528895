package fleet

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// keyedObjects are the objects of an artifact that go through its codec.
var keyedObjects = []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals}

// aesKeys derives the keys of each object of one backup attempt from its project's app key.
func (f *Fleet) aesKeys(ctx context.Context, project int64, attemptID string) (map[string]artifact.AESKeys, error) {
	text, err := f.opt.Store.ProjectAppKey(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("open the project's app key: %w", err)
	}
	app, err := artifact.AppKeyBytes(string(text))
	if err != nil {
		return nil, wire.Failf(wire.CodeWrongKey, "the app key of project %d: %w", project, err)
	}
	keys := make(map[string]artifact.AESKeys, len(keyedObjects))
	for _, object := range keyedObjects {
		if keys[object], err = artifact.DeriveAESKeys(app, attemptID, object); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// sealed encrypts a key to the server for this attempt and object alone.
func sealed(o controller.Offer, object string, key wire.SealedKey) ([]byte, error) {
	key.Attempt, key.Object = o.Attempt, object
	plain, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("encode sealed key: %w", err)
	}
	b, err := artifact.SealTo(o.Server.Recipient, plain)
	if err != nil {
		return nil, fmt.Errorf("seal key to server %s: %w", o.Server.Name, err)
	}
	return b, nil
}

func sealedAES(o controller.Offer, object string, k artifact.AESKeys) ([]byte, error) {
	return sealed(o, object, wire.SealedKey{Cipher: k.Cipher[:], MAC: k.MAC[:]})
}

// sealedFileKey opens the file key from the header that the catalog stored at completion, never from what lies in the store now.
func sealedFileKey(o controller.Offer, obj controller.StoredObject, identity []byte) ([]byte, error) {
	key, err := artifact.OpenHeader(obj.AgeHeader, string(identity), o.Recipients...)
	if err != nil {
		return nil, wire.Failf(wire.CodeWrongKey, "open the key of backup %d's %s: %w", o.Backup.ID, obj.Object, err)
	}
	return sealed(o, obj.Object, wire.SealedKey{FileKey: key})
}

// sealer gives the sealed key of each object that is to be read, or nothing where none is needed.
type sealer func(controller.StoredObject) ([]byte, error)

// sealerFor prepares the keys of the backup that the offer reads.
func (f *Fleet) sealerFor(ctx context.Context, o controller.Offer) (sealer, error) {
	switch o.Backup.Encryption {
	case controller.EncryptionAge:
		identity, err := f.opt.Store.ProjectIdentitySecret(ctx, o.ProjectID)
		if err != nil {
			return nil, fmt.Errorf("open the project's key: %w", err)
		}
		return func(obj controller.StoredObject) ([]byte, error) { return sealedFileKey(o, obj, identity) }, nil
	case controller.EncryptionAES:
		keys, err := f.aesKeys(ctx, o.ProjectID, o.AttemptID)
		if err != nil {
			return nil, err
		}
		return func(obj controller.StoredObject) ([]byte, error) {
			// A key that does not prove the MAC would let the agent decrypt what nobody vouches for.
			if err := checkMAC(keys[obj.Object], obj); err != nil {
				return nil, wire.Failf(wire.CodeWrongKey, "backup %d's %s: %w", o.Backup.ID, obj.Object, err)
			}
			return sealedAES(o, obj.Object, keys[obj.Object])
		}, nil
	}
	return func(controller.StoredObject) ([]byte, error) { return nil, nil }, nil
}

var errMAC = errors.New("the project's app key does not give the recorded MAC")

func checkMAC(k artifact.AESKeys, o controller.StoredObject) error {
	stored, err := artifact.ParseDigest(o.StoredSHA256)
	if err != nil {
		return err
	}
	if tag := k.Tag(stored); !bytes.Equal(tag[:], o.MAC) {
		return errMAC
	}
	return nil
}

// checkMACs holds the MACs that an agent stated against those that the project's key gives. It refuses nothing by itself: the
// caller decides what a wrong MAC means.
func checkMACs(keys map[string]artifact.AESKeys, st artifact.Statement) error {
	for _, o := range []struct {
		object string
		sums   *artifact.Sums
	}{{wire.ObjectArtifact, &st.Sums}, {wire.ObjectFingerprint, st.Fingerprint}, {wire.ObjectGlobals, st.Globals}} {
		if o.sums != nil && keys[o.object].Tag(o.sums.StoredSHA256) != o.sums.MAC {
			return fmt.Errorf("the MAC of the %s is not made with its key", o.object)
		}
	}
	return nil
}

// magics are what the compressed bytes begin with.
var magics = map[string][]byte{artifact.Zstd: {0x28, 0xb5, 0x2f, 0xfd}, artifact.Gzip: {0x1f, 0x8b}}

// aesStart is how much of a stored object checkStart needs: the IV and one cipher block.
const aesStart = 2 * aes.BlockSize

// checkStart decrypts the first block of a stored object and looks for what its compression begins with: an agent that used other
// keys than it was given made a backup that nobody opens.
func checkStart(k artifact.AESKeys, compression string, start []byte) error {
	if len(start) < aesStart {
		return fmt.Errorf("%d bytes are no %s stream", len(start), artifact.AES256CBC)
	}
	block, err := aes.NewCipher(k.Cipher[:])
	if err != nil {
		return err
	}
	plain := make([]byte, aes.BlockSize)
	cipher.NewCBCDecrypter(block, start[:aes.BlockSize]).CryptBlocks(plain, start[aes.BlockSize:aesStart])
	if !bytes.HasPrefix(plain, magics[compression]) {
		return fmt.Errorf("what is decrypted is not %s", compression)
	}
	return nil
}

// checkWhole decodes a stored object that is at hand whole.
func checkWhole(k artifact.AESKeys, compression string, sums artifact.Sums, b []byte) error {
	r, err := artifact.NewReader(bytes.NewReader(b), artifact.ReadOptions{Compression: compression, Encryption: artifact.AES256CBC, AES: &k, Expect: &sums})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
