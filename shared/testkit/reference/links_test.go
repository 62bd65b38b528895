package reference_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"devflowbackup/shared/testkit/dockit"
)

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile("^#{1,6} +(.*?) *$")
	target  = regexp.MustCompile(`\]\([^()]*\)`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	spans   = regexp.MustCompile("``.+?``|`[^`]*`")
)

// address is what Markdown makes of a heading.
func address(text string) string {
	text = strings.ToLower(target.ReplaceAllString(text, ""))
	return strings.ReplaceAll(dropped.ReplaceAllString(text, ""), " ", "-")
}

// prose are the lines of a page that are no code.
func prose(p dockit.Page) []string {
	lines := append([]string(nil), p.Lines...)
	for _, b := range p.Blocks {
		for i := range strings.Split(b.Text, "\n") {
			if n := b.Line - 1 + i; n < len(lines) {
				lines[n] = ""
			}
		}
	}
	return lines
}

// Every link of a page to another, or to a part of one, leads somewhere; and every page of docs/ is in their list.
func TestLinks(t *testing.T) {
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := dockit.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	parts := make(map[string]map[string]bool)
	for _, p := range pages {
		parts[p.Name] = make(map[string]bool)
		for _, line := range prose(p) {
			if m := heading.FindStringSubmatch(line); m != nil {
				parts[p.Name][address(m[1])] = true
			}
		}
	}
	listed := make(map[string]bool)
	found := 0
	for _, p := range pages {
		for i, line := range prose(p) {
			for _, m := range link.FindAllStringSubmatch(spans.ReplaceAllString(line, ""), -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				found++
				file, part, hasPart := strings.Cut(m[1], "#")
				name := p.Name
				if file != "" {
					name = filepath.ToSlash(filepath.Join(filepath.Dir(p.Name), file))
				}
				if p.Name == "docs/README.md" {
					listed[name] = true
				}
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s:%d links to %s, which is not there", p.Name, i+1, m[1])
					continue
				}
				if hasPart && !parts[name][part] {
					t.Errorf("%s:%d links to %s: that page has no such part", p.Name, i+1, m[1])
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("%d links were found, many more are there", found)
	}
	for _, p := range pages {
		if strings.HasPrefix(p.Name, "docs/") && p.Name != "docs/README.md" && !listed[p.Name] {
			t.Errorf("%s is not in the list of docs/README.md", p.Name)
		}
	}
}
