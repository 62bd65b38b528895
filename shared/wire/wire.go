// Package wire is the language that controllers and agents speak over NATS: subjects, messages, failure codes and the
// signature that makes an agent act. It imports the standard library only.
//
// Invariants: every message is JSON, carries a version, ignores fields it does not know, and is at most MaxMessage bytes.
// Everything that makes an agent act is a Signed directive; the broker that carried it is never trusted.
// Old examples stay in testdata for good and must keep decoding.
package wire

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Version is the protocol version that this build speaks and writes into each message.
const Version = 1

// MaxMessage is the largest encoded message, in bytes. Encode refuses larger ones, so that a list that should have been
// paged is found where it was made and not in the broker.
const MaxMessage = 256 << 10

const prefix = "devflow.v1."

// Verbs of commands, controller to agent.
const (
	VerbRun     = "run"     // Job: journal it, then accept it
	VerbCancel  = "cancel"  // Cancel: stop an attempt
	VerbPing    = "ping"    // Ping: answer with the session
	VerbInspect = "inspect" // InspectOrder: look at a restore's target
	VerbLocal   = "local"   // LocalOrder: look at or change one file of the host's backup directory
)

// Verbs of requests, agent to controller. VerbHeartbeat and VerbProgress are published without a reply.
const (
	VerbHello     = "hello"
	VerbInventory = "inventory"
	VerbPart      = "part"
	VerbRead      = "read"
	VerbReport    = "report"
	VerbHeartbeat = "heartbeat"
	VerbProgress  = "progress"
	VerbSecurity  = "security" // SecurityNotice: something unsigned, forged or foreign arrived
)

// QueueGroup is the group that controllers share on agent requests: one of them answers. Progress is not queued.
const QueueGroup = "controllers"

var serverID = regexp.MustCompile(`^[a-z][a-z0-9]{1,62}$`)

// ValidServerID tells whether id can be a subject token and a NATS user name.
func ValidServerID(id string) bool { return serverID.MatchString(id) }

// AgentSubject is where an agent receives the command verb.
func AgentSubject(server, verb string) string { return prefix + "agent." + server + "." + verb }

// ControllerSubject is where controllers receive the verb of one agent.
func ControllerSubject(server, verb string) string {
	return prefix + "controller." + server + "." + verb
}

// AgentSubjects matches every command to one agent.
func AgentSubjects(server string) string { return AgentSubject(server, ">") }

// ControllerSubjects matches the verb of every agent, or with verb ">" all of them.
func ControllerSubjects(verb string) string { return ControllerSubject("*", verb) }

// AllAgentSubjects and AllControllerSubjects are the two trees that the broker's accounts share.
const (
	AllAgentSubjects      = prefix + "agent.>"
	AllControllerSubjects = prefix + "controller.>"
)

// InboxPrefix is the private inbox of one agent.
func InboxPrefix(server string) string { return "_INBOX_" + server }

// ParseControllerSubject returns the server and the verb of a subject made by ControllerSubject.
func ParseControllerSubject(subject string) (server, verb string, err error) {
	rest, ok := strings.CutPrefix(subject, prefix+"controller.")
	if !ok {
		return "", "", fmt.Errorf("subject %q is not an agent's request", subject)
	}
	server, verb, ok = strings.Cut(rest, ".")
	if !ok || !ValidServerID(server) || verb == "" || strings.Contains(verb, ".") {
		return "", "", fmt.Errorf("subject %q does not name a server and a verb", subject)
	}
	return server, verb, nil
}

// NewID returns 128 random bits in hexadecimal: sessions, tokens, request ids.
func NewID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // never returns an error since Go 1.24
	}
	return hex.EncodeToString(b[:])
}

// Encode marshals a message and refuses one larger than MaxMessage.
func Encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode %T: %d bytes, at most %d fit in one message", v, len(b), MaxMessage)
	}
	return b, nil
}

// Decode unmarshals a message into v; unknown fields are ignored.
func Decode(b []byte, v any) error {
	if len(b) > MaxMessage {
		return fmt.Errorf("decode %T: %d bytes, at most %d are accepted", v, len(b), MaxMessage)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}
