package artifact_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"devflowbackup/shared/artifact"
)

func TestAppKeyBytes(t *testing.T) {
	made := artifact.NewAppKey()
	raw, err := artifact.AppKeyBytes(made)
	if err != nil || len(raw) != 32 || "base64:"+base64.StdEncoding.EncodeToString(raw) != made || made == artifact.NewAppKey() {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if again, err := artifact.AppKeyBytes(" " + made + "\n"); err != nil || string(again) != string(raw) {
		t.Errorf("white space counts: %v", err)
	}
	if b, err := artifact.AppKeyBytes("a plain text of an older panel"); err != nil || string(b) != "a plain text of an older panel" {
		t.Errorf("%q, %v", b, err)
	}
	for _, bad := range []string{"", "short", "base64:" + base64.StdEncoding.EncodeToString(make([]byte, 15)), "base64:s3cr3t-not-base64!"} {
		_, err := artifact.AppKeyBytes(bad)
		if err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
