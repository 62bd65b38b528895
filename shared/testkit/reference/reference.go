// Package reference holds pages of docs/ to the code that they tell of: what a program can say of itself is written by a test
// between two marks of a page, and the test fails where the page says something else.
//
// The same code gives the same text, byte for byte. Nothing outside of the marks is touched. `make docs` writes the pages anew.
package reference

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"devflowbackup/shared/testkit/s3kit"
)

var write = flag.Bool("docs", false, "write the parts of docs/ that follow from the code anew")

// TB is the part of testing.TB that the package needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Hold compares text with what stands in a file of the repository between the marks <!-- generated: NAME --> and
// <!-- end: NAME -->. With the flag -docs it puts text there instead.
func Hold(tb TB, file, name, text string) {
	tb.Helper()
	root, err := s3kit.Root()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	path := filepath.Join(root, filepath.FromSlash(file))
	page, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("read page: %v", err)
	}
	begin, end := "<!-- generated: "+name+" -->\n", "<!-- end: "+name+" -->\n"
	from, to := bytes.Index(page, []byte(begin)), bytes.Index(page, []byte(end))
	if from < 0 || to < from || bytes.Count(page, []byte(begin)) != 1 || bytes.Count(page, []byte(end)) != 1 {
		tb.Fatalf("%s does not have the lines %q and %q, once each and in this order", file, begin, end)
	}
	from += len(begin)
	text = "\n" + strings.Trim(text, "\n") + "\n\n"
	have := string(page[from:to])
	if have == text {
		return
	}
	if !*write {
		tb.Errorf("%s is not what the code says: run `make docs`\n%s", file, difference(have, text))
		return
	}
	if err := os.WriteFile(path, []byte(string(page[:from])+text+string(page[to:])), 0o644); err != nil { //nolint:gosec // for everybody
		tb.Fatalf("write page: %v", err)
	}
}

// difference is the first line in which two texts differ.
func difference(have, want string) string {
	a, b := strings.Split(have, "\n"), strings.Split(want, "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	at := func(lines []string) string {
		if i < len(lines) {
			return lines[i]
		}
		return "(end)"
	}
	return fmt.Sprintf("  page: %s\n  code: %s", at(a), at(b))
}

// Table is a table of Markdown.
func Table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + plain(strings.Join(strings.Fields(c), " ")) + " |")
		}
		b.WriteString("\n")
	}
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// plain keeps Markdown from reading marks where there is no code.
func plain(cell string) string {
	parts := strings.Split(cell, "`")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(parts[i])
	}
	return strings.ReplaceAll(strings.Join(parts, "`"), "|", `\|`)
}

// Code is text as Markdown shows code; empty for none.
func Code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// Short is a text in which durations have no units of nothing: 24h in place of 24h0m0s.
func Short(text string) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(text)
}
