package catalog

import (
	"context"
	"slices"

	"devflowbackup/controller"
)

const tokenColumns = `id, name, to_jsonb(permissions) AS permissions, to_jsonb(projects) AS projects, created_at, expires_at, last_used_at, revoked_at`

// CreateToken stores the hash of a new token. It never grants more than its maker has.
func (c *Catalog) CreateToken(ctx context.Context, actor controller.Actor, spec controller.TokenSpec, hash []byte) (controller.APIToken, error) {
	var token controller.APIToken
	if err := spec.Validate(); err != nil {
		return token, err
	}
	for _, p := range spec.Permissions {
		if !actor.Can(p) {
			return token, controller.Errorf(controller.EForbidden, "a token cannot grant %q, which its maker does not have", p)
		}
	}
	if spec.Projects == nil && !actor.Scope.All {
		return token, controller.Errorf(controller.EForbidden, "a token for all projects can only be made by one for all projects").
			WithHint("name the projects of the new token")
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		var projects []int64
		if spec.Projects != nil {
			projects = []int64{}
		}
		for _, ref := range spec.Projects {
			p, err := t.project(ctx, ref)
			if err != nil {
				return err
			}
			if !slices.Contains(projects, p.ID) {
				projects = append(projects, p.ID)
			}
		}
		return t.elevated(ctx, func() error {
			expires := "NULL::timestamptz"
			if spec.TTL > 0 {
				expires = "now() + " + string(interval(spec.TTL))
			}
			err := t.scan(ctx, &token, `INSERT INTO api_tokens (name, token_hash, permissions, projects, expires_at) VALUES (?, ?, ?, ?, `+expires+`)
				RETURNING `+tokenColumns, spec.Name, hash, textArray(spec.Permissions), idArray(projects))
			if err != nil {
				return err
			}
			return t.audit(ctx, actor, "token.create", nil, spec.Name, map[string]any{"id": token.ID, "permissions": spec.Permissions, "projects": projects})
		})
	})
	return token, err
}

// reach is the condition that a token reaches no further than the scope.
func reach(scope controller.Scope) string {
	if scope.All {
		return "TRUE"
	}
	return "(projects IS NOT NULL AND projects <@ " + string(idArray(append([]int64{}, scope.Projects...))) + ")"
}

// Tokens lists the tokens that reach no further than the caller.
func (c *Catalog) Tokens(ctx context.Context, actor controller.Actor) ([]controller.APIToken, error) {
	var out []controller.APIToken
	err := c.system(ctx, func(t *tx) error {
		out = []controller.APIToken{}
		return t.scan(ctx, &out, "SELECT "+tokenColumns+" FROM api_tokens WHERE "+reach(actor.Scope)+" ORDER BY id DESC")
	})
	return out, err
}

// RevokeToken ends a token. Revoking twice changes nothing.
func (c *Catalog) RevokeToken(ctx context.Context, actor controller.Actor, id int64) error {
	return c.system(ctx, func(t *tx) error {
		var token struct {
			Name    string
			Revoked bool
		}
		found, err := t.find(ctx, &token, "SELECT name, revoked_at IS NOT NULL AS revoked FROM api_tokens WHERE id = ? AND "+reach(actor.Scope)+" FOR UPDATE", id)
		if err != nil || token.Revoked {
			return err
		}
		if !found {
			return controller.Errorf(controller.ENotFound, "token %d does not exist", id)
		}
		if _, err := t.exec(ctx, "UPDATE api_tokens SET revoked_at = now() WHERE id = ?", id); err != nil {
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
			Name                     string
			Permissions              []string
			Projects                 []int64
			All, Expired, Dead, Mark bool
		}
		found, err := t.find(ctx, &row, `SELECT id, name, to_jsonb(permissions) AS permissions, coalesce(to_jsonb(projects), '[]') AS projects, projects IS NULL AS "all",
			coalesce(expires_at <= now(), false) AS expired, revoked_at IS NOT NULL AS dead,
			coalesce(last_used_at < now() - interval '1 minute', true) AS mark FROM api_tokens WHERE token_hash = ?`, hash)
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
		actor = controller.Actor{TokenID: row.ID, Name: row.Name, Permissions: row.Permissions, Scope: controller.Scope{All: row.All, Projects: row.Projects}}
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
