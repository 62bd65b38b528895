package daemon

import (
	"context"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/metrics"
	"devflowbackup/agent/internal/runner"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

// engineNames are those that figures are told by.
var engineNames = []string{wire.EnginePostgreSQL, wire.EngineMySQL, wire.EngineSQLite}

func (d *Daemon) openMetrics(cfg config.Metrics) {
	if cfg.Listen == "" {
		return
	}
	d.metrics = metrics.New(metrics.Options{
		State: d.state, Alive: d.alive, Token: cfg.Token, Engines: engineNames, Version: version.Version, Log: d.log.Named("metrics"),
	})
}

func (d *Daemon) metricsLoop(ctx context.Context) {
	if d.metrics != nil {
		d.metrics.Serve(ctx, d.opt.Config.Metrics.Listen)
	}
}

func (d *Daemon) jobEnded(e runner.Ended) {
	if d.metrics != nil {
		d.metrics.Ended(e)
	}
}

func (d *Daemon) refused(code string) {
	if d.metrics != nil {
		d.metrics.Refused(code)
	}
}

// state is how the agent is, from memory alone.
func (d *Daemon) state() metrics.State {
	s := metrics.State{
		Connected: d.link.IsConnected(), LastHeard: d.link.LastHeard(), Running: len(d.runner.Progress()), Concurrency: d.config().Concurrency,
		Journal: len(d.journal.Entries()), Databases: make(map[string]int), Local: d.localFacts(),
		Dropped: map[string]int64{"command": d.link.Dropped("command"), "reply": d.link.Dropped("reply")},
	}
	select {
	case <-d.welcomed:
		s.Known = true
	default:
	}
	d.inventory.mu.Lock()
	defer d.inventory.mu.Unlock()
	if f := d.inventory.found; f != nil {
		s.Discovered = f.at
		for _, db := range f.databases {
			s.Databases[db.Engine]++
		}
		for _, in := range f.instances {
			if in.Error != "" {
				s.FailingInstances++
			}
		}
	}
	return s
}
