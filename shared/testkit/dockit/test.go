package dockit

import (
	"testing"

	"github.com/spf13/cobra"
)

// Test holds every command of a program, on the pages and in what any program prints, against the program's own commands. It fails as
// well if it finds fewer than are known to be there: then it looks at nothing.
func Test(t *testing.T, root func() *cobra.Command, onPages, inHints int) {
	t.Helper()
	dir, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := Pages(dir)
	if err != nil {
		t.Fatal(err)
	}
	program := root().Name()
	written := Commands(pages, program, Groups(root()))
	if len(written) < onPages {
		t.Errorf("the pages have %d commands of %s, at least %d are expected", len(written), program, onPages)
	}
	printed, err := Printed(dir, program)
	if err != nil {
		t.Fatal(err)
	}
	if len(printed) < inHints {
		t.Errorf("the sources print %d commands of %s, at least %d are expected", len(printed), program, inHints)
	}
	for _, c := range append(written, printed...) {
		if err := Check(root, c); err != nil {
			t.Errorf("%s\n\t%v", c, err)
		}
	}
	t.Logf("%d commands on pages, %d in hints", len(written), len(printed))
}
