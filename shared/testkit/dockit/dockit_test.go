package dockit_test

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"devflowbackup/shared/testkit/dockit"
)

// shop is a program with one command of each shape.
func shop() *cobra.Command {
	nothing := func(*cobra.Command, []string) {}
	sell := &cobra.Command{Use: "sell ITEM", Args: cobra.ExactArgs(1), Run: nothing}
	sell.Flags().Int("count", 1, "")
	sell.Flags().Duration("for", 0, "")
	sell.Flags().StringP("to", "t", "", "")
	list := &cobra.Command{Use: "list [KIND]", Args: cobra.MaximumNArgs(1), Run: nothing}
	item := &cobra.Command{Use: "item", Args: cobra.ArbitraryArgs, Run: nothing}
	item.AddCommand(sell, list)
	root := &cobra.Command{Use: "shop", Args: cobra.ArbitraryArgs, Run: nothing}
	root.PersistentFlags().String("config", "", "")
	root.AddCommand(item)
	return root
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ page, wrong string }{
		{"```sh\nshop item sell apple --count 3   # three\n```", ""},
		{"```sh\nA=1 B=$(shop --config f item list fruit | head -n 1) \\\n  sudo -u me shop item sell -t \"$B\" 'a b' > /dev/null && shop item list\n```", ""},
		{"```sh\nshop item sell apple --count N\nshop item sell apple --count=N --for TIME\n```", ""},
		{"```sh\nshop item sell --count N\n```", "accepts 1 arg"},
		{"Run `shop item sell`, `item sell apple --count N`, `shop item list [KIND]` or `shop item sell … --to`.", ""},
		{"    shop item sell apple\n", ""},
		{"`shop item sell apple | ssh root@db sh` and `shop item sell pear|apple`", ""},
		{"`shop item sell apple pear | ssh root@db sh`", "accepts 1 arg"},
		{"`shop` and `shopping item nonsense` and `item.count`", ""},
		{"```yaml\nshop: nonsense\n```\n```\n│ shop nonsense │\n```", ""},
		{"| a | b |\n|---|---|\n| `shop item list fruit\\|bread` | |", ""},
		{"```sh\nshop item buy apple\n```", "unknown command"},
		{"text\n\n    shop itme list\n", "unknown command"},
		{"```sh\ntrue && shop item sell apple --cuont 3\n```", "unknown flag"},
		{"```sh\nshop item sell apple --count many\n```", "invalid argument"},
		{"```sh\nshop item sell\n```", "accepts 1 arg"},
		{"```sh\nX=\"$(shop item sell apple pear)\"\n```", "accepts 1 arg"},
		{"`shop item buy apple`", "unknown command"},
		{"`item buy apple`", "unknown command"},
		{"`shop item list a b`", "accepts at most 1 arg"},
		{"`item sell --cuont`", "unknown flag"},
	} {
		var wrong []string
		for _, cmd := range dockit.Commands([]dockit.Page{dockit.Parse("page.md", c.page)}, "shop", dockit.Groups(shop())) {
			if err := dockit.Check(shop, cmd); err != nil {
				wrong = append(wrong, err.Error())
			}
		}
		text := strings.Join(wrong, "; ")
		if (c.wrong == "") != (text == "") || !strings.Contains(text, c.wrong) {
			t.Errorf("%q: %q, want %q", c.page, text, c.wrong)
		}
	}
}

func TestParse(t *testing.T) {
	p := dockit.Parse("p.md", "# P\n\n<!-- run: one -->\n```sh\na\nb\n```\n`c` and ``d `e` f``\n\n- `g`\n\n    `h`\n")
	if len(p.Blocks) != 1 || p.Blocks[0] != (dockit.Block{Line: 5, Language: "sh", Run: "one", Text: "a\nb"}) {
		t.Errorf("blocks: %+v", p.Blocks)
	}
	if got, want := fmt.Sprint(p.Spans), "[{8 c} {8 d `e` f} {10 g} {12 h}]"; got != want {
		t.Errorf("spans: %s, want %s", got, want)
	}
	cmds := dockit.Commands([]dockit.Page{dockit.Parse("p.md", "x\n```sh\ntrue\n  shop item \\\n    list\n```\n")}, "shop", nil)
	if len(cmds) != 1 || cmds[0].String() != "p.md:4: shop item list" {
		t.Errorf("commands: %v", cmds)
	}
}

func pages(t *testing.T) (root string, all []dockit.Page) {
	t.Helper()
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	all, err = dockit.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, all
}

// Every `make …` on the pages has its target.
func TestPages_Make(t *testing.T) {
	root, all := pages(t)
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Za-z0-9_./-]+):(?:[^=]|$)`).FindAllStringSubmatch(string(text), -1) {
		targets[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^TOOL_(\S+)`).FindAllStringSubmatch(string(text), -1) {
		targets["bin/tools/"+m[1]] = true
	}
	commands := dockit.Commands(all, "make", nil)
	if len(commands) < 20 {
		t.Errorf("%d commands of make were found", len(commands))
	}
	for _, c := range commands {
		for _, w := range c.Words[1:] {
			if !strings.Contains(w, "=") && !targets[w] {
				t.Errorf("%s: the Makefile has no target %q", c, w)
			}
		}
	}
}

var (
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	odd  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Links between pages lead somewhere, and their anchors are headings there.
func TestPages_Links(t *testing.T) {
	root, all := pages(t)
	anchors := map[string][]string{}
	for _, p := range all {
		for _, line := range p.Lines {
			if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
				title = odd.ReplaceAllString(strings.ToLower(title), "")
				anchors[p.Name] = append(anchors[p.Name], strings.ReplaceAll(title, " ", "-"))
			}
		}
	}
	found := 0
	for _, p := range all {
		for i, line := range p.Lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				found++
				file, anchor, _ := strings.Cut(m[1], "#")
				to := p.Name
				if file != "" {
					to = filepath.ToSlash(filepath.Join(filepath.Dir(p.Name), file))
				}
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s:%d: %s leads nowhere", p.Name, i+1, m[1])
				}
				if anchor != "" && !slices.Contains(anchors[to], anchor) {
					t.Errorf("%s:%d: %s has no heading #%s", p.Name, i+1, to, anchor)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d links were found", found)
	}
}

var (
	tabled = regexp.MustCompile("^\\| `([a-z_]+(?:\\.[a-z_]+)*)` \\|")
	dotted = regexp.MustCompile(`\b[a-z]+\.[a-z_]+(?:\.[a-z_]+)*\b`)
)

// Keys of the configurations that pages and hints name are keys: the references list them all, and are themselves made from the code.
func TestPages_Keys(t *testing.T) {
	_, all := pages(t)
	keys, groups := map[string]bool{}, map[string]bool{}
	for _, p := range all {
		if p.Name != "docs/reference-agent.md" && p.Name != "docs/reference-controller.md" {
			continue
		}
		for _, line := range p.Lines {
			if m := tabled.FindStringSubmatch(line); m != nil {
				keys[m[1]] = true
				if group, _, ok := strings.Cut(m[1], "."); ok {
					groups[group] = true
				}
				for i := range m[1] { // what holds keys is named, too
					if m[1][i] == '.' {
						keys[m[1][:i]] = true
					}
				}
			}
		}
	}
	if len(keys) < 50 {
		t.Fatalf("the references have %d keys", len(keys))
	}
	found := 0
	look := func(where, text string) {
		for _, key := range dotted.FindAllString(text, -1) {
			if group, rest, _ := strings.Cut(key, "."); !groups[group] || slices.Contains([]string{"md", "go", "sh", "yaml", "sql", "pem"}, rest) {
				continue
			}
			if found++; !keys[key] {
				t.Errorf("%s: there is no key %s", where, key)
			}
		}
	}
	for _, p := range all {
		for _, s := range p.Spans {
			if p.Name != "ARCHITECTURE.md" && !strings.Contains(s.Text, "--action") {
				look(fmt.Sprintf("%s:%d", p.Name, s.Line), s.Text)
			}
		}
	}
	s := readSources(t)
	for _, file := range s.files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || lastName(call.Fun) != "WithHint" || len(call.Args) == 0 {
				return true
			}
			if text, ok := literal(call.Args[0]); ok {
				look(s.at(call), text)
			}
			return true
		})
	}
	if found < 80 {
		t.Errorf("%d names of keys were found", found)
	}
}
