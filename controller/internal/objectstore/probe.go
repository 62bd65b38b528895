package objectstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// maxSkew is when the clock step fails. Stores refuse requests at 15 min.
const maxSkew = 5 * time.Minute

// minPart is the smallest part that is not the last, by the protocol.
const minPart = 5 << 20

// Capabilities are what Probe found and Configure puts to use.
type Capabilities struct {
	SHA256              bool `json:"sha256"`                // a wrong x-amz-checksum-sha256 is refused, multipart too
	ContentMD5          bool `json:"content_md5"`           // a wrong Content-MD5 is refused
	CompositeInHead     bool `json:"composite_in_head"`     // HEAD shows the composite SHA-256 of a multipart object
	MultipartETagMD5    bool `json:"multipart_etag_md5"`    // a multipart ETag is the MD5 of the parts' MD5
	ConditionalRead     bool `json:"conditional_read"`      // If-Match on GET
	ConditionalPut      bool `json:"conditional_put"`       // If-None-Match on PUT
	ConditionalComplete bool `json:"conditional_complete"`  // If-None-Match on CompleteMultipartUpload
	Versioning          bool `json:"versioning"`            // turned on for the bucket
	ObjectLock          bool `json:"object_lock"`           // turned on for the bucket
	MaxParts            int  `json:"max_parts"`             // 10000, or 1000 if high part numbers are refused; 0 if not known
	PrefixUploadListing bool `json:"prefix_upload_listing"` // uploads are listed by prefix, not by exact key only
}

// Checksum is the mode that the store is used with; empty if it is not known, or the store checks nothing.
func (c Capabilities) Checksum() ChecksumMode {
	switch {
	case c.SHA256:
		return ChecksumSHA256
	case c.ContentMD5:
		return ChecksumMD5
	}
	return ""
}

// Configure sets what depends on the store. The result signs and settles with what Probe found; what it did not find out
// stays as it is, or unused.
func (c Capabilities) Configure(cfg Config) Config {
	if mode := c.Checksum(); mode != "" {
		cfg.Checksum = mode
	}
	cfg.ConditionalPut, cfg.ConditionalComplete, cfg.ConditionalRead = c.ConditionalPut, c.ConditionalComplete, c.ConditionalRead
	return cfg
}

// Step is one thing that the probe tried.
type Step struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // the storage cannot be used if it fails
	Millis   int64  `json:"millis"`
	Detail   string `json:"detail"`         // what was found, or the error
	Hint     string `json:"hint,omitempty"` // what an operator can do
}

// ExpiryRule is a lifecycle rule that removes objects, versions or uploads under the storage's prefix.
type ExpiryRule struct {
	ID     string `json:"id"`
	Prefix string `json:"prefix"`
	// Days after which current objects expire, 0 if the rule does not.
	Days int `json:"days,omitempty"`
	// Date on which they expire, if it names one.
	Date *time.Time `json:"date,omitempty"`
	// NoncurrentDays after which replaced versions expire.
	NoncurrentDays int `json:"noncurrent_days,omitempty"`
	// AbortDays after which open uploads are aborted.
	AbortDays int `json:"abort_days,omitempty"`
	// ArchiveDays after which objects move to a class that cannot be read at once, at least 1.
	ArchiveDays int `json:"archive_days,omitempty"`
}

// ProbeReport is the result of a probe.
type ProbeReport struct {
	Steps        []Step        `json:"steps"`
	Capabilities Capabilities  `json:"capabilities"`
	ClockSkew    time.Duration `json:"clock_skew"` // how far the store is ahead of us
	Lifecycle    []ExpiryRule  `json:"lifecycle"`
	Warnings     []string      `json:"warnings"`

	err error
}

// Inherit keeps what an earlier probe of the same storage found, if this one failed: a store that is down for a minute must
// not be taken for one that can do less, while uploads are open that rely on it.
func (r *ProbeReport) Inherit(earlier Capabilities) {
	if r.err != nil && earlier.Checksum() != "" {
		r.Capabilities = earlier
	}
}

// Err is the first failure of a required step, or nil: then the storage can be used. It wraps the kinds of this package.
func (r *ProbeReport) Err() error { return r.err }

// prober holds the state of one probe.
type prober struct {
	s      *Store // mode and conditions as found so far
	report *ProbeReport
	dir    string
	keys   []string
	small  ObjectInfo
	body   []byte
	stop   bool
}

// Probe tries on the real bucket all that the system will do with it, and reports each step with its time. It goes on after
// a failed step unless no other can work (bucket missing, key unknown, store unreachable), and removes what it wrote, also when
// ctx is cancelled. It writes about 5 MiB and needs less than 16 MiB of memory. The settings found by an earlier probe
// are not used.
func (s *Store) Probe(ctx context.Context) *ProbeReport {
	name := make([]byte, 8)
	_, _ = rand.Read(name)
	p := &prober{
		s:      s.with(ChecksumSHA256, false),
		report: &ProbeReport{Steps: []Step{}, Lifecycle: []ExpiryRule{}, Warnings: []string{}},
		dir:    s.Key(".devflow-probe", hex.EncodeToString(name)),
		body:   make([]byte, 1024),
	}
	_, _ = rand.Read(p.body)
	if s.Insecure() {
		p.report.Warnings = append(p.report.Warnings, "requests travel without TLS: use an https endpoint")
	}
	p.step(ctx, "list", true, p.list)
	p.step(ctx, "clock skew", true, p.clock)
	p.step(ctx, "checksum headers", true, p.checksums)
	p.step(ctx, "write", true, p.write)
	p.step(ctx, "read", true, p.read)
	p.step(ctx, "multipart", true, p.multipart)
	p.step(ctx, "part limits", true, p.partLimits)
	p.step(ctx, "conditional reads", true, p.conditionalRead)
	p.step(ctx, "conditional writes", false, p.conditionalWrite)
	p.step(ctx, "list uploads", true, p.listUploads)
	p.step(ctx, "versions", false, p.versioning)
	p.step(ctx, "lock", false, p.lock)
	p.step(ctx, "lifecycle rules", false, p.lifecycle)
	// What was written is removed in any case, so a cancelled or stopped probe cleans up too.
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	p.stop = false
	if len(p.keys) > 0 {
		p.step(cleanup, "delete", true, p.delete)
	}
	return p.report
}

// with is the same bucket and connections in another mode, with conditions on everything or on nothing.
func (s *Store) with(mode ChecksumMode, conditions bool) *Store {
	c := *s
	c.cfg.Checksum, c.cfg.ConditionalPut, c.cfg.ConditionalComplete, c.cfg.ConditionalRead = mode, conditions, conditions, conditions
	return &c
}

func (p *prober) step(ctx context.Context, name string, required bool, do func(context.Context) (string, error)) {
	if p.stop {
		return
	}
	start := time.Now()
	detail, err := do(ctx)
	st := Step{Name: name, OK: err == nil, Required: required, Millis: time.Since(start).Milliseconds(), Detail: detail}
	if err != nil {
		st.Detail = err.Error()
		var e *Error
		if errors.As(err, &e) {
			st.Hint = e.Hint
		}
		if required && p.report.err == nil {
			p.report.err = fmt.Errorf("storage probe, step %s: %w", name, err)
		}
		if errors.Is(err, ErrNoSuchBucket) || errors.Is(err, ErrConfig) || errors.Is(err, ErrClockSkew) || ctx.Err() != nil ||
			name == "list" && (errors.Is(err, ErrUnavailable) || e != nil && unknownKey(e.Code)) {
			p.stop = true
		}
	}
	p.report.Steps = append(p.report.Steps, st)
}

func unknownKey(code string) bool {
	switch code {
	case "InvalidAccessKeyId", "InvalidAccessKeyID", "XAdminNoSuchUser", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
		return true
	}
	return false
}

func (p *prober) key(name string) string {
	k := p.dir + "/" + name
	p.keys = append(p.keys, k)
	return k
}

func (p *prober) list(ctx context.Context) (string, error) {
	if err := p.s.reach(ctx); err != nil {
		if skew, ok := p.s.ClockSkew(); ok {
			p.report.ClockSkew = skew
		}
		return "", err
	}
	return "bucket " + p.s.cfg.Bucket + " answers", nil
}

func (p *prober) clock(context.Context) (string, error) {
	skew, ok := p.s.ClockSkew()
	if !ok {
		return "the store's replies carry no date", nil
	}
	p.report.ClockSkew = skew
	if skew.Abs() > maxSkew {
		return "", p.s.refuse("compare clocks", "", ErrClockSkew, "the store's clock is "+relative(skew)+" ours",
			"set the clock of the controller's host or of the store (NTP)")
	}
	return "the store's clock is within " + max(skew.Abs(), time.Second).String() + " of ours", nil
}

// checksums sends bytes that do not match their signed checksum: only a store that refuses them checks.
func (p *prober) checksums(ctx context.Context) (string, error) {
	var found []string
	for _, mode := range []ChecksumMode{ChecksumSHA256, ChecksumMD5} {
		s := p.s.with(mode, false)
		key := p.key("checksum-" + string(mode))
		right := Body{Size: int64(len(p.body)), SHA256: sha256.Sum256(p.body), MD5: md5.Sum(p.body)}
		wrong := bytes.Clone(p.body)
		wrong[0] ^= 1
		accepted, err := p.sendPut(ctx, s, key, right, p.body)
		if err != nil {
			return "", err
		}
		if !accepted {
			continue
		}
		if accepted, err = p.sendPut(ctx, s, key, right, wrong); err != nil {
			return "", err
		}
		if accepted {
			continue
		}
		found = append(found, string(mode))
		if mode == ChecksumSHA256 {
			p.report.Capabilities.SHA256 = true
		} else {
			p.report.Capabilities.ContentMD5 = true
		}
	}
	if len(found) == 0 {
		return "", p.s.refuse("write object", p.dir, ErrUnsupported, "the store checks neither x-amz-checksum-sha256 nor Content-MD5",
			"use a store that checks what it receives, or one whose credentials may write under the prefix")
	}
	if !p.report.Capabilities.SHA256 {
		p.s = p.s.with(ChecksumMD5, false)
	}
	return "the store checks " + strings.Join(found, " and "), nil
}

// sendPut tells whether the store took the bytes. Denied, unreachable and missing are errors; another refusal is not.
func (p *prober) sendPut(ctx context.Context, s *Store, key string, signed Body, body []byte) (bool, error) {
	req, err := s.PresignPut(ctx, key, signed, 5*time.Minute)
	if err != nil {
		return false, err
	}
	_, _, err = s.send(ctx, "write object", key, req, body)
	return accepted(err)
}

func accepted(err error) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrDenied), errors.Is(err, ErrNoSuchBucket), errors.Is(err, ErrUnavailable), errors.Is(err, ErrConfig),
		errors.Is(err, ErrClockSkew), errors.Is(err, ErrFull), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false, err
	}
	return false, nil
}

func (p *prober) write(ctx context.Context) (string, error) {
	info, err := p.s.Put(ctx, p.key("small"), p.body, "application/octet-stream")
	if err != nil {
		return "", err
	}
	p.small = info
	return fmt.Sprintf("%d bytes", len(p.body)), nil
}

func (p *prober) read(ctx context.Context) (string, error) {
	key := p.dir + "/small"
	got, err := p.s.Get(ctx, key, int64(len(p.body)))
	if err != nil {
		return "", err
	}
	if !bytes.Equal(got, p.body) {
		return "", p.s.refuse("read object", key, ErrChecksum, "other bytes came back", "")
	}
	info, err := p.s.Head(ctx, key)
	if err != nil {
		return "", err
	}
	if info.Size != int64(len(p.body)) || info.ETag == "" {
		return "", p.s.refuse(opHead, key, ErrChecksum, fmt.Sprintf("HEAD shows %d bytes and ETag %q", info.Size, info.ETag), "")
	}
	p.small = info
	return fmt.Sprintf("%d bytes, the same", len(got)), nil
}

// multipart goes the way of an artifact: presigned parts, completion, HEAD.
func (p *prober) multipart(ctx context.Context) (string, error) {
	detail, err := p.multipartIn(ctx)
	if err == nil || p.s.cfg.Checksum == ChecksumMD5 || !p.report.Capabilities.ContentMD5 || ctx.Err() != nil ||
		errors.Is(err, ErrDenied) || errors.Is(err, ErrUnavailable) {
		return detail, err
	}
	// Some stores know SHA-256 on PUT and not on parts.
	p.s = p.s.with(ChecksumMD5, false)
	detail, md5Err := p.multipartIn(ctx)
	if md5Err != nil {
		return "", err
	}
	p.report.Capabilities.SHA256 = false
	return detail + "; SHA-256 does not work for parts: " + err.Error(), nil
}

func (p *prober) multipartIn(ctx context.Context) (string, error) {
	s, caps := p.s, &p.report.Capabilities
	key := p.key("multipart-" + string(s.cfg.Checksum))
	id, err := s.CreateUpload(ctx, key)
	if err != nil {
		return "", err
	}
	bodies := [][]byte{make([]byte, minPart), p.body}
	copy(bodies[0], p.body)
	var parts []Part
	var size int64
	for i, b := range bodies {
		part, err := p.sendPart(ctx, s, key, id, i+1, b, b)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
		size += int64(len(b))
	}
	wrong := bytes.Clone(p.body)
	wrong[0] ^= 1
	if _, err := p.sendPart(ctx, s, key, id, 2, p.body, wrong); err == nil {
		return "", s.refuse("upload part", key, ErrUnsupported, "a part that does not match its signed checksum was taken", "")
	}
	outcome, info, err := s.settleProbe(ctx, key, id, parts, Want{Size: size, CompositeSHA256: CompositeSHA256(parts)})
	if err != nil {
		if outcome == Refused && info.Size == size && info.CompositeSHA256 == "" && info.ETag != MultipartETag(parts) {
			// The bytes are as good as any: the store has no way to say so.
			return "", s.refuse(opHead, key, ErrUnsupported, "the store shows no composite SHA-256 of a multipart object, and its ETag is not made of the parts' MD5",
				"use a store that shows either, or turn off its own encryption if that changes ETags")
		}
		return "", err
	}
	caps.CompositeInHead = isComposite(info.CompositeSHA256)
	caps.MultipartETagMD5 = info.ETag == MultipartETag(parts)
	shown := "proven by the MD5 in its ETag"
	if caps.CompositeInHead {
		shown = "proven by its composite SHA-256"
	}
	return fmt.Sprintf("2 parts by presigned URLs, signed with %s, the object %s", s.cfg.Checksum, shown), nil
}

// partLimits sends parts with the highest numbers that stores are known to take, and completes nothing.
func (p *prober) partLimits(ctx context.Context) (string, error) {
	key := p.key("parts")
	id, err := p.s.CreateUpload(ctx, key)
	if err != nil {
		return "", err
	}
	for _, limit := range []int{10_000, 1000} {
		_, sendErr := p.sendPart(ctx, p.s, key, id, limit, p.body, p.body)
		taken, err := accepted(sendErr)
		if err != nil {
			return "", err
		}
		if taken {
			p.report.Capabilities.MaxParts = limit
			return fmt.Sprintf("up to %d parts", limit), p.s.AbortUpload(ctx, key, id)
		}
	}
	return "", p.s.refuse("upload part", key, ErrUnsupported, "the store takes neither part 10000 nor part 1000", "use a store that takes 1,000 parts or more")
}

// settleProbe gives a disturbed store a few chances.
func (s *Store) settleProbe(ctx context.Context, key, id string, parts []Part, want Want) (o Outcome, info ObjectInfo, err error) {
	for range 3 {
		if o, info, err = s.Settle(ctx, key, id, parts, want); o != Retry || !Retryable(err) {
			return o, info, err
		}
	}
	return o, info, err
}

func (p *prober) sendPart(ctx context.Context, s *Store, key, id string, number int, signed, body []byte) (Part, error) {
	part := Part{Number: number, SHA256: sha256.Sum256(signed), MD5: md5.Sum(signed)}
	req, err := s.PresignPart(ctx, key, id, number, Body{Size: int64(len(signed)), SHA256: part.SHA256, MD5: part.MD5}, 5*time.Minute)
	if err != nil {
		return part, err
	}
	h, _, err := s.send(ctx, "upload part", key, req, body)
	if err != nil {
		return part, err
	}
	part.ETag = strings.Trim(h.Get("ETag"), `"`)
	if s.cfg.Checksum == ChecksumSHA256 {
		part.MD5 = [md5.Size]byte{} // as an agent reports it
	}
	return part, nil
}

// conditionalRead needs ranges. That If-Match is honoured, refused or ignored is only noted: see PresignGet.
func (p *prober) conditionalRead(ctx context.Context) (string, error) {
	key := p.dir + "/small"
	s := p.s.with(p.s.cfg.Checksum, true)
	get := func(etag string) ([]byte, error) {
		req, err := s.PresignGet(ctx, key, p.small.VersionID, etag, ReadRange{100, 199}, 5*time.Minute)
		if err != nil {
			return nil, err
		}
		_, b, err := s.send(ctx, "read object", key, req, nil)
		return b, err
	}
	b, err := get("")
	if err != nil {
		return "", err
	}
	if !bytes.Equal(b, p.body[100:200]) {
		return "", p.s.refuse("read object", key, ErrUnsupported, fmt.Sprintf("a range of 100 bytes came back as %d bytes or as others", len(b)), "use a store that serves ranges")
	}
	b, err = get(p.small.ETag)
	if _, err := accepted(err); err != nil {
		return "", err
	}
	if !bytes.Equal(b, p.body[100:200]) {
		return "a range is served; If-Match is refused, so a changed object shows by its size and checksum only", nil
	}
	switch _, err = get("00000000000000000000000000000000"); {
	case errors.Is(err, ErrPrecondition):
		p.report.Capabilities.ConditionalRead = true
		return "a range is served, a changed object refused", nil
	case err == nil:
		return "a range is served; If-Match is ignored, so a changed object shows by its size and checksum only", nil
	}
	_, err = accepted(err)
	return "a range is served; If-Match is not understood, so a changed object shows by its size and checksum only", err
}

// conditionalWrite tries to replace an object, which must fail.
func (p *prober) conditionalWrite(ctx context.Context) (string, error) {
	caps := &p.report.Capabilities
	key := p.dir + "/small"
	s := p.s.with(p.s.cfg.Checksum, true)
	other := bytes.Clone(p.body)
	other[0] ^= 1
	req, err := s.PresignPut(ctx, key, Body{Size: int64(len(other)), SHA256: sha256.Sum256(other), MD5: md5.Sum(other)}, 5*time.Minute)
	if err != nil {
		return "", err
	}
	switch _, _, err := s.send(ctx, "write object", key, req, other); {
	case errors.Is(err, ErrPrecondition):
		caps.ConditionalPut = true
	case err != nil && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrRefused):
		return "", err
	}
	id, err := s.CreateUpload(ctx, key)
	if err != nil {
		return "", err
	}
	defer func() { _ = s.AbortUpload(context.WithoutCancel(ctx), key, id) }()
	part, err := p.sendPart(ctx, s, key, id, 1, other, other)
	if err != nil {
		return "", err
	}
	if _, err = s.CompleteUpload(ctx, key, id, []Part{part}); errors.Is(err, ErrPrecondition) {
		caps.ConditionalComplete = true
	}
	yes := map[bool]string{true: "yes", false: "no"}
	return fmt.Sprintf("If-None-Match on PUT: %s, on completion: %s", yes[caps.ConditionalPut], yes[caps.ConditionalComplete]), nil
}

// listUploads needs to find an upload by its exact key; the sweeper depends on it.
func (p *prober) listUploads(ctx context.Context) (string, error) {
	key := p.key("open")
	id, err := p.s.CreateUpload(ctx, key)
	if err != nil {
		return "", err
	}
	found := func(prefix string) (bool, error) {
		open, err := p.s.ListUploads(ctx, prefix)
		for _, u := range open {
			if u.Key == key && u.ID == id {
				return true, nil
			}
		}
		return false, err
	}
	if there, err := p.s.UploadExists(ctx, key, id); err != nil {
		return "", err
	} else if !there {
		return "", p.s.refuse("list parts", key, ErrUnsupported, "an upload that was just created is not found", "")
	}
	exact, err := found(key)
	if err != nil {
		return "", err
	}
	if p.report.Capabilities.PrefixUploadListing, err = found(p.dir + "/"); err != nil {
		return "", err
	}
	if err := p.s.AbortUpload(ctx, key, id); err != nil {
		return "", err
	}
	if there, err := p.s.UploadExists(ctx, key, id); err != nil {
		return "", err
	} else if there {
		return "", p.s.refuse("abort upload", key, ErrUnsupported, "an aborted upload is still there", "")
	}
	if !exact {
		return "", p.s.refuse("list uploads", key, ErrUnsupported, "an open upload is not listed by its key", "")
	}
	return "open uploads are found and aborted", nil
}

func (p *prober) versioning(ctx context.Context) (string, error) {
	cctx, cancel := p.s.call(ctx)
	defer cancel()
	out, err := p.s.client.GetBucketVersioning(cctx, &s3.GetBucketVersioningInput{Bucket: &p.s.cfg.Bucket})
	if err != nil {
		err = p.s.fail(ctx, "read versioning", "", err)
		if errors.Is(err, ErrUnsupported) {
			return "the store has no versions", nil
		}
		return "", err
	}
	p.report.Capabilities.Versioning = out.Status == types.BucketVersioningStatusEnabled
	switch out.Status {
	case types.BucketVersioningStatusEnabled:
		return "on", nil
	case types.BucketVersioningStatusSuspended:
		return "suspended", nil
	}
	return "off", nil
}

func (p *prober) lock(ctx context.Context) (string, error) {
	cctx, cancel := p.s.call(ctx)
	defer cancel()
	out, err := p.s.client.GetObjectLockConfiguration(cctx, &s3.GetObjectLockConfigurationInput{Bucket: &p.s.cfg.Bucket})
	if err != nil {
		err = p.s.fail(ctx, "read object lock", "", err)
		var e *Error
		if errors.As(err, &e) && (e.Code == "ObjectLockConfigurationNotFoundError" || errors.Is(e.Kind, ErrUnsupported) || errors.Is(e.Kind, ErrNotFound)) {
			return "off", nil
		}
		return "", err
	}
	c := out.ObjectLockConfiguration
	if c == nil || c.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		return "off", nil
	}
	p.report.Capabilities.ObjectLock = true
	if c.Rule == nil || c.Rule.DefaultRetention == nil {
		return "on, without a default retention", nil
	}
	d := c.Rule.DefaultRetention
	p.report.Warnings = append(p.report.Warnings, "the bucket's default retention keeps every object, the probe's too, until it ends")
	return fmt.Sprintf("on, default retention %s for %d days %d years", d.Mode, aws.ToInt32(d.Days), aws.ToInt32(d.Years)), nil
}

func (p *prober) lifecycle(ctx context.Context) (string, error) {
	cctx, cancel := p.s.call(ctx)
	defer cancel()
	out, err := p.s.client.GetBucketLifecycleConfiguration(cctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &p.s.cfg.Bucket})
	if err != nil {
		err = p.s.fail(ctx, "read lifecycle", "", err)
		var e *Error
		if errors.As(err, &e) && (e.Code == "NoSuchLifecycleConfiguration" || errors.Is(e.Kind, ErrNotFound)) {
			return "no rules", nil
		}
		if errors.Is(err, ErrUnsupported) {
			return "the store has no lifecycle rules", nil
		}
		return "", err
	}
	p.report.Lifecycle = expiryRules(out.Rules, p.s.cfg.Prefix)
	for _, r := range p.report.Lifecycle {
		p.report.Warnings = append(p.report.Warnings, r.warnings()...)
	}
	return fmt.Sprintf("%d rules, %d of them touch the prefix", len(out.Rules), len(p.report.Lifecycle)), nil
}

// warnings says what the rule does to backups.
func (r ExpiryRule) warnings() []string {
	var all []string
	switch {
	case r.Days > 0:
		all = append(all, fmt.Sprintf("lifecycle rule %q removes objects under %q after %d days: backups kept longer would be lost", r.ID, r.Prefix, r.Days))
	case r.Date != nil:
		all = append(all, fmt.Sprintf("lifecycle rule %q removes objects under %q on %s: backups kept longer would be lost", r.ID, r.Prefix, r.Date.UTC().Format(time.DateOnly)))
	}
	if r.ArchiveDays > 0 {
		all = append(all, fmt.Sprintf("lifecycle rule %q archives objects under %q after %d days: older backups must be restored at the store before they can be read", r.ID, r.Prefix, r.ArchiveDays))
	}
	return all
}

// expiryRules picks the enabled rules that touch objects, versions or uploads under prefix. A rule bound to a tag or a size
// counts too: we cannot know that it never applies.
func expiryRules(rules []types.LifecycleRule, prefix string) []ExpiryRule {
	all := []ExpiryRule{}
	for _, r := range rules {
		if r.Status != types.ExpirationStatusEnabled {
			continue
		}
		e := ExpiryRule{ID: aws.ToString(r.ID), Prefix: rulePrefix(r)}
		if !strings.HasPrefix(e.Prefix, prefix) && !strings.HasPrefix(prefix, e.Prefix) {
			continue
		}
		if r.Expiration != nil {
			e.Days, e.Date = int(aws.ToInt32(r.Expiration.Days)), r.Expiration.Date
		}
		if r.NoncurrentVersionExpiration != nil {
			e.NoncurrentDays = int(aws.ToInt32(r.NoncurrentVersionExpiration.NoncurrentDays))
		}
		if r.AbortIncompleteMultipartUpload != nil {
			e.AbortDays = int(aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation))
		}
		for _, t := range r.Transitions {
			if t.StorageClass != types.TransitionStorageClassGlacier && t.StorageClass != types.TransitionStorageClassDeepArchive {
				continue
			}
			if d := max(1, int(aws.ToInt32(t.Days))); e.ArchiveDays == 0 || d < e.ArchiveDays {
				e.ArchiveDays = d
			}
		}
		if e.Days > 0 || e.Date != nil || e.NoncurrentDays > 0 || e.AbortDays > 0 || e.ArchiveDays > 0 {
			all = append(all, e)
		}
	}
	return all
}

func rulePrefix(r types.LifecycleRule) string {
	if r.Filter != nil {
		if r.Filter.Prefix != nil {
			return *r.Filter.Prefix
		}
		if r.Filter.And != nil {
			return aws.ToString(r.Filter.And.Prefix)
		}
		return ""
	}
	return aws.ToString(r.Prefix) //nolint:staticcheck // old rules have it here and nowhere else
}

func (p *prober) delete(ctx context.Context) (string, error) {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, key := range p.keys {
		if _, err := p.s.AbortUploads(ctx, key); err != nil {
			keep(err)
		}
		if err := p.s.DeleteAllVersions(ctx, key); err != nil {
			keep(err)
			continue
		}
		gone, err := p.s.Gone(ctx, key)
		if err == nil && !gone {
			err = p.s.refuse("delete object", key, ErrUnsupported, "it is still there after its deletion", "")
		}
		keep(err)
	}
	if first != nil {
		return "", first
	}
	return "all that the probe wrote is gone", nil
}

// send makes a presigned request as an agent would and returns a small reply. Errors are those of the package.
func (s *Store) send(ctx context.Context, op, key string, req PresignedRequest, body []byte) (http.Header, []byte, error) {
	cctx, cancel := s.call(ctx)
	defer cancel()
	var last error
	for try := range s.cfg.MaxAttempts {
		h, b, err := s.sendOnce(ctx, cctx, op, key, req, body)
		if err == nil || !Retryable(err) || ctx.Err() != nil {
			return h, b, err
		}
		last = err
		select {
		case <-time.After(min(s.cfg.MaxBackoff, 100*time.Millisecond<<try)):
		case <-cctx.Done():
			return nil, nil, last
		}
	}
	return nil, nil, last
}

func (s *Store) sendOnce(ctx, cctx context.Context, op, key string, req PresignedRequest, body []byte) (http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(cctx, req.Method, req.URL, bytes.NewReader(body))
	if err != nil {
		return nil, nil, s.refuse(op, key, ErrConfig, "the signed URL is not valid", "")
	}
	for k, v := range req.Headers {
		r.Header.Set(k, v)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return nil, nil, s.fail(ctx, op, key, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, nil, s.fail(ctx, op, key, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Header, b, nil
	}
	e := &Error{Op: op, Bucket: s.cfg.Bucket, Key: key, Status: resp.StatusCode}
	e.Code, e.detail = parseError(b)
	e.detail = s.scrub(e.detail)
	e.Hint, e.Kind = s.classify(op, e.Code, e.Status)
	return nil, nil, e
}
