package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nkeys"

	"devflowbackup/shared/secret"
)

// Names of an installation's secrets, as Secrets returns them and the catalog stores them.
const (
	secretID            = "installation_id"
	secretOperator      = "nats_operator"
	secretSystem        = "nats_account_sys"
	secretControl       = "nats_account_ctl"
	secretAgents        = "nats_account_agents"
	secretAgentsSigning = "nats_agents_signing"
	secretCACert        = "ca_certificate"
	secretCAKey         = "ca_key"
	secretCommand       = "command_signing"
)

// Installation is everything that the first start makes: the NATS operator and its accounts, the certificate authority
// and the key that signs commands to agents. It never changes afterwards. It prints as "***".
type Installation struct {
	// ID names the installation; it is random and not secret.
	ID string
	// Operator signs accounts.
	Operator nkeys.KeyPair
	// System, Control and Agents are the accounts SYS, CTL and AGENTS. The first two sign their own users.
	System, Control, Agents nkeys.KeyPair
	// AgentsSigning signs the users of agents, with fixed permissions.
	AgentsSigning nkeys.KeyPair
	// CA signs the certificates of controllers and brokers.
	CA *CA
	// CommandKey signs what makes an agent act.
	CommandKey ed25519.PrivateKey
}

// New makes an installation.
func New(now time.Time) (*Installation, error) {
	in := &Installation{}
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	in.ID = hex.EncodeToString(id)
	for _, k := range []struct {
		to   *nkeys.KeyPair
		make func() (nkeys.KeyPair, error)
	}{
		{&in.Operator, nkeys.CreateOperator},
		{&in.System, nkeys.CreateAccount},
		{&in.Control, nkeys.CreateAccount},
		{&in.Agents, nkeys.CreateAccount},
		{&in.AgentsSigning, nkeys.CreateAccount},
	} {
		pair, err := k.make()
		if err != nil {
			return nil, fmt.Errorf("make installation: %w", err)
		}
		*k.to = pair
	}
	var err error
	if in.CA, err = NewCA(now); err != nil {
		return nil, fmt.Errorf("make installation: %w", err)
	}
	if _, in.CommandKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, fmt.Errorf("make installation: %w", err)
	}
	return in, nil
}

// Secrets returns the installation as named values. Each is to be sealed under Purpose(name).
func (in *Installation) Secrets() (map[string][]byte, error) {
	caKey, err := in.CA.KeyPEM()
	if err != nil {
		return nil, fmt.Errorf("encode installation: %w", err)
	}
	out := map[string][]byte{
		secretID:      []byte(in.ID),
		secretCACert:  in.CA.CertPEM(),
		secretCAKey:   caKey,
		secretCommand: in.CommandKey.Seed(),
	}
	for name, pair := range in.pairs() {
		seed, err := (*pair).Seed()
		if err != nil {
			return nil, fmt.Errorf("encode installation: %s: %w", name, err)
		}
		out[name] = seed
	}
	return out, nil
}

// Load is the reverse of Secrets. Unknown names are ignored; a missing or damaged one is an error that names it.
func Load(secrets map[string][]byte) (*Installation, error) {
	in := &Installation{ID: string(secrets[secretID])}
	if in.ID == "" {
		return nil, fmt.Errorf("load installation: %s is missing", secretID)
	}
	pairs := in.pairs()
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		seed, ok := secrets[name]
		if !ok {
			return nil, fmt.Errorf("load installation: %s is missing", name)
		}
		pair, err := nkeys.FromSeed(seed)
		if err != nil {
			return nil, fmt.Errorf("load installation: %s is damaged: %w", name, err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("load installation: %s is damaged: %w", name, err)
		}
		if name == secretOperator && !nkeys.IsValidPublicOperatorKey(public) || name != secretOperator && !nkeys.IsValidPublicAccountKey(public) {
			return nil, fmt.Errorf("load installation: %s is a key of another kind", name)
		}
		*pairs[name] = pair
	}
	ca, err := LoadCA(secrets[secretCACert], secrets[secretCAKey])
	if err != nil {
		return nil, fmt.Errorf("load installation: %s, %s: %w", secretCACert, secretCAKey, err)
	}
	in.CA = ca
	seed := secrets[secretCommand]
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("load installation: %s is missing or damaged", secretCommand)
	}
	in.CommandKey = ed25519.NewKeyFromSeed(seed)
	return in, nil
}

// Purpose is what a secret of the installation is sealed for.
func Purpose(name string) string { return "installation/" + name }

// SealSecrets returns Secrets, each sealed by the master key.
func (in *Installation) SealSecrets(m *Master) (map[string][]byte, error) {
	secrets, err := in.Secrets()
	if err != nil {
		return nil, err
	}
	for name, value := range secrets {
		secrets[name] = m.Seal(Purpose(name), value)
	}
	return secrets, nil
}

// OpenSecrets is the reverse of SealSecrets.
func OpenSecrets(m *Master, sealed map[string][]byte) (*Installation, error) {
	secrets := make(map[string][]byte, len(sealed))
	for name, value := range sealed {
		plain, err := m.Open(Purpose(name), value)
		if err != nil {
			return nil, fmt.Errorf("load installation: %w", err)
		}
		secrets[name] = plain
	}
	return Load(secrets)
}

func (in *Installation) pairs() map[string]*nkeys.KeyPair {
	return map[string]*nkeys.KeyPair{
		secretOperator:      &in.Operator,
		secretSystem:        &in.System,
		secretControl:       &in.Control,
		secretAgents:        &in.Agents,
		secretAgentsSigning: &in.AgentsSigning,
	}
}

// String hides the keys.
func (*Installation) String() string { return secret.Mask }

// GoString hides the keys.
func (*Installation) GoString() string { return secret.Mask }

// Format hides the keys, whatever the verb.
func (*Installation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Mask) }
