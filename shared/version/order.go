package version

import (
	"cmp"
	"math"
	"regexp"
	"strconv"
)

// number is a version as git describe (v1.2.3-4-gabc) or a package (1.2.3+4.gabc, 0.0.0~git20260102.abc) has it.
var number = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:~git(\d+))?(?:[-+](\d+)[-.]g[0-9a-f]+)?(?:[^0-9].*)?$`)

// Older tells whether version a comes before b. What is no release and no commit after one, such as "dev", is neither older nor newer
// than anything.
func Older(a, b string) bool {
	x, y := parts(a), parts(b)
	if x == nil || y == nil {
		return false
	}
	for i := range x {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c < 0
		}
	}
	return false
}

func parts(s string) []int64 {
	m := number.FindStringSubmatch(s)
	if m == nil {
		return nil
	}
	out := make([]int64, 0, 5)
	for i, text := range m[1:] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil && text != "" {
			return nil
		}
		if i == 3 && text == "" {
			n = math.MaxInt64 // a release comes after what led to it
		}
		out = append(out, n)
	}
	return out
}
