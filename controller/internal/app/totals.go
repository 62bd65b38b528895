package app

import (
	"context"
	"time"
)

// foldEvery is how often the totals of backups are folded: what is not folded yet is summed up by each reader.
const foldEvery = 30 * time.Second

func (a *App) foldTotals(ctx context.Context) {
	t := time.NewTicker(foldEvery)
	defer t.Stop()
	for {
		if err := a.catalog.FoldTotals(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("fold totals", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
