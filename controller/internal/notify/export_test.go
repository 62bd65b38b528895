package notify

import (
	"net/http"
	"net/netip"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// RefusedClass names what an address is that is not connected to.
func RefusedClass(addr netip.Addr) string { return refusedClass(addr) }

// Scrub makes a text fit to be shown.
func Scrub(text string, t controller.ChannelTarget) string { return scrub(text, t) }

// Through has the library send a message over a round tripper, in this process.
func Through(kind string, t controller.ChannelTarget, m controller.Message, through http.RoundTripper) error {
	k, _ := kindOf(kind)
	text, params := serviceText(k, m)
	return send(k, job{Kind: kind, URL: t.URL.Reveal(), Text: text, Params: params}, &watch{next: through})
}

// Text is what a service gets.
func Text(kind string, m controller.Message) string {
	k, _ := kindOf(kind)
	text, _ := serviceText(k, m)
	return text
}

// Plain and HTML are the parts of an email.
func Plain(m controller.Message) string         { return plain(m) }
func HTML(m controller.Message) (string, error) { return html(m) }

// Card is what a workflow of Teams gets.
func Card(m controller.Message) ([]byte, error) { return card(m) }

// IsWorkflow tells whether a URL is one of Power Automate.
func IsWorkflow(raw secret.String) bool { return isWorkflow(raw) }
