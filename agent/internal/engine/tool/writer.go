package tool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// Writer is the standard input of a running program. Only a Close that returned nil says that the program took
// everything it wanted and ended with status 0.
type Writer struct {
	p     *process
	in    *os.File
	stall time.Duration

	mu     sync.Mutex // one Write or Close at a time
	closed bool
	ended  bool // the program ended with status 0 before its input did
	err    error
}

// Input starts the program and returns its standard input. The context counts until Close returned.
func Input(ctx context.Context, c Command) (*Writer, error) {
	r, w, err := makePipe()
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, c, r, nil)
	_ = r.Close()
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	p.onWake(func() {
		if p.stopCause() != nil {
			_ = w.SetWriteDeadline(time.Unix(1, 0))
		} else if p.hasExited() {
			_ = w.SetWriteDeadline(time.Now().Add(drainTime))
		}
	})
	return &Writer{p: p, in: w, stall: c.StallTimeout}, nil
}

// Write passes b to the program and waits for it at most the stall timeout at a time. If the program ended already, the
// error is its outcome; if that was success, the rest of its input is dropped.
func (w *Writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return 0, w.err
	case w.closed:
		return 0, ErrClosed
	}
	written := 0
	for written < len(b) && !w.ended {
		n, err := w.write(b[written:])
		written += n
		if err != nil {
			return written, err
		}
	}
	return len(b), nil
}

func (w *Writer) write(b []byte) (int, error) {
	var deadline time.Time
	if w.stall > 0 {
		deadline = time.Now().Add(w.stall)
	}
	_ = w.in.SetWriteDeadline(deadline)
	if w.p.stopCause() != nil {
		return 0, w.fail(w.p.result())
	}
	if w.p.hasExited() {
		_ = w.in.SetWriteDeadline(time.Now().Add(drainTime))
	}
	// In pieces: the stall timeout is for each.
	n, err := w.in.Write(b[:min(len(b), pipeSize/4)])
	switch {
	case err == nil:
		return n, nil
	case w.p.stopCause() != nil:
		return n, w.fail(w.p.result())
	case errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrDeadlineExceeded) && w.p.hasExited():
		return n, w.endEarly()
	case errors.Is(err, os.ErrDeadlineExceeded):
		if n > 0 {
			return n, nil
		}
		w.p.stop(ErrStalled)
	default:
		w.p.stop(fmt.Errorf("write its input: %w", err))
	}
	return n, w.fail(w.p.result())
}

// endEarly settles the outcome of a program that closed its input.
func (w *Writer) endEarly() error {
	if err := w.wait(); err != nil {
		return w.fail(err)
	}
	w.ended = true
	return nil
}

func (w *Writer) wait() error {
	select {
	case <-w.p.done:
	case <-w.p.stopped:
	}
	return w.p.result()
}

func (w *Writer) fail(err error) error {
	w.err = err
	w.p.stop(ErrClosed)
	return err
}

// Close ends the input, waits for the program, however long that takes, and returns its outcome; again when repeated.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.err != nil {
		return w.err
	}
	w.closed = true
	_ = w.in.Close()
	w.err = w.wait()
	w.p.stop(ErrClosed) // lets supervise go
	return w.err
}

// Abort stops the program and everything of its group, and waits. It may be called at any time and after Close.
func (w *Writer) Abort() {
	w.p.stop(ErrClosed)
	<-w.p.done
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.closed {
		w.err = ErrClosed
	}
	_ = w.in.Close()
}

// Log is the program's standard error so far.
func (w *Writer) Log() string { return w.p.log.String() }
