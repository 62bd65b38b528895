// Package dockit reads the repository's pages and the sentences that programs print, so that tests can hold what they tell people to
// type against the programs.
//
// Nothing is run. A command that is found keeps where it stands, so that a failing test says which line to mend.
package dockit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Page is one Markdown file.
type Page struct {
	Name   string // path from the root, with slashes
	Lines  []string
	Blocks []Block
	Spans  []Span
}

// Block is fenced or indented code.
type Block struct {
	Line     int    // of its first line, from 1
	Language string // of the fence
	// Run is NAME of a comment "<!-- run: NAME -->" right before the fence: the block is run by a test.
	Run  string
	Text string
}

// Span is code within a line.
type Span struct {
	Line int
	Text string
}

// Root is the repository's root: the nearest directory above the working directory that holds go.work.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find repository root: no go.work above the working directory")
		}
		dir = up
	}
}

// Pages are all that people read: those at the root, and in docs and packaging.
func Pages(root string) ([]Page, error) {
	var all []Page
	for _, pattern := range []string{"*.md", "docs/*.md", "packaging/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read page: %w", err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return nil, err
			}
			all = append(all, Parse(filepath.ToSlash(name), string(text)))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no page below %s", root)
	}
	return all, nil
}

var (
	fence  = regexp.MustCompile("^ {0,3}(```+|~~~+) *([A-Za-z0-9]*)")
	marker = regexp.MustCompile(`^\s*<!--\s*run:\s*([a-z0-9-]+)\s*-->\s*$`)
	span   = regexp.MustCompile("``(.+?)``|`([^`]+)`")
	indent = regexp.MustCompile(`^(?: {4}|\t)\S`)
	bullet = regexp.MustCompile(`^\s*(?:[-*]|\d+\.) `)
)

// Parse reads one page.
func Parse(name, text string) Page {
	p := Page{Name: name, Lines: strings.Split(text, "\n")}
	list := false // indented lines of a list go on with it
	for i := 0; i < len(p.Lines); i++ {
		line := p.Lines[i]
		if f := fence.FindStringSubmatch(line); f != nil {
			b := Block{Line: i + 2, Language: f[2]}
			if i > 0 {
				if m := marker.FindStringSubmatch(p.Lines[i-1]); m != nil {
					b.Run = m[1]
				}
			}
			start := i + 1
			for i++; i < len(p.Lines) && !strings.HasPrefix(strings.TrimSpace(p.Lines[i]), f[1]); i++ { //nolint:revive // looks for the end
			}
			b.Text = strings.Join(p.Lines[start:min(i, len(p.Lines))], "\n")
			p.Blocks = append(p.Blocks, b)
			continue
		}
		switch {
		case bullet.MatchString(line):
			list = true
		case strings.TrimSpace(line) != "" && !strings.HasPrefix(line, " "):
			list = false
		}
		if indent.MatchString(line) && !list {
			start := i
			for i++; i < len(p.Lines) && (indent.MatchString(p.Lines[i]) || strings.HasPrefix(p.Lines[i], "     ")); i++ { //nolint:revive // likewise
			}
			p.Blocks = append(p.Blocks, Block{Line: start + 1, Text: strings.Join(p.Lines[start:i], "\n")})
			i--
			continue
		}
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			text := m[1] + m[2]
			if strings.HasPrefix(strings.TrimSpace(line), "|") { // in a table a bar is written so
				text = strings.ReplaceAll(text, `\|`, "|")
			}
			p.Spans = append(p.Spans, Span{Line: i + 1, Text: strings.TrimSpace(text)})
		}
	}
	return p
}
