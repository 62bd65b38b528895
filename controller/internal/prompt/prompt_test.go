package prompt_test

import (
	"bytes"
	"strings"
	"testing"

	"devflowbackup/controller/internal/prompt"
)

func TestSecret(t *testing.T) {
	for _, c := range []struct{ in, want, wrong string }{
		{"secret\nmore\n", "secret", ""},
		{"secret\r\n", "secret", ""},
		{" two words ", " two words ", ""},
		{"", "", "no password"},
		{"\nlater\n", "", "no password"},
		{strings.Repeat("x", 5000), "", "longer than 4096"},
	} {
		var out bytes.Buffer
		got, err := prompt.Secret(strings.NewReader(c.in), &out, "password", true)
		if got.Reveal() != c.want || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%.20q: %q, %v", c.in, got.Reveal(), err)
		}
		if out.Len() != 0 {
			t.Errorf("a pipe is asked %q", out.String())
		}
	}
}
