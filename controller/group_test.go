package controller_test

import (
	"reflect"
	"strings"
	"testing"

	"devflowbackup/controller"
)

func TestParseGroup(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]controller.Group{
		"dba=admin":  {Name: "dba", Admin: true, AllProjects: true},
		"dba=*@shop": {Name: "dba", Admin: true, Projects: []string{"shop"}},
		"dev = delete-backups + view-backups @ a + b": {Name: "dev", Permissions: []string{"view-backups", "delete-backups"}, Projects: []string{"a", "b"}},
		"cn=dev,dc=example@x=view-backups":            {Name: "cn=dev,dc=example@x", Permissions: []string{"view-backups"}, AllProjects: true},
	} {
		if got, err := controller.ParseGroup(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "dev", "=admin", "dev=", "dev=fly", "dev=view-backups@", "dev=view-backups@ + "} {
		if g, err := controller.ParseGroup(text); err == nil || !strings.Contains(err.Error(), "use GROUP=admin") {
			t.Errorf("%q: %+v, %v", text, g, err)
		}
	}
}
