package notify

import (
	"cmp"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/googlechat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/matrix"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/mattermost"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/rocketchat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/teams"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/zulip"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/opsgenie"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ntfy"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Kinds that are named here and there; Kinds lists all.
const (
	KindEmail   = "email"
	KindWebhook = "webhook"
	KindTeams   = "teams"
)

// Kind is a way to tell people.
type Kind struct {
	Kind     string   `json:"kind"`
	Title    string   `json:"title"`
	Fields   []string `json:"fields"`   // of a target that it needs, by their JSON names
	Optional []string `json:"optional"` // and those that it may have
	Example  string   `json:"example"`  // of url, or of host
	Text     string   `json:"text"`     // how it is come by

	service *service // by the library of services
}

// service is what differs between third parties.
type service struct {
	config  func() interface{ SetURL(*url.URL) error }
	sender  func() types.Service
	own     func(*url.URL) string // its own webhook URL made a library URL; empty if it is none
	hint    func(*url.URL) string // what may be shown of it
	limit   int                   // bytes of a message's text
	escape  func(string) string   // makes text of what would be markup
	fence   bool                  // the whole text as it stands, between fences
	params  func(m controller.Message, title string) map[string]string
	hasName bool // the title has a place of its own
}

const chatLimit = 3500

var kinds = []Kind{
	{Kind: KindEmail, Title: "Email", Fields: []string{"host", "from", "to"}, Optional: []string{"port", "tls", "username", "password"}, Example: "smtp.example.com", Text: "an SMTP server, by STARTTLS, or by TLS from the start with tls: implicit"},
	{Kind: KindWebhook, Title: "Webhook", Fields: []string{"url", "secret"}, Example: "https://ops.example.com/devflow", Text: "JSON by POST, signed by HMAC-SHA-256 with the secret"},
	{Kind: "slack", Title: "Slack", Example: "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", Text: "an incoming webhook of a Slack app, or slack://xoxb:TOKEN@CHANNEL for a bot", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(slack.Config) }, sender: func() types.Service { return new(slack.Service) },
		own: func(u *url.URL) string {
			if u.Host != "hooks.slack.com" {
				return ""
			}
			return "slack://hook:" + strings.ReplaceAll(strings.Trim(strings.TrimPrefix(u.Path, "/services/"), "/"), "/", "-") + "@webhook"
		},
		hint: func(u *url.URL) string { return u.Hostname() }, limit: chatLimit, escape: slackText, hasName: true, params: titleOnly,
	}},
	{Kind: "discord", Title: "Discord", Example: "https://discord.com/api/webhooks/000000000000000000/TOKEN", Text: "a webhook of a channel: Edit channel, Integrations", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(discord.Config) }, sender: func() types.Service { return new(discord.Service) },
		own: func(u *url.URL) string {
			p := strings.Split(strings.Trim(u.Path, "/"), "/")
			if (u.Host != "discord.com" && u.Host != "discordapp.com") || len(p) != 4 || p[0] != "api" || p[1] != "webhooks" {
				return ""
			}
			out := url.URL{Scheme: "discord", User: url.User(p[3]), Host: p[2]}
			if thread := u.Query().Get("thread_id"); thread != "" {
				out.RawQuery = url.Values{"thread_id": {thread}}.Encode()
			}
			return out.String()
		},
		hint: func(u *url.URL) string { return "webhook " + u.Host }, limit: chatLimit, escape: markdownText, hasName: true,
		params: func(_ controller.Message, title string) map[string]string {
			return map[string]string{"title": cut(title, 250), "splitLines": "No"}
		},
	}},
	{Kind: "telegram", Title: "Telegram", Example: "telegram://000000000:TOKEN@telegram?chats=@channel", Text: "a bot's token of @BotFather and the chats that it writes to", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(telegram.Config) }, sender: func() types.Service { return new(telegram.Service) },
		own: func(u *url.URL) string {
			token, ok := strings.CutPrefix(strings.TrimSuffix(u.Path, "/sendMessage"), "/bot")
			id, key, two := strings.Cut(token, ":")
			if u.Host != "api.telegram.org" || !ok || !two {
				return ""
			}
			return (&url.URL{Scheme: "telegram", User: url.UserPassword(id, key), Host: "telegram", RawQuery: url.Values{"chats": {u.Query().Get("chat_id")}}.Encode()}).String()
		},
		hint:  func(u *url.URL) string { return cmp.Or(u.Query().Get("chats"), u.Query().Get("channels")) },
		limit: chatLimit, escape: plainText,
		params: func(controller.Message, string) map[string]string {
			return map[string]string{"parsemode": "None", "preview": "No"}
		},
	}},
	{Kind: KindTeams, Title: "Microsoft Teams", Example: "https://default00.00.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/ID/triggers/manual/paths/invoke?api-version=1&sig=SIGNATURE", Text: "a workflow \"Send webhook alerts to a channel\", or an older incoming webhook at webhook.office.com", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(teams.Config) }, sender: func() types.Service { return new(teams.Service) },
		own: func(u *url.URL) string {
			c, err := teams.ConfigFromWebhookURL(*u)
			if err != nil {
				return ""
			}
			return c.GetURL().String()
		},
		hint: func(u *url.URL) string { return u.Query().Get("host") }, limit: chatLimit, escape: markdownText, hasName: true, params: titleOnly,
	}},
	{Kind: "ntfy", Title: "ntfy", Example: "ntfy://ntfy.sh/topic", Text: "a topic of ntfy.sh or of an own server; with a user: ntfy://USER:PASSWORD@HOST/TOPIC", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(ntfy.Config) }, sender: func() types.Service { return new(ntfy.Service) },
		own: func(u *url.URL) string {
			out := url.URL{Scheme: "ntfy", User: u.User, Host: u.Host, Path: u.Path}
			if u.Scheme == "http" {
				out.RawQuery = "disabletls=yes"
			}
			return out.String()
		},
		hint: hostHint, limit: chatLimit, escape: plainText, hasName: true,
		params: func(m controller.Message, title string) map[string]string {
			return map[string]string{"title": title, "priority": word(m.Severity, "default", "high", "max")}
		},
	}},
	{Kind: "gotify", Title: "Gotify", Example: "gotify://gotify.example.com/TOKEN", Text: "an application's token of an own Gotify server", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(gotify.Config) }, sender: func() types.Service { return new(gotify.Service) },
		hint: hostHint, limit: chatLimit, escape: plainText, hasName: true,
		params: func(m controller.Message, title string) map[string]string {
			return map[string]string{"title": title, "priority": word(m.Severity, "3", "6", "9"), "useheader": "yes"}
		},
	}},
	{Kind: "pushover", Title: "Pushover", Example: "pushover://shoutrrr:APITOKEN@USERKEY", Text: "an application's token and the key of a user or group", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(pushover.Config) }, sender: func() types.Service { return new(pushover.Service) },
		hint: func(*url.URL) string { return "api.pushover.net" }, limit: 1000, escape: plainText, hasName: true,
		params: func(m controller.Message, title string) map[string]string {
			return map[string]string{"title": cut(title, 240), "priority": word(m.Severity, "-1", "0", "1")}
		},
	}},
	{Kind: "matrix", Title: "Matrix", Example: "matrix://:TOKEN@matrix.example.com/?rooms=!room:example.com", Text: "an access token, or a user and password, and the rooms", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(matrix.Config) }, sender: func() types.Service { return new(matrix.Service) },
		hint: hostHint, limit: chatLimit, escape: plainText,
	}},
	{Kind: "mattermost", Title: "Mattermost", Example: "https://mattermost.example.com/hooks/TOKEN", Text: "an incoming webhook", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(mattermost.Config) }, sender: func() types.Service { return new(mattermost.Service) },
		own: func(u *url.URL) string {
			token, ok := strings.CutPrefix(u.Path, "/hooks/")
			if !ok {
				return ""
			}
			out := url.URL{Scheme: "mattermost", Host: u.Host, Path: "/" + token}
			if u.Scheme == "http" {
				out.RawQuery = "disabletls=yes"
			}
			return out.String()
		},
		hint: hostHint, limit: chatLimit, escape: markdownText,
	}},
	{Kind: "rocketchat", Title: "Rocket.Chat", Example: "https://chat.example.com/hooks/ID/TOKEN", Text: "an incoming integration", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(rocketchat.Config) }, sender: func() types.Service { return new(rocketchat.Service) },
		own: func(u *url.URL) string {
			token, ok := strings.CutPrefix(u.Path, "/hooks/")
			if !ok || u.Scheme != "https" {
				return ""
			}
			return (&url.URL{Scheme: "rocketchat", Host: u.Host, Path: "/" + token}).String()
		},
		hint: hostHint, limit: chatLimit, fence: true, escape: fencedText,
	}},
	{Kind: "googlechat", Title: "Google Chat", Example: "https://chat.googleapis.com/v1/spaces/SPACE/messages?key=KEY&token=TOKEN", Text: "a webhook of a space: Apps and integrations", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(googlechat.Config) }, sender: func() types.Service { return new(googlechat.Service) },
		own: func(u *url.URL) string {
			if u.Host != "chat.googleapis.com" || u.Scheme != "https" {
				return ""
			}
			return (&url.URL{Scheme: "googlechat", Host: u.Host, Path: u.Path, RawQuery: u.RawQuery}).String()
		},
		hint: hostHint, limit: chatLimit, escape: angleText,
	}},
	{Kind: "zulip", Title: "Zulip", Example: "zulip://BOT@example.com:KEY@example.zulipchat.com?stream=backups&topic=alarms", Text: "a bot's address and key, a channel and a topic; the @ of the address may be %40", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(zulip.Config) }, sender: func() types.Service { return new(zulip.Service) },
		hint: hostHint, limit: chatLimit, fence: true, escape: fencedText,
	}},
	{Kind: "opsgenie", Title: "Opsgenie", Example: "opsgenie://api.opsgenie.com/APIKEY", Text: "the key of an API integration; api.eu.opsgenie.com in the EU", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(opsgenie.Config) }, sender: func() types.Service { return new(opsgenie.Service) },
		hint: hostHint, limit: chatLimit, escape: plainText, hasName: true,
		params: func(m controller.Message, title string) map[string]string {
			return map[string]string{"title": cut(title, 130), "alias": m.UID, "priority": word(m.Severity, "P5", "P3", "P1"), "source": "DevFlow Backup"}
		},
	}},
	{Kind: "pagerduty", Title: "PagerDuty", Example: "pagerduty://events.pagerduty.com/INTEGRATIONKEY", Text: "the key of an Events API v2 integration", service: &service{
		config: func() interface{ SetURL(*url.URL) error } { return new(pagerduty.Config) }, sender: func() types.Service { return new(pagerduty.Service) },
		hint: func(u *url.URL) string { return cmp.Or(u.Hostname(), "events.pagerduty.com") }, limit: 1000, escape: plainText,
		params: func(m controller.Message, _ string) map[string]string {
			return map[string]string{"dedup_key": m.UID, "severity": word(m.Severity, "info", "warning", "critical"), "source": "DevFlow Backup"}
		},
	}},
}

// keyInHost are the schemes of services that have a key where a host would be.
var keyInHost = map[string]bool{"pushover": true}

func init() {
	for i := range kinds {
		if kinds[i].service != nil {
			kinds[i].Fields = []string{"url"}
		}
		if kinds[i].Optional == nil {
			kinds[i].Optional = []string{}
		}
	}
}

func titleOnly(_ controller.Message, title string) map[string]string {
	return map[string]string{"title": title}
}

func hostHint(u *url.URL) string { return u.Host }

// word chooses by severity.
func word(severity, info, warning, critical string) string {
	switch severity {
	case controller.SeverityCritical:
		return critical
	case controller.SeverityInfo:
		return info
	}
	return warning
}

// Kinds lists all ways to tell people.
func Kinds() []Kind { return slices.Clone(kinds) }

func kindOf(kind string) (Kind, bool) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Kind == kind })
	if i < 0 {
		return Kind{}, false
	}
	return kinds[i], true
}

const (
	maxTo     = 50
	minKey    = 16
	maxURL    = 2048
	maxSecret = 1024
)

// Check tells whether a target can be one of a kind, without asking the network, and names the field that is wrong, never its value
// where that is secret. It returns the target as it is to be kept, and what of it may be shown. Whether its address may be called
// turns out when it is.
func Check(kind string, t controller.ChannelTarget) (normalised controller.ChannelTarget, hint string, err error) {
	k, ok := kindOf(kind)
	if !ok {
		names := make([]string, len(kinds))
		for i := range kinds {
			names[i] = kinds[i].Kind
		}
		return t, "", controller.Invalid("kind", "%q is not a kind of channel; use %s", kind, strings.Join(names, ", "))
	}
	if err := onlyFields(k, t); err != nil {
		return t, "", err
	}
	switch kind {
	case KindEmail:
		return checkEmail(t)
	case KindWebhook:
		u, err := webURL("target.url", t.URL)
		if err != nil {
			return t, "", err
		}
		if len(t.Secret) < minKey || len(t.Secret) > maxSecret {
			return t, "", controller.Invalid("target.secret", "has %d characters; give %d to %d, such as `openssl rand -hex 32` makes", len(t.Secret), minKey, maxSecret)
		}
		return t, u.Host, nil
	}
	return checkService(k, t)
}

// onlyFields refuses what a kind would ignore.
func onlyFields(k Kind, t controller.ChannelTarget) error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"url", !t.URL.Empty()},
		{"secret", !t.Secret.Empty()},
		{"host", t.Host != ""},
		{"port", t.Port != 0},
		{"tls", t.TLS != ""},
		{"username", t.Username != ""},
		{"password", !t.Password.Empty()},
		{"from", t.From != ""},
		{"to", len(t.To) > 0},
	} {
		needed := slices.Contains(k.Fields, f.name)
		if needed && !f.given {
			return controller.Invalid("target."+f.name, "is missing; a channel of kind %s needs %s", k.Kind, strings.Join(k.Fields, ", "))
		}
		if f.given && !needed && !slices.Contains(k.Optional, f.name) {
			return controller.Invalid("target."+f.name, "is not for a channel of kind %s, which has %s", k.Kind, strings.Join(append(slices.Clone(k.Fields), k.Optional...), ", "))
		}
	}
	return nil
}

func checkEmail(t controller.ChannelTarget) (controller.ChannelTarget, string, error) {
	if !controller.IsHostName(t.Host) && !isIP(t.Host) {
		return t, "", controller.Invalid("target.host", "%q is not the name of a host, such as smtp.example.com", cut(oneLine(t.Host), 100))
	}
	if t.TLS == "" {
		t.TLS = "starttls"
	}
	port := map[string]int{"starttls": 587, "implicit": 465, "none": 25}[t.TLS]
	if port == 0 {
		return t, "", controller.Invalid("target.tls", "%q is not allowed; use starttls, implicit or none", cut(oneLine(t.TLS), 20))
	}
	if t.Port == 0 {
		t.Port = port
	}
	if t.Port < 1 || t.Port > 65535 {
		return t, "", controller.Invalid("target.port", "%d is not a port; use 1 to 65535", t.Port)
	}
	if (t.Username == "") != t.Password.Empty() {
		return t, "", controller.Invalid("target.password", "belongs to a username; give both or none")
	}
	if t.TLS == "none" && t.Username != "" {
		return t, "", controller.Invalid("target.tls", "none would send the password for all to read; use starttls or implicit")
	}
	if strings.ContainsFunc(t.Username+t.Password.Reveal(), unicode.IsControl) {
		return t, "", controller.Invalid("target.username", "and password have no control characters")
	}
	from, err := address("target.from", t.From)
	if err != nil {
		return t, "", err
	}
	t.From = from.String()
	if len(t.To) > maxTo {
		return t, "", controller.Invalid("target.to", "has %d addresses; at most %d", len(t.To), maxTo)
	}
	to, shown := make([]string, 0, len(t.To)), make([]string, 0, len(t.To))
	for i, text := range t.To {
		a, err := address(fmt.Sprintf("target.to[%d]", i), text)
		if err != nil {
			return t, "", err
		}
		if !slices.Contains(shown, a.Address) {
			to, shown = append(to, a.String()), append(shown, a.Address)
		}
	}
	t.To = to
	if len(shown) > 3 {
		shown = append(shown[:3], fmt.Sprintf("%d more", len(to)-3))
	}
	return t, strings.Join(shown, ", ") + " by " + t.Host, nil
}

func address(field, text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || len(text) > 320 || strings.ContainsFunc(a.Name+a.Address, unicode.IsControl) || !strings.Contains(a.Address, "@") {
		return nil, controller.Invalid(field, "%q is not an email address, such as ops@example.com", cut(oneLine(text), 100))
	}
	return a, nil
}

// webURL is a URL of http or https that can be called.
func webURL(field string, raw secret.String) (*url.URL, error) {
	u, err := url.Parse(raw.Reveal())
	switch {
	case err != nil || len(raw) > maxURL || (u.Scheme != "https" && u.Scheme != "http") || (!controller.IsHostName(u.Hostname()) && !isIP(u.Hostname())):
		return nil, controller.Invalid(field, "is not a URL such as https://ops.example.com/devflow")
	case u.User != nil:
		return nil, controller.Invalid(field, "has a user in it, which would be shown; give one without")
	case u.Fragment != "":
		return nil, controller.Invalid(field, "has a # in it, behind which nothing is sent; give one without")
	}
	return u, nil
}

// CheckPing tells whether the URL of a dead-man switch can be called, and what of it may be shown.
func CheckPing(raw secret.String) (hint string, err error) {
	u, err := webURL("ping_url", raw)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}

func checkService(k Kind, t controller.ChannelTarget) (controller.ChannelTarget, string, error) {
	wrong := func(format string, args ...any) (controller.ChannelTarget, string, error) {
		text := "is not a URL that a channel of kind " + k.Kind + " takes"
		if format != "" {
			text += ": " + scrub(fmt.Sprintf(format, args...), t)
		}
		return t, "", controller.Invalid("target.url", "%s", text).WithHint("such as %s", k.Example)
	}
	raw := strings.TrimSpace(t.URL.Reveal())
	if len(raw) > maxURL || strings.ContainsFunc(raw, unicode.IsControl) {
		return wrong("")
	}
	if k.Kind == "zulip" { // as people copy it, with the bot's address as it is
		if rest, ok := strings.CutPrefix(raw, "zulip://"); ok && strings.Count(rest, "@") == 2 {
			raw = "zulip://" + strings.Replace(rest, "@", "%40", 1)
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return wrong("")
	}
	if k.Kind == KindTeams && isWorkflow(secret.String(raw)) {
		t.URL = secret.String(raw)
		return t, u.Host, nil
	}
	if u.Scheme == "https" || u.Scheme == "http" {
		if k.service.own == nil {
			return wrong("it begins with %s://", k.Kind)
		}
		if raw = k.service.own(u); raw == "" {
			return wrong("")
		}
		if u, err = url.Parse(raw); err != nil {
			return wrong("")
		}
	}
	if u.Scheme != k.Kind {
		return wrong("it begins with %s://", k.Kind)
	}
	if k.Kind == "pagerduty" && u.Port() == "" { // the library would call port 0
		u.Host = cmp.Or(u.Host, "events.pagerduty.com") + ":443"
		raw = u.String()
	}
	t.URL = secret.String(raw)
	copied := *u // some change what they read
	if err := k.service.config().SetURL(&copied); err != nil {
		return wrong("%v", err)
	}
	if text := missing(k.Kind, u); text != "" {
		return wrong("%s", text)
	}
	return t, cut(oneLine(k.service.hint(u)), 120), nil
}

var (
	gotifyToken = regexp.MustCompile(`/A[A-Za-z0-9._-]{14}/?$`)
	zulipHost   = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)
)

// missing tells what the library would complain of, or not even notice, when it sends.
func missing(kind string, u *url.URL) string {
	switch kind {
	case "ntfy", "gotify", "matrix", "mattermost", "rocketchat", "googlechat", "zulip", "opsgenie":
		if !controller.IsHostName(u.Hostname()) && !isIP(u.Hostname()) {
			return "the host is missing"
		}
	}
	q := u.Query()
	password, _ := u.User.Password()
	switch {
	case kind == "gotify" && !gotifyToken.MatchString(u.Path):
		return "an application's token has 15 characters, the first an A"
	case kind == "googlechat" && (q.Get("key") == "" || q.Get("token") == "" || len(u.Path) < 2):
		return "path, key or token is missing"
	case kind == "matrix" && password == "":
		return "the access token is missing: matrix://:TOKEN@host"
	case kind == "zulip" && (!zulipHost.MatchString(u.Host) || q.Get("stream") == "" || q.Get("topic") == ""):
		return "host (without a port), stream or topic is missing"
	case kind == "opsgenie" && len(u.Path) < 2:
		return "the key is missing"
	case kind == "discord" && (q.Get("json") != "" || u.Path != ""):
		return "raw JSON is not sent"
	case kind == "teams" && !teams.HostValidator.MatchString(q.Get("host")):
		return "its host is not one of webhook.office.com"
	}
	return ""
}

func isIP(host string) bool { return parseIP(host).IsValid() }
