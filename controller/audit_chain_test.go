package controller_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
)

func entry(id int64) controller.AuditEntry {
	token, project := int64(7), int64(3)
	return controller.AuditEntry{
		ID: id, At: time.Date(2026, 3, 29, 2, 30, 0, 1500, time.FixedZone("CEST", 7200)), Actor: "panel", TokenID: &token, OnBehalfOf: "Zoë", Action: "backup.create",
		ProjectID: &project, Subject: "12", Detail: json.RawMessage(`{"b": [1.50, true, null, "<&>\u2028\u0001\"\\\/\n"], "a": {"z": 1, "ä": 2, "B": 3}}`), Remote: "::1", Result: "accepted",
	}
}

func chain(t *testing.T, n int64) []controller.AuditEntry {
	t.Helper()
	var all []controller.AuditEntry
	head := controller.AuditHead{}
	for id := int64(1); id <= n; id++ {
		e, err := head.Seal(entry(id * 10))
		if err != nil {
			t.Fatal(err)
		}
		head = controller.AuditHead{Seq: *e.Seq, Hash: e.Hash, At: e.At}
		all = append(all, e)
	}
	return all
}

// TestAuditEntry_Canonical fixes the encoding for good: what was sealed is verified as it was sealed, by every later version.
func TestAuditEntry_Canonical(t *testing.T) {
	e := entry(10)
	seq := int64(1)
	e.Seq = &seq
	got, err := e.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	want := "devflow-audit-1\n1:1\n2:10\n27:2026-03-29T00:30:00.000001Z\n5:panel\n1:7\n4:Zoë\n13:backup.create\n1:3\n2:12\n" +
		"69:" + `{"a":{"B":3,"z":1,"ä":2},"b":[1.50,true,null,"<&>` + "\u2028" + `\u0001\"\\/\n"]}` + "\n3:::1\n8:accepted\n"
	if string(got) != want {
		t.Errorf("the encoding is\n%q, want\n%q", got, want)
	}
	sealed, err := controller.AuditHead{}.Seal(entry(10))
	if err != nil {
		t.Fatal(err)
	}
	if sealed.PrevHash != strings.Repeat("0", 64) || sealed.Hash != "2635a7c7ae90ccef1714f3fb380fd00193c89d440ea1c1d11ebb09050c79071e" {
		t.Errorf("the first entry follows %s and has the hash %s", sealed.PrevHash, sealed.Hash)
	}
	e.TokenID, e.ProjectID, e.Detail = nil, nil, nil
	if got, err = e.Canonical(); err != nil || !strings.Contains(string(got), "5:panel\n-\n4:Zo") || !strings.Contains(string(got), "\n-\n2:12\n2:{}\n") {
		t.Errorf("nulls are encoded as %q (%v)", got, err)
	}
	e.Detail = json.RawMessage(`{`)
	if _, err := e.Canonical(); err == nil {
		t.Error("a detail that is not JSON is encoded")
	}
}

func TestAuditChain(t *testing.T) {
	known := func(all []controller.AuditEntry, i int) controller.KnownHead {
		return controller.KnownHead{AuditHead: controller.AuditHead{Seq: *all[i].Seq, Hash: all[i].Hash}, Source: "the head given"}
	}
	reseal := func(all []controller.AuditEntry, from int) {
		for i := from; i < len(all); i++ {
			head := controller.AuditHead{}
			if i > 0 {
				head = controller.AuditHead{Seq: *all[i-1].Seq, Hash: all[i-1].Hash}
			}
			var err error
			if all[i], err = head.Seal(all[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		change  func(all []controller.AuditEntry) []controller.AuditEntry
		heads   []int
		seq, id int64
		words   string
	}{
		{"whole", func(all []controller.AuditEntry) []controller.AuditEntry { return all }, []int{0, 9}, 0, 0, ""},
		{"field", func(all []controller.AuditEntry) []controller.AuditEntry { all[4].Actor = "nobody"; return all }, nil, 5, 50, "row 5 (id 50) is not as it was sealed"},
		{"detail", func(all []controller.AuditEntry) []controller.AuditEntry { all[4].Detail = nil; return all }, nil, 5, 50, "not as it was sealed"},
		{"result", func(all []controller.AuditEntry) []controller.AuditEntry { all[4].Result = "done"; return all }, nil, 5, 50, "not as it was sealed"},
		{"time", func(all []controller.AuditEntry) []controller.AuditEntry {
			all[4].At = all[4].At.Add(time.Microsecond)
			return all
		}, nil, 5, 50, "not as it was sealed"},
		{"token", func(all []controller.AuditEntry) []controller.AuditEntry { all[4].TokenID = nil; return all }, nil, 5, 50, "not as it was sealed"},
		{"hashed again", func(all []controller.AuditEntry) []controller.AuditEntry {
			all[4].Actor = "nobody"
			all[4].Hash, _ = all[4].ChainHash(all[4].PrevHash)
			return all
		}, nil, 6, 60, "row 6 (id 60) does not follow the row 5 that is there"},
		{"gap of one", func(all []controller.AuditEntry) []controller.AuditEntry { return append(all[:4], all[5:]...) }, nil, 5, 0, "row 5 is missing: row 6 (id 60) follows row 4"},
		{"gap", func(all []controller.AuditEntry) []controller.AuditEntry { return append(all[:4], all[7:]...) }, nil, 5, 0, "rows 5 to 7 are missing"},
		{"first gone", func(all []controller.AuditEntry) []controller.AuditEntry { return all[1:] }, nil, 1, 0, "row 1 is missing"},
		{"order", func(all []controller.AuditEntry) []controller.AuditEntry { all[4], all[5] = all[5], all[4]; return all }, nil, 5, 0, "row 5 is missing"},
		{"numbers exchanged", func(all []controller.AuditEntry) []controller.AuditEntry {
			all[4].Seq, all[5].Seq = all[5].Seq, all[4].Seq
			all[4], all[5] = all[5], all[4]
			return all
		}, nil, 5, 60, "not as it was sealed"},
		{"twice", func(all []controller.AuditEntry) []controller.AuditEntry { return append(all, all[9]) }, nil, 10, 100, "there twice"},
		{"written anew", func(all []controller.AuditEntry) []controller.AuditEntry {
			all[4].Actor = "nobody"
			reseal(all, 4)
			return all
		}, []int{2, 7}, 8, 80, "row 8 (id 80) is not the one that the head given knows: rows were written anew, somewhere after row 3"},
		{"tail cut", func(all []controller.AuditEntry) []controller.AuditEntry { return all[:7] }, []int{9}, 8, 0, "the rows after 7 are gone: the head given says that there were 10"},
		{"all gone", func([]controller.AuditEntry) []controller.AuditEntry { return nil }, []int{3}, 1, 0, "the rows after 0 are gone"},
	} {
		all := chain(t, 10)
		var heads []controller.KnownHead
		for _, i := range c.heads {
			heads = append(heads, known(all, i))
		}
		checked := controller.NewAuditChain(heads)
		fault := first(checked, c.change(all))
		switch {
		case c.words == "" && fault != nil:
			t.Errorf("%s: %v", c.name, fault)
		case c.words == "" && (checked.Rows != 10 || checked.Compared != len(heads) || checked.Head().Seq != 10):
			t.Errorf("%s: %+v", c.name, checked)
		case c.words != "" && (fault == nil || fault.Seq != c.seq || fault.ID != c.id || !strings.Contains(fault.Problem, c.words)):
			t.Errorf("%s: the fault is %+v, want seq %d, id %d and %q", c.name, fault, c.seq, c.id, c.words)
		}
	}
}

func first(c *controller.AuditChain, all []controller.AuditEntry) *controller.AuditFault {
	for _, e := range all {
		if fault := c.Add(e); fault != nil {
			return fault
		}
	}
	return c.End()
}

func TestAuditExtract(t *testing.T) {
	all := chain(t, 10)
	if c := controller.NewAuditExtract(nil, false); first(c, all[4:]) != nil || c.First != 5 || c.Rows != 6 {
		t.Errorf("a part: %+v", c)
	}
	part := append(append([]controller.AuditEntry{}, all[2:4]...), all[6:]...)
	if fault := first(controller.NewAuditExtract(nil, false), part); fault == nil || fault.Seq != 5 {
		t.Errorf("a gap in an export without filters: %+v", fault)
	}
	head := []controller.KnownHead{{AuditHead: controller.AuditHead{Seq: 99, Hash: all[0].Hash}}}
	if c := controller.NewAuditExtract(head, true); first(c, part) != nil || c.Gaps != 2 || c.Compared != 0 {
		t.Errorf("a filtered export: %+v", c)
	}
	part[3].Subject = "13"
	if fault := first(controller.NewAuditExtract(nil, true), part); fault == nil || fault.Seq != 8 {
		t.Errorf("a changed row in a filtered export: %+v", fault)
	}
	all = chain(t, 3)
	all[1].PrevHash = all[1].Hash // and sealed on it
	all[1].Hash, _ = all[1].ChainHash(all[1].PrevHash)
	if fault := first(controller.NewAuditExtract(nil, true), all); fault == nil || fault.Seq != 2 {
		t.Errorf("neighbours in a filtered export: %+v", fault)
	}
}

func TestParseAuditHead(t *testing.T) {
	h := controller.AuditHead{Seq: 12, Hash: strings.Repeat("ab", 32)}
	if got, err := controller.ParseAuditHead(" 12:" + strings.ToUpper(h.Hash) + "\n"); err != nil || got != h || got.Text() != "12:"+h.Hash {
		t.Errorf("%+v %v", got, err)
	}
	for _, s := range []string{"", "12", "12:", "12:ab", "-1:" + h.Hash, "x:" + h.Hash, h.Hash, "12:" + h.Hash + "00"} {
		if _, err := controller.ParseAuditHead(s); controller.ErrorCode(err) != controller.EInvalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}
