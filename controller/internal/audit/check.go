package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	// anchorsRead is how many anchors of a place are read: the newest ones. One would do, since its hash fixes every row before it; the
	// others tell from where on rows were written anew.
	anchorsRead  = 50
	anchorsAtOne = 8
	maxAnchor    = 4096 // bytes
)

// AuditHead seals what is committed and returns the end of the chain. It is of the whole installation.
func (l *Log) AuditHead(ctx context.Context, actor controller.Actor) (controller.AuditHead, error) {
	if _, err := l.opt.Store.AuditHead(ctx, actor); err != nil { // the caller may
		return controller.AuditHead{}, err
	}
	if err := l.seal(ctx); err != nil {
		return controller.AuditHead{}, err
	}
	return l.opt.Store.AuditHead(ctx, actor)
}

// CheckAudit verifies the chain from its first row to its last: against the anchors that the catalog knows, those that the storages hold,
// and the heads given. What cannot be compared is a warning; an anchor that somebody changed makes the check fail as a bad row does.
func (l *Log) CheckAudit(ctx context.Context, actor controller.Actor, heads []controller.AuditHead) (controller.AuditCheck, error) {
	if _, err := l.AuditHead(ctx, actor); err != nil {
		return controller.AuditCheck{}, err
	}
	var known []controller.KnownHead
	for _, h := range heads {
		known = append(known, controller.KnownHead{AuditHead: h, Source: "the head given"})
	}
	ours, err := l.opt.Store.AuditAnchors(ctx)
	if err != nil {
		return controller.AuditCheck{}, err
	}
	for _, a := range ours {
		known = append(known, controller.KnownHead{AuditHead: a.AuditHead, Source: "the anchor in the catalog"})
	}
	stored, err := l.stored(ctx, ours)
	if err != nil {
		return controller.AuditCheck{}, err
	}
	known = append(known, stored.known...)
	res, err := l.opt.Store.CheckAudit(ctx, actor, known)
	if err != nil {
		return res, err
	}
	res.Anchors = len(stored.known)
	res.Warnings = append(res.Warnings, stored.warnings...)
	if res.Anchors == 0 {
		res.Warnings = append(res.Warnings, "no anchor at a storage was compared: whoever can write to the catalog's database can cut the end of the log off unseen; "+
			"a default S3 storage of the installation gets one every hour")
	}
	if res.OK && stored.forged != nil {
		res.OK, res.BadSeq, res.Problem = false, stored.forged.Seq, stored.forged.Problem
	}
	return res, nil
}

// found is what the storages hold of anchors.
type found struct {
	known    []controller.KnownHead
	warnings []string
	forged   *controller.AuditFault
}

func (l *Log) stored(ctx context.Context, ours []controller.AuditAnchor) (found, error) {
	places, err := l.opt.Store.AnchorPlaces(ctx)
	if err != nil {
		return found{}, err
	}
	var all found
	for _, p := range places {
		f, err := l.read(ctx, p, ours)
		if err != nil {
			if ctx.Err() != nil {
				return found{}, fmt.Errorf("read anchors: %w", context.Cause(ctx))
			}
			all.warnings = append(all.warnings, fmt.Sprintf("the anchors at storage %q cannot be read: %v", p.Storage, err))
			continue
		}
		all.known = append(all.known, f.known...)
		all.warnings = append(all.warnings, f.warnings...)
		all.forged = cmp.Or(all.forged, f.forged)
	}
	return all, nil
}

// read gets the newest anchors of a place.
func (l *Log) read(ctx context.Context, p controller.AnchorPlace, ours []controller.AuditAnchor) (found, error) {
	objects, err := l.opt.Storages.Open(ctx, p.StorageID)
	if err != nil {
		return found{}, err
	}
	keys, err := newest(ctx, objects, p.Root)
	if err != nil {
		return found{}, err
	}
	var f found
	mine := map[string]controller.AuditAnchor{}
	for _, a := range ours {
		if a.StorageID == p.StorageID {
			mine[a.Key] = a
		}
	}
	if n := missing(keys, ours, p); n > 0 {
		f.warnings = append(f.warnings, fmt.Sprintf("%d of the newest %d anchors are gone from storage %q: their heads are compared as the catalog keeps them", n, anchorsRead, p.Storage))
	}
	heads, errs := make([]controller.AuditHead, len(keys)), make([]error, len(keys))
	var readers sync.WaitGroup
	for first := range min(anchorsAtOne, len(keys)) {
		readers.Go(func() {
			for i := first; i < len(keys); i += anchorsAtOne {
				text, err := objects.Get(ctx, keys[i], maxAnchor)
				if errs[i] = err; err == nil {
					heads[i], errs[i] = decode(text, l.opt.Installation, l.opt.Keys)
				}
			}
		})
	}
	readers.Wait()
	for i, key := range keys {
		a, written := mine[key]
		switch err := errs[i]; {
		case err == nil:
			f.known = append(f.known, controller.KnownHead{AuditHead: heads[i], Source: fmt.Sprintf("the anchor %s at storage %q", key, p.Storage)})
		case errors.Is(err, errForeign) && !written:
			f.warnings = append(f.warnings, fmt.Sprintf("the anchor %s at storage %q is not compared: %v", key, p.Storage, err))
		case wire.HasCode(err, wire.CodeMissing): // since it was listed
		case !errors.Is(err, errForeign) && !errors.Is(err, errForged) && !wire.HasCode(err, wire.CodeChecksum):
			return found{}, fmt.Errorf("read %s: %w", key, err)
		default:
			seq := cmp.Or(a.Seq, seqOf(key))
			if f.forged == nil || seq < f.forged.Seq {
				f.forged = &controller.AuditFault{Seq: seq, Problem: fmt.Sprintf("the anchor %s at storage %q was changed: %v", key, p.Storage, err)}
			}
		}
	}
	return f, nil
}

// newest lists the keys of the newest anchors, oldest first. Keys order as the times of the anchors do.
func newest(ctx context.Context, objects Objects, root string) ([]string, error) {
	var keys []string
	err := objects.List(ctx, root, func(key string) error {
		if strings.HasSuffix(key, ".json") {
			if keys = append(keys, key); len(keys) >= 2*anchorsRead {
				keys = slices.Clone(keys[len(keys)-anchorsRead:])
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list anchors: %w", err)
	}
	return keys[max(0, len(keys)-anchorsRead):], nil
}

// missing counts the newest anchors of a place that were written and are not listed.
func missing(keys []string, ours []controller.AuditAnchor, p controller.AnchorPlace) int {
	n, seen := 0, 0
	for _, a := range slices.Backward(ours) {
		if a.StorageID != p.StorageID || !strings.HasPrefix(a.Key, p.Root) {
			continue
		}
		if seen++; seen > anchorsRead {
			break
		}
		if _, there := slices.BinarySearch(keys, a.Key); !there {
			n++
		}
	}
	return n
}

func seqOf(key string) int64 {
	seq, _ := strconv.ParseInt(strings.TrimSuffix(key[strings.LastIndexByte(key, '/')+1:], ".json"), 10, 64) // 0 of a name that is none of ours
	return seq
}
