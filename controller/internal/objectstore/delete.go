package objectstore

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// version is one version or delete marker of a key.
type version struct {
	id     string
	marker bool
}

// DeleteAllVersions removes every version and delete marker of exactly this key. Idempotent, retried: a key that is not
// there is no error. It goes on past a version that is refused and returns the first error: ErrLocked if retention or a
// legal hold protects it, with the time at which it is worth trying again, ErrDenied, ErrNoSuchBucket, ErrUnavailable. Only
// Gone proves the end.
func (s *Store) DeleteAllVersions(ctx context.Context, key string) error {
	all, err := s.versions(ctx, key)
	if err != nil {
		return err
	}
	var first error
	for _, v := range all {
		if err := s.deleteVersion(ctx, key, v); err != nil && first == nil {
			first = err
			if ctx.Err() != nil {
				break
			}
		}
	}
	return first
}

// Gone tells whether no version and no delete marker of exactly this key is left. Idempotent, retried. A missing bucket is
// ErrNoSuchBucket, not true.
func (s *Store) Gone(ctx context.Context, key string) (bool, error) {
	all, err := s.versions(ctx, key)
	return err == nil && len(all) == 0, err
}

func (s *Store) deleteVersion(ctx context.Context, key string, v version) error {
	in := &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key}
	if v.id != "" {
		in.VersionId = &v.id
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	_, err := s.client.DeleteObject(cctx, in)
	if err == nil {
		return nil
	}
	err = s.fail(ctx, "delete object", key, err)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && !v.marker && (errors.Is(e.Kind, ErrDenied) || errors.Is(e.Kind, ErrRefused) || errors.Is(e.Kind, ErrLocked)) {
		// AWS says AccessDenied for a locked version as for a missing permission: ask which it is.
		if until, held := s.lockedUntil(ctx, key, v.id); !until.IsZero() {
			e.Kind, e.LockedUntil, e.Hint = ErrLocked, until, "the store protects it until "+until.UTC().Format(time.RFC3339)
			if held {
				e.Hint = "a legal hold of the store protects it: it is tried again every day"
			}
		}
	}
	return err
}

// holdAgain is how long an object under a legal hold, which has no end of its own, is taken to be locked: then it is looked at again.
const holdAgain = 24 * time.Hour

// lockOf is how long the store refuses to delete what a reply to HEAD describes; zero if it does not.
func (s *Store) lockOf(out *s3.HeadObjectOutput) time.Time {
	now := s.cfg.Now()
	until := aws.ToTime(out.ObjectLockRetainUntilDate)
	if !until.After(now) {
		until = time.Time{}
	}
	if held := now.Add(holdAgain).UTC(); out.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn && held.After(until) {
		until = held
	}
	return until
}

// lockedUntil is zero if the version is not locked, or if that cannot be told. held is one that a legal hold keeps longest.
func (s *Store) lockedUntil(ctx context.Context, key, id string) (until time.Time, held bool) {
	in := &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key}
	if id != "" {
		in.VersionId = &id
	}
	cctx, cancel := s.call(ctx)
	defer cancel()
	out, err := s.client.HeadObject(cctx, in)
	if err != nil {
		return time.Time{}, false
	}
	until = s.lockOf(out)
	return until, until.After(aws.ToTime(out.ObjectLockRetainUntilDate))
}

// versions lists what is at exactly this key. Stores without version listing answer by HEAD.
func (s *Store) versions(ctx context.Context, key string) ([]version, error) {
	var all []version
	in := &s3.ListObjectVersionsInput{Bucket: &s.cfg.Bucket, Prefix: &key}
	for {
		out, err := s.listVersions(ctx, in)
		if err != nil {
			err = s.fail(ctx, "list versions", key, err)
			if errors.Is(err, ErrUnsupported) {
				return s.currentOnly(ctx, key)
			}
			return nil, err
		}
		past := false
		for _, v := range out.Versions {
			if k := aws.ToString(v.Key); k == key {
				all = append(all, version{id: aws.ToString(v.VersionId)})
			} else if k > key {
				past = true
			}
		}
		for _, m := range out.DeleteMarkers {
			if k := aws.ToString(m.Key); k == key {
				all = append(all, version{id: aws.ToString(m.VersionId), marker: true})
			} else if k > key {
				past = true
			}
		}
		// Listings are in order of keys, so longer keys that start with ours (the manifest) come after it.
		if past || !aws.ToBool(out.IsTruncated) {
			return all, nil
		}
		if aws.ToString(out.NextKeyMarker) == aws.ToString(in.KeyMarker) && aws.ToString(out.NextVersionIdMarker) == aws.ToString(in.VersionIdMarker) {
			return nil, s.refuse("list versions", key, ErrUnavailable, "the store's listing does not advance", "")
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}

func (s *Store) listVersions(ctx context.Context, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	cctx, cancel := s.call(ctx)
	defer cancel()
	return s.client.ListObjectVersions(cctx, in)
}

func (s *Store) currentOnly(ctx context.Context, key string) ([]version, error) {
	_, err := s.Head(ctx, key)
	switch {
	case err == nil:
		return []version{{}}, nil
	case errors.Is(err, ErrNotFound):
		// HEAD does not tell a missing bucket from a missing key; "gone" must.
		if err := s.reach(ctx); err != nil {
			return nil, err
		}
		return nil, nil
	}
	return nil, err
}

// reach asks for the bucket itself.
func (s *Store) reach(ctx context.Context) error {
	cctx, cancel := s.call(ctx)
	defer cancel()
	_, err := s.client.ListObjectsV2(cctx, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, MaxKeys: aws.Int32(1), Prefix: aws.String(s.cfg.Prefix)})
	if err != nil {
		return s.fail(ctx, "list objects", "", err)
	}
	return nil
}
