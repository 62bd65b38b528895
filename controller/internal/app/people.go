package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/oidc"
	"devflowbackup/controller/internal/password"
	"devflowbackup/shared/secret"
)

// signIn is how people sign in by the configuration.
func (a *App) signIn() (api.SignIn, error) {
	s := api.SignIn{Passwords: password.New(password.Params{}), Idle: a.cfg.Timing.SessionIdle, Age: a.cfg.Timing.SessionAge}
	o := a.cfg.OIDC
	if !o.Given() {
		return s, nil
	}
	opt := oidc.Options{
		Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes, NameClaim: o.NameClaim, GroupsClaim: o.GroupsClaim,
		Title: o.Title, CAFile: o.CAFile, RedirectURL: strings.TrimRight(a.url, "/") + api.Prefix + "/session/oidc/callback",
	}
	for _, text := range o.Groups {
		g, err := controller.ParseGroup(text)
		if err != nil {
			return s, fmt.Errorf("oidc.groups: %w", err)
		}
		opt.Groups = append(opt.Groups, g)
	}
	p, err := oidc.New(opt)
	if err != nil {
		return s, fmt.Errorf("oidc: %w", err)
	}
	s.Provider = p
	return s, nil
}

// People are the users of the installation, for whoever works on the controller's host: they may do everything there anyhow.
type People struct {
	cat   *catalog.Catalog
	actor controller.Actor
	hash  *password.Hasher
}

// WithPeople runs f on the catalog of the configuration. With an embedded catalog the controller must not run meanwhile.
func WithPeople(ctx context.Context, cfg config.Config, log hclog.Logger, f func(*People) error) error {
	return withCatalog(ctx, cfg, "user", log, func(cat *catalog.Catalog) error {
		found, err := cat.Installation(ctx)
		if err != nil {
			return err
		}
		if found == nil {
			return errors.New("this catalog holds no installation yet: `devflow-controller serve` makes one")
		}
		return f(&People{cat: cat, hash: password.New(password.Params{}), actor: controller.Actor{
			Name: "devflow-controller", Permissions: controller.Permissions, Scope: controller.Scope{All: true},
		}})
	})
}

// Add makes a user with a password.
func (p *People) Add(ctx context.Context, spec controller.UserSpec, given secret.String) (controller.User, error) {
	spec.Name = controller.UserName(spec.Name)
	if err := spec.Validate(); err != nil {
		return controller.User{}, err
	}
	phc, err := p.phc(ctx, spec.Name, given)
	if err != nil {
		return controller.User{}, err
	}
	return p.cat.CreateUser(ctx, p.actor, spec, phc)
}

func (p *People) phc(ctx context.Context, name string, given secret.String) (string, error) {
	if err := controller.ValidPassword("password", name, given.Reveal()); err != nil {
		return "", err
	}
	return p.hash.Hash(ctx, given.Reveal())
}

// SetPassword gives a user another password, signs the user out everywhere, and ends a lock-out.
func (p *People) SetPassword(ctx context.Context, name string, given secret.String) (controller.User, error) {
	u, err := p.cat.User(ctx, p.actor, name)
	if err != nil {
		return u, err
	}
	phc, err := p.phc(ctx, u.Name, given)
	if err != nil {
		return u, err
	}
	return p.cat.SetPassword(ctx, p.actor, u.Name, phc)
}

// Disable signs a user out and in no more, or lets one in again.
func (p *People) Disable(ctx context.Context, name string, disabled bool) (controller.User, error) {
	return p.cat.UpdateUser(ctx, p.actor, name, controller.UserChange{Disabled: &disabled})
}

// List calls f for each user, by name.
func (p *People) List(ctx context.Context, f func(controller.User)) error {
	for after := ""; ; {
		users, err := p.cat.Users(ctx, p.actor, controller.UserFilter{After: after, Limit: 200})
		if err != nil || len(users) == 0 {
			return err
		}
		for _, u := range users {
			f(u)
			after = u.Name
		}
	}
}
