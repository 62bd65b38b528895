package dockit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Command is a command line that people are told to type, or that is named to them.
type Command struct {
	Where string // file:line
	Words []string
	// Named: only the command is named, and arguments may be left out.
	Named bool
}

func (c Command) String() string { return c.Where + ": " + strings.Join(c.Words, " ") }

// with is the command with a value in place of a word.
func (c Command) with(word, value string) Command {
	c.Words = slices.Clone(c.Words)
	for i, w := range c.Words {
		if w == word {
			c.Words[i] = value
		} else if flag, ok := strings.CutSuffix(w, "="+word); ok {
			c.Words[i] = flag + "=" + value
		}
	}
	return c
}

// leaders may stand before a program.
var leaders = []string{"sudo", "exec", "time", "if", "then", "else", "do", "while", "until", "!", "$"}

// Commands are those of a program on the pages: lines of code, and spans that begin with the program. groups are first words by which
// spans name a command of the program without naming the program itself, followed by at least one more word.
func Commands(pages []Page, program string, groups []string) []Command {
	var all []Command
	for _, p := range pages {
		for _, b := range p.Blocks {
			if !slices.Contains([]string{"", "sh", "bash", "console", "shell"}, b.Language) || strings.ContainsAny(b.Text, "│├└") {
				continue // a picture
			}
			for _, c := range simple(b.Text) {
				if words, ok := begins(c.words, program); ok {
					all = append(all, Command{Where: fmt.Sprintf("%s:%d", p.Name, b.Line+c.line), Words: words})
				}
			}
		}
		for _, s := range p.Spans {
			words := spanWords(s.Text)
			switch {
			case len(words) > 1 && words[0] == program:
			case len(words) > 1 && slices.Contains(groups, words[0]) && plain.MatchString(words[1]):
				words = append([]string{program}, words...)
			default:
				continue
			}
			all = append(all, Command{Where: fmt.Sprintf("%s:%d", p.Name, s.Line), Words: words, Named: true})
		}
	}
	return all
}

var plain = regexp.MustCompile(`^[a-z][a-z-]*$`)

// begins takes off what may stand before a program, and tells whether it is this one.
func begins(words []string, program string) ([]string, bool) {
	for len(words) > 0 {
		first := words[0]
		name, _, assigned := strings.Cut(first, "=")
		switch {
		case filepath.Base(first) == program && !assigned:
			return append([]string{program}, words[1:]...), true
		case slices.Contains(leaders, first), assigned && regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name):
			words = words[1:]
		case first == "-u" && len(words) > 1: // sudo -u USER
			words = words[2:]
		default:
			return nil, false
		}
	}
	return nil, false
}

// spanWords are the words of a span's first command. Brackets say what may be left out, a bar between words without spaces what may be
// chosen; one with spaces is a pipe.
func spanWords(text string) []string {
	text = choice.ReplaceAllString(strings.NewReplacer("[", "", "]", "", "(", "", ")", "").Replace(text), "$1/$2")
	if all := simple(text); len(all) > 0 {
		return all[0].words
	}
	return nil
}

var choice = regexp.MustCompile(`(\S)\|(\S)`)

// ellipsis stands for what a reader puts in.
func ellipsis(word string) bool { return word == "…" || word == "..." }

// Check holds a command line against the program's own commands: an unknown command or flag, a value that a flag does not take, and a
// wrong number of arguments are errors. root makes the commands anew, for flags keep what they were set to.
func Check(root func() *cobra.Command, c Command) error {
	top := root()
	top.InitDefaultHelpCmd()
	top.InitDefaultCompletionCmd()
	open := c.Named
	var words []string
	for _, w := range c.Words[1:] {
		if ellipsis(w) {
			open = true
			continue
		}
		words = append(words, w)
	}
	cmd, rest, err := top.Find(words)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		if m := placeholder.FindStringSubmatch(err.Error()); m != nil { // a number is to be put there, or a time
			if err = Check(root, c.with(m[1], "1")); err == nil || !strings.HasPrefix(err.Error(), `invalid argument "1"`) {
				return err
			}
			return Check(root, c.with(m[1], "1h"))
		}
		if open && strings.HasPrefix(err.Error(), "flag needs an argument") {
			return nil // the flag is named, and its value left out
		}
		return err
	}
	args := cmd.Flags().Args()
	if cmd.HasSubCommands() && len(args) > 0 {
		return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	for more := 0; ; more++ {
		if err = cmd.ValidateArgs(slices.Concat(args, make([]string, more))); err == nil || !open || more == 3 {
			break
		}
	}
	if err != nil {
		return err
	}
	if open {
		return nil
	}
	return cmd.ValidateRequiredFlags()
}

// Groups are the first words of commands that hold others.
func Groups(root *cobra.Command) []string {
	var names []string
	for _, c := range root.Commands() {
		if c.HasSubCommands() && c.Name() != "help" && c.Name() != "completion" {
			names = append(names, c.Name())
		}
	}
	return names
}

var (
	placeholder = regexp.MustCompile(`^invalid argument "([A-Z]+)" for`)

	quoted  = regexp.MustCompile("`([^`\n]+)`|\"([^\"\n]+)\"")
	verb    = regexp.MustCompile(`%[-+# 0-9.*]*[a-zA-Z]`)
	verbFor = map[byte]string{'d': "1", 'q': "X", 's': "X", 'v': "X"}
)

// Printed are the commands of a program in the text that sources hold: what hints quote, lines of help that begin with the program, and
// what scripts, samples and units have in backquotes.
func Printed(root, program string) ([]Command, error) {
	var all []Command
	for _, dir := range []string{"agent", "controller", "shared"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() && (e.Name() == "testdata" || e.Name() == "testkit") {
				return fs.SkipDir
			}
			var found []Command
			switch ext := filepath.Ext(path); {
			case e.IsDir() || strings.HasSuffix(path, "_test.go"):
			case ext == ".go":
				found, err = printed(root, path, program)
			case ext == ".sh" || ext == ".yaml" || ext == ".service":
				found, err = commented(root, path, program)
			}
			all = append(all, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no program prints a command of " + program)
	}
	return all, nil
}

// commented are the commands in backquotes of a script, a sample or a unit.
func commented(root, path, program string) ([]Command, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	var all []Command
	for i, line := range strings.Split(string(text), "\n") {
		for _, m := range span.FindAllStringSubmatch(strings.ReplaceAll(line, "\\`", "`"), -1) {
			if words := spanWords(m[1] + m[2]); len(words) > 1 && words[0] == program {
				all = append(all, Command{Where: fmt.Sprintf("%s:%d", name, i+1), Words: words, Named: true})
			}
		}
	}
	return all, nil
}

func printed(root, path, program string) ([]Command, error) {
	source, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(source), program) {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	var all []Command
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			return true
		}
		text = verb.ReplaceAllStringFunc(text, func(v string) string {
			if v, ok := verbFor[v[len(v)-1]]; ok {
				return v
			}
			return v
		})
		where := fmt.Sprintf("%s:%d", name, set.Position(lit.Pos()).Line)
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			words := spanWords(m[1] + m[2])
			if len(words) > 1 && words[0] == program {
				all = append(all, Command{Where: where, Words: words, Named: true})
			}
		}
		if !strings.Contains(text, "\n") {
			return true
		}
		for _, c := range simple(indented(text)) {
			if words, ok := begins(c.words, program); ok && len(words) > 1 && plain.MatchString(words[1]) {
				all = append(all, Command{Where: where, Words: words})
			}
		}
		return true
	})
	return all, nil
}

// indented are the lines of a help text that are examples.
func indented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "  ") {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}
