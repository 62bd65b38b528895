package notify_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/dockit"
)

// TestDocs_Webhook: what docs/alarms.md gives receivers to check signatures with takes what is signed here, and nothing else; and its example
// of a message has the fields that a message has.
func TestDocs_Webhook(t *testing.T) {
	t.Parallel()
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "alarms.md"))
	if err != nil {
		t.Fatal(err)
	}
	const key, at = secret.String("a key of sixteen or more"), int64(1700000000)
	body := `{"title":"ü"}`
	good := notify.Sign(key, time.Unix(at, 0), []byte(body))
	type call struct {
		Body, Signature string
		Now             int64
		want            bool
	}
	calls := []call{
		{body, good, at, true},
		{body, good, at + 299, true},
		{body, good, at + 301, false},
		{body, good, at - 301, false},
		{body + " ", good, at, false},
		{body, strings.Replace(good, "t=17", "t=18", 1), at + 100000000, false},
		{body, good[:len(good)-1] + map[bool]string{true: "1", false: "0"}[strings.HasSuffix(good, "0")], at, false},
		{body, notify.Sign(key+"x", time.Unix(at, 0), []byte(body)), at, false},
		{body, good + ",v1=x", at, false},
		{body, "", at, false},
	}
	in, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ language, program, before, after string }{
		{"php", "php", "<?php\n", "\nforeach (json_decode(stream_get_contents(STDIN), true) as $c) echo devflow_verified($c['Body'], $c['Signature'], '" + key.Reveal() + "', $c['Now']) ? 'yes ' : 'no ';"},
		{"node", "node", "", "\nfor (const c of JSON.parse(require('node:fs').readFileSync(0))) process.stdout.write(devflowVerified(Buffer.from(c.Body), c.Signature, '" + key.Reveal() + "', c.Now) ? 'yes ' : 'no ');"},
	} {
		code := regexp.MustCompile("<!-- verified: " + c.language + " -->\n```[a-z]+\n((?s).*?)\n```\n").FindSubmatch(page)
		if code == nil {
			t.Fatalf("the page has no example for %s", c.language)
		}
		file := filepath.Join(t.TempDir(), "example")
		if err := os.WriteFile(file, []byte(c.before+string(code[1])+c.after), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, c.program, file)
		cmd.Stdin = strings.NewReader(string(in))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", c.language, err, out)
		}
		said := strings.Fields(string(out))
		if len(said) != len(calls) {
			t.Fatalf("%s says %s", c.language, out)
		}
		for i, call := range calls {
			if (said[i] == "yes") != call.want {
				t.Errorf("%s: call %d, %q at %d: %s", c.language, i, call.Signature, call.Now, said[i])
			}
		}
	}

	example := regexp.MustCompile("```json\n((?s).*?)\n```").FindSubmatch(page)
	if example == nil {
		t.Fatal("the page has no example of a message")
	}
	decoder := json.NewDecoder(strings.NewReader(string(example[1])))
	decoder.DisallowUnknownFields()
	var m controller.Message
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	fields := func(v any) (names []string) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"([a-z_]+)":`).FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		return names
	}
	for _, name := range fields(m) {
		if !strings.Contains(string(example[1]), `"`+name+`":`) {
			t.Errorf("the example does not show %s", name)
		}
	}
}
