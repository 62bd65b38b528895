package catalog

import (
	"context"

	"devflowbackup/controller"
)

// audit writes who did what, in the transaction of what it tells. A nil project is a thing of the installation.
func (t *tx) audit(ctx context.Context, actor controller.Actor, action string, project *int64, subject string, detail map[string]any) error {
	return t.auditResult(ctx, actor, action, project, subject, detail, controller.AuditDone)
}

func (t *tx) auditResult(ctx context.Context, actor controller.Actor, action string, project *int64, subject string, detail map[string]any, result string) error {
	if detail == nil {
		detail = map[string]any{}
	}
	var token *int64
	if actor.TokenID != 0 {
		token = &actor.TokenID
	}
	_, err := t.exec(ctx, `INSERT INTO audit_log (actor, token_id, on_behalf_of, action, project_id, subject, detail, remote, result) VALUES (?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?)`,
		cut(actor.Name, 200), token, cut(actor.OnBehalfOf, 200), action, project, cut(subject, 500), jsonText(detail), cut(actor.Remote, 100), cut(result, 100))
	return err
}

// Audit lists entries, newest first: those of one project, or of all that the caller sees. BeforeID 0 starts at the newest.
func (c *Catalog) Audit(ctx context.Context, actor controller.Actor, f controller.AuditFilter) ([]controller.AuditEntry, error) {
	var out []controller.AuditEntry
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.AuditEntry{}
		only := int64(0)
		if f.Project != "" {
			p, err := t.project(ctx, f.Project)
			if err != nil {
				return err
			}
			only = p.ID
		}
		return t.scan(ctx, &out, `SELECT id, at, actor, action, project_id, subject, detail, remote FROM audit_log
			WHERE ? AND (? = 0 OR project_id = ?) AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?`,
			t.sees("project_id"), only, only, f.BeforeID, f.BeforeID, page(f.Limit))
	})
	return out, err
}

func (c *Catalog) ExportAudit(context.Context, controller.Actor, controller.AuditFilter, func(controller.AuditEntry) error) error {
	return errNotYet
}

func (c *Catalog) CheckAudit(context.Context, controller.Actor, []controller.AuditHead) (controller.AuditCheck, error) {
	return controller.AuditCheck{}, errNotYet
}

func (c *Catalog) Refused(context.Context, controller.Actor, string, string, string) error {
	return errNotYet
}

// SecurityEvents lists the newest events. They are of the whole installation: a caller of some projects is refused.
func (c *Catalog) SecurityEvents(ctx context.Context, actor controller.Actor) ([]controller.SecurityEvent, error) {
	if err := wholeInstallation(actor, "security events"); err != nil {
		return nil, err
	}
	var out []controller.SecurityEvent
	err := c.system(ctx, func(t *tx) error {
		out = []controller.SecurityEvent{}
		return t.scan(ctx, &out, "SELECT id, at, server_id, kind, detail, count FROM security_events ORDER BY at DESC, id DESC LIMIT 500")
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
