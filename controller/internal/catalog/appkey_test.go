package catalog_test

import (
	"strings"
	"sync"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
)

func (f *fix) appKey(p controller.Project) string {
	f.Helper()
	return string(must[[]byte](f)(f.ProjectAppKey(f.Context(), p.ID)))
}

func TestProjectAppKey(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	recipient, identity := ageKey(t)
	spec := controller.ProjectSpec{Slug: "laravel", DefaultEncryption: controller.EncryptionAES, AppKey: " a text of canary bytes\n"}
	given := must[controller.Project](t)(f.CreateProject(ctx, f.admin, spec, recipient, []byte(identity), nil))
	equal(t, "default encryption", given.DefaultEncryption, controller.EncryptionAES)
	equal(t, "a given key", f.appKey(given), "a text of canary bytes")
	equal(t, "a given key, exported", string(must[controller.ProjectSecrets](t)(f.ProjectSecrets(ctx, f.admin, "laravel")).AppKey), "a text of canary bytes")
	equal(t, "exports in the audit log", f.sql("SELECT count(*) FROM audit_log WHERE action = 'project.export_key'"), "1")
	if all := f.sql("SELECT encode(app_key, 'escape') || p::text FROM projects p"); strings.Contains(all, "canary") {
		t.Fatal("the app key is stored in the open")
	}
	if all := f.sql("SELECT string_agg(a::text, '') FROM audit_log a"); strings.Contains(all, "canary") {
		t.Fatal("the app key is in the audit log")
	}
	handed := must[controller.Project](t)(f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "handed"}, recipient, []byte(identity), []byte("sixteen bytes !!")))
	equal(t, "a key beside the spec", f.appKey(handed), "sixteen bytes !!")

	made := f.project("made")
	key := f.appKey(made)
	if b, err := artifact.AppKeyBytes(key); err != nil || len(b) != 32 || !strings.HasPrefix(key, "base64:") {
		t.Fatalf("the key that was made has %d bytes: %v", len(b), err)
	}
	equal(t, "the same key again", f.appKey(made), key)
	_, err := f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "short"}, recipient, []byte(identity), []byte("canary"))
	f.refused(err, controller.EInvalid, "app_key", "16 bytes")
	if strings.Contains(err.Error(), "canary") {
		t.Fatalf("the refusal shows the key: %v", err)
	}
	_, err = f.UpdateProject(ctx, f.admin, "made", controller.ProjectSpec{AppKey: secret.String(artifact.NewAppKey())})
	f.refused(err, controller.EInvalid, "app_key", "cannot be changed")
	_, err = f.UpdateProject(ctx, f.admin, "made", controller.ProjectSpec{EscrowRecipients: []string{made.AgeRecipient}})
	f.refused(err, controller.EInvalid, "escrow_recipients", "own recipient")

	f.ok(f.DeleteProject(ctx, f.admin, "made"))
	equal(t, "the key of a deleted project", f.appKey(made), key)
	_, err = f.ProjectAppKey(ctx, 999)
	f.refused(err, controller.ENotFound)
	// A key sealed for one project does not open as another's.
	f.sql("UPDATE projects SET app_key = (SELECT app_key FROM projects WHERE id = %d) WHERE id = %d", given.ID, handed.ID)
	if _, err := f.ProjectAppKey(ctx, handed.ID); err == nil {
		t.Fatal("another project's key opened")
	}
}

// meeting is a sealer whose app keys are all sealed at the same moment: when so many have arrived.
type meeting struct {
	sealer
	arrived *sync.WaitGroup
}

func (m meeting) Seal(purpose string, plaintext []byte) ([]byte, error) {
	if strings.HasSuffix(purpose, "/app-key") {
		m.arrived.Done()
		m.arrived.Wait()
	}
	return m.sealer.Seal(purpose, plaintext)
}

// TestProjectAppKey_Race asks two controllers at once for the key of a project that was made before there were any. Each has found
// none and made one before any of them is stored.
func TestProjectAppKey_Race(t *testing.T) {
	t.Parallel()
	const callers = 6
	f := open(t)
	p := f.project("shop")
	f.sql("UPDATE projects SET app_key = NULL")
	var arrived sync.WaitGroup
	arrived.Add(callers)
	meet := func(o *catalog.Options) { o.Sealer = meeting{sealer{f.master}, &arrived} }
	controllers := []*catalog.Catalog{f.another("two", meet), f.another("three", meet)}
	var wg sync.WaitGroup
	keys := make([]string, callers)
	for i := range keys {
		c := controllers[i%2]
		wg.Go(func() {
			if i < 2 {
				s, err := c.ProjectSecrets(t.Context(), f.admin, "shop")
				if err != nil {
					t.Error(err)
				}
				keys[i] = string(s.AppKey)
				return
			}
			key, err := c.ProjectAppKey(t.Context(), p.ID)
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(key)
		})
	}
	wg.Wait()
	for i, key := range keys {
		if key == "" || key != keys[0] {
			t.Errorf("key %d is another one", i)
		}
	}
	equal(t, "the key that stands", f.appKey(p), keys[0])
}
