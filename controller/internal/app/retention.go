package app

import (
	"context"
	"time"

	"devflowbackup/controller/internal/retention"
)

// startRetention removes what is no longer kept: daily, after backups of schedules, and when the API asks.
func (a *App) startRetention(ctx context.Context) {
	a.cleaner = retention.NewRunner(retention.Options{
		Store: a.catalog, Log: a.log.Named("retention"), Now: a.catalog.Now, Grace: deleteGrace(a.cfg.Timing.DeleteGrace),
	})
	a.cleaner.Start(ctx)
	a.onStop(func(context.Context) error { a.cleaner.Stop(); return nil })
}

// deleteGrace is the configured grace for those who take zero for their own default.
func deleteGrace(d time.Duration) time.Duration { return max(d, time.Nanosecond) }
