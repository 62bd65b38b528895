package catalog

import (
	"context"
	"fmt"
	"time"

	"devflowbackup/controller"
)

const (
	remindEvery  = time.Minute // how often it is looked for alarms to be reminded of
	remindAtOnce = 1000
	trimEvery    = time.Hour
	trimAtOnce   = 20_000
	noticesKept  = 90 * 24 * time.Hour
	alarmsKept   = 400 * 24 * time.Hour
	mutesKept    = 400 * 24 * time.Hour
	pingsKept    = 24 * time.Hour
)

// Remind tells again of open alarms of at least a warning: each channel once its own time has passed since it was told last. It returns how many
// alarms it told of; none while another controller did it within the minute.
func (c *Catalog) Remind(ctx context.Context, now time.Time) (n int, err error) {
	mine, err := c.claimRound(ctx, "reminders", now, remindEvery)
	if err != nil || !mine {
		return 0, err
	}
	for {
		var looked, told int
		err := c.system(ctx, func(t *tx) (err error) {
			looked, told, err = t.remind(ctx, now)
			return err
		})
		if err != nil {
			return n, fmt.Errorf("remind of open alarms: %w", err)
		}
		if n += told; looked < remindAtOnce {
			return n, nil
		}
	}
}

func (t *tx) remind(ctx context.Context, now time.Time) (looked, told int, err error) {
	if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockAlarms); err != nil {
		return 0, 0, err
	}
	n, err := t.news(ctx, now)
	if err != nil {
		return 0, 0, err
	}
	ids := []int64{}
	if err := t.scan(ctx, &ids, "SELECT id FROM alarms WHERE closed_at IS NULL AND severity <> 'info' AND NOT silenced AND coalesce(remind_at, '-infinity') <= ? ORDER BY id LIMIT ?", now, remindAtOnce); err != nil || len(ids) == 0 {
		return 0, 0, err
	}
	if err := n.load(ctx, "a.id = ANY (?)", idArray(ids)); err != nil {
		return 0, 0, err
	}
	var rows []struct {
		AlarmID, ChannelID int64
		At                 time.Time
	}
	if err := t.scan(ctx, &rows, `SELECT n.alarm_id, e.channel_id, max(e.created_at) AS at FROM notices n JOIN deliveries e ON e.notice_id = n.id
		WHERE n.alarm_id = ANY (?) AND n.event IN ('opened', 'reminder') GROUP BY 1, 2`, idArray(ids)); err != nil {
		return 0, 0, err
	}
	last := map[[2]int64]time.Time{}
	for _, r := range rows {
		last[[2]int64{r.AlarmID, r.ChannelID}] = r.At
	}
	for _, a := range n.open {
		next := now.Add(time.Hour) // channels and mutes may be others by then
		due := map[int64]bool{}
		to, _ := n.of(controller.Routing{Kind: a.Kind, Event: controller.NoticeReminder, Severity: a.Severity, AlarmID: &a.ID, ProjectID: a.ProjectID, ServerID: a.ServerID, DatabaseID: a.DatabaseID, ChannelID: a.ChannelID})
		for _, id := range to {
			hours := n.channel(id).RemindHours
			if hours == 0 {
				continue
			}
			since, known := last[[2]int64{a.ID, id}]
			if !known {
				since = a.OpenedAt
			}
			at := since.Add(time.Duration(hours) * time.Hour)
			if !at.After(now) {
				due[id] = true
				at = now.Add(time.Duration(hours) * time.Hour)
			}
			if at.Before(next) {
				next = at
			}
		}
		if _, err := t.exec(ctx, "UPDATE alarms SET remind_at = ? WHERE id = ?", next, a.ID); err != nil {
			return 0, 0, err
		}
		if len(due) == 0 {
			continue
		}
		told++
		detail := sentences(a.Detail, "It stands since "+utc(a.OpenedAt))
		if a.Count > 1 {
			detail = sentences(a.Detail, fmt.Sprintf("It stands since %s and came %d times", utc(a.OpenedAt), a.Count))
		}
		n.tell(notice{Kind: a.Kind, Event: controller.NoticeReminder, Severity: a.Severity, Alarm: a, Title: "Still: " + a.Title, Detail: detail, At: now, only: due})
	}
	return len(ids), told, n.write(ctx)
}

// Summarise writes the weekly summary if it is due and was not written yet, and tells whether it did.
func (c *Catalog) Summarise(ctx context.Context, now time.Time) (done bool, err error) {
	err = c.system(ctx, func(t *tx) error {
		done = false
		var round struct {
			Last      *time.Time
			Day       *int
			Clock     string
			Timezone  string
			CreatedAt time.Time
		}
		found, err := t.find(ctx, &round, `SELECT nullif(r.done_at, '-infinity') AS last, i.summary_day AS day, i.summary_time AS clock, i.timezone, i.created_at
			FROM alarm_rounds r CROSS JOIN installation i WHERE r.name = 'summary' FOR UPDATE OF r SKIP LOCKED`)
		if err != nil || !found || round.Day == nil {
			return err
		}
		zone, err := controller.LoadZone(round.Timezone)
		if err != nil {
			return err
		}
		due, err := controller.SummaryDue(now, *round.Day, round.Clock, zone)
		if err != nil {
			return err
		}
		first := round.Last == nil
		if !first && due.Sub(*round.Last) < 5*24*time.Hour { // a day that was changed makes no second one of a week
			return nil
		}
		if _, err := t.exec(ctx, "UPDATE alarm_rounds SET done_at = ? WHERE name = 'summary'", due); err != nil || first {
			return err // there is no whole week yet
		}
		done = true
		return t.summarise(ctx, now, due)
	})
	if err != nil {
		return false, fmt.Errorf("write the weekly summary: %w", err)
	}
	return done, nil
}

func (t *tx) summarise(ctx context.Context, now, due time.Time) error {
	from := due.AddDate(0, 0, -7)
	var f struct {
		Completed, Failed, Bytes, Restores, Missed, Verified, Unverifiable int64
	}
	err := t.scan(ctx, &f, `SELECT b.*, (SELECT count(*) FROM restores WHERE status = 'completed' AND created_at >= ?0 AND created_at < ?1) AS restores,
			(SELECT count(*) FROM schedule_occurrences WHERE state = 'missed' AND code NOT IN ('paused', 'changed', 'nothing_covered') AND at >= ?0 AND at < ?1) AS missed,
			(SELECT count(*) FROM verifications WHERE ok AND at >= ?0 AND at < ?1) AS verified, (SELECT count(*) FROM verifications WHERE NOT ok AND at >= ?0 AND at < ?1) AS unverifiable
		FROM (SELECT count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed, coalesce(sum(file_size) FILTER (WHERE status = 'completed'), 0)::bigint AS bytes
			FROM database_backups WHERE created_at >= ?0 AND created_at < ?1) b`, from, due)
	if err != nil {
		return err
	}
	p, err := t.protectionSummary(ctx, "")
	if err != nil {
		return err
	}
	detail := fmt.Sprintf("Backups: %d completed, %d failed, %s stored.\nMissed runs of schedules: %d.\nVerifications: %d passed, %d failed.\nRestores: %d.\n", f.Completed, f.Failed, controller.SizeText(f.Bytes), f.Missed, f.Verified, f.Unverifiable, f.Restores)
	detail += fmt.Sprintf("Databases: %d, of them %d protected", p.Databases, p.States[controller.ProtectionProtected])
	for _, state := range controller.ProtectionStates {
		if count := p.States[state]; count > 0 && state != controller.ProtectionProtected {
			detail += fmt.Sprintf(", %d %s", count, state)
		}
	}
	detail += fmt.Sprintf(".\nOpen alarms: %d critical, %d warning.\n", p.Alarms[controller.SeverityCritical], p.Alarms[controller.SeverityWarning])
	if len(p.Wrong) == 0 {
		detail += "Nothing is wrong."
	}
	for _, w := range p.Wrong {
		detail += w.Text + "\n"
	}
	n, err := t.news(ctx, now)
	if err != nil {
		return err
	}
	n.tell(notice{
		Kind: controller.NoticeSummary, Event: controller.NoticeHappened, Severity: controller.SeverityInfo, At: now,
		Title: fmt.Sprintf("Backups of the week to %s: %d completed, %d failed", due.Format(time.DateOnly), f.Completed, f.Failed), Detail: detail,
	})
	return n.write(ctx)
}

// TrimNotices removes what is no longer kept: old notices, messages, alarms, mutes and pings.
func (c *Catalog) TrimNotices(ctx context.Context, now time.Time) error {
	mine, err := c.claimRound(ctx, "trim", now, trimEvery)
	if err != nil || !mine {
		return err
	}
	for _, trim := range []struct {
		what, query string
		before      time.Time
	}{
		{"notices", `DELETE FROM notices WHERE id IN (SELECT n.id FROM notices n LEFT JOIN alarms a ON a.id = n.alarm_id WHERE n.at < ? AND (a.id IS NULL OR a.closed_at IS NOT NULL) ORDER BY n.at LIMIT ?)`, now.Add(-noticesKept)},
		{"messages", `DELETE FROM messages WHERE id IN (SELECT m.id FROM messages m WHERE m.ended_at < ? AND NOT EXISTS (SELECT FROM deliveries e WHERE e.message_id = m.id)
			AND NOT EXISTS (SELECT FROM deliveries e WHERE e.fallback_message_id = m.id) AND NOT EXISTS (SELECT FROM messages f WHERE f.fallback_of = m.id) ORDER BY m.ended_at LIMIT ?)`, now.Add(-noticesKept)},
		{"mutes", `DELETE FROM mutes WHERE id IN (SELECT id FROM mutes WHERE coalesce(ended_at, until) < ? LIMIT ?)`, now.Add(-mutesKept)},
		{"alarms", `DELETE FROM alarms WHERE id IN (SELECT a.id FROM alarms a WHERE a.closed_at < ? AND NOT EXISTS (SELECT FROM notices n WHERE n.alarm_id = a.id)
			AND NOT EXISTS (SELECT FROM mutes m WHERE m.alarm_id = a.id) LIMIT ?)`, now.Add(-alarmsKept)},
		{"pings", `DELETE FROM pings WHERE id IN (SELECT id FROM pings WHERE created_at < ? LIMIT ?)`, now.Add(-pingsKept)},
	} {
		for more := true; more; {
			err := c.system(ctx, func(t *tx) error {
				n, err := t.exec(ctx, trim.query, trim.before, trimAtOnce)
				more = n == trimAtOnce
				return err
			})
			if err != nil {
				return fmt.Errorf("trim %s: %w", trim.what, err)
			}
		}
	}
	return nil
}

const (
	probeAge   = 24 * time.Hour
	probesMost = 1000
)

// DueProbes returns the storages that are to be probed: those that jobs fail at, at once; daily those in use, and each interval those that did not pass. Each is
// one controller's.
func (c *Catalog) DueProbes(ctx context.Context, now time.Time, every time.Duration) ([]int64, error) {
	mine, err := c.claimRound(ctx, "probes", now, every)
	if err != nil {
		return nil, err
	}
	var ids []int64
	err = c.system(ctx, func(t *tx) error {
		ids = nil
		return t.scan(ctx, &ids, `UPDATE storages SET suspect_at = NULL WHERE id IN (SELECT id FROM storages WHERE deleted_at IS NULL AND kind <> 'local'
			AND (suspect_at IS NOT NULL OR ? AND (NOT probe_ok OR coalesce(probed_at, '-infinity') < ?)) ORDER BY probed_at NULLS FIRST, id LIMIT ? FOR UPDATE SKIP LOCKED) RETURNING id`,
			mine, now.Add(-probeAge), probesMost)
	})
	return ids, err
}

// ListenFacts calls wake when something happened that is to be looked at, and once when it has begun to listen. It returns when the context ends or the
// connection breaks: then something may have been missed.
func (c *Catalog) ListenFacts(ctx context.Context, wake func()) error {
	return c.listen(ctx, "LISTEN devflow_facts", wake)
}
