package app_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/controller"
)

// TestFault66_AuditLog: rows of the audit log edited, deleted and cut off, as the owner of the database, found by a controller with its
// anchors at a real store; and a store whose anchor was changed.
func TestFault66_AuditLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.ok(w.app.Anchor(ctx)) // of what was sealed by now
	head, err := w.api.AuditHead(ctx)
	w.ok(err)
	hour := func() { exec(w.T, w.cfg, "UPDATE audit_anchors SET at = at - interval '2 hours'") }
	hour()
	w.ok(w.app.Anchor(ctx))
	check := func(heads ...controller.AuditHead) controller.AuditCheck {
		t.Helper()
		res, err := w.api.CheckAudit(ctx, heads)
		w.ok(err)
		return res
	}
	if res := check(head); !res.OK || res.Anchors < 1 || len(res.Warnings) != 0 || res.Rows < head.Seq || head.Seq < 3 {
		t.Fatalf("%+v, head %+v", res, head)
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(w.s3.ObjectPath(w.s3.Bucket, "audit/x")), "*/*/*/*.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no anchor at the store: %v", err)
	}

	var export bytes.Buffer
	n, err := w.api.ExportAudit(ctx, controller.AuditFilter{}, &export)
	w.ok(err)
	chain := controller.NewAuditChain([]controller.KnownHead{{AuditHead: head}})
	w.ok(controller.ReadAuditExport(&export, func(e controller.AuditEntry) error {
		if fault := chain.Add(e); fault != nil {
			return fault
		}
		return nil
	}))
	if chain.Rows != n || chain.Compared != 1 || chain.End() != nil {
		t.Errorf("%d entries exported: %+v", n, chain)
	}

	super := func(sql string) { exec(w.T, w.cfg, "SET session_replication_role = replica; "+sql) }
	super("CREATE TABLE original AS SELECT * FROM audit_log")
	for _, c := range []struct {
		sql   string
		seq   int64
		words string
	}{
		{"UPDATE audit_log SET actor = 'nobody' WHERE seq = 2", 2, "row 2 (id 2) is not as it was sealed"},
		{"DELETE FROM audit_log WHERE seq = 2", 2, "row 2 is missing"},
		{"DELETE FROM audit_log WHERE seq > 1; DELETE FROM audit_anchors", 2, "the rows after 1 are gone: the anchor audit/"},
	} {
		super(c.sql)
		res, err := w.api.CheckAudit(ctx, nil)
		w.ok(err)
		if res.OK || res.BadSeq != c.seq || !strings.Contains(res.Problem, c.words) {
			t.Errorf("%s: %+v", c.sql, res)
		}
		super("DELETE FROM audit_log; INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM original")
	}
	text, err := os.ReadFile(found[0])
	w.ok(err)
	w.ok(os.WriteFile(found[0], bytes.Replace(text, []byte(`"hash":"`), []byte(`"hash":"0`), 1), 0o600))
	if res := check(); res.OK || !strings.Contains(res.Problem, fmt.Sprintf("%s at storage %q was changed", filepath.Base(found[0]), "main")) {
		t.Errorf("a changed anchor: %+v", res)
	}
}
