package objectstore

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// PageSize is how many objects or uploads one page holds at most.
const PageSize = 1000

// ListedObject is one object as a listing shows it.
type ListedObject struct {
	Key          string
	Size         int64
	ETag         string // without quotes; empty where the store has none
	StorageClass string // empty for the standard class
	Archived     bool   // it has to be brought back before it can be read
	LastModified time.Time
}

// List returns a page of the current versions of objects whose key starts with prefix, and what the next page is asked for
// with, empty after the last one. One request. A store lists in ascending order of the keys' bytes; whoever relies on it
// checks it. An object of a class with an archive of its own (intelligent tiering) shows only by HEAD, or when it is read, that
// it lies there. Idempotent, retried. Errors: ErrDenied, ErrNoSuchBucket, ErrUnavailable.
func (s *Store) List(ctx context.Context, prefix, next string) ([]ListedObject, string, error) {
	in := &s3.ListObjectsV2Input{
		Bucket: &s.cfg.Bucket, Prefix: &prefix, MaxKeys: aws.Int32(PageSize),
		// Keys of others may hold what XML cannot.
		EncodingType: types.EncodingTypeUrl,
		// Tells of what was brought back from an archive. Stores that do not know it leave it out.
		OptionalObjectAttributes: []types.OptionalObjectAttributes{types.OptionalObjectAttributesRestoreStatus},
	}
	if next != "" {
		in.ContinuationToken = &next
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	out, err := s.client.ListObjectsV2(cctx, in)
	if err != nil {
		return nil, "", s.fail(ctx, "list objects", prefix, err)
	}
	encoded := out.EncodingType == types.EncodingTypeUrl
	list := make([]ListedObject, 0, len(out.Contents))
	for _, o := range out.Contents {
		list = append(list, ListedObject{
			Key: listedKey(aws.ToString(o.Key), encoded), Size: aws.ToInt64(o.Size), ETag: trimETag(o.ETag), StorageClass: classOf(string(o.StorageClass)),
			Archived: inArchive(string(o.StorageClass)) && !s.broughtBack(o.RestoreStatus), LastModified: aws.ToTime(o.LastModified),
		})
	}
	if !aws.ToBool(out.IsTruncated) {
		return list, "", nil
	}
	after := aws.ToString(out.NextContinuationToken)
	if after == "" || after == next {
		return nil, "", s.refuse("list objects", prefix, ErrUnavailable, "the store's listing does not advance", "")
	}
	return list, after, nil
}

// listedKey is a key as it is: some stores answer without the encoding that was asked for, and say so.
func listedKey(key string, encoded bool) string {
	if !encoded {
		return key
	}
	if plain, err := url.QueryUnescape(key); err == nil {
		return plain
	}
	return key
}

// classOf is empty for the standard class, as a reply to HEAD has it.
func classOf(class string) string {
	if class == string(types.StorageClassStandard) {
		return ""
	}
	return class
}

// inArchive tells whether objects of a class have to be brought back before they can be read.
func inArchive(class string) bool {
	return class == string(types.StorageClassGlacier) || class == string(types.StorageClassDeepArchive)
}

func (s *Store) broughtBack(r *types.RestoreStatus) bool {
	return r != nil && !aws.ToBool(r.IsRestoreInProgress) && aws.ToTime(r.RestoreExpiryDate).After(s.cfg.Now())
}

// archived tells whether the object that a reply to HEAD describes has to be brought back before it can be read.
func archived(out *s3.HeadObjectOutput) bool {
	switch {
	case out.ArchiveStatus != "": // of intelligent tiering; it has no copy for a time
		return true
	case !inArchive(string(out.StorageClass)):
		return false
	}
	return !strings.Contains(aws.ToString(out.Restore), `ongoing-request="false"`)
}

// UploadPage returns a page of open uploads whose key starts with prefix, and what the next page is asked for with, empty after the last
// one. One request. Some stores (MinIO) answer for an exact key only: a prefix that is not a key may list none there. Idempotent, retried.
func (s *Store) UploadPage(ctx context.Context, prefix, next string) ([]Upload, string, error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: &prefix}
	if key, id, ok := strings.Cut(next, markerEnd); ok {
		in.KeyMarker = &key
		if id != "" {
			in.UploadIdMarker = &id
		}
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	out, err := s.client.ListMultipartUploads(cctx, in)
	if err != nil {
		return nil, "", s.fail(ctx, "list uploads", prefix, err)
	}
	list := make([]Upload, 0, len(out.Uploads))
	for _, u := range out.Uploads {
		list = append(list, Upload{Key: aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Initiated: aws.ToTime(u.Initiated)})
	}
	if !aws.ToBool(out.IsTruncated) {
		return list, "", nil
	}
	after := aws.ToString(out.NextKeyMarker) + markerEnd + aws.ToString(out.NextUploadIdMarker)
	if after == next || after == markerEnd {
		return nil, "", s.refuse("list uploads", prefix, ErrUnavailable, "the store's listing does not advance", "")
	}
	return list, after, nil
}

// markerEnd is in no key that XML can hold.
const markerEnd = "\x00"
