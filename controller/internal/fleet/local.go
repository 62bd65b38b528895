package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const (
	localAhead = 8                // reads of one file on the way at once
	localTries = 3                // of one read whose answer does not come
	localWait  = 10 * time.Second // before an agent that is not connected is asked again about a finished backup
)

// local is the backup directory on one server's host, in the terms of an object store: each call is a command to its agent.
// What is not connected is CodeOffline and may be asked again. Objects have no ETag and no version: what is read of them is held
// against the manifest.
type local struct {
	fleet  *Fleet
	server controller.Server
}

var _ Objects = local{}

// do sends one order and returns its reply.
func (l local) do(ctx context.Context, o wire.LocalOrder) (wire.LocalReply, error) {
	if l.server.AgentID == "" {
		return wire.LocalReply{}, wire.Failf(wire.CodeInternal, "no server is known that holds %s", o.Key)
	}
	b, err := l.fleet.command(ctx, l.server, wire.VerbLocal, o)
	if err != nil {
		return wire.LocalReply{}, err
	}
	var r wire.LocalReply
	if err := wire.Decode(b, &r); err != nil {
		return wire.LocalReply{}, wire.Failf(wire.CodeOffline, "the agent on %s did not answer sensibly: %w", l.server.Name, err).Retry()
	}
	if r.Failure != nil {
		return wire.LocalReply{}, r.Failure
	}
	return r, nil
}

func (l local) missing(key string) *wire.Failure {
	return wire.Failf(wire.CodeMissing, "%s is not in the backup directory of %s", key, l.server.Name)
}

// stat returns the size of a file that is there, and its first n bytes.
func (l local) stat(ctx context.Context, key string, n int64) (wire.LocalReply, error) {
	r, err := l.do(ctx, wire.LocalOrder{Op: wire.LocalStat, Key: key, Length: n})
	if err == nil && !r.Exists {
		err = l.missing(key)
	}
	return r, err
}

// CreateUpload opens nothing: the agent writes a file of its own.
func (l local) CreateUpload(context.Context, string) (string, error) {
	return controller.LocalUpload, nil
}

// AbortUpload has nothing to abort: the agent removes what it began, and Delete what it left.
func (l local) AbortUpload(context.Context, string, string) error { return nil }

// AbortUploads has nothing to abort either.
func (l local) AbortUploads(context.Context, string) error { return nil }

func (l local) noURL(key string) error {
	return wire.Failf(wire.CodeBadRequest, "%s lies on the host itself: there is no URL for it", key)
}

// SignPart refuses.
func (l local) SignPart(_ context.Context, key, _ string, _ wire.PartRequest, _ time.Duration) (wire.Grant, error) {
	return wire.Grant{}, l.noURL(key)
}

// SignPut refuses.
func (l local) SignPut(_ context.Context, key string, _ wire.PartRequest, _ time.Duration) (wire.Grant, error) {
	return wire.Grant{}, l.noURL(key)
}

// SignRead refuses.
func (l local) SignRead(_ context.Context, o controller.StoredObject, _, _ int64, _ time.Duration) (wire.Grant, error) {
	return wire.Grant{}, l.noURL(o.Key)
}

// SignLink refuses.
func (l local) SignLink(_ context.Context, o controller.StoredObject, _ string, _ time.Duration) (string, error) {
	return "", l.noURL(o.Key)
}

// Settle looks whether the agent has published the artifact in the size that it stated. The file is under its final name before
// the agent reports, so one that is not there is lost.
func (l local) Settle(ctx context.Context, key, _ string, _ []controller.UploadedPart, size int64, _ string) (string, controller.StoredObject, error) {
	r, err := l.stat(ctx, key, 0)
	switch {
	case wire.HasCode(err, wire.CodeMissing):
		return SettleLost, controller.StoredObject{}, err
	case err != nil:
		return SettleRetry, controller.StoredObject{}, err
	case r.Size != size:
		return SettleRefused, controller.StoredObject{}, wire.Failf(wire.CodeChecksum, "%s has %d bytes, the statement says %d", key, r.Size, size)
	}
	return SettleDone, controller.StoredObject{Key: key, StoredSize: r.Size}, nil
}

// ReadStart returns the first bytes of the file.
func (l local) ReadStart(ctx context.Context, key, _ string, n int64) ([]byte, error) {
	r, err := l.stat(ctx, key, min(n, wire.MaxLocalData))
	if err != nil {
		return nil, err
	}
	if want := min(n, wire.MaxLocalData, r.Size); int64(len(r.Data)) != want {
		return nil, wire.Failf(wire.CodeOffline, "the agent on %s returned %d bytes of %s, not %d", l.server.Name, len(r.Data), key, want).Retry()
	}
	return r.Data, nil
}

// Get returns the whole of a small file.
func (l local) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	r, err := l.stat(ctx, key, 0)
	if err != nil {
		return nil, err
	}
	if r.Size > limit {
		return nil, wire.Failf(wire.CodeLimit, "%s is larger than %d bytes", key, limit)
	}
	body := l.read(ctx, key, 0, r.Size)
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

// Head tells the size of the file.
func (l local) Head(ctx context.Context, key string) (controller.StoredObject, error) {
	r, err := l.stat(ctx, key, 0)
	return controller.StoredObject{Key: key, StoredSize: r.Size}, err
}

// Put writes a whole small file.
func (l local) Put(ctx context.Context, key string, body []byte, _ string) (controller.StoredObject, error) {
	if len(body) > wire.MaxLocalData {
		return controller.StoredObject{}, wire.Failf(wire.CodeLimit, "%s has %d bytes, at most %d can be written on a host", key, len(body), wire.MaxLocalData)
	}
	_, err := l.do(ctx, wire.LocalOrder{Op: wire.LocalWrite, Key: key, Data: body})
	return controller.StoredObject{Key: key, StoredSize: int64(len(body))}, err
}

// Delete removes the file, and what an unfinished backup left of it.
func (l local) Delete(ctx context.Context, key string) error {
	_, err := l.do(ctx, wire.LocalOrder{Op: wire.LocalDelete, Key: key})
	return err
}

// Gone tells that the file is not there.
func (l local) Gone(ctx context.Context, key string) (bool, error) {
	r, err := l.do(ctx, wire.LocalOrder{Op: wire.LocalStat, Key: key})
	return err == nil && !r.Exists, err
}

// Read reads a file from offset to the end that the catalog knows. A file of another size is an *artifact.DamageError.
func (l local) Read(ctx context.Context, o controller.StoredObject, offset int64) (io.ReadCloser, error) {
	r, err := l.stat(ctx, o.Key, 0)
	if err != nil {
		return nil, err
	}
	if r.Size != o.StoredSize {
		return nil, &artifact.DamageError{What: "stored size", Want: strconv.FormatInt(o.StoredSize, 10), Got: strconv.FormatInt(r.Size, 10)}
	}
	return l.read(ctx, o.Key, offset, o.StoredSize), nil
}

// read reads [offset, end) of a file with several requests on the way. Close ends them and waits.
func (l local) read(ctx context.Context, key string, offset, end int64) *localReader {
	ctx, cancel := context.WithCancel(ctx)
	r := &localReader{ctx: ctx, cancel: cancel, pieces: make(chan chan piece, localAhead-1), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer close(r.pieces)
		for at := offset; at < end; at += wire.MaxLocalData {
			p := make(chan piece, 1)
			select {
			case r.pieces <- p:
			case <-ctx.Done():
				return
			}
			n := min(wire.MaxLocalData, end-at)
			r.running.Go(func() {
				b, err := l.piece(ctx, key, at, n)
				p <- piece{b, err}
			})
		}
	}()
	return r
}

// piece reads n bytes at an offset. An agent that does not answer is asked again: it may be reconnecting.
func (l local) piece(ctx context.Context, key string, at, n int64) ([]byte, error) {
	for try := 1; ; try++ {
		r, err := l.do(ctx, wire.LocalOrder{Op: wire.LocalRead, Key: key, Offset: at, Length: n})
		if err == nil && int64(len(r.Data)) != n {
			err = &artifact.DamageError{What: "stored bytes", Want: fmt.Sprintf("%d at %d", n, at), Got: strconv.Itoa(len(r.Data))}
		}
		if err == nil {
			return r.Data, nil
		}
		if !wire.HasCode(err, wire.CodeOffline) || try == localTries {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		select {
		case <-time.After(l.fleet.opt.ReadAgain << (try - 1)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

type piece struct {
	b   []byte
	err error
}

// localReader gives the pieces of a file in their order. Memory: localAhead+1 pieces of wire.MaxLocalData.
type localReader struct {
	ctx     context.Context //nolint:containedctx // of the requests on the way
	cancel  context.CancelFunc
	pieces  chan chan piece
	done    chan struct{} // no further request begins
	running sync.WaitGroup
	now     []byte
	err     error
}

// Read returns io.EOF after the last byte of the range, and only then.
func (r *localReader) Read(p []byte) (int, error) {
	for len(r.now) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.now)
	r.now = r.now[n:]
	return n, nil
}

func (r *localReader) next() {
	c, ok := <-r.pieces
	if !ok {
		if r.err = context.Cause(r.ctx); r.err == nil {
			r.err = io.EOF
		}
		return
	}
	got := <-c
	r.now, r.err = got.b, got.err
}

// Close ends the requests that are on the way and waits for them.
func (r *localReader) Close() error {
	r.cancel()
	<-r.done
	r.running.Wait()
	return nil
}
