package notify

import (
	"bytes"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"devflowbackup/controller"
)

const (
	maxTitle  = 250      // bytes
	maxDetail = 4 << 10  // of one notice in an email
	zeroWidth = "\u200b" // parts what would be markup together
	timeForm  = "2006-01-02 15:04 UTC"
	maxEmail  = 256 << 10 // bytes of text; the list ends there
)

// titleOf is the title in one line.
func titleOf(m controller.Message) string {
	title := oneLine(m.Title)
	if title == "" {
		title = "DevFlow Backup"
	}
	return cut(title, maxTitle)
}

// subject has the severity before it, so that it can be sorted by.
func subject(m controller.Message) string {
	return cut("["+cmpOr(oneLine(m.Severity), controller.SeverityInfo)+"] "+titleOf(m), maxTitle)
}

func cmpOr(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// entry is one notice as it is written.
type entry struct {
	Mark, Title, Where, Detail, At string
}

func entryOf(n controller.MessageEntry) entry {
	var where []string
	for _, w := range []struct{ word, name string }{{"project", n.Project}, {"server", n.Server}, {"database", n.Database}} {
		if name := oneLine(w.name); name != "" {
			where = append(where, w.word+" "+cut(name, 200))
		}
	}
	if n.BackupID != nil {
		where = append(where, "backup "+strconv.FormatInt(*n.BackupID, 10))
	}
	mark := oneLine(n.Severity)
	switch n.Event {
	case controller.NoticeClosed:
		mark = "over"
	case controller.NoticeReminder:
		mark += ", still"
	}
	e := entry{Mark: mark, Title: cut(oneLine(n.Title), maxTitle), Where: strings.Join(where, ", "), Detail: cut(strings.TrimSpace(clean(n.Detail)), maxDetail)}
	if !n.At.IsZero() {
		e.At = n.At.UTC().Format(timeForm)
	}
	return e
}

// more says what is not listed.
func more(m controller.Message, listed int) string {
	n := len(m.Notices) - listed + m.More
	if n <= 0 {
		return ""
	}
	return "and " + thousands(n) + " more"
}

// counts says how many of what, where a message stands for more than it lists.
func counts(m controller.Message) string {
	if m.More == 0 {
		return ""
	}
	out := make([]string, 0, len(m.Counts))
	for _, c := range m.Counts {
		text := thousands(c.Count) + " × " + strings.ReplaceAll(oneLine(c.Kind), "_", " ")
		switch c.Event {
		case controller.NoticeClosed:
			text += ", over"
		case controller.NoticeReminder:
			text += ", still"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// thousands writes a number with commas.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// consoleURL is the console's address, if it is one.
func consoleURL(m controller.Message) string {
	u, err := url.Parse(m.URL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}

// inPlaceOf tells that another channel should have had the message.
func inPlaceOf(m controller.Message) string {
	if failed := oneLine(m.Failed); failed != "" {
		return "Sent here because another channel does not work: " + cut(failed, maxError)
	}
	return ""
}

// plain is the text part of an email.
func plain(m controller.Message) string {
	var b strings.Builder
	b.WriteString(titleOf(m) + "\n")
	if text := inPlaceOf(m); text != "" {
		b.WriteString("\n" + text + "\n")
	}
	listed := 0
	for _, n := range m.Notices {
		if b.Len() > maxEmail {
			break
		}
		listed++
		e := entryOf(n)
		fmt.Fprintf(&b, "\n[%s] %s\n", e.Mark, e.Title)
		if e.Where != "" {
			b.WriteString("  " + e.Where + "\n")
		}
		if e.Detail != "" {
			b.WriteString("  " + strings.ReplaceAll(e.Detail, "\n", "\n  ") + "\n")
		}
		if e.At != "" {
			b.WriteString("  " + e.At + "\n")
		}
	}
	for _, text := range []string{more(m, listed), counts(m), consoleURL(m)} {
		if text != "" {
			b.WriteString("\n" + text + "\n")
		}
	}
	return b.String()
}

// page is the HTML part: no images, no scripts, nothing from elsewhere.
var page = template.Must(template.New("mail").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body style="margin:0;padding:16px;font-family:sans-serif;font-size:14px;line-height:1.5;color:#1f2933;background:#ffffff">
<h1 style="font-size:18px;margin:0 0 12px;padding-left:10px;border-left:4px solid {{.Color}}">{{.Title}}</h1>
{{with .Failed}}<p style="margin:0 0 12px;color:#9a3412">{{.}}</p>
{{end}}{{range .Entries}}<div style="margin:0 0 12px;padding:8px 10px;border:1px solid #d9dee4;border-radius:4px">
<div><strong>{{.Title}}</strong> <span style="color:#52606d">[{{.Mark}}]</span></div>
{{with .Where}}<div style="color:#52606d">{{.}}</div>
{{end}}{{with .Detail}}<div style="white-space:pre-wrap">{{.}}</div>
{{end}}{{with .At}}<div style="color:#52606d">{{.}}</div>
{{end}}</div>
{{end}}{{with .More}}<p>{{.}}</p>
{{end}}{{with .Counts}}<p>{{.}}</p>
{{end}}{{with .URL}}<p><a href="{{.}}">Open the console</a></p>
{{end}}</body></html>
`))

func html(m controller.Message) (string, error) {
	var entries []entry
	size := 0
	for _, n := range m.Notices {
		if size > maxEmail {
			break
		}
		e := entryOf(n)
		size += len(e.Title) + len(e.Detail) + len(e.Where) + 300
		entries = append(entries, e)
	}
	var b bytes.Buffer
	err := page.Execute(&b, map[string]any{
		"Title": titleOf(m), "Color": template.CSS(word(m.Severity, "#2563eb", "#d97706", "#dc2626")), //nolint:gosec // one of three constants
		"Failed": inPlaceOf(m), "Entries": entries, "More": more(m, len(entries)), "Counts": counts(m), "URL": consoleURL(m),
	})
	if err != nil {
		return "", fmt.Errorf("write HTML: %w", err)
	}
	return b.String(), nil
}

// shortText is what chat services get, without the title: notices in full as long as they fit, then how many more there are. What
// stems from people passes through escape.
func shortText(m controller.Message, limit int, escape func(string) string) string {
	var head, tail []string
	if text := inPlaceOf(m); text != "" {
		head = append(head, escape(text))
	}
	if text := counts(m); text != "" {
		tail = append(tail, escape(text))
	}
	if text := consoleURL(m); text != "" {
		tail = append(tail, text)
	}
	const reserve = 40 // for "and N more"
	used := len(strings.Join(head, "\n")) + len(strings.Join(tail, "\n")) + reserve
	if len(strings.Join(tail, "\n")) > limit/2 {
		tail, used = nil, len(strings.Join(head, "\n"))+reserve
	}
	listed := 0
	for _, n := range m.Notices {
		text := shortEntry(entryOf(n), escape, n.Title != m.Title || len(m.Notices)+m.More > 1)
		if used+len(text)+1 > limit {
			if listed > 0 {
				break
			}
			text = cut(text, max(0, limit-used-1)) // one at least
		}
		used += len(text) + 1
		head = append(head, text)
		listed++
	}
	if text := more(m, listed); text != "" {
		head = append(head, text)
	}
	text := strings.Join(append(head, tail...), "\n")
	if text == "" {
		text = escape(titleOf(m))
	}
	return cut(text, limit)
}

func shortEntry(e entry, escape func(string) string, titled bool) string {
	var lines []string
	if titled {
		lines = append(lines, escape("["+e.Mark+"] "+e.Title))
	}
	var where []string
	for _, text := range []string{e.Where, e.At} {
		if text != "" {
			where = append(where, escape(text))
		}
	}
	if len(where) > 0 {
		lines = append(lines, strings.Join(where, ", "))
	}
	if e.Detail != "" {
		lines = append(lines, escape(cut(strings.ReplaceAll(e.Detail, "\n", " "), 600)))
	}
	return strings.Join(lines, "\n")
}

// What follows makes names and details data: they neither call people nor link to anywhere nor change how a message looks.

// plainText is for services without markup; some call people by an @ nevertheless.
func plainText(text string) string {
	return strings.NewReplacer("@", "@"+zeroWidth, "://", ":"+zeroWidth+"//").Replace(text)
}

// markdownText is for Markdown with escapes.
func markdownText(text string) string { return markdown.Replace(text) }

var markdown = func() *strings.Replacer {
	pairs := []string{"@", "@" + zeroWidth, "://", ":" + zeroWidth + "//", "www.", "www" + zeroWidth + "."}
	for _, c := range "\\`*_{}[]<>()#|~" {
		pairs = append(pairs, string(c), "\\"+string(c))
	}
	return strings.NewReplacer(pairs...)
}()

// slackText is as Slack wants it: without angle brackets there is neither link nor mention.
func slackText(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@"+zeroWidth, "://", ":"+zeroWidth+"//", "*", "*"+zeroWidth, "`", "ˋ").Replace(text)
}

// angleText is for Google Chat, which knows no escapes.
func angleText(text string) string {
	return strings.NewReplacer("<", "‹", ">", "›", "@", "@"+zeroWidth, "://", ":"+zeroWidth+"//", "`", "ˋ", "*", "∗").Replace(text)
}

// fencedText is for what stands between fences, where nothing is markup but their end.
func fencedText(text string) string {
	return strings.NewReplacer("`", "ˋ", "~", "˜", "@", "@"+zeroWidth).Replace(text)
}

// atTime is when a message was made.
func atTime(m controller.Message, now time.Time) time.Time {
	if m.At.IsZero() {
		return now.UTC()
	}
	return m.At.UTC()
}
