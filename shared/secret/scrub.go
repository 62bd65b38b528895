package secret

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Scrub returns text with each given secret replaced by Mask, also where it stands percent-encoded or JSON-escaped,
// and with credentials in URLs and connection strings removed as ScrubURLs does. Empty secrets are ignored.
func Scrub(text string, secrets ...String) string {
	var forms []string
	for _, s := range secrets {
		if s == "" {
			continue
		}
		v := string(s)
		forms = append(forms, v, url.QueryEscape(v), url.PathEscape(v), url.UserPassword("", v).String()[1:])
		if quoted, err := json.Marshal(v); err == nil {
			forms = append(forms, string(quoted[1:len(quoted)-1]))
		}
	}
	// Longest first, so that a secret that contains another one is not left in pieces.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, form := range slices.Compact(forms) {
		text = strings.ReplaceAll(text, form, Mask)
	}
	return ScrubURLs(text)
}

var (
	// Greedy up to the last @ before a slash or space: a password with an unescaped @ goes as a whole.
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#:@]*):[^\s/?#]*@`)
	// A password with an unescaped slash, question mark or hash sign, as people paste it. A port before a path is no password.
	roughUserinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#:@]*):([^\s@"'<>]*)@`)
	port          = regexp.MustCompile(`^[0-9]+(/|$)`)
	queryKeys     = regexp.MustCompile(`(?i)([?&](?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|password|token|secret|signature)=)[^&\s"'<>#]*`)
	dsnPassword   = regexp.MustCompile(`(?i)\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&'"]+)`)
)

// ScrubURLs returns text with passwords in URL user information, signatures and tokens in URL queries, and
// password=… settings of connection strings replaced by Mask. User names and hosts stay readable.
func ScrubURLs(text string) string {
	text = userinfo.ReplaceAllString(text, "${1}${2}:"+Mask+"@")
	text = roughUserinfo.ReplaceAllStringFunc(text, func(match string) string {
		part := roughUserinfo.FindStringSubmatch(match)
		if port.MatchString(part[3]) {
			return match
		}
		return part[1] + part[2] + ":" + Mask + "@"
	})
	text = queryKeys.ReplaceAllString(text, "${1}"+Mask)
	return dsnPassword.ReplaceAllString(text, "${1}"+Mask)
}
