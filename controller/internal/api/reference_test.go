package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/shared/testkit/reference"
)

// TestReference: docs/security.md tells of each permission what the document of the API says of it.
func TestReference(t *testing.T) {
	t.Parallel()
	asks := map[string][]string{}
	for _, item := range api.New(api.Options{}).OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			access, _ := op.Extensions[api.ExtensionAccess].([]string)
			for _, p := range access {
				what := op.OperationID
				if len(access) > 1 {
					what += " (with " + strings.Join(slices.DeleteFunc(slices.Clone(access), func(other string) bool { return other == p }), ", ") + ")"
				}
				asks[p] = append(asks[p], what)
			}
		}
	}
	rows := make([][]string, 0, len(controller.Permissions)+2)
	named := func(name, text string) {
		slices.Sort(asks[name])
		if len(asks[name]) == 0 || text == "" {
			t.Errorf("%s is asked for by %d operations, and allows %q", name, len(asks[name]), text)
		}
		rows = append(rows, []string{reference.Code(name), text, strings.Join(asks[name], ", ")})
	}
	for _, p := range controller.Permissions {
		named(p, controller.PermissionText(p))
	}
	named("any-token", "whoever has a valid token or is signed in")
	named("public", "nobody is asked who they are: it needs a password, an enrolment token or a link of its own, or has no secret")
	if len(asks) != len(rows) {
		t.Error(fmt.Errorf("operations ask for %d permissions, %d are known", len(asks), len(rows)))
	}
	reference.Hold(t, "docs/security.md", "permissions", reference.Table([]string{"permission", "allows", "operations of the API"}, rows))
}
