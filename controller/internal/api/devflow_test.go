package api_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller/internal/api"
	"devflowbackup/shared/testkit/dockit"
)

var (
	aCall     = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE) (/\S+)$`)
	aTest     = regexp.MustCompile(`^(Test[A-Z]\w*)(?:/(\w+))?$`)
	aTestFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	aSubtest  = regexp.MustCompile(`t\.Run\("(\w+)"`)
)

// TestDocs_Panel: each call that docs/devflow.md names is one of the API, with those parameters; each test that it names is there; and it
// has an answer to all that the panel did wrong, and to all of the panel's checklist, with which it ends.
func TestDocs_Panel(t *testing.T) {
	t.Parallel()
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := dockit.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	page := pages[slices.IndexFunc(pages, func(p dockit.Page) bool { return p.Name == "docs/devflow.md" })]

	document := api.New(api.Options{Version: "v1"}).OpenAPI()
	tests := testsIn(t, root)
	calls, named := 0, map[int][]string{}
	for _, span := range page.Spans {
		if m := aCall.FindStringSubmatch(span.Text); m != nil {
			calls++
			checkCall(t, document, span.Line, m[1], m[2])
		}
		if m := aTest.FindStringSubmatch(span.Text); m != nil {
			named[span.Line] = append(named[span.Line], m[0])
			if subtests, ok := tests[m[1]]; !ok || m[2] != "" && !slices.Contains(subtests, m[2]) {
				t.Errorf("docs/devflow.md:%d: there is no test %s", span.Line, m[0])
			}
		}
	}
	if calls < 40 || len(named) < 25 {
		t.Errorf("%d calls and %d lines with tests were found", calls, len(named))
	}

	// rows gives the first cells of a section's table, each of which has a test.
	rows := func(section string) (cells []string) {
		t.Helper()
		from := slices.Index(page.Lines, "## "+section)
		if from < 0 {
			t.Fatalf("docs/devflow.md has no section %q", section)
		}
		for i, line := range page.Lines[from+1:] {
			if strings.HasPrefix(line, "## ") {
				break
			}
			if !strings.HasPrefix(line, "| ") || strings.Contains(line, "held by |") {
				continue
			}
			cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
			if cells = append(cells, cell); len(named[from+i+2]) == 0 {
				t.Errorf("docs/devflow.md:%d: no test holds %q", from+i+2, cell)
			}
		}
		return cells
	}
	if got := strings.Join(rows("What went wrong with the panel's own backups"), " "); got != "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15" {
		t.Errorf("the panel's mistakes are %s", got)
	}
	rows("Who may do what, and how much")
	want := []string{
		"Migration runs successfully", "Manual backup creation works", "Scheduled backup execution works", "Backup verification validates checksums", "Retention policy cleanup works correctly",
		"S3 upload/download functions properly", "UI displays verification status", "Restore functionality works", "All Artisan commands execute correctly", "Logging captures all operations",
	}
	if got := rows("Testing checklist"); !slices.Equal(got, want) {
		t.Errorf("the checklist is %q", got)
	}
	if i := slices.IndexFunc(page.Lines[slices.Index(page.Lines, "## Testing checklist")+1:], func(l string) bool { return strings.HasPrefix(l, "#") }); i >= 0 {
		t.Error("docs/devflow.md goes on after the checklist")
	}
}

// checkCall finds the operation, where P stands for a project and {id} for any part of a path.
func checkCall(t *testing.T, document *huma.OpenAPI, line int, method, called string) {
	t.Helper()
	path, query, _ := strings.Cut(called, "?")
	var op *huma.Operation
	for template, item := range document.Paths {
		if sameWay(template, path) {
			if found := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method]; found != nil {
				op = found
			}
		}
	}
	if op == nil {
		t.Errorf("docs/devflow.md:%d: the API has no %s %s", line, method, path)
		return
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Errorf("docs/devflow.md:%d: %v", line, err)
	}
	for name, v := range values {
		i := slices.IndexFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		if i < 0 {
			t.Errorf("docs/devflow.md:%d: %s %s has no parameter %s", line, method, path, name)
		} else if allowed := op.Parameters[i].Schema.Enum; len(allowed) > 0 && !slices.Contains(allowed, any(v[0])) {
			t.Errorf("docs/devflow.md:%d: %s=%s is none of %v", line, name, v[0], allowed)
		}
	}
}

func sameWay(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(want, got string) bool {
		if strings.HasPrefix(want, "{") {
			return got == "P" && want == "{ref}" || got == want
		}
		return want == got
	})
}

// testsIn are the names of all tests below the root, with those of their subtests that the same file names.
func testsIn(t *testing.T, root string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, module := range []string{"agent", "controller", "shared", "migrations", "e2e"} {
		err := filepath.WalkDir(filepath.Join(root, module), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "node_modules":
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			begins := aTestFunc.FindAllSubmatchIndex(text, -1)
			for i, m := range begins {
				end := len(text)
				if i+1 < len(begins) {
					end = begins[i+1][0]
				}
				name := string(text[m[2]:m[3]])
				all[name] = append(all[name], "")
				for _, sub := range aSubtest.FindAllSubmatch(text[m[0]:end], -1) {
					all[name] = append(all[name], string(sub[1]))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
