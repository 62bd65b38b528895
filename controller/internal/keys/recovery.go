package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"devflowbackup/shared/secret"
)

// ErrWrongRecoveryKey is returned when a recovery key does not open the sealed master key.
var ErrWrongRecoveryKey = errors.New("the recovery key does not open this master key")

// maxSealedMaster bounds what RecoverMaster reads, in bytes.
const maxSealedMaster = 64 << 10

// NewRecoveryKey makes a recovery key, to be printed once and kept offline, and the recipient that master keys are sealed
// to. The key is an age identity: `age -d -i key-file` opens what SealMaster made, without this program.
func NewRecoveryKey() (key secret.String, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("make recovery key: %w", err)
	}
	return secret.String(id.String()), id.Recipient().String(), nil
}

// SealMaster encrypts the master key file to recovery recipients, as armored age text.
func SealMaster(m *Master, recipients ...string) ([]byte, error) {
	to := make([]age.Recipient, 0, len(recipients))
	for _, r := range recipients {
		parsed, err := age.ParseX25519Recipient(r)
		if err != nil {
			return nil, fmt.Errorf("seal master key to %q: %w", r, err)
		}
		to = append(to, parsed)
	}
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, to...)
	if err != nil {
		return nil, fmt.Errorf("seal master key: %w", err)
	}
	_, err = w.Write(m.encode())
	if err = errors.Join(err, w.Close(), text.Close()); err != nil {
		return nil, fmt.Errorf("seal master key: %w", err)
	}
	return out.Bytes(), nil
}

// RecoverMaster opens what SealMaster made.
func RecoverMaster(sealed []byte, key secret.String) (*Master, error) {
	id, err := age.ParseX25519Identity(strings.TrimSpace(key.Reveal()))
	if err != nil {
		// age's error may quote the key.
		return nil, errors.New("recover master key: this is not a recovery key: one starts with AGE-SECRET-KEY-1")
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), id)
	if noMatch := (*age.NoIdentityMatchError)(nil); errors.As(err, &noMatch) {
		return nil, fmt.Errorf("recover master key: %w: it was sealed to another one than %s", ErrWrongRecoveryKey, id.Recipient())
	}
	if err != nil {
		return nil, fmt.Errorf("recover master key: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxSealedMaster))
	if err != nil {
		return nil, fmt.Errorf("recover master key: %w", err)
	}
	m, err := ParseMaster(text)
	if err != nil {
		return nil, fmt.Errorf("recover master key: %w", err)
	}
	return m, nil
}
