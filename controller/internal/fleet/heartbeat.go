package fleet

import (
	"context"
	"sync"
	"time"

	"devflowbackup/controller"
)

// beatBatch collects heartbeats, the newest of each agent's session, until the next write.
type beatBatch struct {
	mu    sync.Mutex
	beats map[string]controller.AgentBeat
}

func newBeatBatch() *beatBatch { return &beatBatch{beats: map[string]controller.AgentBeat{}} }

func (b *beatBatch) add(beat controller.AgentBeat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.beats[beat.AgentID+" "+beat.Session] = beat
}

func (b *beatBatch) take() []controller.AgentBeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.beats) == 0 {
		return nil
	}
	out := make([]controller.AgentBeat, 0, len(b.beats))
	for _, beat := range b.beats {
		out = append(out, beat)
	}
	clear(b.beats)
	return out
}

// beatLoop writes the batch once a second in one statement. A batch that could not be written is dropped: the next
// heartbeats say the same and more.
func (f *Fleet) beatLoop(ctx context.Context) {
	f.every(ctx, time.Second, nil, "heartbeats", func(ctx context.Context) error {
		beats := f.beats.take()
		if len(beats) == 0 {
			return nil
		}
		_, err := f.opt.Store.Heartbeats(ctx, beats)
		return err
	})
}
