package daemon_test

import (
	"fmt"
	"testing"

	"devflowbackup/shared/wire"
)

// A controller that pages through the backup directory sees each file of a backup once.
func TestLocal_List(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	from, st := a.localBackup(1)
	prefix := st.Key[:len(st.Key)-len("backups/2006/01/02/")-len(lastOf(st.Key))] + "backups/"
	sizes := map[string]int64{}
	for after := ""; ; {
		r := a.c.Local(wire.LocalOrder{Op: wire.LocalList, Key: prefix, After: after, Length: 2})
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
		for _, e := range r.Entries {
			if after = e.Key; sizes[e.Key] != 0 {
				t.Fatalf("%s came twice", e.Key)
			}
			sizes[e.Key] = e.Size
		}
		if !r.More {
			break
		}
	}
	want := parts(&a.c.Upload(from).Order)
	if len(sizes) != len(want) || sizes[st.Key] != st.StoredSize {
		t.Fatalf("listed %v, want %q, the first with %d bytes", sizes, want, st.StoredSize)
	}
	if r := a.c.Local(wire.LocalOrder{Op: wire.LocalList, Key: "../", Length: 2}); r.Failure == nil || r.Failure.Code != wire.CodeBadRequest {
		t.Fatalf("another directory: %+v", r)
	}
	if r := a.c.Local(wire.LocalOrder{Op: wire.LocalList, Key: prefix, Length: 1 << 40}); r.Failure == nil || r.Failure.Code != wire.CodeBadRequest {
		t.Fatalf("too many: %+v", fmt.Sprint(len(r.Entries)))
	}
}

func lastOf(key string) string {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '/' {
			return key[i+1:]
		}
	}
	return key
}
