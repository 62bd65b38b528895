package setup

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// shown is how many databases of an instance are listed by name.
const shown = 5

// Print writes a report for people.
func (r Report) Print(w io.Writer) error {
	switch {
	case r.State == Written && r.Kept != "":
		fmt.Fprintf(w, "%s is written; what it was is in %s\n", r.Config, r.Kept)
	case r.State == Written:
		fmt.Fprintf(w, "%s is written\n", r.Config)
	default:
		fmt.Fprintf(w, "%s is left as it is\n", r.Config)
	}
	if len(r.Instances) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "INSTANCE\tFOUND AT\tVERSION\tDATABASES\tSTATE")
		for _, i := range r.Instances {
			names := strings.Join(i.Databases[:min(shown, len(i.Databases))], ", ")
			if len(i.Databases) > shown {
				names += ", …"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d: %s\t%s\n", i.Name, i.FoundAt, i.Version, len(i.Databases), names, i.State)
		}
		if err := t.Flush(); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	for _, m := range r.Mentions {
		fmt.Fprintf(w, "\nnote: %s\n", m)
	}
	if r.Missing != "" {
		fmt.Fprintf(w, "\nFound, and not in %s:\n\n%s", r.Config, r.Missing)
	}
	for _, n := range r.Needs {
		about := ""
		if n.Instance != "" {
			about = n.Instance + ": "
		}
		fmt.Fprintf(w, "\n%s%s\n", about, n.What)
		if n.How != "" {
			fmt.Fprintf(w, "    %s\n", n.How)
		}
	}
	last := "nothing more is needed"
	if n := len(r.Needs); n == 1 {
		last = "1 thing is still needed: see above"
	} else if n > 1 {
		last = fmt.Sprintf("%d things are still needed: see above", n)
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", last); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
