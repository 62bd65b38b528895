package artifact

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// ManifestVersion is the newest format of a Manifest that this program writes and reads.
	ManifestVersion = 1

	// MaxManifestSize is the most bytes that ParseManifest takes.
	MaxManifestSize = 1 << 20
)

// Manifest stands beside its artifact: the agent's signed statement, and the controller's facts countersigned over it.
// It is enough to bring a catalog row back from the store.
type Manifest struct {
	FormatVersion int             `json:"format_version"`
	Signed        SignedStatement `json:"signed"`
	Facts         json.RawMessage `json:"facts"` // a Facts
	KeyID         string          `json:"key_id"`
	Signature     []byte          `json:"signature"` // Ed25519
}

// Facts are what the controller knows and the agent does not decide.
type Facts struct {
	BackupID   int64        `json:"backup_id"`
	Type       string       `json:"type"`
	ScheduleID int64        `json:"schedule_id,omitempty"`
	ReceivedAt time.Time    `json:"received_at"`
	Project    ProjectFacts `json:"project"`
	Server     ServerFacts  `json:"server"`
	Storage    StorageFacts `json:"storage"`
}

// ProjectFacts name the project that owns a backup.
type ProjectFacts struct {
	ID         int64  `json:"id"`
	Slug       string `json:"slug"`
	ExternalID string `json:"external_id,omitempty"`
}

// ServerFacts name the server that made a backup, and its public keys.
type ServerFacts struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	SigningKey ed25519.PublicKey `json:"signing_key"`
	NKey       string            `json:"nkey"`
}

// StorageFacts say where the artifact was put.
type StorageFacts struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Disk   string `json:"disk"` // local | s3
	Bucket string `json:"bucket,omitempty"`
	ETag   string `json:"etag,omitempty"`

	VersionID string `json:"version_id,omitempty"`
}

// Countersign makes the manifest of a statement that the caller has verified.
func Countersign(signed SignedStatement, facts Facts, keyID string, key ed25519.PrivateKey) (Manifest, error) {
	text, err := json.Marshal(facts)
	if err != nil {
		return Manifest{}, fmt.Errorf("countersign manifest: %w", err)
	}
	m := Manifest{FormatVersion: ManifestVersion, Signed: signed, Facts: text, KeyID: keyID}
	message, err := m.message()
	if err != nil {
		return Manifest{}, fmt.Errorf("countersign manifest: %w", err)
	}
	m.Signature = ed25519.Sign(key, message)
	return m, nil
}

// message is what the controller signs: the digest of the signed statement with its signature, then the facts.
func (m Manifest) message() ([]byte, error) {
	signed, err := json.Marshal(m.Signed)
	if err != nil {
		return nil, fmt.Errorf("read statement: %w", err)
	}
	facts, err := compact(m.Facts)
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	digest := sha256.Sum256(signed)
	message := append([]byte(manifestDomain), digest[:]...)
	return append(message, facts...), nil
}

// ParseManifest reads a manifest without trusting it: only Verify's results may be used. Unknown fields are ignored.
func ParseManifest(text []byte) (Manifest, error) {
	if len(text) > MaxManifestSize {
		return Manifest{}, fmt.Errorf("read manifest: %d bytes are more than %d", len(text), MaxManifestSize)
	}
	if err := checkVersion("manifest", text, ManifestVersion); err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

// Encode returns the manifest as it is stored: indented JSON with a newline at its end.
func (m Manifest) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return append(text, '\n'), nil
}

// ControllerKey returns the public key of a controller's signing key by its id, or an error that says why it is not trusted.
type ControllerKey func(keyID string) (ed25519.PublicKey, error)

// AgentKey returns the public key by which the server of these facts signs. The facts are already verified.
type AgentKey func(f Facts, keyID string) (ed25519.PublicKey, error)

// RecordedAgentKey trusts the server's key that the controller countersigned, as a reader without a catalog does.
func RecordedAgentKey(f Facts, _ string) (ed25519.PublicKey, error) { return f.Server.SigningKey, nil }

// Verify returns statement and facts if both signatures hold, the statement was made by the server of the facts, and
// the manifest belongs to the object at objectKey. The last is not checked when objectKey is empty: a copy outside
// the store has no key, and is tied to its manifest by the checksums alone.
func (m Manifest) Verify(objectKey string, agent AgentKey, controller ControllerKey) (Statement, Facts, error) {
	message, err := m.message()
	if err != nil {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w", err)
	}
	pub, err := controller(m.KeyID)
	if err != nil {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w", err)
	}
	if !verified(pub, message, m.Signature) {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w", &SignatureError{What: "manifest", KeyID: m.KeyID})
	}
	var facts Facts
	if err := json.Unmarshal(m.Facts, &facts); err != nil {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: read facts: %w", err)
	}
	if pub, err = agent(facts, m.Signed.KeyID); err != nil {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w", err)
	}
	st, err := m.Signed.Verify(pub)
	if err != nil {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w", err)
	}
	if st.ServerID != facts.Server.ID {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w: the statement is of server %s, the facts are of %s",
			ErrForeignManifest, st.ServerID, facts.Server.ID)
	}
	if objectKey != "" && st.Key != objectKey {
		return Statement{}, Facts{}, fmt.Errorf("verify manifest: %w: it is of %q, found at %q", ErrForeignManifest, st.Key, objectKey)
	}
	return st, facts, nil
}

// ErrForeignManifest says that a manifest is authentic and belongs to something else.
var ErrForeignManifest = errors.New("manifest of another artifact")
