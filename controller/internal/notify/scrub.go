package notify

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

const (
	maxError  = 600
	minSecret = 6 // what is shorter stands in too many words; whole passwords are replaced at any length
)

// Everything of a URL behind its host may be what opens it.
var afterHost = regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]*://)([^\s/?#"'<>@]*@)?([^\s/?#"'<>@]*)[^\s"'<>]*`)

// scrub makes of any text one short line without what opens the target.
func scrub(text string, t controller.ChannelTarget) string {
	text = oneLine(text)
	secrets := []secret.String{t.Password, t.Secret, t.URL}
	for _, part := range parts(t.URL.Reveal()) {
		secrets = append(secrets, secret.String(part))
	}
	text = secret.Scrub(text, secrets...)
	text = afterHost.ReplaceAllString(text, "$1$3/…")
	return cut(text, maxError)
}

// parts are the pieces of a URL that may be secret, the longest first: user, password, path and query, as they stand and decoded, whole
// and parted at what services part their tokens by. A host is shown, but for services that have a key in its place.
func parts(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	var whole []string
	if u.User != nil {
		password, _ := u.User.Password()
		whole = append(whole, u.User.Username(), password, u.User.String())
		if len(password) > 0 && len(password) < minSecret {
			whole = append(whole, u.User.Username()+":"+password)
		}
	}
	whole = append(whole, u.Path, u.EscapedPath(), u.RawQuery, u.Fragment)
	for _, values := range u.Query() {
		whole = append(whole, values...)
	}
	if keyInHost[u.Scheme] {
		whole = append(whole, u.Host)
	}
	var out []string
	for _, w := range whole {
		for _, part := range append([]string{w}, strings.FieldsFunc(w, func(r rune) bool { return strings.ContainsRune("/:;,@&=-", r) })...) {
			part = strings.Trim(part, "/")
			if len(part) >= minSecret {
				out = append(out, part)
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	return slices.Compact(out)
}

// oneLine makes one line of a text, without what steers a terminal or turns the direction of writing.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(clean(text), unicode.IsSpace), " ")
}

// clean leaves of a text what is shown, and line ends.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.In(r, unicode.Bidi_Control), r == unicode.ReplacementChar, r == '\ufeff':
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// cut shortens a text to so many bytes, whole characters, with a mark where something is missing.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const mark = "…"
	at := max(0, most-len(mark))
	for at > 0 && text[at]&0xC0 == 0x80 {
		at--
	}
	return text[:at] + mark
}
