// Package freeport picks TCP ports on loopback for servers that run beside each other for a while: those of tests, of the
// quickstart and of a private database server.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports come from below the range that the kernel takes for outgoing connections: such a one would otherwise sit on the port of
// a part that is just being restarted.
const (
	firstPort = 20000
	lastPort  = 31999
)

var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// Pick returns a port on loopback that nobody listens on and that no earlier call returned. The preferred ones are tried
// first.
func Pick(preferred ...int) (int, error) {
	given.Lock()
	defer given.Unlock()
	for try := range 200 {
		//nolint:gosec // spread, not secrecy
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if try < len(preferred) {
			port = preferred[try]
		}
		if given.ports[port] || !isFree(port) {
			continue
		}
		given.ports[port] = true
		return port, nil
	}
	return 0, errors.New("find a free port: none found")
}

// Check returns an error that names the port if somebody listens on it.
func Check(port int) error {
	if !isFree(port) {
		return fmt.Errorf("port %d on 127.0.0.1 is taken by another program", port)
	}
	return nil
}

func isFree(port int) bool {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", Address(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Address is a port on loopback as host:port.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
