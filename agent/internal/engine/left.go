package engine

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxLeft is how many databases get a finding of their own.
const maxLeft = 20

// Left are the findings of a Check about the databases of restores that are on the server. statement says how to remove one by hand.
func Left(names []string, statement func(name string) string) []Finding {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	var findings []Finding
	for n, name := range names {
		if n == maxLeft {
			return append(findings, Finding{Level: "warning", Name: "left by restores", Detail: fmt.Sprintf("and %d more databases", len(names)-n), Hint: "look at the oldest first"})
		}
		f := Finding{Level: "warning", Name: "left by a restore", Detail: fmt.Sprintf("%q: of a restore that is at work, or of one that was interrupted", name)}
		f.Hint = "if no restore is at work, remove it: " + statement(name)
		if strings.HasPrefix(path.Base(name), KeptPrefix) {
			f.Name, f.Detail = "kept by a restore", fmt.Sprintf("%q: what a restore in place took out of its place", name)
			f.Hint = "controllers remove it when its time has passed, or when they are asked to; by hand: " + statement(name)
		}
		findings = append(findings, f)
	}
	return findings
}
