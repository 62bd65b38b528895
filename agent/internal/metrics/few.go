package metrics

import (
	"net"
	"sync"
)

// few closes at once what comes beyond as many connections as free holds: strangers shall not use up the agent's files.
type few struct {
	net.Listener
	free chan struct{}
}

func (f *few) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.free <- struct{}{}:
			return &counted{Conn: c, done: sync.OnceFunc(func() { <-f.free })}, nil
		default:
			_ = c.Close()
		}
	}
}

type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	defer c.done()
	return c.Conn.Close()
}
