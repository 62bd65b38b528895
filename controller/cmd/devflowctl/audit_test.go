package main_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"devflowbackup/controller"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.ctl("project", "create", "shop").ends(0)
	r.ctl("project", "create", "blog").ends(0)
	r.ctl("project", "delete", "nowhere").ends(1)
	r.ctl("audit", "list").ends(0, "project.create", "shop", "refused: not_found", "127.0.0.1")
	for _, filters := range [][]string{{"--action", "project.create"}, {"--project", "shop"}, {"--since", "1h", "--until", "2099-01-02", "--action", "project.c"}, {"--actor", "nobody"}} {
		if x := r.ctl(append([]string{"audit", "list"}, filters...)...).ends(0); strings.Contains(x.out, "refused") {
			t.Errorf("%v lists\n%s", filters, x.out)
		}
	}
	r.ctl("audit", "list", "--since", "yesterday").ends(2, "--since", "yesterday")

	head := strings.TrimSpace(r.ctl("audit", "head").ends(0).out)
	if h, err := controller.ParseAuditHead(head); err != nil || h.Seq != 4 {
		t.Fatalf("the head is %q: %v", head, err)
	}
	r.ctl("audit", "verify", "--head", head).ends(0, "ok", head, "Warning: no anchor")
	wrong := "4:" + strings.Repeat("ab", 32)
	r.ctl("audit", "verify", "--head", head, "--head", wrong).ends(1, "BAD", "seq 4", "row 4 (id 4)", "the head given")
	r.ctl("audit", "verify", "--head", "99:"+strings.Repeat("ab", 32)).ends(1, "the rows after 4 are gone")
	r.ctl("audit", "verify", "--head", "4").ends(2, "64 hexadecimal digits")
	r.ctl("audit", "verify", "--filtered").ends(2, "--file")
	if res := into[controller.AuditCheck](r.ctl("audit", "verify", "--head", wrong, "--output", "json").ends(1)); res.OK || res.BadSeq != 4 {
		t.Errorf("%+v", res)
	}

	r.ctl("audit", "export", "-o", "all.jsonl").ends(0, "5 rows", "all.jsonl")
	r.ctl("audit", "export", "-o", "part.jsonl", "--action", "project.create").ends(0, "2 rows")
	if x := r.ctl("audit", "export").ends(0); strings.Count(x.out, "\n") != 7 || !strings.Contains(x.out, `"audit.export"`) {
		t.Errorf("the export is %s", x.out)
	}
	off := offline(t)
	off.home = r.home
	off.ctl("audit", "verify", "--file", "all.jsonl", "--head", head).ends(0, "ok", "Rows verified", "5")
	off.ctl("audit", "verify", "--file", "all.jsonl", "--head", wrong).ends(1, "seq 4")
	off.ctl("audit", "verify", "--file", "part.jsonl").ends(0) // rows 2 and 3 follow one another
	text, err := os.ReadFile(r.home + "/all.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	join := func(lines ...[]byte) string { return string(bytes.Join(lines, nil)) }
	for name, c := range map[string]struct {
		text  string
		words []string
	}{
		"changed.jsonl": {strings.Replace(string(text), `"shop"`, `"shoq"`, 1), []string{"row 2 (id 2) is not as it was sealed"}},
		"gap.jsonl":     {join(append(append([][]byte{}, lines[:1]...), lines[2:]...)...), []string{"row 2 is missing"}},
		"order.jsonl":   {join(lines[0], lines[2], lines[1], lines[3], lines[4]), []string{"row 2 is missing"}},
		"cut.jsonl":     {string(text[:len(text)-20]), []string{"entry 5", "unexpected EOF"}},
		"other.jsonl":   {"hello", []string{"entry 1"}},
	} {
		r.file(name, c.text)
		off.ctl("audit", "verify", "--file", name).ends(1, c.words...)
	}
	off.ctl("audit", "verify", "--file", "gap.jsonl", "--filtered").ends(0, "1 rows between")
	r.file("late.jsonl", join(lines[2:]...))
	off.ctl("audit", "verify", "--file", "late.jsonl", "--head", "1:"+strings.Repeat("ab", 32)).ends(0, "begins at row 3", "1 of the heads given")
	r.file("short.jsonl", join(lines[:3]...))
	off.ctl("audit", "verify", "--file", "short.jsonl", "--head", head).ends(1, "the rows after 3 are gone")
	off.ctl("audit", "verify", "--file", "none.jsonl").ends(2, "none.jsonl")

	limited := *r
	limited.env = []string{"DEVFLOW_URL=" + r.URL, "DEVFLOW_TOKEN=" + r.NewToken([]string{controller.ViewAuditLogs, controller.ExportAuditLogs}, "shop")}
	limited.ctl("audit", "verify").ends(1, "whole installation")
	limited.ctl("audit", "head").ends(1, "whole installation")
	limited.ctl("audit", "export", "-o", "mine.jsonl").ends(0)
	off.ctl("audit", "verify", "--file", "mine.jsonl").ends(1, "are missing")
	off.ctl("audit", "verify", "--file", "mine.jsonl", "--filtered").ends(0, "not in the export")
}
