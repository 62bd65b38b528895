package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"devflowbackup/e2e/stack"
)

// story is what the reader sees.
type story struct {
	out  io.Writer
	dir  string
	wd   string // where the reader stands, if that is not where this program was started
	step int
}

func newStory(out io.Writer, dir string) *story { return &story{out: out, dir: dir} }

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// chapter begins a step.
func (s *story) chapter(title string) {
	s.step++
	s.say("\n%d. %s", s.step, title)
}

// note is a line below a step.
func (s *story) note(format string, args ...any) { s.say("   "+format, args...) }

// shorten is a path as one would type it there.
func (s *story) shorten(path string) string {
	if rel, err := filepath.Rel(s.wd, path); s.wd != "" && err == nil && strings.HasPrefix(path, s.dir+"/") {
		return rel
	}
	return shorten(path)
}

// command shows a command line as one would type it.
func (s *story) command(args ...string) {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = shellWord(s.shorten(a))
	}
	s.say("   $ %s", strings.Join(words, " "))
}

// write takes over what another story has told.
func (s *story) write(told []byte) { _, _ = s.out.Write(told) }

// pipe shows a pipeline, and the file that its output goes to, if that is not empty.
func (s *story) pipe(to string, commands ...[]string) {
	lines := make([]string, len(commands))
	for i, c := range commands {
		words := make([]string, len(c))
		for j, a := range c {
			words[j] = shellWord(s.shorten(a))
			if strings.HasPrefix(a, "$") {
				words[j] = a
			}
		}
		lines[i] = strings.Join(words, " ")
	}
	if to != "" {
		lines[len(lines)-1] += " > " + shellWord(s.shorten(to))
	}
	s.say("   $ %s", strings.Join(lines, " | "))
}

// output shows what a command printed.
func (s *story) output(text string) {
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		if strings.TrimSpace(line) != "" {
			s.say("     %s", line)
		}
	}
}

const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=@%+,"

func shellWord(word string) string {
	// An assignment before a command stays one.
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// failed shows the ends of the logs.
func (s *story) failed(logs []string) {
	for _, log := range logs {
		if tail := strings.TrimSpace(stack.Tail(log, 12)); tail != "" {
			s.say("\n--- the end of %s\n%s", shorten(log), tail)
		}
	}
}

// proven closes the story.
func (s *story) proven(trips []*trip, took time.Duration) {
	s.say("")
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DATABASE\tENGINE\tSTORAGE\tCODEC\tSIZE\tSHA-256\tBACKUP\tVERIFY\tRESTORE\tBY HAND\tROWS PROVEN")
	for _, t := range trips {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s…\t%s\t%s\t%s\t%s\t%s of %s\n", t.word, t.engine, t.disk, t.codec(), size(t.backup.FileSize), t.backup.Checksum[:8],
			seconds(t.took.backup), seconds(t.took.verify), seconds(t.took.restore), seconds(t.took.byHand), number(t.proven), number(t.content.Rows()))
	}
	_ = w.Flush()
	s.say(`
BACKUP    size and SHA-256 of what was stored are those in the catalog
VERIFY    checksum: the stored bytes; content: decrypted, decompressed and read to the end of the dump
RESTORE   into a new database: every row, view, trigger, routine and index equals the source's, by plain SQL
BY HAND   age or openssl, zstd or gunzip, and pg_restore, mariadb or sqlite3 alone: equal to the source as well
local     is the host of the database itself: such a backup is lost with it

All of it is proven, in %s.`, seconds(took))
}

// next tells what to do with what is up now.
func (s *story) next(h hints) {
	s.say(`
It stays up until Ctrl-C. In another terminal:

   . %s          # address, CA and token file for devflowctl
   devflowctl backup list
   devflowctl backup create shop --wait
   devflowctl backup verify %d --level content
   devflowctl restore create %d --to-database shop_copy --wait
   devflowctl backup download %d -o %s
   devflowctl backup show %d
   devflowctl schedule list
   devflowctl backup cleanup shop --dry-run
   devflowctl audit verify
   %s

   API           %s/api/v1/openapi.json
   admin token   %s
   CA            %s
   logs          %s

   Console       %s    user %s, password %s
                 (the browser asks about the certificate, which the CA above has signed)`,
		shorten(h.env), h.backup, h.backup, h.backup, shorten(h.downloads), h.backup, strings.Join(h.clients, "\n   "),
		h.url, shorten(h.token), shorten(h.ca), shorten(filepath.Join(s.dir, "logs")),
		h.url, h.user, h.password)
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n) / 1024
	for _, unit := range []string{"KiB", "MiB"} {
		if v < 1024 {
			return fmt.Sprintf("%.1f %s", v, unit)
		}
		v /= 1024
	}
	return fmt.Sprintf("%.1f GiB", v)
}

// number writes 175123 as 175,123.
func number(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
