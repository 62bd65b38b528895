package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
)

// act writes n entries to the audit log.
func (f *fix) act(n int) {
	f.Helper()
	for range n {
		f.ok(f.Refused(f.Context(), f.admin, "test.act", "thing", "conflict", "because"))
	}
}

// seal chains all entries.
func (f *fix) seal() controller.AuditHead {
	f.Helper()
	for must[int](f)(f.SealAudit(f.Context(), 1000)) == 1000 {
	}
	return must[controller.AuditHead](f)(f.AuditHead(f.Context(), f.admin))
}

func (f *fix) check(known ...controller.KnownHead) controller.AuditCheck {
	f.Helper()
	return must[controller.AuditCheck](f)(f.CheckAudit(f.Context(), f.admin, known))
}

// tamper runs SQL as somebody who can do everything.
func (f *fix) tamper(statements string) {
	f.Helper()
	f.sql("SET session_replication_role = replica; %s; SET session_replication_role = origin", statements)
}

func (f *fix) super() *pgx.Conn {
	f.Helper()
	conn, err := pgx.Connect(f.Context(), f.server.DSN(f.server.Superuser(), f.db).Reveal())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close(context.WithoutCancel(f.Context())) })
	return conn
}

func TestAudit_chain(t *testing.T) {
	t.Parallel()
	f := open(t)
	equal(t, "head of an empty log", must[controller.AuditHead](t)(f.AuditHead(t.Context(), f.admin)).Text(), "0:"+strings.Repeat("0", 64))
	if res := f.check(); !res.OK || res.Rows != 0 {
		t.Fatalf("an empty log: %+v", res)
	}
	who := f.admin
	who.TokenID, who.OnBehalfOf, who.Name = 12, "Zoë <zoe@example.org>", "panel"
	f.ok(f.Refused(t.Context(), who, "backup.delete", "7", "conflict", "n\u2028\"ot\" <now>"))
	f.project("shop") // rows of a project
	f.act(3)
	equal(t, "sealed", must[int](t)(f.SealAudit(t.Context(), 2)), 2)
	head := f.seal()
	equal(t, "head", head.Seq, 5)
	res := f.check(controller.KnownHead{AuditHead: head, Source: "the head given"})
	if !res.OK || res.Rows != 5 || res.Head.Text() != head.Text() || res.Problem != "" {
		t.Fatalf("the chain: %+v", res)
	}
	entries := must[[]controller.AuditEntry](t)(f.Audit(t.Context(), f.admin, controller.AuditFilter{Action: "backup."}))
	if len(entries) != 1 {
		t.Fatalf("%d entries", len(entries))
	}
	e := entries[0]
	if e.Actor != "panel" || *e.TokenID != 12 || e.OnBehalfOf != who.OnBehalfOf || e.Result != "refused: conflict" || e.Remote != "127.0.0.1" || *e.Seq != 1 || len(e.Hash) != 64 {
		t.Errorf("the entry is %+v", e)
	}
	// Whoever sees the fields can compute the hash.
	if got, err := e.ChainHash(e.PrevHash); err != nil || got != e.Hash {
		t.Errorf("the hash is %s (%v), want %s", got, err, e.Hash)
	}
	_, err := f.CheckAudit(t.Context(), only(), nil)
	f.refused(err, controller.EForbidden)
	_, err = f.AuditHead(t.Context(), only())
	f.refused(err, controller.EForbidden)
}

// TestFault66_audit: rows edited, deleted, put in, renumbered and cut off at the end, by somebody who can do everything in the database.
func TestFault66_audit(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.act(20)
	head := f.seal()
	f.sql("CREATE TABLE original AS SELECT * FROM audit_log")
	const again = "DELETE FROM audit_log; INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM original"
	ids := strings.Fields(f.sql("SELECT id FROM audit_log ORDER BY seq"))
	for _, c := range []struct {
		name, sql string
		seq       int64
		bad       bool // the row itself is named, not a missing one
		words     string
	}{
		{"actor", "UPDATE audit_log SET actor = 'nobody' WHERE seq = 7", 7, true, "not as it was sealed"},
		{"detail", "UPDATE audit_log SET detail = detail || '{\"reason\":\"\"}' WHERE seq = 7", 7, true, "not as it was sealed"},
		{"time", "UPDATE audit_log SET at = at - interval '1 microsecond' WHERE seq = 7", 7, true, "not as it was sealed"},
		{"project", "UPDATE audit_log SET project_id = 1 WHERE seq = 7", 7, true, "not as it was sealed"},
		{"two rows", "UPDATE audit_log SET remote = '' WHERE seq IN (12, 9)", 9, true, "not as it was sealed"},
		{"hash", "UPDATE audit_log SET hash = sha256('x') WHERE seq = 7", 7, true, "not as it was sealed"},
		{"previous hash", "UPDATE audit_log SET prev_hash = hash WHERE seq = 7", 7, true, "not as it was sealed"},
		{"deleted", "DELETE FROM audit_log WHERE seq = 7", 7, false, "row 7 is missing: row 8"},
		{"several deleted", "DELETE FROM audit_log WHERE seq BETWEEN 7 AND 9", 7, false, "rows 7 to 9 are missing"},
		{"the first deleted", "DELETE FROM audit_log WHERE seq = 1", 1, false, "row 1 is missing"},
		{"deleted and renumbered", "DELETE FROM audit_log WHERE seq = 7; UPDATE audit_log SET seq = seq - 1000 WHERE seq > 7; UPDATE audit_log SET seq = seq + 999 WHERE seq < 0", 7, false, "not as it was sealed"},
		{"order", "UPDATE audit_log SET seq = 1000 WHERE seq = 7; UPDATE audit_log SET seq = 7 WHERE seq = 8; UPDATE audit_log SET seq = 8 WHERE seq = 1000", 7, false, "not as it was sealed"},
		{"put in", "UPDATE audit_log SET seq = seq + 1000 WHERE seq > 6; UPDATE audit_log SET seq = seq - 999 WHERE seq > 1000; INSERT INTO audit_log (actor, action, seq, prev_hash, hash) SELECT 'x', 'y', 7, hash, sha256('z') FROM audit_log WHERE seq = 6", 7, false, "not as it was sealed"},
		{"seal taken off", "UPDATE audit_log SET seq = NULL, hash = NULL, prev_hash = NULL WHERE seq = 7", 7, false, "row 7 is missing"},
		{"seal of the last taken off", "UPDATE audit_log SET seq = NULL, hash = NULL, prev_hash = NULL, at = now() - interval '61 seconds' WHERE seq = 20", 0, false, "is not sealed"},
		{"tail cut", "DELETE FROM audit_log WHERE seq > 15", 16, false, "the rows after 15 are gone: the head given"},
		{"everything deleted", "DELETE FROM audit_log", 1, false, "the rows after 0 are gone"},
	} {
		f.tamper(c.sql)
		var heads []controller.KnownHead
		if strings.Contains(c.words, "are gone") {
			if res := f.check(); !res.OK {
				t.Errorf("%s: a cut tail shows without a head kept elsewhere? %+v", c.name, res)
			}
			heads = append(heads, controller.KnownHead{AuditHead: head, Source: "the head given"})
		}
		res := f.check(heads...)
		if res.OK || res.BadSeq != c.seq || !strings.Contains(res.Problem, c.words) {
			t.Errorf("%s: %+v, want seq %d and %q", c.name, res, c.seq, c.words)
		}
		if c.bad && fmt.Sprint(res.BadID) != ids[c.seq-1] {
			t.Errorf("%s: the row named is %d, want %s", c.name, res.BadID, ids[c.seq-1])
		}
		f.tamper(again)
	}
	if res := f.check(controller.KnownHead{AuditHead: head}); !res.OK {
		t.Fatalf("after all that: %+v", res)
	}

	// A chain that was written anew from a row on is right in itself; a head that was kept shows it.
	f.tamper("DELETE FROM audit_log WHERE seq > 10")
	f.act(10)
	f.seal()
	if res := f.check(); !res.OK {
		t.Errorf("a chain that was written anew: %+v", res)
	}
	if res := f.check(controller.KnownHead{AuditHead: head, Source: "the head given"}); res.OK || res.BadSeq != 20 || !strings.Contains(res.Problem, "written anew") {
		t.Errorf("a chain that was written anew, against a head: %+v", res)
	}
}

// TestAudit_guard: rows are not changed, deleted or put in sealed by those who write them, nor by a superuser who forgets himself.
func TestAudit_guard(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.act(2)
	f.seal()
	f.act(1)
	for _, statement := range []string{
		"UPDATE audit_log SET actor = 'nobody' WHERE seq = 1", "UPDATE audit_log SET actor = 'nobody' WHERE seq IS NULL", "UPDATE audit_log SET seq = 9, hash = '', prev_hash = '', actor = 'x' WHERE seq IS NULL",
		"UPDATE audit_log SET seq = NULL, hash = NULL, prev_hash = NULL WHERE seq = 1", "DELETE FROM audit_log WHERE seq = 1", "DELETE FROM audit_log WHERE seq IS NULL", "TRUNCATE audit_log",
	} {
		if _, err := f.server.Exec(t.Context(), f.db, statement); err == nil || !strings.Contains(err.Error(), "rows of the audit log are not changed") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	conn, err := pgx.Connect(t.Context(), f.dsn.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, scope := range []string{"*", "1", "system"} {
		for _, statement := range []string{
			"UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log",
			"INSERT INTO audit_log (actor, action, seq, prev_hash, hash) VALUES ('x', 'y', 99, '', '')",
		} {
			tag, err := conn.Exec(t.Context(), "SET devflow.scope = '"+scope+"'; "+statement)
			if err == nil && tag.RowsAffected() > 0 {
				t.Errorf("scope %s: %s", scope, statement)
			}
		}
	}
	equal(t, "rows", strings.TrimSpace(f.sql("SELECT count(*) FROM audit_log WHERE actor = 'admin'")), "3")
}

func TestAudit_concurrent(t *testing.T) {
	t.Parallel()
	f := open(t)
	other := f.another("two")
	const writers, each = 8, 25
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for _, c := range []*catalog.Catalog{f.Catalog, other, f.Catalog, other} {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.SealAudit(ctx, 7); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var written sync.WaitGroup
	for range writers {
		written.Go(func() {
			for range each {
				if err := f.Refused(ctx, f.admin, "test.act", "", "conflict", ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written.Wait()
	cancel()
	wg.Wait()
	eventually(t, "everything is sealed", func() bool { return f.seal().Seq == writers*each }) // the last ones may hold the lock a little longer
	if res := f.check(); !res.OK || res.Rows != writers*each {
		t.Fatalf("%+v", res)
	}
}

// TestAudit_lateCommit: an entry whose transaction commits after one with a higher id was sealed comes behind it.
func TestAudit_lateCommit(t *testing.T) {
	t.Parallel()
	f := open(t)
	conn := f.super()
	begin := must[pgx.Tx](t)(conn.Begin(t.Context()))
	if _, err := begin.Exec(t.Context(), "INSERT INTO audit_log (actor, action) VALUES ('slow', 'test.act')"); err != nil {
		t.Fatal(err)
	}
	f.act(2)
	equal(t, "head", f.seal().Seq, 2)
	f.ok(begin.Commit(t.Context()))
	equal(t, "head", f.seal().Seq, 3)
	equal(t, "order", strings.Join(strings.Fields(f.sql("SELECT actor FROM audit_log ORDER BY seq")), " "), "admin admin slow")
	if res := f.check(); !res.OK {
		t.Fatal(res)
	}
}

// TestAudit_sealBreaksOff: a sealer that dies between reading and writing leaves nothing half sealed.
func TestAudit_sealBreaksOff(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.act(5)
	f.seal()
	f.act(5)
	conn := f.super()
	waiting := func() bool {
		return strings.TrimSpace(f.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE audit_log%%'")) == "1"
	}
	block := func() pgx.Tx {
		t.Helper()
		b := must[pgx.Tx](t)(conn.Begin(t.Context()))
		if _, err := b.Exec(t.Context(), "SELECT FROM audit_log WHERE seq IS NULL ORDER BY id DESC LIMIT 1 FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		return b
	}
	// The program ends.
	b, ended := block(), errors.New("killed")
	ctx, kill := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := f.SealAudit(ctx, 100)
		done <- err
	}()
	eventually(t, "the sealer waits", waiting)
	// Meanwhile another one finds that the work is taken.
	equal(t, "sealed beside it", must[int](t)(f.another("two").SealAudit(t.Context(), 100)), 0)
	kill(ended)
	if err := <-done; !errors.Is(err, ended) {
		t.Fatal(err)
	}
	f.ok(b.Rollback(t.Context()))
	equal(t, "unsealed", strings.TrimSpace(f.sql("SELECT count(*) FROM audit_log WHERE seq IS NULL AND hash IS NULL")), "5")
	// The connection breaks: it is done again.
	b = block()
	go func() {
		_, err := f.SealAudit(t.Context(), 100)
		done <- err
	}()
	eventually(t, "the sealer waits", waiting)
	f.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE audit_log%%'")
	f.ok(b.Rollback(t.Context()))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if res := f.check(); !res.OK || res.Rows != 10 {
		t.Fatalf("%+v", res)
	}
}

// TestAudit_speed: sealing and verifying keep up with more than a thousand entries a second.
func TestAudit_speed(t *testing.T) {
	f := open(t)
	f.sql(`INSERT INTO audit_log (actor, action, subject, detail) SELECT 'panel', 'backup.create', n::text, jsonb_build_object('database', 'db' || n, 'server', 'db-7', 'job_id', n) FROM generate_series(1, 10000) n`)
	start := time.Now()
	equal(t, "head", f.seal().Seq, 10000)
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("10,000 entries were sealed in %s", d)
	} else {
		t.Logf("10,000 entries sealed in %s", d)
	}
	start = time.Now()
	if res := f.check(); !res.OK || res.Rows != 10000 {
		t.Fatalf("%+v", res)
	}
	t.Logf("and verified in %s", time.Since(start))
}

func TestAudit_filterAndExport(t *testing.T) {
	t.Parallel()
	f := open(t)
	shop, blog := f.project("shop"), f.project("blog")
	panel := f.admin
	panel.Name, panel.OnBehalfOf = "panel", "zoe"
	f.ok(f.Refused(t.Context(), panel, "backup.delete", "1", "conflict", ""))
	f.ok(f.Refused(t.Context(), only(shop), "backup.deletex", "2", "not_found", ""))
	list := func(a controller.Actor, filter controller.AuditFilter) string {
		t.Helper()
		var out []string
		for _, e := range must[[]controller.AuditEntry](t)(f.Audit(t.Context(), a, filter)) {
			out = append(out, e.Action)
		}
		return strings.Join(out, " ")
	}
	now := time.Now()
	past, future := now.Add(-time.Hour), now.Add(time.Hour)
	for _, c := range []struct {
		actor  controller.Actor
		filter controller.AuditFilter
		want   string
	}{
		{f.admin, controller.AuditFilter{}, "backup.deletex backup.delete project.create project.create"},
		{f.admin, controller.AuditFilter{Action: "backup.delete"}, "backup.delete"},
		{f.admin, controller.AuditFilter{Action: "backup."}, "backup.deletex backup.delete"},
		{f.admin, controller.AuditFilter{Action: "back"}, ""},
		{f.admin, controller.AuditFilter{Actor: "zoe"}, "backup.delete"},
		{f.admin, controller.AuditFilter{Actor: "panel"}, "backup.delete"},
		{f.admin, controller.AuditFilter{Project: "shop"}, "backup.deletex project.create"},
		{f.admin, controller.AuditFilter{Since: &past, Until: &future, Action: "backup.delete"}, "backup.delete"},
		{f.admin, controller.AuditFilter{Since: &future}, ""},
		{f.admin, controller.AuditFilter{Until: &past}, ""},
		{only(shop), controller.AuditFilter{}, "backup.deletex project.create"},
		{only(blog), controller.AuditFilter{}, "project.create"},
	} {
		if got := list(c.actor, c.filter); got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}

	export := func(a controller.Actor, filter controller.AuditFilter) []controller.AuditEntry {
		t.Helper()
		var out []controller.AuditEntry
		f.ok(f.ExportAudit(t.Context(), a, filter, func(e controller.AuditEntry) error {
			// As it arrives elsewhere.
			text := must[[]byte](t)(json.Marshal(e))
			var back controller.AuditEntry
			f.ok(json.Unmarshal(text, &back))
			out = append(out, back)
			return nil
		}))
		return out
	}
	all := export(f.admin, controller.AuditFilter{})
	if len(all) != 5 || all[4].Action != "audit.export" || all[4].Actor != "admin" {
		t.Fatalf("the export is %+v", all)
	}
	chain := controller.NewAuditChain(nil)
	for _, e := range all {
		if fault := chain.Add(e); fault != nil {
			t.Fatal(fault)
		}
	}
	mine := export(only(shop), controller.AuditFilter{})
	if len(mine) != 3 || mine[2].Action != "audit.export" || *mine[2].ProjectID != shop.ID {
		t.Errorf("the export of a project's token is %+v", mine)
	}
	_, err := mine, f.ExportAudit(t.Context(), only(blog), controller.AuditFilter{Project: "shop"}, nil)
	f.refused(err, controller.ENotFound)
	if part := export(f.admin, controller.AuditFilter{Action: "backup."}); len(part) != 2 || *part[0].Seq > *part[1].Seq {
		t.Errorf("a filtered export is %+v", part)
	}
	equal(t, "exports", list(f.admin, controller.AuditFilter{Action: "audit.export"}), "audit.export audit.export audit.export")
	// What the receiver cannot take ends it.
	full := errors.New("disk full")
	if err := f.ExportAudit(t.Context(), f.admin, controller.AuditFilter{}, func(controller.AuditEntry) error { return full }); !errors.Is(err, full) {
		t.Error(err)
	}
}

func TestAudit_anchors(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	plan := func(every time.Duration) *controller.AuditAnchor {
		t.Helper()
		return must[*controller.AuditAnchor](t)(f.PlanAnchor(ctx, every))
	}
	f.act(3)
	head := f.seal()
	if a := plan(time.Hour); a != nil {
		t.Fatalf("an anchor without a storage: %+v", a)
	}
	st := f.storage("main", true) // an entry that is not sealed
	a := plan(time.Hour)
	if a == nil || a.Seq != 3 || a.Hash != head.Hash || a.StorageID != st.ID || a.Written ||
		a.Key != "pre/main/audit/"+a.At.Format("2006/01/02")+"/000000000003.json" {
		t.Fatalf("the anchor is %+v", a)
	}
	// Until it is written, everybody is given the same.
	f.act(1)
	f.seal()
	if b := plan(time.Hour); b == nil || b.Text() != a.Text() || !b.At.Equal(a.At) || b.Key != a.Key {
		t.Fatalf("the second plan is %+v, want %+v", b, a)
	}
	equal(t, "written", len(must[[]controller.AuditAnchor](t)(f.AuditAnchors(ctx))), 0)
	// After so long it makes room for a newer one.
	f.sql("UPDATE audit_anchors SET at = at - interval '2 hours'")
	if a = plan(time.Hour); a == nil || a.Seq != 5 {
		t.Fatalf("the next plan is %+v", a)
	}
	equal(t, "rows", strings.TrimSpace(f.sql("SELECT count(*) FROM audit_anchors")), "1")
	f.ok(f.AnchorWritten(ctx, a.Seq))
	if last := must[controller.AuditAnchor](t)(f.LastAnchor(ctx)); last.Seq != 5 || !last.Written || last.Key != a.Key || last.Hash != a.Hash {
		t.Errorf("the last anchor is %+v", last)
	}
	if b := plan(time.Hour); b != nil {
		t.Errorf("an anchor is due: %+v", b)
	}
	f.sql("UPDATE audit_anchors SET at = at - interval '2 hours'")
	if b := plan(time.Hour); b != nil {
		t.Errorf("an anchor of nothing new is due: %+v", b)
	}
	f.act(1)
	f.seal()
	if b := plan(time.Hour); b == nil || b.Seq != 6 {
		t.Errorf("the third plan is %+v", b)
	}
	// Another default storage.
	two := f.storage("two", true)
	if b := plan(time.Hour); b == nil || b.StorageID != two.ID || b.Seq != 6 {
		t.Errorf("the plan for another storage is %+v", b)
	}
	places := must[[]controller.AnchorPlace](t)(f.AnchorPlaces(ctx))
	if len(places) != 2 || places[0] != (controller.AnchorPlace{StorageID: st.ID, Storage: "main", Root: "pre/main/audit/"}) || places[1].Root != "pre/two/audit/" {
		t.Errorf("the places are %+v", places)
	}

	tail := func(from controller.AuditHead) controller.AuditCheck {
		t.Helper()
		return must[controller.AuditCheck](t)(f.CheckAuditTail(ctx, from))
	}
	f.seal()
	if res := tail(a.AuditHead); !res.OK || res.Rows != 2 {
		t.Errorf("the tail: %+v", res)
	}
	f.tamper("UPDATE audit_log SET actor = 'nobody' WHERE seq = 2") // before it
	if res := tail(a.AuditHead); !res.OK {
		t.Errorf("the tail: %+v", res)
	}
	f.tamper("UPDATE audit_log SET actor = 'nobody' WHERE seq = 6")
	if res := tail(a.AuditHead); res.OK || res.BadSeq != 6 {
		t.Errorf("a changed tail: %+v", res)
	}
	f.tamper("DELETE FROM audit_log WHERE seq > 4")
	if res := tail(a.AuditHead); res.OK || res.BadSeq != 5 {
		t.Errorf("a cut tail: %+v", res)
	}
}
