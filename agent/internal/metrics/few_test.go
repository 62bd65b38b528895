package metrics_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"devflowbackup/shared/freeport"
)

// Whoever opens connections and says nothing does not use up the agent's files, and does not keep others out for good.
func TestMetrics_Connections(t *testing.T) {
	t.Parallel()
	port, err := freeport.Pick()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); used().Serve(ctx, freeport.Address(port)) }()
	t.Cleanup(func() { stop(); <-done })

	// open returns a connection that is held: it has answered. One that is cut gives nothing.
	open := func() net.Conn {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", freeport.Address(port))
		if err != nil {
			return nil
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && strings.Contains(line, "200") {
			return c
		}
		_ = c.Close()
		return nil
	}
	deadline := time.Now().Add(20 * time.Second)
	var held []net.Conn
	for len(held) == 0 && time.Now().Before(deadline) {
		if c := open(); c != nil {
			held = append(held, c)
		}
	}
	for range 60 {
		if c := open(); c != nil {
			held = append(held, c)
		}
	}
	if len(held) != 32 {
		t.Fatalf("%d connections are held at once, want 32", len(held))
	}
	for _, c := range held {
		_ = c.Close()
	}
	for time.Now().Before(deadline) {
		if c := open(); c != nil {
			_ = c.Close()
			return
		}
	}
	t.Fatal("nobody gets in after they have gone")
}
