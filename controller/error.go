package controller

import (
	"errors"
	"fmt"
	"time"
)

// Error codes. The API maps each to one HTTP status; they are stable.
const (
	EInvalid      = "invalid"           // a field has a value that is not allowed
	ENotFound     = "not_found"         // no such thing, or not for this caller
	EConflict     = "conflict"          // the state of the thing forbids it
	EUnauthorized = "unauthorized"      // no valid token
	EForbidden    = "forbidden"         // the token lacks the permission
	EUnavailable  = "unavailable"       // try again later
	EChanged      = "changed_meanwhile" // the change was made for another version of the thing than there is
	EQuota        = "quota_exceeded"    // a limit of the project is reached
	EInternal     = "internal"
)

// Error is what a caller may see: a stable code, the field that is wrong where there is one, and a sentence that names the value and
// what is allowed. Every other error is internal: its detail goes to the log, not to the caller.
type Error struct {
	Code    string
	Field   string
	Message string
	Hint    string
	// RetryAfter is when it can be tried again, from now; 0 where nobody knows.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	msg := e.Message
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	if e.Hint != "" {
		msg += " (" + e.Hint + ")"
	}
	return msg
}

// Errorf makes an Error.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes an EInvalid error about one field.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: EInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// WithHint says what to do about it.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// After tells when it can be tried again, from now.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = max(d, time.Second)
	return e
}

// ErrorCode is the code of err: EInternal for anything that is not an Error, empty for nil.
func ErrorCode(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return EInternal
}
