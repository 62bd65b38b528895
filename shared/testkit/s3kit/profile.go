package s3kit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Profile makes the server behind a proxy behave like a certain kind of store. Profiles are the store, rules are what goes
// wrong on the way to it: rules are looked at first, and what they pass on meets the profiles in the order in which they
// were put to use. A profile belongs to one proxy; it is safe for concurrent use.
type Profile struct {
	name  string
	fired atomic.Int64
	serve func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error)
}

// roundTrip hands a request on towards the server. The request and its body may be changed by who hands it on.
type roundTrip func(*http.Request) (*http.Response, error)

// Fired tells how often the profile answered or changed something. A test that puts one to use asserts that it is not 0.
func (p *Profile) Fired() int { return int(p.fired.Load()) }

// String is the profile's name, for tests.
func (p *Profile) String() string { return p.name }

// Use puts profiles between the proxy's rules and the server, for good: Reset removes rules alone.
func (p *FaultProxy) Use(profiles ...*Profile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.profiles = slices.Concat(p.profiles, profiles)
}

// serve sends a request through the profiles to the server.
func (p *FaultProxy) serve(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	profiles := p.profiles
	p.mu.Unlock()
	next := roundTrip(p.rt.RoundTrip)
	for _, profile := range slices.Backward(profiles) {
		inner := next
		next = func(r *http.Request) (*http.Response, error) { return profile.serve(profile, r, inner) }
	}
	return next(r)
}

// NoSHA256 is a store that refuses every request with a header of the newer checksums, as Backblaze B2 does: 400
// InvalidArgument, "Unsupported header 'x-amz-checksum-sha256' received for this API call", for UploadPart, PutObject and
// CreateMultipartUpload as for the x-amz-checksum-mode of a HEAD. It checks Content-MD5, shows no composite checksum, and a
// multipart ETag is the MD5 of the parts' MD5.
func NoSHA256() *Profile {
	return &Profile{name: "no SHA-256", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		if found := checksumHeaders(r); len(found) > 0 {
			p.fired.Add(1)
			return refused(r, http.StatusBadRequest, "InvalidArgument", fmt.Sprintf("Unsupported header '%s' received for this API call.", found[0]))
		}
		resp, err := next(r)
		if err == nil {
			for name := range resp.Header {
				if isChecksum(name) {
					resp.Header.Del(name)
				}
			}
		}
		return resp, err
	}}
}

// IgnoresSHA256 is a store that takes the newer checksum headers and looks at none of them, as older compatible servers do:
// wrong bytes are stored, and no reply shows a checksum. What it changes is signed anew with the root account of s; the
// signature that came with it is not checked.
func IgnoresSHA256(s *Server) *Profile {
	return &Profile{name: "ignores SHA-256", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		changed := false
		if names := checksumHeaders(r); len(names) > 0 {
			changed = true
			q := r.URL.Query()
			for _, name := range names {
				r.Header.Del(name)
				maps.DeleteFunc(q, func(k string, _ []string) bool { return strings.EqualFold(k, name) })
			}
			r.Header.Del("X-Amz-Trailer")
			r.URL.RawQuery = canonicalQuery(q)
		}
		if OpOf(r) == "CompleteMultipartUpload" {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			if stripped := checksumElement.ReplaceAll(body, nil); len(stripped) != len(body) {
				changed = true
				setBody(r, stripped)
			}
		}
		if changed {
			p.fired.Add(1)
			s.resign(r)
		}
		return next(r)
	}}
}

var checksumElement = regexp.MustCompile(`<Checksum[A-Z0-9]+>[^<]*</Checksum[A-Z0-9]+>`)

// IgnoresMD5 is a store that does not look at Content-MD5. As IgnoresSHA256 it signs anew what it changes.
func IgnoresMD5(s *Server) *Profile {
	return ignoring(s, "ignores Content-MD5", "Content-Md5")
}

// IgnoresConditions is a store that takes If-Match and If-None-Match and does as if they were not there. As IgnoresSHA256 it
// signs anew what it changes.
func IgnoresConditions(s *Server) *Profile {
	return ignoring(s, "ignores conditions", "If-Match", "If-None-Match")
}

func ignoring(s *Server, name string, headers ...string) *Profile {
	return &Profile{name: name, serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		changed := false
		for _, h := range headers {
			changed = changed || r.Header.Get(h) != ""
			r.Header.Del(h)
		}
		if changed {
			p.fired.Add(1)
			s.resign(r)
		}
		return next(r)
	}}
}

// RefusesConditions is a store that answers If-Match and If-None-Match with 501 NotImplemented.
func RefusesConditions() *Profile {
	return &Profile{name: "refuses conditions", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		if r.Header.Get("If-Match") == "" && r.Header.Get("If-None-Match") == "" {
			return next(r)
		}
		p.fired.Add(1)
		return refused(r, http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented.")
	}}
}

// EqualParts is a store that wants all parts but the last to be equally long, and the last not longer, as Cloudflare R2
// does. It says so at the completion only: 400 InvalidPart. A part that is sent again with another size counts with the new one.
func EqualParts() *Profile {
	var mu sync.Mutex
	sizes := map[string]map[int]int64{} // upload id, part number
	return &Profile{name: "equal parts", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		id := r.URL.Query().Get("uploadId")
		switch OpOf(r) {
		case "UploadPart":
			number, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
			size := r.ContentLength
			resp, err := next(r)
			if err == nil && resp.StatusCode == http.StatusOK {
				mu.Lock()
				if sizes[id] == nil {
					sizes[id] = map[int]int64{}
				}
				sizes[id][number] = size
				mu.Unlock()
			}
			return resp, err
		case "CompleteMultipartUpload":
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			var doc struct {
				Part []struct{ PartNumber int }
			}
			if err := xml.Unmarshal(body, &doc); err != nil {
				return next(r) // the server says what is wrong with it
			}
			mu.Lock()
			known := maps.Clone(sizes[id])
			mu.Unlock()
			for i, part := range doc.Part {
				want, got := known[doc.Part[0].PartNumber], known[part.PartNumber]
				if last := i == len(doc.Part)-1; got == want || last && got < want {
					continue
				}
				p.fired.Add(1)
				return refused(r, http.StatusBadRequest, "InvalidPart", fmt.Sprintf("All non-trailing parts must have the same length. "+
					"Non Uniform Part Sizes: Expected part %d to have size %d, found %d", part.PartNumber, want, got))
			}
		}
		return next(r)
	}}
}

// MaxParts is a store that takes part numbers up to n alone, as Scaleway does with 1,000: 400 InvalidArgument.
func MaxParts(n int) *Profile {
	return &Profile{name: fmt.Sprintf("%d parts", n), serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		if OpOf(r) == "UploadPart" {
			if number, err := strconv.Atoi(r.URL.Query().Get("partNumber")); err == nil && number > n {
				p.fired.Add(1)
				return refused(r, http.StatusBadRequest, "InvalidArgument", fmt.Sprintf("Part number must be an integer between 1 and %d, inclusive", n))
			}
		}
		return next(r)
	}}
}

// CompleteTwice404 is a store that forgets an upload when it is completed, as MinIO does: a repeated completion is answered
// with 404 NoSuchUpload although the object is there. Of two at once one succeeds. With a rule that drops the first reply
// nobody was ever told that the upload is complete.
func CompleteTwice404() *Profile {
	var mu sync.Mutex // held while the server completes: of two at once the second finds the upload gone
	done := map[string]bool{}
	return &Profile{name: "404 to a repeated completion", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		if OpOf(r) != "CompleteMultipartUpload" {
			return next(r)
		}
		id := r.URL.Query().Get("uploadId")
		mu.Lock()
		defer mu.Unlock()
		if done[id] {
			p.fired.Add(1)
			return refused(r, http.StatusNotFound, "NoSuchUpload", "The specified multipart upload does not exist. "+
				"The upload ID may be invalid, or the upload may have been aborted or completed.")
		}
		resp, err := next(r)
		if err != nil {
			return nil, err
		}
		body, err := replyBody(resp)
		if err != nil {
			return nil, err
		}
		done[id] = resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte("<CompleteMultipartUploadResult"))
		return resp, nil
	}}
}

// ExactUploadListing is a store that lists open uploads of one exact key and takes a prefix for one, as MinIO does. Without
// a prefix it lists none.
func ExactUploadListing() *Profile {
	return &Profile{name: "uploads by exact key", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		resp, err := next(r)
		if err != nil || OpOf(r) != "ListMultipartUploads" || resp.StatusCode != http.StatusOK {
			return resp, err
		}
		body, err := replyBody(resp)
		if err != nil {
			return nil, err
		}
		key := r.URL.Query().Get("prefix")
		kept := uploadElement.ReplaceAllFunc(body, func(e []byte) []byte {
			var u struct{ Key string }
			if xml.Unmarshal(e, &u) == nil && u.Key == key {
				return e
			}
			p.fired.Add(1)
			return nil
		})
		setReplyBody(resp, kept)
		return resp, nil
	}}
}

var uploadElement = regexp.MustCompile(`(?s)<Upload>.*?</Upload>`)

// UnquotedETags is a store that leaves out the quotes of ETags, in headers and documents.
func UnquotedETags() *Profile {
	return rewriting("unquoted ETags", func(etag string) string { return strings.Trim(etag, `"`) })
}

const opaque = "opaque-"

// OpaqueETags is a store whose multipart ETags are made of no MD5, as AWS's are with KMS encryption. As IgnoresSHA256 it signs
// anew what it changes: an If-Match with such an ETag.
func OpaqueETags(s *Server) *Profile {
	p := rewriting("opaque ETags", func(etag string) string {
		if bare := strings.Trim(etag, `"`); strings.Contains(bare, "-") {
			return `"` + opaque + bare + `"`
		}
		return etag
	})
	reply := p.serve
	p.serve = func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		if m := r.Header.Get("If-Match"); strings.HasPrefix(m, `"`+opaque) {
			r.Header.Set("If-Match", strings.Replace(m, opaque, "", 1))
			s.resign(r)
		}
		return reply(p, r, next)
	}
	return p
}

var etagElement = regexp.MustCompile(`(<ETag>)([^<]*)(</ETag>)`)

// rewriting changes the ETags of replies: in the header, and in the answer to a completion.
func rewriting(name string, change func(etag string) string) *Profile {
	return &Profile{name: name, serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		resp, err := next(r)
		if err != nil {
			return nil, err
		}
		if old := resp.Header.Get("ETag"); old != "" && change(old) != old {
			p.fired.Add(1)
			resp.Header.Set("ETag", change(old))
		}
		if OpOf(r) != "CompleteMultipartUpload" {
			return resp, nil
		}
		body, err := replyBody(resp)
		if err != nil {
			return nil, err
		}
		setReplyBody(resp, etagElement.ReplaceAllFunc(body, func(e []byte) []byte {
			m := etagElement.FindSubmatch(e)
			quoted := strings.NewReplacer("&#34;", `"`, "&quot;", `"`).Replace(string(m[2]))
			return []byte("<ETag>" + strings.ReplaceAll(change(quoted), `"`, "&#34;") + "</ETag>")
		}))
		return resp, nil
	}}
}

// Lifecycle is a store whose bucket has lifecycle rules: doc, a LifecycleConfiguration, is what it answers.
func Lifecycle(doc string) *Profile {
	return &Profile{name: "lifecycle rules", serve: func(p *Profile, r *http.Request, next roundTrip) (*http.Response, error) {
		if OpOf(r) != "GetBucketLifecycleConfiguration" {
			return next(r)
		}
		p.fired.Add(1)
		return answer(r, http.StatusOK, []byte(doc))
	}}
}

// checksumHeaders names the newer checksum headers of a request, presigned and announced as trailers too, in lower case.
func checksumHeaders(r *http.Request) []string {
	var found []string
	for name := range r.Header {
		if isChecksum(name) {
			found = append(found, strings.ToLower(name))
		}
	}
	for name := range r.URL.Query() {
		if isChecksum(name) {
			found = append(found, strings.ToLower(name))
		}
	}
	for _, name := range strings.Split(r.Header.Get("X-Amz-Trailer"), ",") {
		if name = strings.TrimSpace(name); isChecksum(name) {
			found = append(found, strings.ToLower(name))
		}
	}
	slices.Sort(found)
	return found
}

func isChecksum(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "x-amz-checksum-") || strings.HasPrefix(name, "x-amz-sdk-checksum-")
}

// refused is the store's error. The request's body is read first: an early answer to a large upload reaches many clients as
// a broken pipe.
func refused(r *http.Request, status int, code, message string) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	var text bytes.Buffer
	_ = xml.EscapeText(&text, []byte(message))
	return answer(r, status, fmt.Appendf(nil, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, text.String()))
}

func answer(r *http.Request, status int, doc []byte) (*http.Response, error) {
	resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}, Request: r}
	setReplyBody(resp, doc)
	if r.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp, nil
}

// readBody reads a small request's body and puts it back.
func readBody(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return b, nil
}

func setBody(r *http.Request, b []byte) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	if r.Header.Get("X-Amz-Content-Sha256") != "" {
		sum := sha256.Sum256(b)
		r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	}
	r.Header.Del("Content-Length")
}

// replyBody reads a small reply and puts it back.
func replyBody(resp *http.Response) ([]byte, error) {
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return b, nil
}

func setReplyBody(resp *http.Response, b []byte) {
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	resp.Header.Set("Content-Length", strconv.Itoa(len(b)))
}
