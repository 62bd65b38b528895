package oidc_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/oidc"
)

// issuer is a provider that signs whatever the test says.
type issuer struct {
	*testing.T
	url string

	mu     sync.Mutex
	keys   map[string]*rsa.PrivateKey // that it shows
	answer func(nonce string) map[string]any
	info   map[string]any
	asked  url.Values // of the last code
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{T: t, keys: map[string]*rsa.PrivateKey{"one": newKey(t)}}
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{
			"issuer": i.url, "authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token", "jwks_uri": i.url + "/keys", "userinfo_endpoint": i.url + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		keys := []any{}
		for id, key := range i.keys {
			keys = append(keys, map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": text64(key.N.Bytes()), "e": text64(big.NewInt(int64(key.E)).Bytes())})
		}
		say(w, map[string]any{"keys": keys})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asked = r.PostForm
		say(w, i.answer(r.PostForm.Get("code"))) // the code is the nonce
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		say(w, i.info)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	i.url = srv.URL
	return i
}

func text64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a token: by RS256 with a key, by HS256 with bytes, unsigned with nil.
func (i *issuer) sign(kid string, key any, claims map[string]any) string {
	i.Helper()
	alg := map[bool]string{true: "none"}[key == nil]
	switch key.(type) {
	case *rsa.PrivateKey:
		alg = "RS256"
	case []byte:
		alg = "HS256"
	}
	header, _ := json.Marshal(map[string]any{"alg": alg, "kid": kid, "typ": "JWT"})
	payload, err := json.Marshal(claims)
	if err != nil {
		i.Fatal(err)
	}
	text := text64(header) + "." + text64(payload)
	sum := sha256.Sum256([]byte(text))
	switch k := key.(type) {
	case *rsa.PrivateKey:
		signed, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		if err != nil {
			i.Fatal(err)
		}
		return text + "." + text64(signed)
	case []byte:
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(text))
		return text + "." + text64(mac.Sum(nil))
	}
	return text + "."
}

func (i *issuer) provider(nameClaim string) *oidc.Provider {
	i.Helper()
	p, err := oidc.New(oidc.Options{
		Issuer: i.url, ClientID: "devflow", ClientSecret: "only for this test", Scopes: []string{"openid", "profile"}, NameClaim: nameClaim, GroupsClaim: "groups", Title: "Test",
		RedirectURL: "https://backup.test/api/v1/session/oidc/callback", Groups: groups(i.T, "dev=view-backups+create-backups@one+two", "dba=admin"),
	})
	if err != nil {
		i.Fatal(err)
	}
	return p
}

// TestProvider_tokens: who a person is comes from a token that this provider has signed, for this client, now, in answer to this sign-in;
// from every other one comes nobody.
func TestProvider_tokens(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := i.provider("preferred_username")
	good := i.keys["one"]
	other := newKey(t)
	now := time.Now()
	claims := func(nonce string, change map[string]any) map[string]any {
		c := map[string]any{
			"iss": i.url, "aud": "devflow", "sub": "1", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": nonce,
			"preferred_username": "ada", "name": "Ada L.", "groups": []string{"users", "dev"}, "email": "ada@example.com",
		}
		for name, v := range change {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		}
		return c
	}
	finish := func(p *oidc.Provider, answer func(nonce string) map[string]any) (controller.Identity, error) {
		t.Helper()
		address, flow, err := p.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.Parse(address)
		if err != nil || to.Query().Get("nonce") != flow.Nonce || to.Query().Get("state") != flow.State || len(flow.State) < 20 || len(flow.Nonce) < 20 {
			t.Fatalf("%s, %v", address, err)
		}
		i.mu.Lock()
		i.answer = answer
		i.mu.Unlock()
		in, err := p.Finish(t.Context(), flow, flow.Nonce)
		i.mu.Lock()
		defer i.mu.Unlock()
		// The verifier is what the challenge was made of.
		sum := sha256.Sum256([]byte(i.asked.Get("code_verifier")))
		if text64(sum[:]) != to.Query().Get("code_challenge") || to.Query().Get("code_challenge_method") != "S256" {
			t.Errorf("the challenge %q is not of %q", to.Query().Get("code_challenge"), i.asked.Get("code_verifier"))
		}
		return in, err
	}
	signed := func(kid string, key any, change map[string]any) func(string) map[string]any {
		return func(nonce string) map[string]any {
			return map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": i.sign(kid, key, claims(nonce, change))}
		}
	}
	in, err := finish(p, signed("one", good, nil))
	if err != nil || in.Subject != "1" || in.Name != "ada" || in.DisplayName != "Ada L." || in.Issuer != i.url || in.Admin || in.AllProjects || strings.Join(in.Permissions, " ") != "view-backups create-backups" || strings.Join(in.Projects, " ") != "one two" {
		t.Fatalf("%+v, %v", in, err)
	}
	public, err := x509.MarshalPKIXPublicKey(&good.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func(string) map[string]any{
		"another issuer":                signed("one", good, map[string]any{"iss": "https://login.evil.example"}),
		"no issuer":                     signed("one", good, map[string]any{"iss": nil}),
		"another audience":              signed("one", good, map[string]any{"aud": "mail"}),
		"no audience":                   signed("one", good, map[string]any{"aud": nil}),
		"expired":                       signed("one", good, map[string]any{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(-time.Minute).Unix()}),
		"no expiry":                     signed("one", good, map[string]any{"exp": nil}),
		"another nonce":                 signed("one", good, map[string]any{"nonce": "x"}),
		"no nonce":                      signed("one", good, map[string]any{"nonce": nil}),
		"another key":                   signed("one", other, nil),
		"a key that is not known":       signed("two", other, nil),
		"unsigned":                      signed("one", nil, nil),
		"signed by the public key":      signed("one", public, nil),
		"no ID token":                   func(string) map[string]any { return map[string]any{"access_token": "a", "token_type": "Bearer"} },
		"an ID token that is none":      func(string) map[string]any { return map[string]any{"access_token": "a", "id_token": "a.b.c"} },
		"info about another user":       signed("one", good, map[string]any{"groups": nil}),
		"an answer that is a complaint": func(string) map[string]any { return map[string]any{"error": "invalid_grant"} },
	} {
		i.mu.Lock()
		i.info = map[string]any{"sub": "2", "groups": []string{"dba"}}
		i.mu.Unlock()
		in, err := finish(p, answer)
		if err == nil || in.Name != "" || in.Admin || len(in.Permissions) > 0 {
			t.Errorf("%s: %+v, %v", name, in, err)
			continue
		}
		if code := controller.ErrorCode(err); code != controller.EUnauthorized && code != controller.EUnavailable {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "only for this test") {
			t.Errorf("%s: the error holds the client's secret", name)
		}
	}
	// What follows from groups, of whichever shape; the first that is named counts, and nothing else grants anything.
	i.mu.Lock()
	i.info = map[string]any{"sub": "1", "groups": []string{"dba"}, "email": "other@example.com"}
	i.mu.Unlock()
	for name, c := range map[string]struct {
		change map[string]any
		admin  bool
		code   string
	}{
		"from the user info": {map[string]any{"groups": nil}, true, ""}, "a single text": {map[string]any{"groups": "dba"}, true, ""}, "both": {map[string]any{"groups": []string{"dba", "dev"}}, false, ""},
		"none": {map[string]any{"groups": []string{}}, false, controller.EForbidden}, "another": {map[string]any{"groups": []string{"DBA", "dba "}}, false, controller.EForbidden},
		"not a list": {map[string]any{"groups": map[string]any{"dba": true}}, false, controller.EForbidden}, "a role": {map[string]any{"groups": []any{7, true, nil}, "role": "dba", "admin": true}, false, controller.EForbidden},
	} {
		in, err := finish(p, signed("one", good, c.change))
		if controller.ErrorCode(err) != c.code || in.Admin != c.admin {
			t.Errorf("groups %s: %+v, %v", name, in, err)
		}
	}
	// An address counts only if the provider says that it is the person's.
	mail := i.provider("email")
	for verified, code := range map[any]string{true: "", false: controller.EForbidden, "true": controller.EForbidden, nil: controller.EForbidden} {
		in, err := finish(mail, signed("one", good, map[string]any{"email_verified": verified}))
		if controller.ErrorCode(err) != code || code == "" && in.Name != "ada@example.com" {
			t.Errorf("email_verified %v: %+v, %v", verified, in, err)
		}
	}
	// The provider's next key is found.
	i.mu.Lock()
	i.keys = map[string]*rsa.PrivateKey{"two": other}
	i.mu.Unlock()
	if in, err := finish(p, signed("two", other, nil)); err != nil || in.Name != "ada" {
		t.Errorf("with the next key: %+v, %v", in, err)
	}
}
