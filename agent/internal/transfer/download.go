package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// rangeSize is how much one granted request reads.
const rangeSize = 64 << 20

// DownloadConfig says what is read.
type DownloadConfig struct {
	Client  *Client
	Attempt wire.Attempt
	Object  string
	Size    int64 // of the stored object, as its manifest says

	// Range is how many bytes one request reads; 64 MiB if zero.
	Range int64
	// Grant asks the controller for one request. It waits for as long as no controller answers; its errors end the read.
	Grant func(ctx context.Context, req wire.ReadRequest) (wire.Grant, error)
}

// Download reads a stored object from its beginning to its end. It resumes where a connection broke. What it returns are
// the bytes that the store sent, of the size that was asked for: whether they are the right ones is for their checksum
// to say. A missing object is wire.CodeMissing; one of another size, or another one at the key, is an *artifact.DamageError.
type Download struct {
	cfg      DownloadConfig
	ctx      context.Context
	off, end int64 // next byte, and end of the open range
	body     io.ReadCloser
	idle     *idle
	stop     context.CancelFunc
	started  time.Time
	progress atomic.Int64
	budget   budget
	lost     int // times in a row that the store said that the object is gone or another
}

// NewDownload reads nothing yet. The caller closes it.
func NewDownload(ctx context.Context, cfg DownloadConfig) *Download {
	if cfg.Range == 0 {
		cfg.Range = rangeSize
	}
	d := &Download{cfg: cfg, ctx: ctx}
	d.budget = budget{limit: cfg.Client.Timeout, progress: &d.progress, stalled: wire.CodeStorageUnavailable, gone: wire.CodeMissing}
	return d
}

// Offset is how many bytes have been read.
func (d *Download) Offset() int64 { return d.progress.Load() }

func (d *Download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if d.off == d.cfg.Size {
			d.close()
			return 0, io.EOF
		}
		if d.ctx.Err() != nil {
			d.close()
			return 0, context.Cause(d.ctx)
		}
		if d.body == nil {
			if err := d.open(); err != nil {
				return 0, err
			}
			if d.body == nil {
				continue
			}
		}
		// The clock runs only while we wait for the store: a restore may pause over an index for as long as it takes.
		d.started = time.Now()
		d.idle.moved()
		n, err := d.body.Read(p[:min(int64(len(p)), d.end-d.off)])
		d.idle.timer.Stop()
		if n > 0 {
			d.off += int64(n)
			d.progress.Store(d.off)
			d.budget.refused, d.lost = 0, 0
		}
		switch {
		case d.off == d.end:
			d.close() // what follows the range, if anything does, is nobody's
		case err != nil:
			if err == io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
				err = io.ErrUnexpectedEOF
			}
			d.close()
			if n > 0 {
				return n, nil // the next read goes on from here
			}
			if err := d.failed(fmt.Errorf("the connection ended at byte %d: %w", d.off, err)); err != nil {
				return 0, err
			}
			continue
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (d *Download) what() string { return "read " + d.cfg.Object }

func (d *Download) failed(err error) error {
	return d.budget.failed(d.ctx, d.started, d.what(), err)
}

// open asks for the next range. With a nil error and no body it is to be tried again.
func (d *Download) open() error {
	length := min(d.cfg.Range, d.cfg.Size-d.off)
	grant, err := d.cfg.Grant(d.ctx, wire.ReadRequest{Attempt: d.cfg.Attempt, Object: d.cfg.Object, Offset: d.off, Length: length})
	if err != nil {
		return fmt.Errorf("%s: %w", d.what(), err)
	}
	d.started = time.Now()
	ctx, w, stop := watch(d.ctx, d.cfg.Client.Idle)
	resp, err := d.cfg.Client.do(ctx, grant, nil, 0)
	if err != nil {
		stop()
		if d.ctx.Err() != nil {
			return context.Cause(d.ctx)
		}
		return d.failed(err)
	}
	if err = check(resp, http.StatusPartialContent, http.StatusOK); err == nil {
		err = d.inRange(resp, length)
	}
	if err != nil {
		_ = resp.Body.Close()
		stop()
		if final := d.final(err); final != nil {
			return final
		}
		return d.failed(err)
	}
	w.timer.Stop()
	d.body, d.idle, d.stop, d.end = resp.Body, w, stop, d.off+length
	return nil
}

// inRange checks that the reply is the range that was asked for, of an object of the right size.
func (d *Download) inRange(resp *http.Response, length int64) error {
	if resp.StatusCode == http.StatusOK {
		switch {
		case d.off != 0 || length != d.cfg.Size:
			return &statusError{Status: resp.StatusCode, Code: "WrongRange", Message: "the whole object in place of a range"}
		case resp.ContentLength > length:
			return d.damage(resp.ContentLength)
		}
		return nil
	}
	var first, last, total int64
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); err != nil {
		return &statusError{Status: resp.StatusCode, Code: "WrongRange", Message: "no Content-Range"}
	}
	switch {
	case total != d.cfg.Size:
		return d.damage(total)
	case first != d.off:
		return &statusError{Status: resp.StatusCode, Code: "WrongRange", Message: "another range than the one asked for"}
	}
	return nil
}

func (d *Download) damage(got int64) error {
	return &artifact.DamageError{What: "stored size", Want: fmt.Sprint(d.cfg.Size), Got: fmt.Sprint(got)}
}

// final turns an answer that the store repeats into what it means: the object is gone, or is not the one it was.
func (d *Download) final(err error) error {
	var se *statusError
	var damage *artifact.DamageError
	switch {
	case errors.As(err, &damage):
	case errors.As(err, &se) && se.Status == http.StatusNotFound:
		err = wire.Failf(wire.CodeMissing, "%s: the object is not in the store: %w", d.what(), err)
	case errors.As(err, &se) && se.Code == "InvalidObjectState":
		err = wire.Failf(wire.CodeArchived, "%s: the object lies in an archive of the store: %w", d.what(), err).
			WithHint("bring it back there first (on AWS `aws s3api restore-object`), then ask again")
	case errors.As(err, &se) && se.Status == http.StatusPreconditionFailed:
		err = &artifact.DamageError{What: "object", Got: "another one lies at the key", Err: err}
	case errors.As(err, &se) && se.Status == http.StatusRequestedRangeNotSatisfiable:
		err = &artifact.DamageError{What: "stored size", Want: fmt.Sprint(d.cfg.Size), Got: fmt.Sprintf("less than %d", d.off+1), Err: err}
	default:
		return nil
	}
	if d.lost++; d.lost < 2 {
		return nil
	}
	return err
}

func (d *Download) close() {
	if d.body != nil {
		d.stop()
		_ = d.body.Close()
		d.body = nil
	}
}

// Close ends the open request, if there is one.
func (d *Download) Close() error {
	d.close()
	return nil
}
