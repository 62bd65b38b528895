package fleet

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	inspectTime   = time.Minute // an agent may look so long
	maxSessions   = 20          // that are shown of a target
	maxProblems   = 100
	maxTargetText = 2000 // bytes of each thing that an agent says of a target
)

// Inspect has the server's agent look at a restore's target. Nothing is changed. An agent that is not connected, or does not answer
// within a minute, is wire.CodeOffline.
func (f *Fleet) Inspect(ctx context.Context, server controller.Server, o wire.InspectOrder) (*wire.Target, error) {
	b, err := f.commandWithin(ctx, inspectTime, server, wire.VerbInspect, o)
	if err != nil {
		return nil, err
	}
	var r wire.InspectReply
	if err := wire.Decode(b, &r); err != nil {
		return nil, wire.Failf(wire.CodeInternal, "the agent on %s did not answer sensibly: %w", server.Name, err)
	}
	switch {
	case r.Failure != nil && r.Failure.Code == wire.CodeUnknownVerb:
		return nil, r.Failure.WithHint("update devflow-agent on %s: it cannot look at a restore's target yet", server.Name)
	case r.Failure != nil:
		return nil, r.Failure
	case r.Target == nil:
		return nil, wire.Failf(wire.CodeInternal, "the agent on %s said nothing about the target", server.Name)
	}
	return boundTarget(*r.Target), nil
}

// boundTarget cuts what an agent says to what is shown and stored.
func boundTarget(t wire.Target) *wire.Target {
	t.SizeBytes, t.Tables, t.SessionCount = max(t.SizeBytes, 0), max(t.Tables, 0), max(t.SessionCount, len(t.Sessions))
	t.Sessions = t.Sessions[:min(len(t.Sessions), maxSessions)]
	t.Problems = t.Problems[:min(len(t.Problems), maxProblems)]
	texts := []*string{&t.ServerIdentity, &t.ServerVersion, &t.Owner}
	for i := range t.Sessions {
		s := &t.Sessions[i]
		texts = append(texts, &s.User, &s.Application, &s.Client, &s.State)
	}
	for i := range t.Problems {
		p := &t.Problems[i]
		texts = append(texts, &p.Code, &p.Text, &p.Hint)
	}
	for _, text := range texts {
		*text = clip(*text, maxTargetText)
	}
	return &t
}
