package controller_test

import (
	"strings"
	"testing"

	"devflowbackup/controller"
)

// TestUserName holds strange names (fault 59) against the one rule for names: they are refused, with field and value.
func TestUserName(t *testing.T) {
	for _, name := range []string{"anna", "a", "anna.b", "anna+x@example.com", "1st", "a-b_c", strings.Repeat("x", 100)} {
		if err := controller.ValidUserName(controller.UserName(" " + strings.ToUpper(name))); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", " ", "12345", "-x", ".x", "@x", "a b", "a\nb", "a\x00b", `'";$()`, "a=b", "postgres://u:p@h/d", "../x", "a/b", "\u202egnp", "ünï", "user:x", "a:b", "%41", strings.Repeat("x", 101), "\xff",
	} {
		err := controller.ValidUserName(controller.UserName(name))
		if controller.ErrorCode(err) != controller.EInvalid || !strings.HasPrefix(err.Error(), "name: ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestScope_Narrow(t *testing.T) {
	all, none := controller.Scope{All: true}, controller.Scope{}
	some, other := controller.Scope{Projects: []int64{1, 2}}, controller.Scope{Projects: []int64{2, 3}}
	for _, c := range []struct {
		one, two controller.Scope
		want     string
	}{
		{all, all, "*"}, {all, some, "1,2"}, {some, all, "1,2"}, {some, other, "2"}, {other, some, "2"}, {all, none, ""}, {none, all, ""}, {some, none, ""}, {none, none, ""},
	} {
		if got := c.one.Narrow(c.two).Setting(); got != c.want {
			t.Errorf("%v in %v is %q, want %q", c.one, c.two, got, c.want)
		}
		if !c.one.Holds(c.one.Narrow(c.two)) || !c.two.Holds(c.one.Narrow(c.two)) {
			t.Errorf("%v in %v reaches beyond one of them", c.one, c.two)
		}
	}
	if some.Holds(other) || none.Holds(some) || some.Holds(all) {
		t.Error("a scope holds what lies outside")
	}
}
