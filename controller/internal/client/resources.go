package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func id(n int64) string { return strconv.FormatInt(n, 10) }

// Version of the controller.
func (c *Client) Version(ctx context.Context) (body.Version, error) {
	return get[body.Version](ctx, c, nil, "version")
}

// Whoami is the token that asks.
func (c *Client) Whoami(ctx context.Context) (body.Whoami, error) {
	return get[body.Whoami](ctx, c, nil, "whoami")
}

// Projects lists projects.
func (c *Client) Projects(ctx context.Context) ([]controller.Project, error) {
	return every(ctx, c, url.Values{}, func(p controller.Project) int64 { return p.ID }, "projects")
}

// Project finds one by slug, id or external id.
func (c *Client) Project(ctx context.Context, ref string) (controller.Project, error) {
	return get[controller.Project](ctx, c, nil, "projects", ref)
}

// createProject shows the secret, which secret.String hides from every encoder.
type createProject struct {
	body.CreateProject
	AppKey string `json:"app_key,omitempty"`
}

// CreateProject makes one.
func (c *Client) CreateProject(ctx context.Context, in body.CreateProject) (controller.Project, error) {
	return create[controller.Project](ctx, c, createProject{CreateProject: in, AppKey: in.AppKey.Reveal()}, "projects")
}

// UpdateProject changes one.
func (c *Client) UpdateProject(ctx context.Context, ref string, in body.UpdateProject) (controller.Project, error) {
	return do[controller.Project](ctx, c, call{method: http.MethodPatch, path: path("projects", ref), body: in})
}

// DeleteProject closes one.
func (c *Client) DeleteProject(ctx context.Context, ref string) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("projects", ref)})
	return err
}

// ProjectKey holds the keys that open the project's backups.
func (c *Client) ProjectKey(ctx context.Context, ref string) (body.ProjectKey, error) {
	return get[body.ProjectKey](ctx, c, nil, "projects", ref, "key")
}

// GrantServer lets a project use a server.
func (c *Client) GrantServer(ctx context.Context, project, server string) error {
	_, err := c.send(ctx, call{method: http.MethodPut, path: path("projects", project, "servers", server)})
	return err
}

// RevokeServerGrant takes it away.
func (c *Client) RevokeServerGrant(ctx context.Context, project, server string) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("projects", project, "servers", server)})
	return err
}

// Servers lists servers.
func (c *Client) Servers(ctx context.Context) ([]controller.Server, error) {
	return every(ctx, c, url.Values{}, func(s controller.Server) int64 { return s.ID }, "servers")
}

// Server finds one by name or id.
func (c *Client) Server(ctx context.Context, ref string) (controller.Server, error) {
	return get[controller.Server](ctx, c, nil, "servers", ref)
}

// RevokeServer cuts its agent off.
func (c *Client) RevokeServer(ctx context.Context, ref string) (controller.Server, error) {
	return post[controller.Server](ctx, c, nil, "servers", ref, "revoke")
}

// SetVerifier marks a server, or takes the mark away.
func (c *Client) SetVerifier(ctx context.Context, ref string, on bool) (controller.Server, error) {
	return do[controller.Server](ctx, c, call{method: http.MethodPut, path: path("servers", ref, "verifier"), body: body.SetVerifier{Verifier: on}})
}

// Enrolments lists the newest enrolment tokens.
func (c *Client) Enrolments(ctx context.Context) ([]controller.Enrolment, error) {
	return newest[controller.Enrolment](ctx, c, url.Values{}, 1000, "enrolments")
}

// CreateEnrolment makes a token by which one host enrols.
func (c *Client) CreateEnrolment(ctx context.Context, in body.CreateEnrolment) (body.NewEnrolment, error) {
	return create[body.NewEnrolment](ctx, c, in, "enrolments")
}

// Databases lists what agents found.
func (c *Client) Databases(ctx context.Context, f controller.DatabaseFilter) ([]controller.Database, error) {
	q := values("project", f.Project, "server", f.Server, "name", f.Name)
	if f.Unassigned {
		q.Set("unassigned", "true")
	}
	return every(ctx, c, q, func(d controller.Database) int64 { return d.ID }, "databases")
}

// AssignDatabase gives one to a project.
func (c *Client) AssignDatabase(ctx context.Context, in body.AssignDatabase) (controller.Database, error) {
	return post[controller.Database](ctx, c, in, "databases", "assign")
}

// UnassignDatabase takes one from its project.
func (c *Client) UnassignDatabase(ctx context.Context, in body.AssignDatabase) (controller.Database, error) {
	return post[controller.Database](ctx, c, in, "databases", "unassign")
}

// Storages lists storages.
func (c *Client) Storages(ctx context.Context) ([]controller.Storage, error) {
	return every(ctx, c, url.Values{}, func(s controller.Storage) int64 { return s.ID }, "storages")
}

// Storage finds one by name or id.
func (c *Client) Storage(ctx context.Context, ref string) (controller.Storage, error) {
	return get[controller.Storage](ctx, c, nil, "storages", ref)
}

// createStorage and updateStorage show the secret, as createProject does.
type (
	createStorage struct {
		body.CreateStorage
		SecretKey string `json:"secret_key,omitempty"`
	}
	updateStorage struct {
		body.UpdateStorage
		SecretKey string `json:"secret_key,omitempty"`
	}
)

// CreateStorage adds a storage that passes its probe.
func (c *Client) CreateStorage(ctx context.Context, in body.CreateStorage) (controller.Storage, error) {
	return create[controller.Storage](ctx, c, createStorage{CreateStorage: in, SecretKey: in.SecretKey.Reveal()}, "storages")
}

// UpdateStorage changes one; what reaches the store is probed first.
func (c *Client) UpdateStorage(ctx context.Context, ref string, in body.UpdateStorage) (controller.Storage, error) {
	return do[controller.Storage](ctx, c, call{method: http.MethodPatch, path: path("storages", ref), body: updateStorage{UpdateStorage: in, SecretKey: in.SecretKey.Reveal()}})
}

// ProbeStorage tries one again.
func (c *Client) ProbeStorage(ctx context.Context, ref string) (controller.Storage, error) {
	return post[controller.Storage](ctx, c, nil, "storages", ref, "probe")
}

// SetDefaultStorage uses one for backups that name none.
func (c *Client) SetDefaultStorage(ctx context.Context, ref string) (controller.Storage, error) {
	return post[controller.Storage](ctx, c, nil, "storages", ref, "default")
}

// DeleteStorage forgets one that holds no backup.
func (c *Client) DeleteStorage(ctx context.Context, ref string) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("storages", ref)})
	return err
}

// CreateBackups orders backups. An outcome without a backup says why.
func (c *Client) CreateBackups(ctx context.Context, in body.CreateBackups) ([]body.BackupOutcome, error) {
	l, err := create[body.List[body.BackupOutcome]](ctx, c, in, "backups")
	return l.Items, err
}

// Backups lists one page, newest first.
func (c *Client) Backups(ctx context.Context, f controller.BackupFilter) (body.Page[controller.Backup], error) {
	q := pageOf(f.BeforeID, f.Limit, "project", f.Project, "database", f.Database, "server", f.Server, "status", f.Status, "type", f.Type, "health", f.Health,
		"engine", f.Engine, "storage", f.Storage, "sort", f.Sort)
	between(q, f.Between)
	numbered(q, f.NumberedPage)
	if f.Ascending {
		q.Set("order", "asc")
	}
	if f.Verified != nil {
		q.Set("verified", strconv.FormatBool(*f.Verified))
	}
	if f.Held != nil {
		q.Set("held", strconv.FormatBool(*f.Held))
	}
	if f.Schedule != 0 {
		q.Set("schedule_id", id(f.Schedule))
	}
	if f.Deleted {
		q.Set("deleted", "true")
	}
	return get[body.Page[controller.Backup]](ctx, c, q, "backups")
}

func pageOf(beforeID int64, limit int, pairs ...string) url.Values {
	q := values(pairs...)
	if beforeID > 0 {
		q.Set("before_id", id(beforeID))
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

func between(q url.Values, b controller.Between) {
	for name, t := range map[string]*time.Time{"since": b.Since, "until": b.Until} {
		if t != nil {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
}

func numbered(q url.Values, p controller.NumberedPage) {
	if p.Page > 0 {
		q.Set("page", strconv.Itoa(p.Page))
		q.Set("per_page", strconv.Itoa(p.PerPage))
	}
}

// Backup is one backup.
func (c *Client) Backup(ctx context.Context, n int64) (controller.Backup, error) {
	return get[controller.Backup](ctx, c, nil, "backups", id(n))
}

// BackupManifest is its manifest, byte for byte.
func (c *Client) BackupManifest(ctx context.Context, n int64) ([]byte, error) {
	return get[[]byte](ctx, c, nil, "backups", id(n), "manifest")
}

// BackupLog is the job that made it.
func (c *Client) BackupLog(ctx context.Context, n int64) (controller.Job, error) {
	return get[controller.Job](ctx, c, nil, "backups", id(n), "log")
}

// VerifyBackup verifies one.
func (c *Client) VerifyBackup(ctx context.Context, n int64, level string) (controller.Job, error) {
	return create[controller.Job](ctx, c, body.CreateVerify{Level: level}, "backups", id(n), "verify")
}

// VerifyBackups verifies all that are not verified yet, or all of a project.
func (c *Client) VerifyBackups(ctx context.Context, in body.CreateVerifications) ([]controller.Job, error) {
	l, err := create[body.List[controller.Job]](ctx, c, in, "backups", "verify")
	return l.Items, err
}

// CancelBackup stops the job that makes it.
func (c *Client) CancelBackup(ctx context.Context, n int64, reason string) (controller.Job, error) {
	return post[controller.Job](ctx, c, body.Reason{Reason: reason}, "backups", id(n), "cancel")
}

// DeleteBackup deletes one, with grace.
func (c *Client) DeleteBackup(ctx context.Context, n int64, in body.DeleteBackup) (controller.Backup, error) {
	return post[controller.Backup](ctx, c, in, "backups", id(n), "delete")
}

// UndeleteBackup takes a deletion back.
func (c *Client) UndeleteBackup(ctx context.Context, n int64) (controller.Backup, error) {
	return post[controller.Backup](ctx, c, nil, "backups", id(n), "undelete")
}

// CreateRestore orders a restore.
func (c *Client) CreateRestore(ctx context.Context, in body.CreateRestore) (controller.Restore, error) {
	return create[controller.Restore](ctx, c, in, "restores")
}

// PlanRestore tells what a restore would meet and do.
func (c *Client) PlanRestore(ctx context.Context, in body.CreateRestore) (controller.RestorePlan, error) {
	return post[controller.RestorePlan](ctx, c, in, "restores", "plan")
}

// PlanUndo tells what an undo would meet and do.
func (c *Client) PlanUndo(ctx context.Context, n int64, in body.Swap) (controller.RestorePlan, error) {
	return post[controller.RestorePlan](ctx, c, in, "restores", id(n), "undo", "plan")
}

// UndoRestore brings back what a restore in place kept.
func (c *Client) UndoRestore(ctx context.Context, n int64, in body.Swap) (controller.Restore, error) {
	return create[controller.Restore](ctx, c, in, "restores", id(n), "undo")
}

// DiscardKept removes what a restore in place kept.
func (c *Client) DiscardKept(ctx context.Context, n int64, in body.DiscardKept) (controller.Restore, error) {
	return post[controller.Restore](ctx, c, in, "restores", id(n), "discard")
}

// KeepKept changes how long it is kept.
func (c *Client) KeepKept(ctx context.Context, n int64, in body.KeepKept) (controller.Restore, error) {
	return post[controller.Restore](ctx, c, in, "restores", id(n), "keep")
}

// Restores lists one page, newest first.
func (c *Client) Restores(ctx context.Context, f controller.RestoreFilter) (body.Page[controller.Restore], error) {
	q := pageOf(f.BeforeID, f.Limit, "project", f.Project, "server", f.Server, "database", f.Database, "status", f.Status, "kind", f.Kind)
	between(q, f.Between)
	if f.Backup != 0 {
		q.Set("backup_id", id(f.Backup))
	}
	return get[body.Page[controller.Restore]](ctx, c, q, "restores")
}

// Restore is one restore.
func (c *Client) Restore(ctx context.Context, n int64) (controller.Restore, error) {
	return get[controller.Restore](ctx, c, nil, "restores", id(n))
}

// CancelRestore stops it.
func (c *Client) CancelRestore(ctx context.Context, n int64, reason string) (controller.Job, error) {
	return post[controller.Job](ctx, c, body.Reason{Reason: reason}, "restores", id(n), "cancel")
}

// Jobs lists one page, newest first, without their attempts.
func (c *Client) Jobs(ctx context.Context, f controller.JobFilter) (body.Page[controller.Job], error) {
	q := pageOf(f.BeforeID, f.Limit, "project", f.Project, "server", f.Server, "kind", f.Kind, "status", f.Status)
	for name, n := range map[string]int64{"backup_id": f.Backup, "restore_id": f.Restore} {
		if n != 0 {
			q.Set(name, id(n))
		}
	}
	return get[body.Page[controller.Job]](ctx, c, q, "jobs")
}

// Job is one execution.
func (c *Client) Job(ctx context.Context, n int64) (controller.Job, error) {
	return get[controller.Job](ctx, c, nil, "jobs", id(n))
}

// CancelJob stops it.
func (c *Client) CancelJob(ctx context.Context, n int64, reason string) (controller.Job, error) {
	return post[controller.Job](ctx, c, body.Reason{Reason: reason}, "jobs", id(n), "cancel")
}

// Tokens lists API tokens, newest first.
func (c *Client) Tokens(ctx context.Context) ([]controller.APIToken, error) {
	all := []controller.APIToken{}
	for before := int64(0); ; {
		q := values("limit", "200")
		if before != 0 {
			q.Set("before_id", strconv.FormatInt(before, 10))
		}
		p, err := get[body.Page[controller.APIToken]](ctx, c, q, "tokens")
		if err != nil {
			return nil, err
		}
		if all = append(all, p.Items...); p.NextBeforeID == nil {
			return all, nil
		}
		before = *p.NextBeforeID
	}
}

// CreateToken makes one.
func (c *Client) CreateToken(ctx context.Context, in body.CreateToken) (body.NewToken, error) {
	return create[body.NewToken](ctx, c, in, "tokens")
}

// RevokeToken ends one.
func (c *Client) RevokeToken(ctx context.Context, n int64) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("tokens", id(n))})
	return err
}

// SecurityEvents lists the newest of what only a fault, a clone or an attack explains.
func (c *Client) SecurityEvents(ctx context.Context) ([]controller.SecurityEvent, error) {
	return newest[controller.SecurityEvent](ctx, c, url.Values{}, 1000, "security-events")
}
