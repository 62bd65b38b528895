package catalog

import (
	"context"
	"slices"
	"time"

	"devflowbackup/controller"
)

const tokenColumns = `id, name, kind, to_jsonb(permissions) AS permissions, to_jsonb(projects) AS projects, created_at, expires_at, last_used_at, rotated_at,
	CASE WHEN previous_until > now() THEN previous_until END AS previous_until, revoked_at`

// CreateToken stores the hash of a new token. It never grants more than its maker has.
func (c *Catalog) CreateToken(ctx context.Context, actor controller.Actor, spec controller.TokenSpec, hash []byte) (controller.APIToken, error) {
	var token controller.APIToken
	if err := spec.Validate(); err != nil {
		return token, err
	}
	permissions, err := grantable(actor, "a token", spec.Permissions, spec.Projects == nil)
	if err != nil {
		return token, err
	}
	if spec.Kind == "" {
		spec.Kind = controller.TokenAPI
	}
	err = c.scoped(ctx, actor.Scope, func(t *tx) error {
		projects, err := t.projectIDs(ctx, spec.Projects)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			expires := "NULL::timestamptz"
			if spec.TTL > 0 {
				expires = "now() + " + string(interval(spec.TTL))
			}
			err := t.scan(ctx, &token, `INSERT INTO api_tokens (name, kind, token_hash, permissions, projects, expires_at) VALUES (?, ?, ?, ?, ?, `+expires+`)
				RETURNING `+tokenColumns, spec.Name, spec.Kind, hash, textArray(permissions), idArray(projects))
			if err != nil {
				return err
			}
			return t.audit(ctx, actor, "token.create", nil, spec.Name, map[string]any{"id": token.ID, "kind": spec.Kind, "permissions": permissions, "projects": projects})
		})
	})
	return token, err
}

// grantable checks that the actor gives no more than it has, and returns the permissions in their order, each once.
func grantable(actor controller.Actor, what string, permissions []string, allProjects bool) ([]string, error) {
	permissions, err := controller.NormalPermissions("permissions", permissions)
	if err != nil {
		return nil, err
	}
	if p, ok := actor.CanGrant(permissions); !ok {
		return nil, controller.Errorf(controller.EForbidden, "%s cannot be granted %q, which its maker does not have", what, p)
	}
	if allProjects && !actor.Scope.All {
		return nil, controller.Errorf(controller.EForbidden, "%s for all projects can only be made by one for all projects", what).
			WithHint("name the projects of it")
	}
	return permissions, nil
}

// projectIDs resolves projects among those that the caller sees; nil stays nil, which is all.
func (t *tx) projectIDs(ctx context.Context, refs []string) ([]int64, error) {
	if refs == nil {
		return nil, nil
	}
	ids := []int64{}
	for _, ref := range refs {
		p, err := t.project(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, p.ID) {
			ids = append(ids, p.ID)
		}
	}
	return ids, nil
}

// reach is the condition that a token, or a user, reaches no further than the scope.
func reach(scope controller.Scope) string {
	if scope.All {
		return "TRUE"
	}
	return "(projects IS NOT NULL AND projects <@ " + string(idArray(append([]int64{}, scope.Projects...))) + ")"
}

// Tokens lists the tokens that reach no further than the caller, newest first.
func (c *Catalog) Tokens(ctx context.Context, actor controller.Actor, f controller.TokenFilter) ([]controller.APIToken, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.APIToken
	err := c.system(ctx, func(t *tx) error {
		out = []controller.APIToken{}
		where := tokenConditions(actor, f)
		where.number("id < ?", f.BeforeID)
		limit, offset := limits(f.Limit, f.NumberedPage)
		return t.scan(ctx, &out, "SELECT "+tokenColumns+" FROM api_tokens WHERE "+where.where()+" ORDER BY id DESC LIMIT ? OFFSET ?", append(where.args, limit, offset)...)
	})
	return out, err
}

// CountTokens counts what Tokens lists, whatever the page.
func (c *Catalog) CountTokens(ctx context.Context, actor controller.Actor, f controller.TokenFilter) (controller.Total, error) {
	var n controller.Total
	err := c.system(ctx, func(t *tx) (err error) {
		n, err = t.count(ctx, "api_tokens", tokenConditions(actor, f))
		return err
	})
	return n, err
}

func tokenConditions(actor controller.Actor, f controller.TokenFilter) conditions {
	var c conditions
	c.add(reach(actor.Scope))
	c.equal("kind", f.Kind)
	if f.Active != nil {
		c.add("(revoked_at IS NULL AND coalesce(expires_at > now(), true)) = ?", *f.Active)
	}
	return c
}

// Token returns one that reaches no further than the caller.
func (c *Catalog) Token(ctx context.Context, actor controller.Actor, id int64) (controller.APIToken, error) {
	var token controller.APIToken
	err := c.system(ctx, func(t *tx) (err error) {
		token, err = t.token(ctx, actor, id, "")
		return err
	})
	return token, err
}

// token finds one; suffix may lock it.
func (t *tx) token(ctx context.Context, actor controller.Actor, id int64, suffix string) (controller.APIToken, error) {
	var token controller.APIToken
	found, err := t.find(ctx, &token, "SELECT "+tokenColumns+" FROM api_tokens WHERE id = ? AND "+reach(actor.Scope)+suffix, id)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "token %d does not exist", id).WithHint("`devflowctl token list` shows the tokens")
	}
	return token, err
}

// RotateToken gives a token a new secret. The one before works for the grace; a still older one ends at once. Whoever gets the secret of
// a token can do what it can: the caller must have all of that.
func (c *Catalog) RotateToken(ctx context.Context, actor controller.Actor, id int64, hash []byte, grace time.Duration) (controller.APIToken, error) {
	var token controller.APIToken
	if err := controller.ValidGrace(grace); err != nil {
		return token, err
	}
	err := c.system(ctx, func(t *tx) error {
		var err error
		if token, err = t.token(ctx, actor, id, " FOR UPDATE"); err != nil {
			return err
		}
		if err := controller.Match(ctx, token.Version()); err != nil {
			return err
		}
		if token.RevokedAt != nil {
			return controller.Errorf(controller.EConflict, "token %d was revoked", id).WithHint("make another one")
		}
		if p, ok := actor.CanGrant(token.Permissions); !ok {
			return controller.Errorf(controller.EForbidden, "token %d has the permission %q, which you do not have: its secret is not yours", id, p)
		}
		// A token that has expired stays so: who wants it longer makes another.
		err = t.scan(ctx, &token, `UPDATE api_tokens SET token_hash = ?, rotated_at = now(),
			previous_hash = CASE WHEN ? THEN token_hash END, previous_until = CASE WHEN ? THEN now() + ? END WHERE id = ? RETURNING `+tokenColumns,
			hash, grace > 0, grace > 0, interval(grace), id)
		if err != nil {
			return err
		}
		return t.audit(ctx, actor, "token.rotate", nil, token.Name, map[string]any{"id": id, "grace_seconds": int64(grace.Seconds())})
	})
	return token, err
}

// RevokeToken ends a token. Revoking twice changes nothing.
func (c *Catalog) RevokeToken(ctx context.Context, actor controller.Actor, id int64) error {
	return c.system(ctx, func(t *tx) error {
		token, err := t.token(ctx, actor, id, " FOR UPDATE")
		if err != nil || token.RevokedAt != nil {
			return err
		}
		if err := controller.Match(ctx, token.Version()); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE api_tokens SET revoked_at = now(), previous_hash = NULL, previous_until = NULL WHERE id = ?", id); err != nil {
			return err
		}
		return t.audit(ctx, actor, "token.revoke", nil, token.Name, map[string]any{"id": id})
	})
}

// TokenByHash returns who a token is. An unknown, expired or revoked one is EUnauthorized.
func (c *Catalog) TokenByHash(ctx context.Context, hash []byte) (controller.Actor, error) {
	var actor controller.Actor
	err := c.system(ctx, func(t *tx) error {
		var row struct {
			ID                       int64
			Name, Kind               string
			Permissions              []string
			Projects                 []int64
			All, Expired, Dead, Mark bool
		}
		found, err := t.find(ctx, &row, `SELECT id, name, kind, to_jsonb(permissions) AS permissions, coalesce(to_jsonb(projects), '[]') AS projects, projects IS NULL AS "all",
			coalesce(expires_at <= now(), false) AS expired, revoked_at IS NOT NULL AS dead,
			coalesce(last_used_at < now() - interval '1 minute', true) AS mark FROM api_tokens
			WHERE token_hash = ? OR previous_hash = ? AND previous_until > now() LIMIT 1`, hash, hash)
		const hint = "make one with `devflowctl token create`"
		switch {
		case err != nil:
			return err
		case !found:
			return controller.Errorf(controller.EUnauthorized, "the API token is not known").WithHint(hint)
		case row.Dead:
			return controller.Errorf(controller.EUnauthorized, "the API token %q was revoked", row.Name).WithHint(hint)
		case row.Expired:
			return controller.Errorf(controller.EUnauthorized, "the API token %q has expired", row.Name).WithHint(hint)
		}
		actor = controller.Actor{TokenID: row.ID, TokenKind: row.Kind, Name: row.Name, Permissions: row.Permissions, Scope: controller.Scope{All: row.All, Projects: row.Projects}}
		if !row.Mark {
			return nil
		}
		_, err = t.exec(ctx, `UPDATE api_tokens SET last_used_at = now() WHERE id = (SELECT id FROM api_tokens WHERE id = ? FOR UPDATE SKIP LOCKED)`, row.ID)
		return err
	})
	return actor, err
}

// EnsureAdminToken stores the first token, which may do everything. Where there ever was a token it is an EConflict: this one is worth nothing.
func (c *Catalog) EnsureAdminToken(ctx context.Context, hash []byte) error {
	return c.system(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockFirst); err != nil {
			return err
		}
		n, err := t.exec(ctx, "INSERT INTO api_tokens (name, token_hash, permissions) SELECT 'admin', ?, ? WHERE NOT EXISTS (SELECT FROM api_tokens WHERE token_hash <> ?) ON CONFLICT DO NOTHING",
			hash, textArray(controller.Permissions), hash)
		if err != nil {
			return err
		}
		if n == 0 {
			var mine bool
			if err := t.scan(ctx, &mine, "SELECT EXISTS (SELECT FROM api_tokens WHERE token_hash = ?)", hash); err != nil || mine {
				return err
			}
			return controller.Errorf(controller.EConflict, "the installation has a token already").WithHint("use that one to make another")
		}
		return t.audit(ctx, controller.Actor{Name: "controller"}, "token.create", nil, "admin", nil)
	})
}

// ActingProjects are the projects of the scope that a panel names by slug or external id. Those that are not there, or not in the scope,
// are left out: a panel has projects that are not backed up.
func (c *Catalog) ActingProjects(ctx context.Context, scope controller.Scope, refs []string) (controller.Scope, error) {
	named := controller.Scope{Projects: []int64{}}
	if len(refs) == 0 {
		return named, nil
	}
	err := c.scoped(ctx, scope, func(t *tx) error {
		named.Projects = []int64{}
		return t.scan(ctx, &named.Projects, "SELECT p.id FROM projects p WHERE p.deleted_at IS NULL AND ? AND (p.slug = ANY (?) OR p.external_id = ANY (?)) ORDER BY p.id",
			t.sees("p.id"), textArray(refs), textArray(refs))
	})
	return named, err
}
