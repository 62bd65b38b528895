package catalog

import (
	"context"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// maxConcurrency bounds what an agent may ask for.
const maxConcurrency = 64

// Hello begins or renews a session and decides about every attempt of the server that is accepted: one that the agent lists with
// its token goes on, one that it does not list is lost at once. What the agent lists and does not stand is to be dropped.
// A session that was superseded stays so: it changes nothing and raises an event. So does the host that another one took the place of:
// it is known by key, the one by which the broker knows who speaks. Empty, the broker does not tell; then a server that was replaced
// is refused.
func (c *Catalog) Hello(ctx context.Context, agentID, key, session string, h wire.Hello) (controller.HelloResult, controller.Server, error) {
	var res controller.HelloResult
	var server controller.Server
	err := c.system(ctx, func(t *tx) error {
		res = controller.HelloResult{}
		if len(session) < 16 || len(session) > 100 {
			return wire.Failf(wire.CodeBadRequest, "a session of %d bytes is not one", len(session))
		}
		var s struct {
			ID            int64
			Session       string
			InventoryHash string
			NKey          string
			Replaced      bool
		}
		found, err := t.find(ctx, &s, `SELECT id, session, inventory_hash, nkey AS n_key, EXISTS (SELECT FROM server_keys k WHERE k.server_id = servers.id) AS replaced
			FROM servers WHERE agent_id = ? AND revoked_at IS NULL FOR UPDATE`, agentID)
		if err != nil {
			return err
		}
		if !found {
			return wire.Failf(wire.CodeRevoked, "this server is not known or was revoked").WithHint("enrol the host again under a new token")
		}
		if key != s.NKey && (key != "" || s.Replaced) {
			return wire.Failf(wire.CodeRevoked, "another host has taken the place of this one").WithHint("enrol this host under a new token and another name")
		}
		if res.Superseded, res.Replaced, err = t.enterSession(ctx, s.ID, s.Session, session); err != nil {
			return err
		}
		if res.Superseded {
			if err := t.event(ctx, agentID, controller.EventDuplicateAgent, "a superseded session said hello", 1); err != nil {
				return err
			}
			return t.scan(ctx, &server, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ?", s.ID)
		}
		res.WantInventory = h.InventoryHash == "" || h.InventoryHash != s.InventoryHash
		_, err = t.exec(ctx, `UPDATE servers SET session = ?, session_at = CASE WHEN session = ? THEN session_at ELSE now() END, last_seen_at = now(),
			host = ?::jsonb, agent_version = ?, concurrency = ?, key_set = ? WHERE id = ?`,
			session, session, jsonText(h.Host), cut(h.AgentVersion, 100), min(max(h.Concurrency, 1), maxConcurrency), min(max(h.KeySet, 0), 1<<30), s.ID)
		if err != nil {
			return err
		}
		if err := t.decide(ctx, s.ID, session, h.Attempts, &res); err != nil {
			return err
		}
		if err := t.hostIsBack(ctx, s.ID); err != nil {
			return err
		}
		return t.scan(ctx, &server, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ?", s.ID)
	})
	if wire.HasCode(err, wire.CodeRevoked) {
		err = c.refused(ctx, agentID, err)
	}
	return res, server, err
}

// enterSession makes a session the current one, unless it was superseded before.
func (t *tx) enterSession(ctx context.Context, server int64, current, session string) (superseded bool, replaced string, err error) {
	if session == current {
		return false, "", nil
	}
	n, err := t.exec(ctx, "INSERT INTO agent_sessions (session, server_id) VALUES (?, ?) ON CONFLICT DO NOTHING", session, server)
	if err != nil {
		return false, "", err
	}
	if n == 0 {
		// Known and not current: of this server it was superseded, of another one it is stolen.
		return true, "", nil
	}
	_, err = t.exec(ctx, "UPDATE agent_sessions SET superseded_at = now() WHERE server_id = ? AND session <> ? AND superseded_at IS NULL", server, session)
	return false, current, err
}

// decide settles the server's accepted attempts by what the agent holds.
func (t *tx) decide(ctx context.Context, server int64, session string, held []wire.Attempt, res *controller.HelloResult) error {
	jobs, err := t.lockJobs(ctx, "j.server_id = ?", server)
	if err != nil {
		return err
	}
	holds := make(map[wire.Attempt]bool, len(held))
	for _, a := range held {
		holds[a] = true
	}
	for _, j := range jobs {
		a := j.attempt()
		if j.AttemptStatus == "" {
			continue
		}
		listed := holds[a]
		delete(holds, a)
		switch {
		case j.AttemptStatus == controller.AttemptUploaded:
			// The agent's part is over, whether it knows or not: its report is answered when it comes again.
		case j.AttemptStatus == controller.AttemptOffered && listed:
			if err := t.accept(ctx, a, session); err != nil {
				return err
			}
		case j.AttemptStatus == controller.AttemptOffered:
			// It is sent again, and now: the agent is there.
			if _, err := t.exec(ctx, "UPDATE jobs SET claim_until = '-infinity' WHERE id = ?", j.ID); err != nil {
				return err
			}
		case listed:
			_, err := t.exec(ctx, `UPDATE attempts SET session = ?, lease_until = now() + ?, suspect_at = NULL, suspect_clock = NULL WHERE job_id = ? AND no = ? AND status = 'running'`,
				session, interval(t.cat.opts.Lease), a.Job, a.No)
			if err != nil {
				return err
			}
		default:
			young := false
			if j.Session == session {
				// Accepted while this hello was on its way.
				if err := t.scan(ctx, &young, "SELECT accepted_at > now() - interval '30 seconds' FROM attempts WHERE job_id = ? AND no = ?", a.Job, a.No); err != nil {
					return err
				}
			}
			if young {
				continue
			}
			fail := wire.Failf(wire.CodeLost, "the agent no longer holds the attempt: it was stopped or restarted").Retry()
			if _, err := t.endAttempt(ctx, j, controller.AttemptLost, fail); err != nil {
				return err
			}
			res.Lost = append(res.Lost, a)
		}
	}
	for _, a := range held {
		if holds[a] {
			delete(holds, a)
			res.Drop = append(res.Drop, a)
		}
	}
	return nil
}

// hostIsBack has what waited for a host go on at once: backups in its directory that are to be finished, to be deleted, or to be swept.
func (t *tx) hostIsBack(ctx context.Context, server int64) error {
	for _, waits := range []struct{ sql, local string }{
		{`UPDATE jobs j SET claim_until = '-infinity' FROM attempts a WHERE j.server_id = ? AND j.status = 'finishing' AND j.claim_owner = ''
			AND a.job_id = j.id AND a.no = j.attempt_no AND a.upload_id = ?`, controller.LocalUpload},
		{`UPDATE attempts a SET sweep_after = now() FROM jobs j WHERE j.server_id = ? AND j.id = a.job_id AND a.upload_id = ?
			AND a.key <> '' AND a.swept_at IS NULL AND a.status IN ('failed', 'lost', 'cancelled')`, controller.LocalUpload},
		{`UPDATE database_backups b SET delete_after = now() FROM storages st WHERE b.server_id = ? AND st.id = b.storage_id AND st.kind = ?
			AND b.deleted_at IS NOT NULL AND b.purged_at IS NULL AND b.health = 'deleting' AND b.delete_waiting <> ''`, controller.StorageLocal},
	} {
		if _, err := t.exec(ctx, waits.sql, server, waits.local); err != nil {
			return err
		}
	}
	return nil
}

// beat is an agent's heartbeat as the statement reads it.
type beat struct {
	AgentID string        `json:"agent_id"`
	Session string        `json:"session"`
	Host    wire.Host     `json:"host"`
	Running []beatAttempt `json:"running"`
}

type beatAttempt struct {
	Job         int64  `json:"job"`
	No          int    `json:"no"`
	Token       string `json:"token"`
	Stage       string `json:"stage"`
	RawBytes    int64  `json:"raw_bytes"`
	StoredBytes int64  `json:"stored_bytes"`
	TotalBytes  int64  `json:"total_bytes"`
}

// Heartbeats writes a batch: servers in one statement, attempts in one. Leases are renewed where token and session are current.
// What an agent says it runs and does not stand is returned. A row that someone else has locked is left to the next heartbeat.
func (c *Catalog) Heartbeats(ctx context.Context, beats []controller.AgentBeat) ([]wire.Attempt, error) {
	if len(beats) == 0 {
		return nil, nil
	}
	rows := make([]beat, len(beats))
	for i, b := range beats {
		rows[i] = beat{AgentID: b.AgentID, Session: b.Session, Host: b.Host, Running: []beatAttempt{}}
		for _, p := range b.Running {
			rows[i].Running = append(rows[i].Running, beatAttempt{
				Job: p.Attempt.Job, No: p.Attempt.No, Token: p.Attempt.Token, Stage: cut(p.Stage, 40),
				RawBytes: max(p.RawBytes, 0), StoredBytes: max(p.StoredBytes, 0), TotalBytes: max(p.TotalBytes, 0),
			})
		}
	}
	batch := jsonText(rows)
	var out []wire.Attempt
	err := c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE servers s SET last_seen_at = now(), host = b.host
			FROM jsonb_to_recordset(?::jsonb) AS b (agent_id text, session text, host jsonb)
			WHERE s.agent_id = b.agent_id AND s.session = b.session AND s.session <> '' AND s.revoked_at IS NULL
			AND s.id IN (SELECT id FROM servers WHERE agent_id IN (SELECT x.agent_id FROM jsonb_to_recordset(?::jsonb) AS x (agent_id text)) FOR UPDATE SKIP LOCKED)`, batch, batch)
		if err != nil {
			return err
		}
		const said = `said AS (SELECT b.agent_id, b.session, r.* FROM jsonb_to_recordset(?::jsonb) AS b (agent_id text, session text, running jsonb),
			jsonb_to_recordset(b.running) AS r (job bigint, no int, token text, stage text, raw_bytes bigint, stored_bytes bigint, total_bytes bigint))`
		_, err = t.exec(ctx, `WITH `+said+`, live AS (
				SELECT a.job_id, a.no, q.stage, q.raw_bytes, q.stored_bytes, q.total_bytes FROM said q
				JOIN attempts a ON a.job_id = q.job AND a.no = q.no AND a.token = q.token AND a.session = q.session AND a.status = 'running'
				JOIN servers s ON s.id = a.server_id AND s.agent_id = q.agent_id AND s.session = q.session AND s.revoked_at IS NULL
				FOR UPDATE OF a SKIP LOCKED)
			UPDATE attempts a SET lease_until = now() + ?, suspect_at = NULL, suspect_clock = NULL,
				stage = l.stage, raw_bytes = l.raw_bytes, stored_bytes = l.stored_bytes, total_bytes = l.total_bytes
			FROM live l WHERE a.job_id = l.job_id AND a.no = l.no`, batch, interval(c.opts.Lease))
		if err != nil {
			return err
		}
		var gone []struct {
			Job   int64
			No    int
			Token string
		}
		err = t.scan(ctx, &gone, `WITH `+said+` SELECT DISTINCT q.job, q.no, q.token FROM said q WHERE NOT EXISTS (
			SELECT FROM attempts a JOIN servers s ON s.id = a.server_id
			WHERE a.job_id = q.job AND a.no = q.no AND a.token = q.token AND a.`+attemptOpen+` AND s.agent_id = q.agent_id AND s.session = q.session)`, batch)
		out = nil
		for _, g := range gone {
			out = append(out, wire.Attempt{Job: g.Job, No: g.No, Token: g.Token})
		}
		return err
	})
	return out, err
}
