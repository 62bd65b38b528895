package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

var (
	swapName = regexp.MustCompile(`^(` + engine.StagingPrefix + `|` + engine.KeptPrefix + `)[a-z0-9_]{1,40}$`)
	keptName = regexp.MustCompile(`^` + engine.KeptPrefix + `[a-z0-9_]{1,40}$`)
)

// settleTimeout bounds the clean-up of a swap that failed after its decisive step.
const settleTimeout = 30 * time.Second

func (e *Engine) checkSwap(req engine.SwapRequest) error {
	switch {
	case !swapName.MatchString(req.Staged):
		return wire.Failf(wire.CodeBadRequest, "swap in %q: only what a restore or a swap made (%s… or %s…) is", req.Staged, engine.StagingPrefix, engine.KeptPrefix)
	case !keptName.MatchString(req.Keep) || req.Keep == req.Staged:
		return wire.Failf(wire.CodeBadRequest, "keep as %q: the name must be another one, %s and up to 40 of a-z, 0-9 and _", req.Keep, engine.KeptPrefix)
	case req.Identity == "":
		return wire.Failf(wire.CodeBadRequest, "swap out %q: its identity is not given", req.Target)
	case req.Sessions != "" && req.Sessions != engine.SessionsRefuse && req.Sessions != engine.SessionsWait && req.Sessions != engine.SessionsEnd:
		return wire.Failf(wire.CodeBadRequest, "sessions %q: choose %s, %s or %s", req.Sessions, engine.SessionsRefuse, engine.SessionsWait, engine.SessionsEnd)
	}
	return e.checkTarget(req.Target)
}

// swap is a Swap under way.
//
// Both files are locked as SQLite locks them for a writer that is alone, and complete without other files beside them, when
// the kernel exchanges their names in one step. Nobody has the old one open before, and nobody after, else the names are exchanged
// back: a program that had it open would go on to use the -wal and -journal files of the new one, by their names.
type swap struct {
	e       *Engine
	req     engine.SwapRequest
	what    string
	dir     *directory
	name    string // of the target in dir
	result  engine.SwapResult
	decided bool // the new file may be at the target
}

// Swap exchanges two files of one directory. The new one gets owner, group, permissions and extended attributes of the old one.
//
// A program that uses the target is never ended: with engine.SessionsEnd the swap is refused as with engine.SessionsRefuse.
// Programs that this agent may not look at, such as those of other users if it does not run as root, are noticed by their
// locks; a note of the result tells how many there are.
func (e *Engine) Swap(ctx context.Context, req engine.SwapRequest) (*engine.SwapResult, error) {
	if err := e.checkSwap(req); err != nil {
		return nil, err
	}
	s := &swap{e: e, req: req, what: fmt.Sprintf("swap database %q", req.Target), name: filepath.Base(req.Target)}
	if f := stopped(ctx, s.what); f != nil {
		return nil, f
	}
	var err error
	if s.dir, err = openDirectory(filepath.Dir(req.Target)); err != nil {
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			err = changed(req.Target)
		}
		return nil, err
	}
	defer s.dir.close()
	if err = s.run(ctx); err == nil {
		return &s.result, nil
	}
	f := failure(ctx, err, s.what)
	if !s.decided {
		return nil, f
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	switch state, err := e.Settle(settling, req); {
	case err != nil:
		return nil, wire.Failf(wire.CodeInterrupted, "%s: it is not complete: %w", s.what, errors.Join(f, err)).Retry()
	case state == engine.SwapAfter:
		e.remember(req.Keep, s.dir.path)
		return &s.result, nil
	}
	return nil, f
}

func changed(target string) *wire.Failure {
	return wire.Failf(wire.CodeTargetChanged, "%q is not the file that was looked at: nothing was changed", target).
		WithHint("look at the target again, and plan the restore anew")
}

// run tries until it succeeds or the programs that use the target have the last word.
func (s *swap) run(ctx context.Context) error {
	patience := leaving
	if s.req.Sessions == engine.SessionsWait {
		patience = max(s.req.Wait, leaving)
	}
	for deadline := time.Now().Add(patience); ; {
		err := s.attempt(ctx, deadline)
		var used *inUse
		if !errors.As(err, &used) || s.decided {
			return err
		}
		if time.Now().After(deadline) {
			return used.failure(s.what)
		}
		if err := engine.Pause(ctx, glance); err != nil {
			return err
		}
	}
}

// pair are the two files of a swap.
type pair struct{ old, fresh *source }

func (p *pair) close() {
	for _, s := range []*source{p.old, p.fresh} {
		if s != nil {
			s.close()
		}
	}
}

// find holds both files and checks that they are the ones that are meant.
func (s *swap) find(ctx context.Context) (p *pair, err error) {
	p = &pair{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.old, err = s.dir.open(s.name); err != nil {
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			err = changed(s.req.Target)
		}
		return p, err
	}
	identity, err := p.old.identity()
	switch {
	case err != nil:
		return p, err
	case identity != s.req.Identity:
		return p, changed(s.req.Target)
	}
	if p.fresh, err = s.dir.open(s.req.Staged); err != nil {
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			if other, err := s.e.staged(ctx, s.req.Staged); err == nil {
				defer other.dir.close()
				defer other.close()
				return p, wire.Failf(wire.CodeBadRequest, "%s: what is to be swapped in is in another directory: %q", s.what, other.path())
			}
		}
		return p, err
	}
	for _, suffix := range append([]string{""}, sideSuffixes...) {
		switch _, err := s.dir.stat(s.req.Keep + suffix); {
		case err == nil:
			return p, wire.Failf(wire.CodeTargetExists, "there is a file %q already", filepath.Join(s.dir.path, s.req.Keep+suffix)).
				WithHint("keep the target under another name")
		case !errors.Is(err, unix.ENOENT):
			return p, pathFailure(filepath.Join(s.dir.path, s.req.Keep+suffix), err)
		}
	}
	return p, nil
}

// attempt swaps, or fails with an inUse error before it changed anything.
func (s *swap) attempt(ctx context.Context, deadline time.Time) error {
	done, err := s.dir.lockSwaps(ctx, s.e.cfg.LockTimeout)
	if err != nil {
		return err
	}
	defer done()
	p, err := s.find(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if err := failpoint.Err("agent.sqlite_swap_checked"); err != nil {
		return err
	}
	oldDone, err := turnUntil(ctx, p.old, deadline)
	if err != nil {
		return err
	}
	defer oldDone()
	freshDone, err := turnUntil(ctx, p.fresh, deadline)
	if err != nil {
		return err
	}
	defer freshDone()
	if err := s.alone(p.old, p.fresh); err != nil {
		return err
	}
	fresh, err := p.fresh.grasp()
	if err != nil {
		return err
	}
	defer fresh.release()
	old, err := p.old.grasp()
	if err != nil {
		return err
	}
	defer old.release()
	if err := fresh.lock(); err != nil {
		return err
	}
	if err := fresh.complete(); err != nil {
		return err
	}
	notes, err := carry(old.file, fresh.file)
	if err != nil {
		return err
	}
	if err := fresh.file.Sync(); err != nil {
		return err
	}
	if err := failpoint.Err("agent.sqlite_swap_prepared"); err != nil {
		return err
	}
	start := time.Now()
	defer func() { s.result.Unavailable += time.Since(start) }()
	if err := old.lock(); err != nil {
		return err
	}
	if err := s.alone(p.old, p.fresh); err != nil {
		return err
	}
	if err := old.complete(); err != nil {
		return err
	}
	if err := failpoint.Err("agent.sqlite_swap_locked"); err != nil {
		return err
	}
	s.e.reached("swap locked")
	switch now, err := openDirectory(s.dir.path); {
	case err != nil:
		return err
	case !now.is(s.dir):
		now.close()
		return changed(s.req.Target)
	default:
		now.close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := s.exchange(p); err != nil {
		return err
	}
	s.result.Notes = append(s.result.Notes, notes...)
	s.e.forget(s.req.Staged)
	s.e.remember(s.req.Keep, s.dir.path)
	return nil
}

// exchange is the decisive step, and what follows from it.
func (s *swap) exchange(p *pair) error {
	s.decided = true
	away, err := s.dir.exchange(s.req.Staged, s.name, s.req.Keep)
	if err != nil {
		return err
	}
	if err := failpoint.Err("agent.sqlite_swap_exchanged"); err != nil {
		return err
	}
	s.e.reached("swap exchanged")
	problem := s.alone(p.old)
	if problem == nil && (!s.dir.at(s.name, p.fresh) || !s.dir.at(away, p.old)) {
		problem = changed(s.req.Target)
	}
	if problem != nil {
		// Nobody could write to the new file: it is locked.
		if _, err := s.dir.exchange(away, s.name, s.req.Staged); err != nil {
			return errors.Join(problem, err)
		}
		s.decided = false
		return errors.Join(problem, s.dir.sync())
	}
	if away != s.req.Keep {
		if err := s.dir.rename(away, s.req.Keep); err != nil {
			return err
		}
	}
	if err := failpoint.Err("agent.sqlite_swap_kept"); err != nil {
		return err
	}
	return s.dir.sync()
}

// noExchange is set where a file system is tried that cannot exchange names.
var noExchange bool

// exchange puts one file in the place of another, at which there is always one of the two, and tells the name under which that
// one is then: its own, or where the file system can not exchange names, spare.
func (d *directory) exchange(from, to, spare string) (away string, err error) {
	err = unix.EINVAL
	if !noExchange {
		err = unix.Renameat2(d.fd, from, d.fd, to, unix.RENAME_EXCHANGE)
	}
	if err == nil {
		return from, nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
		return "", fmt.Errorf("exchange %q and %q: %w", filepath.Join(d.path, from), filepath.Join(d.path, to), err)
	}
	if err := unix.Linkat(d.fd, to, d.fd, spare, 0); err != nil {
		return "", fmt.Errorf("link %q to %q: %w", filepath.Join(d.path, to), filepath.Join(d.path, spare), err)
	}
	if err := unix.Renameat(d.fd, from, d.fd, to); err != nil {
		return "", errors.Join(fmt.Errorf("rename %q to %q: %w", filepath.Join(d.path, from), filepath.Join(d.path, to), err), d.remove(spare))
	}
	return spare, nil
}

// at tells whether the name is that of the file that is held.
func (d *directory) at(name string, file *source) bool {
	st, err := d.stat(name)
	return err == nil && idOf(&st) == file.id()
}

// alone fails with an inUse error if another program has one of the files open, or a file that SQLite keeps beside it.
func (s *swap) alone(files ...*source) error {
	ids := map[fileID]bool{}
	for _, file := range files {
		file.addIDs(ids)
	}
	h, err := findHolders(ids)
	if err != nil {
		return err
	}
	if len(h.sessions) > 0 {
		return &inUse{s.req.Target, h.sessions}
	}
	s.result.Notes = nil
	if h.unseen > 0 {
		s.result.Notes = []string{fmt.Sprintf(
			"%d of the programs on this host could not be looked at: if one of them still has the old file open, it goes on with what is kept as %q until it is restarted", h.unseen, s.req.Keep)}
	}
	return nil
}

// addIDs adds the file and what is beside it now.
func (s *source) addIDs(ids map[fileID]bool) {
	ids[s.id()] = true
	for _, suffix := range sideSuffixes {
		if st, err := s.dir.stat(s.name + suffix); err == nil && regular(&st) {
			ids[idOf(&st)] = true
		}
	}
}

// turnUntil waits for the file's turn in this process until the deadline.
func turnUntil(ctx context.Context, file *source, deadline time.Time) (func(), error) {
	if done, ok := tryTurn(file.id()); ok {
		return done, nil
	}
	waiting, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	done, err := takeTurn(waiting, file.id(), func() {})
	if err != nil && ctx.Err() == nil {
		return nil, &inUse{file.path(), []engine.Session{{Client: "this agent", State: "reads it for a backup"}}}
	}
	return done, err
}

// lockSwaps lets one process at a time swap or settle in the directory. The lock ends with the process. Where the file system
// has no such locks, there is none.
func (d *directory) lockSwaps(ctx context.Context, patience time.Duration) (func(), error) {
	f, err := d.readable()
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return func() { _ = f.Close() }, nil
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return nil, wire.Failf(wire.CodeLockTimeout, "lock the directory %q: another swap is at work there", d.path).Retry()
		}
		if err := engine.Pause(ctx, glance); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}
