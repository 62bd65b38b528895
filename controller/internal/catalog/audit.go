package catalog

import (
	"context"
	"fmt"
	"time"

	"devflowbackup/controller"
)

// audit writes who did what, in the transaction of what it tells. A nil project is a thing of the installation.
func (t *tx) audit(ctx context.Context, actor controller.Actor, action string, project *int64, subject string, detail map[string]any) error {
	return t.auditResult(ctx, actor, action, project, subject, detail, controller.AuditDone)
}

func (t *tx) auditResult(ctx context.Context, actor controller.Actor, action string, project *int64, subject string, detail map[string]any, result string) error {
	_, err := t.auditOwn(ctx, actor, action, project, subject, detail, result)
	return err
}

// auditOwn is auditResult; it returns the entry's id.
func (t *tx) auditOwn(ctx context.Context, actor controller.Actor, action string, project *int64, subject string, detail map[string]any, result string) (int64, error) {
	if detail == nil {
		detail = map[string]any{}
	}
	var token *int64
	if actor.TokenID != 0 {
		token = &actor.TokenID
	}
	var id int64
	err := t.scan(ctx, &id, `INSERT INTO audit_log (actor, token_id, on_behalf_of, action, project_id, subject, detail, remote, result) VALUES (?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?) RETURNING id`,
		cut(actor.Name, 200), token, cut(actor.OnBehalfOf, 200), action, project, cut(subject, 500), jsonText(detail), cut(actor.Remote, 100), cut(result, 100))
	return id, err
}

const auditColumns = `id, at, actor, token_id, on_behalf_of, action, project_id, subject, detail, remote, result, seq,
	coalesce(encode(prev_hash, 'hex'), '') AS prev_hash, coalesce(encode(hash, 'hex'), '') AS hash`

// auditWhere is what a filter selects of the entries that the caller sees.
func (t *tx) auditWhere(ctx context.Context, f controller.AuditFilter) (string, []any, error) {
	only := int64(0)
	if f.Project != "" {
		p, err := t.project(ctx, f.Project)
		if err != nil {
			return "", nil, err
		}
		only = p.ID
	}
	return `? AND (? = 0 OR project_id = ?) AND (? = '' OR action = ? OR ? LIKE '%.' AND starts_with(action, ?)) AND (? = '' OR actor = ? OR on_behalf_of = ?)
		AND (?::timestamptz IS NULL OR at >= ?::timestamptz) AND (?::timestamptz IS NULL OR at < ?::timestamptz)`,
		[]any{t.sees("project_id"), only, only, f.Action, f.Action, f.Action, f.Action, f.Actor, f.Actor, f.Actor, f.Since, f.Since, f.Until, f.Until}, nil
}

// Audit lists entries, newest first: those of one project, or of all that the caller sees. BeforeID 0 starts at the newest.
func (c *Catalog) Audit(ctx context.Context, actor controller.Actor, f controller.AuditFilter) ([]controller.AuditEntry, error) {
	var out []controller.AuditEntry
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.AuditEntry{}
		where, args, err := t.auditWhere(ctx, f)
		if err != nil {
			return err
		}
		return t.scan(ctx, &out, "SELECT "+auditColumns+" FROM audit_log WHERE "+where+" AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?",
			append(args, f.BeforeID, f.BeforeID, page(f.Limit))...)
	})
	return out, err
}

// ExportAudit calls row for each entry in the order of the chain, without limit. The export is written to the log before its first row,
// and what was committed before that is in it; the export's own entry is the end, where the filter does not leave it out. Each page of
// entries is a transaction.
func (c *Catalog) ExportAudit(ctx context.Context, actor controller.Actor, f controller.AuditFilter, row func(controller.AuditEntry) error) error {
	own := int64(0)
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		project := onlyProject(actor)
		detail := map[string]any{}
		for name, v := range map[string]any{"action": f.Action, "actor": f.Actor, "since": f.Since, "until": f.Until} {
			if v != "" && v != (*time.Time)(nil) {
				detail[name] = v
			}
		}
		if f.Project != "" {
			p, err := t.project(ctx, f.Project)
			if err != nil {
				return err
			}
			project = &p.ID
		}
		return t.elevated(ctx, func() (err error) {
			own, err = t.auditOwn(ctx, actor, "audit.export", project, f.Project, detail, controller.AuditDone)
			return err
		})
	})
	if err != nil {
		return err
	}
	last, err := c.sealedAs(ctx, own)
	if err != nil {
		return err
	}
	for after := int64(0); after < last; {
		var entries []controller.AuditEntry
		err := c.scoped(ctx, actor.Scope, func(t *tx) error {
			entries = nil
			where, args, err := t.auditWhere(ctx, f)
			if err != nil {
				return err
			}
			return t.scan(ctx, &entries, "SELECT "+auditColumns+" FROM audit_log WHERE "+where+" AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?", append(args, after, last, auditPage)...)
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := row(e); err != nil {
				return err
			}
			after = *e.Seq
		}
		if len(entries) < auditPage {
			return nil
		}
	}
	return nil
}

// sealedAs seals until the entry is, and returns its place.
func (c *Catalog) sealedAs(ctx context.Context, id int64) (int64, error) {
	for {
		if _, err := c.SealAudit(ctx, auditPage); err != nil {
			return 0, err
		}
		var seq *int64
		err := c.system(ctx, func(t *tx) error {
			return t.scan(ctx, &seq, "SELECT seq FROM audit_log WHERE id = ?", id)
		})
		if err != nil {
			return 0, err
		}
		if seq != nil {
			return *seq, nil
		}
		if !pause(ctx, sealPause) { // another controller seals
			return 0, fmt.Errorf("seal the audit log: %w", context.Cause(ctx))
		}
	}
}

// onlyProject is the project that an actor is limited to, nil for one of several or of all.
func onlyProject(actor controller.Actor) *int64 {
	if actor.Scope.All || len(actor.Scope.Projects) != 1 {
		return nil
	}
	return &actor.Scope.Projects[0]
}

// Refused records that an act was refused, with the code of the refusal. Whatever the actor may see, the entry is written; an actor that
// is limited to one project leaves it there.
func (c *Catalog) Refused(ctx context.Context, actor controller.Actor, action, subject, code, reason string) error {
	return c.system(ctx, func(t *tx) error {
		return t.auditResult(ctx, actor, action, onlyProject(actor), subject, map[string]any{"reason": cut(reason, 500)}, controller.AuditRefused(code))
	})
}

// SecurityEvents lists events, the newest first; beforeID 0 starts there. They are of the whole installation: a caller of some projects is refused.
func (c *Catalog) SecurityEvents(ctx context.Context, actor controller.Actor, beforeID int64, limit int) ([]controller.SecurityEvent, error) {
	if err := wholeInstallation(actor, "security events"); err != nil {
		return nil, err
	}
	var out []controller.SecurityEvent
	err := c.system(ctx, func(t *tx) error {
		out = []controller.SecurityEvent{}
		return t.scan(ctx, &out, `SELECT id, at, server_id, kind, detail, count FROM security_events
			WHERE ? = 0 OR (at, id) < (SELECT at, id FROM security_events WHERE id = ?) ORDER BY at DESC, id DESC LIMIT ?`, beforeID, beforeID, page(limit))
	})
	return out, err
}

// AddSecurityEvent records an event of an agent, or of none. The same event within an hour is counted, not repeated: an
// agent cannot fill the table.
func (c *Catalog) AddSecurityEvent(ctx context.Context, agentID, kind, detail string, count int64) error {
	return c.system(ctx, func(t *tx) error { return t.event(ctx, agentID, kind, detail, count) })
}

func (t *tx) event(ctx context.Context, agentID, kind, detail string, count int64) error {
	kind, detail, count = cut(kind, 100), cut(detail, 500), max(count, 1)
	n, err := t.exec(ctx, `UPDATE security_events SET count = count + ?, at = now() WHERE id = (
		SELECT id FROM security_events WHERE kind = ? AND detail = ? AND at > now() - interval '1 hour'
		AND server_id IS NOT DISTINCT FROM (SELECT id FROM servers WHERE agent_id = ?) ORDER BY id DESC LIMIT 1)`, count, kind, detail, agentID)
	if err != nil || n > 0 {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO security_events (server_id, kind, detail, count) VALUES ((SELECT id FROM servers WHERE agent_id = ?), ?, ?, ?)",
		agentID, kind, detail, count)
	return err
}

// wholeInstallation refuses a caller that is limited to some projects.
func wholeInstallation(actor controller.Actor, what string) error {
	if actor.Scope.All {
		return nil
	}
	return controller.Errorf(controller.EForbidden, "%s belong to the whole installation, the token is limited to projects", what).
		WithHint("use a token for all projects")
}

// page bounds a list's limit.
func page(limit int) int {
	if limit <= 0 {
		return 50
	}
	return min(limit, 200)
}
