package daemon

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"devflowbackup/agent/internal/link"
	"devflowbackup/shared/wire"
)

const (
	// readyPatience is how long a start waits for controllers before it counts as one: that they are away is no fault of
	// this host, and whoever starts the service shall not wait for them.
	readyPatience = 45 * time.Second
	// turnPatience is how long a loop may take longer than it has to, commandPatience how long a command may take to be
	// accepted: it is written to the journal, no more.
	turnPatience    = 30 * time.Second
	commandPatience = time.Minute
	// stopMargin is what a stop may take beside the wait for running jobs.
	stopMargin = 30 * time.Second
)

// turns are when the loops that an agent cannot be without last came round, as time since the start; 0 is never.
type turns struct {
	started time.Time // monotonic
	lease   atomic.Int64
	beat    atomic.Int64
	command atomic.Int64 // since when a command is looked at; 0 while there is none
}

func (t *turns) now() int64 { return int64(time.Since(t.started)) }

// late tells how long ago at was, if that is longer than most.
func (t *turns) late(at *atomic.Int64, most time.Duration) (time.Duration, bool) {
	v := at.Load()
	since := time.Duration(t.now() - v)
	return since, v != 0 && since > most
}

// obeying notes that commands are looked at one after the other: one that does not come to an end holds all others up.
func (t *turns) obeying(h link.Handler) link.Handler {
	return func(m wire.Directive) any {
		t.command.Store(t.now())
		defer t.command.Store(0)
		return h(m)
	}
}

// alive tells whether this agent still does what nobody else sees it fail to do: it keeps its leases, it can stop its attempts,
// and it obeys. That no controller is heard is not told here: a new start would mend nothing.
func (d *Daemon) alive(context.Context) error {
	d.runner.Progress() // hangs if the runner does
	if since, late := d.turns.late(&d.turns.lease, leaseCheckEvery+turnPatience); late {
		return fmt.Errorf("leases were last looked at %s ago", since.Round(time.Second))
	}
	// A beat waits for as long as the next one for the broker.
	if since, late := d.turns.late(&d.turns.beat, 2*time.Duration(d.heartbeat.Load())+turnPatience); late {
		return fmt.Errorf("the last heartbeat was %s ago", since.Round(time.Second))
	}
	if since, late := d.turns.late(&d.turns.command, commandPatience); late {
		return fmt.Errorf("a command has been looked at for %s", since.Round(time.Second))
	}
	return nil
}

// watchLoop gives the service manager its signs of life.
func (d *Daemon) watchLoop(ctx context.Context) {
	d.opt.Supervisor.Watch(ctx, d.alive, func(err error) { d.log.Error("no sign of life for the service manager", "err", err) })
}

// readyLoop tells the service manager that the agent is up.
func (d *Daemon) readyLoop(ctx context.Context) {
	t := time.NewTimer(readyPatience)
	defer t.Stop()
	select {
	case <-d.welcomed:
	case <-t.C:
		d.isReady.Store(true)
		d.tell(d.opt.Supervisor.Ready("no controller has answered yet; trying on"))
		if !d.known(ctx) {
			return
		}
	case <-ctx.Done():
		return
	}
	d.isReady.Store(true)
	d.tell(d.opt.Supervisor.Ready("known to the controllers as " + d.id.Installation().ServerName))
}

// tell is for what the service manager could not be told, which is no reason to stop.
func (d *Daemon) tell(err error) {
	if err != nil {
		d.log.Warn("service manager", "err", err)
	}
}
