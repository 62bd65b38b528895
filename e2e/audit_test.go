package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAudit reads in the audit log who did what, and changes it and the rest of the catalog as one who owns the database can.
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{files: true, big: 1 << 20})
	ctx := faultContext(t)
	name := w.fileBases(t, ctx, "told")[0]
	backup := w.rounds(t, ctx, 2, wish{name, nil})[0][0]

	w.fault(t, "who did what", func(t *testing.T, ctx context.Context) { w.whoDidWhat(t, ctx, backup) })
	w.fault(t, "65/rows edited", func(t *testing.T, ctx context.Context) { w.editedRows(t, ctx, backup) })
	w.fault(t, "66/audit log edited, deleted, cut", w.editedLog)
}

// whoDidWhat: one entry for each act, with who did it and on whose behalf, and for each one that was refused.
func (w *faultWorld) whoDidWhat(t *testing.T, ctx context.Context, backup int64) {
	zoe := w.ctl.OnBehalfOf("Zoë <zoe@example.org>")
	b := fmt.Sprint(backup)
	for _, act := range []struct {
		path string
		in   map[string]any
	}{
		{"/backups/" + b + "/download", map[string]any{}},
		{"/backups/" + b + "/hold", map[string]any{"reason": "seen"}},
	} {
		if err := zoe.API(ctx, http.MethodPost, act.path, act.in, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, action := range []string{"backup.download", "backup.hold"} {
		rows := audited(t, ctx, w.ctl, action, b)
		if len(rows) != 1 || rows[0].Actor != "admin" || rows[0].OnBehalfOf != "Zoë <zoe@example.org>" || rows[0].Result != "done" || !strings.HasPrefix(rows[0].Remote, "127.0.0.1") {
			t.Errorf("the audit log tells of %s: %+v", action, rows)
		}
	}
	// By devflowctl: a download is one entry, whatever it takes, and jobs are accepted.
	file := filepath.Join(t.TempDir(), "file")
	do(t, ctx, w.ctl, "backup", "download", b, "-o", file)
	if rows := audited(t, ctx, w.ctl, "backup.download", b); len(rows) != 2 || rows[0].OnBehalfOf != "" {
		t.Errorf("after a second download the audit log tells: %+v", rows)
	}
	do(t, ctx, w.ctl, "restore", "create", b, "--to-database", w.files.Name("r_told"), "--wait")
	do(t, ctx, w.ctl, "backup", "verify", b, "--level", "checksum")
	for action, subject := range map[string]string{"restore.create": "", "backup.verify": b} {
		if rows := audited(t, ctx, w.ctl, action, subject); len(rows) != 1 || rows[0].Result != "accepted" {
			t.Errorf("the audit log tells of %s: %+v", action, rows)
		}
	}

	// Refused: by the state, by the token's permissions, because there is no such thing.
	refused(t, ctx, w.ctl, 1, []string{"held"}, "backup", "delete", b)
	viewer, err := w.controllers[0].ClientWith("viewer", read[struct{ Token string }](t, ctx, w.ctl, "token", "create", "viewer", "--permission", "view-backups").Token)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, viewer, 1, []string{"delete-backups"}, "backup", "cleanup", "shop")
	refused(t, ctx, viewer, 1, []string{"restore-backups"}, "restore", "create", b, "--to-database", w.files.Name("r_never"))
	refused(t, ctx, w.ctl, 1, []string{"99999999"}, "backup", "delete", "99999999")
	for _, want := range []auditRow{
		{Actor: "admin", Action: "backup.delete", Subject: b, Result: "refused: conflict"},
		{Actor: "viewer", Action: "backup.cleanup", Subject: "", Result: "refused: forbidden"},
		{Actor: "viewer", Action: "restore.create", Subject: "", Result: "refused: forbidden"},
		{Actor: "admin", Action: "backup.delete", Subject: "99999999", Result: "refused: not_found"},
	} {
		n := 0
		for _, r := range audited(t, ctx, w.ctl, want.Action, want.Subject) {
			if r.Actor == want.Actor && r.Result == want.Result && r.Subject == want.Subject && r.Detail["reason"] != "" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the audit log has %d entries like %+v: %+v", n, want, audited(t, ctx, w.ctl, want.Action, ""))
		}
	}
	do(t, ctx, w.ctl, "backup", "release", b)
	if text := do(t, ctx, w.ctl, "audit", "list", "--actor", "Zoë <zoe@example.org>"); strings.Count(text, "Zoë") != 2 {
		t.Errorf("of Zoë there is\n%s", text)
	}
}

// editedRows changes what the catalog says of a backup. Whoever reads it next is told which column is not what was signed; nothing is
// restored, and the row is good again once it is put right.
func (w *faultWorld) editedRows(t *testing.T, ctx context.Context, backup int64) {
	b := fmt.Sprint(backup)
	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	edit := func(sql string) {
		t.Helper()
		if tag, err := conn.Exec(ctx, "SET session_replication_role = replica; "+sql); err != nil || tag.RowsAffected() != 1 {
			t.Fatalf("%s: %d rows, %v", sql, tag.RowsAffected(), err)
		}
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE stack.backup AS SELECT * FROM database_backups WHERE id = "+b+"; CREATE TABLE stack.objects AS SELECT * FROM backup_objects WHERE backup_id = "+b); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "project", "create", "thief")
	do(t, ctx, w.ctl, "project", "grant", "thief", "db1")
	for i, tc := range []struct{ column, set string }{
		{"checksum", "checksum = repeat('0', 64)"},
		{"file_size", "file_size = file_size + 1"},
		{"file_path", "file_path = replace(file_path, 'told', 'bold')"},
		{"project_id", "project_id = (SELECT id FROM projects WHERE slug = 'thief')"},
		{"database_name", "database_name = 'another'"},
		{"type", "type = 'pre_deploy'"},
	} {
		events := w.events(t, ctx, "record_differs")
		edit("UPDATE database_backups b SET " + tc.set + " WHERE id = " + b)
		to := w.files.Name(fmt.Sprintf("r_stolen_%d", i))
		if i%2 == 0 {
			refused(t, ctx, w.ctl, 1, []string{"failed", "catalog's " + tc.column}, "backup", "verify", b, "--level", "checksum")
		} else {
			refused(t, ctx, w.ctl, 1, []string{"catalog's " + tc.column}, "restore", "create", b, "--to-database", to, "--wait")
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: there is a copy", tc.column)
		}
		if now, err := w.ctl.Backup(ctx, backup); err != nil || now.Health != "corrupt" || now.VerifiedAt != nil {
			t.Errorf("%s: the backup is %+v, %v", tc.column, now, err)
		}
		if n := w.events(t, ctx, "record_differs"); n <= events {
			t.Errorf("%s: there were %d security events, there are %d", tc.column, events, n)
		}
		refused(t, ctx, w.ctl, 1, []string{"corrupt"}, "restore", "create", b, "--to-database", to)
		edit(`UPDATE database_backups b SET checksum = o.checksum, file_size = o.file_size, file_path = o.file_path, project_id = o.project_id,
			database_name = o.database_name, type = o.type FROM stack.backup o WHERE b.id = o.id`)
		w.good(t, ctx, backup)
	}
	// What the artifact must be, as the row of the object says it.
	edit("UPDATE backup_objects SET stored_sha256 = repeat('0', 64) WHERE object = 'artifact' AND backup_id = " + b)
	refused(t, ctx, w.ctl, 1, []string{"failed", "stored_sha256"}, "backup", "verify", b, "--level", "checksum")
	edit("UPDATE backup_objects b SET stored_sha256 = o.stored_sha256 FROM stack.objects o WHERE b.backup_id = o.backup_id AND b.object = o.object AND b.object = 'artifact'")
	w.good(t, ctx, backup)
	if text := do(t, ctx, w.ctl, "audit", "security"); !strings.Contains(text, "record_differs") || !strings.Contains(text, "checksum of backup "+b) {
		t.Errorf("the security events are\n%s", text)
	}
}

// anchor has the controller anchor the head of the log now.
func (w *faultWorld) anchor(t *testing.T, ctx context.Context) {
	t.Helper()
	had, err := w.s3.Anchors(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.catalog.Rows(ctx, "UPDATE audit_anchors SET at = at - interval '2 hours' RETURNING seq"); err != nil {
		t.Fatal(err)
	}
	if err := w.controllers[0].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the log is anchored", func(ctx context.Context) (bool, error) {
		now, err := w.s3.Anchors(ctx)
		return len(now) > len(had), err
	})
}

// editedLog changes the audit log behind the back of the product. Its check names the first row that is wrong; a tail that was cut off is
// seen by an anchor at the store, or by a head that somebody kept.
func (w *faultWorld) editedLog(t *testing.T, ctx context.Context) {
	w.anchor(t, ctx)
	do(t, ctx, w.ctl, "project", "create", "after-the-anchor")
	head := strings.TrimSpace(do(t, ctx, w.ctl, "audit", "head"))
	export := filepath.Join(t.TempDir(), "audit.jsonl")
	do(t, ctx, w.ctl, "audit", "export", "-o", export)
	text := do(t, ctx, w.ctl, "audit", "verify", "--head", head)
	if !strings.Contains(text, "ok") || strings.Contains(text, "Warning") {
		t.Errorf("the log is verified as\n%s", text)
	}
	w.verifiedOffline(t, ctx, export, head)

	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// As the log's own guards would not let it.
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, "SET session_replication_role = replica; "+sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	var guarded int
	for _, sql := range []string{"UPDATE audit_log SET actor = 'x' WHERE seq = 3", "DELETE FROM audit_log WHERE seq = 3", "TRUNCATE audit_log"} {
		if _, err := conn.Exec(ctx, sql); err != nil && strings.Contains(err.Error(), "are not changed") {
			guarded++
		}
	}
	if guarded != 3 {
		t.Errorf("%d of 3 changes were refused by the database itself", guarded)
	}
	exec("CREATE TABLE stack.audit AS SELECT * FROM audit_log; CREATE TABLE stack.anchors AS SELECT * FROM audit_anchors")
	restore := func() {
		exec("DELETE FROM audit_log; INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM stack.audit; DELETE FROM audit_anchors; INSERT INTO audit_anchors SELECT * FROM stack.anchors")
	}
	for _, tc := range []struct {
		what, sql string
		words     []string
		args      []string
	}{
		{"a row edited", "UPDATE audit_log SET detail = '{}' WHERE seq = 5", []string{"BAD", "seq 5", "row 5 (id ", "is not as it was sealed"}, nil},
		{"a row's time edited", "UPDATE audit_log SET at = at + interval '1 second' WHERE seq = 7", []string{"BAD", "seq 7", "is not as it was sealed"}, nil},
		{"a row deleted", "DELETE FROM audit_log WHERE seq = 6", []string{"BAD", "seq 6", "row 6 is missing"}, nil},
		{"two rows swapped", "UPDATE audit_log SET seq = -seq WHERE seq IN (4, 5); UPDATE audit_log SET seq = 9 + seq WHERE seq < 0", []string{"BAD", "seq 4"}, nil},
		{
			"the tail cut off, its anchors with it", "DELETE FROM audit_log WHERE seq > 8; DELETE FROM audit_anchors WHERE seq > 8",
			[]string{"BAD", "seq 9", "the rows after 8 are gone", "at storage \"store\""},
			nil,
		},
		{
			"the tail cut off behind the last anchor", "DELETE FROM audit_log WHERE seq > (SELECT max(seq) FROM audit_anchors)",
			[]string{"BAD", "are gone", "the head given"},
			[]string{"--head", head},
		},
	} {
		exec(tc.sql)
		res, err := w.ctl.Ctl(ctx, append([]string{"audit", "verify"}, tc.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if res.Code != 1 {
			t.Errorf("%s: exit status %d", tc.what, res.Code)
		}
		says(t, res, 1, tc.words...)
		restore()
	}
	do(t, ctx, w.ctl, "audit", "verify", "--head", head)

	// Whoever changes the store's copy as well is seen by that.
	anchors, err := w.s3.Anchors(ctx)
	if err != nil {
		t.Fatal(err)
	}
	file := w.s3.ObjectPath(w.s3.Bucket, anchors[len(anchors)-1])
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(whole, []byte(`"seq":`), []byte(`"seq":1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, w.ctl, 1, []string{"BAD", anchors[len(anchors)-1], "was changed"}, "audit", "verify")
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "audit", "verify")
}

// verifiedOffline checks an export by devflowctl where there is no controller, and that a changed one is found out.
func (w *faultWorld) verifiedOffline(t *testing.T, ctx context.Context, export, head string) {
	t.Helper()
	verify := func(file string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, w.Program("devflowctl"), append([]string{"audit", "verify", "--file", file}, args...)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	whole, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(whole)))
	var last auditRow
	for i, line := range lines {
		var r auditRow
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Seq == nil || *r.Seq != int64(i+1) {
			t.Fatalf("line %d of the export is %.200q: %v", i+1, line, err)
		}
		last = r
	}
	if last.Action != "audit.export" || last.Actor != "admin" {
		t.Errorf("the export ends with %+v", last)
	}
	if out, err := verify(export, "--head", head); err != nil || !strings.Contains(out, fmt.Sprint(len(lines))) {
		t.Errorf("the export does not verify: %v: %s", err, out)
	}
	for what, change := range map[string]func() []string{
		"a line changed": func() []string {
			return append(append(slices.Clone(lines[:3]), strings.Replace(lines[3], `"remote":"`, `"remote":"1`, 1)), lines[4:]...)
		},
		"a line left out":   func() []string { return slices.Delete(slices.Clone(lines), 3, 4) },
		"two lines swapped": func() []string { l := slices.Clone(lines); l[3], l[4] = l[4], l[3]; return l },
	} {
		file := filepath.Join(t.TempDir(), "changed.jsonl")
		if err := os.WriteFile(file, []byte(strings.Join(change(), "")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := verify(file)
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "BAD") || !strings.Contains(out, "seq 4") && !strings.Contains(out, "seq 5") {
			t.Errorf("%s: %v: %s", what, err, out)
		}
	}
}
