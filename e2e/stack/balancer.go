package stack

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"devflowbackup/shared/freeport"
)

// Balancer hands connections to several controllers in turn, as one before them would, byte by byte. It passes over those that take
// none.
type Balancer struct {
	listener net.Listener
	to       []string
	next     atomic.Int64
	given    []atomic.Int64

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// StartBalancer listens on a free port and hands connections to ports of loopback.
func (s *Stack) StartBalancer(ports ...int) (*Balancer, error) {
	port, err := freeport.Pick()
	if err != nil {
		return nil, fmt.Errorf("start balancer: %w", err)
	}
	b := &Balancer{given: make([]atomic.Int64, len(ports)), conns: map[net.Conn]bool{}}
	for _, p := range ports {
		b.to = append(b.to, freeport.Address(p))
	}
	if b.listener, err = net.Listen("tcp", freeport.Address(port)); err != nil {
		return nil, fmt.Errorf("start balancer: %w", err)
	}
	b.wg.Go(b.accept)
	s.onStop(func(context.Context) error { b.stop(); return nil })
	return b, nil
}

// URL is where it listens.
func (b *Balancer) URL() string { return "https://" + b.listener.Addr().String() }

// Given is how many connections the nth controller was handed.
func (b *Balancer) Given(n int) int64 { return b.given[n].Load() }

func (b *Balancer) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.wg.Go(func() { b.hand(c) })
	}
}

func (b *Balancer) hand(c net.Conn) {
	release := b.keep(c)
	defer release()
	n, to := b.reach()
	if to == nil {
		return
	}
	releaseTo := b.keep(to)
	defer releaseTo()
	b.given[n].Add(1)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			if tcp, ok := way[0].(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
		})
	}
	both.Wait()
}

// reach connects to the next controller that takes connections; nil if none does.
func (b *Balancer) reach() (n int, to net.Conn) {
	for range b.to {
		n = int(b.next.Add(1)) % len(b.to)
		if to, err := net.Dial("tcp", b.to[n]); err == nil {
			return n, to
		}
	}
	return 0, nil
}

// keep closes the connection when the balancer stops, or when the function that it returns is called.
func (b *Balancer) keep(c net.Conn) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns[c] = true
	if b.ended {
		_ = c.Close()
	}
	return func() {
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
		_ = c.Close()
	}
}

func (b *Balancer) stop() {
	_ = b.listener.Close()
	b.mu.Lock()
	b.ended = true
	for c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}
