package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// Settle looks for the old file: at the target, under the kept name, or still under the staging name, from which it then gets the
// kept one.
func (e *Engine) Settle(ctx context.Context, req engine.SwapRequest) (string, error) {
	if err := e.checkSwap(req); err != nil {
		return "", err
	}
	what := fmt.Sprintf("settle the swap of %q", req.Target)
	dir, err := openDirectory(filepath.Dir(req.Target))
	if err != nil {
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			err = changed(req.Target)
		}
		return "", err
	}
	defer dir.close()
	done, err := dir.lockSwaps(ctx, settleTimeout)
	if err != nil {
		return "", failure(ctx, err, what)
	}
	defer done()
	state, err := e.settleIn(dir, req)
	if err != nil {
		return "", failure(ctx, err, what)
	}
	return state, nil
}

func (e *Engine) settleIn(dir *directory, req engine.SwapRequest) (string, error) {
	name := filepath.Base(req.Target)
	at := map[string]bool{} // names of the old file
	var there bool          // something is at the target
	for _, one := range []string{name, req.Staged, req.Keep} {
		file, err := dir.open(one)
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			continue
		}
		if err != nil {
			return "", err
		}
		identity, err := file.identity()
		file.close()
		if err != nil {
			return "", err
		}
		there = there || one == name
		at[one] = identity == req.Identity
	}
	switch {
	case at[name]:
		if at[req.Keep] { // a second name that it got, where names cannot be exchanged
			if err := errors.Join(dir.remove(req.Keep), dir.sync()); err != nil {
				return "", err
			}
		}
		return engine.SwapBefore, nil
	case !there:
		return "", missing(req.Target)
	case at[req.Keep]:
		// The new file may have kept a second name.
		fresh, err := dir.open(name)
		if err != nil {
			return "", err
		}
		defer fresh.close()
		if dir.at(req.Staged, fresh) {
			if err := dir.remove(req.Staged); err != nil {
				return "", err
			}
		}
	case at[req.Staged]:
		if err := failpoint.Err("agent.sqlite_settle_keep"); err != nil {
			return "", err
		}
		if err := dir.rename(req.Staged, req.Keep); err != nil {
			if errors.Is(err, unix.EEXIST) {
				return "", wire.Failf(wire.CodeTargetExists, "there is a file %q already, and the old content is in %q", req.Keep, req.Staged)
			}
			return "", err
		}
	default:
		return "", changed(req.Target)
	}
	if err := dir.sync(); err != nil {
		return "", err
	}
	e.remember(req.Keep, dir.path)
	return engine.SwapAfter, nil
}
