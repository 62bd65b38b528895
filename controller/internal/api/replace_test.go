package api_test

import (
	"net/http"
	"slices"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// A host that takes a server's place gets the credential of that server, and the keys before are cut off at once. So it is when the same
// host asks again; a new server's enrolment cuts nothing.
func TestEnrol_replace(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	old := r.Agent("db-7", "shop", "app")
	cut := func() (names []string) {
		r.Fleet.With(func() { names, r.Fleet.Revoked = slices.Clone(r.Fleet.Revoked), nil })
		return names
	}
	if names := cut(); len(names) != 0 {
		t.Errorf("a new server cut off %q", names)
	}
	r.do("POST", "/enrolments", `{"server_name":"db-7"}`).refused(http.StatusConflict, controller.EConflict, "db-7", "--replace")
	r.do("POST", "/enrolments", `{"server_name":"db-9","replace":true}`).refused(http.StatusNotFound, controller.ENotFound, "db-9")
	if p := r.do("POST", "/enrolments", `{"server_name":"db-7","replace":true,"project":"shop"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != "replace" {
		t.Errorf("the field is %q", p.Field)
	}
	limited := r.NewToken([]string{controller.ManageServers}, "shop")
	r.as(limited, "POST", "/api/v1/enrolments", `{"server_name":"db-7","replace":true}`).refused(http.StatusForbidden, controller.EForbidden)

	e := into[body.NewEnrolment](r.do("POST", "/enrolments", `{"server_name":"db-7","replace":true}`).is(http.StatusCreated))
	if e.Replaces == nil || *e.Replaces != old.ID {
		t.Fatalf("the token is %+v", e.Enrolment)
	}
	in := enrolBody(t, e.Token)
	kicks := r.Fleet.Kicked()
	for range 2 {
		got := into[body.Enrolled](r.as("", "POST", "/api/v1/enroll", in).is(http.StatusCreated))
		if got.ServerID != old.AgentID || got.ServerName != "db-7" || got.NATSJWT != "jwt of "+old.AgentID {
			t.Errorf("the answer is %+v, want agent %s", got, old.AgentID)
		}
		if names := cut(); !slices.Equal(names, []string{"db-7"}) {
			t.Errorf("cut off %q", names)
		}
	}
	if r.Fleet.Kicked() == kicks {
		t.Error("the dispatcher was not told")
	}
	s := into[controller.Server](r.do("GET", "/servers/db-7", nil).is(http.StatusOK))
	if s.ID != old.ID || s.NKey != in["nkey"] || s.NKey == old.NKey {
		t.Errorf("the server is %+v", s)
	}
}
