package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// MaxFileSize is the largest secret file that LoadFile reads, in bytes.
const MaxFileSize = 64 << 10

// ErrExposed is wrapped by the error for a secret file that others than its owner can read or write.
var ErrExposed = errors.New("file is open to other users")

// LoadFile reads a secret from a regular file that only its owner can open (mode 0600 or stricter) and removes one
// newline at its end. An empty file is an error. No error contains any of the content.
func LoadFile(path string) (String, error) {
	// O_NONBLOCK: a named pipe must be refused, not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read secret %s: not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return "", fmt.Errorf("read secret %s: %w (mode %04o): run `chmod 600 %s`", path, ErrExposed, perm, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", path, err)
	}
	if len(b) > MaxFileSize {
		return "", fmt.Errorf("read secret %s: larger than %d bytes", path, MaxFileSize)
	}
	text, found := strings.CutSuffix(string(b), "\n")
	if found {
		text = strings.TrimSuffix(text, "\r")
	}
	if text == "" {
		return "", fmt.Errorf("read secret %s: file is empty", path)
	}
	return String(text), nil
}
