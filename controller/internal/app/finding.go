package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"devflowbackup/controller"
)

// Levels of findings.
const (
	FindingOK      = "ok"
	FindingWarning = "warning" // it works, and will not for ever
	FindingError   = "error"   // it does not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Level  string `json:"level"`
	Check  string `json:"check"`  // such as catalog, or storage s3
	Detail string `json:"detail"` // what was found
	Hint   string `json:"hint"`   // what to do; empty with ok
}

// findings collects them.
type findings []Finding

func (f *findings) ok(check, format string, args ...any) {
	*f = append(*f, Finding{Level: FindingOK, Check: check, Detail: fmt.Sprintf(format, args...)})
}

func (f *findings) add(level, check, detail, hint string) {
	*f = append(*f, Finding{Level: level, Check: check, Detail: detail, Hint: hint})
}

// fail notes an error, and its own hint in place of the given one where it has one.
func (f *findings) fail(check string, err error, hint string) {
	var known *controller.Error
	if errors.As(err, &known) && known.Hint != "" {
		hint = known.Hint
	}
	text := strings.Replace(err.Error(), " ("+hint+")", "", 1)
	f.add(FindingError, check, strings.Join(strings.Fields(text), " "), hint) // a driver's errors have several lines
}

// PrintFindings writes a table and then what to do, and tells whether nothing is an error.
func PrintFindings(w io.Writer, all []Finding) (fine bool) {
	fine = true
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LEVEL\tCHECK\tDETAIL")
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, f.Check, f.Detail)
		fine = fine && f.Level != FindingError
	}
	_ = t.Flush()
	for _, f := range all {
		if f.Hint != "" && f.Level != FindingOK {
			fmt.Fprintf(w, "\n%s: %s\n", f.Check, f.Hint)
		}
	}
	return fine
}

// EncodeFindings writes them as JSON and tells whether nothing is an error.
func EncodeFindings(w io.Writer, all []Finding) (fine bool, err error) {
	fine = true
	for _, f := range all {
		fine = fine && f.Level != FindingError
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return fine, e.Encode(struct {
		OK       bool      `json:"ok"`
		Findings []Finding `json:"findings"`
	}{fine, all})
}
