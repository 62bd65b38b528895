package s3kit

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

const s3Namespace = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

// Retain locks the current version of an object until then, so that nobody can delete it. The bucket must have object lock.
func (s *Server) Retain(ctx context.Context, bucket, key string, until time.Time) error {
	return s.protect(ctx, "lock "+key, "/"+bucket+"/"+key, "retention",
		"<Retention"+s3Namespace+"><Mode>COMPLIANCE</Mode><RetainUntilDate>"+until.UTC().Format(time.RFC3339)+"</RetainUntilDate></Retention>")
}

// LegalHold puts a legal hold on the current version of an object, or takes it off.
func (s *Server) LegalHold(ctx context.Context, bucket, key string, on bool) error {
	status := "OFF"
	if on {
		status = "ON"
	}
	return s.protect(ctx, "hold "+key, "/"+bucket+"/"+key, "legal-hold", "<LegalHold"+s3Namespace+"><Status>"+status+"</Status></LegalHold>")
}

func (s *Server) protect(ctx context.Context, what, path, query, body string) error {
	sum := md5.Sum([]byte(body))
	h := http.Header{"Content-Md5": {base64.StdEncoding.EncodeToString(sum[:])}}
	resp, err := s.Do(ctx, http.MethodPut, path, map[string][]string{query: {""}}, h, []byte(body))
	return expect(what, resp, err)
}

// DefaultRetention locks every object that is written to a bucket from now on for so many days. The bucket must have object lock.
func (s *Server) DefaultRetention(ctx context.Context, bucket string, days int) error {
	return s.protect(ctx, "lock what is written to "+bucket, "/"+bucket, "object-lock",
		fmt.Sprintf("<ObjectLockConfiguration%s><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>%d</Days></DefaultRetention></Rule></ObjectLockConfiguration>", s3Namespace, days))
}
