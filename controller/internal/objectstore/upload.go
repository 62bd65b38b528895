package objectstore

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	opComplete = "complete upload"
	opHead     = "head object"
)

// Part of a multipart upload, as the agent's statement lists it.
type Part struct {
	Number int // from 1, without gaps
	ETag   string
	SHA256 [sha256.Size]byte
	MD5    [md5.Size]byte // as signed; zero if unknown, which ChecksumMD5 mode refuses
}

// Completed is what the store said about a completed upload.
type Completed struct {
	ETag            string
	VersionID       string // empty without versions
	CompositeSHA256 string // base64 with -N, empty if the store said none
}

// Upload is an open multipart upload.
type Upload struct {
	Key       string
	ID        string
	Initiated time.Time
}

// CreateUpload opens a multipart upload whose parts carry checksums of the storage's mode, and returns its id. It is not
// idempotent: each call, and each attempt whose reply was lost, leaves one more upload at the key; AbortUploads clears
// them. Errors: ErrNoSuchBucket, ErrDenied, ErrUnavailable after all attempts, and the general ones.
func (s *Store) CreateUpload(ctx context.Context, key string) (string, error) {
	in := &s3.CreateMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &key, ContentType: aws.String("application/octet-stream")}
	if s.cfg.Checksum == ChecksumSHA256 {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	out, err := s.client.CreateMultipartUpload(cctx, in)
	if err != nil {
		return "", s.fail(ctx, "create upload", key, err)
	}
	id := aws.ToString(out.UploadId)
	if id == "" {
		return "", s.refuse("create upload", key, ErrUnavailable, "the store's reply holds no upload id", "")
	}
	return id, nil
}

// CompleteUpload asks the store to assemble the parts, once: it is never repeated silently, and waits up to
// Config.CompleteTimeout. Errors hidden in the body of a 200, an empty and a cut body are errors here. An error does not
// mean that nothing was stored, except ErrChecksum, ErrRefused, ErrDenied and ErrNoSuchBucket; Settle decides. If the
// store honours it, an object that is already at the key is not replaced (ErrPrecondition).
func (s *Store) CompleteUpload(ctx context.Context, key, uploadID string, parts []Part) (Completed, error) {
	list := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		list[i] = types.CompletedPart{PartNumber: aws.Int32(int32(p.Number)), ETag: aws.String(p.ETag)}
		if s.cfg.Checksum == ChecksumSHA256 {
			list[i].ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(p.SHA256[:]))
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: &key, UploadId: &uploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: list},
	}
	if s.cfg.ConditionalComplete {
		in.IfNoneMatch = aws.String("*")
	}
	cctx, cancel := context.WithTimeout(ctx, s.cfg.CompleteTimeout)
	defer cancel()
	out, err := s.once.CompleteMultipartUpload(cctx, in)
	if err != nil {
		return Completed{}, s.fail(ctx, opComplete, key, err)
	}
	if aws.ToString(out.ETag) == "" {
		// The SDK takes an empty body for success.
		return Completed{}, s.refuse(opComplete, key, ErrUnavailable, "the store answered 200 without a result", "")
	}
	return Completed{ETag: trimETag(out.ETag), VersionID: versionID(out.VersionId), CompositeSHA256: aws.ToString(out.ChecksumSHA256)}, nil
}

// UploadExists tells whether the upload is still open. Idempotent, retried. Errors: ErrNoSuchBucket, ErrDenied,
// ErrUnavailable.
func (s *Store) UploadExists(ctx context.Context, key, uploadID string) (bool, error) {
	cctx, cancel := s.call(ctx)
	defer cancel()
	_, err := s.client.ListParts(cctx, &s3.ListPartsInput{Bucket: &s.cfg.Bucket, Key: &key, UploadId: &uploadID, MaxParts: aws.Int32(1)})
	if err == nil {
		return true, nil
	}
	err = s.fail(ctx, "list parts", key, err)
	if errors.Is(err, ErrNoSuchUpload) {
		return false, nil
	}
	return false, err
}

// ListUploads lists open uploads whose key starts with prefix. Some stores (MinIO) answer for an exact key only: a prefix
// that is not a key may list none there. Idempotent, retried.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]Upload, error) {
	var all []Upload
	for next := ""; ; {
		page, after, err := s.UploadPage(ctx, prefix, next)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if after == "" {
			return all, nil
		}
		next = after
	}
}

// AbortUpload removes an open upload and its parts. Idempotent, retried: one that is not there is no error. A part that
// was on its way may still arrive afterwards; abort again after the last URL has expired.
func (s *Store) AbortUpload(ctx context.Context, key, uploadID string) error {
	cctx, cancel := s.call(ctx)
	defer cancel()
	_, err := s.client.AbortMultipartUpload(cctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &key, UploadId: &uploadID})
	if err == nil {
		return nil
	}
	if err = s.fail(ctx, "abort upload", key, err); errors.Is(err, ErrNoSuchUpload) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// AbortUploads removes all uploads at exactly this key, also those whose id nobody knows, and returns how many it found.
// Idempotent, retried.
func (s *Store) AbortUploads(ctx context.Context, key string) (int, error) {
	open, err := s.ListUploads(ctx, key)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, u := range open {
		if u.Key != key {
			continue
		}
		if err := s.AbortUpload(ctx, key, u.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// CompositeSHA256 is the checksum that S3 keeps of a multipart object: base64 of the SHA-256 over the parts' digests, then
// "-" and their number. It is not the object's SHA-256.
func CompositeSHA256(parts []Part) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p.SHA256[:])
	}
	return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(parts))
}

// MultipartETag is the ETag that S3 gives a multipart object: hex MD5 over the parts' MD5, then "-" and their number. A
// part's own ETag stands in for an unknown MD5. It is empty if one of them is no MD5, as on stores with their own ETags.
func MultipartETag(parts []Part) string {
	h := md5.New()
	for _, p := range parts {
		sum := p.MD5[:]
		if p.MD5 == [md5.Size]byte{} {
			b, err := hex.DecodeString(strings.Trim(p.ETag, `"`))
			if err != nil || len(b) != md5.Size {
				return ""
			}
			sum = b
		}
		h.Write(sum)
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(parts))
}

func trimETag(e *string) string { return strings.Trim(aws.ToString(e), `"`) }

// versionID is empty for the "null" version of a bucket without versions.
func versionID(v *string) string {
	if aws.ToString(v) == "null" {
		return ""
	}
	return aws.ToString(v)
}
