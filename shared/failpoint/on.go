//go:build failpoints

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled tells whether this binary has failpoints.
const Enabled = true

type point struct {
	action, marker string
}

var points = sync.OnceValue(func() map[string]point {
	out := make(map[string]point)
	for spec := range strings.SplitSeq(os.Getenv("DEVFLOW_FAILPOINTS"), ",") {
		name, action, ok := strings.Cut(strings.TrimSpace(spec), "=")
		if !ok {
			continue
		}
		var p point
		p.action, p.marker, _ = strings.Cut(action, "@")
		out[name] = p
	}
	return out
})

// Hit marks a place where a test may stop the program.
func Hit(name string) { _ = fire(name) }

// Err marks a place where a test may inject an error.
func Err(name string) error { return fire(name) }

func fire(name string) error {
	p, ok := points()[name]
	if !ok || !p.claim() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "failpoint %s: %s\n", name, p.action)
	switch kind, arg, _ := strings.Cut(p.action, ":"); kind {
	case "exit":
		os.Exit(ExitStatus)
	case "panic":
		panic("failpoint " + name)
	case "hang":
		select {}
	case "sleep":
		d, err := time.ParseDuration(arg)
		if err != nil {
			panic(fmt.Sprintf("failpoint %s: %v", name, err))
		}
		<-time.After(d)
	case "term":
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			panic(fmt.Sprintf("failpoint %s: %v", name, err))
		}
	case "error":
		return errors.New("failpoint " + name)
	default:
		panic(fmt.Sprintf("failpoint %s: unknown action %q", name, p.action))
	}
	return nil
}

// claim makes the marker and tells whether this call made it. Without a marker every call fires.
func (p point) claim() bool {
	if p.marker == "" {
		return true
	}
	f, err := os.OpenFile(p.marker, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}
