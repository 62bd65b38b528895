package catalog

import (
	"context"
	"encoding/base64"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// replaceable is the server that a new host may take the place of, revoked or not, but not under a name that another one has now.
func (t *tx) replaceable(ctx context.Context, ref string) (controller.Server, error) {
	s, err := t.server(ctx, ref)
	if err == nil {
		err = t.freeServerName(ctx, s.Name, s.ID)
	}
	return s, err
}

// freeServerName refuses a name that a live server other than self has.
func (t *tx) freeServerName(ctx context.Context, name string, self int64) error {
	return t.elevated(ctx, func() error { // it may be one that the caller does not see
		var busy bool
		err := t.scan(ctx, &busy, "SELECT EXISTS (SELECT FROM servers WHERE name = ? AND revoked_at IS NULL AND id <> ?)", name, self)
		if err == nil && busy {
			err = nameTaken(name)
		}
		return err
	})
}

// freshKey refuses a broker key that some host had before: the broker takes none of those again.
func (t *tx) freshKey(ctx context.Context, key string) error {
	var old bool
	err := t.scan(ctx, &old, "SELECT EXISTS (SELECT FROM servers WHERE nkey = ?) OR EXISTS (SELECT FROM server_keys WHERE nkey = ?)", key, key)
	if err == nil && old {
		err = controller.Errorf(controller.EConflict, "a server has or had these keys already").WithHint("enrol with new ones: `devflow-agent enroll` makes them")
	}
	return err
}

// replaceServer puts a host in the place of a server. The row stays, and with it the agent id, the databases, backups, schedules and
// grants; a revoked one is revoked no more. The keys of the host before it are kept aside: what it made is verified by them, the broker
// is told to refuse them, and its session is void. Its open attempts are lost at once, but not those whose upload is complete: the
// controller finishes them without it.
func (t *tx) replaceServer(ctx context.Context, id int64, agent controller.NewServer) error {
	var old struct {
		Name       string
		AgentID    string
		NKey       string
		SigningKey []byte
		Revoked    bool
	}
	err := t.scan(ctx, &old, "SELECT name, agent_id, nkey AS n_key, signing_key, revoked_at IS NOT NULL AS revoked FROM servers WHERE id = ? FOR UPDATE", id)
	if err != nil {
		return err
	}
	if err := t.freeServerName(ctx, old.Name, id); err != nil {
		return err
	}
	jobs, err := t.lockJobs(ctx, "j.server_id = ?", id)
	if err != nil {
		return err
	}
	// With the jobs locked, every report of the old host that counts has an earlier time than this.
	if _, err := t.exec(ctx, "INSERT INTO server_keys (server_id, nkey, signing_key, replaced_at) VALUES (?, ?, ?, clock_timestamp())", id, old.NKey, old.SigningKey); err != nil {
		return err
	}
	for _, j := range jobs {
		var stays bool
		if _, err := t.find(ctx, &stays, "SELECT upload_id <> ? FROM attempts WHERE job_id = ? AND no = ? AND status = 'uploaded'", controller.LocalUpload, j.ID, j.AttemptNo); err != nil {
			return err
		}
		if j.AttemptStatus == "" || stays {
			continue
		}
		fail := wire.Failf(wire.CodeLost, "the host of server %q was replaced", old.Name).Retry()
		if _, err := t.endAttempt(ctx, j, controller.AttemptLost, fail); err != nil {
			return err
		}
	}
	_, err = t.exec(ctx, `UPDATE servers SET nkey = ?, signing_key = ?, recipient = ?, agent_version = ?, host = ?::jsonb, session = '', session_at = NULL,
		inventory_hash = '', key_set = 0, revoked_at = NULL WHERE id = ?`,
		agent.NKey, agent.SigningKey, agent.Recipient, cut(agent.AgentVersion, 100), jsonText(agent.Host), id)
	if err != nil {
		return taken(err, "server with this name or these keys", old.Name)
	}
	if _, err := t.exec(ctx, "UPDATE agent_sessions SET superseded_at = now() WHERE server_id = ? AND superseded_at IS NULL", id); err != nil {
		return err
	}
	if _, err := t.exec(ctx, "DELETE FROM inventory_pages WHERE server_id = ?", id); err != nil {
		return err
	}
	return t.audit(ctx, controller.Actor{Name: "agent"}, "server.replace", nil, old.Name, map[string]any{
		"agent_id": old.AgentID, "was_revoked": old.Revoked, "old_signing_key": base64.StdEncoding.EncodeToString(old.SigningKey),
		"signing_key": base64.StdEncoding.EncodeToString(agent.SigningKey), "hostname": cut(agent.Host.Hostname, 200),
	})
}

// hostOf gives a server the keys that it had when an attempt was reported: another host may have taken its place since.
func (t *tx) hostOf(ctx context.Context, s *controller.Server, job int64, no int) error {
	var old struct {
		NKey       string
		SigningKey []byte
	}
	found, err := t.find(ctx, &old, `SELECT nkey AS n_key, signing_key FROM server_keys WHERE server_id = ?
		AND replaced_at > (SELECT reported_at FROM attempts WHERE job_id = ? AND no = ?) ORDER BY replaced_at LIMIT 1`, s.ID, job, no)
	if err == nil && found {
		s.NKey, s.SigningKey = old.NKey, old.SigningKey
	}
	return err
}

// RevokedKeys are the broker keys of a server that are void, of all servers for 0: those of revoked servers, and those that hosts had
// before another one took their place. The broker refuses them; it is told again at each start.
func (c *Catalog) RevokedKeys(ctx context.Context, server int64) ([]string, error) {
	var keys []string
	err := c.system(ctx, func(t *tx) error {
		keys = nil
		return t.scan(ctx, &keys, `SELECT nkey FROM servers WHERE revoked_at IS NOT NULL AND (? = 0 OR id = ?)
			UNION SELECT nkey FROM server_keys WHERE ? = 0 OR server_id = ? ORDER BY nkey`, server, server, server, server)
	})
	return keys, err
}
