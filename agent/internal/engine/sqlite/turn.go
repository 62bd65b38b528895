package sqlite

import (
	"context"
	"sync"
	"time"
)

// turns lets one user at a time open a file in this process: closing a descriptor of a file drops all locks that the
// process has on it, also those of an SQLite connection that is copying.
var turns = struct {
	sync.Mutex
	files map[fileID]*turn
}{files: map[fileID]*turn{}}

type turn struct {
	held chan struct{} // of one
	refs int
}

func refer(id fileID) *turn {
	turns.Lock()
	defer turns.Unlock()
	t := turns.files[id]
	if t == nil {
		t = &turn{held: make(chan struct{}, 1)}
		turns.files[id] = t
	}
	t.refs++
	return t
}

func (t *turn) forget(id fileID) {
	turns.Lock()
	defer turns.Unlock()
	if t.refs--; t.refs == 0 {
		delete(turns.files, id)
	}
}

func (t *turn) release(id fileID) func() {
	return func() {
		<-t.held
		t.forget(id)
	}
}

// takeTurn waits for the file's turn and calls alive now and then while it waits.
func takeTurn(ctx context.Context, id fileID, alive func()) (release func(), err error) {
	t := refer(id)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case t.held <- struct{}{}:
			return t.release(id), nil
		case <-tick.C:
			alive()
		case <-ctx.Done():
			t.forget(id)
			return nil, context.Cause(ctx)
		}
	}
}

// tryTurn takes the file's turn if nobody has it.
func tryTurn(id fileID) (release func(), ok bool) {
	t := refer(id)
	select {
	case t.held <- struct{}{}:
		return t.release(id), true
	default:
		t.forget(id)
		return nil, false
	}
}
