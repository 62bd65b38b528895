// Package secret holds values that must never be shown. A String prints, formats and encodes as "***";
// only Reveal gives the value, so each place that uses a secret can be found by that name.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Mask is what a secret shows instead of its value.
const Mask = "***"

// String is a secret text. Every way of printing or encoding it yields Mask, whatever its value is, empty included:
// the length is not shown either. Decoding (JSON, YAML, text) sets the value as for a plain string.
type String string

// Reveal returns the value.
func (s String) Reveal() string { return string(s) }

// Empty tells whether no value is set.
func (s String) Empty() bool { return s == "" }

// String returns Mask.
func (String) String() string { return Mask }

// GoString returns Mask, for %#v.
func (String) GoString() string { return Mask }

// Format writes Mask for every verb and flag.
func (String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Mask) }

// MarshalText returns Mask.
func (String) MarshalText() ([]byte, error) { return []byte(Mask), nil }

// MarshalJSON returns Mask as a JSON string.
func (String) MarshalJSON() ([]byte, error) { return []byte(`"` + Mask + `"`), nil }

// MarshalYAML returns Mask.
func (String) MarshalYAML() (any, error) { return Mask, nil }

// LogValue returns Mask.
func (String) LogValue() slog.Value { return slog.StringValue(Mask) }
