package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"devflowbackup/controller/web"
)

func get(t *testing.T, h http.Handler, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func built() fstest.MapFS {
	return fstest.MapFS{
		".gitkeep": {}, "index.html": {Data: []byte("page")}, "index.html.br": {Data: []byte("br")}, "index.html.gz": {Data: []byte("gz")},
		"assets/app-1a2b.js": {Data: []byte("script")}, "theme.js": {Data: []byte("theme")},
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	c := web.NewFrom(built(), next)
	for _, row := range []struct {
		method, path, accept string
		status               int
		cache, encoding      string
		length               int64
	}{
		{"GET", "/", "", http.StatusFound, "", "", -1},
		{"GET", "/console", "", http.StatusFound, "", "", -1},
		{"GET", "/console/", "", http.StatusOK, "no-cache", "", 4},
		{"HEAD", "/console/", "", http.StatusOK, "no-cache", "", 4},
		{"GET", "/console/projects/shop", "gzip", http.StatusOK, "no-cache", "gzip", 2},
		{"GET", "/console/", "gzip, deflate, br", http.StatusOK, "no-cache", "br", 2},
		{"GET", "/console/", "br;q=0, gzip", http.StatusOK, "no-cache", "gzip", 2},
		{"GET", "/console/assets/app-1a2b.js", "br", http.StatusOK, "public, max-age=31536000, immutable", "", 6},
		{"GET", "/console/theme.js", "", http.StatusOK, "no-cache", "", 5},
		{"GET", "/console/assets/app-old.js", "", http.StatusNotFound, "", "", -1},
		{"GET", "/console/.gitkeep", "", http.StatusOK, "no-cache", "", 4}, // no file: a page
		{"POST", "/console/", "", http.StatusMethodNotAllowed, "", "", -1},
		{"GET", "/api/v1/backups", "", http.StatusTeapot, "", "", -1},
		{"GET", "/consoles", "", http.StatusTeapot, "", "", -1},
	} {
		res := get(t, c, row.method, row.path, "Accept-Encoding", row.accept)
		h := res.Header
		if res.StatusCode != row.status || h.Get("Cache-Control") != row.cache || h.Get("Content-Encoding") != row.encoding {
			t.Errorf("%s %s (%s): %d, cache %q, encoding %q; want %d, %q, %q", row.method, row.path, row.accept,
				res.StatusCode, h.Get("Cache-Control"), h.Get("Content-Encoding"), row.status, row.cache, row.encoding)
		}
		if row.length >= 0 && res.ContentLength != row.length {
			t.Errorf("%s %s: %d bytes, want %d", row.method, row.path, res.ContentLength, row.length)
		}
		if row.status == http.StatusOK {
			if h.Get("Content-Security-Policy") != web.Policy || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s lacks its policy", row.method, row.path)
			}
			again := get(t, c, row.method, row.path, "Accept-Encoding", row.accept, "If-None-Match", h.Get("ETag"))
			if again.StatusCode != http.StatusNotModified {
				t.Errorf("%s %s with its own ETag: %d", row.method, row.path, again.StatusCode)
			}
		}
	}
}

func TestConsole_NotBuilt(t *testing.T) {
	t.Parallel()
	res := get(t, web.NewFrom(fstest.MapFS{".gitkeep": {}}, http.NotFoundHandler()), "GET", "/console/backups/7")
	text := make([]byte, 4096)
	n, _ := res.Body.Read(text)
	if res.StatusCode != http.StatusOK || !strings.Contains(string(text[:n]), "make console") {
		t.Errorf("without a built console: %d %s", res.StatusCode, text[:n])
	}
}
