package notify_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/webhookkit"
)

// targets are a URL of each service, as people have it.
var targets = map[string]string{
	"slack":      "https://hooks.slack.com/services/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1",
	"discord":    "https://discord.com/api/webhooks/123456789012345678/canary-token_1",
	"telegram":   "telegram://123456789:canary-token_1@telegram?chats=@ops",
	"teams":      "teams://11111111-4444-4444-8444-cccccccccccc@22222222-4444-4444-8444-cccccccccccc/33333333012222222222333333333344/44444444-4444-4444-8444-cccccccccccc/V2canaryESyij?host=example.webhook.office.com",
	"ntfy":       "ntfy://canary-user:canary-pass@ntfy.example.com/canary-topic",
	"gotify":     "gotify://gotify.example.com/Acanary-token_1",
	"pushover":   "pushover://shoutrrr:canary-token-1@canaryuserkey",
	"matrix":     "matrix://:canary-token-1@matrix.example.com/?rooms=!room:example.com",
	"mattermost": "https://mattermost.example.com/hooks/canarytoken1",
	"rocketchat": "https://chat.example.com/hooks/canaryid1/canarytoken1",
	"googlechat": "https://chat.googleapis.com/v1/spaces/SPACE/messages?key=canary-key-1&token=canary-token-1",
	"zulip":      "zulip://bot@example.com:canary-key-1@example.zulipchat.com?stream=ops&topic=alarms",
	"opsgenie":   "opsgenie://api.opsgenie.com/canary-key-1",
	"pagerduty":  "pagerduty://events.pagerduty.com/ca0a21ca0a21ca0a21ca0a21ca0a21ca",
}

func target(kind string) controller.ChannelTarget {
	return controller.ChannelTarget{URL: secret.String(targets[kind])}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Each service is called where it is, with a text that fits and in which names are data: nobody is called, nothing is linked.
// Not parallel: what is global in net/http is replaced meanwhile.
func TestServices_Requests(t *testing.T) {
	hosts := map[string]string{
		"slack": "hooks.slack.com/services/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1", "discord": "discord.com/api/webhooks/123456789012345678/canary-token_1",
		"telegram": "api.telegram.org/bot123456789:canary-token_1/sendMessage", "teams": "example.webhook.office.com/webhookb2/", "ntfy": "ntfy.example.com/canary-topic",
		"gotify": "gotify.example.com/message", "pushover": "api.pushover.net/1/messages.json", "matrix": "matrix.example.com/_matrix/client/", "mattermost": "mattermost.example.com/hooks/canarytoken1",
		"rocketchat": "chat.example.com/hooks/canaryid1/canarytoken1", "googlechat": "chat.googleapis.com/v1/spaces/SPACE/messages", "zulip": "example.zulipchat.com/api/v1/messages",
		"opsgenie": "api.opsgenie.com:443/v2/alerts", "pagerduty": "events.pagerduty.com:443/v2/enqueue",
	}
	answers := map[string]string{"slack": "ok", "telegram": `{"ok":true,"result":{}}`, "ntfy": "{}", "gotify": "{}", "matrix": `{"room_id":"!room:example.com","event_id":"$1"}`}
	hostile := storm()
	hostile.Title = "@everyone <!channel> [click](https://evil.test)"
	hostile.Notices[0].Database = "<https://evil.test|ok> @channel ``` <@U123> @**all** <users/all>"
	hostile.Notices[0].Detail = "see https://evil.test/x and @here\n```\n@all"

	usual, usualClient := http.DefaultTransport, http.DefaultClient
	defer func() { http.DefaultTransport, http.DefaultClient = usual, usualClient }()
	for _, k := range notify.Kinds() {
		if k.Kind == notify.KindEmail || k.Kind == notify.KindWebhook {
			continue
		}
		checked, hint, err := notify.Check(k.Kind, target(k.Kind))
		if err != nil || hint == "" || strings.Contains(hint, "canary") {
			t.Errorf("%s: hint %q, %v", k.Kind, hint, err)
			continue
		}
		for name, m := range map[string]controller.Message{"usual": message(), "storm": storm(), "hostile": hostile, "empty": {UID: "x"}} {
			var urls, bodies []string
			through := roundTripper(func(r *http.Request) (*http.Response, error) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				text := string(b)
				if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
					if text, err = url.QueryUnescape(text); err != nil {
						return nil, err
					}
				}
				urls, bodies = append(urls, r.URL.Scheme+"://"+r.URL.Host+r.URL.Path), append(bodies, text+r.Header.Get("Title"))
				return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answers[k.Kind])), Request: r}, nil
			})
			http.DefaultTransport = through
			http.DefaultClient = &http.Client{Transport: through}
			if err := notify.Through(k.Kind, checked, m, through); err != nil {
				t.Errorf("%s, %s: %v", k.Kind, name, err)
				continue
			}
			all := strings.Join(bodies, "\n")
			if len(urls) == 0 || !strings.HasPrefix(urls[len(urls)-1], "https://"+hosts[k.Kind]) {
				t.Errorf("%s was called at %q", k.Kind, urls)
			}
			text := notify.Text(k.Kind, m)
			if len(text) > 3500 || text == "" || len(bodies) > 3 {
				t.Errorf("%s, %s: %d bytes in %d requests", k.Kind, name, len(text), len(bodies))
			}
			switch name {
			case "usual":
				for _, want := range []string{"shop", "db-1", "exit"} {
					if !strings.Contains(all, want) {
						t.Errorf("%s does not say %q: %s", k.Kind, want, all)
					}
				}
			case "storm":
				if !strings.Contains(text, " more") {
					t.Errorf("%s does not say that there are more: %s", k.Kind, text)
				}
			case "hostile":
				bad := []string{"@everyone", "@channel", "@here", "@all", "@**all", "<@U"}
				if k.Kind == "slack" || k.Kind == "googlechat" {
					bad = append(bad, "<!channel", "<users", "<https")
				}
				for _, bad := range bad {
					if strings.Contains(all, bad) {
						t.Errorf("%s has %q: %s", k.Kind, bad, all)
					}
				}
				fenced := k.Kind == "zulip" || k.Kind == "rocketchat"
				if fenced && (strings.Count(text, "```") != 2 || !strings.HasPrefix(text, "```\n") || !strings.HasSuffix(text, "\n```")) {
					t.Errorf("%s: a fence ends early: %s", k.Kind, text)
				}
				if !fenced && strings.Contains(all, "https://evil") {
					t.Errorf("%s links to what a name says: %s", k.Kind, all)
				}
			}
		}
	}
}

// A service that answers gets the message, over a connection that the guard let through, and one that does not is told of. All of them
// have hosts that can be given; what is said of a failure has no secret.
func TestServices_Send(t *testing.T) {
	t.Parallel()
	answers := map[string]string{"ntfy": "{}", "gotify": "{}", "matrix": `{"room_id":"!room:example.com","event_id":"$1"}`}
	for kind, u := range map[string]string{
		"ntfy": "ntfy://canary-user:canary-pass@%s/canary-topic", "gotify": "gotify://%s/Acanary-token_1", "matrix": "matrix://:canary-token-1@%s/?rooms=!room:example.com",
		"mattermost": "https://%s/hooks/canarytoken1", "rocketchat": "https://%s/hooks/canaryid1/canarytoken1", "opsgenie": "opsgenie://%s/canary-key-1",
		"pagerduty": "pagerduty://%s/ca0a21ca0a21ca0a21ca0a21ca0a21ca",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := webhookkit.Start(t, webhookkit.Options{TLS: true})
			parsed, err := url.Parse(fmt.Sprintf(u, r.Host))
			if err != nil {
				t.Fatal(err)
			}
			usual := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answers[kind])) }
			r.Answer(usual)
			s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: r.CA, Timeout: 5 * time.Second})
			to := controller.ChannelTarget{URL: secret.String(fmt.Sprintf(u, r.Host))}
			if _, err := s.Send(t.Context(), kind, to, message()); err != nil {
				t.Fatal(err)
			}
			got := r.Requests()
			if len(got) == 0 || !bytes.Contains(got[len(got)-1].Body, []byte("shop")) {
				t.Errorf("requests %+v", got)
			}
			for words, answer := range map[string]http.HandlerFunc{
				"503 Service Unavailable: no": webhookkit.Status(503, "no "+parsed.Path+" and "+strings.ReplaceAll(parsed.User.String(), ":", " ")),
				"redirect":                    webhookkit.Redirect("https://169.254.169.254/latest/"),
				"429": func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(http.StatusTooManyRequests)
				},
			} {
				r.Answer(answer)
				retry, err := s.Send(t.Context(), kind, to, message())
				fails(t, err, words)
				if shown, ok := err.(*controller.Error); !retry || !ok || (words == "429" && shown.RetryAfter != 7*time.Second) { //nolint:errorlint // Send says so
					t.Errorf("%s: %t, %+v", words, retry, err)
				}
			}
		})
	}
}

// No service reaches an address that is not public: every one of them goes over the guard, and none takes that for success.
func TestServices_Guarded(t *testing.T) {
	t.Parallel()
	s, _ := sender(t, notify.Options{DNS: dns(t, "127.0.0.1")})
	for kind := range targets {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			retry, err := s.Send(t.Context(), kind, target(kind), message())
			fails(t, err, "127.0.0.1 is not connected to", "alarms.allow")
			if !retry {
				t.Error("it is given up")
			}
		})
	}
}

// The child has nothing in its arguments or environment, and is gone when time is up.
func TestServices_Child(t *testing.T) {
	t.Parallel()
	r := webhookkit.Start(t, webhookkit.Options{TLS: true})
	arrived := make(chan struct{}, 1)
	r.Answer(func(w http.ResponseWriter, req *http.Request) {
		arrived <- struct{}{}
		r.Hang(w, req)
	})
	s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: r.CA, Timeout: 2 * time.Second})
	result := make(chan error, 1)
	go func() {
		_, err := s.Send(t.Context(), "gotify", controller.ChannelTarget{URL: secret.String("gotify://" + r.Host + "/Acanary-token_1")}, message())
		result <- err
	}()
	select {
	case <-arrived:
	case err := <-result:
		t.Fatal(err)
	}
	found := 0
	for _, pid := range ownChildren(t) {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !bytes.Contains(args, []byte(notify.Command)) {
			continue // another test's, which is gone
		}
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue
		}
		found++
		if string(args) != os.Args[0]+"\x00"+notify.Command+"\x00" && !strings.HasSuffix(string(args), "\x00"+notify.Command+"\x00") {
			t.Errorf("arguments %q", args)
		}
		if bytes.Contains(args, []byte("canary")) || len(env) != 0 {
			t.Errorf("arguments %q, environment %q", args, env)
		}
	}
	if found == 0 {
		t.Error("no child was seen")
	}
	fails(t, <-result, "no answer within")
}

func ownChildren(t *testing.T) []int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, text := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(text); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// Without a program to run, or with one that says nothing sensible, a message is not sent, and that is said.
func TestServices_NoChild(t *testing.T) {
	t.Parallel()
	for exe, word := range map[string]string{"/nowhere/devflow-controller": "no such file", "/bin/true": "cannot be read", "/bin/false": "exit status 1"} {
		s, _ := sender(t, notify.Options{Exe: exe})
		_, err := s.Send(t.Context(), "slack", target("slack"), message())
		fails(t, err, word)
	}
	var out bytes.Buffer
	if err := notify.Child(t.Context(), strings.NewReader("canary"), &out); err == nil || out.Len() > 0 || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v, %s", err, &out)
	}
}
