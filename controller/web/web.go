// Package web is the console: the pages that a browser drives the API with, built by `make console` and embedded here.
//
// Invariants: the console is static files and has no way around the API; nothing is loaded from another host, and no script is inline
// (the policy of each answer forbids both); a file with a hash in its name never changes, and every other one is asked for again. A
// controller that was built without the console serves the API alone, and a page that says so.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Prefix is where the console is.
const Prefix = "/console/"

//go:embed all:dist
var dist embed.FS

// Policy is what a page of the console may load: itself. The component library sets styles while it runs, scripts stay files.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const unbuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>DevFlow Backup</title>
<body><h1>DevFlow Backup</h1><p>This controller was built without its console. The API is at <code>/api/v1</code>.</p>
<p>To build one with the console: <code>make console build</code>.</p></body></html>
`

// file is one file of the console in each of its encodings; plain is always there.
type file struct {
	plain, gzip, brotli []byte
	contentType, etag   string
}

// Console serves the console under Prefix, sends the root there, and leaves every other request to the next handler.
type Console struct {
	next  http.Handler
	files map[string]file
	index file
}

// New serves the embedded console before next.
func New(next http.Handler) *Console {
	built, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the folder is embedded by name
	}
	return NewFrom(built, next)
}

// NewFrom is New with the built console of a folder. It panics on a folder that cannot be read.
func NewFrom(built fs.FS, next http.Handler) *Console {
	c := &Console{next: next, files: map[string]file{}}
	err := fs.WalkDir(built, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz") {
			return err
		}
		plain, err := fs.ReadFile(built, name)
		if err != nil {
			return err
		}
		f := newFile(name, plain)
		f.gzip, _ = fs.ReadFile(built, name+".gz")
		f.brotli, _ = fs.ReadFile(built, name+".br")
		c.files[name] = f
		return nil
	})
	if err != nil {
		panic(err)
	}
	var ok bool
	if c.index, ok = c.files["index.html"]; !ok {
		c.index = newFile("index.html", []byte(unbuilt))
	}
	return c
}

func newFile(name string, plain []byte) file {
	sum := sha256.Sum256(plain)
	f := file{plain: plain, etag: hex.EncodeToString(sum[:12]), contentType: mime.TypeByExtension(path.Ext(name))}
	if f.contentType == "" {
		f.contentType = "application/octet-stream"
	}
	return f
}

func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch name, inside := strings.CutPrefix(r.URL.Path, Prefix); {
	case inside:
		c.serve(w, r, name)
	case r.URL.Path == "/" || r.URL.Path+"/" == Prefix:
		http.Redirect(w, r, Prefix, http.StatusFound)
	default:
		c.next.ServeHTTP(w, r)
	}
}

func (c *Console) serve(w http.ResponseWriter, r *http.Request, name string) {
	h := w.Header()
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the console is only read", http.StatusMethodNotAllowed)
		return
	}
	f, ok := c.files[name]
	switch {
	case ok && strings.HasPrefix(name, "assets/"):
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	case ok:
		h.Set("Cache-Control", "no-cache")
	case strings.HasPrefix(name, "assets/"):
		// Of another version of the console: an answer with a page would be taken for a script.
		http.Error(w, "the console has no such file", http.StatusNotFound)
		return
	default: // a page's own address, which the script reads
		f = c.index
		h.Set("Cache-Control", "no-cache")
	}
	send(w, r, f)
}

// send answers with the smallest encoding that the client takes.
func send(w http.ResponseWriter, r *http.Request, f file) {
	h, body, suffix := w.Header(), f.plain, ""
	if f.gzip != nil || f.brotli != nil {
		h.Set("Vary", "Accept-Encoding")
	}
	switch {
	case f.brotli != nil && accepts(r, "br"):
		body, suffix = f.brotli, "br"
	case f.gzip != nil && accepts(r, "gzip"):
		body, suffix = f.gzip, "gzip"
	}
	tag := strconv.Quote(strings.TrimSuffix(f.etag+"-"+suffix, "-"))
	h.Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if suffix != "" {
		h.Set("Content-Encoding", suffix)
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // a browser that went away is nobody's fault
	}
}

func accepts(r *http.Request, encoding string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), encoding) {
			q = strings.ReplaceAll(q, " ", "")
			return q != "q=0" && q != "q=0.0"
		}
	}
	return false
}
