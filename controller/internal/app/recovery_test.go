package app_test

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/secret"
)

// opens tells whether a recovery key opens the catalog's copy of the master key.
func opens(t *testing.T, c config.Config, key secret.String) bool {
	t.Helper()
	read := func(column string) []byte {
		b, err := hex.DecodeString(exec(t, c, "SELECT encode("+column+", 'hex') FROM installation"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m, err := keys.RecoverMaster(read("escrow_master"), key)
	if errors.Is(err, keys.ErrWrongRecoveryKey) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(read("check_value")); err != nil {
		t.Fatal(err)
	}
	return true
}

// A start that was killed before it could print the recovery key is no loss: another one is made, also while the controller runs.
func TestNewRecoveryKey(t *testing.T) {
	t.Parallel()
	c := configuration(t)
	if key, err := app.NewRecoveryKey(t.Context(), c, hclog.NewNullLogger()); err == nil || !key.Empty() {
		t.Fatalf("of no installation: %v", err)
	}
	a, stop := run(t, c)
	first := a.First().RecoveryKey
	if !opens(t, c, first) {
		t.Fatal("the first key opens nothing")
	}
	second, err := app.NewRecoveryKey(t.Context(), c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if opens(t, c, first) || !opens(t, c, second) {
		t.Error("the first key still opens the copy, or the second does not")
	}
	stop()
	third, err := app.NewRecoveryKey(t.Context(), c, hclog.NewNullLogger())
	if err != nil || opens(t, c, second) || !opens(t, c, third) {
		t.Errorf("while no controller runs: %v", err)
	}
	if n := exec(t, c, "SELECT count(*) FROM audit_log WHERE action = 'installation.recovery_key' AND detail::text NOT LIKE '%AGE-SECRET%'"); n != "2" {
		t.Errorf("%s audit rows", n)
	}
	run(t, c) // nothing else has changed

	// A master key that is not the installation's, or none, replaces nothing.
	other := configuration(t)
	_, stop = run(t, other)
	stop()
	wrong := c
	wrong.MasterKeyFile = other.MasterKeyFile
	if _, err := app.NewRecoveryKey(t.Context(), wrong, hclog.NewNullLogger()); !errors.Is(err, keys.ErrWrongMaster) {
		t.Errorf("another installation's master key: %v", err)
	}
	wrong.MasterKeyFile += ".gone"
	if _, err := app.NewRecoveryKey(t.Context(), wrong, hclog.NewNullLogger()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), wrong.MasterKeyFile) {
		t.Errorf("no master key: %v", err)
	}
	if !opens(t, c, third) {
		t.Error("a refused run replaced the copy")
	}
}
