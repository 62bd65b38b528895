package objectstore

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// maxTTL is what Signature Version 4 allows.
const maxTTL = 7 * 24 * time.Hour

// PresignedRequest allows its holder one request, as often as wanted, until ExpiresAt. The sender sets all Headers as they
// are and announces exactly ContentLength bytes of body.
type PresignedRequest struct {
	Method        string
	URL           string
	Headers       map[string]string // without Host and Content-Length
	ContentLength int64             // 0 for a read
	ExpiresAt     time.Time
}

// Body describes the bytes of a presigned write.
type Body struct {
	Size   int64
	SHA256 [sha256.Size]byte
	MD5    [md5.Size]byte // needed in ChecksumMD5 mode
}

// PresignPart signs the upload of one part with exactly these bytes. The store refuses another key, upload, part number,
// length or checksum. No request is made; the only errors are those of the arguments.
func (s *Store) PresignPart(ctx context.Context, key, uploadID string, number int, body Body, ttl time.Duration) (PresignedRequest, error) {
	if number < 1 || number > 10_000 {
		return PresignedRequest{}, s.refuse("presign part", key, ErrRefused, fmt.Sprintf("part number %d is not within 1 to 10000", number), "")
	}
	in := &s3.UploadPartInput{
		Bucket: &s.cfg.Bucket, Key: &key, UploadId: &uploadID, PartNumber: aws.Int32(int32(number)), ContentLength: aws.Int64(body.Size),
	}
	var err error
	if in.ChecksumSHA256, in.ContentMD5, err = s.checksums("presign part", key, body); err != nil {
		return PresignedRequest{}, err
	}
	return s.sign(ctx, "presign part", key, body.Size, ttl, func(opt func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
		return s.presign.PresignUploadPart(ctx, in, opt)
	})
}

// PresignPut signs the upload of one small object with exactly these bytes; where the store honours it, an object that is
// already there is not replaced. No request is made.
func (s *Store) PresignPut(ctx context.Context, key string, body Body, ttl time.Duration) (PresignedRequest, error) {
	in := &s3.PutObjectInput{Bucket: &s.cfg.Bucket, Key: &key, ContentLength: aws.Int64(body.Size)}
	var err error
	if in.ChecksumSHA256, in.ContentMD5, err = s.checksums("presign write", key, body); err != nil {
		return PresignedRequest{}, err
	}
	if s.cfg.ConditionalPut {
		in.IfNoneMatch = aws.String("*")
	}
	return s.sign(ctx, "presign write", key, body.Size, ttl, func(opt func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
		return s.presign.PresignPutObject(ctx, in, opt)
	})
}

// ReadRange is what a presigned read covers.
type ReadRange struct {
	From int64 // first byte
	To   int64 // last byte, inclusive; negative: to the end
}

// PresignGet signs the read of one range of one version of an object. ifMatch, an ETag, is signed too: a changed object
// answers 412. An empty ifMatch or version leaves that open. Where the store does not honour If-Match (Config.ConditionalRead)
// it is left out, since such a store may ignore or refuse it: then the version, if there is one, the total size in each
// reply and at last the SHA-256 of all that was read are what tells the reader of a changed object. No request is made.
func (s *Store) PresignGet(ctx context.Context, key, version, ifMatch string, r ReadRange, ttl time.Duration) (PresignedRequest, error) {
	if r.From < 0 || r.To >= 0 && r.To < r.From {
		return PresignedRequest{}, s.refuse("presign read", key, ErrRefused, fmt.Sprintf("range %d-%d is empty", r.From, r.To), "")
	}
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, Range: aws.String(r.header())}
	if version != "" {
		in.VersionId = &version
	}
	if ifMatch != "" && s.cfg.ConditionalRead {
		in.IfMatch = aws.String(quoteETag(ifMatch))
	}
	return s.sign(ctx, "presign read", key, 0, ttl, func(opt func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
		return s.presign.PresignGetObject(ctx, in, opt)
	})
}

func (r ReadRange) header() string {
	if r.To < 0 {
		return fmt.Sprintf("bytes=%d-", r.From)
	}
	return fmt.Sprintf("bytes=%d-%d", r.From, r.To)
}

// checksums gives the header that the mode signs.
func (s *Store) checksums(op, key string, b Body) (sha, md *string, err error) {
	if b.Size < 0 {
		return nil, nil, s.refuse(op, key, ErrRefused, fmt.Sprintf("size %d is negative", b.Size), "")
	}
	if s.cfg.Checksum == ChecksumSHA256 {
		if b.SHA256 == [sha256.Size]byte{} {
			return nil, nil, s.refuse(op, key, ErrRefused, "the SHA-256 of the bytes is missing", "")
		}
		return aws.String(base64.StdEncoding.EncodeToString(b.SHA256[:])), nil, nil
	}
	if b.MD5 == [md5.Size]byte{} {
		return nil, nil, s.refuse(op, key, ErrRefused, "the MD5 of the bytes is missing, which this storage needs", "")
	}
	return nil, aws.String(base64.StdEncoding.EncodeToString(b.MD5[:])), nil
}

func (s *Store) sign(ctx context.Context, op, key string, size int64, ttl time.Duration, do func(func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error)) (PresignedRequest, error) {
	if ttl < time.Second || ttl > maxTTL {
		return PresignedRequest{}, s.refuse(op, key, ErrRefused, fmt.Sprintf("validity %s is not within 1s and %s", ttl, maxTTL), "")
	}
	ttl = ttl.Truncate(time.Second)
	expires := s.cfg.Now().UTC().Truncate(time.Second).Add(ttl)
	out, err := do(s3.WithPresignExpires(ttl))
	if err != nil {
		return PresignedRequest{}, s.fail(ctx, op, key, err)
	}
	req := PresignedRequest{Method: out.Method, URL: out.URL, Headers: map[string]string{}, ContentLength: size, ExpiresAt: expires}
	for k, v := range out.SignedHeader {
		switch http.CanonicalHeaderKey(k) {
		case "Host", "Content-Length":
		default:
			req.Headers[http.CanonicalHeaderKey(k)] = strings.Join(v, ",")
		}
	}
	return req, nil
}

func quoteETag(e string) string { return `"` + strings.Trim(e, `"`) + `"` }
