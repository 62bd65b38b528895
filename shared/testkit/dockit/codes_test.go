package dockit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"devflowbackup/shared/testkit/dockit"
)

// kind is one family of codes, and the section of the page that tells of it.
type kind struct {
	section string
	least   int // that are there at least: fewer found means that nobody looks where they are
	from    func(*testing.T, *sources) map[string]string
}

var kinds = []kind{
	{"Failure codes", 47, func(t *testing.T, s *sources) map[string]string {
		return s.constants(t, "shared/wire/failure.go", "Code")
	}},
	{"What a restore's plan says", 60, planCodes},
	{"Answers of the API", 16, func(t *testing.T, s *sources) map[string]string {
		return merged(s.constants(t, "controller/error.go", "E"), s.constants(t, "controller/internal/api/body/problem.go", "Code"))
	}},
	{"Health of a backup", 5, func(t *testing.T, s *sources) map[string]string {
		return s.constants(t, "controller/backup.go", "Health")
	}},
	{"Target of a restore", 6, func(t *testing.T, s *sources) map[string]string {
		return s.constants(t, "controller/restore.go", "Target", "Kept")
	}},
	{"Occurrences of a schedule", 10, func(t *testing.T, s *sources) map[string]string {
		return s.constants(t, "controller/occurrence.go", "Missed", "Skipped")
	}},
	{"Security events", 10, func(t *testing.T, s *sources) map[string]string {
		return merged(s.constants(t, "controller/server.go", "Event"), s.constants(t, "controller/audit.go", "Event"))
	}},
}

// planCodes are the codes of problems beside those of failures, which a plan may have as well.
func planCodes(t *testing.T, s *sources) map[string]string {
	t.Helper()
	all := merged(s.constants(t, "controller/restoreplan.go", "Problem", "notAssigned"), s.constants(t, "controller/internal/catalog/draft.go", "problem"))
	for path := range s.files {
		if match, _ := filepath.Match("agent/internal/engine/*/inspect.go", path); match {
			all = merged(all, s.constants(t, path, "problem"), s.said(path))
		}
	}
	maps.DeleteFunc(all, func(code, _ string) bool { return s.constants(t, "shared/wire/failure.go", "Code")[code] != "" })
	return all
}

// The page has an entry for every code that a program can show, none for one that is gone, and each entry says enough.
func TestTroubleshooting_Codes(t *testing.T) {
	s := readSources(t)
	entries := troubleshooting(t)
	for _, k := range kinds {
		codes, written := k.from(t, s), entries[k.section]
		if len(codes) < k.least {
			t.Errorf("%s: %d codes were found, at least %d are expected", k.section, len(codes), k.least)
		}
		for _, code := range slices.Sorted(maps.Keys(codes)) {
			if _, ok := written[code]; !ok {
				t.Errorf("docs/troubleshooting.md, %q: no entry for `%s` (%s)", k.section, code, codes[code])
			}
		}
		for _, code := range slices.Sorted(maps.Keys(written)) {
			if codes[code] == "" {
				t.Errorf("docs/troubleshooting.md:%d: no program says `%s` (%s)", written[code].line, code, k.section)
			}
		}
	}
}

// Codes are constants, by which they are found: nothing makes one up where it is used.
func TestTroubleshooting_Constants(t *testing.T) {
	s := readSources(t)
	known := map[string]bool{}
	for _, k := range kinds {
		for code := range k.from(t, s) {
			known[code] = true
		}
	}
	looked := 0
	for path, file := range s.files {
		ast.Inspect(file, func(n ast.Node) bool {
			var at ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				if name := lastName(n.Fun); (name == "Failf" || name == "Errorf" && strings.HasPrefix(path, "controller/")) && len(n.Args) > 1 {
					at = n.Args[0]
				}
			case *ast.CompositeLit:
				if name := lastName(n.Type); name != "Problem" && name != "Failure" {
					return true
				}
				for _, e := range n.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok && lastName(kv.Key) == "Code" {
						at = kv.Value
					}
				}
			}
			if at == nil {
				return true
			}
			looked++
			if code, ok := literal(at); ok && codeForm.MatchString(code) && !known[code] {
				t.Errorf("%s: the code %q is no constant that the page could be held against", s.at(at), code)
			}
			return true
		})
	}
	if looked < 300 {
		t.Errorf("%d places with a code were found", looked)
	}
}

// seedItems are what the description of the backup system has told people to look at, by symptom.
var seedItems = map[string][]string{
	"Verification fails": {"Check file exists in storage", "Verify storage disk is accessible", "Check file permissions", "Review error logs"},
	"Backup fails":       {"Verify SSH connection to server", "Check database credentials", "Ensure sufficient disk space", "Review mysqldump/pg_dump availability"},
	"Cleanup issues":     {"Check retention policy settings", "Verify backup records in database", "Review filesystem permissions", "Check S3 credentials (if using S3)"},
}

func TestTroubleshooting_Symptoms(t *testing.T) {
	entries := troubleshooting(t)
	for symptom, items := range seedItems {
		for _, item := range items {
			if _, ok := entries[symptom][item]; !ok {
				t.Errorf("docs/troubleshooting.md, %q: no entry for %q", symptom, item)
			}
		}
	}
}

type entry struct{ line int }

// troubleshooting are the rows of the page's tables by section and first cell. A row whose cells do not all say something, and one that
// names no way to look, fail the test.
func troubleshooting(t *testing.T) map[string]map[string]entry {
	t.Helper()
	_, all := pages(t)
	at := slices.IndexFunc(all, func(p dockit.Page) bool { return p.Name == "docs/troubleshooting.md" })
	if at < 0 {
		t.Fatal("there is no docs/troubleshooting.md")
	}
	out := map[string]map[string]entry{}
	section := ""
	for i, line := range all[at].Lines {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			section = title
			continue
		}
		if !strings.HasPrefix(line, "| ") || section == "Troubleshooting" { // the introduction's table is no list of entries
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "/"), "| "), " | ")
		name := strings.Trim(cells[0], "` ")
		if i+1 < len(all[at].Lines) && strings.HasPrefix(all[at].Lines[i+1], "|--") {
			continue // the table's head
		}
		if out[section] == nil {
			out[section] = map[string]entry{}
		}
		if _, twice := out[section][name]; twice {
			t.Errorf("docs/troubleshooting.md:%d: %s has two entries", i+1, name)
		}
		out[section][name] = entry{line: i + 1}
		if len(cells) != 4 || slices.ContainsFunc(cells, func(c string) bool { return len(strings.TrimSpace(c)) < 2 }) {
			t.Errorf("docs/troubleshooting.md:%d: %s has not got four cells that say something", i+1, name)
		} else if !strings.Contains(cells[2], "`") {
			t.Errorf("docs/troubleshooting.md:%d: %s names no command or file to look with", i+1, name)
		}
	}
	return out
}

// sources are the parsed files of what is shipped.
type sources struct {
	set   *token.FileSet
	files map[string]*ast.File // by path from the root
}

func readSources(t *testing.T) *sources {
	t.Helper()
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	s := &sources{set: token.NewFileSet(), files: map[string]*ast.File{}}
	for _, dir := range []string{"agent", "controller", "shared"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() && (e.Name() == "testdata" || e.Name() == "testkit") {
				return fs.SkipDir
			}
			if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			s.files[filepath.ToSlash(name)], err = parser.ParseFile(s.set, name, text, parser.SkipObjectResolution)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *sources) at(n ast.Node) string { return s.set.Position(n.Pos()).String() }

var codeForm = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// constants are the codes that are constants of a file, with a name that starts with one of the prefixes; and where each is.
func (s *sources) constants(t *testing.T, path string, prefixes ...string) map[string]string {
	t.Helper()
	file := s.files[path]
	if file == nil {
		t.Fatalf("there is no %s", path)
	}
	all := map[string]string{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, value := range v.Values {
				code, ok := literal(value)
				if ok && codeForm.MatchString(code) && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(v.Names[i].Name, p) }) {
					all[code] = s.at(value)
				}
			}
		}
	}
	return all
}

// said are the codes that an engine names where it looks at a target: what it stops for, what it warns of, and lists of such.
func (s *sources) said(path string) map[string]string {
	all := map[string]string{}
	note := func(e ast.Expr) {
		if code, ok := literal(e); ok && codeForm.MatchString(code) {
			all[code] = s.at(e)
		}
	}
	ast.Inspect(s.files[path], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if name := lastName(n.Fun); (name == "stop" || name == "warn") && len(n.Args) > 0 {
				note(n.Args[0])
			}
		case *ast.CompositeLit: // []struct{ …; code … }{…}
			list, ok := n.Type.(*ast.ArrayType)
			if !ok {
				return true
			}
			of, ok := list.Elt.(*ast.StructType)
			if !ok {
				return true
			}
			place, i := -1, 0
			for _, f := range of.Fields.List {
				for _, name := range f.Names {
					if name.Name == "code" {
						place = i
					}
					i++
				}
			}
			for _, e := range n.Elts {
				if row, ok := e.(*ast.CompositeLit); ok && place >= 0 && place < len(row.Elts) {
					note(row.Elts[place])
				}
			}
		}
		return true
	})
	return all
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// lastName is the name of an identifier, or of what a selector selects.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func merged(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}
