package objectstore

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// What can be wrong with a call, for errors.Is. Only ErrUnavailable is worth repeating as it is.
var (
	ErrNotFound     = errors.New("object not found")
	ErrNoSuchUpload = errors.New("multipart upload not found")
	ErrNoSuchBucket = errors.New("bucket not found")
	ErrDenied       = errors.New("access denied")
	ErrConfig       = errors.New("storage configuration does not fit the store")
	ErrPrecondition = errors.New("precondition failed")
	ErrUnavailable  = errors.New("store unavailable")
	ErrClockSkew    = errors.New("clock skew")
	ErrChecksum     = errors.New("checksum mismatch")
	ErrRefused      = errors.New("request refused")
	ErrUnsupported  = errors.New("not supported by the store")
	ErrFull         = errors.New("storage full")
	ErrLocked       = errors.New("object is locked")
	ErrArchived     = errors.New("object is archived")
	ErrTooLarge     = errors.New("object too large")
	ErrForeign      = errors.New("foreign object at the key")
)

// Error is a failed call. Its text names what was tried on which key and bucket, why it failed, and what an operator can
// do; it never holds a credential or a signed URL.
type Error struct {
	Op     string // "head object"
	Bucket string
	Key    string // empty for calls on the bucket
	Kind   error  // one of the Err variables; nil if the caller cancelled
	Code   string // the store's own, if it gave one
	Status int    // HTTP status, 0 without a reply
	Hint   string // a sentence for operators, or empty
	// LockedUntil is when it is worth trying to delete a locked object again, if the store told; see ErrLocked.
	LockedUntil time.Time

	detail string
	cause  error
	ended  error // ctx.Err(), which a cause of its own hides
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		fmt.Fprintf(&b, " %q", e.Key)
	}
	fmt.Fprintf(&b, " in bucket %q", e.Bucket)
	if e.Kind != nil {
		fmt.Fprintf(&b, ": %v", e.Kind)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " (%s", e.Code)
		if e.Status != 0 {
			fmt.Fprintf(&b, ", status %d", e.Status)
		}
		b.WriteString(")")
	}
	if e.detail != "" {
		b.WriteString(": " + e.detail)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap gives the kind, and the context's cause if the caller cancelled.
func (e *Error) Unwrap() []error {
	var all []error
	if e.Kind != nil {
		all = append(all, e.Kind)
	}
	if e.cause != nil {
		all = append(all, e.cause, e.ended)
	}
	return all
}

// Retryable tells whether the same call may succeed later without anybody doing something.
func Retryable(err error) bool { return errors.Is(err, ErrUnavailable) }

// fail turns an SDK error into an *Error. ctx is the caller's: its end is reported as its cause, not as the store's fault.
func (s *Store) fail(ctx context.Context, op, key string, err error) error {
	e := &Error{Op: op, Bucket: s.cfg.Bucket, Key: key}
	if ctx.Err() != nil {
		e.cause, e.ended = context.Cause(ctx), ctx.Err()
		e.detail = e.cause.Error()
		return e
	}
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		e.Status = resp.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code, e.detail = api.ErrorCode(), s.scrub(api.ErrorMessage())
	}
	if e.Code == "" && e.Status/100 <= 2 {
		e.Kind, e.detail = ErrUnavailable, s.scrub(transportText(err))
		if errors.Is(err, context.DeadlineExceeded) {
			e.detail = "no complete answer within " + s.timeout(op).String()
		}
		if e.Status != 0 {
			e.detail = fmt.Sprintf("unreadable reply with status %d: %s", e.Status, e.detail)
		}
		e.Hint = "check that the endpoint " + s.endpointName() + " is reachable from the controller"
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) {
			// Worth repeating all the same: a renewed certificate must not have cost the backups of the night.
			e.Hint = "the controller does not trust the certificate of " + s.endpointName() + ": add its authority to those that the controller trusts, or renew it"
		}
		return e
	}
	e.Hint, e.Kind = s.classify(op, e.Code, e.Status)
	if op == opHead && errors.Is(e.Kind, ErrDenied) {
		// A reply to HEAD has no body to say why.
		if skew, ok := s.ClockSkew(); ok && skew.Abs() > maxSkew {
			e.Hint, e.Kind = s.classify(op, "RequestTimeTooSkewed", e.Status)
		} else {
			e.Hint = "check the storage's access key and secret key, and " + e.Hint
		}
	}
	return e
}

// refuse makes an *Error of our own finding.
func (s *Store) refuse(op, key string, kind error, detail, hint string) *Error {
	return &Error{Op: op, Bucket: s.cfg.Bucket, Key: key, Kind: kind, detail: detail, Hint: hint}
}

// classify says what an error of the store means, and what to do about it.
func (s *Store) classify(op, code string, status int) (hint string, kind error) {
	switch code {
	case "NoSuchBucket":
		return fmt.Sprintf("create bucket %q at %s or correct the storage's bucket name", s.cfg.Bucket, s.endpointName()), ErrNoSuchBucket
	case "NoSuchUpload":
		return "", ErrNoSuchUpload
	case "NoSuchKey", "NoSuchVersion", "NotFound":
		return "", ErrNotFound
	case "InvalidAccessKeyId", "InvalidAccessKeyID", "XAdminNoSuchUser":
		return "the store does not know the storage's access key: set the right one", ErrDenied
	case "SignatureDoesNotMatch":
		return "the storage's secret key is wrong, or a proxy changes requests: set the right key", ErrDenied
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return "the storage's credentials have expired: set new ones", ErrDenied
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem", "UnauthorizedAccess", "Unauthorized":
		return s.permissionHint(op), ErrDenied
	case "RequestTimeTooSkewed", "RequestInTheFuture":
		hint = "set the clock of the controller's host or of the store (NTP)"
		if skew, ok := s.ClockSkew(); ok {
			hint = fmt.Sprintf("the store's clock is %s ours: ", relative(skew)) + hint
		}
		return hint, ErrClockSkew
	case "PermanentRedirect", "TemporaryRedirect", "MovedPermanently", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidBucketName":
		return fmt.Sprintf("check the storage's region (now %q), endpoint and bucket name", s.cfg.Region), ErrConfig
	case "PreconditionFailed", "ConditionalRequestConflict":
		return "", ErrPrecondition
	case "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch":
		return "the bytes changed on the way to the store", ErrChecksum
	case "InvalidPart", "InvalidPartOrder":
		return "the store holds other parts than the statement lists", ErrChecksum
	case "EntityTooSmall", "EntityTooLarge", "MalformedXML", "InvalidRequest", "InvalidArgument", "InvalidPartNumber":
		return "", ErrRefused
	case "NotImplemented", "MethodNotAllowed", "UnsupportedOperation":
		return "", ErrUnsupported
	case "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "StorageFull":
		return "free space at the store or raise its quota", ErrFull
	case "InvalidObjectState":
		return "it lies in an archive of the store: bring it back there first (on AWS `aws s3api restore-object`), then try again", ErrArchived
	case "ObjectLocked":
		return "a retention period or legal hold of the store protects it", ErrLocked
	case "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "Throttling", "ThrottlingException", "TooManyRequests", "BadGateway", "GatewayTimeout":
		return "the store is overloaded or disturbed: it is tried again", ErrUnavailable
	}
	switch {
	case status >= 500 && status != http.StatusNotImplemented, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return "the store is overloaded or disturbed: it is tried again", ErrUnavailable
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		return "", ErrUnsupported
	case status == http.StatusNotFound:
		return "", ErrNotFound
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return s.permissionHint(op), ErrDenied
	case status == http.StatusPreconditionFailed, status == http.StatusConflict:
		return "", ErrPrecondition
	case status/100 == 3:
		return fmt.Sprintf("check the storage's region (now %q), endpoint and bucket name", s.cfg.Region), ErrConfig
	}
	return "", ErrRefused
}

func relative(skew time.Duration) string {
	if skew < 0 {
		return (-skew).String() + " behind"
	}
	return skew.String() + " ahead of"
}

// actions names the permission each call needs.
var actions = map[string]string{
	"create upload":    "s3:PutObject",
	"complete upload":  "s3:PutObject",
	"write object":     "s3:PutObject",
	"upload part":      "s3:PutObject",
	"abort upload":     "s3:AbortMultipartUpload",
	"list uploads":     "s3:ListBucketMultipartUploads",
	"list parts":       "s3:ListMultipartUploadParts",
	"head object":      "s3:GetObject (with versions s3:GetObjectVersion too) and s3:ListBucket",
	"read object":      "s3:GetObject (with versions s3:GetObjectVersion too)",
	"list objects":     "s3:ListBucket",
	"list versions":    "s3:ListBucketVersions",
	"delete object":    "s3:DeleteObject and s3:DeleteObjectVersion",
	"read versioning":  "s3:GetBucketVersioning",
	"read object lock": "s3:GetBucketObjectLockConfiguration",
	"read lifecycle":   "s3:GetLifecycleConfiguration",
	"reach bucket":     "s3:ListBucket",
}

func (s *Store) permissionHint(op string) string {
	if a, ok := actions[op]; ok {
		return fmt.Sprintf("give the storage's access key the permission %s on bucket %q", a, s.cfg.Bucket)
	}
	return fmt.Sprintf("check what the storage's access key may do on bucket %q", s.cfg.Bucket)
}

func (s *Store) endpointName() string {
	if s.cfg.Endpoint == "" {
		return "AWS region " + s.cfg.Region
	}
	return s.cfg.Endpoint
}

// transportText is the innermost readable reason: a *url.Error would print the URL, and the SDK's chain repeats itself.
func transportText(err error) string {
	var cut *cutBody
	if errors.As(err, &cut) {
		return cut.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// scrub removes the credentials should a store repeat them. Values too short to be anybody's real key are left, or they
// would eat ordinary words.
func (s *Store) scrub(text string) string {
	for _, secret := range []string{s.cfg.SecretKey, s.cfg.AccessKey} {
		if len(secret) >= 6 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// parseError reads code and message of an S3 error document; anything else gives empty strings.
func parseError(doc []byte) (code, message string) {
	var e struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
	}
	if xml.Unmarshal(doc, &e) != nil {
		return "", ""
	}
	return e.Code, e.Message
}
