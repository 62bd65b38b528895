// Package oidc signs people in by an OpenID Connect provider: authorization code with PKCE, state and nonce.
//
// Invariants: who a person is comes from a token that the provider signed for this client, in answer to this very flow; what a person may
// do comes from the groups that the configuration names, never from a claim alone; a person of none of these groups gets no session. No
// token of the provider is kept.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Options of New.
type Options struct {
	Issuer       string
	ClientID     string
	ClientSecret secret.String // empty for a public client
	Scopes       []string      // beside openid
	NameClaim    string
	GroupsClaim  string
	Groups       []controller.Group // the first that a person is in counts: two together could be more than either
	Title        string
	RedirectURL  string
	CAFile       string // PEM certificates that the provider is trusted by, beside the system's
	Now          func() time.Time
}

const (
	requestTimeout = 15 * time.Second
	maxAnswer      = 1 << 20 // bytes of the provider
)

// Provider asks one provider. It is found at the first sign-in: a provider that is down stops nothing else.
type Provider struct {
	opt  Options
	http *http.Client

	mu    sync.Mutex
	found *oidc.Provider
}

// New checks the options; it connects to nothing.
func New(opt Options) (*Provider, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if opt.CAFile != "" {
		pem, err := os.ReadFile(opt.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the provider's CA: %w", err)
		}
		if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("read the system's authorities: %w", err)
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", opt.CAFile)
		}
	}
	return &Provider{opt: opt, http: &http.Client{
		Timeout:   requestTimeout,
		Transport: bounded{&http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}},
	}}, nil
}

// bounded cuts answers off: the provider is not trusted with our memory.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// Title is what people know the provider as.
func (p *Provider) Title() string { return p.opt.Title }

func (p *Provider) provider(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.opt.Issuer)
	if err != nil {
		return nil, fmt.Errorf("find the OpenID Connect provider %s: %w", p.opt.Issuer, err)
	}
	p.found = found
	return found, nil
}

func (p *Provider) config(found *oidc.Provider) *oauth2.Config {
	scopes := []string{oidc.ScopeOpenID}
	for _, s := range p.opt.Scopes {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return &oauth2.Config{
		ClientID: p.opt.ClientID, ClientSecret: p.opt.ClientSecret.Reveal(), Endpoint: found.Endpoint(), RedirectURL: p.opt.RedirectURL, Scopes: scopes,
	}
}

// Begin is where the browser goes.
func (p *Provider) Begin(ctx context.Context) (string, controller.SignInFlow, error) {
	found, err := p.provider(ctx)
	if err != nil {
		return "", controller.SignInFlow{}, err
	}
	f := controller.SignInFlow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	return p.config(found).AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), f, nil
}

// Finish is who came back.
func (p *Provider) Finish(ctx context.Context, f controller.SignInFlow, code string) (controller.Identity, error) {
	var in controller.Identity
	found, err := p.provider(ctx)
	if err != nil {
		return in, fmt.Errorf("%w: %w", controller.Errorf(controller.EUnavailable, "the OpenID Connect provider does not answer").WithHint("try again"), err)
	}
	ctx = oidc.ClientContext(ctx, p.http)
	token, err := p.config(found).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) {
			// Its text repeats the provider's answer, which is not for the log.
			return in, controller.Errorf(controller.EUnauthorized, "the provider does not take the code: %.100q", refused.ErrorCode)
		}
		return in, fmt.Errorf("%w: %w", controller.Errorf(controller.EUnavailable, "the OpenID Connect provider does not answer").WithHint("try again"), err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return in, controller.Errorf(controller.EUnauthorized, "the provider sent no ID token")
	}
	id, err := found.Verifier(&oidc.Config{ClientID: p.opt.ClientID, Now: p.opt.Now}).Verify(ctx, raw)
	if err != nil {
		return in, fmt.Errorf("%w: %w", controller.Errorf(controller.EUnauthorized, "the provider's ID token does not verify"), err)
	}
	if id.Nonce != f.Nonce {
		return in, controller.Errorf(controller.EUnauthorized, "the provider's ID token answers another sign-in")
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return in, fmt.Errorf("%w: %w", controller.Errorf(controller.EUnauthorized, "the provider's ID token cannot be read"), err)
	}
	if err := p.complete(ctx, found, token, id.Subject, claims); err != nil {
		return in, err
	}
	return p.identity(id.Subject, claims)
}

// complete asks the provider's user info for claims that the ID token lacks.
func (p *Provider) complete(ctx context.Context, found *oidc.Provider, token *oauth2.Token, subject string, claims map[string]any) error {
	_, named := claims[p.opt.NameClaim]
	_, grouped := claims[p.opt.GroupsClaim]
	if named && grouped || found.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("%w: %w", controller.Errorf(controller.EUnavailable, "the OpenID Connect provider does not tell about the user").WithHint("try again"), err)
	}
	if info.Subject != subject {
		return controller.Errorf(controller.EUnauthorized, "the provider told about another user")
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("%w: %w", controller.Errorf(controller.EUnauthorized, "the provider's user info cannot be read"), err)
	}
	for name, value := range more {
		if _, ok := claims[name]; !ok {
			claims[name] = value
		}
	}
	return nil
}

func (p *Provider) identity(subject string, claims map[string]any) (controller.Identity, error) {
	in := controller.Identity{Issuer: p.opt.Issuer, Subject: subject}
	name, _ := claims[p.opt.NameClaim].(string)
	if p.opt.NameClaim == "email" {
		if verified, ok := claims["email_verified"].(bool); !ok || !verified {
			return in, controller.Errorf(controller.EForbidden, "the provider has not verified the e-mail address").WithHint("have it verified there, or name another claim as oidc.name_claim")
		}
	}
	in.Name = controller.UserName(name)
	if err := controller.ValidUserName(in.Name); err != nil {
		return in, controller.Errorf(controller.EForbidden, "the claim %s is %.100q, which is no user's name here: %v", p.opt.NameClaim, name, err).
			WithHint("name another claim as oidc.name_claim")
	}
	in.DisplayName, _ = claims["name"].(string)
	groups := texts(claims[p.opt.GroupsClaim])
	for _, g := range p.opt.Groups {
		if slices.Contains(groups, g.Name) {
			in.Admin, in.Permissions, in.Projects, in.AllProjects = g.Admin, g.Permissions, g.Projects, g.AllProjects
			return in, nil
		}
	}
	return in, controller.Errorf(controller.EForbidden, "%s is in none of the groups that may sign in here", in.Name).WithHint("ask whoever manages the groups of %s", p.opt.Title)
}

// texts is a claim that is a text or a list of them.
func texts(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
