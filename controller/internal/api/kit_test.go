package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

// rig is the API with requests on it.
type rig struct{ *apitest.Rig }

func start(t *testing.T) *rig {
	t.Helper()
	return &rig{apitest.New(t)}
}

// answer is what came back.
type answer struct {
	*rig
	status int
	header http.Header
	text   []byte
	what   string
}

// as sends a request with a token; an in that is a string is sent as it is.
func (r *rig) as(token, method, path string, in any, headers ...string) *answer {
	r.Helper()
	var payload io.Reader = http.NoBody
	switch v := in.(type) {
	case nil:
	case string:
		payload = strings.NewReader(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			r.Fatal(err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(r.Context(), method, r.URL+path, payload)
	if err != nil {
		r.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") == body.EventStream { // it has no end of its own
		return &answer{r, res.StatusCode, res.Header, nil, method + " " + path}
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatal(err)
	}
	a := &answer{r, res.StatusCode, res.Header, text, method + " " + path}
	r.conforms(method, path, a)
	return a
}

// do is as with the admin's token, under the API's prefix.
func (r *rig) do(method, path string, in any, headers ...string) *answer {
	r.Helper()
	return r.as(r.Token, method, "/api/v1"+path, in, headers...)
}

// is checks the status.
func (a *answer) is(status int) *answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.text)
	}
	return a
}

// refused checks the status and that the answer is a whole problem with this code.
func (a *answer) refused(status int, code string, words ...string) body.Problem {
	a.Helper()
	a.is(status)
	if ct := a.header.Get("Content-Type"); ct != body.ContentType {
		a.Fatalf("%s: content type %q: %s", a.what, ct, a.text)
	}
	var p body.Problem
	if err := json.Unmarshal(a.text, &p); err != nil {
		a.Fatalf("%s: %v: %s", a.what, err, a.text)
	}
	if p.Code != code || p.Status != status || p.Detail == "" || p.RequestID == "" || p.RequestID != a.header.Get(body.RequestID) || p.Title == "" {
		a.Fatalf("%s: problem %+v, want code %s and every part", a.what, p, code)
	}
	for _, w := range words {
		if !strings.Contains(p.Error(), w) {
			a.Fatalf("%s: %q does not say %q", a.what, p.Error(), w)
		}
	}
	return p
}

// says checks that the answer holds each of the words.
func (a *answer) says(words ...string) *answer {
	a.Helper()
	for _, w := range words {
		if !strings.Contains(string(a.text), w) {
			a.Fatalf("%s: %q does not say %q", a.what, a.text, w)
		}
	}
	return a
}

// into decodes the answer.
func into[T any](a *answer) T {
	a.Helper()
	var v T
	if err := json.Unmarshal(a.text, &v); err != nil {
		a.Fatalf("%s: %v: %s", a.what, err, a.text)
	}
	return v
}
