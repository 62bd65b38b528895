package objectstore

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Outcome of Settle.
type Outcome string

const (
	// Done: the store shows the object as the statement describes it.
	Done Outcome = "done"
	// Retry: nothing is decided; call Settle again with the same upload, later. The error says why.
	Retry Outcome = "retry"
	// Lost: object and upload are both gone; only a new attempt helps.
	Lost Outcome = "lost"
	// Refused: what was uploaded is not what the statement lists, or never fits; only a new attempt helps. The object, if
	// there is one, and the upload are to be deleted.
	Refused Outcome = "refused"
	// Foreign: an object that is not ours is at our random key; a security event. It is left alone.
	Foreign Outcome = "foreign"
)

// Want is the object as the agent's statement describes it.
type Want struct {
	Size            int64
	CompositeSHA256 string // base64-N
}

// Settle completes an upload and proves the result. It is idempotent and may run several times and in several controllers
// at once: all that end with Done saw the same object. HEAD decides, against parts and want as stated by the agent; the
// reply to the completion itself never does, neither does the store's own list of parts.
//
// In ChecksumSHA256 mode the object's size and composite checksum are compared, or its ETag where the store shows no
// checksum. In ChecksumMD5 mode the store knows no SHA-256: size and ETag are compared, the latter against the MD5 of the
// MD5s that the parts were signed with. That the same parts give the statement's composite is checked in both modes; what
// ties MD5 to SHA-256 is the agent's word alone, until a verification reads the object.
//
// With Done the error is nil and the info that of the stored object. Every other outcome carries an error: ErrForeign,
// ErrChecksum or ErrRefused with Refused, ErrNoSuchUpload or ErrNotFound with Lost, any with Retry. Cancelling ctx gives
// Retry and its cause.
func (s *Store) Settle(ctx context.Context, key, uploadID string, parts []Part, want Want) (Outcome, ObjectInfo, error) {
	if err := s.checkStatement(key, parts, want); err != nil {
		return Refused, ObjectInfo{}, err
	}

	// First look: another controller, or this one before a crash, may have completed it. It also keeps us from
	// replacing a foreign object on stores that ignore If-None-Match.
	info, err := s.Head(ctx, key)
	switch {
	case err == nil:
		return s.judge(key, info, parts, want, "")
	case !errors.Is(err, ErrNotFound):
		return Retry, ObjectInfo{}, err
	}

	done, cerr := s.CompleteUpload(ctx, key, uploadID, parts)
	if ctx.Err() != nil {
		return Retry, ObjectInfo{}, cerr
	}
	if cerr != nil {
		s.log.Warn("completion not confirmed, asking the store", "key", key, "err", cerr)
	}

	info, err = s.Head(ctx, key)
	switch {
	case err == nil:
		return s.judge(key, info, parts, want, done.ETag)
	case !errors.Is(err, ErrNotFound):
		return Retry, ObjectInfo{}, err
	}

	open, err := s.UploadExists(ctx, key, uploadID)
	if err != nil {
		return Retry, ObjectInfo{}, err
	}
	if open {
		switch {
		case errors.Is(cerr, ErrChecksum), errors.Is(cerr, ErrRefused), errors.Is(cerr, ErrUnsupported):
			return Refused, ObjectInfo{}, cerr
		case cerr == nil:
			cerr = s.refuse(opComplete, key, ErrUnavailable, "the store said done, shows no object and still has the upload", "")
		}
		return Retry, ObjectInfo{}, cerr
	}

	// Both are gone, for now. While another controller's completion runs, some stores show neither and answer a second
	// completion with 200 or NoSuchUpload; a lost artifact costs a whole new dump, so look again for a while.
	info, err = s.awaitObject(ctx, key)
	switch {
	case err == nil:
		return s.judge(key, info, parts, want, done.ETag)
	case !errors.Is(err, ErrNotFound):
		return Retry, ObjectInfo{}, err
	}
	if errors.Is(cerr, ErrNoSuchUpload) {
		var e *Error
		if errors.As(cerr, &e) {
			e.Hint = "the upload was aborted: check the bucket's lifecycle rule for incomplete multipart uploads"
		}
		return Lost, ObjectInfo{}, cerr
	}
	// The completion may still be under way in the store: only its clear "no such upload" next time ends this.
	if cerr == nil {
		cerr = s.refuse(opComplete, key, ErrUnavailable, "the store said done and shows neither object nor upload", "if this stays, check who else deletes in the bucket")
	}
	return Retry, ObjectInfo{}, cerr
}

// awaitObject asks for the object until it is there or Config.LostAfter has passed.
func (s *Store) awaitObject(ctx context.Context, key string) (ObjectInfo, error) {
	deadline := time.Now().Add(s.cfg.LostAfter)
	pause := 20 * time.Millisecond
	for {
		info, err := s.Head(ctx, key)
		left := time.Until(deadline)
		if !errors.Is(err, ErrNotFound) || left <= 0 {
			return info, err
		}
		t := time.NewTimer(min(pause, left))
		select {
		case <-t.C:
			pause *= 2
		case <-ctx.Done():
			t.Stop()
			return ObjectInfo{}, s.fail(ctx, opHead, key, ctx.Err())
		}
	}
}

// checkStatement finds what could never become Done before anything is asked of the store.
func (s *Store) checkStatement(key string, parts []Part, want Want) error {
	if len(parts) == 0 {
		return s.refuse(opComplete, key, ErrRefused, "the statement lists no parts", "")
	}
	for i, p := range parts {
		if p.Number != i+1 {
			return s.refuse(opComplete, key, ErrRefused, fmt.Sprintf("the statement lists part %d in place %d", p.Number, i+1), "")
		}
		if s.cfg.Checksum == ChecksumMD5 && p.MD5 == [md5.Size]byte{} {
			return s.refuse(opComplete, key, ErrRefused, fmt.Sprintf("the MD5 of part %d is missing, which this storage needs", p.Number), "")
		}
	}
	if got := CompositeSHA256(parts); got != want.CompositeSHA256 {
		return s.refuse(opComplete, key, ErrChecksum, fmt.Sprintf("the statement's parts give %s, its total says %s", got, want.CompositeSHA256), "")
	}
	return nil
}

// judge compares the object at the key with the statement. completed is the ETag that our own completion returned.
func (s *Store) judge(key string, info ObjectInfo, parts []Part, want Want, completed string) (Outcome, ObjectInfo, error) {
	diff := s.difference(info, parts, want)
	if diff == "" {
		return Done, info, nil
	}
	etag := MultipartETag(parts)
	if ours := completed != "" && completed == info.ETag || etag != "" && etag == info.ETag; ours {
		return Refused, info, s.refuse(opComplete, key, ErrChecksum, diff, "the store holds other bytes than the agent sent")
	}
	return Foreign, info, s.refuse(opComplete, key, ErrForeign, diff, "find out who else writes to this bucket")
}

// difference is empty if info is the object that the statement describes.
func (s *Store) difference(info ObjectInfo, parts []Part, want Want) string {
	if info.Size != want.Size {
		return fmt.Sprintf("the stored object has %d bytes, the statement %d", info.Size, want.Size)
	}
	if info.CompositeSHA256 != "" && s.cfg.Checksum == ChecksumSHA256 {
		if !sameComposite(info.CompositeSHA256, want.CompositeSHA256) {
			return fmt.Sprintf("the stored object has the composite checksum %s, the statement %s", info.CompositeSHA256, want.CompositeSHA256)
		}
		return ""
	}
	etag := MultipartETag(parts)
	if etag == "" {
		return "the store shows no checksum of the object, and its parts' ETags are no MD5"
	}
	if info.ETag != etag {
		return fmt.Sprintf("the stored object has the ETag %s, its parts give %s", info.ETag, etag)
	}
	return ""
}

// sameComposite allows for stores that leave out the -N.
func sameComposite(got, want string) bool {
	if got == want {
		return true
	}
	sum, _, ok := strings.Cut(want, "-")
	return ok && !isComposite(got) && got == sum
}

// isComposite: standard base64 has no dash.
func isComposite(sum string) bool { return strings.Contains(sum, "-") }
