package version_test

import (
	"testing"

	"devflowbackup/shared/version"
)

func TestOlder(t *testing.T) {
	ordered := []string{"0.0.0~git20260102.abc", "0.0.0~git20260103.aaa", "v0.9.9", "v1.2.3", "v1.2.3-1-g1a2b3c4", "1.2.3+4.gabc", "v1.2.10", "v1.10.0-dirty", "v2.0.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := version.Older(a, b); got != (i < j) {
				t.Errorf("%s is older than %s: %t", a, b, got)
			}
		}
	}
	for _, odd := range []string{"dev", "", "v1", "1.2", "v99999999999999999999.0.0"} {
		if version.Older(odd, "v1.0.0") || version.Older("v1.0.0", odd) {
			t.Errorf("%q has a place in the order", odd)
		}
	}
	if version.Older("1.2.3", "v1.2.3") || version.Older("v1.2.3", "1.2.3") {
		t.Error("the same version is older")
	}
}
