package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun/dialect/pgdialect"

	"devflowbackup/controller"
)

const (
	auditPage     = 2000
	sealPause     = 50 * time.Millisecond
	unsealedLimit = "interval '1 minute'" // an entry that is older has to be sealed
)

// SealAudit chains up to limit entries that are committed and not sealed yet, in the order of their ids; it returns how many. An entry
// that is committed later than one with a higher id comes after it: seq is the order. One transaction seals at a time: while another
// one does, it is 0.
func (c *Catalog) SealAudit(ctx context.Context, limit int) (int, error) {
	sealed := 0
	err := c.system(ctx, func(t *tx) error {
		sealed = 0
		var mine bool
		if err := t.scan(ctx, &mine, "SELECT pg_try_advisory_xact_lock(?)", lockSeal); err != nil || !mine {
			return err
		}
		var entries []controller.AuditEntry
		if err := t.scan(ctx, &entries, "SELECT "+auditColumns+" FROM audit_log WHERE seq IS NULL ORDER BY id LIMIT ?", min(max(limit, 1), auditPage)); err != nil || len(entries) == 0 {
			return err
		}
		head, err := t.auditHead(ctx)
		if err != nil {
			return err
		}
		ids, seqs := make([]int64, len(entries)), make([]int64, len(entries))
		before, hashes := make([]string, len(entries)), make([]string, len(entries))
		for i, e := range entries {
			if e, err = head.Seal(e); err != nil {
				return err
			}
			head = controller.AuditHead{Seq: *e.Seq, Hash: e.Hash, At: e.At}
			ids[i], seqs[i], before[i], hashes[i] = e.ID, *e.Seq, e.PrevHash, e.Hash
		}
		n, err := t.exec(ctx, `UPDATE audit_log l SET seq = v.seq, prev_hash = decode(v.prev, 'hex'), hash = decode(v.hash, 'hex')
			FROM unnest(?::bigint[], ?::bigint[], ?::text[], ?::text[]) AS v (id, seq, prev, hash) WHERE l.id = v.id AND l.seq IS NULL`,
			pgdialect.Array(ids), pgdialect.Array(seqs), pgdialect.Array(before), pgdialect.Array(hashes))
		if err == nil && n != int64(len(entries)) {
			err = fmt.Errorf("seal the audit log: %d of %d entries were there to be sealed", n, len(entries))
		}
		sealed = len(entries)
		return err
	})
	if err != nil {
		return 0, err
	}
	return sealed, nil
}

func (t *tx) auditHead(ctx context.Context) (controller.AuditHead, error) {
	head := controller.AuditHead{Hash: controller.AuditStart}
	_, err := t.find(ctx, &head, "SELECT seq, encode(hash, 'hex') AS hash, at FROM audit_log WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1")
	return head, err
}

// AuditHead is the end of the chain as it is sealed now. It is of the whole installation: a caller of some projects is refused.
func (c *Catalog) AuditHead(ctx context.Context, actor controller.Actor) (controller.AuditHead, error) {
	var head controller.AuditHead
	if err := wholeInstallation(actor, "the chain of the audit log"); err != nil {
		return head, err
	}
	err := c.system(ctx, func(t *tx) (err error) {
		head, err = t.auditHead(ctx)
		return err
	})
	return head, err
}

// CheckAudit verifies the chain from its first entry to its last, against known heads too. What it finds wrong is its result, not an
// error. It reads in pages: entries that are sealed meanwhile are verified as well.
func (c *Catalog) CheckAudit(ctx context.Context, actor controller.Actor, known []controller.KnownHead) (controller.AuditCheck, error) {
	if err := wholeInstallation(actor, "the chain of the audit log"); err != nil {
		return controller.AuditCheck{}, err
	}
	return c.walkAudit(ctx, controller.AuditHead{}, controller.NewAuditChain(known))
}

// CheckAuditTail verifies what follows a head, and that the head is still there.
func (c *Catalog) CheckAuditTail(ctx context.Context, from controller.AuditHead) (controller.AuditCheck, error) {
	if from.Seq == 0 {
		return c.walkAudit(ctx, from, controller.NewAuditChain(nil))
	}
	var there bool
	err := c.system(ctx, func(t *tx) error {
		return t.scan(ctx, &there, "SELECT EXISTS (SELECT FROM audit_log WHERE seq = ? AND hash = decode(?, 'hex'))", from.Seq, from.Hash)
	})
	if err != nil {
		return controller.AuditCheck{}, err
	}
	if !there {
		return controller.AuditCheck{BadSeq: from.Seq, Problem: fmt.Sprintf("row %d is gone, or not the one that was anchored", from.Seq), Warnings: []string{}}, nil
	}
	return c.walkAudit(ctx, from, controller.ResumeAuditChain(from, nil))
}

func (c *Catalog) walkAudit(ctx context.Context, from controller.AuditHead, chain *controller.AuditChain) (controller.AuditCheck, error) {
	result := controller.AuditCheck{Warnings: []string{}}
	fault, err := c.firstFault(ctx, from.Seq, chain)
	if err != nil {
		return result, err
	}
	result.Rows, result.Head = chain.Rows, chain.Head()
	if fault == nil {
		result.OK = true
		return result, nil
	}
	result.BadSeq, result.BadID, result.Problem = fault.Seq, fault.ID, fault.Problem
	return result, nil
}

func (c *Catalog) firstFault(ctx context.Context, after int64, chain *controller.AuditChain) (*controller.AuditFault, error) {
	for {
		var entries []controller.AuditEntry
		err := c.system(ctx, func(t *tx) error {
			entries = nil
			return t.scan(ctx, &entries, "SELECT "+auditColumns+" FROM audit_log WHERE seq > ? ORDER BY seq LIMIT ?", after, auditPage)
		})
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if fault := chain.Add(e); fault != nil {
				return fault, nil
			}
			after = *e.Seq
		}
		if len(entries) < auditPage {
			break
		}
	}
	if fault := chain.End(); fault != nil {
		return fault, nil
	}
	var old struct {
		ID int64
		At time.Time
	}
	var found bool
	err := c.system(ctx, func(t *tx) (err error) {
		found, err = t.find(ctx, &old, "SELECT id, at FROM audit_log WHERE seq IS NULL AND at < clock_timestamp() - "+unsealedLimit+" ORDER BY id LIMIT 1")
		return err
	})
	if err != nil || !found {
		return nil, err
	}
	return &controller.AuditFault{ID: old.ID, Problem: fmt.Sprintf("the entry with id %d, of %s, is not sealed", old.ID, old.At.UTC().Format("2006-01-02 15:04:05 UTC"))}, nil
}

const anchorColumns = "seq, encode(hash, 'hex') AS hash, at, storage_id, key, written_at IS NOT NULL AS written"

// PlanAnchor returns the anchor that is to be written now, nil if none is: the newest one is younger than every, nothing was sealed
// since, or the installation has no default storage of kind s3. Its row is committed, so that whoever comes next writes the same; one
// that could not be written for so long makes room for a newer one.
func (c *Catalog) PlanAnchor(ctx context.Context, every time.Duration) (*controller.AuditAnchor, error) {
	var due *controller.AuditAnchor
	err := c.system(ctx, func(t *tx) error {
		due = nil
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockAnchor); err != nil {
			return err
		}
		var storage struct {
			ID     int64
			Prefix string
		}
		found, err := t.find(ctx, &storage, "SELECT id, prefix FROM storages WHERE project_id IS NULL AND is_default AND kind = 's3' AND deleted_at IS NULL")
		if err != nil || !found {
			return err
		}
		var newest struct {
			controller.AuditAnchor
			Recent bool
		}
		found, err = t.find(ctx, &newest, "SELECT "+anchorColumns+", at > now() - "+string(interval(every))+" AS recent FROM audit_anchors ORDER BY seq DESC LIMIT 1")
		if err != nil {
			return err
		}
		if found && newest.Recent && (newest.Written || newest.StorageID == storage.ID) {
			if !newest.Written {
				due = &newest.AuditAnchor
			}
			return nil
		}
		if found && !newest.Written {
			if _, err := t.exec(ctx, "DELETE FROM audit_anchors WHERE seq = ? AND written_at IS NULL", newest.Seq); err != nil {
				return err
			}
		}
		head, err := t.auditHead(ctx)
		if err != nil || head.Seq == 0 || found && newest.Written && head.Seq <= newest.Seq {
			return err
		}
		if err := t.scan(ctx, &head.At, "SELECT now()"); err != nil {
			return err
		}
		head.At = head.At.UTC()
		due = &controller.AuditAnchor{AuditHead: head, StorageID: storage.ID, Key: controller.AnchorKey(controller.AnchorRoot(storage.Prefix), head)}
		_, err = t.exec(ctx, "INSERT INTO audit_anchors (seq, hash, storage_id, key, at) VALUES (?, decode(?, 'hex'), ?, ?, ?)", head.Seq, head.Hash, storage.ID, due.Key, head.At)
		return err
	})
	return due, err
}

// AnchorWritten tells that the storage has the anchor.
func (c *Catalog) AnchorWritten(ctx context.Context, seq int64) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE audit_anchors SET written_at = now() WHERE seq = ? AND written_at IS NULL", seq)
		return err
	})
}

// AuditAnchors are the anchors that were written, oldest first.
func (c *Catalog) AuditAnchors(ctx context.Context) ([]controller.AuditAnchor, error) {
	var out []controller.AuditAnchor
	err := c.system(ctx, func(t *tx) error {
		out = nil
		return t.scan(ctx, &out, "SELECT "+anchorColumns+" FROM audit_anchors WHERE written_at IS NOT NULL ORDER BY seq")
	})
	return out, err
}

// LastAnchor is the newest anchor that was written; the zero one if none was.
func (c *Catalog) LastAnchor(ctx context.Context) (controller.AuditAnchor, error) {
	var a controller.AuditAnchor
	err := c.system(ctx, func(t *tx) error {
		_, err := t.find(ctx, &a, "SELECT "+anchorColumns+" FROM audit_anchors WHERE written_at IS NOT NULL ORDER BY seq DESC LIMIT 1")
		return err
	})
	return a, err
}

// AnchorPlaces are the places where anchors may lie: those that have had some, and the default storage.
func (c *Catalog) AnchorPlaces(ctx context.Context) ([]controller.AnchorPlace, error) {
	var out []controller.AnchorPlace
	err := c.system(ctx, func(t *tx) error {
		out = nil
		if err := t.scan(ctx, &out, `SELECT DISTINCT a.storage_id, st.name AS storage, left(a.key, -length('2006/01/02/000000000000.json')) AS root
			FROM audit_anchors a JOIN storages st ON st.id = a.storage_id ORDER BY 1, 3`); err != nil {
			return err
		}
		var now []controller.AnchorPlace
		if err := t.scan(ctx, &now, `SELECT id AS storage_id, name AS storage, prefix AS root FROM storages
			WHERE project_id IS NULL AND is_default AND kind = 's3' AND deleted_at IS NULL`); err != nil {
			return err
		}
		for _, p := range now {
			p.Root = controller.AnchorRoot(p.Root)
			known := false
			for _, o := range out {
				known = known || o.StorageID == p.StorageID && o.Root == p.Root
			}
			if !known {
				out = append(out, p)
			}
		}
		return nil
	})
	return out, err
}
