// Package unit makes a program a service of its host, on hosts where no package has done so.
//
// Invariants: under systemd the service is the packaged unit, word by word, but for the paths and the account that it is installed
// with; it never runs as root unless told to; what a package has brought is never written over; keys, state and configuration
// outlive the service.
package unit

import (
	"embed"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed *.service
var texts embed.FS

// Packaged is the unit that the package of that name installs.
func Packaged(name string) (string, error) {
	text, err := texts.ReadFile(name + ".service")
	if err != nil {
		return "", fmt.Errorf("unit of %s: %w", name, err)
	}
	return string(text), nil
}

// Place is where and as whom a service runs.
type Place struct {
	Program string // absolute
	Verb    string // the command that runs it
	Config  string // absolute
	User    string
	Group   string
	State   string   // its state directory
	Writes  []string // directories outside the state directory that it writes to
	Needs   string   // file without which it is not started, below State; may be empty
}

// Text is the packaged unit with the paths and the account of p.
func Text(name string, p Place) (string, error) {
	text, err := Packaged(name)
	if err != nil {
		return "", err
	}
	for _, path := range append([]string{p.Program, p.Config, p.State}, p.Writes...) {
		if !filepath.IsAbs(path) || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' }) || strings.Contains(path, "{{") {
			return "", fmt.Errorf("unit of %s: %q is not a path that a unit can name: give an absolute one without control characters", name, path)
		}
	}
	own := "/var/lib/" + name
	home := p.State
	lines := strings.Split(text, "\n")
	set := func(key, line string) {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+"=") })
		switch {
		case i < 0:
			err = fmt.Errorf("unit of %s: has no %s", name, key)
		case line == "":
			lines = slices.Delete(lines, i, i+1)
		default:
			lines[i] = line
		}
	}
	set("ExecStart", fmt.Sprintf("ExecStart=%s %s --config %s", command(p.Program), p.Verb, command(p.Config)))
	set("ExecReload", fmt.Sprintf("ExecReload=%s reload --pid $MAINPID --config %s", command(p.Program), command(p.Config)))
	set("User", "User="+p.User)
	set("Group", "Group="+p.Group)
	writes := slices.Clone(p.Writes)
	if p.State != own {
		set("StateDirectory", "")
		set("StateDirectoryMode", "")
		writes = append([]string{p.State}, writes...)
	}
	if p.Needs != "" {
		set("ConditionPathExists", "ConditionPathExists="+value(filepath.Join(p.State, p.Needs)))
	}
	if len(writes) > 0 {
		var quoted []string
		for _, dir := range writes {
			quoted = append(quoted, value("-"+dir)) // one that is not there yet is no error
		}
		set("ProtectSystem", "ProtectSystem=strict\nReadWritePaths="+strings.Join(quoted, " "))
	}
	if slices.ContainsFunc(append(writes, home, p.Config), inHome) {
		set("ProtectHome", "ProtectHome=no")
	}
	return strings.Join(lines, "\n"), err
}

var homes = regexp.MustCompile(`^/(home|root|run/user)(/|$)`)

func inHome(path string) bool { return homes.MatchString(filepath.Clean(path)) }

// value writes one word of a setting that takes several.
func value(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if strings.ContainsAny(s, " \"'\\;#") {
		s = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return s
}

// command writes one word of a command line.
func command(s string) string { return strings.ReplaceAll(value(s), "$", "$$") }
