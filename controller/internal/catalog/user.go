package catalog

import (
	"context"
	"slices"
	"strings"

	"devflowbackup/controller"
)

const userColumns = `u.id, u.name, u.display_name, u.admin, to_jsonb(u.permissions) AS permissions, to_jsonb(u.projects) AS projects, u.issuer,
	u.password <> '' AS has_password, u.created_at, u.password_at, u.last_sign_in_at, u.disabled_at,
	(SELECT count(*) FROM user_sessions s WHERE s.user_id = u.id AND s.ended_at IS NULL AND s.expires_at > now()) AS sessions`

// user returns one by name or id, if it reaches no further than the caller.
func (t *tx) user(ctx context.Context, actor controller.Actor, ref, how string) (controller.User, error) {
	var u controller.User
	found, err := t.find(ctx, &u, "SELECT "+userColumns+" FROM users u WHERE u.deleted_at IS NULL AND "+reach(actor.Scope)+" AND (u.name = ? OR u.id::text = ?) "+how,
		controller.UserName(ref), ref)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "user %.100q does not exist", ref).WithHint("`devflowctl user list` shows the users")
	}
	return u, err
}

// mayChange refuses to change a user who may do more than the caller: who sets a password can sign in with it.
func mayChange(actor controller.Actor, u controller.User) error {
	if p, ok := actor.CanGrant(u.Granted()); !ok {
		return controller.Errorf(controller.EForbidden, "user %s has the permission %q, which you do not have", u.Name, p).
			WithHint("ask someone who has it, or use devflow-controller user on the controller's host")
	}
	return nil
}

// CreateUser makes a user with a password as PHC string; without one the user cannot sign in before one is set. Nobody grants more than
// they have.
func (c *Catalog) CreateUser(ctx context.Context, actor controller.Actor, spec controller.UserSpec, password string) (controller.User, error) {
	var u controller.User
	spec.Name = controller.UserName(spec.Name)
	if err := spec.Validate(); err != nil {
		return u, err
	}
	permissions, err := userPermissions(actor, spec.Admin, spec.Permissions, spec.Projects == nil)
	if err != nil {
		return u, err
	}
	err = c.scoped(ctx, actor.Scope, func(t *tx) error {
		projects, err := t.projectIDs(ctx, spec.Projects)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			var id int64
			found, err := t.find(ctx, &id, `INSERT INTO users (name, display_name, admin, permissions, projects, password, password_at)
				VALUES (?, ?, ?, ?, ?, ?, CASE WHEN ? <> '' THEN now() END) ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING RETURNING id`,
				spec.Name, spec.DisplayName, spec.Admin, textArray(permissions), idArray(projects), password, password)
			if err != nil {
				return err
			}
			if !found {
				return controller.Errorf(controller.EConflict, "there is a user %s already", spec.Name).WithHint("choose another name")
			}
			if err := t.scan(ctx, &u, "SELECT "+userColumns+" FROM users u WHERE id = ?", id); err != nil {
				return err
			}
			return t.audit(ctx, actor, "user.create", nil, u.Name, userDetail(u))
		})
	})
	return u, err
}

// userPermissions are those that the actor may give to a user.
func userPermissions(actor controller.Actor, admin bool, permissions []string, allProjects bool) ([]string, error) {
	if admin {
		if _, err := grantable(actor, "an admin", controller.Permissions, allProjects); err != nil {
			return nil, err
		}
	}
	return grantable(actor, "a user", permissions, allProjects)
}

func userDetail(u controller.User) map[string]any {
	return map[string]any{"id": u.ID, "admin": u.Admin, "permissions": u.Permissions, "projects": u.Projects, "disabled": u.DisabledAt != nil}
}

// Users lists the users who reach no further than the caller, by name.
func (c *Catalog) Users(ctx context.Context, actor controller.Actor, f controller.UserFilter) ([]controller.User, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.User
	err := c.system(ctx, func(t *tx) error {
		out = []controller.User{}
		where := userConditions(actor, f)
		if f.After != "" {
			where.add("u.name > ?", f.After)
		}
		limit, offset := limits(f.Limit, f.NumberedPage)
		return t.scan(ctx, &out, "SELECT "+userColumns+" FROM users u WHERE "+where.where()+" ORDER BY u.name LIMIT ? OFFSET ?", append(where.args, limit, offset)...)
	})
	return out, err
}

// CountUsers counts what Users lists, whatever the page.
func (c *Catalog) CountUsers(ctx context.Context, actor controller.Actor, f controller.UserFilter) (controller.Total, error) {
	var n controller.Total
	err := c.system(ctx, func(t *tx) (err error) {
		n, err = t.count(ctx, "users u", userConditions(actor, f))
		return err
	})
	return n, err
}

func userConditions(actor controller.Actor, f controller.UserFilter) conditions {
	var c conditions
	c.add("u.deleted_at IS NULL AND " + reach(actor.Scope))
	c.contains(f.Search, "u.name", "u.display_name")
	if f.Disabled != nil {
		c.add("(u.disabled_at IS NOT NULL) = ?", *f.Disabled)
	}
	return c
}

// User returns one by name or id.
func (c *Catalog) User(ctx context.Context, actor controller.Actor, ref string) (controller.User, error) {
	var u controller.User
	err := c.system(ctx, func(t *tx) (err error) {
		u, err = t.user(ctx, actor, ref, "")
		return err
	})
	return u, err
}

// UpdateUser changes what is given. It is in force at the user's next request; one who is disabled is signed out. Nobody disables
// themselves, nor changes what they may do themselves.
func (c *Catalog) UpdateUser(ctx context.Context, actor controller.Actor, ref string, change controller.UserChange) (controller.User, error) {
	var u controller.User
	if err := change.Validate(); err != nil {
		return u, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		projects, err := t.projectIDs(ctx, change.Projects)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			old, err := t.user(ctx, actor, ref, "FOR UPDATE")
			if err != nil {
				return err
			}
			if err := mayChange(actor, old); err != nil {
				return err
			}
			if err := controller.Match(ctx, old.Version()); err != nil {
				return err
			}
			if actor.UserID == old.ID && (change.Disabled != nil || change.Admin != nil || change.Permissions != nil || change.Projects != nil || change.AllProjects) {
				return controller.Errorf(controller.EConflict, "nobody changes what they may do themselves").WithHint("ask someone else who may, or use devflow-controller user on the controller's host")
			}
			next := old
			if change.DisplayName != nil {
				next.DisplayName = *change.DisplayName
			}
			if change.Admin != nil {
				next.Admin = *change.Admin
			}
			if change.Permissions != nil {
				next.Permissions = change.Permissions
			}
			switch {
			case change.AllProjects:
				next.Projects = nil
			case change.Projects != nil:
				next.Projects = projects
			}
			if next.Permissions, err = userPermissions(actor, next.Admin, next.Permissions, next.Projects == nil); err != nil {
				return err
			}
			if !next.Admin && len(next.Permissions) == 0 {
				return controller.Invalid("permissions", "would be empty; allowed are %s, or admin, which is all", strings.Join(controller.Permissions, ", "))
			}
			disabled := old.DisabledAt != nil
			if change.Disabled != nil {
				disabled = *change.Disabled
			}
			if _, err := t.exec(ctx, `UPDATE users SET display_name = ?, admin = ?, permissions = ?, projects = ?, disabled_at = CASE WHEN ? THEN coalesce(disabled_at, now()) END WHERE id = ?`,
				next.DisplayName, next.Admin, textArray(next.Permissions), idArray(next.Projects), disabled, old.ID); err != nil {
				return err
			}
			if disabled {
				if err := t.endSessions(ctx, old.ID, 0); err != nil {
					return err
				}
			}
			if u, err = t.user(ctx, controller.Actor{Scope: controller.Scope{All: true}}, old.Name, ""); err != nil {
				return err
			}
			return t.audit(ctx, actor, "user.update", nil, u.Name, userDetail(u))
		})
	})
	return u, err
}

// DeleteUser signs a user out for good. The audit log keeps the name; it can be given again.
func (c *Catalog) DeleteUser(ctx context.Context, actor controller.Actor, ref string) error {
	return c.system(ctx, func(t *tx) error {
		u, err := t.user(ctx, actor, ref, "FOR UPDATE")
		if err != nil {
			return err
		}
		if err := mayChange(actor, u); err != nil {
			return err
		}
		if err := controller.Match(ctx, u.Version()); err != nil {
			return err
		}
		if actor.UserID == u.ID {
			return controller.Errorf(controller.EConflict, "nobody deletes themselves").WithHint("ask someone else who may")
		}
		if _, err := t.exec(ctx, "UPDATE users SET deleted_at = now(), password = '' WHERE id = ?", u.ID); err != nil {
			return err
		}
		if err := t.endSessions(ctx, u.ID, 0); err != nil {
			return err
		}
		return t.audit(ctx, actor, "user.delete", nil, u.Name, map[string]any{"id": u.ID})
	})
}

// SetPassword gives a user another password, as PHC string, signs the user out everywhere and ends a lock-out of the name.
func (c *Catalog) SetPassword(ctx context.Context, actor controller.Actor, ref, password string) (controller.User, error) {
	var u controller.User
	err := c.system(ctx, func(t *tx) (err error) {
		if u, err = t.user(ctx, actor, ref, "FOR UPDATE"); err != nil {
			return err
		}
		if err := mayChange(actor, u); err != nil {
			return err
		}
		if err := controller.Match(ctx, u.Version()); err != nil {
			return err
		}
		if u.Issuer != "" {
			return controller.Errorf(controller.EConflict, "user %s signs in by %s, and has no password here", u.Name, u.Issuer)
		}
		if actor.UserID == u.ID {
			return controller.Errorf(controller.EConflict, "to change your own password you have to give the present one").WithHint("use PUT /session/password")
		}
		if err := t.setPassword(ctx, u.ID, password, 0); err != nil {
			return err
		}
		if err := t.forgive(ctx, u.Name); err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "user.password", nil, u.Name, map[string]any{"id": u.ID}); err != nil {
			return err
		}
		u, err = t.user(ctx, actor, u.Name, "")
		return err
	})
	return u, err
}

// setPassword ends every session but one.
func (t *tx) setPassword(ctx context.Context, user int64, password string, keep int64) error {
	if _, err := t.exec(ctx, "UPDATE users SET password = ?, password_at = now() WHERE id = ?", password, user); err != nil {
		return err
	}
	return t.endSessions(ctx, user, keep)
}

// OwnPassword is the password of whoever asks, as PHC string.
func (c *Catalog) OwnPassword(ctx context.Context, actor controller.Actor) (name, password string, err error) {
	err = c.system(ctx, func(t *tx) error {
		var row struct{ Name, Password string }
		found, err := t.find(ctx, &row, "SELECT name, password FROM users WHERE id = ? AND deleted_at IS NULL AND disabled_at IS NULL", actor.UserID)
		if err == nil && (!found || row.Password == "") {
			err = controller.Errorf(controller.EConflict, "there is no password of yours here to change").WithHint("a token has none, and who signs in by a provider has it there")
		}
		name, password = row.Name, row.Password
		return err
	})
	return name, password, err
}

// ChangePassword puts a new one in the place of the old one, both PHC strings, and signs the user out everywhere else. If the old one is
// not there any more it is EConflict.
func (c *Catalog) ChangePassword(ctx context.Context, actor controller.Actor, old, password string) error {
	return c.system(ctx, func(t *tx) error {
		var name string
		found, err := t.find(ctx, &name, "SELECT name FROM users WHERE id = ? AND password = ? AND deleted_at IS NULL AND disabled_at IS NULL FOR UPDATE", actor.UserID, old)
		if err == nil && !found {
			err = controller.Errorf(controller.EConflict, "the password was just changed by another request").WithHint("sign in again")
		}
		if err != nil {
			return err
		}
		if err := t.setPassword(ctx, actor.UserID, password, actor.SessionID); err != nil {
			return err
		}
		if err := t.forgive(ctx, name); err != nil {
			return err
		}
		return t.audit(ctx, actor, "user.password", nil, name, map[string]any{"id": actor.UserID, "own": true})
	})
}

// identityProjects resolves what a provider's groups are granted; what does not exist is left out.
func (t *tx) identityProjects(ctx context.Context, in controller.Identity) ([]int64, error) {
	if in.AllProjects {
		return nil, nil
	}
	ids := []int64{}
	if len(in.Projects) == 0 {
		return ids, nil
	}
	err := t.scan(ctx, &ids, "SELECT id FROM projects WHERE deleted_at IS NULL AND (slug = ANY (?) OR external_id = ANY (?)) ORDER BY id", textArray(in.Projects), textArray(in.Projects))
	return ids, err
}

// freeName is the name, or, where another user has it, EConflict: a name at a provider proves nothing about a user here.
func (t *tx) freeName(ctx context.Context, name string) error {
	var taken bool
	if err := t.scan(ctx, &taken, "SELECT EXISTS (SELECT FROM users WHERE name = ? AND deleted_at IS NULL)", name); err != nil {
		return err
	}
	if taken {
		return controller.Errorf(controller.EForbidden, "there is another user %s here, who does not sign in by this provider", name).
			WithHint("have that user deleted, if it is the same person")
	}
	return nil
}

func sameProjects(a, b []int64) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }
