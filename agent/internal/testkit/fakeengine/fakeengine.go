// Package fakeengine is a database engine in memory for tests of what surrounds engines. A dump is the database's bytes.
package fakeengine

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Name is the engine's name in configurations and orders.
const Name = "memory"

// Engine holds databases by name. Hooks are set before use.
type Engine struct {
	// Stream, if set, gives the dump of every database in place of its bytes.
	Stream func(ctx context.Context, database string) io.Reader
	// PublishErr, if set, is what Publish returns after it did, or did not do, its work.
	PublishErr  error
	PublishDone bool
	// Down makes every method fail as if the server were not reachable.
	Down atomic.Bool
	// ValidateErr, if set, is what Close of a validation returns.
	ValidateErr error
	// BeforePublish, if set, runs when Publish begins.
	BeforePublish func()
	// Problems are what Inspect adds to what it finds.
	Problems []engine.Problem
	// SwapErr, if set, is what Swap returns after it did (SwapDone), or did not do, its work.
	SwapErr  error
	SwapDone bool
	// BeforeSwap, if set, runs when Swap begins.
	BeforeSwap func(ctx context.Context)
	// BeforeSettle, if set, runs when Settle begins. Its error is that of Settle.
	BeforeSettle func() error
	// Describe, if set, makes the fingerprint of a database's bytes. It may be called from several goroutines.
	Describe func(content []byte) *wire.Fingerprint
	// Restoring, if set, makes a restored database's bytes of a dump.
	Restoring func(req engine.RestoreRequest, dump []byte) []byte

	Dumps, Closed, Aborted, Restores, Swaps, Settled atomic.Int64
	// Target is the one of the last restore, Request all of it.
	Target  atomic.Value
	Request atomic.Pointer[engine.RestoreRequest]

	mu       sync.Mutex
	dbs      map[string]*database
	made     int64
	sessions map[string][]engine.Session
}

// database keeps its number when it is renamed.
type database struct {
	number  int64
	content []byte
}

// Set makes a database, or replaces its content.
func (e *Engine) Set(name string, content []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dbs == nil {
		e.dbs = make(map[string]*database)
	}
	if db := e.dbs[name]; db != nil {
		db.content = content
		return
	}
	e.made++
	e.dbs[name] = &database{e.made, content}
}

// Drop removes a database, as somebody else would.
func (e *Engine) Drop(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.dbs, name)
}

// Get returns a database's content.
func (e *Engine) Get(name string) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if db := e.dbs[name]; db != nil {
		return db.content, true
	}
	return nil, false
}

// SetSessions says who else is at a database. A swap with engine.SessionsEnd ends them.
func (e *Engine) SetSessions(name string, sessions ...engine.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sessions == nil {
		e.sessions = make(map[string][]engine.Session)
	}
	e.sessions[name] = sessions
}

// Names lists the databases.
func (e *Engine) Names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for n := range e.dbs {
		out = append(out, n)
	}
	return out
}

func (e *Engine) down() error {
	if e.Down.Load() {
		return wire.Failf(wire.CodeDatabaseDown, "connection refused").Retry()
	}
	return nil
}

// Check implements engine.Engine.
func (e *Engine) Check(context.Context) []engine.Finding {
	if err := e.down(); err != nil {
		return []engine.Finding{{Level: "error", Name: "login", Detail: err.Error(), Hint: "start the server"}}
	}
	return []engine.Finding{{Level: "ok", Name: "login", Detail: "fine"}}
}

// Server implements engine.Engine.
func (e *Engine) Server(context.Context) (engine.ServerInfo, error) {
	return engine.ServerInfo{Engine: Name, Version: "1.0", Identity: "memory-1"}, e.down()
}

// Discover implements engine.Engine.
func (e *Engine) Discover(context.Context) ([]wire.Database, error) {
	if err := e.down(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []wire.Database
	for n, db := range e.dbs {
		if !strings.HasPrefix(n, engine.StagingPrefix) && !strings.HasPrefix(n, engine.KeptPrefix) {
			out = append(out, wire.Database{Name: n, SizeBytes: int64(len(db.content)), ServerVersion: "1.0"})
		}
	}
	return out, nil
}

type dump struct {
	e      *Engine
	ctx    context.Context
	cancel context.CancelCauseFunc
	r      io.Reader
	size   int64
	once   sync.Once

	content []byte // unless it is a stream
	sum     uint32
	n       int64
	ended   chan struct{}
	fp      *wire.Fingerprint
}

// Dump implements engine.Engine.
func (e *Engine) Dump(ctx context.Context, req engine.DumpRequest) (engine.Dump, error) {
	if err := e.down(); err != nil {
		return nil, err
	}
	e.Dumps.Add(1)
	b, ok := e.Get(req.Database)
	if !ok && e.Stream == nil {
		return nil, wire.Failf(wire.CodeDatabaseMissing, "database %q does not exist", req.Database)
	}
	d := &dump{e: e, size: int64(len(b)), content: b, ended: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	d.r = bytes.NewReader(b)
	if e.Stream != nil {
		d.r = e.Stream(d.ctx, req.Database)
	}
	return d, nil
}

func (d *dump) Read(p []byte) (int, error) {
	if d.ctx.Err() != nil {
		return 0, context.Cause(d.ctx)
	}
	n, err := d.r.Read(p)
	d.sum = crc32.Update(d.sum, crc32.IEEETable, p[:n])
	d.n += int64(n)
	if err == io.EOF {
		d.once.Do(func() {
			d.fp = describe(d.n, d.sum)
			if d.e.Describe != nil {
				d.fp = d.e.Describe(d.content)
			}
			close(d.ended)
		})
	}
	return n, err
}

func (d *dump) Close() error {
	d.cancel(nil)
	d.e.Closed.Add(1)
	return nil
}

func (d *dump) Info() engine.DumpInfo {
	return engine.DumpInfo{
		Server: engine.ServerInfo{Engine: Name, Version: "1.0", Identity: "memory-1"}, Tool: "memdump", ToolVersion: "1.0", Method: "memdump",
		DatabaseSize: d.size, Tables: 1, Extension: "dump", Extra: map[string]any{"place": "memory"},
	}
}

func (d *dump) Fingerprint(ctx context.Context) (*wire.Fingerprint, error) {
	select {
	case <-d.ended:
		return d.fp, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *dump) Globals() []byte { return []byte("CREATE ROLE x;\n") }
func (d *dump) Log() string     { return "memdump: done" }

func describe(n int64, sum uint32) *wire.Fingerprint {
	return &wire.Fingerprint{
		Engine: Name, Exact: true, Tables: []wire.TableCount{{Name: "t", Rows: n}}, Counts: map[string]int64{"sum": int64(sum)},
	}
}

type restore struct {
	e    *Engine
	ctx  context.Context
	name string // empty: validation
	req  engine.RestoreRequest
	buf  bytes.Buffer
	done bool
}

// Restore implements engine.Engine.
func (e *Engine) Restore(ctx context.Context, req engine.RestoreRequest) (engine.Restore, error) {
	if err := e.down(); err != nil {
		return nil, err
	}
	e.Restores.Add(1)
	e.Target.Store(req.Target)
	e.Request.Store(&req)
	e.Drop(req.Database)
	e.Set(req.Database, nil)
	return &restore{e: e, ctx: ctx, name: req.Database, req: req}, nil
}

// Validate implements engine.Engine.
func (e *Engine) Validate(ctx context.Context) (engine.Restore, error) {
	return &restore{e: e, ctx: ctx}, e.down()
}

func (r *restore) Write(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.buf.Write(p)
}

func (r *restore) Close() error {
	if r.name == "" {
		return r.e.ValidateErr
	}
	content := r.buf.Bytes()
	if r.e.Restoring != nil {
		content = r.e.Restoring(r.req, content)
	}
	r.e.Set(r.name, content)
	r.done = true
	return nil
}

func (r *restore) Abort() {
	r.e.Aborted.Add(1)
	if r.name != "" {
		r.e.Drop(r.name)
	}
}

func (r *restore) Log() string { return "memrestore: done" }

// Fingerprint implements engine.Engine.
func (e *Engine) Fingerprint(_ context.Context, database string) (*wire.Fingerprint, error) {
	b, ok := e.Get(database)
	if !ok {
		return nil, wire.Failf(wire.CodeDatabaseMissing, "database %q does not exist", database)
	}
	if e.Describe != nil {
		return e.Describe(b), e.down()
	}
	return describe(int64(len(b)), crc32.ChecksumIEEE(b)), e.down()
}

// Publish implements engine.Engine.
func (e *Engine) Publish(_ context.Context, from, to string) error {
	if e.BeforePublish != nil {
		e.BeforePublish()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.dbs[to]; ok {
		return wire.Failf(wire.CodeTargetExists, "database %q exists", to)
	}
	if e.PublishErr != nil && !e.PublishDone {
		return e.PublishErr
	}
	e.dbs[to] = e.dbs[from]
	delete(e.dbs, from)
	return e.PublishErr
}

// Exists implements engine.Engine.
func (e *Engine) Exists(_ context.Context, database string) (bool, error) {
	_, ok := e.Get(database)
	return ok, e.down()
}

// Remove implements engine.Engine.
func (e *Engine) Remove(_ context.Context, database string) error {
	if err := e.down(); err != nil {
		return err
	}
	if !strings.HasPrefix(database, engine.StagingPrefix) && !strings.HasPrefix(database, engine.KeptPrefix) {
		return wire.Failf(wire.CodeBadRequest, "%q is neither a staging nor a kept database", database)
	}
	e.Drop(database)
	return nil
}

// identity is empty for no database.
func (db *database) identity() string {
	if db == nil {
		return ""
	}
	return fmt.Sprintf("memory-1/%d", db.number)
}

// Inspect implements engine.Engine.
func (e *Engine) Inspect(_ context.Context, req engine.InspectRequest) (*engine.Target, error) {
	if err := e.down(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t := &engine.Target{FreeBytes: -1, Problems: slices.Clone(e.Problems)}
	stop := func(code, text, hint string) {
		t.Problems = append(t.Problems, engine.Problem{Stops: true, Code: code, Text: text, Hint: hint})
	}
	db := e.dbs[req.Target]
	if db == nil {
		if req.InPlace {
			stop("no_target", fmt.Sprintf("there is no database %q", req.Target), "restore it as a new database")
		}
		return t, nil
	}
	t.Exists, t.Identity, t.Owner, t.Tables, t.SizeBytes = true, db.identity(), "owner", 1, int64(len(db.content))
	t.Sessions = slices.Clone(e.sessions[req.Target])
	switch {
	case !req.InPlace:
		stop(wire.CodeTargetExists, fmt.Sprintf("there is a database %q already", req.Target), "choose another name, or restore in place")
	case len(t.Sessions) > 0 && req.Sessions != engine.SessionsEnd && req.Sessions != engine.SessionsWait:
		stop(wire.CodeTargetInUse, fmt.Sprintf("database %q is in use: %d sessions", req.Target, len(t.Sessions)), "end them")
	}
	return t, nil
}

// Swap implements engine.Engine.
func (e *Engine) Swap(ctx context.Context, req engine.SwapRequest) (*engine.SwapResult, error) {
	if e.BeforeSwap != nil {
		e.BeforeSwap(ctx)
	}
	if err := e.down(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	e.Swaps.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	result := &engine.SwapResult{Unavailable: time.Millisecond, Notes: []string{"the owner was carried over"}}
	switch old, staged := e.dbs[req.Target], e.dbs[req.Staged]; {
	case req.Identity == "" || !strings.HasPrefix(req.Keep, engine.KeptPrefix):
		return nil, wire.Failf(wire.CodeBadRequest, "swap out %q: no identity, or kept as %q", req.Target, req.Keep)
	case old.identity() != req.Identity:
		return nil, wire.Failf(wire.CodeTargetChanged, "database %q is not the one that was looked at", req.Target)
	case staged == nil:
		return nil, wire.Failf(wire.CodeDatabaseMissing, "database %q does not exist", req.Staged)
	case e.dbs[req.Keep] != nil:
		return nil, wire.Failf(wire.CodeTargetExists, "database %q exists", req.Keep)
	case len(e.sessions[req.Target]) > 0 && req.Sessions != engine.SessionsEnd:
		return nil, wire.Failf(wire.CodeTargetInUse, "database %q is in use: %d sessions", req.Target, len(e.sessions[req.Target]))
	case e.SwapErr != nil && !e.SwapDone:
		return nil, e.SwapErr
	default:
		result.Ended = len(e.sessions[req.Target])
		delete(e.sessions, req.Target)
		e.dbs[req.Target], e.dbs[req.Keep] = staged, old
		delete(e.dbs, req.Staged)
	}
	if e.SwapErr != nil {
		return nil, e.SwapErr
	}
	return result, nil
}

// Settle implements engine.Engine.
func (e *Engine) Settle(_ context.Context, req engine.SwapRequest) (string, error) {
	if e.BeforeSettle != nil {
		if err := e.BeforeSettle(); err != nil {
			return "", err
		}
	}
	if err := e.down(); err != nil {
		return "", err
	}
	e.Settled.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch req.Identity {
	case "":
		return "", wire.Failf(wire.CodeBadRequest, "settle %q: no identity", req.Target)
	case e.dbs[req.Target].identity():
		return engine.SwapBefore, nil
	case e.dbs[req.Keep].identity():
		return engine.SwapAfter, nil
	}
	return "", wire.Failf(wire.CodeTargetChanged, "database %q is not the one that was looked at", req.Target)
}
