package version_test

import (
	"runtime"
	"strings"
	"testing"

	"devflowbackup/shared/version"
)

func TestString(t *testing.T) {
	defer func(v string) { version.Version = v }(version.Version)
	version.Version = "v1.4.0-3-g1a2b3c4"

	got := version.String()
	if !strings.HasPrefix(got, "v1.4.0-3-g1a2b3c4 (go") {
		t.Errorf("String() = %q, want the version first and the Go release after it", got)
	}
	if !strings.HasSuffix(got, " "+runtime.GOOS+"/"+runtime.GOARCH+")") {
		t.Errorf("String() = %q, want the platform at the end", got)
	}
}
