package artifact

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// StatementVersion is the newest format of a Statement that this program writes and reads.
const StatementVersion = 1

// What is signed begins with these lines, so that no signature can stand for another kind of message.
const (
	statementDomain = "devflow statement v1\n"
	manifestDomain  = "devflow manifest v1\n"
)

// Statement is what the agent declares about the artifact it made. Unknown fields are ignored when read.
type Statement struct {
	FormatVersion int `json:"format_version"`

	ServerID  string `json:"server_id"`
	JobID     string `json:"job_id"`
	AttemptNo int    `json:"attempt_no"`
	AttemptID string `json:"attempt_id"`
	Key       string `json:"key"` // of the object, as ordered

	Engine         string `json:"engine"`
	Database       string `json:"database"` // the exact name
	ServerVersion  string `json:"server_version"`
	ServerIdentity string `json:"server_identity"` // as the database server names itself, such as its system identifier
	Tool           string `json:"tool"`
	ToolVersion    string `json:"tool_version"`
	Method         string `json:"method"`

	Sums
	PartSize        int64  `json:"part_size"` // 0 when the artifact was not uploaded in parts
	Parts           int    `json:"parts"`
	CompositeSHA256 string `json:"composite_sha256,omitempty"` // see CompositeSHA256

	Codec Codec `json:"codec"`

	StartedAt  time.Time `json:"started_at"` // by the agent's clock: information only, never compared
	FinishedAt time.Time `json:"finished_at"`

	Metadata    Metadata `json:"metadata"`
	Fingerprint *Sums    `json:"fingerprint,omitempty"` // of the side objects, if made
	Globals     *Sums    `json:"globals,omitempty"`
}

// Metadata describes the database as it was dumped.
type Metadata struct {
	Tables       int64          `json:"tables"`
	DatabaseSize int64          `json:"database_size"`   // bytes
	Extra        map[string]any `json:"extra,omitempty"` // what one engine adds
}

// Validate reports the first thing in which the statement contradicts itself.
func (s Statement) Validate() error {
	switch {
	case s.FormatVersion != StatementVersion:
		return &FormatError{What: "statement", Version: s.FormatVersion, Known: StatementVersion}
	case s.ServerID == "":
		return errors.New("statement has no server_id")
	case s.JobID == "":
		return errors.New("statement has no job_id")
	case s.AttemptNo < 1:
		return fmt.Errorf("statement's attempt_no is %d, want 1 or more", s.AttemptNo)
	case !ValidAttemptID(s.AttemptID):
		return fmt.Errorf("statement's attempt_id %q is not %d characters of base32", s.AttemptID, attemptIDLen)
	case s.Engine == "":
		return errors.New("statement has no engine")
	case s.Database == "":
		return errors.New("statement has no database")
	case !utf8.ValidString(s.Database):
		return errors.New("statement's database is not valid UTF-8")
	case !strings.Contains(path.Base(s.Key), "_"+s.AttemptID+"."):
		return fmt.Errorf("statement's key %q does not belong to attempt %s", s.Key, s.AttemptID)
	case s.RawSize < 0, s.StoredSize < 0:
		return fmt.Errorf("statement's sizes are %d and %d, want 0 or more", s.RawSize, s.StoredSize)
	}
	if err := s.Codec.Validate(); err != nil {
		return fmt.Errorf("statement's codec: %w", err)
	}
	for _, o := range s.objects() {
		if has := o.sums.MAC != (Digest{}); has != (s.Codec.Encryption == AES256CBC) {
			return fmt.Errorf("statement's %s: a mac belongs to encryption %s and to no other, this one is %s, mac present: %t",
				o.name, AES256CBC, s.Codec.Encryption, has)
		}
	}
	return s.validateParts()
}

type statedObject struct {
	name string
	sums Sums
}

// objects are the artifact and the side objects that were made, by the names that DeriveAESKeys knows.
func (s Statement) objects() []statedObject {
	out := []statedObject{{"artifact", s.Sums}}
	if s.Fingerprint != nil {
		out = append(out, statedObject{"fingerprint", *s.Fingerprint})
	}
	if s.Globals != nil {
		out = append(out, statedObject{"globals", *s.Globals})
	}
	return out
}

func (s Statement) validateParts() error {
	if s.Parts == 0 {
		if s.PartSize != 0 || s.CompositeSHA256 != "" {
			return errors.New("statement has a part_size or composite_sha256 without parts")
		}
		return nil
	}
	switch {
	case s.Parts < 0 || s.PartSize <= 0:
		return fmt.Errorf("statement has %d parts of %d bytes", s.Parts, s.PartSize)
	case int64(s.Parts) != max(1, (s.StoredSize-1)/s.PartSize+1):
		return fmt.Errorf("statement has %d parts of %d bytes for %d bytes", s.Parts, s.PartSize, s.StoredSize)
	case !strings.HasSuffix(s.CompositeSHA256, "-"+strconv.Itoa(s.Parts)):
		return fmt.Errorf("statement's composite_sha256 %q is not of %d parts", s.CompositeSHA256, s.Parts)
	}
	return nil
}

// Order is what an agent was told to make.
type Order struct {
	ServerID  string
	JobID     string
	AttemptNo int
	AttemptID string
	Key       string
	Engine    string
	Database  string
	PartSize  int64 // 0 when nothing is uploaded in parts: the statement then has neither parts nor a composite checksum
	Codec     Codec

	// Keys returns the keys of an object that were ordered for aes-256-cbc. The MACs of the statement must be theirs.
	// Nil does not check them: only who holds the app key can.
	Keys func(object string) (AESKeys, error)
}

// Answers reports the first field in which the statement differs from what was ordered, or nil.
func (s Statement) Answers(o Order) error {
	for _, f := range []struct{ name, ordered, stated string }{
		{"server_id", o.ServerID, s.ServerID},
		{"job_id", o.JobID, s.JobID},
		{"attempt_no", strconv.Itoa(o.AttemptNo), strconv.Itoa(s.AttemptNo)},
		{"attempt_id", o.AttemptID, s.AttemptID},
		{"key", o.Key, s.Key},
		{"engine", o.Engine, s.Engine},
		{"database", o.Database, s.Database},
		{"part_size", strconv.FormatInt(o.PartSize, 10), strconv.FormatInt(s.PartSize, 10)},
	} {
		if f.ordered != f.stated {
			return fmt.Errorf("statement differs from the order: %s was ordered as %q, stated as %q", f.name, f.ordered, f.stated)
		}
	}
	if !o.Codec.Equal(s.Codec) {
		return fmt.Errorf("statement differs from the order: codec was ordered as %+v, stated as %+v", o.Codec, s.Codec)
	}
	if o.Codec.Encryption != AES256CBC || o.Keys == nil {
		return nil
	}
	for _, obj := range s.objects() {
		keys, err := o.Keys(obj.name)
		if err != nil {
			return fmt.Errorf("check mac of the %s: %w", obj.name, err)
		}
		if tag := keys.Tag(obj.sums.StoredSHA256); !hmac.Equal(tag[:], obj.sums.MAC[:]) {
			return fmt.Errorf("statement differs from the order: mac of the %s is not by the keys that were ordered", obj.name)
		}
	}
	return nil
}

// SignedStatement carries a statement and the agent's signature over it. The signature holds for the JSON text in
// its compact form: indenting does not break it, reordering keys (as a jsonb column does) does.
type SignedStatement struct {
	Statement json.RawMessage `json:"statement"`
	KeyID     string          `json:"key_id"`
	Signature []byte          `json:"signature"` // Ed25519
}

// SignStatement checks the statement and signs it.
func SignStatement(s Statement, keyID string, key ed25519.PrivateKey) (SignedStatement, error) {
	if err := s.Validate(); err != nil {
		return SignedStatement{}, fmt.Errorf("sign statement: %w", err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return SignedStatement{}, fmt.Errorf("sign statement: %w", err)
	}
	return SignedStatement{
		Statement: text,
		KeyID:     keyID,
		Signature: ed25519.Sign(key, append([]byte(statementDomain), text...)),
	}, nil
}

// Verify returns the statement if it was signed by the key and does not contradict itself. A *SignatureError
// means that it was not made by the key's owner, or changed since.
func (s SignedStatement) Verify(key ed25519.PublicKey) (Statement, error) {
	text, err := compact(s.Statement)
	if err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	if !verified(key, append([]byte(statementDomain), text...), s.Signature) {
		return Statement{}, &SignatureError{What: "statement", KeyID: s.KeyID}
	}
	if err := checkVersion("statement", text, StatementVersion); err != nil {
		return Statement{}, err
	}
	var st Statement
	if err := json.Unmarshal(text, &st); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	if err := st.Validate(); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	return st, nil
}

// SignatureError says that a signature does not hold for what it stands under.
type SignatureError struct {
	What  string // statement or manifest
	KeyID string // the key that was to have signed
}

func (e *SignatureError) Error() string {
	return fmt.Sprintf("%s is not signed by key %q: it was changed or made by another", e.What, e.KeyID)
}

// FormatError says that a text is of a format that this program does not know.
type FormatError struct {
	What           string
	Version, Known int
}

func (e *FormatError) Error() string {
	if e.Version > e.Known {
		return fmt.Sprintf("%s has format_version %d, this program knows up to %d: use a newer version of it", e.What, e.Version, e.Known)
	}
	return fmt.Sprintf("%s has format_version %d, want %d", e.What, e.Version, e.Known)
}

// checkVersion looks at nothing but the version: a newer format may have other types in the same fields.
func checkVersion(what string, text []byte, known int) error {
	var v struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	if v.FormatVersion < 1 || v.FormatVersion > known {
		return &FormatError{What: what, Version: v.FormatVersion, Known: known}
	}
	return nil
}

// compact returns the form of a JSON text that is signed: what encoding/json makes of it inside another text.
func compact(text json.RawMessage) ([]byte, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("it is empty")
	}
	return json.Marshal(text)
}

// verified is ed25519.Verify without its panic on a key of wrong length.
func verified(key ed25519.PublicKey, message, signature []byte) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature)
}
