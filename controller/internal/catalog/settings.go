package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// defaultSettings are those of an installation that is being made.
var defaultSettings = controller.Settings{Timezone: "UTC", CleanupTime: "00:00", SummaryDay: "1", SummaryTime: "08:00"}

// Settings returns what is the same for every controller. Whoever may ask may see it.
func (c *Catalog) Settings(ctx context.Context, _ controller.Actor) (controller.Settings, error) {
	s, _, err := c.CleanupSettings(ctx)
	return s, err
}

// CleanupSettings returns the settings and since when the daily clean-up runs at their time: what would have been before that is not
// made up for. It is zero before the installation is made.
func (c *Catalog) CleanupSettings(ctx context.Context) (controller.Settings, time.Time, error) {
	var row settingsRow
	err := c.system(ctx, func(t *tx) (err error) {
		row, err = t.settings(ctx, "")
		return err
	})
	return row.Settings, row.CleanupSince, err
}

type settingsRow struct {
	controller.Settings
	CleanupSince time.Time
}

func (t *tx) settings(ctx context.Context, how string) (settingsRow, error) {
	var row settingsRow
	found, err := t.find(ctx, &row, "SELECT timezone, cleanup_time, cleanup_since, coalesce(summary_day::text, 'off') AS summary_day, summary_time FROM installation "+how)
	if err == nil && !found {
		row.Settings = defaultSettings
	}
	return row, err
}

// UpdateSettings changes the settings that are given; empty ones stay. A changed time is that of the next day at the earliest if it has
// passed today.
func (c *Catalog) UpdateSettings(ctx context.Context, actor controller.Actor, s controller.Settings) (controller.Settings, error) {
	if err := wholeInstallation(actor, "settings"); err != nil {
		return controller.Settings{}, err
	}
	var next controller.Settings
	err := c.system(ctx, func(t *tx) error {
		old, err := t.settings(ctx, "FOR UPDATE")
		if err == nil {
			err = controller.Match(ctx, old.Version())
		}
		if err != nil {
			return err
		}
		next = controller.Settings{
			Timezone: orText(s.Timezone, old.Timezone), CleanupTime: orText(s.CleanupTime, old.CleanupTime),
			SummaryDay: orText(s.SummaryDay, old.SummaryDay), SummaryTime: orText(s.SummaryTime, old.SummaryTime),
		}
		if err := next.Validate(); err != nil {
			return err
		}
		if next == old.Settings {
			return nil
		}
		retimed := next.Timezone != old.Timezone || next.CleanupTime != old.CleanupTime
		n, err := t.exec(ctx, `UPDATE installation SET timezone = ?, cleanup_time = ?, cleanup_since = CASE WHEN ? THEN now() ELSE cleanup_since END,
			summary_day = nullif(?, 'off')::smallint, summary_time = ?`, next.Timezone, next.CleanupTime, retimed, next.SummaryDay, next.SummaryTime)
		if err == nil && n == 0 {
			err = controller.Errorf(controller.EUnavailable, "the installation is not made yet").WithHint("start the controller")
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, actor, "settings.update", nil, "installation", map[string]any{
			"timezone": next.Timezone, "cleanup_time": next.CleanupTime, "timezone_before": old.Timezone, "cleanup_time_before": old.CleanupTime,
			"summary_day": next.SummaryDay, "summary_time": next.SummaryTime, "summary_day_before": old.SummaryDay, "summary_time_before": old.SummaryTime,
		})
	})
	if err != nil {
		return controller.Settings{}, err
	}
	return next, nil
}
