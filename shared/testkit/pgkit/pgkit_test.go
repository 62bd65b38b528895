package pgkit_test

import (
	"net/url"
	"strings"
	"testing"

	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

func TestNewDatabase(t *testing.T) {
	name := func(dsn string) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(u.Path, "/")
	}
	databases := func() string {
		out, err := pgkit.Shared(t).Exec(t.Context(), "postgres", "SELECT datname FROM pg_database")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var inner string
	t.Run("lives as long as its test", func(t *testing.T) {
		inner = name(pgkit.NewDatabase(t))
		if other := name(pgkit.NewDatabase(t)); other == inner {
			t.Fatal("two tests got one database")
		}
		if !strings.Contains(databases(), inner) {
			t.Fatalf("no database %s", inner)
		}
		if out, err := pgkit.Shared(t).Exec(t.Context(), inner, "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"); err != nil || out != "0" {
			t.Fatalf("%q tables, %v", out, err)
		}
	})
	if strings.Contains(databases(), inner) {
		t.Fatalf("database %s is still there", inner)
	}
}
