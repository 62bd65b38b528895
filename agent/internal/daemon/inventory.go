package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"devflowbackup/agent/internal/runner"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	discoverTimeout = 2 * time.Minute
	pageBytes       = 200 << 10 // of databases in one message, below wire.MaxMessage with what is around them
)

// inventory is what discovery found last, and what controllers know of it.
type inventory struct {
	kick chan struct{}
	anew chan struct{} // asks for a look at once

	mu    sync.Mutex
	found *found
	known string // hash that controllers hold; empty if none or not sure
}

type found struct {
	hash      string
	instances []wire.Instance
	databases []wire.Database
	at        time.Time
}

func (i *inventory) hash() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.found == nil {
		return ""
	}
	return i.found.hash
}

// told says which inventory the controllers hold after a hello.
func (i *inventory) told(hash string) {
	i.mu.Lock()
	i.known = hash
	i.mu.Unlock()
	select {
	case i.kick <- struct{}{}:
	default:
	}
}

// open returns what is to be sent, or nil.
func (i *inventory) open() *found {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.found == nil || i.found.hash == i.known {
		return nil
	}
	return i.found
}

// inventoryLoop discovers now and again, and tells controllers what has changed.
func (d *Daemon) inventoryLoop(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			d.discover(ctx)
			next.Reset(d.config().Limits.DiscoveryEvery.D())
		case <-d.inventory.anew:
			d.discover(ctx)
			next.Reset(d.config().Limits.DiscoveryEvery.D())
		case <-d.inventory.kick:
		case <-ctx.Done():
			return
		}
		select {
		case <-d.welcomed:
		default:
			continue // told kicks
		}
		if f := d.inventory.open(); f != nil {
			if err := d.sendInventory(ctx, f); err != nil {
				if ctx.Err() != nil || d.link.Err() != nil {
					return
				}
				d.log.Warn("send inventory", "err", err)
				continue
			}
			d.inventory.mu.Lock()
			d.inventory.known = f.hash
			d.inventory.mu.Unlock()
		}
	}
}

func (d *Daemon) discover(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	instances := d.settings.Load().terms.Instances
	f := &found{instances: make([]wire.Instance, len(instances))}
	databases := make([][]wire.Database, len(instances))
	var wg sync.WaitGroup
	for n, in := range instances {
		wg.Go(func() { f.instances[n], databases[n] = d.look(ctx, in) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		d.log.Warn("discovery took too long", "at_most", discoverTimeout.String())
	}
	f.databases = slices.Concat(databases...)
	if f.databases == nil {
		f.databases = []wire.Database{}
	}
	slices.SortFunc(f.databases, func(a, b wire.Database) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Name, b.Name))
	})
	text, err := json.Marshal([]any{f.instances, f.databases})
	if err != nil {
		d.log.Error("encode inventory", "err", err)
		return
	}
	sum := sha256.Sum256(text)
	f.hash, f.at = hex.EncodeToString(sum[:16]), time.Now()
	d.inventory.mu.Lock()
	d.inventory.found = f
	d.inventory.mu.Unlock()
}

// look discovers one instance. One that cannot be looked at is listed with the reason.
func (d *Daemon) look(ctx context.Context, in runner.Instance) (wire.Instance, []wire.Database) {
	out := wire.Instance{Name: in.Config.Name, Engine: in.Config.Engine, Restore: in.Config.Restore.Allowed(), InPlace: in.Config.Restore.InPlaceAllowed()}
	server, err := in.Engine.Server(ctx)
	var databases []wire.Database
	if err == nil {
		out.Version = server.Version
		databases, err = in.Engine.Discover(ctx)
	}
	if err != nil {
		out.Error = secret.ScrubURLs(err.Error())
		if ctx.Err() == nil {
			d.log.Warn("discovery", "instance", in.Config.Name, "err", err)
		}
		return out, nil
	}
	for n := range databases {
		databases[n].Instance, databases[n].Engine = in.Config.Name, in.Config.Engine
	}
	return out, databases
}

// sendInventory sends all pages; the controllers replace their list with the last.
func (d *Daemon) sendInventory(ctx context.Context, f *found) error {
	rest := f.databases
	for page := 0; ; page++ {
		n, size := 0, 0
		for n < len(rest) {
			text, err := json.Marshal(rest[n])
			if err != nil {
				return err
			}
			if size += len(text) + 1; size > pageBytes && n > 0 {
				break
			}
			n++
		}
		inv := wire.Inventory{Hash: f.hash, Page: page, Last: n == len(rest), Databases: rest[:n]}
		if page == 0 {
			inv.Instances = f.instances
		}
		if err := d.link.Request(ctx, wire.VerbInventory, inv, nil); err != nil {
			return err
		}
		if rest = rest[n:]; inv.Last {
			return nil
		}
	}
}
