package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/controller/internal/reconcile"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("db_%02d", i))
	}
	return out
}

// Whatever happens to the objects between inventories, each one finds what a look at all of them would, with pages of any size.
func TestInventory_Model(t *testing.T) {
	t.Parallel()
	k := newKit(t, names(9)...)
	k.start()
	all := k.backups(controller.BackupRequest{Project: "shop"})
	rnd := rand.New(rand.NewPCG(7, 7))
	corrupt := map[int64]bool{} // once it was seen to be
	for round := range 30 {
		k.main.set(func(s *shelf) {
			s.pages = 1 + rnd.IntN(7)
			for range 1 + rnd.IntN(4) {
				key := all[rnd.IntN(len(all))].FilePath
				if rnd.IntN(3) == 0 {
					key = artifact.ManifestKey(key)
				}
				o, there := s.things[key]
				switch rnd.IntN(8) {
				case 0, 1:
					delete(s.things, key)
				case 2:
					if there && rnd.IntN(3) == 0 {
						o.size++
						s.things[key] = o
					}
				case 3:
					if there {
						o.archived = !o.archived
						s.things[key] = o
					}
				case 4:
					s.things[fmt.Sprintf("backups/%c/%d", "!az~"[rnd.IntN(4)], rnd.IntN(9))] = thing{size: 1}
				case 5:
					for key := range s.things {
						if s.things[key].size == 1 {
							delete(s.things, key)
							break
						}
					}
				}
			}
			for _, b := range all { // some come back
				if _, there := s.things[b.FilePath]; !there && rnd.IntN(3) == 0 {
					s.things[b.FilePath] = thing{size: *b.FileSize, etag: "e-1"}
				}
			}
		})
		want := map[int64]string{}
		var n controller.StorageInventory
		k.main.set(func(s *shelf) {
			for _, o := range s.things {
				if n.Objects++; o.size == 1 {
					n.ForeignObjects++
				}
			}
			for _, b := range all {
				a, there := s.things[b.FilePath]
				m, manifest := s.things[artifact.ManifestKey(b.FilePath)]
				state := controller.HealthOK
				switch {
				case !there:
					state = controller.HealthMissing
					n.Missing++
				case a.size != *b.FileSize || manifest && m.size != 26:
					state = controller.HealthCorrupt
					n.Damaged++
				case a.archived || manifest && m.archived:
					state = controller.HealthArchived
					n.Archived++
				}
				if want[b.ID] = state; state == controller.HealthCorrupt || corrupt[b.ID] {
					corrupt[b.ID], want[b.ID] = true, controller.HealthCorrupt
				}
			}
		})
		got := k.inventory("main")
		if got.Error != "" || got.Objects != n.Objects || got.ForeignObjects != n.ForeignObjects || got.Missing != n.Missing || got.Damaged != n.Damaged || got.Archived != n.Archived {
			t.Fatalf("round %d: %+v, want %+v", round, got, n)
		}
		for _, b := range all {
			if h := k.health(b.ID); h != want[b.ID] {
				t.Fatalf("round %d: backup %d is %s, want %s", round, b.ID, h, want[b.ID])
			}
			if _, there := k.main.things[artifact.ManifestKey(b.FilePath)]; !there && want[b.ID] == controller.HealthOK {
				t.Fatalf("round %d: the manifest of backup %d was not put back", round, b.ID)
			}
		}
		found, err := k.Store.StorageFindings(t.Context(), k.Admin, "main", 1000)
		k.ok(err)
		if len(found) != n.ForeignObjects {
			t.Fatalf("round %d: %d findings, want %d", round, len(found), n.ForeignObjects)
		}
	}
	if k.main.count("Delete")+k.main.count("AbortUpload") != 0 {
		t.Error("something was removed")
	}
	if k.main.count("Put") == 0 || len(corrupt) == 0 {
		t.Error("nothing was put back, or nothing changed: the test proves little")
	}
}

// n objects cost one request for a thousand of them and one for the uploads, whatever of them is foreign, and none each.
func TestInventory_Requests(t *testing.T) {
	t.Parallel()
	k := newKit(t, names(5)...)
	k.start()
	k.backups(controller.BackupRequest{Project: "shop"})
	const strange = 3990
	k.main.set(func(s *shelf) {
		for i := range strange {
			s.things[fmt.Sprintf("backups/2020/%05d", i)] = thing{size: 2}
		}
	})
	i := k.inventory("main")
	if i.Error != "" || i.Requests != 5 || i.Objects != strange+10 || i.ForeignObjects != strange {
		t.Fatalf("%+v", i)
	}
	if k.main.count("List") != 4 || k.main.count("Head") != 0 || k.main.count("ListUploads") != 1 {
		t.Errorf("requests %v", k.main.calls)
	}
}

// TestFault26_Inventories: two controllers make one inventory of each storage, of a local one for each host, and none while it is not due.
func TestFault26_Inventories(t *testing.T) {
	t.Parallel()
	k := newKit(t, names(2)...)
	local := k.shelf(k.LocalStorage("hosts"))
	idle := k.shelf(k.otherLocal("unused"))
	k.backups(controller.BackupRequest{Project: "shop"})
	k.backups(controller.BackupRequest{Project: "shop", Storage: "hosts"})
	watched := &looks{Store: k.Store}
	slow := func(_ context.Context, op, _ string) error {
		if op == "List" {
			watched.more(t, 6)
		}
		return nil
	}
	k.main.fails, local.fails = slow, slow
	for range 2 {
		k.start(func(o *reconcile.Options) { o.First, o.Every, o.Store = time.Millisecond, time.Minute, watched })
	}
	for _, name := range []string{"main", "hosts"} {
		apitest.Eventually(t, "the inventory of "+name, func() bool {
			all, err := k.Store.StorageInventories(t.Context(), k.Admin, name, 0, 0)
			k.ok(err)
			return len(all) == 1 && all[0].EndedAt != nil && (name == "main") == (all[0].ServerID == 0)
		})
	}
	watched.more(t, 6)
	if k.main.count("List") != 1 || local.count("List") != 1 || idle.count("List") != 0 {
		t.Errorf("listed %d, %d and %d times, want 1, 1 and 0", k.main.count("List"), local.count("List"), idle.count("List"))
	}
	all, err := k.Store.StorageInventories(t.Context(), k.Admin, "hosts", 0, 0)
	k.ok(err)
	if all[0].Server != "db-7" || all[0].Objects != 4 || all[0].Error != "" || time.Until(all[0].DueAt) < 50*time.Second {
		t.Errorf("%+v", all[0])
	}
}

// A listing is not believed against the object itself: one that shows nothing makes nothing missing, and is told of.
func TestInventory_EmptyListing(t *testing.T) {
	t.Parallel()
	k := newKit(t, names(14)...)
	k.start()
	all := k.backups(controller.BackupRequest{Project: "shop"})
	k.main.set(func(s *shelf) { s.shows = func(string) bool { return false } })
	i := k.inventory("main")
	if i.Error != "" || i.Missing != 0 || k.main.count("Head") != 28 || k.logged("shows nothing at all") != 1 {
		t.Fatalf("%+v, %v", i, k.main.calls)
	}
	// Of most of them it is told, of few not.
	k.main.set(func(s *shelf) {
		s.shows = nil
		for _, b := range all[:12] {
			delete(s.things, b.FilePath)
		}
	})
	if i = k.inventory("main"); i.Missing != 12 || k.logged("most backups of a storage are gone") != 1 || k.health(all[0].ID) != controller.HealthMissing || k.health(all[13].ID) != controller.HealthOK {
		t.Fatalf("%+v", i)
	}
	for _, b := range all {
		k.lay(b)
	}
	if i = k.inventory("main"); i.Recovered != 12 || i.Missing != 0 {
		t.Fatalf("%+v", i)
	}
	k.main.set(func(s *shelf) { delete(s.things, all[0].FilePath) })
	if i = k.inventory("main"); i.Missing != 1 || k.logged("most backups of a storage are gone") != 1 || k.logged("shows nothing at all") != 1 {
		t.Fatalf("%+v", i)
	}
}

// One that breaks off keeps what it saw and says nothing about the rest; what is passing is tried again, what is not is told at the end.
func TestInventory_BreaksOff(t *testing.T) {
	t.Parallel()
	k := newKit(t, names(6)...)
	k.start(func(o *reconcile.Options) { o.Retry = time.Minute })
	all := k.backups(controller.BackupRequest{Project: "shop"})
	first, last := all[0], all[0]
	for _, b := range all {
		if b.FilePath < first.FilePath {
			first = b
		}
		if b.FilePath > last.FilePath {
			last = b
		}
	}
	down := wire.Failf(wire.CodeStorageUnavailable, "it is down").Retry()
	break_ := func(op string, err error) {
		k.main.set(func(s *shelf) {
			s.pages = 3
			for _, b := range []controller.Backup{first, last} {
				delete(s.things, b.FilePath)
			}
			s.things["backups/9"] = thing{size: 1}
			s.fails = func(_ context.Context, what, key string) error {
				if what == op && (op != "Head" || key == last.FilePath) && (op != "List" || s.calls["List"]%4 == 3) {
					return err
				}
				return nil
			}
		})
	}
	break_("List", down) // the third page
	i := k.inventory("main")
	if !strings.Contains(i.Error, "it is down") || k.health(first.ID) != controller.HealthMissing || k.health(last.ID) != controller.HealthOK || i.EndedAt != nil {
		t.Fatalf("%+v", i)
	}
	if wait := i.DueAt.Sub(*i.StartedAt); wait < 59*time.Second || wait > 2*time.Minute {
		t.Errorf("tried again after %s", wait)
	}
	k.lay(first)
	k.main.set(func(s *shelf) { s.calls["List"] = 0 })
	break_("Head", down)
	if i = k.inventory("main"); !strings.Contains(i.Error, "it is down") || k.health(last.ID) != controller.HealthOK {
		t.Fatalf("%+v", i)
	}
	break_("Head", wire.Failf(wire.CodeStorageDenied, "not yours"))
	if i = k.inventory("main"); !strings.Contains(i.Error, "of 1 backups the storage did not tell") || k.health(last.ID) != controller.HealthOK || k.main.count("ListUploads") == 0 {
		t.Fatalf("%+v", i)
	}
	if found, err := k.Store.StorageFindings(t.Context(), k.Admin, "main", 10); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	k.main.set(func(s *shelf) { s.fails = nil })
	if i = k.inventory("main"); i.Error != "" || i.Missing != 2 || i.EndedAt == nil || k.health(last.ID) != controller.HealthMissing {
		t.Fatalf("%+v", i)
	}
}

// Stop does not wait for a store that hangs, and nothing is recorded as failed for it.
func TestReconciler_Stop(t *testing.T) {
	t.Parallel()
	k := newKit(t, "app")
	k.backups(controller.BackupRequest{Project: "shop"})
	hangs := make(chan struct{})
	k.main.fails = func(ctx context.Context, op, _ string) error {
		close(hangs)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	r := k.start()
	_, err := k.Store.RequestInventory(t.Context(), k.Admin, "main")
	k.ok(err)
	<-hangs
	r.Stop()
	r.Stop()
	all, err := k.Store.StorageInventories(t.Context(), k.Admin, "main", 0, 0)
	k.ok(err)
	if all[0].Error != "" || all[0].EndedAt != nil || k.logged("did not come to its end") != 0 {
		t.Errorf("%+v", all[0])
	}
}

// A backup that is deleted between the look at its manifest and its return leaves nothing behind.
func TestInventory_ManifestOfDeleted(t *testing.T) {
	t.Parallel()
	k := newKit(t, "app")
	k.start()
	b := k.backups(controller.BackupRequest{Project: "shop"})[0]
	key := artifact.ManifestKey(b.FilePath)
	k.main.set(func(s *shelf) {
		delete(s.things, key)
		s.fails = func(ctx context.Context, op, _ string) error {
			if op == "Put" {
				_, err := k.Store.DeleteBackup(ctx, k.Admin, controller.DeleteRequest{Backup: b.ID, Confirm: "app", Grace: -1})
				return err
			}
			return nil
		}
	})
	i := k.inventory("main")
	if i.Error != "" || k.main.count("Put") != 1 || k.main.count("Delete") != 1 {
		t.Fatalf("%+v, %v", i, k.main.calls)
	}
	if _, there := k.main.things[key]; there {
		t.Error("the manifest of a deleted backup lies there")
	}
	// What is being deleted is neither missing nor foreign.
	if i = k.inventory("main"); i.Missing+i.ForeignObjects != 0 || i.Objects != 1 || k.main.count("Put") != 1 {
		t.Fatalf("%+v", i)
	}
	// One that cannot be put back is told, and the backup stays what it is: the catalog has the manifest too.
	k.main.set(func(s *shelf) { s.fails = nil })
	k.ok(undelete(k, b.ID))
	k.main.set(func(s *shelf) {
		s.fails = func(_ context.Context, op, _ string) error {
			if op == "Put" {
				return wire.Failf(wire.CodeStorageDenied, "read only")
			}
			return nil
		}
	})
	if i = k.inventory("main"); i.Missing != 0 || k.health(b.ID) != controller.HealthOK || k.logged("something beside the artifact") != 1 {
		t.Fatalf("%+v", i)
	}
}

func undelete(k *kit, id int64) error {
	_, err := k.Store.UndeleteBackup(k.t.Context(), k.Admin, id)
	return err
}
