package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"devflowbackup/shared/wire"
)

// The backup directory of a host is listed by pages, as a bucket is.
func TestObjects_localList(t *testing.T) {
	k := start(t, nil)
	h := newHost(k)
	h.page = 3
	want := map[string]int64{}
	for i := range 8 {
		key := fmt.Sprintf("p/backups/2026/01/02/%d", i)
		h.files[key], want[key] = make([]byte, i), int64(i)
	}
	h.files["p/elsewhere"] = nil
	objects, err := k.fleet.Objects(t.Context(), 6, h.server)
	if err != nil {
		t.Fatal(err)
	}
	last, pages := "", 0
	for next := ""; ; {
		page, err := objects.List(t.Context(), "p/backups/", next)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, o := range page.Objects {
			if size, ok := want[o.Key]; !ok || o.Size != size || o.Key <= last || o.Archived || o.ETag != "" || !o.ModifiedAt.Equal(time.Unix(1735787045, 0)) {
				t.Fatalf("%+v after %s", o, last)
			}
			last = o.Key
			delete(want, o.Key)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if len(want) != 0 || pages != 3 || h.count(wire.LocalList) != 3 {
		t.Errorf("%d pages, %v were not listed", pages, want)
	}
	if uploads, err := objects.ListUploads(t.Context(), "p/backups/", ""); err != nil || len(uploads.Uploads) != 0 {
		t.Errorf("%+v, %v", uploads, err)
	}
	h.set(func(h *host) { h.page = 0 }) // says that there is more, and shows nothing
	if page, err := objects.List(t.Context(), "p/backups/", ""); !wire.HasCode(err, wire.CodeStorageUnavailable) {
		t.Errorf("%+v, %v", page, err)
	}
	h.set(func(h *host) {
		h.fail[wire.LocalList] = wire.Failf(wire.CodeBadRequest, "this agent does not know the local operation").WithHint("update the agent")
	})
	if _, err := objects.List(t.Context(), "p/backups/", ""); !wire.HasCode(err, wire.CodeBadRequest) {
		t.Errorf("an old agent: %v", err)
	}
	h.disconnect()
	if _, err := objects.List(t.Context(), "p/backups/", ""); !wire.HasCode(err, wire.CodeOffline) {
		t.Errorf("an agent that is away: %v", err)
	}
}
