package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/version"
)

// Headers of a webhook's requests.
const (
	HeaderSignature = "DevFlow-Signature"  // t=UNIXTIME,v1=HEX
	HeaderMessageID = "DevFlow-Message-Id" // the same for every try
)

const (
	maxShown = 200 // bytes of an answer that an error shows
	maxWait  = time.Hour
)

// Sign is the value of HeaderSignature: the HMAC-SHA-256 of the time, a dot and the body.
func Sign(key secret.String, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// webhook posts the message as it is: its JSON is the documented shape.
func (s *Sender) webhook(ctx context.Context, t controller.ChannelTarget, m controller.Message) error {
	if m.Notices == nil {
		m.Notices = []controller.MessageEntry{}
	}
	if m.Counts == nil {
		m.Counts = []controller.MessageCount{}
	}
	m.At = m.At.UTC()
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	req, err := post(ctx, t.URL, body)
	if err != nil {
		return err
	}
	req.Header.Set(HeaderSignature, Sign(t.Secret, s.options.Now(), body))
	req.Header.Set(HeaderMessageID, headerText(m.UID))
	return s.do(req)
}

func post(ctx context.Context, url secret.String, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url.Reveal(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// do sends a request that nobody need look at the answer of; anything but 2xx is an error that shows the beginning of it.
func (s *Sender) do(req *http.Request) error {
	req.Header.Set("User-Agent", "DevFlow-Backup/"+version.Version)
	res, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", req.URL.Host, err)
	}
	defer func() { _ = res.Body.Close() }()
	return answer(req.URL.Host, res, s.options.Now())
}

func answer(host string, res *http.Response, now time.Time) error {
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return nil // it has taken the message, whatever it says or fails to say
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return fmt.Errorf("%s: %w", host, errRedirect)
	}
	shown, _ := io.ReadAll(io.LimitReader(res.Body, maxBody))
	text := fmt.Errorf("%s answered %d %s", host, res.StatusCode, http.StatusText(res.StatusCode))
	if said := cut(oneLine(string(shown)), maxShown); said != "" {
		text = fmt.Errorf("%w: %s", text, said)
	}
	if wait := retryAfter(res.Header.Get("Retry-After"), now); wait > 0 {
		return &laterError{error: text, wait: wait}
	}
	return text
}

// retryAfter reads seconds or a date, at most an hour.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
		wait = time.Duration(min(max(seconds, 0), int64(maxWait/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxWait)
}

// headerText makes a text fit for a header.
func headerText(text string) string {
	return cut(strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, text), 200)
}

func parseIP(host string) netip.Addr {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// isWorkflow tells whether a URL starts a workflow of Microsoft's Power Automate.
func isWorkflow(raw secret.String) bool {
	u, err := url.Parse(raw.Reveal())
	return err == nil && u.Scheme == "https" && u.User == nil && u.Port() == "" && len(raw) <= maxURL && u.Query().Get("sig") != "" &&
		(strings.HasSuffix(u.Host, ".logic.azure.com") || strings.HasSuffix(u.Host, ".api.powerplatform.com"))
}

// workflow posts an adaptive card to a workflow of Teams, which the library of services does not know.
func (s *Sender) workflow(ctx context.Context, t controller.ChannelTarget, m controller.Message) error {
	body, err := card(m)
	if err != nil {
		return err
	}
	req, err := post(ctx, t.URL, body)
	if err != nil {
		return err
	}
	return s.do(req)
}

func card(m controller.Message) ([]byte, error) {
	text := shortText(m, chatLimit, markdownText)
	type block map[string]any
	body := []block{
		{"type": "TextBlock", "text": markdownText(titleOf(m)), "weight": "Bolder", "size": "Medium", "wrap": true, "color": word(m.Severity, "Default", "Warning", "Attention")},
		{"type": "TextBlock", "text": strings.ReplaceAll(text, "\n", "\n\n"), "wrap": true},
	}
	out, err := json.Marshal(block{"type": "message", "attachments": []block{{
		"contentType": "application/vnd.microsoft.card.adaptive",
		"content":     block{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body},
	}}})
	if err != nil {
		return nil, fmt.Errorf("encode card: %w", err)
	}
	return out, nil
}
