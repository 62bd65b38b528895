package artifact

import (
	"errors"
	"fmt"
	"strings"
)

// ErrAborted is what Close returns after Abort(nil).
var ErrAborted = errors.New("artifact aborted")

// ErrClosed is returned by a Writer or Reader used after its Close.
var ErrClosed = errors.New("artifact is closed")

// DamageError says that stored bytes are not the artifact they should be: cut, changed, extended or another one.
// It is never used for an error of the stream they are read from.
type DamageError struct {
	What string // what was checked, such as "stored SHA-256"
	Want string // may be empty
	Got  string
	Err  error // the decoder's error, may be nil
}

func (e *DamageError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("artifact is damaged: %s: %s", e.What, e.Got)
	}
	return fmt.Sprintf("artifact is damaged: %s: want %s, got %s", e.What, e.Want, e.Got)
}

func (e *DamageError) Unwrap() error { return e.Err }

// damaged wraps a decoder's error.
func damaged(what string, err error) *DamageError {
	return &DamageError{What: what, Got: err.Error(), Err: err}
}

// WrongKeyError says that a file does not open with the key that was given, or that none was given. For aes-256-cbc a key
// that is wrong and a manifest that was altered look the same.
type WrongKeyError struct {
	Encryption string   // empty for age
	Recipients []string // age: to whom the file was encrypted, as far as the caller knew
	Given      string   // age: the recipient that belongs to the key that was tried; empty if not known
	Missing    bool     // no key was given at all
}

func (e *WrongKeyError) Error() string {
	var b strings.Builder
	name := e.Encryption
	if name == "" {
		name = Age
	}
	b.WriteString(name + ": ")
	switch {
	case e.Missing:
		b.WriteString("no key was given for this file")
	case e.Given != "":
		fmt.Fprintf(&b, "the key for %s does not open this file", e.Given)
	case e.Encryption == AES256CBC:
		b.WriteString("the key that was given does not belong to this file, or the checksum or MAC in its manifest was altered")
	default:
		b.WriteString("the key that was given does not open this file")
	}
	if len(e.Recipients) > 0 {
		fmt.Fprintf(&b, "; it was encrypted to %s", strings.Join(e.Recipients, ", "))
	}
	return b.String()
}
