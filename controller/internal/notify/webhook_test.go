package notify_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/webhookkit"
)

// A webhook gets the message as JSON, under a signature that it can check, with an id that stays.
func TestWebhook(t *testing.T) {
	t.Parallel()
	r := webhookkit.Start(t, webhookkit.Options{Secret: key, TLS: true})
	s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, CA: r.CA})
	for _, m := range []controller.Message{message(), {UID: "empty", Title: "x"}} {
		if _, err := s.Send(t.Context(), notify.KindWebhook, hook(r.URL+"/canary-path?token=canary-token"), m); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Requests()
	if len(got) != 2 {
		t.Fatalf("%d requests", len(got))
	}
	one := got[0]
	if one.Method != http.MethodPost || one.Path != "/canary-path" || one.Query != "token=canary-token" || one.Signature != nil ||
		one.Header.Get("DevFlow-Message-Id") != message().UID || one.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(one.Header.Get("User-Agent"), "DevFlow-Backup/") {
		t.Errorf("request %+v", one)
	}
	var m controller.Message
	if err := json.Unmarshal(one.Body, &m); err != nil || !reflect.DeepEqual(m, message()) {
		t.Errorf("%v: %+v", err, m)
	}
	if strings.Contains(string(got[1].Body), "null,") && !strings.Contains(string(got[1].Body), `"notices":[]`) {
		t.Errorf("lists are null: %s", got[1].Body)
	}
	// The kit's check can fail.
	header := one.Header.Get("DevFlow-Signature")
	for what, err := range map[string]error{
		"another body": webhookkit.Verify(key, header, append(one.Body, ' '), one.At),
		"another key":  webhookkit.Verify(key+"x", header, one.Body, one.At),
		"a later time": webhookkit.Verify(key, header, one.Body, one.At.Add(time.Hour)),
		"another time": webhookkit.Verify(key, strings.Replace(header, "t=", "t=1", 1), one.Body, one.At),
	} {
		if err == nil {
			t.Errorf("a signature is good for %s", what)
		}
	}
}

// Nothing but 2xx is success; redirects are not followed; an answer is neither waited for nor read without an end.
func TestWebhook_Answers(t *testing.T) {
	t.Parallel()
	later := func(value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	for name, c := range map[string]struct {
		answer func(*webhookkit.Receiver) http.HandlerFunc
		words  []string // nil: success
		wait   time.Duration
	}{
		"201":     {func(*webhookkit.Receiver) http.HandlerFunc { return webhookkit.Status(201, "made") }, nil, 0},
		"204":     {func(*webhookkit.Receiver) http.HandlerFunc { return webhookkit.Status(204, "") }, nil, 0},
		"flood":   {func(r *webhookkit.Receiver) http.HandlerFunc { return r.Flood(200) }, nil, 0},
		"trickle": {func(r *webhookkit.Receiver) http.HandlerFunc { return r.Trickle(200, 10*time.Millisecond) }, nil, 0},
		"400":     {func(*webhookkit.Receiver) http.HandlerFunc { return webhookkit.Status(400, "what is\x1b[31m this?") }, []string{"400 Bad Request", "what is [31m this?"}, 0},
		"404": {func(*webhookkit.Receiver) http.HandlerFunc {
			return webhookkit.Status(404, "no canary-path-1 here, canary-t")
		}, []string{"404", "no *** here"}, 0},
		"500":           {func(*webhookkit.Receiver) http.HandlerFunc { return webhookkit.Status(500, strings.Repeat("x", 5000)) }, []string{"500", "xxx…"}, 0},
		"429":           {func(*webhookkit.Receiver) http.HandlerFunc { return later("120") }, []string{"429"}, 2 * time.Minute},
		"429, a year":   {func(*webhookkit.Receiver) http.HandlerFunc { return later("31536000") }, []string{"429"}, time.Hour},
		"429, nonsense": {func(*webhookkit.Receiver) http.HandlerFunc { return later("-5") }, []string{"429"}, 0},
		"redirect": {func(*webhookkit.Receiver) http.HandlerFunc {
			return webhookkit.Redirect("http://169.254.169.254/latest/meta-data/")
		}, []string{"redirect"}, 0},
		"redirect, itself": {func(r *webhookkit.Receiver) http.HandlerFunc { return webhookkit.Redirect(r.URL + "/other") }, []string{"redirect"}, 0},
		"hangs":            {func(r *webhookkit.Receiver) http.HandlerFunc { return r.Hang }, []string{"no answer within"}, 0},
		"flood, error":     {func(r *webhookkit.Receiver) http.HandlerFunc { return r.Flood(500) }, []string{"500", "flood flood"}, 0},
		"trickle, error":   {func(r *webhookkit.Receiver) http.HandlerFunc { return r.Trickle(500, 10*time.Millisecond) }, []string{"500"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := webhookkit.Start(t, webhookkit.Options{})
			r.Answer(c.answer(r))
			s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}, Timeout: time.Second})
			started := time.Now()
			retry, err := s.Send(t.Context(), notify.KindWebhook, hook(r.URL+"/canary-path-1?canary-t"), message())
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			if len(r.Requests()) != 1 {
				t.Errorf("%d requests", len(r.Requests()))
			}
			if c.words == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			fails(t, err, c.words...)
			var shown *controller.Error
			if !retry || !errors.As(err, &shown) || shown.RetryAfter != c.wait {
				t.Errorf("retry %t after %v; want %s", retry, shown, c.wait)
			}
		})
	}
}

// A dead-man switch is called by GET, and only 2xx counts.
func TestPing(t *testing.T) {
	t.Parallel()
	r := webhookkit.Start(t, webhookkit.Options{})
	s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.1"}})
	url := secret.String(r.URL + "/canary-uuid-0001/start")
	if _, err := s.Ping(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if got := r.Requests(); len(got) != 1 || got[0].Method != http.MethodGet || got[0].Path != "/canary-uuid-0001/start" {
		t.Errorf("requests %+v", got)
	}
	r.Answer(webhookkit.Status(404, "no canary-uuid-0001"))
	retry, err := s.Ping(t.Context(), url)
	fails(t, err, "404 Not Found")
	if !retry {
		t.Error("it is given up")
	}
	for _, bad := range []secret.String{"", "ftp://a.test/canary", "https://u:canary@a.test/", "https://a.test/#canary", "canary"} {
		if retry, err := s.Ping(t.Context(), bad); err == nil || retry || strings.Contains(err.Error(), "canary") {
			t.Errorf("%t, %v", retry, err)
		}
	}
}
