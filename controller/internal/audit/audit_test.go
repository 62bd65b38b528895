package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/audit"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

const role, rolePassword = "devflow_audit_test", secret.String("only for tests")

var makeRole sync.Once

// objects is a storage in memory.
type objects struct {
	mu   sync.Mutex
	all  map[string][]byte
	fail error
	puts int
}

func (o *objects) Put(_ context.Context, key string, body []byte, _ string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return o.fail
	}
	if old, ok := o.all[key]; ok && !bytes.Equal(old, body) {
		return wire.Failf(wire.CodeForeignObject, "other bytes are at %s", key)
	}
	o.puts++
	o.all[key] = body
	return nil
}

func (o *objects) Get(_ context.Context, key string, limit int64) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, ok := o.all[key]
	switch {
	case o.fail != nil:
		return nil, o.fail
	case !ok:
		return nil, wire.Failf(wire.CodeMissing, "there is no %s", key)
	case int64(len(b)) > limit:
		return nil, errors.New("too large")
	}
	return b, nil
}

func (o *objects) List(_ context.Context, prefix string, each func(string) error) error {
	o.mu.Lock()
	keys := slices.Sorted(maps.Keys(o.all))
	fail := o.fail
	o.mu.Unlock()
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) {
			if err := each(k); err != nil {
				return err
			}
		}
	}
	return fail
}

func (o *objects) Open(context.Context, int64) (audit.Objects, error) { return o, nil }

// change does something to the objects at their keys, oldest first.
func (o *objects) change(f func(keys []string)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(slices.Sorted(maps.Keys(o.all)))
}

type world struct {
	*testing.T
	store   *catalog.Catalog
	objects *objects
	db      string
	admin   controller.Actor
	logged  *bytes.Buffer
	key     ed25519.PrivateKey
}

type sealer struct{ *keys.Master }

func (s sealer) Seal(purpose string, plaintext []byte) ([]byte, error) {
	return s.Master.Seal(purpose, plaintext), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	u, err := url.Parse(pgkit.NewDatabase(t))
	w := &world{
		T: t, objects: &objects{all: map[string][]byte{}}, logged: &bytes.Buffer{},
		admin: controller.Actor{Name: "admin", Permissions: controller.Permissions, Scope: controller.Scope{All: true}},
	}
	w.ok(err)
	w.db = strings.TrimPrefix(u.Path, "/")
	s := pgkit.Shared(t)
	makeRole.Do(func() { w.ok(s.CreateRole(t.Context(), role, rolePassword)) })
	_, err = s.Exec(t.Context(), "postgres", "ALTER DATABASE "+pgserver.Quote(w.db)+" OWNER TO "+role)
	w.ok(err)
	w.store, err = catalog.Open(t.Context(), catalog.Options{DSN: s.UserDSN(role, rolePassword, w.db), ControllerID: "one", Sealer: sealer{keys.NewMaster()}, MaxConns: 8})
	w.ok(err)
	t.Cleanup(func() { w.ok(w.store.Close()) })
	_, err = w.store.Migrate(t.Context())
	w.ok(err)
	_, w.key, err = ed25519.GenerateKey(nil)
	w.ok(err)
	return w
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// log is a controller's part; change may set more options.
func (w *world) log(change ...func(*audit.Options)) *audit.Log {
	w.Helper()
	public, _ := w.key.Public().(ed25519.PublicKey)
	opt := audit.Options{
		Store: w.store, Storages: w.objects, Installation: "i1", SigningKey: w.key, Keys: []wire.Key{{ID: wire.KeyID(public), Public: public}},
		Log: hclog.New(&hclog.LoggerOptions{Output: w.logged}),
	}
	for _, c := range change {
		c(&opt)
	}
	return audit.New(opt)
}

func (w *world) storage() {
	w.Helper()
	_, err := w.store.CreateStorage(w.Context(), w.admin, controller.StorageSpec{
		Name: "main", Kind: "s3", Endpoint: "http://127.0.0.1:1", Bucket: "b", Prefix: "pre", PathStyle: true, Default: true, AccessKey: "ak", SecretKey: "sk",
	}, nil, true, "sha256")
	w.ok(err)
}

func (w *world) act(n int) {
	w.Helper()
	for range n {
		w.ok(w.store.Refused(w.Context(), w.admin, "test.act", "thing", "conflict", ""))
	}
}

// tamper runs SQL as somebody who can do everything.
func (w *world) tamper(sql string) {
	w.Helper()
	_, err := pgkit.Shared(w.T).Exec(w.Context(), w.db, "SET session_replication_role = replica; "+sql)
	w.ok(err)
}

// anchored writes n anchors, with entries between them.
func (w *world) anchored(l *audit.Log, n int) {
	w.Helper()
	for range n {
		w.act(2)
		_, err := l.AuditHead(w.Context(), w.admin)
		w.ok(err)
		w.tamper("UPDATE audit_anchors SET at = at - interval '2 hours'") // an hour has passed
		w.ok(l.Anchor(w.Context()))
	}
}

func (w *world) check(l *audit.Log, heads ...controller.AuditHead) controller.AuditCheck {
	w.Helper()
	res, err := l.CheckAudit(w.Context(), w.admin, heads)
	w.ok(err)
	return res
}

// bad checks that the chain is found wrong at seq, in these words.
func (w *world) bad(res controller.AuditCheck, seq int64, words ...string) {
	w.Helper()
	if res.OK || res.BadSeq != seq {
		w.Errorf("%+v, want a fault at %d", res, seq)
	}
	for _, word := range words {
		if !strings.Contains(res.Problem, word) {
			w.Errorf("%q does not say %q", res.Problem, word)
		}
	}
}

func TestLog_anchor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.log()
	w.act(2)
	head, err := l.AuditHead(t.Context(), w.admin)
	w.ok(err)
	w.ok(l.Anchor(t.Context()))
	if res := w.check(l); !res.OK || res.Anchors != 0 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "no anchor") || len(w.objects.all) != 0 {
		t.Errorf("without a storage: %+v", res)
	}
	w.storage()
	w.objects.fail = errors.New("the store is away")
	if err := l.Anchor(t.Context()); !errors.Is(err, w.objects.fail) {
		t.Error(err)
	}
	w.objects.fail = nil
	w.ok(l.Anchor(t.Context())) // the one that was planned then
	w.ok(l.Anchor(t.Context())) // none is due
	if w.objects.puts != 1 || len(w.objects.all) != 1 {
		t.Fatalf("%d objects written", w.objects.puts)
	}
	for key, text := range w.objects.all {
		var a struct {
			V            int    `json:"v"`
			Installation string `json:"installation"`
			Seq          int64  `json:"seq"`
			Hash         string `json:"hash"`
			At           string `json:"at"`
			Signature    []byte `json:"signature"`
		}
		w.ok(json.Unmarshal(text, &a))
		at, err := time.Parse(time.RFC3339Nano, a.At)
		w.ok(err)
		if want := "pre/audit/" + at.Format("2006/01/02") + fmt.Sprintf("/%012d.json", a.Seq); key != want || a.Seq != head.Seq || a.Installation != "i1" || a.V != 1 {
			t.Errorf("%s: %s", key, text)
		}
		// What anybody can check who has the public key.
		public, _ := w.key.Public().(ed25519.PublicKey)
		if !ed25519.Verify(public, fmt.Appendf(nil, "devflow audit anchor v1\ni1\n%d\n%s\n%s\n", a.Seq, a.Hash, a.At), a.Signature) {
			t.Error("the signature is not over these lines")
		}
	}
	if res := w.check(l); !res.OK || res.Anchors != 1 || len(res.Warnings) != 0 {
		t.Errorf("%+v", res)
	}
	limited := controller.Actor{Scope: controller.Scope{Projects: []int64{1}}}
	if _, err := l.CheckAudit(t.Context(), limited, nil); controller.ErrorCode(err) != controller.EForbidden {
		t.Error(err)
	}
}

// TestFault66_anchors: whoever can do everything in the database cuts the end of the log off, or writes it anew, and its own anchors with it.
func TestFault66_anchors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.storage() // entry 1
	l := w.log()
	w.anchored(l, 3) // of 3, 5 and 7
	w.act(1)
	if res := w.check(l); !res.OK || res.Anchors != 3 || res.Rows != 8 {
		t.Fatalf("%+v", res)
	}
	w.tamper("CREATE TABLE original AS SELECT * FROM audit_log; CREATE TABLE anchors AS SELECT * FROM audit_anchors")
	again := func() {
		w.tamper("DELETE FROM audit_log; INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM original; DELETE FROM audit_anchors; INSERT INTO audit_anchors SELECT * FROM anchors")
	}
	for _, c := range []struct {
		sql   string
		seq   int64
		words []string
	}{
		{"DELETE FROM audit_log WHERE seq > 4", 5, []string{"the rows after 4 are gone", "there were 7", "the anchor"}},
		{"DELETE FROM audit_log WHERE seq > 4; DELETE FROM audit_anchors", 5, []string{"the rows after 4 are gone", "there were 7", `at storage "main"`}},
		{"DELETE FROM audit_log; DELETE FROM audit_anchors", 1, []string{"the rows after 0 are gone"}},
		{"DELETE FROM audit_log WHERE seq = 4", 4, []string{"row 4 is missing"}},
		{"UPDATE audit_anchors SET hash = sha256('x') WHERE seq = 3", 3, []string{"the anchor in the catalog"}},
	} {
		w.tamper(c.sql)
		w.bad(w.check(l), c.seq, c.words...)
		again()
	}
	w.tamper("DELETE FROM audit_log WHERE seq > 4; DELETE FROM audit_anchors WHERE seq > 4")
	w.act(5) // sealed by the next check
	w.bad(w.check(l), 5, "row 5", "written anew", "after row 3")
	again()
	if res := w.check(l); !res.OK {
		t.Errorf("%+v", res)
	}
	// A head that somebody wrote down, too.
	if res := w.check(l, controller.AuditHead{Seq: 9, Hash: strings.Repeat("a", 64)}); res.OK || !strings.Contains(res.Problem, "the head given") {
		t.Errorf("%+v", res)
	}
}

// TestLog_anchorsTampered: what was done to the objects is told; what is gone is a warning, and what the catalog keeps of it is compared.
func TestLog_anchorsTampered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.storage()
	l := w.log()
	w.anchored(l, 3)
	original := maps.Clone(w.objects.all)
	again := func() { w.objects.all = maps.Clone(original) }
	for name, change := range map[string]func(text []byte) []byte{
		"no JSON":          func([]byte) []byte { return []byte("x") },
		"another hash":     func(b []byte) []byte { return bytes.Replace(b, []byte(`"hash":"`), []byte(`"hash":"0`), 1) },
		"another seq":      func(b []byte) []byte { return bytes.Replace(b, []byte(`"seq":`), []byte(`"seq":1`), 1) },
		"another time":     func(b []byte) []byte { return bytes.Replace(b, []byte(`"at":"20`), []byte(`"at":"21`), 1) },
		"of somebody else": func(b []byte) []byte { return bytes.Replace(b, []byte(`"i1"`), []byte(`"i2"`), 1) },
	} {
		w.objects.change(func(keys []string) { w.objects.all[keys[1]] = change(w.objects.all[keys[1]]) })
		res := w.check(l)
		w.bad(res, 5, "was changed")
		if t.Failed() {
			t.Fatal(name)
		}
		again()
	}
	w.objects.change(func(keys []string) { delete(w.objects.all, keys[1]) })
	if res := w.check(l); !res.OK || res.Anchors != 2 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "1 of the newest") {
		t.Errorf("%+v", res)
	}
	// Another installation in the same place, and what is no anchor.
	w.objects.all["pre/audit/2020/01/01/000000000001.json"] = []byte(`{"v":1,"installation":"i2"}`)
	w.objects.all["pre/audit/README"] = []byte("hello")
	if res := w.check(l); !res.OK || res.Anchors != 2 || len(res.Warnings) != 2 {
		t.Errorf("%+v", res)
	}
	w.objects.fail = errors.New("the store is away")
	if res := w.check(l); !res.OK || res.Anchors != 0 || len(res.Warnings) != 2 || !strings.Contains(res.Warnings[0], `"main" cannot be read: list anchors: the store is away`) {
		t.Errorf("%+v", res)
	}
}

// TestLog_tamperedTail: before a head is anchored the rows since the last anchor are verified.
func TestLog_tamperedTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.storage()
	l := w.log()
	w.anchored(l, 1)
	w.act(2)
	if _, err := l.AuditHead(t.Context(), w.admin); err != nil {
		t.Fatal(err)
	}
	w.tamper("UPDATE audit_log SET actor = 'nobody' WHERE seq = 4")
	w.anchored(l, 1)
	events, err := w.store.SecurityEvents(t.Context(), w.admin, 0, 0)
	w.ok(err)
	if len(events) != 1 || events[0].Kind != controller.EventAuditChain || !strings.Contains(events[0].Detail, "row 4") || !strings.Contains(w.logged.String(), "tampered") {
		t.Errorf("%+v %s", events, w.logged)
	}
	if len(w.objects.all) != 2 {
		t.Errorf("%d anchors", len(w.objects.all))
	}
}

// TestLog_several: of several controllers one seals at a time, and anchors are written once.
func TestLog_several(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.storage()
	quick := func(o *audit.Options) {
		o.SealEvery, o.AnchorTry, o.AnchorEvery = 5*time.Millisecond, 5*time.Millisecond, 20*time.Millisecond
		o.Log = nil
	}
	logs := []*audit.Log{w.log(quick), w.log(quick), w.log(quick)}
	for _, l := range logs {
		l.Start(t.Context())
		l.Start(t.Context())
	}
	w.act(50)
	deadline := time.Now().Add(20 * time.Second)
	for {
		head, err := w.store.AuditHead(t.Context(), w.admin)
		w.ok(err)
		last, err := w.store.LastAnchor(t.Context())
		w.ok(err)
		if head.Seq == 51 && last.Seq == 51 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("head %+v, anchor %+v", head, last)
		}
	}
	for _, l := range logs {
		l.Stop()
		l.Stop()
	}
	anchors, err := w.store.AuditAnchors(t.Context())
	w.ok(err)
	// Some may have come to the store that were not recorded, for another was newer by then, or its writer was stopped: they count as well.
	if res := w.check(logs[0]); !res.OK || res.Anchors < min(len(anchors), 50) || res.Rows != 51 {
		t.Errorf("%+v of %d anchors", res, len(anchors))
	}
	for _, a := range anchors {
		if _, ok := w.objects.all[a.Key]; !ok {
			t.Errorf("%s is not there", a.Key)
		}
	}
}
