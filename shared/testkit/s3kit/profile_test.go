package s3kit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"devflowbackup/shared/testkit/s3kit"
)

// shop is a server of a certain kind, spoken to through its proxy.
type shop struct {
	t      *testing.T
	proxy  *s3kit.FaultProxy
	client *s3kit.Server
}

// do sends a request and returns status, header and body.
func (s shop) do(method, key string, q url.Values, h http.Header, body string) (int, http.Header, string) {
	s.t.Helper()
	path := "/" + s.client.Bucket
	if key != "" {
		path += "/" + key
	}
	resp, err := s.client.Do(s.t.Context(), method, path, q, h, []byte(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// upload opens an upload and sends parts; complete lists them.
func (s shop) upload(key string, parts ...string) (id, complete string) {
	s.t.Helper()
	_, _, b := s.do(http.MethodPost, key, url.Values{"uploads": {""}}, nil, "")
	var created struct{ UploadId string } //nolint:revive // as S3 spells it
	if err := xml.Unmarshal([]byte(b), &created); err != nil {
		s.t.Fatal(err)
	}
	complete = "<CompleteMultipartUpload>"
	for i, p := range parts {
		status, h, b := s.part(key, created.UploadId, i+1, p)
		if status != http.StatusOK {
			s.t.Fatalf("part %d: %d %s", i+1, status, b)
		}
		complete += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, h.Get("ETag"))
	}
	return created.UploadId, complete + "</CompleteMultipartUpload>"
}

func (s shop) part(key, id string, number int, body string) (int, http.Header, string) {
	s.t.Helper()
	return s.do(http.MethodPut, key, url.Values{"uploadId": {id}, "partNumber": {strconv.Itoa(number)}}, nil, body)
}

func (s shop) complete(key, id, doc string) (int, string) {
	s.t.Helper()
	status, _, b := s.do(http.MethodPost, key, url.Values{"uploadId": {id}}, nil, doc)
	return status, b
}

// want fails unless status and text are those of the kind of store.
func (s shop) want(status int, body string, wantStatus int, text string) {
	s.t.Helper()
	if status != wantStatus || !strings.Contains(body, text) {
		s.t.Fatalf("status %d, %s; want %d %s", status, body, wantStatus, text)
	}
}

func sha(body string) string {
	sum := sha256.Sum256([]byte(body))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Each profile does what it says, and leaves alone what it says nothing of.
func TestProfiles(t *testing.T) {
	five := string(bytes.Repeat([]byte("x"), 5<<20))
	wrong := http.Header{"X-Amz-Checksum-Sha256": {sha("other")}}
	for _, tc := range []struct {
		name    string
		profile func(*s3kit.Server) *s3kit.Profile
		try     func(s shop)
	}{
		{"NoSHA256", func(*s3kit.Server) *s3kit.Profile { return s3kit.NoSHA256() }, func(s shop) {
			status, _, b := s.do(http.MethodPut, "k", nil, http.Header{"X-Amz-Checksum-Sha256": {sha("body")}}, "body")
			s.want(status, b, 400, "InvalidArgument")
			status, _, b = s.do(http.MethodPost, "k", url.Values{"uploads": {""}}, http.Header{"X-Amz-Checksum-Algorithm": {"SHA256"}}, "")
			s.want(status, b, 400, "x-amz-checksum-algorithm")
			status, _, b = s.do(http.MethodPut, "k", nil, http.Header{"X-Amz-Trailer": {"x-amz-checksum-crc32"}}, "body")
			s.want(status, b, 400, "x-amz-checksum-crc32")
			status, _, b = s.do(http.MethodPut, "k", nil, http.Header{"Content-Md5": {"AAAAAAAAAAAAAAAAAAAAAA=="}}, "body")
			s.want(status, b, 400, "Digest")
			status, _, b = s.do(http.MethodPut, "k", nil, nil, "body")
			s.want(status, b, 200, "")
			status, _, b = s.do(http.MethodHead, "k", nil, http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}}, "")
			s.want(status, b, 400, "")
		}},
		{"IgnoresSHA256", s3kit.IgnoresSHA256, func(s shop) {
			status, _, b := s.do(http.MethodPut, "k", nil, wrong, "body")
			s.want(status, b, 200, "")
			status, _, b = s.do(http.MethodGet, "k", nil, nil, "")
			s.want(status, b, 200, "body")
			id, doc := s.upload("m", "part")
			status, b = s.complete("m", id, strings.Replace(doc, "</Part>", "<ChecksumSHA256>"+sha("other")+"</ChecksumSHA256></Part>", 1))
			s.want(status, b, 200, "CompleteMultipartUploadResult")
		}},
		{"IgnoresMD5", s3kit.IgnoresMD5, func(s shop) {
			status, _, b := s.do(http.MethodPut, "k", nil, http.Header{"Content-Md5": {"AAAAAAAAAAAAAAAAAAAAAA=="}}, "body")
			s.want(status, b, 200, "")
			status, _, b = s.do(http.MethodPut, "k", nil, wrong, "body")
			s.want(status, b, 400, "hecksum")
		}},
		{"IgnoresConditions", s3kit.IgnoresConditions, func(s shop) {
			for range 2 {
				status, _, b := s.do(http.MethodPut, "k", nil, http.Header{"If-None-Match": {"*"}}, "body")
				s.want(status, b, 200, "")
			}
			status, _, b := s.do(http.MethodGet, "k", nil, http.Header{"If-Match": {`"0"`}, "Range": {"bytes=1-2"}}, "")
			s.want(status, b, 206, "od")
		}},
		{"RefusesConditions", func(*s3kit.Server) *s3kit.Profile { return s3kit.RefusesConditions() }, func(s shop) {
			status, _, b := s.do(http.MethodPut, "k", nil, http.Header{"If-None-Match": {"*"}}, "body")
			s.want(status, b, 501, "NotImplemented")
			status, _, b = s.do(http.MethodGet, "k", nil, nil, "")
			s.want(status, b, 404, "NoSuchKey")
		}},
		{"EqualParts", func(*s3kit.Server) *s3kit.Profile { return s3kit.EqualParts() }, func(s shop) {
			id, doc := s.upload("k", five, five+"y", "z")
			status, b := s.complete("k", id, doc)
			s.want(status, b, 400, "InvalidPart")
			id, doc = s.upload("k", five, five+"y")
			status, b = s.complete("k", id, doc)
			s.want(status, b, 400, "Expected part 2 to have size 5242880, found 5242881")
			_, h, _ := s.part("k", id, 2, "z")
			first, _, _ := strings.Cut(doc, "<Part><PartNumber>2")
			status, b = s.complete("k", id, first+"<Part><PartNumber>2</PartNumber><ETag>"+h.Get("ETag")+"</ETag></Part></CompleteMultipartUpload>")
			s.want(status, b, 200, "CompleteMultipartUploadResult")
		}},
		{"MaxParts", func(*s3kit.Server) *s3kit.Profile { return s3kit.MaxParts(1000) }, func(s shop) {
			id, _ := s.upload("k")
			status, _, b := s.part("k", id, 1001, "part")
			s.want(status, b, 400, "between 1 and 1000, inclusive")
			status, _, b = s.part("k", id, 1000, "part")
			s.want(status, b, 200, "")
		}},
		{"CompleteTwice404", func(*s3kit.Server) *s3kit.Profile { return s3kit.CompleteTwice404() }, func(s shop) {
			id, doc := s.upload("k", "part")
			status, b := s.complete("k", id, strings.Replace(doc, "<PartNumber>1", "<PartNumber>2", 1))
			s.want(status, b, 400, "InvalidPart")
			r := s.proxy.Inject("CompleteMultipartUpload", 1, s3kit.ReplyStatus(500, "InternalError"))
			status, b = s.complete("k", id, doc)
			s.want(status, b, 500, "InternalError")
			status, b = s.complete("k", id, doc)
			s.want(status, b, 404, "NoSuchUpload")
			status, _, b = s.do(http.MethodGet, "k", nil, nil, "")
			s.want(status, b, 200, "part")
			if r.Fired() != 1 {
				s.t.Fatal("the reply was not lost")
			}
		}},
		{"ExactUploadListing", func(*s3kit.Server) *s3kit.Profile { return s3kit.ExactUploadListing() }, func(s shop) {
			id, _ := s.upload("dir/k")
			other, _ := s.upload("dir/k2")
			for prefix, want := range map[string]string{"": "", "dir/": "", "dir/k": id, "dir/k2": other} {
				_, _, b := s.do(http.MethodGet, "", url.Values{"uploads": {""}, "prefix": {prefix}}, nil, "")
				if strings.Contains(b, id) != (want == id) || strings.Contains(b, other) != (want == other) || !strings.Contains(b, "ListMultipartUploadsResult") {
					s.t.Fatalf("prefix %q: %s", prefix, b)
				}
			}
		}},
		{"UnquotedETags", func(*s3kit.Server) *s3kit.Profile { return s3kit.UnquotedETags() }, func(s shop) {
			id, doc := s.upload("k", "part")
			status, b := s.complete("k", id, doc)
			s.want(status, b, 200, "-1</ETag>")
			if strings.Contains(b, "#34;") || strings.Contains(b, "quot;") || strings.Contains(doc, `"`) {
				s.t.Fatalf("quotes in %s or %s", b, doc)
			}
			if _, h, _ := s.do(http.MethodHead, "k", nil, nil, ""); !strings.HasSuffix(h.Get("ETag"), "-1") {
				s.t.Fatalf("ETag %s", h.Get("ETag"))
			}
		}},
		{"OpaqueETags", s3kit.OpaqueETags, func(s shop) {
			id, doc := s.upload("k", "part")
			status, b := s.complete("k", id, doc)
			s.want(status, b, 200, "opaque-")
			_, h, _ := s.do(http.MethodHead, "k", nil, nil, "")
			if !strings.HasPrefix(h.Get("ETag"), `"opaque-`) {
				s.t.Fatalf("ETag %s", h.Get("ETag"))
			}
			status, _, b = s.do(http.MethodGet, "k", nil, http.Header{"If-Match": {h.Get("ETag")}}, "")
			s.want(status, b, 200, "part")
			status, _, b = s.do(http.MethodGet, "k", nil, http.Header{"If-Match": {`"opaque-0-1"`}}, "")
			s.want(status, b, 412, "PreconditionFailed")
		}},
		{"Lifecycle", func(*s3kit.Server) *s3kit.Profile { return s3kit.Lifecycle("<LifecycleConfiguration/>") }, func(s shop) {
			status, _, b := s.do(http.MethodGet, "", url.Values{"lifecycle": {""}}, nil, "")
			s.want(status, b, 200, "<LifecycleConfiguration/>")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := s3kit.Start(t)
			proxy := s3kit.StartProxy(t, server)
			profile := tc.profile(server)
			proxy.Use(profile)
			proxy.Reset()
			tc.try(shop{t, proxy, s3copy(server, proxy.Endpoint)})
			if profile.Fired() == 0 {
				t.Fatal("the profile did not fire")
			}
		})
	}
}

func TestServer_TLS(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{TLS: true})
	if !strings.HasPrefix(s.Endpoint, "https://") {
		t.Fatal(s.Endpoint)
	}
	put(t, s, "obj", "hello")
	p := s3kit.StartProxy(t, s)
	resp, err := s3copy(s, p.Endpoint).Do(t.Context(), http.MethodGet, "/"+s.Bucket+"/obj", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "hello" {
		t.Fatalf("through the proxy: %s %q", resp.Status, b)
	}
}

func TestServer_Accounts(t *testing.T) {
	s := s3kit.Start(t)
	if err := s.CreateAdmin(t.Context(), "second", "secondsecret"); err != nil {
		t.Fatal(err)
	}
	other := s3copy(s, s.Endpoint)
	other.AccessKey, other.SecretKey = "second", "secondsecret"
	put(t, other, "obj", "hello")
	if err := s.DeleteUser(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	resp, err := other.Do(t.Context(), http.MethodGet, "/"+s.Bucket+"/obj", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Fatalf("a removed account reads: %s, want 403", resp.Status)
	}
}
