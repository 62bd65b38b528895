package catalog

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

// serverColumns of servers s. Instances and grants come as JSON.
func (c *Catalog) serverColumns() string {
	return `s.id, s.agent_id, s.name, s.nkey AS n_key, s.signing_key, s.recipient, s.verifier, s.session, s.agent_version, s.concurrency,
	s.host, s.last_seen_at, s.enrolled_at, s.revoked_at, ` + c.online() + ` AS online,
	(SELECT coalesce(jsonb_agg(g.project_id ORDER BY g.project_id), '[]') FROM project_servers g WHERE g.server_id = s.id) AS projects,
	(SELECT coalesce(jsonb_agg(jsonb_build_object('name', i.name, 'engine', i.engine, 'version', i.version, 'error', i.error, 'restore', i.restore, 'in_place', i.in_place)
		ORDER BY i.name), '[]') FROM instances i WHERE i.server_id = s.id) AS instances`
}

// online is the condition that the agent of servers s was heard lately.
func (c *Catalog) online() string {
	return `(s.revoked_at IS NULL AND s.session <> '' AND s.last_seen_at IS NOT NULL AND s.last_seen_at > now() - ` + string(interval(c.opts.OfflineAfter)) + `)`
}

// granted is the condition that servers s is granted to a project of the scope.
func (t *tx) granted() string {
	if t.sys || t.scope.All {
		return "TRUE"
	}
	return "EXISTS (SELECT FROM project_servers g WHERE g.server_id = s.id AND " + string(t.sees("g.project_id")) + ")"
}

// server finds a server by name, id or agent id; a live one comes before revoked ones of the same name.
func (t *tx) server(ctx context.Context, ref string) (controller.Server, error) {
	var found []controller.Server
	err := t.scan(ctx, &found, `SELECT `+t.cat.serverColumns()+` FROM servers s WHERE (s.name = ? OR s.id::text = ? OR s.agent_id = ?) AND `+t.granted()+`
		ORDER BY s.revoked_at IS NULL DESC, s.id DESC LIMIT 10`, ref, ref, ref)
	if err != nil {
		return controller.Server{}, err
	}
	if len(found) == 0 {
		return controller.Server{}, controller.Errorf(controller.ENotFound, "server %q does not exist", ref).WithHint("`devflowctl server list` shows the servers")
	}
	if len(found) > 1 && found[0].RevokedAt == nil && found[1].RevokedAt == nil {
		return controller.Server{}, controller.Errorf(controller.EConflict, "%q is the name of one server and the id of another: %s (id %d), %s (id %d)",
			ref, found[0].Name, found[0].ID, found[1].Name, found[1].ID).WithHint("give the agent id: %s or %s", found[0].AgentID, found[1].AgentID)
	}
	found[0].OlderThan(version.Version)
	return found[0], nil
}

// Servers lists the servers of the installation, or those granted to the caller's projects, by name.
func (c *Catalog) Servers(ctx context.Context, actor controller.Actor, f controller.ServerFilter) ([]controller.Server, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Server
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Server{}
		where, err := t.serverConditions(ctx, f)
		if err != nil {
			return err
		}
		return t.part(ctx, &out, c.serverColumns(), "servers s", where, "s.revoked_at IS NOT NULL, s.name, s.id", f.Part)
	})
	for i := range out {
		out[i].OlderThan(version.Version)
	}
	return out, err
}

// CountServers counts what Servers lists, whatever the page.
func (c *Catalog) CountServers(ctx context.Context, actor controller.Actor, f controller.ServerFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.serverConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "servers s", where)
		return err
	})
	return n, err
}

func (t *tx) serverConditions(ctx context.Context, f controller.ServerFilter) (conditions, error) {
	var c conditions
	c.add(t.granted())
	c.contains(f.Search, "s.name")
	switch f.Status {
	case controller.ServerOnline:
		c.add(t.cat.online())
	case controller.ServerOffline:
		c.add("s.revoked_at IS NULL AND NOT " + t.cat.online())
	case controller.ServerRevoked:
		c.add("s.revoked_at IS NOT NULL")
	}
	if f.Project != "" {
		p, err := t.project(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("EXISTS (SELECT FROM project_servers g WHERE g.server_id = s.id AND g.project_id = ?)", p.ID)
	}
	return c, nil
}

// serversByID reads servers for the controller's own work.
func (t *tx) serversByID(ctx context.Context, ids []int64) (map[int64]controller.Server, error) {
	var list []controller.Server
	if len(ids) > 0 {
		if err := t.scan(ctx, &list, `SELECT `+t.cat.serverColumns()+` FROM servers s WHERE s.id = ANY (?)`, idArray(ids)); err != nil {
			return nil, err
		}
	}
	byID := make(map[int64]controller.Server, len(list))
	for _, s := range list {
		byID[s.ID] = s
	}
	return byID, nil
}

// Server returns one server by name, id or agent id.
func (c *Catalog) Server(ctx context.Context, actor controller.Actor, ref string) (controller.Server, error) {
	var s controller.Server
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		s, err = t.server(ctx, ref)
		return err
	})
	return s, err
}

// SetVerifier marks a server as one that verifies others' backups, or not.
func (c *Catalog) SetVerifier(ctx context.Context, actor controller.Actor, ref string, verifier bool) (controller.Server, error) {
	var s controller.Server
	if err := wholeInstallation(actor, "servers"); err != nil {
		return s, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if s, err = t.server(ctx, ref); err != nil {
			return err
		}
		if err := t.unchangedServer(ctx, s); err != nil {
			return err
		}
		if _, err = t.exec(ctx, "UPDATE servers SET verifier = ? WHERE id = ?", verifier, s.ID); err != nil {
			return err
		}
		s.Verifier = verifier
		return t.audit(ctx, actor, "server.verifier", nil, s.Name, map[string]any{"verifier": verifier})
	})
	return s, err
}

// RevokeServer ends a server's access for good: its open jobs fail, its messages are refused. Its backups stay, and on the host what
// restores in place have kept there, which its agent removes no more: the restores, the audit log and the log name it. Revoking twice
// changes nothing.
func (c *Catalog) RevokeServer(ctx context.Context, actor controller.Actor, ref string) (controller.Server, error) {
	var s controller.Server
	if err := wholeInstallation(actor, "servers"); err != nil {
		return s, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if s, err = t.server(ctx, ref); err != nil || s.RevokedAt != nil {
			return err
		}
		if err := t.unchangedServer(ctx, s); err != nil {
			return err
		}
		var at time.Time
		if err := t.scan(ctx, &at, "UPDATE servers SET revoked_at = now() WHERE id = ? RETURNING revoked_at", s.ID); err != nil {
			return err
		}
		s.RevokedAt, s.Online = &at, false
		kept, err := t.keptOn(ctx, s.ID)
		if err != nil {
			return err
		}
		detail := map[string]any{"agent_id": s.AgentID}
		if len(kept) > 0 {
			detail["kept"] = kept
		}
		if err := t.audit(ctx, actor, "server.revoke", nil, s.Name, detail); err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			jobs, err := t.lockJobs(ctx, "j.server_id = ?", s.ID)
			if err != nil {
				return err
			}
			for _, j := range jobs {
				fail := wire.Failf(wire.CodeRevoked, "server %q was revoked", s.Name).WithHint("enrol the host again under a new token")
				if err := t.endOpen(ctx, j, controller.AttemptLost, fail); err != nil {
					return err
				}
			}
			return t.leaveKept(ctx, s)
		})
	})
	return s, err
}

// CreateEnrolment stores the hash of a new enrolment token: of a new server, or of one that a host takes the place of.
func (c *Catalog) CreateEnrolment(ctx context.Context, actor controller.Actor, spec controller.EnrolmentSpec, hash []byte) (controller.Enrolment, error) {
	var e controller.Enrolment
	if err := spec.Validate(); err != nil {
		return e, err
	}
	if spec.Project == "" || spec.Verifier || spec.Replace {
		if err := wholeInstallation(actor, "servers of no project, verifiers and replaced servers"); err != nil {
			return e, err
		}
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		var project *int64
		if spec.Project != "" {
			p, err := t.project(ctx, spec.Project)
			if err != nil {
				return err
			}
			project = &p.ID
		}
		name, verifier := spec.ServerName, spec.Verifier
		var replaces *int64
		if spec.Replace {
			s, err := t.replaceable(ctx, name)
			if err != nil {
				return err
			}
			name, verifier, replaces = s.Name, s.Verifier, &s.ID
		} else if err := t.freeServerName(ctx, name, 0); err != nil {
			return err
		}
		err := t.scan(ctx, &e, `INSERT INTO enrolment_tokens (token_hash, server_name, project_id, verifier, replaces, expires_at) VALUES (?, ?, ?, ?, ?, now() + ?)
			RETURNING `+enrolmentColumns, hash, name, project, verifier, replaces, interval(spec.TTL))
		if err != nil {
			return err
		}
		return t.audit(ctx, actor, "enrolment.create", project, name, map[string]any{"id": e.ID, "verifier": verifier, "replaces": replaces})
	})
	return e, err
}

const newTokenHint = "make a new token with `devflowctl server add NAME`"

const enrolmentColumns = "id, server_name, project_id, verifier, replaces, created_at, expires_at, used_at, server_id"

func nameTaken(name string) error {
	return controller.Errorf(controller.EConflict, "a server named %q exists already", name).WithHint("choose another name; if this host takes the place of that server, `devflowctl server token %q --replace`", name)
}

// Enrolments lists enrolment tokens, newest first; beforeID 0 starts at the newest.
func (c *Catalog) Enrolments(ctx context.Context, actor controller.Actor, beforeID int64, limit int) ([]controller.Enrolment, error) {
	var out []controller.Enrolment
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Enrolment{}
		return t.scan(ctx, &out, "SELECT "+enrolmentColumns+" FROM enrolment_tokens WHERE ? AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?", t.sees("project_id"), beforeID, beforeID, page(limit))
	})
	return out, err
}

// EnrolmentStatus is what became of a token; EUnauthorized if it is not known.
func (c *Catalog) EnrolmentStatus(ctx context.Context, tokenHash []byte) (controller.EnrolmentStatus, error) {
	var out controller.EnrolmentStatus
	err := c.system(ctx, func(t *tx) error {
		var row struct {
			ServerName string
			ServerID   *int64
			Used       bool
			Expired    bool
		}
		found, err := t.find(ctx, &row, `SELECT server_name, server_id, used_at IS NOT NULL AS used, expires_at <= clock_timestamp() AS expired
			FROM enrolment_tokens WHERE token_hash = ?`, tokenHash)
		if err != nil {
			return err
		}
		if !found {
			return controller.Errorf(controller.EUnauthorized, "the enrolment token is not known").WithHint(newTokenHint)
		}
		out = controller.EnrolmentStatus{ServerName: row.ServerName, Used: row.Used, Expired: row.Expired}
		if row.ServerID == nil {
			return nil
		}
		var s controller.Server
		if found, err = t.find(ctx, &s, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ?", *row.ServerID); err != nil || !found {
			return err
		}
		out.ServerName, out.ServerID, out.Online, out.Revoked = s.Name, s.AgentID, s.Online && s.RevokedAt == nil, s.RevokedAt != nil
		return nil
	})
	return out, err
}

// Enrol uses an enrolment token, once: of agents that race with it exactly one becomes a server. The same agent, with the same
// keys, gets the same answer again while the token lives. An unknown, a used and an expired token are EUnauthorized. Of a token that
// replaces a server it is that server, with its agent id, and the agent's is not used.
func (c *Catalog) Enrol(ctx context.Context, tokenHash []byte, agent controller.NewServer) (controller.Server, error) {
	var s controller.Server
	if !wire.ValidServerID(agent.AgentID) {
		return s, controller.Invalid("agent_id", "%q is not allowed", agent.AgentID)
	}
	if len(agent.SigningKey) != 32 {
		return s, controller.Invalid("signing_key", "has %d bytes, an Ed25519 public key has 32", len(agent.SigningKey))
	}
	if agent.NKey == "" {
		return s, controller.Invalid("nkey", "is empty")
	}
	if err := artifact.ValidRecipient(agent.Recipient); err != nil {
		return s, controller.Invalid("recipient", "%.80q is not an age recipient: %v", agent.Recipient, err)
	}
	err := c.system(ctx, func(t *tx) error {
		var token struct {
			ID         int64
			ServerName string
			ProjectID  *int64
			Verifier   bool
			Replaces   *int64
			ServerID   *int64
			Used       bool
			Expired    bool
		}
		found, err := t.find(ctx, &token, `SELECT id, server_name, project_id, verifier, replaces, server_id, used_at IS NOT NULL AS used, expires_at <= clock_timestamp() AS expired
			FROM enrolment_tokens WHERE token_hash = ? FOR UPDATE`, tokenHash)
		const hint = newTokenHint
		switch {
		case err != nil:
			return err
		case !found:
			return controller.Errorf(controller.EUnauthorized, "the enrolment token is not known").WithHint(hint)
		case token.Used:
			again, err := t.find(ctx, &s, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ? AND s.revoked_at IS NULL AND s.nkey = ? AND s.signing_key = ? AND s.recipient = ? AND NOT ?",
				token.ServerID, agent.NKey, agent.SigningKey, agent.Recipient, token.Expired)
			if err != nil || again {
				return err
			}
			return controller.Errorf(controller.EUnauthorized, "the enrolment token for server %q was already used", token.ServerName).WithHint(hint)
		case token.Expired:
			return controller.Errorf(controller.EUnauthorized, "the enrolment token for server %q has expired", token.ServerName).WithHint(hint)
		}
		if err := t.freshKey(ctx, agent.NKey); err != nil {
			return err
		}
		if token.Replaces != nil {
			if err := t.replaceServer(ctx, *token.Replaces, agent); err != nil {
				return err
			}
			if _, err := t.exec(ctx, "UPDATE enrolment_tokens SET used_at = now(), server_id = replaces WHERE id = ?", token.ID); err != nil {
				return err
			}
			return t.scan(ctx, &s, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ?", *token.Replaces)
		}
		if err := t.freeServerName(ctx, token.ServerName, 0); err != nil {
			return err
		}
		var id int64
		err = t.scan(ctx, &id, `INSERT INTO servers (agent_id, name, nkey, signing_key, recipient, verifier, agent_version, host)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?::jsonb) RETURNING id`,
			agent.AgentID, token.ServerName, agent.NKey, agent.SigningKey, agent.Recipient, token.Verifier, cut(agent.AgentVersion, 100), jsonText(agent.Host))
		if err != nil {
			return taken(err, "server with this name or these keys", token.ServerName)
		}
		if token.ProjectID != nil {
			_, err := t.exec(ctx, "INSERT INTO project_servers (project_id, server_id) SELECT id, ? FROM projects WHERE id = ? AND deleted_at IS NULL", id, *token.ProjectID)
			if err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, "UPDATE enrolment_tokens SET used_at = now(), server_id = ? WHERE id = ?", id, token.ID); err != nil {
			return err
		}
		fingerprint := map[string]any{"agent_id": agent.AgentID, "signing_key": base64.StdEncoding.EncodeToString(agent.SigningKey)}
		if err := t.audit(ctx, controller.Actor{Name: "agent"}, "server.enrol", token.ProjectID, token.ServerName, fingerprint); err != nil {
			return err
		}
		return t.scan(ctx, &s, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ?", id)
	})
	return s, err
}

const databaseColumns = `d.id, d.server_id, s.name AS server, d.instance, d.engine, d.name, d.size_bytes, d.server_version,
	to_jsonb(d.extensions) AS extensions, d.project_id, coalesce(p.slug, '') AS project, d.first_seen_at, d.last_seen_at, d.missing_since`

const databaseTables = "databases d JOIN servers s ON s.id = d.server_id LEFT JOIN projects p ON p.id = d.project_id"

// Databases lists what the agents found, by server, instance and name. A caller of some projects sees those assigned to them.
func (c *Catalog) Databases(ctx context.Context, actor controller.Actor, f controller.DatabaseFilter) ([]controller.Database, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Database
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Database{}
		where, err := t.databaseConditions(ctx, f)
		if err != nil {
			return err
		}
		return t.part(ctx, &out, databaseColumns, databaseTables, where, "s.name, d.instance, d.name, d.id", f.Part)
	})
	return out, err
}

// CountDatabases counts what Databases lists, whatever the page.
func (c *Catalog) CountDatabases(ctx context.Context, actor controller.Actor, f controller.DatabaseFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.databaseConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "databases d", where)
		return err
	})
	return n, err
}

func (t *tx) databaseConditions(ctx context.Context, f controller.DatabaseFilter) (conditions, error) {
	var c conditions
	c.add("?", t.sees("d.project_id"))
	if f.Project != "" {
		p, err := t.project(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("d.project_id = ?", p.ID)
	}
	if f.Server != "" {
		s, err := t.server(ctx, f.Server)
		if err != nil {
			return c, err
		}
		c.add("d.server_id = ?", s.ID)
	}
	c.equal("d.name", f.Name)
	c.equal("d.engine", f.Engine)
	c.contains(f.Search, "d.name")
	if f.Unassigned {
		c.add("d.project_id IS NULL")
	}
	return c, nil
}

// database finds one database that the scope sees; its name is matched exactly.
func (t *tx) database(ctx context.Context, ref controller.DatabaseRef) (controller.Database, error) {
	var none controller.Database
	if ref.ID == 0 && ref.Name == "" {
		return none, controller.Invalid("database", "is missing; give an id or a name")
	}
	server := int64(0)
	if ref.Server != "" {
		s, err := t.server(ctx, ref.Server)
		if err != nil {
			return none, err
		}
		server = s.ID
	}
	var found []controller.Database
	err := t.scan(ctx, &found, `SELECT `+databaseColumns+` FROM `+databaseTables+` WHERE ? AND (? = 0 OR d.id = ?) AND (? = '' OR d.name = ?)
		AND (? = 0 OR d.server_id = ?) AND (? = '' OR d.instance = ?) ORDER BY s.name, d.instance, d.id LIMIT 20`,
		t.sees("d.project_id"), ref.ID, ref.ID, ref.Name, ref.Name, server, server, ref.Instance, ref.Instance)
	switch {
	case err != nil:
		return none, err
	case len(found) == 0 && ref.Name != "":
		return none, controller.Errorf(controller.ENotFound, "database %q was not found on any server", ref.Name).
			WithHint("names are matched exactly; `devflowctl database list` shows what the agents found")
	case len(found) == 0:
		return none, controller.Errorf(controller.ENotFound, "database %d does not exist", ref.ID)
	case len(found) > 1:
		return none, ambiguous(ref.Name, found)
	}
	return found[0], nil
}

func ambiguous(name string, found []controller.Database) error {
	list := make([]string, len(found))
	for i, d := range found {
		list[i] = fmt.Sprintf("%s/%s (id %d)", d.Server, d.Instance, d.ID)
	}
	return controller.Errorf(controller.EConflict, "database %q exists more than once: %s", name, strings.Join(list, ", ")).
		WithHint("give the server and instance, or the id")
}

// AssignDatabase gives a database to a project that its server is granted to. Repeating it changes nothing; a database of
// another project is refused.
func (c *Catalog) AssignDatabase(ctx context.Context, actor controller.Actor, ref controller.DatabaseRef, project string) (controller.Database, error) {
	var d controller.Database
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		p, err := t.project(ctx, project)
		if err != nil {
			return err
		}
		if d, err = t.database(ctx, ref); err != nil {
			return err
		}
		if d.ProjectID != nil {
			if *d.ProjectID == p.ID {
				return nil
			}
			return controller.Errorf(controller.EConflict, "database %q on server %q is assigned to project %q", d.Name, d.Server, d.Project).
				WithHint("unassign it there first")
		}
		var granted bool
		if err := t.scan(ctx, &granted, "SELECT EXISTS (SELECT FROM project_servers WHERE project_id = ? AND server_id = ?)", p.ID, d.ServerID); err != nil {
			return err
		}
		if !granted {
			return controller.Errorf(controller.EConflict, "server %q is not granted to project %q", d.Server, p.Slug).
				WithHint("`devflowctl project grant %s %s` grants it", p.Slug, d.Server)
		}
		n, err := t.exec(ctx, "UPDATE databases SET project_id = ?, assigned_at = now() WHERE id = ? AND project_id IS NULL", p.ID, d.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return controller.Errorf(controller.EConflict, "database %q was assigned to a project just now", d.Name)
		}
		d.ProjectID, d.Project = &p.ID, p.Slug
		return t.audit(ctx, actor, "database.assign", &p.ID, d.Server+"/"+d.Instance+"/"+d.Name, map[string]any{"database_id": d.ID})
	})
	return d, err
}

// UnassignDatabase takes a database from its project. Its backups stay.
func (c *Catalog) UnassignDatabase(ctx context.Context, actor controller.Actor, ref controller.DatabaseRef) (controller.Database, error) {
	var d controller.Database
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if d, err = t.database(ctx, ref); err != nil || d.ProjectID == nil {
			return err
		}
		if err := t.audit(ctx, actor, "database.unassign", d.ProjectID, d.Server+"/"+d.Instance+"/"+d.Name, map[string]any{"database_id": d.ID}); err != nil {
			return err
		}
		err = t.elevated(ctx, func() error { // without a project the row is out of the caller's sight
			_, err := t.exec(ctx, "UPDATE databases SET project_id = NULL WHERE id = ? AND project_id = ?", d.ID, *d.ProjectID)
			return err
		})
		d.ProjectID, d.Project = nil, ""
		return err
	})
	return d, err
}
