package reference

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// Setting is one key as a sample configuration shows it.
type Setting struct {
	Key    string // such as nats.listen; elements of lists as instances[].name
	Value  string // as it is written there
	Remark string // behind the value and in the lines below it; of a key at the left, the remark above it
	Under  string // in a list: the remark above the element
}

var (
	inForce = regexp.MustCompile(`^#([^ ]|  +\S)`)
	setting = regexp.MustCompile(`^( *)(- )?([a-z_]+):(?: +(.*))?$`)
)

// Sample reads a sample configuration: remarks begin with "#" and one space, settings are put out of force by a "#".
func Sample(text []byte) ([]Setting, error) {
	var (
		all    []Setting
		above  []string // the remark that the next key at the left belongs to
		under  string
		path   []string // of the sections around
		indent []int
		lines  = bufio.NewScanner(bytes.NewReader(text))
	)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		remark, isRemark := strings.CutPrefix(line, "# ")
		switch {
		case line == "" || line == "#":
			above = nil
			continue
		case isRemark && !strings.HasPrefix(remark, " "):
			above = append(above, remark)
			continue
		case !inForce.MatchString(line):
			return nil, fmt.Errorf("line %d is neither a remark nor a setting: %q", n, line)
		}
		line = line[1:]
		if rest := strings.TrimSpace(line); strings.HasPrefix(rest, "#") {
			rest = strings.TrimSpace(strings.TrimPrefix(rest, "#"))
			// Far to the right it goes on with the remark above it.
			if len(all) > 0 && strings.Index(line, "#") > 20 {
				all[len(all)-1].Remark += " " + rest
			} else {
				under = rest
			}
			continue
		}
		m := setting.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d is no setting: %q", n, line)
		}
		depth := len(m[1]) + len(m[2])
		for len(indent) > 0 && indent[len(indent)-1] >= depth {
			indent, path = indent[:len(indent)-1], path[:len(path)-1]
		}
		if m[2] != "" && !strings.HasSuffix(path[len(path)-1], "[]") {
			path[len(path)-1] += "[]"
		}
		value, behind, _ := strings.Cut(m[4], " # ")
		if strings.HasPrefix(value, "# ") {
			value, behind = "", strings.TrimPrefix(value, "# ")
		}
		s := Setting{Key: strings.Join(append(path[:len(path):len(path)], m[3]), "."), Value: strings.TrimSpace(value), Remark: strings.TrimSpace(behind)}
		if depth == 0 {
			s.Remark = strings.TrimSpace(strings.Join(above, " ") + " " + s.Remark)
			above, under = nil, ""
		} else {
			s.Under = under
		}
		all = append(all, s)
		if s.Value == "" {
			path, indent = append(path, m[3]), append(indent, depth)
		}
	}
	return all, lines.Err()
}
