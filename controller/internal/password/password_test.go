package password_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"devflowbackup/controller/internal/password"
)

var quick = password.Params{Memory: 64, Time: 1, Threads: 1}

func TestHasher(t *testing.T) {
	h := password.New(quick)
	const secret = "correct horse battery"
	one, err := h.Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.Hash(t.Context(), secret)
	if err != nil || one == two {
		t.Fatalf("two hashes of one password are alike: %v", err)
	}
	if !strings.HasPrefix(one, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("hash %q", one)
	}
	for _, c := range []struct {
		name, phc, given string
		params           password.Params
		ok, stale        bool
	}{
		{"right", one, secret, quick, true, false},
		{"wrong", one, secret + "x", quick, false, false},
		{"empty", one, "", quick, false, false},
		{"nobody", "", secret, quick, false, false},
		{"nobody, nothing", "", "", quick, false, false},
		{"other parameters", one, secret, password.Params{Memory: 128, Time: 1, Threads: 1}, true, true},
		{"other parameters, wrong", one, "x", password.Params{Memory: 128, Time: 1, Threads: 1}, false, false},
	} {
		ok, stale, err := password.New(c.params).Verify(t.Context(), c.phc, c.given)
		if err != nil || ok != c.ok || stale != c.stale {
			t.Errorf("%s: %v, stale %v, %v", c.name, ok, stale, err)
		}
	}
}

// A stored hash that was tampered with takes neither memory nor time, and lets nobody in.
func TestHasher_stored(t *testing.T) {
	h := password.New(quick)
	for _, phc := range []string{
		"x", "$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=18$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=64,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$", "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA",
	} {
		if ok, _, err := h.Verify(t.Context(), phc, ""); err == nil || ok {
			t.Errorf("%q: %v, %v", phc, ok, err)
		} else if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	// With a slot free and the context ended either may be chosen; after a few tries both were.
	for range 100 {
		if _, err := h.Hash(ctx, "x"); errors.Is(err, gone) {
			return
		}
	}
	t.Error("a hash is made for a caller who has gone")
}
