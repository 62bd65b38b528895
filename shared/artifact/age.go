package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

const (
	// MaxHeaderSize is the most bytes that the age header of an artifact takes: reading so many from its
	// beginning is always enough for ExtractHeader.
	MaxHeaderSize = 8 << 10

	// MaxSealedSize is the most bytes that SealTo takes.
	MaxSealedSize = 64 << 10

	maxRecipients = 32 // 98 bytes of header each
)

var ageEncryption = encryption{
	name:   Age,
	suffix: ".age",
	check: func(c Codec) error {
		_, err := parseRecipients(c.Recipients)
		return err
	},
	newWriter: func(dst io.Writer, c Codec, _ *AESKeys) (io.WriteCloser, error) {
		recipients, err := parseRecipients(c.Recipients)
		if err != nil {
			return nil, err
		}
		return age.Encrypt(dst, recipients...)
	},
	newReader: func(src *storedReader, o ReadOptions) (io.Reader, error) {
		r, err := openAge(src, o.Identity, o.Recipients)
		if err != nil {
			return nil, err
		}
		return agePayload{r}, nil
	},
}

// agePayload names what broke. An error of the stream below is told apart by Reader.
type agePayload struct{ io.Reader }

func (p agePayload) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
		err = damaged("age payload", err)
	}
	return n, err
}

func parseRecipients(names []string) ([]age.Recipient, error) {
	if len(names) == 0 {
		return nil, errors.New("recipients are empty: encryption age needs at least one recipient, age1…")
	}
	if len(names) > maxRecipients {
		return nil, fmt.Errorf("recipients are %d: at most %d are allowed", len(names), maxRecipients)
	}
	seen := make(map[string]bool, len(names))
	out := make([]age.Recipient, 0, len(names))
	for _, name := range names {
		r, err := age.ParseX25519Recipient(name)
		if strings.HasPrefix(strings.ToUpper(name), "AGE-SECRET-KEY-") {
			return nil, errors.New("recipient is a secret key: give the recipient that belongs to it, age1…")
		}
		if err != nil {
			return nil, fmt.Errorf("recipient %q is not an age X25519 recipient, age1…: %w", name, err)
		}
		if seen[r.String()] {
			return nil, fmt.Errorf("recipient %s is named twice", name)
		}
		seen[r.String()] = true
		out = append(out, r)
	}
	return out, nil
}

// openAge reads the header of src and returns its payload.
func openAge(src io.Reader, id age.Identity, recipients []string) (io.Reader, error) {
	if id == nil {
		return nil, &WrongKeyError{Recipients: recipients, Missing: true}
	}
	r, err := age.Decrypt(src, id)
	if err != nil {
		return nil, keyError(err, id, recipients)
	}
	return r, nil
}

// keyError tells a key that does not fit from a header that is broken.
func keyError(err error, id age.Identity, recipients []string) error {
	var noMatch *age.NoIdentityMatchError
	if !errors.As(err, &noMatch) {
		return damaged("age header", err)
	}
	wrong := &WrongKeyError{Recipients: recipients}
	if x, ok := id.(*age.X25519Identity); ok {
		wrong.Given = x.Recipient().String()
	}
	return wrong
}

// NewIdentity makes an age X25519 key: its secret, AGE-SECRET-KEY-1…, and its recipient, age1….
func NewIdentity() (secret, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("generate age identity: %w", err)
	}
	return id.String(), id.Recipient().String(), nil
}

// ParseIdentity reads a secret, AGE-SECRET-KEY-1…, into what ReadOptions take. Its error never repeats the secret.
func ParseIdentity(secret string) (age.Identity, error) {
	return parseIdentity(secret)
}

func parseIdentity(secret string) (*age.X25519Identity, error) {
	id, err := age.ParseX25519Identity(strings.TrimSpace(secret))
	if err != nil {
		return nil, errors.New("parse age identity: not an X25519 secret, AGE-SECRET-KEY-1…")
	}
	return id, nil
}

// RecipientOf returns the recipient that belongs to a secret.
func RecipientOf(secret string) (string, error) {
	id, err := parseIdentity(secret)
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

// ValidRecipient reports why a recipient cannot be encrypted to, or nil.
func ValidRecipient(recipient string) error {
	_, err := parseRecipients([]string{recipient})
	return err
}

// ExtractHeader reads the age header from the beginning of a file, at most MaxHeaderSize bytes of it. The header
// can be opened elsewhere, without the file. A file that does not begin with a header is a *DamageError.
func ExtractHeader(r io.Reader) ([]byte, error) {
	src := &storedReader{src: io.LimitReader(r, MaxHeaderSize), limit: -1}
	header, err := age.ExtractHeader(src)
	if src.err != nil {
		return nil, fmt.Errorf("read age header: %w", src.err)
	}
	if err != nil {
		return nil, damaged("age header", err)
	}
	return header, nil
}

// OpenHeader returns the file key that a header holds. The recipients, if known, are named by the *WrongKeyError
// of a secret that does not fit. The file key opens this one file and nothing else.
func OpenHeader(header []byte, identitySecret string, recipients ...string) (fileKey []byte, err error) {
	id, err := parseIdentity(identitySecret)
	if err != nil {
		return nil, err
	}
	fileKey, err = age.DecryptHeader(header, id)
	if err != nil {
		return nil, keyError(err, id, recipients)
	}
	return fileKey, nil
}

// FileKeyIdentity opens the one file that the file key belongs to. Any other file is a *DamageError.
func FileKeyIdentity(fileKey []byte) age.Identity {
	return age.NewInjectedFileKeyIdentity(bytes.Clone(fileKey))
}

// SealTo encrypts a small secret, at most MaxSealedSize bytes, to one recipient.
func SealTo(recipient string, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxSealedSize {
		return nil, fmt.Errorf("seal secret: %d bytes are more than %d", len(plaintext), MaxSealedSize)
	}
	recipients, err := parseRecipients([]string{recipient})
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	var buf bytes.Buffer
	w, err := age.Encrypt(&buf, recipients...)
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	if _, err := w.Write(plaintext); err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	return buf.Bytes(), nil
}

// OpenSealed decrypts what SealTo made. A wrong key is a *WrongKeyError, changed bytes are a *DamageError.
func OpenSealed(sealed []byte, identitySecret string) ([]byte, error) {
	id, err := parseIdentity(identitySecret)
	if err != nil {
		return nil, err
	}
	if len(sealed) > MaxSealedSize+MaxHeaderSize {
		return nil, &DamageError{What: "sealed secret", Want: "a small one", Got: fmt.Sprintf("%d bytes", len(sealed))}
	}
	r, err := openAge(bytes.NewReader(sealed), id, nil)
	if err != nil {
		return nil, err
	}
	plaintext, err := io.ReadAll(r)
	if err != nil {
		return nil, damaged("sealed secret", err)
	}
	return plaintext, nil
}
