package daemon

import (
	"context"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/runner"
)

// settings are a configuration in force, and what follows from it. They never change: a reload makes others.
type settings struct {
	cfg   config.Config
	terms runner.Terms
}

func (d *Daemon) config() config.Config {
	if s := d.settings.Load(); s != nil {
		return s.cfg
	}
	return d.opt.Config
}

// open makes settings. An instance that is as it was before keeps its engine.
func (d *Daemon) open(cfg config.Config, before *settings) (*settings, error) {
	s := &settings{cfg: cfg, terms: runner.Terms{
		Concurrency: cfg.Concurrency, StallTimeout: cfg.Limits.StallTimeout.D(), ProveAll: cfg.Limits.ProveAll(runtime.NumCPU()),
	}}
	for _, in := range cfg.Instances {
		if before != nil {
			same := func(o runner.Instance) bool { return reflect.DeepEqual(o.Config, in) }
			if i := slices.IndexFunc(before.terms.Instances, same); i >= 0 {
				s.terms.Instances = append(s.terms.Instances, before.terms.Instances[i])
				continue
			}
		}
		e, err := d.opt.Engine(in, d.log)
		if err != nil {
			return nil, err
		}
		s.terms.Instances = append(s.terms.Instances, runner.Instance{Config: in, Engine: e})
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	s.terms.Client = client
	return s, nil
}

// reloadLoop reads the configuration anew when it is asked to.
func (d *Daemon) reloadLoop(ctx context.Context) {
	if d.opt.Load == nil {
		return
	}
	for {
		select {
		case <-d.opt.Hangup:
		case <-ctx.Done():
			return
		}
		// A manager that still waits for the start must not be told that it is over.
		ready := d.isReady.Load()
		if ready {
			d.tell(d.opt.Supervisor.Reloading())
		}
		status := "configuration read anew"
		if err := d.reload(); err != nil {
			d.log.Error("the configuration is not read anew: the one before stays in force", "err", err)
			status = "the changed configuration has a mistake, and the one before stays in force: " + err.Error()
		}
		if ready {
			d.tell(d.opt.Supervisor.Ready(status))
		}
	}
}

// reload puts a changed configuration in force as a whole or not at all. Running attempts end under the one that they began
// under. What cannot change while the agent runs stays, and is named in the log.
func (d *Daemon) reload() error {
	cfg, err := d.opt.Load()
	if err != nil {
		return err
	}
	before := d.settings.Load()
	fixed := cfg.Keep(before.cfg)
	after, err := d.open(cfg, before)
	if err != nil {
		return err
	}
	d.settings.Store(after)
	d.runner.Adopt(after.terms)
	before.terms.Client.CloseIdle()
	if d.opt.Log != nil {
		d.opt.Log.SetLevel(hclog.LevelFromString(cfg.Log.Level))
	}
	if len(fixed) > 0 {
		d.log.Warn("these changes need a restart of the agent", "keys", strings.Join(fixed, ", "))
	}
	d.log.Info("configuration read anew", "instances", len(after.terms.Instances), "concurrency", cfg.Concurrency)
	kick(d.inventory.anew)
	if cfg.Concurrency != before.cfg.Concurrency {
		kick(d.again)
	}
	return nil
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
