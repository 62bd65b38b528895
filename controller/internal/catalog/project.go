package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
)

const projectColumns = `p.id, p.slug, p.name, p.external_id, p.age_recipient, to_jsonb(p.escrow_recipients) AS escrow_recipients,
	p.default_encryption, p.default_storage_id, p.created_at, p.max_jobs_per_hour, p.max_bytes_per_day`

func identityPurpose(project int64) string { return fmt.Sprintf("project/%d/age-identity", project) }

func appKeyPurpose(project int64) string { return fmt.Sprintf("project/%d/app-key", project) }

// project finds a live project of the scope by slug, id or external id. A slug or id wins over an external id that equals it.
func (t *tx) project(ctx context.Context, ref string) (controller.Project, error) {
	var p controller.Project
	found, err := t.find(ctx, &p, `SELECT `+projectColumns+` FROM projects p
		WHERE p.deleted_at IS NULL AND ? AND (p.slug = ? OR p.id::text = ? OR p.external_id = ?)
		ORDER BY (p.slug = ? OR p.id::text = ?) DESC LIMIT 1`, t.sees("p.id"), ref, ref, ref, ref, ref)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "project %q does not exist", ref).WithHint("`devflowctl project list` shows the projects")
	}
	return p, err
}

// anyProject is project, and finds a deleted one where no live one has the name: its backups are still there.
func (t *tx) anyProject(ctx context.Context, ref string) (controller.Project, error) {
	p, err := t.project(ctx, ref)
	if controller.ErrorCode(err) != controller.ENotFound {
		return p, err
	}
	found, e := t.find(ctx, &p, `SELECT `+projectColumns+` FROM projects p
		WHERE p.deleted_at IS NOT NULL AND ? AND (p.slug = ? OR p.id::text = ? OR p.external_id = ?) ORDER BY p.id::text = ? DESC, p.id DESC LIMIT 1`,
		t.sees("p.id"), ref, ref, ref, ref)
	if e != nil || found {
		return p, e
	}
	return p, err
}

// mayUse tells whether a project may use a server: it is granted to it. To a project that is deleted no server is; who sees the whole
// installation decides what becomes of its backups, and may use any.
func (t *tx) mayUse(ctx context.Context, project, server int64) (bool, error) {
	var may bool
	err := t.scan(ctx, &may, `SELECT EXISTS (SELECT FROM project_servers WHERE project_id = ? AND server_id = ?)
		OR ? AND EXISTS (SELECT FROM projects WHERE id = ? AND deleted_at IS NOT NULL)`, project, server, t.scope.All, project)
	return may, err
}

// CreateProject makes a project with its keys; both are sealed before they are stored. Without an app key the spec's is taken, and
// without that one is made.
func (c *Catalog) CreateProject(ctx context.Context, actor controller.Actor, spec controller.ProjectSpec, recipient string, identity, appKey []byte) (controller.Project, error) {
	var p controller.Project
	if err := wholeInstallation(actor, "projects"); err != nil {
		return p, err
	}
	if len(appKey) > 0 {
		spec.AppKey = secret.String(appKey)
	}
	if err := validProject(spec, recipient); err != nil {
		return p, err
	}
	if err := artifact.ValidRecipient(recipient); err != nil {
		return p, controller.Invalid("age_recipient", "%.80q is not an age recipient: %v", recipient, err)
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		var id int64
		if err := t.scan(ctx, &id, "SELECT nextval(pg_get_serial_sequence('projects', 'id'))"); err != nil {
			return err
		}
		sealed, err := c.seal(identityPurpose(id), identity)
		if err != nil {
			return err
		}
		sealedKey, err := c.sealAppKey(id, spec.AppKey.Reveal())
		if err != nil {
			return err
		}
		storage, err := t.projectStorage(ctx, id, spec.DefaultStorage)
		if err != nil {
			return err
		}
		name := spec.Name
		if name == "" {
			name = spec.Slug
		}
		if err := t.freeProjectName(ctx, 0, spec); err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO projects (id, slug, name, external_id, age_recipient, age_identity, app_key, escrow_recipients, default_encryption, default_storage_id)
			OVERRIDING SYSTEM VALUE VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, spec.Slug, name, spec.ExternalID, recipient, sealed, sealedKey, textArray(spec.EscrowRecipients), orText(spec.DefaultEncryption, controller.EncryptionAge), storage)
		if err != nil {
			return taken(err, "project", spec.Slug)
		}
		if err := t.audit(ctx, actor, "project.create", &id, spec.Slug, nil); err != nil {
			return err
		}
		if p, err = t.project(ctx, fmt.Sprint(id)); err != nil {
			return err
		}
		schedule, err := spec.ScheduleOfProject()
		if err == nil && schedule != nil {
			_, err = t.createSchedule(ctx, actor, p, *schedule)
		}
		return err
	})
	return p, err
}

func validProject(spec controller.ProjectSpec, recipient string) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if slices.Contains(spec.EscrowRecipients, recipient) {
		return controller.Invalid("escrow_recipients", "%q is the project's own recipient, which opens its backups already", recipient)
	}
	return nil
}

// freeProjectName names what is taken, better than a unique index does. The index decides a race.
func (t *tx) freeProjectName(ctx context.Context, self int64, spec controller.ProjectSpec) error {
	var slug string
	found, err := t.find(ctx, &slug, "SELECT slug FROM projects WHERE deleted_at IS NULL AND id <> ? AND slug = ?", self, spec.Slug)
	if err != nil {
		return err
	}
	if found {
		return controller.Errorf(controller.EConflict, "a project with the slug %q exists already", slug)
	}
	if spec.ExternalID == nil {
		return nil
	}
	found, err = t.find(ctx, &slug, "SELECT slug FROM projects WHERE deleted_at IS NULL AND id <> ? AND external_id = ?", self, *spec.ExternalID)
	if err == nil && found {
		err = controller.Errorf(controller.EConflict, "project %q has the external id %q already", slug, *spec.ExternalID)
	}
	return err
}

// projectStorage resolves a project's default storage. Nil leaves none.
func (t *tx) projectStorage(ctx context.Context, project int64, ref *string) (*int64, error) {
	if ref == nil || *ref == "" {
		return nil, nil
	}
	st, err := t.storageFor(ctx, project, *ref)
	if err != nil {
		return nil, err
	}
	return &st.ID, nil
}

// Projects lists the caller's projects by slug.
func (c *Catalog) Projects(ctx context.Context, actor controller.Actor, f controller.ProjectFilter) ([]controller.Project, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Project
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Project{}
		where, err := t.projectConditions(ctx, f)
		if err != nil {
			return err
		}
		return t.part(ctx, &out, projectColumns, "projects p", where, "p.slug, p.id", f.Part)
	})
	return out, err
}

// CountProjects counts what Projects lists, whatever the page.
func (c *Catalog) CountProjects(ctx context.Context, actor controller.Actor, f controller.ProjectFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.projectConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "projects p", where)
		return err
	})
	return n, err
}

func (t *tx) projectConditions(ctx context.Context, f controller.ProjectFilter) (conditions, error) {
	var c conditions
	c.add("p.deleted_at IS NULL AND ?", t.sees("p.id"))
	c.contains(f.Search, "p.slug", "p.name")
	if f.Server != "" {
		s, err := t.server(ctx, f.Server)
		if err != nil {
			return c, err
		}
		c.add("EXISTS (SELECT FROM project_servers g WHERE g.project_id = p.id AND g.server_id = ?)", s.ID)
	}
	return c, nil
}

// Project returns one project by slug, id or external id.
func (c *Catalog) Project(ctx context.Context, actor controller.Actor, ref string) (controller.Project, error) {
	var p controller.Project
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		p, err = t.project(ctx, ref)
		return err
	})
	return p, err
}

// UpdateProject changes what the spec gives: empty and nil fields stay. An empty default storage clears it. The app key never changes.
func (c *Catalog) UpdateProject(ctx context.Context, actor controller.Actor, ref string, spec controller.ProjectSpec) (controller.Project, error) {
	var p controller.Project
	if !spec.AppKey.Empty() {
		return p, controller.Invalid("app_key", "cannot be changed: the project's backups are opened by it").WithHint("give it when a project is made")
	}
	if spec.DefaultSchedule != nil {
		return p, controller.Invalid("default_schedule", "is given when a project is made; later it is a schedule with scope default").
			WithHint("make or change that schedule: `devflowctl schedule create`, `devflowctl schedule update`")
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		if err := t.unchangedProject(ctx, ref); err != nil {
			return err
		}
		old, err := t.project(ctx, ref)
		if err != nil {
			return err
		}
		spec := spec
		spec.Slug = orText(spec.Slug, old.Slug)
		spec.Name = orText(spec.Name, old.Name)
		spec.DefaultEncryption = orText(spec.DefaultEncryption, old.DefaultEncryption)
		if spec.ExternalID == nil {
			spec.ExternalID = old.ExternalID
		}
		if spec.EscrowRecipients == nil {
			spec.EscrowRecipients = old.EscrowRecipients
		}
		if err := validProject(spec, old.AgeRecipient); err != nil {
			return err
		}
		if err := t.freeProjectName(ctx, old.ID, spec); err != nil {
			return err
		}
		storage := old.DefaultStorageID
		if spec.DefaultStorage != nil {
			if storage, err = t.projectStorage(ctx, old.ID, spec.DefaultStorage); err != nil {
				return err
			}
		}
		limits := spec.LimitsAfter(old.Limits)
		if limitsChanged(limits, old.Limits) {
			if err := wholeInstallation(actor, "limits of projects"); err != nil {
				return err
			}
			if err := limits.Validate(); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `UPDATE projects SET slug = ?, name = ?, external_id = ?, escrow_recipients = ?, default_encryption = ?, default_storage_id = ?,
			max_jobs_per_hour = ?, max_bytes_per_day = ?, updated_at = now() WHERE id = ?`,
			spec.Slug, spec.Name, spec.ExternalID, textArray(spec.EscrowRecipients), spec.DefaultEncryption, storage, limits.MaxJobsPerHour, limits.MaxBytesPerDay, old.ID)
		if err != nil {
			return taken(err, "project", spec.Slug)
		}
		changed := map[string]any{}
		if spec.Slug != old.Slug {
			changed["slug"] = spec.Slug
		}
		if spec.DefaultEncryption != old.DefaultEncryption {
			changed["default_encryption"] = spec.DefaultEncryption
		}
		if !slices.Equal(spec.EscrowRecipients, old.EscrowRecipients) {
			changed["escrow_recipients"] = spec.EscrowRecipients
		}
		if limitsChanged(limits, old.Limits) {
			changed["max_jobs_per_hour"], changed["max_bytes_per_day"] = limits.MaxJobsPerHour, limits.MaxBytesPerDay
		}
		if err := t.audit(ctx, actor, "project.update", &old.ID, old.Slug, changed); err != nil {
			return err
		}
		p, err = t.project(ctx, fmt.Sprint(old.ID))
		return err
	})
	return p, err
}

func limitsChanged(a, b controller.Limits) bool {
	same := func(x, y *int64) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	return !same(a.MaxJobsPerHour, b.MaxJobsPerHour) || !same(a.MaxBytesPerDay, b.MaxBytesPerDay)
}

// DeleteProject closes a project. Its backups stay; its databases are no longer assigned, its servers no longer granted. It is
// refused while a job of it is open.
func (c *Catalog) DeleteProject(ctx context.Context, actor controller.Actor, ref string) error {
	return c.scoped(ctx, actor.Scope, func(t *tx) error {
		p, err := t.project(ctx, ref)
		if err != nil {
			return err
		}
		if err := t.endSchedules(ctx, p.ID); err != nil { // schedules are locked before anything else is
			return err
		}
		if _, err := t.exec(ctx, "SELECT 1 FROM projects WHERE id = ? FOR UPDATE", p.ID); err != nil {
			return err
		}
		if err := t.unchangedProject(ctx, ref); err != nil {
			return err
		}
		if err := t.endSchedules(ctx, p.ID); err != nil { // any that was made meanwhile
			return err
		}
		var open []int64
		if err := t.scan(ctx, &open, "SELECT id FROM jobs WHERE project_id = ? AND "+jobOpen+" ORDER BY id LIMIT 5", p.ID); err != nil {
			return err
		}
		if len(open) > 0 {
			return controller.Errorf(controller.EConflict, "project %q has open jobs: %s", p.Slug, joinIDs(open)).WithHint("wait for them, or cancel them")
		}
		if err := t.nothingKept(ctx, p); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE projects SET deleted_at = now() WHERE id = ?", p.ID); err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "project.delete", &p.ID, p.Slug, nil); err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			if _, err := t.exec(ctx, "SELECT 1 FROM databases WHERE project_id = ? ORDER BY id FOR NO KEY UPDATE", p.ID); err != nil {
				return err
			}
			if _, err := t.exec(ctx, "UPDATE databases SET project_id = NULL WHERE project_id = ?", p.ID); err != nil {
				return err
			}
			_, err := t.exec(ctx, "DELETE FROM project_servers WHERE project_id = ?", p.ID)
			return err
		})
	})
}

// ProjectSecrets opens a project's keys for an export that the caller has authorised. The export is audited. A project that has no
// app key yet gets one.
func (c *Catalog) ProjectSecrets(ctx context.Context, actor controller.Actor, ref string) (controller.ProjectSecrets, error) {
	var secrets controller.ProjectSecrets
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		p, err := t.project(ctx, ref)
		if err != nil {
			return err
		}
		if secrets.Identity, err = t.identity(ctx, p.ID); err != nil {
			return err
		}
		if secrets.AppKey, err = t.appKey(ctx, p.ID); err != nil {
			return err
		}
		return t.audit(ctx, actor, "project.export_key", &p.ID, p.Slug, nil)
	})
	if err != nil {
		return controller.ProjectSecrets{}, err
	}
	return secrets, nil
}

// ProjectAppKey opens a project's app key for the controller itself: text, as artifact.AppKeyBytes reads it. A project that has none
// gets one; of several that ask at once all get the same. Deleted projects have theirs still.
func (c *Catalog) ProjectAppKey(ctx context.Context, project int64) ([]byte, error) {
	var key []byte
	err := c.system(ctx, func(t *tx) (err error) {
		key, err = t.appKey(ctx, project)
		return err
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

func (t *tx) appKey(ctx context.Context, project int64) ([]byte, error) {
	var row struct{ Sealed []byte }
	const read = "SELECT app_key AS sealed FROM projects WHERE id = ? AND ?"
	found, err := t.find(ctx, &row, read, project, t.sees("id"))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, controller.Errorf(controller.ENotFound, "project %d does not exist", project)
	}
	if row.Sealed == nil {
		sealed, err := t.cat.sealAppKey(project, "")
		if err != nil {
			return nil, err
		}
		// Whoever is second waits here for the first, changes nothing and reads the first one's.
		if _, err := t.exec(ctx, "UPDATE projects SET app_key = ? WHERE id = ? AND app_key IS NULL AND ?", sealed, project, t.sees("id")); err != nil {
			return nil, err
		}
		if err := t.scan(ctx, &row, read, project, t.sees("id")); err != nil {
			return nil, err
		}
	}
	return t.cat.unseal(appKeyPurpose(project), row.Sealed)
}

// sealAppKey seals a project's app key; an empty one is made.
func (c *Catalog) sealAppKey(project int64, key string) ([]byte, error) {
	key = strings.TrimSpace(key)
	if key == "" {
		key = artifact.NewAppKey()
	}
	return c.seal(appKeyPurpose(project), []byte(key))
}

// ProjectIdentitySecret opens a project's age identity for the controller itself, to open a header. Deleted projects have
// theirs still: their backups stay readable.
func (c *Catalog) ProjectIdentitySecret(ctx context.Context, projectID int64) ([]byte, error) {
	var identity []byte
	err := c.system(ctx, func(t *tx) (err error) {
		identity, err = t.identity(ctx, projectID)
		return err
	})
	return identity, err
}

func (t *tx) identity(ctx context.Context, id int64) ([]byte, error) {
	var row struct{ Sealed []byte }
	found, err := t.find(ctx, &row, "SELECT age_identity AS sealed FROM projects WHERE id = ? AND ?", id, t.sees("id"))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, controller.Errorf(controller.ENotFound, "project %d does not exist", id)
	}
	return t.cat.unseal(identityPurpose(id), row.Sealed)
}

// GrantServer lets a project use a server. Granting twice changes nothing.
func (c *Catalog) GrantServer(ctx context.Context, actor controller.Actor, project, server string) error {
	if err := wholeInstallation(actor, "server grants"); err != nil {
		return err
	}
	return c.scoped(ctx, actor.Scope, func(t *tx) error {
		p, s, err := t.projectAndServer(ctx, project, server)
		if err != nil {
			return err
		}
		if s.RevokedAt != nil {
			return controller.Errorf(controller.EConflict, "server %q is revoked", s.Name)
		}
		n, err := t.exec(ctx, "INSERT INTO project_servers (project_id, server_id) VALUES (?, ?) ON CONFLICT DO NOTHING", p.ID, s.ID)
		if err != nil || n == 0 {
			return err
		}
		return t.audit(ctx, actor, "project.grant_server", &p.ID, s.Name, nil)
	})
}

// RevokeServerGrant takes a server from a project. It is refused while databases of it are assigned to the project or jobs
// of the project are open on it.
func (c *Catalog) RevokeServerGrant(ctx context.Context, actor controller.Actor, project, server string) error {
	if err := wholeInstallation(actor, "server grants"); err != nil {
		return err
	}
	return c.scoped(ctx, actor.Scope, func(t *tx) error {
		p, s, err := t.projectAndServer(ctx, project, server)
		if err != nil {
			return err
		}
		var names []string
		if err := t.scan(ctx, &names, "SELECT name FROM databases WHERE project_id = ? AND server_id = ? ORDER BY name LIMIT 5", p.ID, s.ID); err != nil {
			return err
		}
		if len(names) > 0 {
			return controller.Errorf(controller.EConflict, "databases of server %q are assigned to project %q: %s", s.Name, p.Slug, quoteAll(names)).
				WithHint("unassign them first")
		}
		var open []int64
		if err := t.scan(ctx, &open, "SELECT id FROM jobs WHERE project_id = ? AND server_id = ? AND "+jobOpen+" ORDER BY id LIMIT 5", p.ID, s.ID); err != nil {
			return err
		}
		if len(open) > 0 {
			return controller.Errorf(controller.EConflict, "project %q has open jobs on server %q: %s", p.Slug, s.Name, joinIDs(open))
		}
		n, err := t.exec(ctx, "DELETE FROM project_servers WHERE project_id = ? AND server_id = ?", p.ID, s.ID)
		if err != nil || n == 0 {
			return err
		}
		return t.audit(ctx, actor, "project.revoke_server", &p.ID, s.Name, nil)
	})
}

func (t *tx) projectAndServer(ctx context.Context, project, server string) (controller.Project, controller.Server, error) {
	p, err := t.project(ctx, project)
	if err != nil {
		return p, controller.Server{}, err
	}
	s, err := t.server(ctx, server)
	return p, s, err
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// textArray is a text[] that is never NULL.
func textArray(list []string) bun.Safe {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = "'" + strings.ReplaceAll(text(s), "'", "''") + "'"
	}
	return bun.Safe("ARRAY[" + strings.Join(quoted, ",") + "]::text[]")
}

// idArray is a bigint[]; nil is NULL.
func idArray(ids []int64) bun.Safe {
	if ids == nil {
		return "NULL::bigint[]"
	}
	return bun.Safe("ARRAY[" + joinIDs(ids) + "]::bigint[]")
}

func joinIDs(ids []int64) string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = fmt.Sprint(id)
	}
	return strings.Join(s, ", ")
}

func quoteAll(names []string) string {
	s := make([]string, len(names))
	for i, n := range names {
		s[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(s, ", ")
}
