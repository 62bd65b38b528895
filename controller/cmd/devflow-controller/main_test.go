package main

import (
	"bytes"
	"strings"
	"testing"

	"devflowbackup/controller/internal/app"
	"devflowbackup/shared/secret"
)

// The journal keeps what a service prints: the recovery key must not be in it.
func TestTellFirst_RecoveryKey(t *testing.T) {
	first := &app.FirstStart{MasterKeyFile: "/m", CAFile: "/c", AdminTokenFile: "/a", RecoveryKey: secret.String("KEY-ITSELF")}
	for _, logged := range []bool{false, true} {
		var out bytes.Buffer
		tellFirst(&out, first, logged)
		if strings.Contains(out.String(), "KEY-ITSELF") == logged {
			t.Errorf("logged %t:\n%s", logged, out.String())
		}
		if strings.Contains(out.String(), "recovery-key new") != logged || strings.Contains(out.String(), "%!") {
			t.Errorf("logged %t:\n%s", logged, out.String())
		}
	}
}
