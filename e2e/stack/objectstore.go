package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"

	"devflowbackup/shared/freeport"
	"devflowbackup/shared/testkit/s3kit"
)

// S3Options of StartS3.
type S3Options struct {
	// Port on loopback; a free one if 0.
	Port int
	// Proxy puts a fault proxy between everyone and the server.
	Proxy bool
	// Bucket is made; "devflow" if empty.
	Bucket string
	// Versioned turns versioning on, ObjectLock object lock, which implies it.
	Versioned, ObjectLock bool
}

// S3 is a running S3 server.
type S3 struct {
	*s3kit.Server
	Proxy         *s3kit.FaultProxy // nil unless asked for
	SecretKeyFile string            // holds the secret key, 0600
}

// StartS3 starts an S3 server. Its credentials and objects stay in the stack's directory.
func (s *Stack) StartS3(ctx context.Context, name string, opt S3Options) (*S3, error) {
	dir := s.path(name)
	_, access, err := s.secretFile(name, "access-key")
	if err != nil {
		return nil, fmt.Errorf("start S3 server: %w", err)
	}
	secretFile, secretKey, err := s.secretFile(name, "secret-key")
	if err != nil {
		return nil, fmt.Errorf("start S3 server: %w", err)
	}
	if opt.Port == 0 {
		if opt.Port, err = freeport.Pick(); err != nil {
			return nil, fmt.Errorf("start S3 server: %w", err)
		}
	}
	log, err := os.OpenFile(s.LogFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start S3 server: %w", err)
	}
	defer log.Close()
	server, err := s3kit.Launch(ctx, s3kit.Options{
		Dir: dir, Addr: freeport.Address(opt.Port), AccessKey: access, SecretKey: secretKey, Bucket: opt.Bucket,
		Binary: s.versitygw(), Log: log, Versioned: opt.Versioned, ObjectLock: opt.ObjectLock,
	})
	if err != nil {
		return nil, fmt.Errorf("start S3 server: %w", err)
	}
	s.onStop(func(context.Context) error { return server.Close() })
	s3 := &S3{Server: server, SecretKeyFile: secretFile}
	if opt.Proxy {
		if s3.Proxy, err = s3kit.NewProxy(server.Endpoint); err != nil {
			return nil, fmt.Errorf("start S3 proxy: %w", err)
		}
		s.onStop(func(context.Context) error { s3.Proxy.Close(); return nil })
	}
	s.note("started %s at %s, process id %d", name, server.Endpoint, server.PID())
	return s3, nil
}

// URL is where clients reach the server: through the proxy if there is one.
func (s *S3) URL() string {
	if s.Proxy != nil {
		return s.Proxy.Endpoint
	}
	return s.Endpoint
}

// Object is one stored object.
type Object struct {
	Key      string `xml:"Key"`
	Size     int64  `xml:"Size"`
	ETag     string `xml:"ETag"`
	Modified string `xml:"LastModified"`
}

// anchorKey is the key of an anchor of the audit log.
var anchorKey = regexp.MustCompile(`(^|/)audit/[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{12}\.json$`)

// Anchors lists the keys of the audit log's anchors in the bucket, past any proxy.
func (s *S3) Anchors(ctx context.Context) ([]string, error) {
	var keys []string
	all, err := s.list(ctx)
	for _, o := range all {
		if anchorKey.MatchString(o.Key) {
			keys = append(keys, o.Key)
		}
	}
	return keys, err
}

// Objects lists the bucket, past any proxy, without the anchors of the audit log: they come when their time has come.
func (s *S3) Objects(ctx context.Context) ([]Object, error) {
	all, err := s.list(ctx)
	return slices.DeleteFunc(all, func(o Object) bool { return anchorKey.MatchString(o.Key) }), err
}

func (s *S3) list(ctx context.Context) ([]Object, error) {
	var all []Object
	query := url.Values{"list-type": {"2"}}
	for {
		var page struct {
			Contents              []Object
			IsTruncated           bool
			NextContinuationToken string
		}
		if err := s.getXML(ctx, query, &page); err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		all = append(all, page.Contents...)
		if !page.IsTruncated {
			return all, nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
	}
}

// Versions lists the keys of the bucket past any proxy, each as often as it has versions and delete markers.
func (s *S3) Versions(ctx context.Context) ([]string, error) {
	var all []string
	query := url.Values{"versions": {""}}
	for {
		var page struct {
			Version, DeleteMarker              []struct{ Key string }
			IsTruncated                        bool
			NextKeyMarker, NextVersionIdMarker string //nolint:revive // the element's name
		}
		if err := s.getXML(ctx, query, &page); err != nil {
			return nil, fmt.Errorf("list versions: %w", err)
		}
		for _, v := range append(page.Version, page.DeleteMarker...) {
			all = append(all, v.Key)
		}
		if !page.IsTruncated {
			return all, nil
		}
		query.Set("key-marker", page.NextKeyMarker)
		query.Set("version-id-marker", page.NextVersionIdMarker)
	}
}

// Upload is an unfinished multipart upload.
type Upload struct {
	Key string `xml:"Key"`
	ID  string `xml:"UploadId"`
}

// Uploads lists the bucket's unfinished uploads, past any proxy.
func (s *S3) Uploads(ctx context.Context) ([]Upload, error) {
	var page struct {
		Upload []Upload
	}
	if err := s.getXML(ctx, url.Values{"uploads": {""}}, &page); err != nil {
		return nil, fmt.Errorf("list uploads: %w", err)
	}
	return page.Upload, nil
}

// AbortUploads removes every unfinished upload past any proxy, as a lifecycle rule would, and returns how many there were.
func (s *S3) AbortUploads(ctx context.Context) (int, error) {
	var page struct {
		Upload []struct{ Key, UploadId string } //nolint:revive // the element's name
	}
	if err := s.getXML(ctx, url.Values{"uploads": {""}}, &page); err != nil {
		return 0, fmt.Errorf("list uploads: %w", err)
	}
	for _, u := range page.Upload {
		resp, err := s.Do(ctx, http.MethodDelete, "/"+s.Bucket+"/"+u.Key, url.Values{"uploadId": {u.UploadId}}, nil, nil)
		if err != nil {
			return 0, fmt.Errorf("abort upload of %s: %w", u.Key, err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusNoContent {
			return 0, fmt.Errorf("abort upload of %s: %s", u.Key, resp.Status)
		}
	}
	return len(page.Upload), nil
}

func (s *S3) getXML(ctx context.Context, query url.Values, out any) error {
	resp, err := s.Do(ctx, http.MethodGet, "/"+s.Bucket, query, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, b)
	}
	return xml.Unmarshal(b, out)
}

// Download writes an object to a file and returns its SHA-256, asking the server itself, past any proxy.
func (s *S3) Download(ctx context.Context, key, file string) (sha256Hex string, size int64, err error) {
	resp, err := s.Do(ctx, http.MethodGet, "/"+s.Bucket+"/"+key, nil, nil, nil)
	if err != nil {
		return "", 0, fmt.Errorf("download %s: %w", key, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("download %s: %s", key, resp.Status)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("download %s: %w", key, err)
	}
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, sum), resp.Body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", 0, fmt.Errorf("download %s: %w", key, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), size, nil
}
