package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"devflowbackup/shared/secret"
)

const canary = "canary-7f3a"

func TestString_neverShows(t *testing.T) {
	type config struct {
		Password secret.String
		Nested   map[string]secret.String
	}
	c := config{Password: canary, Nested: map[string]secret.String{"k": canary}}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%T"} {
		fmt.Fprintf(&shown, verb+"\n", c.Password)
		fmt.Fprintf(&shown, verb+"\n", c)
		fmt.Fprintf(&shown, verb+"\n", &c)
	}
	fmt.Fprintln(&shown, c, c.Password, []secret.String{canary}, fmt.Errorf("open %s", c.Password))
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(encoded)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "password", c.Password, "config", c)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "password", c.Password, "config", c)
	if strings.Contains(shown.String(), canary) || strings.Contains(shown.String(), fmt.Sprintf("%x", canary)) {
		t.Fatalf("the secret is shown:\n%s", &shown)
	}
	if !strings.Contains(shown.String(), secret.Mask) {
		t.Fatal("nothing was printed")
	}
	if c.Password.Reveal() != canary {
		t.Fatalf("Reveal = %q", c.Password.Reveal())
	}
}

func TestString_decodes(t *testing.T) {
	var v struct{ P secret.String }
	if err := json.Unmarshal([]byte(`{"P":"x y"}`), &v); err != nil || v.P.Reveal() != "x y" {
		t.Fatalf("decoded %q, %v", v.P.Reveal(), err)
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ content, want string }{
		"plain":       {canary, canary},
		"newline":     {canary + "\n", canary},
		"crlf":        {canary + "\r\n", canary},
		"one newline": {canary + "\n\n", canary + "\n"},
		"spaces":      {"  " + canary + " ", "  " + canary + " "},
		"cr alone":    {canary + "\r", canary + "\r"},
	} {
		got, err := secret.LoadFile(write(name, c.content, 0o600))
		if err != nil || got.Reveal() != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got.Reveal(), err, c.want)
		}
	}
	if _, err := secret.LoadFile(write("readonly", canary, 0o400)); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o644} {
		path := write(fmt.Sprintf("mode-%o", mode), canary, mode)
		_, err := secret.LoadFile(path)
		if !errors.Is(err, secret.ErrExposed) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), canary) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{
		"empty":     write("empty", "", 0o600),
		"newline":   write("only-newline", "\n", 0o600),
		"too large": write("large", strings.Repeat("x", secret.MaxFileSize+1), 0o600),
		"missing":   filepath.Join(dir, "missing"),
		"fifo":      fifo,
		"directory": dir,
	} {
		if _, err := secret.LoadFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v does not name %s", what, err, path)
		}
	}
}

func TestScrub(t *testing.T) {
	for _, c := range []struct {
		text, want string
		secrets    []secret.String
	}{
		{"password is " + canary + "!", "password is ***!", []secret.String{canary}},
		{"aXbX", "a***b***", []secret.String{"X", ""}},
		{"long secret-inside", "long ***", []secret.String{"secret", "secret-inside"}},
		{"q=p%40ss+w%2Frd and p%40ss%20w%2Frd", "q=*** and ***", []secret.String{"p@ss w/rd"}},
		{`{"p":"a\"b"}`, `{"p":"***"}`, []secret.String{`a"b`}},
		{"dial postgres://me:" + canary + "@db:5432/x: refused", "dial postgres://me:***@db:5432/x: refused", nil},
		{"mysql://me:pa@ss@db/x", "mysql://me:***@db/x", nil},
		{"postgres://me:pa/ss?w@db/x", "postgres://me:***@db/x", nil},
		{"https://:tok@host/", "https://:***@host/", nil},
		{"http://host:8080/path mail me@x.org", "http://host:8080/path mail me@x.org", nil},
		{"http://host:8080/p@v1", "http://host:8080/p@v1", nil},
		{"https://s3/b/k?X-Amz-Credential=AK&X-Amz-Signature=abc123&partNumber=3", "https://s3/b/k?X-Amz-Credential=***&X-Amz-Signature=***&partNumber=3", nil},
		{"host=db password='a b\\'c' user=me", "host=db password=*** user=me", nil},
		{"host=db password=abc user=me", "host=db password=*** user=me", nil},
		{"nothing here", "nothing here", nil},
	} {
		if got := secret.Scrub(c.text, c.secrets...); got != c.want {
			t.Errorf("Scrub(%q)\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}
