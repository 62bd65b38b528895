package transfer

import (
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5, where the store knows nothing better; the statement has SHA-256
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// InFlight is how many parts an upload holds in memory: those that are on their way and the one that is being filled.
const InFlight = 3

// MaxSide is the largest side object in bytes.
const MaxSide = 16 << 20

// UploadConfig says what is uploaded.
type UploadConfig struct {
	Client   *Client
	Attempt  wire.Attempt
	PartSize int64
	Checksum string // wire.ChecksumSHA256 or wire.ChecksumMD5

	// Grant asks the controller for one request. It waits for as long as no controller answers; its errors end the upload.
	Grant func(ctx context.Context, req wire.PartRequest) (wire.Grant, error)
}

// Upload is an io.Writer that cuts what it gets into parts of equal size and sends them as they fill up. Write blocks
// while InFlight parts are on their way. Write and Close belong to one goroutine, Abort and Stored to any.
type Upload struct {
	cfg    UploadConfig
	ctx    context.Context
	cancel context.CancelCauseFunc

	free   chan []byte // InFlight buffers, made when first needed
	cur    []byte
	number int
	size   int64
	flight sync.WaitGroup

	stored   atomic.Int64 // acknowledged bytes
	progress atomic.Int64 // acknowledged parts

	mu      sync.Mutex
	digests [][32]byte
	done    []wire.PartDone // acknowledged, not yet told
}

// NewUpload starts an upload. ctx ends it; the caller ends it with Close or Abort.
func NewUpload(ctx context.Context, cfg UploadConfig) *Upload {
	u := &Upload{cfg: cfg, free: make(chan []byte, InFlight)}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	for range InFlight {
		u.free <- nil
	}
	return u
}

// Write takes stored bytes. After the upload has failed it returns that failure.
func (u *Upload) Write(p []byte) (int, error) {
	var n int
	for n < len(p) {
		if err := u.room(); err != nil {
			return n, err
		}
		k := min(len(p)-n, int(u.cfg.PartSize)-len(u.cur))
		u.cur = append(u.cur, p[n:n+k]...)
		n += k
		if int64(len(u.cur)) == u.cfg.PartSize {
			u.flush()
		}
	}
	return n, nil
}

func (u *Upload) room() error {
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	if u.cur != nil {
		return nil
	}
	select {
	case u.cur = <-u.free:
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
	if u.cur == nil {
		u.cur = make([]byte, 0, u.cfg.PartSize)
	}
	u.cur = u.cur[:0]
	return nil
}

func (u *Upload) flush() {
	buf := u.cur
	u.cur = nil
	u.number++
	u.size += int64(len(buf))
	number := u.number
	u.flight.Go(func() {
		if err := u.part(number, buf); err != nil {
			u.cancel(err)
			return
		}
		u.free <- buf
	})
}

// part sends one part until the store has acknowledged it.
func (u *Upload) part(number int, buf []byte) error {
	sum := sha256.Sum256(buf)
	u.mu.Lock()
	for len(u.digests) < number {
		u.digests = append(u.digests, [32]byte{})
	}
	u.digests[number-1] = sum
	u.mu.Unlock()
	etag, err := u.send(u.request(wire.ObjectArtifact, number, buf, sum), buf)
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.done = append(u.done, wire.PartDone{Number: number, ETag: etag})
	u.mu.Unlock()
	u.stored.Add(int64(len(buf)))
	u.progress.Add(1)
	failpoint.Hit("agent.part_acked")
	return nil
}

func (u *Upload) request(object string, number int, buf []byte, sum [32]byte) wire.PartRequest {
	req := wire.PartRequest{Attempt: u.cfg.Attempt, Object: object, Number: number, Size: int64(len(buf)), SHA256: sum[:]}
	if u.cfg.Checksum == wire.ChecksumMD5 {
		m := md5.Sum(buf) //nolint:gosec // as above
		req.MD5 = m[:]
	}
	return req
}

// send repeats one request until it is acknowledged. The bytes are the same each time, so that a try whose outcome is
// not known does no harm.
func (u *Upload) send(req wire.PartRequest, data []byte) (string, error) {
	what := fmt.Sprintf("upload part %d", req.Number)
	if req.Object != wire.ObjectArtifact {
		what = "upload " + req.Object
	}
	var grant wire.Grant
	var granted time.Time
	lost := 0
	b := budget{limit: u.cfg.Client.Timeout, stalled: wire.CodeUploadStalled, gone: wire.CodeUploadLost, progress: &u.progress, seen: u.progress.Load()}
	for {
		if !usable(grant, granted) {
			var err error
			if grant, err = u.grant(req); err != nil {
				return "", fmt.Errorf("%s: %w", what, err)
			}
			granted = time.Now()
		}
		start := time.Now()
		etag, err := u.cfg.Client.put(u.ctx, grant, data)
		if err == nil {
			return etag, nil
		}
		if u.ctx.Err() != nil {
			return "", context.Cause(u.ctx)
		}
		var se *statusError
		isStatus := errors.As(err, &se)
		if !isStatus || !se.busy() {
			// Refused, expired, or unknown because the connection broke: the controller decides anew.
			grant = wire.Grant{}
		}
		if isStatus && se.Status == http.StatusNotFound {
			if lost++; lost >= 3 {
				return "", wire.Failf(wire.CodeUploadLost, "%s: the store no longer knows the upload: %w", what, err).Retry()
			}
		}
		if err := b.failed(u.ctx, start, what, err); err != nil {
			return "", err
		}
	}
}

func (u *Upload) grant(req wire.PartRequest) (wire.Grant, error) {
	req.Done = u.TakeDone()
	g, err := u.cfg.Grant(u.ctx, req)
	if err != nil {
		u.mu.Lock()
		u.done = append(req.Done, u.done...)
		u.mu.Unlock()
	}
	return g, err
}

// TakeDone returns the acknowledgements that no request has told yet, and forgets them.
func (u *Upload) TakeDone() []wire.PartDone {
	u.mu.Lock()
	defer u.mu.Unlock()
	done := u.done
	u.done = nil
	return done
}

// Close sends the rest and waits for every acknowledgement. An upload of nothing is one empty part.
func (u *Upload) Close() error {
	if err := u.room(); err == nil && (len(u.cur) > 0 || u.number == 0) {
		u.flush()
	}
	u.flight.Wait()
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	return nil
}

// Abort stops everything that is on its way and waits for its end. Writes fail with err.
func (u *Upload) Abort(err error) {
	u.cancel(err)
	u.flight.Wait()
}

// Side uploads a side object in one request. It may be called after Close.
func (u *Upload) Side(object string, data []byte) error {
	if len(data) > MaxSide {
		return fmt.Errorf("upload %s: %d bytes are more than %d", object, len(data), MaxSide)
	}
	_, err := u.send(u.request(object, 0, data, sha256.Sum256(data)), data)
	return err
}

// Parts returns the SHA-256 of each part, after Close.
func (u *Upload) Parts() [][32]byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.digests
}

// Stored is the number of bytes that the store has acknowledged.
func (u *Upload) Stored() int64 { return u.stored.Load() }
