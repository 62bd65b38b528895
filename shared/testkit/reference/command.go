package reference

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Commands tells of a program's commands and their flags: a list of them, then a part for each that does something.
func Commands(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n\n", strings.TrimSuffix(root.Short, "."))
	if root.HasAvailablePersistentFlags() {
		b.WriteString("Flags of every command:\n\n" + flags(root.PersistentFlags()) + "\n")
	}
	all := leaves(root)
	rows := make([][]string, 0, len(all))
	for _, c := range all {
		name := below(root, c)
		rows = append(rows, []string{"[" + name + "](#" + anchor(root.Name()+" "+name) + ")", c.Short})
	}
	b.WriteString(Table([]string{"command", "what it does"}, rows))
	for _, c := range all {
		fmt.Fprintf(&b, "\n### %s %s\n", root.Name(), below(root, c))
		if !strings.HasPrefix(c.Long, c.Short) {
			fmt.Fprintf(&b, "\n%s\n", sentence(c.Short))
		}
		// Without the program's name: it is a form, and no command to paste.
		fmt.Fprintf(&b, "\n    %s\n", strings.TrimSpace(strings.TrimPrefix(c.UseLine(), root.Name())))
		if len(c.Aliases) > 0 {
			fmt.Fprintf(&b, "\nAlso: %s.\n", strings.Join(c.Aliases, ", "))
		}
		if c.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", sentence(strings.TrimSpace(c.Long)))
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", dedent(c.Example))
		}
		if f := c.LocalNonPersistentFlags(); f.HasAvailableFlags() {
			b.WriteString("\n" + flags(f))
		}
	}
	return b.String()
}

// leaves are the commands that do something, in the order of their names.
func leaves(of *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, c := range of.Commands() {
		switch {
		case c.Hidden || c.Name() == "help" || c.Name() == "completion":
		case c.HasAvailableSubCommands():
			out = append(out, leaves(c)...)
		default:
			out = append(out, c)
		}
	}
	return out
}

func below(root, c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
}

func flags(set *pflag.FlagSet) string {
	var rows [][]string
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		def := f.DefValue
		switch def {
		case "false", "[]", "0", "0s":
			def = ""
		}
		rows = append(rows, []string{Code(name), Code(def), usage})
	})
	return Table([]string{"flag", "default", "meaning"}, rows)
}

func sentence(text string) string {
	if strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

// anchor is the address that Markdown gives to a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(heading), " ", "-")
}

// dedent takes off the blanks that all lines begin with.
func dedent(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	least := -1
	for _, l := range lines {
		if n := len(l) - len(strings.TrimLeft(l, " ")); strings.TrimSpace(l) != "" && (least < 0 || n < least) {
			least = n
		}
	}
	for i, l := range lines {
		if len(l) >= least && least > 0 {
			lines[i] = l[least:]
		}
	}
	return strings.Join(lines, "\n")
}
