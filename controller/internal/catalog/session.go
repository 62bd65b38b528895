package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"devflowbackup/controller"
)

// Lock-out: after so many failures in a row a name, or an address, waits; each more doubles the wait. An attempt is counted before its
// password is looked at, so that many at once are no way around it.
const (
	nameFailures    = 5
	addressFailures = 20
	lockBase        = 30 * time.Second
	lockMax         = 15 * time.Minute
	failuresKept    = 24 * time.Hour // after the last one
	maxSessions     = 50             // open ones of a user; the oldest gives way
)

func nameKey(name string) []byte {
	sum := sha256.Sum256([]byte("name\x00" + name))
	return sum[:]
}

// addressKey is of an address, or of the network that one host has with IPv6.
func addressKey(remote string) []byte {
	if ip, err := netip.ParseAddr(remote); err == nil {
		ip = ip.Unmap().WithZone("")
		if ip.Is6() {
			if p, err := ip.Prefix(64); err == nil {
				ip = p.Addr()
			}
		}
		remote = ip.String()
	}
	sum := sha256.Sum256([]byte("address\x00" + remote))
	return sum[:]
}

// BeginSignIn counts an attempt of the name from the address and returns what it is held against. EndSignIn takes it back.
func (c *Catalog) BeginSignIn(ctx context.Context, name, remote string) (controller.SignInCheck, error) {
	var check controller.SignInCheck
	err := c.system(ctx, func(t *tx) error {
		check = controller.SignInCheck{}
		keys := []struct {
			key   []byte
			limit int
		}{{nameKey(name), nameFailures}, {addressKey(remote), addressFailures}}
		for _, k := range keys {
			if _, err := t.exec(ctx, "INSERT INTO sign_in_failures (key) VALUES (?) ON CONFLICT DO NOTHING", k.key); err != nil {
				return err
			}
			var wait float64
			if err := t.scan(ctx, &wait, "SELECT coalesce(extract(epoch FROM locked_until - now()), 0)::float8 FROM sign_in_failures WHERE key = ? FOR UPDATE", k.key); err != nil {
				return err
			}
			check.Wait = max(check.Wait, time.Duration(wait*float64(time.Second)))
		}
		if check.Wait > 0 {
			return nil
		}
		for i, k := range keys {
			var count int
			if err := t.scan(ctx, &count, `UPDATE sign_in_failures SET last_at = now(), count = 1 + CASE WHEN last_at > now() - ? THEN count ELSE 0 END WHERE key = ? RETURNING count`,
				interval(failuresKept), k.key); err != nil {
				return err
			}
			if count < k.limit {
				continue
			}
			wait := min(lockBase<<min(count-k.limit, 10), lockMax)
			if _, err := t.exec(ctx, "UPDATE sign_in_failures SET locked_until = now() + ? WHERE key = ?", interval(wait), k.key); err != nil {
				return err
			}
			if err := t.lockedOut(ctx, i == 0, name, remote); err != nil {
				return err
			}
		}
		var row struct {
			ID       int64
			Password string
		}
		found, err := t.find(ctx, &row, "SELECT id, password FROM users WHERE name = ? AND password <> '' AND disabled_at IS NULL AND deleted_at IS NULL", name)
		if found {
			check.UserID, check.Password = row.ID, row.Password
		}
		return err
	})
	return check, err
}

// lockedOut records it. A name is written only if it is a user's.
func (t *tx) lockedOut(ctx context.Context, ofName bool, name, remote string) error {
	what := "address " + remote
	if ofName {
		what = "a name that no user has"
		var known bool
		if err := t.scan(ctx, &known, "SELECT EXISTS (SELECT FROM users WHERE name = ? AND deleted_at IS NULL)", name); err != nil {
			return err
		}
		if known {
			what = "user " + name
		}
		what += ", tried from " + remote
	}
	return t.event(ctx, "", controller.EventSignIn, "locked out after failed sign-ins: "+what, 1)
}

// forgive ends the count of a name.
func (t *tx) forgive(ctx context.Context, name string) error {
	_, err := t.exec(ctx, "DELETE FROM sign_in_failures WHERE key = ?", nameKey(name))
	return err
}

// EndSignIn makes the session of a user whose password, known as this PHC string, was right; rehash is put in its place unless empty.
// A user who was disabled, or got another password, meanwhile is EUnauthorized. The address keeps its failures but this one.
func (c *Catalog) EndSignIn(ctx context.Context, user int64, password, rehash string, s controller.NewSession) (controller.Session, error) {
	var session controller.Session
	err := c.system(ctx, func(t *tx) error {
		var name string
		found, err := t.find(ctx, &name, "SELECT name FROM users WHERE id = ? AND password = ? AND password <> '' AND disabled_at IS NULL AND deleted_at IS NULL FOR UPDATE", user, password)
		if err != nil {
			return err
		}
		if !found {
			return controller.Errorf(controller.EUnauthorized, "the name or the password is wrong")
		}
		if err := t.forgive(ctx, name); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE sign_in_failures SET count = greatest(count - 1, 0), locked_until = NULL WHERE key = ?", addressKey(s.Remote)); err != nil {
			return err
		}
		if rehash != "" {
			if _, err := t.exec(ctx, "UPDATE users SET password = ? WHERE id = ?", rehash, user); err != nil {
				return err
			}
		}
		session, err = t.signIn(ctx, user, name, s)
		return err
	})
	return session, err
}

// SignInIdentity makes a session of a person whom a provider vouches for: a user with that issuer and subject, who is made at the first
// time. What the user may do is what the groups are granted now.
func (c *Catalog) SignInIdentity(ctx context.Context, in controller.Identity, s controller.NewSession) (controller.Session, error) {
	var session controller.Session
	err := c.system(ctx, func(t *tx) error {
		projects, err := t.identityProjects(ctx, in)
		if err != nil {
			return err
		}
		permissions, err := controller.NormalPermissions("permissions", in.Permissions)
		if err != nil {
			return err
		}
		var u struct {
			controller.User
			Disabled bool
		}
		found, err := t.find(ctx, &u, "SELECT "+userColumns+", u.disabled_at IS NOT NULL AS disabled FROM users u WHERE u.issuer = ? AND u.subject = ? AND u.deleted_at IS NULL FOR UPDATE", in.Issuer, in.Subject)
		if err != nil {
			return err
		}
		act := controller.Actor{Name: controller.UserPrefix + in.Name, Remote: s.Remote}
		switch {
		case !found:
			if err := controller.ValidUserName(in.Name); err != nil {
				return err
			}
			if err := t.freeName(ctx, in.Name); err != nil {
				return err
			}
			err := t.scan(ctx, &u.ID, `INSERT INTO users (name, display_name, issuer, subject, admin, permissions, projects) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
				in.Name, cut(in.DisplayName, 200), in.Issuer, in.Subject, in.Admin, textArray(permissions), idArray(projects))
			if err != nil {
				return err
			}
			u.Name = in.Name
			if err := t.audit(ctx, act, "user.create", nil, u.Name, map[string]any{"id": u.ID, "issuer": in.Issuer, "admin": in.Admin, "permissions": permissions, "projects": projects}); err != nil {
				return err
			}
		case u.Disabled:
			return controller.Errorf(controller.EForbidden, "user %s is disabled", u.Name).WithHint("ask whoever manages the users")
		default:
			act.Name = controller.UserPrefix + u.Name
			if u.Admin == in.Admin && slices.Equal(u.Permissions, permissions) && sameProjects(u.Projects, projects) {
				break
			}
			if _, err := t.exec(ctx, "UPDATE users SET admin = ?, permissions = ?, projects = ? WHERE id = ?", in.Admin, textArray(permissions), idArray(projects), u.ID); err != nil {
				return err
			}
			if err := t.audit(ctx, act, "user.update", nil, u.Name, map[string]any{"id": u.ID, "issuer": in.Issuer, "admin": in.Admin, "permissions": permissions, "projects": projects}); err != nil {
				return err
			}
		}
		session, err = t.signIn(ctx, u.ID, u.Name, s)
		return err
	})
	return session, err
}

const sessionColumns = `s.id, s.method, s.remote, s.agent, s.created_at, s.seen_at, s.expires_at`

func (t *tx) signIn(ctx context.Context, user int64, name string, s controller.NewSession) (controller.Session, error) {
	var session controller.Session
	err := t.scan(ctx, &session, `INSERT INTO user_sessions AS s (user_id, token_hash, method, remote, agent, expires_at) VALUES (?, ?, ?, ?, ?, now() + ?) RETURNING `+sessionColumns,
		user, s.Hash, s.Method, cut(s.Remote, 100), cut(s.Agent, 200), interval(s.Age))
	if err != nil {
		return session, err
	}
	if _, err := t.exec(ctx, `UPDATE user_sessions SET ended_at = now() WHERE ended_at IS NULL AND id IN
		(SELECT id FROM user_sessions WHERE user_id = ? AND ended_at IS NULL ORDER BY id DESC OFFSET ?)`, user, maxSessions); err != nil {
		return session, err
	}
	if _, err := t.exec(ctx, "UPDATE users SET last_sign_in_at = now() WHERE id = ?", user); err != nil {
		return session, err
	}
	act := controller.Actor{Name: controller.UserPrefix + name, Remote: s.Remote}
	return session, t.audit(ctx, act, "session.create", nil, name, map[string]any{"id": session.ID, "method": s.Method})
}

// SessionByHash returns who a session is of, with what the user may do now. One that is unknown, ended, too old or was not used for idle
// is EUnauthorized.
func (c *Catalog) SessionByHash(ctx context.Context, hash []byte, idle time.Duration) (controller.Actor, error) {
	var actor controller.Actor
	err := c.system(ctx, func(t *tx) error {
		var row struct {
			ID, UserID  int64
			Name        string
			Permissions []string
			Projects    []int64
			TokenHash   []byte

			Admin, All, Ended, Idle, Mark bool
		}
		found, err := t.find(ctx, &row, `SELECT s.id, s.user_id, s.token_hash, u.name, u.admin, to_jsonb(u.permissions) AS permissions, coalesce(to_jsonb(u.projects), '[]') AS projects,
			u.projects IS NULL AS "all", s.ended_at IS NOT NULL OR s.expires_at <= now() OR u.disabled_at IS NOT NULL OR u.deleted_at IS NOT NULL AS ended,
			s.seen_at <= now() - ? AS idle, s.seen_at < now() - interval '1 minute' AS mark
			FROM user_sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = ?`, interval(idle), hash)
		const hint = "sign in again"
		switch {
		case err != nil:
			return err
		case !found || !bytes.Equal(row.TokenHash, hash):
			return controller.Errorf(controller.EUnauthorized, "the session is not known").WithHint(hint)
		case row.Ended:
			return controller.Errorf(controller.EUnauthorized, "the session has ended").WithHint(hint)
		case row.Idle:
			return controller.Errorf(controller.EUnauthorized, "the session was not used for %s and has ended", idle).WithHint(hint)
		}
		actor = controller.Actor{
			UserID: row.UserID, SessionID: row.ID, Name: controller.UserPrefix + row.Name, Permissions: row.Permissions,
			Scope: controller.Scope{All: row.All, Projects: row.Projects},
		}
		if row.Admin {
			actor.Permissions = slices.Clone(controller.Permissions)
		}
		if !row.Mark || controller.IsUnattended(ctx) {
			return nil
		}
		_, err = t.exec(ctx, "UPDATE user_sessions SET seen_at = now() WHERE id = (SELECT id FROM user_sessions WHERE id = ? FOR UPDATE SKIP LOCKED)", row.ID)
		return err
	})
	return actor, err
}

// Sessions lists the open sessions of whoever asks, newest first.
func (c *Catalog) Sessions(ctx context.Context, actor controller.Actor, idle time.Duration) ([]controller.Session, error) {
	var out []controller.Session
	err := c.system(ctx, func(t *tx) error {
		out = []controller.Session{}
		return t.scan(ctx, &out, "SELECT "+sessionColumns+", s.id = ? AS current FROM user_sessions s WHERE s.user_id = ? AND s.ended_at IS NULL AND s.expires_at > now() AND s.seen_at > now() - ? ORDER BY s.id DESC LIMIT ?",
			actor.SessionID, actor.UserID, interval(idle), maxSessions)
	})
	return out, err
}

// EndSession ends one of the caller's own sessions. Ending it twice changes nothing.
func (c *Catalog) EndSession(ctx context.Context, actor controller.Actor, id int64) error {
	return c.system(ctx, func(t *tx) error {
		var ended bool
		found, err := t.find(ctx, &ended, "SELECT ended_at IS NOT NULL FROM user_sessions WHERE id = ? AND user_id = ? FOR UPDATE", id, actor.UserID)
		if err == nil && !found {
			err = controller.Errorf(controller.ENotFound, "session %d does not exist", id)
		}
		if err != nil || ended {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE user_sessions SET ended_at = now() WHERE id = ?", id); err != nil {
			return err
		}
		return t.audit(ctx, actor, "session.end", nil, strconv.FormatInt(id, 10), map[string]any{"id": id})
	})
}

// endSessions ends those of a user, but one.
func (t *tx) endSessions(ctx context.Context, user, keep int64) error {
	_, err := t.exec(ctx, "UPDATE user_sessions SET ended_at = now() WHERE user_id = ? AND ended_at IS NULL AND id <> ?", user, keep)
	return err
}

// EndUserSessions signs a user out everywhere.
func (c *Catalog) EndUserSessions(ctx context.Context, actor controller.Actor, ref string) error {
	return c.system(ctx, func(t *tx) error {
		u, err := t.user(ctx, actor, ref, "FOR UPDATE")
		if err != nil {
			return err
		}
		if err := t.endSessions(ctx, u.ID, 0); err != nil {
			return err
		}
		return t.audit(ctx, actor, "user.sign-out", nil, u.Name, map[string]any{"id": u.ID})
	})
}

// forgetPeople forgets sessions and failures that are over.
func (t *tx) forgetPeople(ctx context.Context) error {
	if _, err := t.exec(ctx, "DELETE FROM user_sessions WHERE least(expires_at, ended_at) < now() - interval '1 day'"); err != nil {
		return err
	}
	_, err := t.exec(ctx, "DELETE FROM sign_in_failures WHERE last_at < now() - ?", interval(failuresKept))
	return err
}
