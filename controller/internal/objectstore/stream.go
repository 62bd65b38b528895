package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const opStream = "read object"

// Recorded is an object as it was when it was completed.
type Recorded struct {
	Key       string
	VersionID string // empty without versions
	ETag      string // empty: not compared
	Size      int64
}

// Stream reads an object of any size in order. A connection that breaks, or over which nothing comes for Config.Timeout, is made anew
// from where it ended, up to Config.MaxAttempts times without a byte between. io.EOF comes after exactly the recorded size. That
// they are the right bytes is the caller's to prove; an object of another size is ErrChecksum, one with another ETag ErrPrecondition.
// Other errors as Get. It holds one connection and no buffer.
type Stream struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // of every request of the stream
	o      Recorded
	at     int64
	body   io.ReadCloser
	cancel context.CancelCauseFunc // of the open request
	broken int                     // connections in a row that gave nothing
	err    error
}

// Stream starts at offset. Nothing is asked before the first Read. The caller closes it.
func (s *Store) Stream(ctx context.Context, o Recorded, offset int64) *Stream {
	return &Stream{s: s, ctx: ctx, o: o, at: offset}
}

// Read returns an error once and for good.
func (r *Stream) Read(p []byte) (int, error) {
	for r.err == nil && len(p) > 0 {
		if r.at >= r.o.Size {
			r.err = io.EOF
			break
		}
		if r.ctx.Err() != nil {
			// What has come already would still be handed out: to somebody who is told that it is over.
			r.err = r.s.fail(r.ctx, opStream, r.o.Key, r.ctx.Err())
			break
		}
		n, err := r.read(p[:min(int64(len(p)), r.o.Size-r.at)])
		r.at += int64(n)
		if n > 0 {
			r.broken = 0
			return n, nil // an error comes again, or the connection is made anew
		}
		if err != nil {
			r.err = err
		}
	}
	if r.err != nil {
		r.close()
		return 0, r.err
	}
	return 0, nil
}

var errSilent = errors.New("nothing came")

// read reads from the connection, which it makes if there is none. Without bytes and error it is to be called again.
func (r *Stream) read(p []byte) (int, error) {
	fresh := r.body == nil
	if fresh {
		ctx, cancel := context.WithCancelCause(r.ctx)
		r.cancel = cancel
		if err := r.open(ctx); err != nil {
			cancel(nil)
			r.body = nil
			var cut *cutBody
			if !errors.As(err, &cut) {
				return 0, err
			}
			return 0, r.pause(err)
		}
	}
	// What the reader's reader takes its time for does not count: only the wait for the store does.
	silence := time.AfterFunc(r.s.cfg.Timeout, func() { r.cancel(errSilent) })
	n, err := r.body.Read(p)
	silence.Stop()
	if n > 0 || err == nil {
		return n, nil
	}
	r.close()
	return 0, r.pause(&cutBody{err: fmt.Errorf("the body ended at byte %d of %d: %w", r.at, r.o.Size, err)})
}

// pause waits before another connection, or returns why there is none.
func (r *Stream) pause(cause error) error {
	r.broken++
	if r.ctx.Err() != nil || r.broken >= r.s.cfg.MaxAttempts {
		return r.s.fail(r.ctx, opStream, r.o.Key, cause)
	}
	r.s.log.Debug("read broken off, going on", "key", r.o.Key, "at", r.at, "err", cause)
	t := time.NewTimer(min(50*time.Millisecond<<r.broken, r.s.cfg.MaxBackoff))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return r.s.fail(r.ctx, opStream, r.o.Key, r.ctx.Err())
	}
}

// open asks for the rest of the object.
func (r *Stream) open(ctx context.Context) error {
	in := &s3.GetObjectInput{Bucket: &r.s.cfg.Bucket, Key: &r.o.Key, Range: aws.String(ReadRange{r.at, r.o.Size - 1}.header())}
	if r.o.VersionID != "" {
		in.VersionId = &r.o.VersionID
	}
	if r.o.ETag != "" && r.s.cfg.ConditionalRead {
		in.IfMatch = aws.String(quoteETag(r.o.ETag))
	}
	head := time.AfterFunc(r.s.cfg.Timeout, func() { r.cancel(errSilent) })
	out, err := r.s.client.GetObject(ctx, in)
	head.Stop()
	if err != nil {
		err = r.s.fail(r.ctx, opStream, r.o.Key, err)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable {
			return r.s.refuse(opStream, r.o.Key, ErrChecksum, fmt.Sprintf("it has fewer than %d bytes", r.at+1), "")
		}
		return err
	}
	r.body = out.Body
	var from, to, total int64
	if _, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &from, &to, &total); err != nil || from != r.at {
		r.close()
		return &cutBody{err: fmt.Errorf("the store answered %q to the range %q", aws.ToString(out.ContentRange), *in.Range)}
	}
	if total != r.o.Size {
		r.close()
		return r.s.refuse(opStream, r.o.Key, ErrChecksum, fmt.Sprintf("it has %d bytes, %d were recorded", total, r.o.Size), "")
	}
	// Not every store honours If-Match.
	if got := trimETag(out.ETag); r.o.ETag != "" && got != "" && got != trimETag(&r.o.ETag) {
		r.close()
		return r.s.refuse(opStream, r.o.Key, ErrPrecondition, "another object lies there", "")
	}
	return nil
}

func (r *Stream) close() {
	if r.body != nil {
		r.cancel(nil) // before the body: closing would read what is left of a small one
		_ = r.body.Close()
		r.body = nil
	}
}

// Close ends the connection.
func (r *Stream) Close() error {
	r.close()
	if r.err == nil {
		r.err = errClosed
	}
	return nil
}

var errClosed = errors.New("stream is closed")

// PresignLink signs a plain read of one version of an object, that a browser sends as it is and may send with a Range of its own.
// What it gets is saved under fileName. No request is made.
func (s *Store) PresignLink(ctx context.Context, key, version, fileName string, ttl time.Duration) (PresignedRequest, error) {
	name := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '_'
		}
		return c
	}, fileName)
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, ResponseContentDisposition: aws.String(`attachment; filename="` + name + `"`)}
	if version != "" {
		in.VersionId = &version
	}
	return s.sign(ctx, "presign read", key, 0, ttl, func(opt func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
		return s.presign.PresignGetObject(ctx, in, opt)
	})
}
