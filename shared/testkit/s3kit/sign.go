package s3kit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Do sends one request signed with the root account's key (AWS Signature Version 4). path is unescaped and begins with a
// slash: /bucket/key. The caller closes the body.
func (s *Server) Do(ctx context.Context, method, path string, query url.Values, header http.Header, body []byte) (*http.Response, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	u.Path, u.RawPath, u.RawQuery = path, escapePath(path), canonicalQuery(query)
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	for k, v := range header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	now := time.Now().UTC()
	req.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	req.Header.Set("X-Amz-Content-Sha256", payload)
	signed, canonical := canonicalHeaders(u.Host, req.Header)
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		s.AccessKey, s.scope(now), signed, s.signature(now, method, path, u.RawQuery, canonical, signed, payload)))
	return s.client().Do(req)
}

// Presign makes a URL that allows exactly one request until ttl has passed. The request must carry every header given here
// with the same value.
func (s *Server) Presign(method, path string, query url.Values, header http.Header, ttl time.Duration) string {
	u, _ := url.Parse(s.Endpoint)
	now := time.Now().UTC()
	signed, canonical := canonicalHeaders(u.Host, header)
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	q.Set("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
	q.Set("X-Amz-Credential", s.AccessKey+"/"+s.scope(now))
	q.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	q.Set("X-Amz-Expires", strconv.Itoa(int(ttl/time.Second)))
	q.Set("X-Amz-SignedHeaders", signed)
	raw := canonicalQuery(q)
	sig := s.signature(now, method, path, raw, canonical, signed, "UNSIGNED-PAYLOAD")
	u.Path, u.RawPath, u.RawQuery = path, escapePath(path), raw+"&X-Amz-Signature="+sig
	return u.String()
}

// resign replaces the signature of a request on its way, whoever made it, by one of the root account. A presigned request
// becomes one with an Authorization header, over an unsigned payload.
func (s *Server) resign(r *http.Request) {
	q := r.URL.Query()
	maps.DeleteFunc(q, func(k string, _ []string) bool {
		k = strings.ToLower(k)
		return strings.HasPrefix(k, "x-amz-") && !isChecksum(k)
	})
	r.URL.RawQuery = canonicalQuery(q)
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		payload = "UNSIGNED-PAYLOAD"
	}
	now := time.Now().UTC()
	r.Header.Set("X-Amz-Content-Sha256", payload)
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	covered := http.Header{}
	for k, v := range r.Header {
		if strings.HasPrefix(strings.ToLower(k), "x-amz-") {
			covered[k] = v
		}
	}
	signed, canonical := canonicalHeaders(r.Host, covered)
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		s.AccessKey, s.scope(now), signed, s.signature(now, r.Method, r.URL.Path, r.URL.RawQuery, canonical, signed, payload)))
}

// client trusts the server's own certificate authority, where it has one.
func (s *Server) client() *http.Client {
	if s.CA == nil {
		return kitClient
	}
	return &http.Client{Transport: &http.Transport{Proxy: nil, DisableCompression: true, DisableKeepAlives: true, TLSClientConfig: s.tls()}}
}

// kitClient uses no proxy, shares no pool with the code under test, and opens a connection per request, so that
// net/http never repeats a request by itself.
var kitClient = &http.Client{Transport: &http.Transport{Proxy: nil, DisableCompression: true, DisableKeepAlives: true}}

func (s *Server) scope(t time.Time) string {
	return t.Format("20060102") + "/" + s.Region + "/s3/aws4_request"
}

func (s *Server) signature(t time.Time, method, path, query, headers, signed, payload string) string {
	request := strings.Join([]string{method, escapePath(path), query, headers, signed, payload}, "\n")
	sum := sha256.Sum256([]byte(request))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", t.Format("20060102T150405Z"), s.scope(t), hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + s.SecretKey)
	for _, part := range []string{t.Format("20060102"), s.Region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func canonicalHeaders(host string, header http.Header) (signed, canonical string) {
	lines := map[string]string{"host": host}
	names := []string{"host"}
	for k, v := range header {
		k = strings.ToLower(k)
		names = append(names, k)
		lines[k] = strings.TrimSpace(strings.Join(v, ","))
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n + ":" + lines[n] + "\n")
	}
	return strings.Join(names, ";"), b.String()
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for k, vs := range q {
		for _, v := range vs {
			pairs = append(pairs, escape(k, false)+"="+escape(v, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func escapePath(p string) string { return escape(p, true) }

// escape percent-encodes as the signature wants it: all but unreserved characters, a space as %20.
func escape(s string, keepSlash bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
