package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	discardAgain = time.Hour      // after a removal that failed
	deadlineHeld = 12 * time.Hour // a restore that waits for its safety backup has at least so long left
	dueAtOnce    = 100            // settlements and removals made by one sweep
	maxNotes     = 50
)

// safetyNeeded is the condition that restores r may still want its safety backup; safetyInUse that backups b is one that is.
const (
	safetyNeeded = `(r.status IN ('pending', 'running') OR r.kept_state = 'kept' OR r.target_state = 'unknown')`
	safetyInUse  = `EXISTS (SELECT FROM restores r WHERE r.safety_backup_id = b.id AND ` + safetyNeeded + `)`
)

// sweeper is who does what only time asks for.
var sweeper = controller.Actor{Name: "sweeper"}

func settles(s *wire.SwapResult) bool {
	return s != nil && (s.State == wire.SwapBefore || s.State == wire.SwapAfter)
}

// cleanSwap bounds what an agent may have stored.
func cleanSwap(s *wire.SwapResult) *wire.SwapResult {
	if s == nil {
		return nil
	}
	out := &wire.SwapResult{State: s.State, UnavailableMicros: max(s.UnavailableMicros, 0), Ended: max(s.Ended, 0)}
	for _, n := range s.Notes[:min(len(s.Notes), maxNotes)] {
		out.Notes = append(out.Notes, cut(n, 1000))
	}
	return out
}

// replaced notes that a swap took place: the target has the new content and the old is kept. Of an undo, what it brought back is kept
// no more.
func (t *tx) replaced(ctx context.Context, restore int64) error {
	var undoOf *int64
	found, err := t.find(ctx, &undoOf, `UPDATE restores SET target_state = 'replaced', kept_state = 'kept', kept_until = now() + make_interval(secs => keep_seconds)
		WHERE id = ? AND in_place AND target_state IN ('', 'unknown') RETURNING undo_of`, restore)
	if err != nil || !found || undoOf == nil {
		return err
	}
	_, err = t.exec(ctx, "UPDATE restores SET kept_state = 'undone', kept_error = '', kept_retry_at = NULL WHERE id = ? AND kept_state = 'kept'", *undoOf)
	return err
}

// swapEnded says what is known of the target once the job of a restore in place or an undo has ended without success. What an agent
// reported or refused left it untouched. An attempt that may have been at work and never reported can be answered by the server alone.
func (t *tx) swapEnded(ctx context.Context, j openJob) error {
	_, err := t.exec(ctx, `UPDATE restores SET target_state = s.state, error_hint = CASE WHEN s.state = 'unknown' THEN ? ELSE error_hint END
		FROM (SELECT CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.job_id = ?
				AND a.no > coalesce((SELECT max(w.no) FROM attempts w WHERE w.job_id = a.job_id AND w.reported_at IS NOT NULL), 0)
				AND (a.accepted_at IS NOT NULL OR a.status <> 'failed' OR a.failure->>'code' IN (?, ?)))
			THEN 'unknown' ELSE 'untouched' END AS state) s
		WHERE id = ? AND in_place AND target_state = ''`,
		"its agent is asked what is at the target as soon as it is connected", j.ID, wire.CodeOffline, wire.CodeOrphaned, *j.RestoreID)
	return err
}

// undone ends an undo by what its agent found or did.
func (t *tx) undone(ctx context.Context, j openJob, f fenced, r wire.Report) error {
	if r.Swapped.State == wire.SwapBefore {
		fail := wire.Failf(wire.CodeInterrupted, "the undo did not take place: the target is as it was").At(wire.StageSwap).Retry()
		_, err := t.endAttempt(ctx, j, controller.AttemptFailed, fail)
		return err
	}
	if err := t.replaced(ctx, *f.RestoreID); err != nil {
		return err
	}
	var name string
	if err := t.scan(ctx, &name, "SELECT database_name FROM restores WHERE id = ?", f.RestoreID); err != nil {
		return err
	}
	return t.completeRestore(ctx, j, f, controller.RestoreOutcome{RestoreResult: wire.RestoreResult{Database: name}, Swapped: cleanSwap(r.Swapped)})
}

// settled ends the doubt about a target. The restore itself stays failed: terminal states do not change.
func (t *tx) settled(ctx context.Context, j openJob, f fenced, r wire.Report) error {
	if r.Swapped.State == wire.SwapBefore {
		_, err := t.exec(ctx, "UPDATE restores SET target_state = 'untouched', error_hint = ? WHERE id = ? AND target_state = 'unknown'",
			"the target is as it was; ask for it once more", f.RestoreID)
		if err != nil {
			return err
		}
		return t.complete(ctx, j)
	}
	_, err := t.exec(ctx, `UPDATE restores SET error_hint = 'its swap had taken place: the target has the new content, and the old is kept as ' || kept_name
		|| '; `+"`devflowctl restore undo ' || id || '`"+` brings it back' WHERE id = ? AND target_state = 'unknown'`, f.RestoreID)
	if err != nil {
		return err
	}
	if err := t.replaced(ctx, *f.RestoreID); err != nil {
		return err
	}
	return t.complete(ctx, j)
}

// settleFailed has a target settled again later, with the pauses of attempts.
func (t *tx) settleFailed(ctx context.Context, j openJob) error {
	var tries int
	if err := t.scan(ctx, &tries, "SELECT count(*) FROM jobs WHERE restore_id = ? AND kind = 'settle'", j.RestoreID); err != nil {
		return err
	}
	_, err := t.exec(ctx, "UPDATE restores SET settle_after = now() + ? WHERE id = ?", interval(t.cat.opts.Retry.Wait(tries+1)), j.RestoreID)
	return err
}

// discarded notes that what a restore kept is removed.
func (t *tx) discarded(ctx context.Context, j openJob, f fenced) error {
	_, err := t.exec(ctx, "UPDATE restores SET kept_state = 'removed', kept_error = '', kept_retry_at = NULL WHERE id = ? AND kept_state = 'kept'", f.RestoreID)
	if err != nil {
		return err
	}
	return t.complete(ctx, j)
}

// discardFailed has what a restore kept removed later. It stays visible, with the reason.
func (t *tx) discardFailed(ctx context.Context, j openJob, fail *wire.Failure) error {
	_, err := t.exec(ctx, "UPDATE restores SET kept_retry_at = now() + ?, kept_error = ? WHERE id = ? AND kept_state = 'kept'",
		interval(discardAgain), cut(fail.Error(), 2000), j.RestoreID)
	return err
}

// safetyFailed is why a restore whose safety backup was not made has failed.
func (t *tx) safetyFailed(ctx context.Context, j openJob) (*wire.Failure, error) {
	var b struct {
		ID      int64
		Message string
	}
	err := t.scan(ctx, &b, `SELECT b.id, coalesce(nullif(b.error_message, ''), 'it ended without success') AS message
		FROM jobs j JOIN jobs f ON f.id = j.after_job_id JOIN database_backups b ON b.id = f.backup_id WHERE j.id = ?`, j.ID)
	if err != nil {
		return nil, err
	}
	return wire.Failf(wire.CodeSafetyBackup, "safety backup %d of the target was not made, so nothing was touched: %s", b.ID, b.Message).At(wire.StagePrepare).
		WithHint("`devflowctl backup show %d` tells more; mend that and ask for the restore again, or decline the backup with --skip-safety-backup", b.ID), nil
}

// holdDeadlines keeps restores that wait for their safety backup from running out of time: that one has its own bounds.
func (t *tx) holdDeadlines(ctx context.Context) error {
	_, err := t.exec(ctx, `UPDATE jobs SET deadline_at = now() + ? WHERE id IN (
		SELECT j.id FROM jobs j JOIN jobs f ON f.id = j.after_job_id WHERE j.status = 'queued' AND f.`+jobOpen+` AND j.deadline_at < now() + ? FOR UPDATE OF j SKIP LOCKED)`,
		interval(controller.DefaultDeadline), interval(deadlineHeld))
	return err
}

// sweepRestores looks after the targets of restores in place: there are rarely any.
func (t *tx) sweepRestores(ctx context.Context, res *controller.SweepResult) error {
	var due struct{ Settle, Discard bool }
	err := t.scan(ctx, &due, `SELECT EXISTS (SELECT FROM restores WHERE target_state = 'unknown') AS settle,
		EXISTS (SELECT FROM restores WHERE kept_state = 'kept' AND kept_until <= now()) AS discard`)
	if err == nil && due.Settle {
		err = t.settleDue(ctx, res)
	}
	if err == nil && due.Discard {
		err = t.discardDue(ctx, res)
	}
	return err
}

// settleDue has the agents asked that are connected what came of swaps that nobody knows of, one job at a time for each.
func (t *tx) settleDue(ctx context.Context, res *controller.SweepResult) error {
	const due = `r.target_state = 'unknown' AND coalesce(r.settle_after, '-infinity') <= now()
		AND NOT EXISTS (SELECT FROM jobs j WHERE j.restore_id = r.id AND j.` + jobOpen + `)`
	ids, err := t.lockDue(ctx, due)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := t.insertSwapJob(ctx, sweeper, id, wire.JobSettle); err != nil {
			return err
		}
		res.Settle++
	}
	return nil
}

// discardDue has removed what restores kept, once its time is over and nobody is bringing it back.
func (t *tx) discardDue(ctx context.Context, res *controller.SweepResult) error {
	const due = `r.kept_state = 'kept' AND r.kept_until <= now() AND coalesce(r.kept_retry_at, '-infinity') <= now()
		AND NOT EXISTS (SELECT FROM jobs j WHERE j.restore_id = r.id AND j.` + jobOpen + `)
		AND NOT EXISTS (SELECT FROM restores u WHERE u.undo_of = r.id AND (u.status IN ('pending', 'running') OR u.target_state = 'unknown'))`
	ids, err := t.lockDue(ctx, due)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.discard(ctx, sweeper, id); err != nil {
			return err
		}
		res.Discard++
	}
	return nil
}

// lockDue locks restores whose agent is connected and that meet a condition. What someone else has locked comes later.
func (t *tx) lockDue(ctx context.Context, due string) ([]int64, error) {
	// Two statements: the second one sees what was committed before the first one had the locks.
	var ids []int64
	err := t.scan(ctx, &ids, `SELECT r.id FROM restores r JOIN servers s ON s.id = r.server_id JOIN database_backups b ON b.id = r.backup_id
		WHERE `+t.cat.online()+` AND `+due+` ORDER BY r.id LIMIT ? FOR NO KEY UPDATE OF r SKIP LOCKED FOR KEY SHARE OF b SKIP LOCKED`, dueAtOnce)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	var still []int64
	err = t.scan(ctx, &still, "SELECT r.id FROM restores r WHERE r.id = ANY (?) AND "+due+" ORDER BY r.id", idArray(ids))
	return still, err
}

// discard orders the removal of what a restore kept. Its row is locked.
func (t *tx) discard(ctx context.Context, actor controller.Actor, restore int64) error {
	job, err := t.insertSwapJob(ctx, actor, restore, wire.JobDiscard)
	if err != nil {
		return err
	}
	r, err := t.restore(ctx, restore)
	if err != nil {
		return err
	}
	detail := map[string]any{"server": r.Server, "instance": r.Instance, "database": r.DatabaseName, "kept": r.KeptName, "job_id": job}
	return t.auditResult(ctx, actor, "restore.discard", &r.ProjectID, itoa(restore), detail, controller.AuditAccepted)
}

func (t *tx) insertSwapJob(ctx context.Context, actor controller.Actor, restore int64, kind string) (int64, error) {
	var r struct{ ProjectID, ServerID, BackupID int64 }
	if err := t.scan(ctx, &r, "SELECT project_id, server_id, backup_id FROM restores WHERE id = ?", restore); err != nil {
		return 0, err
	}
	return t.insertJob(ctx, newJob{
		kind: kind, project: r.ProjectID, server: r.ServerID, backup: r.BackupID, restore: &restore, duration: swapDuration, deadline: controller.DefaultDeadline, by: actor.Name,
	})
}

// kept is what a restore in place has left on a host.
type kept struct {
	ID           int64
	Server       string
	DatabaseName string
	KeptName     string
	Unknown      bool // whether it is there is not known
}

func (k kept) String() string {
	if k.Unknown {
		return fmt.Sprintf("restore %d of %q on %s, of which is not known yet what it came to", k.ID, k.DatabaseName, k.Server)
	}
	return fmt.Sprintf("%q of %q on %s, kept by restore %d", k.KeptName, k.DatabaseName, k.Server, k.ID)
}

const keptColumns = "r.id, s.name AS server, r.database_name, r.kept_name, r.kept_state <> 'kept' AS unknown"

// nothingKept refuses to end a project while hosts still have what its restores in place replaced: nobody could bring it back then.
func (t *tx) nothingKept(ctx context.Context, p controller.Project) error {
	var rows []kept
	err := t.scan(ctx, &rows, `SELECT `+keptColumns+` FROM restores r JOIN servers s ON s.id = r.server_id
		WHERE r.project_id = ? AND (r.kept_state = 'kept' OR r.target_state = 'unknown') AND s.revoked_at IS NULL ORDER BY r.id LIMIT 5`, p.ID)
	if err != nil || len(rows) == 0 {
		return err
	}
	return controller.Errorf(controller.EConflict, "restores in place of project %q are not over: %s", p.Slug, keptList(rows)).
		WithHint("`devflowctl restore discard ID` removes what is kept, `devflowctl restore undo ID` brings it back; else wait until its time is over")
}

func keptList(rows []kept) string {
	said := make([]string, len(rows))
	for i, k := range rows {
		said[i] = k.String()
	}
	return strings.Join(said, "; ")
}

// keptOn lists what restores in place have left on a server, of whatever project.
func (t *tx) keptOn(ctx context.Context, server int64) ([]string, error) {
	var names []string
	err := t.elevated(ctx, func() error {
		return t.scan(ctx, &names, "SELECT kept_name FROM restores WHERE server_id = ? AND kept_state = 'kept' ORDER BY id", server)
	})
	return names, err
}

// leaveKept says of what restores in place have left on a server that is being revoked that nobody removes it.
func (t *tx) leaveKept(ctx context.Context, s controller.Server) error {
	var rows []kept
	err := t.scan(ctx, &rows, `UPDATE restores r SET kept_error = 'the server was revoked: it is still there, and has to be removed by hand' FROM servers s
		WHERE s.id = r.server_id AND r.server_id = ? AND r.kept_state = 'kept' RETURNING `+keptColumns, s.ID)
	if err != nil || len(rows) == 0 {
		return err
	}
	t.after(func() {
		t.cat.log.Warn("a server was revoked that still has what restores in place replaced: remove it by hand", "server", s.Name, "kept", keptList(rows))
	})
	return nil
}
