package wire_test

import (
	"strings"
	"testing"

	"devflowbackup/shared/wire"
)

func TestValidServerID(t *testing.T) {
	for id, want := range map[string]bool{
		"ab": true, "a1": true, "s4f2c": true, "a" + strings.Repeat("z", 62): true,
		"": false, "a": false, "1a": false, "A1": false, "aB": false, "a.b": false, "a*": false, "a>": false, "*": false, ">": false,
		"a b": false, "ab\n": false, "a-b": false, "a_b": false, "äb": false, "ab\x00": false, "a" + strings.Repeat("z", 63): false,
	} {
		if got := wire.ValidServerID(id); got != want {
			t.Errorf("ValidServerID(%q) = %v", id, got)
		}
	}
}

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		wire.AgentSubject("s1", wire.VerbRun):               "devflow.v1.agent.s1.run",
		wire.ControllerSubject("s1", wire.VerbHello):        "devflow.v1.controller.s1.hello",
		wire.AgentSubjects("s1"):                            "devflow.v1.agent.s1.>",
		wire.ControllerSubjects(wire.VerbReport):            "devflow.v1.controller.*.report",
		wire.ControllerSubjects(">"):                        "devflow.v1.controller.*.>",
		wire.InboxPrefix("s1"):                              "_INBOX_s1",
		wire.AllAgentSubjects:                               "devflow.v1.agent.>",
		wire.AllControllerSubjects:                          "devflow.v1.controller.>",
		wire.AgentSubject("s1", "") + "x":                   "devflow.v1.agent.s1.x",
		wire.ControllerSubject("s1", wire.VerbHeartbeat):    "devflow.v1.controller.s1.heartbeat",
		wire.ControllerSubjects(wire.VerbProgress) + "\x00": "devflow.v1.controller.*.progress\x00",
	} {
		if got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
}

func TestParseControllerSubject(t *testing.T) {
	verbs := []string{
		wire.VerbHello, wire.VerbInventory, wire.VerbPart, wire.VerbRead, wire.VerbReport, wire.VerbHeartbeat, wire.VerbProgress, wire.VerbSecurity,
	}
	for _, verb := range verbs {
		server, got, err := wire.ParseControllerSubject(wire.ControllerSubject("s4f2", verb))
		if err != nil || server != "s4f2" || got != verb {
			t.Errorf("%s: parsed %q, %q, %v", verb, server, got, err)
		}
	}
	for _, subject := range []string{
		"", "devflow", "devflow.v1.controller", "devflow.v1.controller.", "devflow.v1.controller.s1", "devflow.v1.controller.s1.",
		"devflow.v1.controller..hello", "devflow.v1.controller.S1.hello", "devflow.v1.controller.*.hello", "devflow.v1.controller.s1.part.extra",
		"devflow.v1.controller.>", "devflow.v1.agent.s1.hello", "devflow.v2.controller.s1.hello", "x.devflow.v1.controller.s1.hello",
		" devflow.v1.controller.s1.hello", "devflow.v1.controller.1s.hello", "devflow.v1.controller.s.hello",
	} {
		server, verb, err := wire.ParseControllerSubject(subject)
		if err == nil || server != "" || verb != "" {
			t.Errorf("%q: parsed as %q, %q, %v", subject, server, verb, err)
		} else if !strings.Contains(err.Error(), subject) {
			t.Errorf("%q: the error does not name it: %v", subject, err)
		}
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := wire.NewID()
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestEncode_Limit(t *testing.T) {
	fits := strings.Repeat("x", wire.MaxMessage-2) // and two quotation marks
	b, err := wire.Encode(fits)
	if err != nil || len(b) != wire.MaxMessage {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	var back string
	if err := wire.Decode(b, &back); err != nil || back != fits {
		t.Fatalf("decode the largest message: %v", err)
	}
	if b, err := wire.Encode(fits + "x"); err == nil || b != nil || !strings.Contains(err.Error(), "262145 bytes, at most 262144") {
		t.Errorf("one byte too large: %d bytes, %v", len(b), err)
	}
	large := []byte(`"` + fits + `x"`)
	if err := wire.Decode(large, &back); err == nil || !strings.Contains(err.Error(), "262145 bytes, at most 262144") {
		t.Errorf("decode one byte too large: %v", err)
	}
	if _, err := wire.Encode(make(chan int)); err == nil || !strings.Contains(err.Error(), "encode chan int") {
		t.Errorf("encode a channel: %v", err)
	}
}

func TestDecode(t *testing.T) {
	var c wire.Cancel
	if err := wire.Decode([]byte(`{"reason":"r","attempt":{"job":7,"no":1,"token":"t","later":[1]},"from_the_future":{"a":1}}`), &c); err != nil {
		t.Errorf("an unknown field is not ignored: %v", err)
	} else if (c != wire.Cancel{Attempt: wire.Attempt{Job: 7, No: 1, Token: "t"}, Reason: "r"}) {
		t.Errorf("decoded %+v", c)
	}
	for _, text := range []string{"", " ", "{", `{"reason":}`, `{"reason":1}`, `{}{}`, "\xff", `[]`, `{"attempt":{"job":"7"}}`, `{"attempt":{"job":9223372036854775808}}`} {
		if err := wire.Decode([]byte(text), &wire.Cancel{}); err == nil || !strings.Contains(err.Error(), "decode *wire.Cancel") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
