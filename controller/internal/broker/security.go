package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Kinds of a SecurityEvent.
const (
	DeniedPublish   = "publish"   // a message to a subject that is not the sender's
	DeniedSubscribe = "subscribe" // a subscription to something that is not its own
	DeniedLogin     = "login"     // credentials that are void, revoked or missing
)

// SecurityEvent is something that a client tried and the broker refused.
type SecurityEvent struct {
	Kind    string
	Server  string // the agent's server id as its credentials say, empty if unknown
	UserKey string // its public key, empty if unknown
	Subject string // what it wanted, not for logins
	Remote  string // its address, host:port, if known
	// Dropped counts the events lost before this one because they came faster than they were handled.
	Dropped uint64
}

// Sender is who the broker says has sent a request.
type Sender struct {
	UserKey string // public key of the agent's user
	Account string // public key of its account
}

// SenderOf reads what the broker adds to a request of an agent. It cannot be forged by the agent: the broker replaces
// what a client sends under that name. It is an error if the broker added nothing.
func SenderOf(msg *nats.Msg) (Sender, error) {
	text := msg.Header.Get(server.ClientInfoHdr)
	if text == "" {
		return Sender{}, errors.New("read sender: the broker says nothing about it")
	}
	var info server.ClientInfo
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return Sender{}, fmt.Errorf("read sender: %w", err)
	}
	if !nkeys.IsValidPublicUserKey(info.User) {
		return Sender{}, errors.New("read sender: no user key in it")
	}
	return Sender{UserKey: info.User, Account: info.Account}, nil
}

// watch is the server's logger, and finds in its lines what clients were refused: the server has no other way to tell.
type watch struct {
	log    hclog.Logger
	notify func(SecurityEvent)
	server *server.Server // set before the server starts

	lines   chan any // string (a log line) or SecurityEvent
	quit    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64

	mu    sync.Mutex
	fatal string
}

func newWatch(log hclog.Logger, notify func(SecurityEvent)) *watch {
	w := &watch{log: log, notify: notify, lines: make(chan any, 256), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// stop ends the watch after what was queued is handled.
func (w *watch) stop() {
	close(w.quit)
	<-w.done
}

func (w *watch) run() {
	defer close(w.done)
	for {
		select {
		case item := <-w.lines:
			w.handle(item)
		case <-w.quit:
			for {
				select {
				case item := <-w.lines:
					w.handle(item)
				default:
					return
				}
			}
		}
	}
}

func (w *watch) handle(item any) {
	event, ok := item.(SecurityEvent)
	if line, isLine := item.(string); isLine {
		event, ok = w.parse(line)
	}
	if !ok {
		return
	}
	event.Dropped = w.dropped.Swap(0)
	w.log.Warn("client refused", "kind", event.Kind, "server", event.Server, "user_key", event.UserKey, "subject", event.Subject, "remote", event.Remote)
	if w.notify != nil {
		w.notify(event)
	}
}

// What comes from a client stands quoted in these lines: it cannot look like another client's line.
var (
	violation = regexp.MustCompile(`^(\S+) - cid:(\d+) - .*"[^"]*/jwt:(U[A-Z2-7]{55})" - (Publish|Subscription) Violation - (?:Subject|Reply) ("(?:[^"\\]|\\.)*")`)
	login     = regexp.MustCompile(`^(\S+) - cid:\d+ - (?:".*" - )?authentication error(?: - JWT User "(U[A-Z2-7]{55})")?`)
)

func (w *watch) parse(line string) (SecurityEvent, bool) {
	if match := violation.FindStringSubmatch(line); match != nil {
		event := SecurityEvent{Kind: DeniedPublish, Remote: match[1], UserKey: match[3]}
		if match[4] == "Subscription" {
			event.Kind = DeniedSubscribe
		}
		event.Subject, _ = strconv.Unquote(match[5])
		event.Server = w.serverOf(match[2])
		return event, true
	}
	if match := login.FindStringSubmatch(line); match != nil {
		return SecurityEvent{Kind: DeniedLogin, Remote: match[1], UserKey: match[2]}, true
	}
	return SecurityEvent{}, false
}

// serverOf asks the server for the credentials of a connection, open or just closed.
func (w *watch) serverOf(cid string) string {
	id, err := strconv.ParseUint(cid, 10, 64)
	if err != nil || w.server == nil {
		return ""
	}
	found, err := w.server.Connz(&server.ConnzOptions{CID: id, Username: true, State: server.ConnAll})
	if err != nil {
		return ""
	}
	for _, c := range found.Conns {
		if c.Cid == id {
			return serverName(c.JWT)
		}
	}
	return ""
}

// refused takes an external server's event about a refused login.
func (w *watch) refused(msg *nats.Msg) {
	var event server.DisconnectEventMsg
	if err := json.Unmarshal(msg.Data, &event); err != nil {
		w.log.Warn("event of the NATS cluster not understood", "err", err)
		return
	}
	refused := SecurityEvent{Kind: DeniedLogin, Server: serverName(event.Client.Jwt), Remote: event.Client.Host}
	if nkeys.IsValidPublicUserKey(event.Client.User) {
		refused.UserKey = event.Client.User
	}
	w.offer(refused)
}

// offer queues without waiting: the caller holds locks of the server.
func (w *watch) offer(item any) {
	select {
	case w.lines <- item:
	default:
		w.dropped.Add(1)
	}
}

func (w *watch) fatalText() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fatal
}

// Errorf takes an error line of the server.
func (w *watch) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	if strings.Contains(line, " Violation - ") || strings.Contains(line, "authentication error") {
		w.offer(line)
		return
	}
	w.log.Warn("NATS server", "text", line)
}

// Fatalf takes the reason for which the server does not start. It does not end the process.
func (w *watch) Fatalf(format string, v ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fatal = fmt.Sprintf(format, v...)
}

// Noticef takes a line about the server's life.
func (w *watch) Noticef(format string, v ...any) {
	w.log.Debug("NATS server", "text", fmt.Sprintf(format, v...))
}

// Warnf takes a warning of the server.
func (w *watch) Warnf(format string, v ...any) {
	w.log.Warn("NATS server", "text", fmt.Sprintf(format, v...))
}

// Debugf drops debug lines.
func (w *watch) Debugf(string, ...any) {}

// Tracef drops trace lines.
func (w *watch) Tracef(string, ...any) {}
