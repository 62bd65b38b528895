package notify_test

import (
	"errors"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
)

// What people paste becomes what the library takes, and what is shown of it opens nothing.
func TestCheck_Services(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, url, want, hint string }{
		{"slack", "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "slack://hook:T00000000-B00000000-XXXXXXXXXXXXXXXXXXXXXXXX@webhook", "webhook"},
		{"slack", "slack://xoxb:123456789012-1234567890123-4mt0t4l1YL3g1T5L4cK70k3N@C001", "slack://xoxb:123456789012-1234567890123-4mt0t4l1YL3g1T5L4cK70k3N@C001", "C001"},
		{"discord", "https://discord.com/api/webhooks/123/token", "discord://token@123", "webhook 123"},
		{"discord", "https://discordapp.com/api/webhooks/123/token?thread_id=5", "discord://token@123?thread_id=5", "webhook 123"},
		{"telegram", "https://api.telegram.org/bot1:tok/sendMessage?chat_id=-100", "telegram://1:tok@telegram?chats=-100", "-100"},
		{"teams", "https://example.webhook.office.com/webhookb2/11111111-4444-4444-8444-cccccccccccc@22222222-4444-4444-8444-cccccccccccc/IncomingWebhook/33333333012222222222333333333344/44444444-4444-4444-8444-cccccccccccc/V2ESyij", "", "example.webhook.office.com"},
		{"teams", "https://prod-1.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=S", "https://prod-1.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=S", "prod-1.westeurope.logic.azure.com"},
		{"ntfy", "https://ntfy.sh/topic", "ntfy://ntfy.sh/topic", "ntfy.sh"},
		{"ntfy", "http://10.0.0.5:8080/topic", "ntfy://10.0.0.5:8080/topic?disabletls=yes", "10.0.0.5:8080"},
		{"mattermost", "https://mm.example.com/hooks/tok", "mattermost://mm.example.com/tok", "mm.example.com"},
		{"rocketchat", "https://rc.example.com:3000/hooks/id/tok", "rocketchat://rc.example.com:3000/id/tok", "rc.example.com:3000"},
		{"googlechat", "https://chat.googleapis.com/v1/spaces/S/messages?key=K&token=T", "googlechat://chat.googleapis.com/v1/spaces/S/messages?key=K&token=T", "chat.googleapis.com"},
		{"zulip", "zulip://bot@example.com:K@example.zulipchat.com?stream=s&topic=t", "zulip://bot%40example.com:K@example.zulipchat.com?stream=s&topic=t", "example.zulipchat.com"},
		{"pagerduty", "pagerduty:///0123456789abcdef0123456789abcdef", "pagerduty://events.pagerduty.com:443/0123456789abcdef0123456789abcdef", "events.pagerduty.com"},
		{"pushover", "pushover://x:token@userkey", "pushover://x:token@userkey", "api.pushover.net"},
	} {
		got, hint, err := notify.Check(c.kind, controller.ChannelTarget{URL: secret.String(c.url)})
		if err != nil || (c.want != "" && got.URL.Reveal() != c.want) || hint != c.hint {
			t.Errorf("%s: %q, hint %q, %v; want %q", c.url, got.URL.Reveal(), hint, err, c.want)
			continue
		}
		again, hint2, err := notify.Check(c.kind, got)
		if err != nil || again.URL != got.URL || hint2 != hint {
			t.Errorf("%s: what is kept is not taken: %q, %v", c.url, again.URL.Reveal(), err)
		}
	}
	for _, c := range []struct{ kind, url string }{
		{"slack", "https://hooks.slack.com.evil.test/services/T00000000/B00000000/canarycanarycanarycanary"},
		{"slack", "slack://hook:canary@webhook"},
		{"slack", "canary"},
		{"slack", "https://hooks.slack.com/services/T00000000/B00000000"},
		{"discord", "https://evil.test/api/webhooks/1/canary"},
		{"discord", "discord://canary@1/raw"},
		{"telegram", "telegram://canary@telegram"},
		{"telegram", "telegram://1:canary@telegram"},
		{"telegram", "telegram://canary-x:canary-token@telegram?chats=1"},
		{"teams", "https://evil.test/webhookb2/canary"},
		{"teams", "https://evil.test/?sig=canary"},
		{"teams", "https://logic.azure.com.evil.test/?sig=canary"},
		{"teams", "http://x.logic.azure.com/?sig=canary"},
		{"ntfy", "ntfy://ntfy.sh"},
		{"ntfy", "smtp://canary:canary@h/?from=a@b.c&to=d@e.f"},
		{"ntfy", "generic://canary.test/x"},
		{"ntfy", "ntfy:///canary"},
		{"ntfy", "ntfy://h/t\ncanary"},
		{"gotify", "https://gotify.example.com/canary"},
		{"gotify", "gotify://gotify.example.com/canary"},
		{"pushover", "pushover://canary"},
		{"matrix", "matrix://matrix.example.com/?rooms=canary"},
		{"mattermost", "mattermost://mm.example.com"},
		{"rocketchat", "http://rc.example.com/hooks/id/canary"},
		{"googlechat", "https://chat.googleapis.com/v1/spaces/S/messages?key=canary"},
		{"zulip", "zulip://bot%40e.c:canary@localhost?stream=s&topic=t"},
		{"zulip", "zulip://bot%40e.c:canary@e.zulipchat.com?stream=s"},
		{"opsgenie", "opsgenie://api.opsgenie.com/"},
		{"pagerduty", "pagerduty://events.pagerduty.com/canary"},
		{"ntfy", "ntfy://h/t?canary=1&x=%zz"},
		{"ntfy", "ntfy://" + strings.Repeat("x", 3000)},
	} {
		_, hint, err := notify.Check(c.kind, controller.ChannelTarget{URL: secret.String(c.url)})
		var shown *controller.Error
		if !errors.As(err, &shown) || shown.Code != controller.EInvalid || shown.Field != "target.url" || strings.Contains(err.Error(), "canary") || hint != "" || !strings.Contains(err.Error(), "such as ") {
			t.Errorf("%s %s: hint %q, %v", c.kind, c.url, hint, err)
		}
	}
}

// A wrong field is named, and what a kind would ignore is refused.
func TestCheck_Fields(t *testing.T) {
	t.Parallel()
	mail := func(f func(*controller.ChannelTarget)) controller.ChannelTarget {
		c := controller.ChannelTarget{Host: "smtp.example.com", From: "a@example.com", To: []string{"Ops <ops@example.com>", "ops@example.com", "b@example.com"}}
		f(&c)
		return c
	}
	type target = controller.ChannelTarget
	for name, c := range map[string]struct {
		kind, field string
		target      target
	}{
		"no kind":       {"pigeon", "kind", target{}},
		"no host":       {"email", "target.host", mail(func(t *target) { t.Host = "" })},
		"a URL as host": {"email", "target.host", mail(func(t *target) { t.Host = "smtp://smtp.example.com" })},
		"host and port": {"email", "target.host", mail(func(t *target) { t.Host = "smtp.example.com:25" })},
		"tls":           {"email", "target.tls", mail(func(t *target) { t.TLS = "ssl" })},
		"port":          {"email", "target.port", mail(func(t *target) { t.Port = 70000 })},
		"clear sign-in": {"email", "target.tls", mail(func(t *target) { t.TLS, t.Username, t.Password = "none", "me", password })},
		"no password":   {"email", "target.password", mail(func(t *target) { t.Username = "me" })},
		"no user":       {"email", "target.password", mail(func(t *target) { t.Password = password })},
		"from":          {"email", "target.from", mail(func(t *target) { t.From = "nobody" })},
		"from, header":  {"email", "target.from", mail(func(t *target) { t.From = "a@example.com\r\nBcc: b@example.com" })},
		"from, two":     {"email", "target.from", mail(func(t *target) { t.From = "a@example.com, b@example.com" })},
		"no to":         {"email", "target.to", mail(func(t *target) { t.To = nil })},
		"to":            {"email", "target.to[1]", mail(func(t *target) { t.To[1] = "ops" })},
		"to, many":      {"email", "target.to", mail(func(t *target) { t.To = strings.Fields(strings.Repeat("a@example.com ", 51)) })},
		"a URL":         {"email", "target.url", mail(func(t *target) { t.URL = canary })},
		"hook, no URL":  {"webhook", "target.url", target{Secret: key}},
		"hook, ftp":     {"webhook", "target.url", hook("ftp://example.com/" + canary)},
		"hook, user":    {"webhook", "target.url", hook("https://u:" + canary + "@example.com/")},
		"hook, no host": {"webhook", "target.url", hook("https:///" + canary)},
		"hook, no key":  {"webhook", "target.secret", target{URL: "https://example.com"}},
		"hook, short":   {"webhook", "target.secret", target{URL: "https://example.com", Secret: "canary"}},
		"hook, to":      {"webhook", "target.to", target{URL: "https://example.com", Secret: key, To: []string{"a@b.c"}}},
		"slack, secret": {"slack", "target.secret", target{URL: secret.String(targets["slack"]), Secret: key}},
	} {
		_, _, err := notify.Check(c.kind, c.target)
		var shown *controller.Error
		if !errors.As(err, &shown) || shown.Field != c.field || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v; want %s", name, err, c.field)
		}
	}
	got, hint, err := notify.Check("email", mail(func(*target) {}))
	if err != nil || got.TLS != "starttls" || got.Port != 587 || len(got.To) != 2 || hint != "ops@example.com, b@example.com by smtp.example.com" {
		t.Errorf("%+v, %q, %v", got, hint, err)
	}
	if got, _, err = notify.Check("email", mail(func(t *target) { t.TLS = "implicit" })); err != nil || got.Port != 465 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, hint, err = notify.Check("webhook", hook("https://ops.example.com:8443/canary?canary")); err != nil || hint != "ops.example.com:8443" {
		t.Errorf("%q, %v", hint, err)
	}
	for _, k := range notify.Kinds() {
		if k.Title == "" || k.Example == "" || k.Text == "" || len(k.Fields) == 0 || k.Optional == nil {
			t.Errorf("%+v", k)
		}
	}
}

// No error shows what opens a target, in whichever clothes.
func TestScrub(t *testing.T) {
	t.Parallel()
	target := controller.ChannelTarget{
		URL: "slack://hook:TCANARY001-BCANARY001-canarycanary@webhook", Secret: "canary-key", Password: "c4n",
	}
	for text, want := range map[string]string{
		`Post "https://hooks.slack.com/services/TCANARY001/BCANARY001/canarycanary": EOF`: `Post "https://hooks.slack.com/…": EOF`,
		"token TCANARY001-BCANARY001-canarycanary":                                        "token ***",
		"services/TCANARY001/BCANARY001/canarycanary is gone":                             "services/***/***/*** is gone",
		"535 c4n is not it, nor is canary-key":                                            "535 *** is not it, nor is ***",
		"two\nlines\x00 and \u202ea turn":                                                 "two lines and a turn",
		"https://user:canary@h.test:1/p?q#f and http://x":                                 "https://h.test:1/… and http://x/…",
	} {
		if got := notify.Scrub(text, target); got != want {
			t.Errorf("%q became %q; want %q", text, got, want)
		}
	}
	if got := notify.Scrub(strings.Repeat("ä", 5000), target); len(got) > 610 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes", len(got))
	}
}
