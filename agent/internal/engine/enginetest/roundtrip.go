package enginetest

import (
	"slices"
	"testing"

	"devflowbackup/agent/internal/engine"
)

func (s *suite) discover(t *testing.T) {
	e := s.New(t)
	name := s.create(t, "discover me", s.FillSmall)
	databases, err := e.Discover(newContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range databases {
		if d.Name != name {
			continue
		}
		if d.SizeBytes <= 0 || d.ServerVersion == "" || d.Engine == "" || d.Instance == "" {
			t.Errorf("facts are missing: %+v", d)
		}
		server, err := e.Server(newContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if server.Engine != d.Engine || server.Version != d.ServerVersion || server.Identity == "" {
			t.Errorf("server %+v does not fit %+v", server, d)
		}
		return
	}
	t.Fatalf("%q is not in %+v", name, databases)
}

func (s *suite) check(t *testing.T) {
	findings := s.New(t).Check(newContext(t))
	if len(findings) == 0 {
		t.Fatal("no findings")
	}
	for _, f := range findings {
		s.silent(t, "finding", f.Detail+f.Hint)
		if f.Level == "error" {
			t.Errorf("%+v", f)
		}
		if !slices.Contains([]string{"ok", "warning", "error"}, f.Level) || f.Name == "" || f.Detail == "" {
			t.Errorf("finding is not complete: %+v", f)
		}
	}
	if s.NewRefused == nil {
		return
	}
	refused := s.NewRefused(t).Check(newContext(t))
	if !slices.ContainsFunc(refused, func(f engine.Finding) bool { return f.Level == "error" && f.Name == "login" && f.Hint != "" }) {
		t.Errorf("a refused login is not found: %+v", refused)
	}
	for _, f := range refused {
		s.silent(t, "finding", f.Detail+f.Hint)
	}
}

// validate checks that the engine reads the whole dump.
func (s *suite) validate(t *testing.T, e engine.Engine, d dumped) {
	t.Helper()
	v, err := e.Validate(newContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Abort()
	if err := write(v, d.open(t)); err != nil {
		t.Fatalf("%v\n%s", err, v.Log())
	}
}

func (s *suite) hurting(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "hurting", s.FillHurting)
	content := s.Content(t, source)

	d := s.dump(t, e, source)
	if d.size < 64<<20 {
		t.Errorf("dump has %d bytes: FillHurting must give more", d.size)
	}
	if d.info.Tool == "" || d.info.ToolVersion == "" || d.info.Method == "" || d.info.DatabaseSize <= 0 || d.info.Tables <= 0 ||
		d.info.Extension == "" || d.info.Server.Identity == "" {
		t.Errorf("facts are missing: %+v", d.info)
	}
	if d.fingerprint.Rows() == 0 || len(d.fingerprint.Counts) == 0 {
		t.Errorf("fingerprint is empty: %+v", d.fingerprint)
	}
	if alone, err := e.Fingerprint(newContext(t), source); err != nil {
		t.Error(err)
	} else if diff := d.fingerprint.Diff(alone); len(diff) > 0 {
		t.Errorf("the fingerprint of the dump is not that of the database: %q", diff)
	}
	s.validate(t, e, d)

	restored := s.restore(t, e, d)
	s.wantEqual(t, e, d.fingerprint, content, restored)

	published := s.named("hurting, restored")
	s.Drop(t, published)
	t.Cleanup(func() { s.Drop(t, published) })
	if err := e.Publish(newContext(t), restored, published); err != nil {
		t.Fatal(err)
	}
	s.exists(t, e, published, true)
	s.exists(t, e, restored, false)
	s.wantEqual(t, e, d.fingerprint, content, published)

	// What was restored can be dumped again, and is the same.
	again := s.dump(t, e, published)
	if diff := d.fingerprint.Diff(again.fingerprint); len(diff) > 0 {
		t.Errorf("the dump of the restored database differs: %q", diff)
	}
}

func (s *suite) empty(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "empty one", nil)
	d := s.dump(t, e, source)
	if d.size == 0 || d.fingerprint.Rows() != 0 {
		t.Errorf("dump of %d bytes, %d rows", d.size, d.fingerprint.Rows())
	}
	s.validate(t, e, d)
	restored := s.restore(t, e, d)
	got, err := e.Fingerprint(newContext(t), restored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := d.fingerprint.Diff(got); len(diff) > 0 {
		t.Errorf("fingerprint differs: %q", diff)
	}
}

// names backs up, restores and publishes under each name exactly that database.
func (s *suite) names(t *testing.T) {
	for _, name := range s.Names {
		t.Run("", func(t *testing.T) {
			e := s.New(t)
			s.createExactly(t, name, s.FillSmall)
			content := s.Content(t, name)
			d := s.dump(t, e, name)
			if d.fingerprint.Rows() == 0 {
				t.Errorf("%q: another database was dumped", name)
			}
			restored := s.restore(t, e, d)
			s.Drop(t, name)
			s.exists(t, e, name, false)
			if err := e.Publish(newContext(t), restored, name); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			s.exists(t, e, name, true)
			s.wantEqual(t, e, d.fingerprint, content, name)
		})
	}
}
