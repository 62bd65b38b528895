package tool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Reader is the standard output of a running program. Read yields io.EOF only after the program ended with status 0.
// Any other end is an error: *ExitError, ErrStalled, ErrHeldOpen, ErrClosed, or the cause of the context.
type Reader struct {
	p     *process
	out   *os.File
	stall time.Duration

	mu    sync.Mutex // one Read at a time
	ahead []byte
	err   error
}

// Output starts the program and returns its standard output. The context counts until the stream has ended or is closed.
func Output(ctx context.Context, c Command) (*Reader, error) {
	r, w, err := makePipe()
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, c, c.Stdin, w)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	p.onWake(func() {
		if p.stopCause() != nil {
			_ = r.SetReadDeadline(time.Unix(1, 0))
		} else if p.hasExited() {
			_ = r.SetReadDeadline(time.Now().Add(drainTime))
		}
	})
	return &Reader{p: p, out: r, stall: c.StallTimeout}, nil
}

// Await waits for the program's first bytes without consuming them. It returns what Read would: io.EOF for a program
// that ended with success and wrote nothing.
func (r *Reader) Await() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ahead) > 0 {
		return nil
	}
	buf := make([]byte, 32<<10)
	n, err := r.read(buf)
	r.ahead = buf[:n]
	return err
}

// Read waits for the program at most the stall timeout.
func (r *Reader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ahead) > 0 && r.p.stopCause() == nil {
		n := copy(b, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	return r.read(b)
}

func (r *Reader) read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(b) == 0 {
		return 0, nil
	}
	r.setDeadline()
	// Looked at after the deadline was set: what comes later sets its own.
	if r.p.stopCause() != nil {
		return 0, r.fail(r.p.result())
	}
	if r.p.hasExited() {
		_ = r.out.SetReadDeadline(time.Now().Add(drainTime))
	}
	n, err := r.out.Read(b)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, r.fail(r.end())
	case r.p.stopCause() != nil:
		return 0, r.fail(r.p.result())
	case errors.Is(err, os.ErrDeadlineExceeded) && r.p.hasExited():
		r.p.stop(ErrHeldOpen)
		return 0, r.fail(r.p.result())
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.p.stop(ErrStalled)
		return 0, r.fail(r.p.result())
	}
	r.p.stop(fmt.Errorf("read its output: %w", err))
	return 0, r.fail(r.p.result())
}

func (r *Reader) setDeadline() {
	var deadline time.Time
	if r.stall > 0 {
		deadline = time.Now().Add(r.stall)
	}
	_ = r.out.SetReadDeadline(deadline)
}

// end waits for the exit status of a program that has closed its output.
func (r *Reader) end() error {
	var stalled <-chan time.Time
	if r.stall > 0 {
		timer := time.NewTimer(r.stall)
		defer timer.Stop()
		stalled = timer.C
	}
	select {
	case <-r.p.done:
	case <-r.p.stopped:
	case <-stalled:
		r.p.stop(ErrStalled)
	}
	if err := r.p.result(); err != nil {
		return err
	}
	return io.EOF
}

// fail makes the outcome final.
func (r *Reader) fail(err error) error {
	r.err = err
	// Lets supervise go; the outcome is settled.
	r.p.stop(ErrClosed)
	return err
}

// Close stops the program and everything of its group, and waits. It may be called at any time, also during a Read.
func (r *Reader) Close() error {
	r.p.stop(ErrClosed)
	<-r.p.done
	_ = r.out.Close()
	return nil
}

// Log is the program's standard error so far.
func (r *Reader) Log() string { return r.p.log.String() }
