package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

func s3Spec(name, project, prefix string) controller.StorageSpec {
	return controller.StorageSpec{
		Name: name, Project: project, Kind: controller.StorageS3, Endpoint: "http://127.0.0.1:1", Bucket: "b", Prefix: prefix, AccessKey: "ak", SecretKey: "sk-canary",
	}
}

func (f *fix) addStorage(spec controller.StorageSpec) controller.Storage {
	f.Helper()
	return must[controller.Storage](f)(f.CreateStorage(f.Context(), f.admin, spec, nil, true, ""))
}

func TestUpdateStorage(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	st := f.storage("main", false)
	change := func(c controller.StorageChange, ok bool) (controller.Storage, error) {
		return f.UpdateStorage(ctx, f.admin, fmt.Sprint(st.ID), c, json.RawMessage(`{"list":"new"}`), ok, "md5")
	}
	access := func() controller.StorageAccess {
		t.Helper()
		return must[controller.StorageAccess](t)(f.StorageAccess(ctx, st.ID))
	}

	// A name alone says nothing about the store.
	got := must[controller.Storage](t)(change(controller.StorageChange{Name: ptr("renamed")}, false))
	if got.Name != "renamed" || string(got.Probe) != string(st.Probe) || !got.ProbeOK || got.ChecksumMode != "sha256" || !got.UpdatedAt.After(st.UpdatedAt) {
		t.Fatalf("storage is %+v", got)
	}
	equal(t, "credentials", access().Credentials.SecretKey.Reveal(), "sk-canary")

	rotated := controller.StorageChange{AccessKey: "ak-canary-2", SecretKey: "sk-canary-2", Region: ptr("eu")}
	_, err := change(rotated, false)
	f.refused(err, controller.EConflict, "did not pass", "nothing was changed")
	equal(t, "credentials", access().Credentials.SecretKey.Reveal(), "sk-canary")
	got = must[controller.Storage](t)(change(rotated, true))
	if got.Region != "eu" || got.Bucket != st.Bucket || got.Prefix != st.Prefix || string(got.Probe) != `{"list": "new"}` || got.ChecksumMode != "md5" {
		t.Fatalf("storage is %+v", got)
	}
	if c := access().Credentials; c.AccessKey != "ak-canary-2" || c.SecretKey.Reveal() != "sk-canary-2" {
		t.Fatal("the credentials are not the new ones")
	}
	must[controller.Storage](t)(change(controller.StorageChange{SecretKey: "sk-canary-3"}, true))
	if c := access().Credentials; c.AccessKey != "ak-canary-2" || c.SecretKey.Reveal() != "sk-canary-3" {
		t.Fatal("the credentials are not the new ones")
	}
	if all := f.sql("SELECT string_agg(encode(s.credentials_sealed, 'escape') || s::text, '') || (SELECT string_agg(x::text, '') FROM audit_log x) FROM storages s"); strings.Contains(all, "canary") {
		t.Fatal("a credential is stored in the open")
	}
	equal(t, "what the audit log tells", f.sql("SELECT detail::text FROM audit_log WHERE action = 'storage.update' ORDER BY id DESC LIMIT 1 OFFSET 1"), `{"region": "eu", "credentials": "changed"}`)

	// By force, and then no backup goes there.
	got = must[controller.Storage](t)(change(controller.StorageChange{Endpoint: ptr("http://127.0.0.1:2"), PathStyle: ptr(false), Force: true}, false))
	if got.Endpoint != "http://127.0.0.1:2" || got.PathStyle || got.ProbeOK {
		t.Fatalf("storage is %+v", got)
	}
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", Storage: "renamed"})
	f.refused(err, controller.EConflict, `"renamed"`, "probe")

	// Credentials that no longer open can be replaced as a whole, and not in part.
	f.sql("UPDATE storages SET credentials_sealed = '\\x00' WHERE id = %d", st.ID)
	if _, err := change(controller.StorageChange{SecretKey: "sk"}, true); err == nil {
		t.Fatal("a secret key was put beside an access key that does not open")
	}
	must[controller.Storage](t)(change(controller.StorageChange{AccessKey: "ak-4", SecretKey: "sk-4"}, true))
	equal(t, "access key", access().Credentials.AccessKey, "ak-4")

	for what, c := range map[string]struct {
		change controller.StorageChange
		code   string
		says   string
	}{
		"a name that is taken":  {controller.StorageChange{Name: ptr("s3")}, controller.EConflict, `"s3"`},
		"a place that is taken": {controller.StorageChange{Endpoint: ptr("http://127.0.0.1:3")}, controller.EConflict, `"there"`},
		"no name":               {controller.StorageChange{Name: ptr("")}, controller.EInvalid, "name"},
		"half a pair":           {controller.StorageChange{AccessKey: "ak"}, controller.EInvalid, "secret_key"},
	} {
		if what == "a place that is taken" {
			spec := s3Spec("there", "", "pre/main")
			spec.Endpoint = "http://127.0.0.1:3"
			f.addStorage(spec)
		}
		_, err := change(c.change, true)
		if controller.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	host := f.localStorage("host", false)
	_, err = f.UpdateStorage(ctx, f.admin, "host", controller.StorageChange{Endpoint: ptr("http://127.0.0.1:9")}, nil, true, "")
	f.refused(err, controller.EInvalid, "only its name")
	equal(t, "name", must[controller.Storage](t)(f.UpdateStorage(ctx, f.admin, "host", controller.StorageChange{Name: ptr("host2")}, nil, false, "")).ID, host.ID)
	_ = a
}

func TestCreateStorage_Overlap(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	shop, blog := f.project("shop"), f.project("blog")
	f.addStorage(s3Spec("main", "", ""))
	f.addStorage(s3Spec("shop", "shop", "shop"))
	add := func(actor controller.Actor, spec controller.StorageSpec) error {
		_, err := f.CreateStorage(ctx, actor, spec, nil, true, "")
		return err
	}
	f.refused(add(f.admin, s3Spec("again", "", "")), controller.EConflict, `"main"`, "another prefix")
	f.refused(add(f.admin, s3Spec("inside", "", "backups/2026")), controller.EConflict, `"main"`)
	f.refused(add(only(shop), s3Spec("again", "shop", "shop/")), controller.EConflict, `"shop"`)
	// A caller that does not see the other storage does not learn its name.
	err := add(only(blog), s3Spec("again", "blog", "shop"))
	f.refused(err, controller.EConflict, "another project")
	if strings.Contains(err.Error(), `storage "shop"`) {
		t.Fatalf("the refusal names it: %v", err)
	}
	f.localStorage("host", false)
	f.refused(add(f.admin, controller.StorageSpec{Name: "host3", Kind: controller.StorageLocal, Prefix: "host"}), controller.EConflict, `"host"`)
	f.ok(f.DeleteStorage(ctx, f.admin, "main"))
	f.addStorage(s3Spec("again", "", ""))

	// Two controllers add the same place under two names: one of them may.
	two := f.another("two")
	var wg sync.WaitGroup
	var added atomic.Int32
	for i := range 6 {
		c := f.Catalog
		if i%2 == 1 {
			c = two
		}
		wg.Go(func() {
			_, err := c.CreateStorage(t.Context(), f.admin, s3Spec(fmt.Sprint("race", i), "", "race"), nil, true, "")
			switch controller.ErrorCode(err) {
			case "":
				added.Add(1)
			case controller.EConflict:
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(t, "storages added", added.Load(), 1)
}

func TestStorage_Used(t *testing.T) {
	t.Parallel()
	f, one, two := twoProjects(t)
	ctx := t.Context()
	b := must[[]controller.Backup](t)(f.Backups(ctx, f.admin, controller.BackupFilter{Project: one.Slug, Status: controller.StatusCompleted}))[0]
	st := must[controller.Storage](t)(f.Storage(ctx, f.admin, "s3"))
	equal(t, "backups", st.Backups, 2)
	equal(t, "bytes", st.UsedBytes, 2**b.FileSize)
	equal(t, "same host", st.SameHost, false)
	// A caller sees of a shared storage what is its own.
	for _, p := range []controller.Project{one, two} {
		for _, st := range must[[]controller.Storage](t)(f.Storages(ctx, only(p), controller.StorageFilter{})) {
			want := int64(0)
			if st.Name == "s3" {
				want = 1
			}
			equal(t, "backups seen on "+st.Name, st.Backups, want)
			equal(t, "bytes seen on "+st.Name, st.UsedBytes, want**b.FileSize)
		}
	}
	equal(t, "newest object", must[string](t)(f.NewestObject(ctx, st.ID)), must[[]controller.Backup](t)(f.Backups(ctx, f.admin, controller.BackupFilter{}))[0].FilePath)
	f.sql("UPDATE database_backups SET health = 'missing' WHERE project_id = %d", two.ID)
	equal(t, "newest object that is there", must[string](t)(f.NewestObject(ctx, st.ID)), b.FilePath)
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID, Confirm: b.DatabaseName}))
	equal(t, "newest object while it can be undeleted", must[string](t)(f.NewestObject(ctx, st.ID)), b.FilePath)
	equal(t, "backups before it is gone", must[controller.Storage](t)(f.Storage(ctx, f.admin, "s3")).Backups, 2)
	must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))
	equal(t, "newest object", must[string](t)(f.NewestObject(ctx, st.ID)), "")
	f.ok(f.DeletionDone(ctx, b.ID))
	equal(t, "backups", must[controller.Storage](t)(f.Storage(ctx, f.admin, "s3")).Backups, 1)
}

func TestDeleteStorage_ProjectDefault(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.project("shop")
	f.storage("main", true)
	f.storage("second", false)
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("second")}))
	f.refused(f.DeleteStorage(ctx, f.admin, "second"), controller.EConflict, `"second"`, `"shop"`, "project update shop --storage")
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("")}))
	f.ok(f.DeleteStorage(ctx, f.admin, "second"))
	f.storage("third", false)
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("third")}))
	f.ok(f.DeleteProject(ctx, f.admin, "shop")) // a closed project keeps nothing
	f.ok(f.DeleteStorage(ctx, f.admin, "third"))
}

func TestCreateBackups_Disk(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app") // with "s3", the installation's default
	a.dir = "/srv/backups"
	f.helloAgain(a)
	f.project("other")
	chosen := func(storage, disk string) string {
		t.Helper()
		out, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", Storage: storage, StorageDisk: disk})
		if err != nil {
			return controller.ErrorCode(err) + ": " + err.Error()
		}
		b := *out[0].Backup
		must[controller.Job](t)(f.CancelBackup(ctx, f.admin, b.ID, ""))
		if disk != "" {
			equal(t, "disk", b.StorageDisk, disk)
		}
		equal(t, "same host", b.SameHost, b.StorageDisk == "local")
		return b.Storage
	}
	expect := func(storage, disk string, want ...string) {
		t.Helper()
		got := chosen(storage, disk)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Fatalf("storage %q and disk %q give %q, want %q", storage, disk, got, w)
			}
		}
	}
	expect("", "", "s3")
	expect("", "s3", "s3")
	expect("", "local", controller.EInvalid, "storage_disk", "no storage of kind local")
	f.localStorage("host", false)
	expect("", "local", "host") // the only one
	expect("", "", "s3")
	must[controller.Storage](t)(f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "theirs", Project: "other", Kind: controller.StorageLocal, Default: true}, nil, true, ""))
	expect("", "local", "host") // another project's is none
	expect("theirs", "local", controller.ENotFound)
	f.localStorage("host2", false)
	expect("", "local", controller.EInvalid, `"host", "host2"`, "--storage")
	expect("host2", "local", "host2")
	expect("host2", "s3", controller.EInvalid, "storage_disk", `"host2" is local`)
	expect("s3", "local", controller.EInvalid, "storage_disk", `"s3" is s3`)
	must[controller.Storage](t)(f.SetDefaultStorage(ctx, f.admin, "host"))
	expect("", "local", "host")
	expect("", "", "host")
	expect("", "s3", "s3") // the only one of its kind
	own := must[controller.Storage](t)(f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "own", Project: "shop", Kind: controller.StorageLocal, Prefix: "own", Default: true}, nil, true, ""))
	expect("", "local", "own")
	expect("", "", "own")
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("s3")}))
	expect("", "local", "own")
	expect("", "", "s3")
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("host2")}))
	expect("", "local", "host2")
	// One host's directory that failed says nothing about the others.
	f.ok(f.UpdateProbe(ctx, own.ID, nil, false, ""))
	expect("own", "", "own")
}

// TestOrder_FewParts is a store that takes a thousand parts.
func TestOrder_FewParts(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	st := must[controller.Storage](t)(f.Storage(ctx, f.admin, "s3"))
	f.sql("UPDATE databases SET size_bytes = %d", int64(10)<<30)
	sizes := map[string]int64{`{"capabilities":{"max_parts":1000}}`: 32 << 20, `{"capabilities":{"max_parts":10000}}`: 8 << 20, `{"capabilities":{"max_parts":0}}`: 8 << 20, `{"capabilities":{"max_parts":"many"}}`: 8 << 20, `null`: 8 << 20}
	for report, want := range sizes {
		f.ok(f.UpdateProbe(ctx, st.ID, json.RawMessage(report), true, ""))
		b := f.order("app")
		o := f.started(a)
		equal(t, "part size of a store with "+report, o.PartSize, want)
		if want == 32<<20 {
			_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1000, o.PartSize), 1e9)
			f.ok(err)
			_, err = f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1001, o.PartSize), 1e9)
			f.failure(err, wire.CodeLimit)
			// What the next probe finds does not change what was ordered.
			f.ok(f.UpdateProbe(ctx, st.ID, json.RawMessage(`null`), true, ""))
			_, err = f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1001, o.PartSize), 1e9)
			f.failure(err, wire.CodeLimit)
		}
		r := fails(wire.CodeToolFailed)
		r.Attempt = o.Attempt
		f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
		equal(t, "status", f.backup(b.ID).Status, controller.StatusFailed)
	}
}
