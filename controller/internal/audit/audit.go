// Package audit keeps the audit log's chain: it seals the entries, anchors the head of the chain at a storage, and verifies both.
//
// Invariants: an entry is written by whoever does what it tells, in that transaction, and by nobody else; of any number of controllers
// one seals at a time; an anchor is a row before it is an object, and the object is never written with other bytes; nothing here
// repairs a chain.
package audit

import (
	"context"
	"crypto/ed25519"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
	"devflowbackup/shared/wire"
)

// Store is the catalog as the log uses it. Each method is one transaction and may be repeated.
type Store interface {
	// SealAudit chains up to limit entries and returns how many; 0 while another controller does.
	SealAudit(ctx context.Context, limit int) (int, error)
	AuditHead(ctx context.Context, actor controller.Actor) (controller.AuditHead, error)
	CheckAudit(ctx context.Context, actor controller.Actor, known []controller.KnownHead) (controller.AuditCheck, error)
	// CheckAuditTail verifies what follows a head.
	CheckAuditTail(ctx context.Context, from controller.AuditHead) (controller.AuditCheck, error)
	// PlanAnchor commits the anchor that is due; nil if none is.
	PlanAnchor(ctx context.Context, every time.Duration) (*controller.AuditAnchor, error)
	AnchorWritten(ctx context.Context, seq int64) error
	AuditAnchors(ctx context.Context) ([]controller.AuditAnchor, error)
	LastAnchor(ctx context.Context) (controller.AuditAnchor, error)
	AnchorPlaces(ctx context.Context) ([]controller.AnchorPlace, error)
	AddSecurityEvent(ctx context.Context, agentID, kind, detail string, count int64) error
}

// Storages opens the storages that anchors lie at.
type Storages interface {
	Open(ctx context.Context, storageID int64) (Objects, error)
}

// Objects is one storage. A missing object is a *wire.Failure with CodeMissing, one whose bytes are not those that were written CodeChecksum.
type Objects interface {
	// Put writes an object that is not there yet. The same bytes at the key are success; other ones are an error wherever the store can tell.
	Put(ctx context.Context, key string, body []byte, contentType string) error
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
	// List calls each for the keys that begin with prefix, in their order.
	List(ctx context.Context, prefix string, each func(key string) error) error
}

// Options of a Log. Zero durations take the defaults named.
type Options struct {
	Store    Store
	Storages Storages
	Log      hclog.Logger

	Installation string             // its id: an anchor names it
	SigningKey   ed25519.PrivateKey // signs anchors
	Keys         []wire.Key         // whose signatures are taken

	SealEvery   time.Duration // default 1 s
	AnchorEvery time.Duration // default 1 h; nothing new, no anchor
	AnchorTry   time.Duration // how often it is looked whether an anchor is due, and one is tried again, default 1 min
}

// Log is one controller's part. Start it once; Stop waits for what it started. What is asked of it needs no Start.
type Log struct {
	opt Options
	log hclog.Logger

	group background.Group
}

// New makes a Log; it does nothing before Start.
func New(opt Options) *Log {
	for d, value := range map[*time.Duration]time.Duration{&opt.SealEvery: time.Second, &opt.AnchorEvery: time.Hour, &opt.AnchorTry: time.Minute} {
		if *d == 0 {
			*d = value
		}
	}
	if opt.Log == nil {
		opt.Log = hclog.NewNullLogger()
	}
	return &Log{opt: opt, log: opt.Log}
}

// Start seals and anchors from now on. Starting twice is no error.
func (l *Log) Start(ctx context.Context) {
	l.group.Start(ctx, l.every(l.opt.SealEvery, "seal the audit log", l.seal), l.every(l.opt.AnchorTry, "anchor the audit log", l.Anchor))
}

// Stop ends it and waits. What is not sealed is sealed by another controller, or by this one when it starts again.
func (l *Log) Stop() { l.group.Stop() }

func (l *Log) every(interval time.Duration, what string, step func(context.Context) error) func(context.Context) {
	return func(ctx context.Context) { background.Every(ctx, interval, nil, l.log, what, step) }
}

const sealBatch = 2000

// seal chains all that is committed by now.
func (l *Log) seal(ctx context.Context) error {
	for {
		n, err := l.opt.Store.SealAudit(ctx, sealBatch)
		if err != nil || n < sealBatch {
			return err
		}
	}
}

// Anchor writes the anchor that is due, if one is. Before a new head is anchored, the rows since the last one are verified: what was
// tampered with is a security event. The anchor is written nevertheless: it tells what was there at its time.
func (l *Log) Anchor(ctx context.Context) error {
	a, err := l.opt.Store.PlanAnchor(ctx, l.opt.AnchorEvery)
	if err != nil || a == nil {
		return err
	}
	if err := l.checkTail(ctx); err != nil {
		return err
	}
	objects, err := l.opt.Storages.Open(ctx, a.StorageID)
	if err != nil {
		return err
	}
	text, err := encode(l.opt.Installation, a.AuditHead, l.opt.SigningKey)
	if err != nil {
		return err
	}
	if err := objects.Put(ctx, a.Key, text, "application/json"); err != nil {
		return err
	}
	if err := l.opt.Store.AnchorWritten(ctx, a.Seq); err != nil {
		return err
	}
	l.log.Info("audit log anchored", "seq", a.Seq, "hash", a.Hash, "key", a.Key)
	return nil
}

func (l *Log) checkTail(ctx context.Context) error {
	last, err := l.opt.Store.LastAnchor(ctx)
	if err != nil {
		return err
	}
	res, err := l.opt.Store.CheckAuditTail(ctx, last.AuditHead)
	if err != nil || res.OK {
		return err
	}
	l.log.Error("the audit log was tampered with", "seq", res.BadSeq, "id", res.BadID, "problem", res.Problem)
	return l.opt.Store.AddSecurityEvent(ctx, "", controller.EventAuditChain, res.Problem, 1)
}
