package notify_test

import (
	"encoding/json"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
)

// A storm is told in one mail that says how many there are of what.
func TestText_Storm(t *testing.T) {
	t.Parallel()
	m := storm()
	m.Failed = "channel ops (slack): hooks.slack.com answered 404"
	m.Notices[1].Event = controller.NoticeClosed
	html, err := notify.HTML(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{notify.Plain(m), html} {
		for _, want := range []string{"10,000 notices", "Backups of db18 fail", "and 9,980 more", "10,000 × backup failing", "another channel does not work: channel ops (slack)", "[over]"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing: %s", want, text)
			}
		}
		if len(text) > 64<<10 {
			t.Errorf("%d bytes", len(text))
		}
	}
	for range 2000 {
		m.Notices = append(m.Notices, controller.MessageEntry{Title: strings.Repeat("t", 10_000), Detail: strings.Repeat("<", 100_000)})
	}
	html, err = notify.HTML(m)
	if plain := notify.Plain(m); err != nil || len(plain) > 512<<10 || len(html) > 2<<20 || !strings.Contains(plain, "more") {
		t.Errorf("%d and %d bytes, %v", len(plain), len(html), err)
	}
}

// A workflow of Teams gets a card, in which names are data.
func TestText_Card(t *testing.T) {
	t.Parallel()
	m := message()
	m.Notices[0].Database = "[shop](https://evil.test)"
	b, err := notify.Card(m)
	if err != nil {
		t.Fatal(err)
	}
	var card struct {
		Type        string
		Attachments []struct {
			ContentType string
			Content     struct {
				Type string
				Body []struct{ Type, Text string }
			}
		}
	}
	if err := json.Unmarshal(b, &card); err != nil {
		t.Fatal(err)
	}
	if card.Type != "message" || len(card.Attachments) != 1 || card.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" || card.Attachments[0].Content.Type != "AdaptiveCard" ||
		len(card.Attachments[0].Content.Body) != 2 || card.Attachments[0].Content.Body[0].Text != "Backups of shop fail" || strings.Contains(string(b), "](http") {
		t.Errorf("card %s", b)
	}
}
