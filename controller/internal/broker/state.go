package broker

import "github.com/nats-io/nats-server/v2/server"

// State is what the embedded server counts since it started.
type State struct {
	Connections       int
	SlowConsumers     int64
	InMsgs, OutMsgs   int64
	InBytes, OutBytes int64
}

// State tells of the embedded server; false if there is none, or it is stopped.
func (b *Broker) State() (State, bool) {
	b.mu.Lock()
	s := b.server
	b.mu.Unlock()
	if s == nil {
		return State{}, false
	}
	v, err := s.Varz(&server.VarzOptions{})
	if err != nil {
		return State{}, false
	}
	return State{
		Connections: v.Connections, SlowConsumers: v.SlowConsumers, InMsgs: v.InMsgs, OutMsgs: v.OutMsgs, InBytes: v.InBytes, OutBytes: v.OutBytes,
	}, true
}
