package api

import "devflowbackup/controller"

// Streams counts open streams.
type Streams = streams

// Begin is begin.
func (s *streams) Begin(actor controller.Actor) func() { return s.begin(actor) }
