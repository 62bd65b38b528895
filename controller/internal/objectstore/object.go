package objectstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ObjectInfo is what the store says of an object.
type ObjectInfo struct {
	Size            int64
	ETag            string // without quotes
	VersionID       string // empty without versions
	CompositeSHA256 string // base64, -N for multipart objects; empty if the store keeps none
	StorageClass    string // empty for the standard class
	LastModified    time.Time
	Archived        bool      // it has to be brought back before it can be read
	LockedUntil     time.Time // the store refuses to delete this version until then, as far as HEAD tells; zero: it is not locked
}

// Head asks for the current version of an object. Idempotent, retried. Errors: ErrNotFound (also for a missing bucket,
// which a reply to HEAD cannot tell apart), ErrDenied, ErrUnavailable.
func (s *Store) Head(ctx context.Context, key string) (ObjectInfo, error) {
	in := &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key}
	if s.cfg.Checksum == ChecksumSHA256 {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	out, err := s.client.HeadObject(cctx, in)
	if err != nil {
		return ObjectInfo{}, s.fail(ctx, opHead, key, err)
	}
	return ObjectInfo{
		Size: aws.ToInt64(out.ContentLength), ETag: trimETag(out.ETag), VersionID: versionID(out.VersionId),
		CompositeSHA256: aws.ToString(out.ChecksumSHA256), StorageClass: string(out.StorageClass), LastModified: aws.ToTime(out.LastModified),
		Archived: archived(out), LockedUntil: s.lockOf(out),
	}, nil
}

// Put writes a small object with its checksum. Idempotent, retried: where the store honours If-None-Match an object
// already there is not replaced, and the same bytes there count as success; elsewhere the object is replaced. Errors:
// ErrForeign if other bytes are at the key, ErrChecksum, ErrDenied, ErrNoSuchBucket, ErrUnavailable.
func (s *Store) Put(ctx context.Context, key string, body []byte, contentType string) (ObjectInfo, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &key, Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))), ContentType: &contentType,
	}
	in.ChecksumSHA256, in.ContentMD5, _ = s.checksums("write object", key, Body{Size: int64(len(body)), SHA256: sha256.Sum256(body), MD5: md5.Sum(body)})
	if s.cfg.ConditionalPut {
		in.IfNoneMatch = aws.String("*")
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	out, err := s.client.PutObject(cctx, in)
	if err == nil {
		return ObjectInfo{
			Size: int64(len(body)), ETag: trimETag(out.ETag), VersionID: versionID(out.VersionId), CompositeSHA256: aws.ToString(out.ChecksumSHA256),
		}, nil
	}
	err = s.fail(ctx, "write object", key, err)
	if !s.cfg.ConditionalPut || !errors.Is(err, ErrPrecondition) {
		return ObjectInfo{}, err
	}
	// It is there: by our own attempt whose reply was lost, by an earlier call, or by somebody else.
	info, herr := s.Head(ctx, key)
	if herr != nil {
		return ObjectInfo{}, herr
	}
	there, gerr := s.Get(ctx, key, int64(len(body)))
	switch {
	case gerr == nil && bytes.Equal(there, body):
		return info, nil
	case gerr == nil || errors.Is(gerr, ErrTooLarge):
		return ObjectInfo{}, s.refuse("write object", key, ErrForeign, "other bytes are stored there", "")
	}
	return ObjectInfo{}, gerr
}

// Get reads a whole object of at most limit bytes, checked against the store's SHA-256 if it keeps one. Idempotent,
// retried, a cut body too. Errors: ErrNotFound, ErrTooLarge, ErrChecksum, ErrDenied, ErrArchived, ErrUnavailable.
func (s *Store) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	return s.read(ctx, key, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key}, limit, "")
}

// ReadRange reads n bytes from off, fewer where the object ends. ifMatch, an ETag, makes a changed object ErrPrecondition,
// on stores that ignore If-Match too; empty leaves it open. Idempotent, retried. Other errors as Get.
func (s *Store) ReadRange(ctx context.Context, key string, off, n int64, ifMatch string) ([]byte, error) {
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, Range: aws.String(ReadRange{off, off + n - 1}.header())}
	if ifMatch != "" && s.cfg.ConditionalRead {
		in.IfMatch = aws.String(quoteETag(ifMatch))
	}
	return s.read(ctx, key, in, n, ifMatch)
}

func (s *Store) read(ctx context.Context, key string, in *s3.GetObjectInput, limit int64, etag string) ([]byte, error) {
	cctx, cancel := s.call(ctx)
	defer cancel()
	if s.cfg.Checksum == ChecksumSHA256 && in.Range == nil {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	// The SDK retries up to the head of a reply; a body that breaks off is ours to read again.
	var last error
	for range s.cfg.MaxAttempts {
		b, err := s.readOnce(cctx, in, limit, etag)
		if err == nil {
			return b, nil
		}
		if errors.Is(err, errOther) {
			return nil, s.refuse("read object", key, ErrPrecondition, "another object lies there than the one that was asked for", "")
		}
		if errors.Is(err, errTooLong) {
			return nil, s.refuse("read object", key, ErrTooLarge, fmt.Sprintf("it holds more than %d bytes", limit), "")
		}
		last = err
		var cut *cutBody
		if !errors.As(err, &cut) || cctx.Err() != nil {
			break
		}
	}
	err := s.fail(ctx, "read object", key, last)
	var cut *cutBody
	var e *Error
	if errors.As(err, &e) && errors.As(last, &cut) && cut.checksum {
		e.Kind, e.Hint = ErrChecksum, "the stored bytes are not those that were written"
	}
	return nil, err
}

var (
	errTooLong = errors.New("body longer than the limit")
	errOther   = errors.New("another ETag")
)

// cutBody is a reply whose head was fine and whose body was not.
type cutBody struct {
	err      error
	checksum bool
}

func (c *cutBody) Error() string { return c.err.Error() }
func (c *cutBody) Unwrap() error { return c.err }

func (s *Store) readOnce(ctx context.Context, in *s3.GetObjectInput, limit int64, etag string) ([]byte, error) {
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	if etag != "" && trimETag(out.ETag) != strings.Trim(etag, `"`) {
		return nil, errOther
	}
	if from, _, _ := strings.Cut(strings.TrimPrefix(aws.ToString(in.Range), "bytes="), "-"); in.Range != nil &&
		!strings.HasPrefix(aws.ToString(out.ContentRange), "bytes "+from+"-") {
		return nil, &cutBody{err: fmt.Errorf("the store answered %q to the range %q", aws.ToString(out.ContentRange), *in.Range)}
	}
	want := aws.ToInt64(out.ContentLength)
	if want > limit {
		return nil, errTooLong
	}
	b, err := io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err != nil {
		// The SDK checks whole objects against the store's SHA-256 while we read; its error has no type.
		if strings.Contains(err.Error(), "checksum did not match") {
			return nil, &cutBody{err: errors.New("the bytes do not match the store's SHA-256"), checksum: true}
		}
		return nil, &cutBody{err: fmt.Errorf("body ended after %d of %d bytes: %w", len(b), want, err)}
	}
	if int64(len(b)) > limit {
		return nil, errTooLong
	}
	if out.ContentLength != nil && int64(len(b)) != want {
		return nil, &cutBody{err: fmt.Errorf("body ended after %d of %d bytes", len(b), want)}
	}
	return b, nil
}
