package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// show prints v as JSON, or what fill makes of it.
func (c *ctl) show(v any, fill func(*rows)) error {
	if c.output == outputJSON {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	t := &rows{}
	fill(t)
	return t.write(c)
}

// rows are the lines of a table.
type rows struct {
	rows  [][]string
	cut   int // where a second table begins, with columns of its own; 0: nowhere
	notes []string
}

func (t *rows) head(cells ...string)    { t.rows = append(t.rows, cells) }
func (t *rows) row(cells ...string)     { t.rows = append(t.rows, cells) }
func (t *rows) fact(name, value string) { t.rows = append(t.rows, []string{name, value}) }

// section begins a second table.
func (t *rows) section(cells ...string) {
	t.cut = len(t.rows)
	t.rows = append(t.rows, cells)
}

func (t *rows) note(f string, args ...any) { t.notes = append(t.notes, fmt.Sprintf(f, args...)) }

func (t *rows) write(c *ctl) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for n, row := range t.rows {
		if n == t.cut && n > 0 {
			if err := w.Flush(); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			fmt.Fprintln(c.out)
		}
		for i, cell := range row {
			cell = clean(cell)
			if cell == "" {
				cell = "-"
			}
			row[i] = cell
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	for _, n := range t.notes {
		if _, err := fmt.Fprintln(c.out, clean(n)); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// clean shows control characters instead of sending them to the terminal: names and messages come from other hosts.
func clean(s string) string {
	safe := true
	for _, r := range s {
		if r == '\n' || r == '\t' || !unicode.IsPrint(r) {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// size is bytes for people.
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < 5 {
		v /= 1024
		unit++
	}
	digits := 1
	if v >= 100 {
		digits = 0
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[unit]
}

func sizeOf(n *int64) string {
	if n == nil {
		return ""
	}
	return size(*n)
}

// span is a duration for people: two units at most.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func between(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return span(to.Sub(*from))
}

// ago is how long t is past, or ahead.
func ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	d := time.Since(*t)
	switch {
	case d < -time.Second:
		return "in " + coarse(-d)
	case d < 5*time.Second:
		return "now"
	}
	return coarse(d) + " ago"
}

func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func numbers(ns []int64) string {
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = number(n)
	}
	return strings.Join(out, ", ")
}

// plural is "1 backup", "2 backups".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// identifier reads a number that names something.
func identifier(what, s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, usagef("%q is not the id of a %s", s, what)
	}
	return n, nil
}

// cleanLines is clean for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(strings.ReplaceAll(l, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}
