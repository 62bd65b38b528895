package fleet

import (
	"context"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// beatSessions is how many sessions of one agent a batch holds: its own, and those of copies of its machine.
const beatSessions = 4

// beatBatch collects heartbeats, the newest of each agent's session, until the next write.
type beatBatch struct {
	mu    sync.Mutex
	beats map[string]map[string]controller.AgentBeat // by agent and session
}

func newBeatBatch() *beatBatch {
	return &beatBatch{beats: map[string]map[string]controller.AgentBeat{}}
}

// add tells whether there was room for the session.
func (b *beatBatch) add(beat controller.AgentBeat) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	sessions := b.beats[beat.AgentID]
	if sessions == nil {
		sessions = map[string]controller.AgentBeat{}
		b.beats[beat.AgentID] = sessions
	}
	if _, known := sessions[beat.Session]; !known && len(sessions) >= beatSessions {
		return false
	}
	sessions[beat.Session] = beat
	return true
}

func (b *beatBatch) take() []controller.AgentBeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]controller.AgentBeat, 0, len(b.beats))
	for _, sessions := range b.beats {
		for _, beat := range sessions {
			out = append(out, beat)
		}
	}
	clear(b.beats)
	return out
}

// beatLoop writes the batch once a second in one statement. A batch that could not be written is dropped: the next
// heartbeats say the same and more. An agent that works on an attempt that no longer stands is told to stop.
func (f *Fleet) beatLoop(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	f.every(ctx, time.Second, nil, "heartbeats", func(ctx context.Context) error {
		beats := f.beats.take()
		if len(beats) == 0 {
			return nil
		}
		stale, err := f.opt.Store.Heartbeats(ctx, beats)
		if err != nil || len(stale) == 0 {
			return err
		}
		gone := make(map[wire.Attempt]bool, len(stale))
		for _, a := range stale {
			gone[a] = true
		}
		for _, b := range beats {
			for _, p := range b.Running {
				if gone[p.Attempt] {
					f.tellCancel(ctx, &wg, controller.CancelDue{Attempt: p.Attempt, AgentID: b.AgentID, Session: b.Session, Reason: "the attempt no longer stands"})
				}
			}
		}
		return nil
	})
}
