// Package identity holds who the agent is: the keys that it made at enrolment and the installation that it belongs to.
//
// Private keys never leave the host: they lie in one file of mode 0600 in the state directory, and no method returns
// them in a form that goes into a message. The file is replaced as a whole, so an identity is complete or absent.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/nats-io/nkeys"

	"devflowbackup/agent/internal/statedir"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// File is the identity's name in the state directory.
const File = "identity.json"

const (
	file    = File
	version = 1
)

// ErrNotEnrolled says that the state directory holds no identity.
var ErrNotEnrolled = errors.New("this agent is not enrolled: run `devflow-agent enroll --controller URL --token TOKEN`")

// Keys are an agent's private keys. They print as nothing.
type Keys struct {
	nkey    []byte // seed
	signing ed25519.PrivateKey
	age     string // AGE-SECRET-KEY-1…
}

// Public is what others learn of Keys.
type Public struct {
	NKey       string            // NATS user
	SigningKey ed25519.PublicKey // statements
	Recipient  string            // age1…
}

// Draw makes new keys.
func Draw() (Keys, error) {
	user, err := nkeys.CreateUser()
	if err != nil {
		return Keys{}, fmt.Errorf("make NATS key: %w", err)
	}
	seed, err := user.Seed()
	if err != nil {
		return Keys{}, fmt.Errorf("make NATS key: %w", err)
	}
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("make signing key: %w", err)
	}
	age, _, err := artifact.NewIdentity()
	if err != nil {
		return Keys{}, err
	}
	return Keys{nkey: seed, signing: signing, age: age}, nil
}

// Public returns the public halves.
func (k Keys) Public() (Public, error) {
	user, err := nkeys.FromSeed(k.nkey)
	if err != nil {
		return Public{}, fmt.Errorf("read NATS key: %w", err)
	}
	pub, err := user.PublicKey()
	if err != nil {
		return Public{}, fmt.Errorf("read NATS key: %w", err)
	}
	recipient, err := artifact.RecipientOf(k.age)
	if err != nil {
		return Public{}, err
	}
	signing, ok := k.signing.Public().(ed25519.PublicKey)
	if !ok {
		return Public{}, errors.New("read signing key: not an Ed25519 key")
	}
	return Public{NKey: pub, SigningKey: signing, Recipient: recipient}, nil
}

// String shows nothing.
func (Keys) String() string { return "***" }

// GoString shows nothing.
func (Keys) GoString() string { return "***" }

// Installation is what the agent learned when it enrolled.
type Installation struct {
	ServerID   string      `json:"server_id"`
	ServerName string      `json:"server_name"`
	Controller string      `json:"controller"` // URL
	NATSURLs   []string    `json:"nats_urls"`
	NATSJWT    string      `json:"nats_jwt"`
	CA         string      `json:"ca_pem"` // the only root that is trusted
	KeySet     wire.KeySet `json:"key_set"`
}

// Validate reports the first value that an agent cannot work with.
func (i Installation) Validate() error {
	switch {
	case !wire.ValidServerID(i.ServerID):
		return fmt.Errorf("server id %.64q is not one", i.ServerID)
	case len(i.NATSURLs) == 0:
		return errors.New("no NATS URL")
	case i.NATSJWT == "":
		return errors.New("no NATS credential")
	case len(i.KeySet.Keys) == 0:
		return errors.New("key set holds no key")
	}
	for _, k := range i.KeySet.Keys {
		if len(k.Public) != ed25519.PublicKeySize {
			return fmt.Errorf("key %.16q of the key set is not an Ed25519 key", k.ID)
		}
	}
	_, err := i.Roots()
	return err
}

// Roots is the pool that holds the installation's CA and nothing else.
func (i Installation) Roots() (*x509.CertPool, error) {
	block, _ := pem.Decode([]byte(i.CA))
	if block == nil {
		return nil, errors.New("CA certificate is not PEM")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(i.CA))
	return pool, nil
}

// Identity is an enrolled agent. Its methods may be called from several goroutines.
type Identity struct {
	dir  string
	keys Keys

	mu   sync.Mutex
	inst Installation
}

type onDisk struct {
	Version      int          `json:"version"`
	Installation Installation `json:"installation"`
	NKeySeed     string       `json:"nkey_seed"`
	SigningSeed  []byte       `json:"signing_seed"`
	AgeIdentity  string       `json:"age_identity"`
}

// Exists tells whether dir holds an identity.
func Exists(dir string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, file))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look at identity: %w", err)
	}
}

// Create writes an identity into dir, in place of one that is there.
func Create(dir string, keys Keys, inst Installation) (*Identity, error) {
	if err := inst.Validate(); err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	i := &Identity{dir: dir, keys: keys, inst: inst}
	if err := i.write(inst); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Identity) write(inst Installation) error {
	text, err := json.MarshalIndent(onDisk{
		Version: version, Installation: inst,
		NKeySeed: string(i.keys.nkey), SigningSeed: i.keys.signing.Seed(), AgeIdentity: i.keys.age,
	}, "", "  ")
	if err != nil {
		return errors.New("encode identity") // the cause could quote a key
	}
	return statedir.WriteFile(i.dir, file, append(text, '\n'))
}

// Load reads the identity in dir. ErrNotEnrolled if there is none.
func Load(dir string) (*Identity, error) {
	path := filepath.Join(dir, file)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (no identity in %s)", ErrNotEnrolled, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("identity %s is open to other users (mode %04o): run `chmod 600 %s`, and enrol again if it was read", path, perm, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	var d onDisk
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("identity %s is damaged: enrol again with --force", path)
	}
	if d.Version != version {
		return nil, fmt.Errorf("identity %s has version %d, this agent knows %d: install the newer agent", path, d.Version, version)
	}
	if len(d.SigningSeed) != ed25519.SeedSize {
		return nil, fmt.Errorf("identity %s is damaged: enrol again with --force", path)
	}
	i := &Identity{
		dir:  dir,
		keys: Keys{nkey: []byte(d.NKeySeed), signing: ed25519.NewKeyFromSeed(d.SigningSeed), age: d.AgeIdentity},
		inst: d.Installation,
	}
	if err := i.inst.Validate(); err != nil {
		return nil, fmt.Errorf("identity %s: %w", path, err)
	}
	if _, err := i.keys.Public(); err != nil {
		return nil, fmt.Errorf("identity %s is damaged: enrol again with --force", path)
	}
	return i, nil
}

// Installation returns what the agent knows of its installation.
func (i *Identity) Installation() Installation {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.inst
}

// ServerID is the agent's server.
func (i *Identity) ServerID() string { return i.Installation().ServerID }

// KeySet is the pinned set.
func (i *Identity) KeySet() wire.KeySet { return i.Installation().KeySet }

// Pin replaces the key set by one that a pinned key signed, and makes that durable first.
func (i *Identity) Pin(s wire.SignedKeySet) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	next, err := i.inst.KeySet.Next(s)
	if err != nil {
		return err
	}
	inst := i.inst
	inst.KeySet = next
	if err := inst.Validate(); err != nil {
		return fmt.Errorf("pin key set %d: %w", next.Version, err)
	}
	if err := i.write(inst); err != nil {
		return fmt.Errorf("pin key set %d: %w", next.Version, err)
	}
	i.inst = inst
	return nil
}

// Public returns the public keys.
func (i *Identity) Public() (Public, error) { return i.keys.Public() }

// SignNonce answers the broker's challenge.
func (i *Identity) SignNonce(nonce []byte) ([]byte, error) {
	user, err := nkeys.FromSeed(i.keys.nkey)
	if err != nil {
		return nil, fmt.Errorf("read NATS key: %w", err)
	}
	defer user.Wipe()
	return user.Sign(nonce)
}

// SignStatement signs what the agent states about an artifact.
func (i *Identity) SignStatement(s artifact.Statement) (artifact.SignedStatement, error) {
	pub, err := i.keys.Public()
	if err != nil {
		return artifact.SignedStatement{}, err
	}
	return artifact.SignStatement(s, wire.KeyID(pub.SigningKey), i.keys.signing)
}

// OpenSealed opens a small secret that was sealed to this agent.
func (i *Identity) OpenSealed(sealed []byte) ([]byte, error) {
	return artifact.OpenSealed(sealed, i.keys.age)
}
