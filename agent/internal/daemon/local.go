package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/host"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/shared/wire"
)

const (
	localEvery = 10 * time.Second
	// localPatience is how long the first look at the backup directory may delay the start, and how old the last one may
	// be before the directory counts as hanging.
	localPatience = 2 * time.Second
	localStale    = time.Minute
)

// localUsage is what the backup directory looked like.
type localUsage struct {
	dir wire.LocalDir
	at  time.Time
}

// openLocal makes the backup directory, if one is configured. One that cannot be used does not stop the agent: it shows in
// what controllers are told, and backups to it fail.
func (d *Daemon) openLocal(cfg config.Local) {
	if cfg.Dir == "" {
		return
	}
	d.local = localstore.New(localstore.Options{Dir: cfg.Dir, MinFree: int64(cfg.MinFree), Wrap: d.opt.WrapFile})
	d.localDir.Store(&localUsage{dir: wire.LocalDir{Dir: cfg.Dir, MinFree: int64(cfg.MinFree), Error: "not looked at yet"}, at: time.Now()})
	looked := make(chan struct{})
	go func() { // a disk may hang
		defer close(looked)
		if err := d.local.Make(); err != nil {
			d.log.Error("the backup directory cannot be used", "dir", cfg.Dir, "err", err)
		}
		d.lookLocal()
	}()
	t := time.NewTimer(localPatience)
	defer t.Stop()
	select {
	case <-looked:
	case <-t.C:
		d.log.Error("the backup directory does not answer", "dir", cfg.Dir)
	}
}

func (d *Daemon) lookLocal() { d.localDir.Store(&localUsage{dir: d.local.Usage(), at: time.Now()}) }

// localLoop looks at the backup directory now and again, so that heartbeats never wait for its disk. A look that hangs is
// not waited for when the agent stops.
func (d *Daemon) localLoop(ctx context.Context) {
	if d.local == nil {
		return
	}
	for sleep(ctx, localEvery) {
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			d.lookLocal()
		}()
		select {
		case <-looked:
		case <-ctx.Done():
			return
		}
	}
}

// facts describes this host.
func (d *Daemon) facts() wire.Host {
	h := host.Facts(d.config().StateDir)
	h.Local = d.localFacts()
	return h
}

// localFacts describes the backup directory as it was looked at last, nil if there is none.
func (d *Daemon) localFacts() *wire.LocalDir {
	u := d.localDir.Load()
	if u == nil {
		return nil
	}
	dir := u.dir
	if age := time.Since(u.at); age > localStale {
		dir.Error = fmt.Sprintf("its disk has not answered for %s", age.Round(time.Second))
	}
	return &dir
}

// onLocal looks at the backup directory, or changes one file of it.
func (d *Daemon) onLocal(m wire.Directive) any {
	reply, err := d.doLocal(m)
	if err != nil {
		d.log.Debug("local order", "err", err)
		reply = wire.LocalReply{Failure: wire.AsFailure(err)}
	}
	reply.V, reply.Session = wire.Version, d.session
	return reply
}

func (d *Daemon) doLocal(m wire.Directive) (r wire.LocalReply, err error) {
	var o wire.LocalOrder
	if err := m.Into(&o); err != nil {
		return r, wire.Failf(wire.CodeBadRequest, "%w", err)
	}
	if d.local == nil {
		return r, wire.Failf(wire.CodeNotAllowed, "this host has no backup directory").
			WithHint("set storage.local.dir in the agent's configuration")
	}
	switch o.Op {
	case wire.LocalStat:
		return d.statLocal(o)
	case wire.LocalRead:
		if o.Length < 1 {
			return r, wire.Failf(wire.CodeBadRequest, "read %d bytes", o.Length)
		}
		r.Data, r.Size, err = d.local.ReadAt(o.Key, o.Offset, o.Length)
		r.Exists = err == nil
		return r, err
	case wire.LocalWrite:
		return r, d.writeLocal(o)
	case wire.LocalDelete:
		if d.runner.Writing(o.Key) {
			return r, wire.Failf(wire.CodeBusy, "the backup %s is being written", o.Key).Retry()
		}
		err := d.local.Delete(o.Key)
		if err == nil {
			d.log.Info("deleted a file of the backup directory", "key", o.Key)
		}
		return r, err
	case wire.LocalProbe:
		r.Steps = d.local.Probe()
		d.lookLocal()
		dir := d.localDir.Load().dir
		r.Dir = &dir
		return r, nil
	case wire.LocalList:
		r.Entries, r.More, err = d.local.List(o.Key, o.After, int(min(o.Length, wire.MaxLocalList+1)))
		return r, err
	}
	return r, wire.Failf(wire.CodeBadRequest, "this agent does not know the local operation %.32q", o.Op).WithHint("update the agent")
}

func (d *Daemon) statLocal(o wire.LocalOrder) (r wire.LocalReply, err error) {
	if r.Size, r.Exists, err = d.local.Stat(o.Key); err != nil || !r.Exists || o.Length == 0 {
		return r, err
	}
	r.Data, r.Size, err = d.local.ReadAt(o.Key, 0, o.Length)
	return r, err
}

func (d *Daemon) writeLocal(o wire.LocalOrder) error {
	if !strings.HasSuffix(o.Key, localstore.ManifestSuffix) || len(o.Data) == 0 || len(o.Data) > wire.MaxLocalData {
		return wire.Failf(wire.CodeBadRequest, "write %d bytes as %.200q: controllers write manifests of up to %d bytes only", len(o.Data), o.Key, wire.MaxLocalData)
	}
	return d.local.WriteFile(o.Key, o.Data)
}
