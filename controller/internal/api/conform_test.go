package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller/internal/api/body"
)

// operationAt is the operation of the document that a request is for: segments that are spelled out come before those that are parameters.
func (r *rig) operationAt(method, target string) (found *huma.Operation) {
	target, _, _ = strings.Cut(target, "?")
	best := -1
	for path, item := range r.API.OpenAPI().Paths {
		op := map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodHead: item.Head, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
		}[method]
		if op == nil {
			continue
		}
		prefix := "/api/v1"
		if len(op.Servers) > 0 {
			prefix = strings.TrimSuffix(op.Servers[0].URL, "/")
		}
		want, got, same := strings.Split(prefix+path, "/"), strings.Split(target, "/"), 0
		if len(want) != len(got) {
			continue
		}
		for i := range want {
			switch {
			case want[i] == got[i]:
				same++
			case !strings.HasPrefix(want[i], "{") || got[i] == "":
				same = -len(want)
			}
		}
		if same > best {
			best, found = same, op
		}
	}
	return found
}

// conforms holds an answer against the document: the operation has such an answer, and its body is what the schema says, no field more or
// less. Every answer of every test goes through it.
func (r *rig) conforms(method, target string, a *answer) {
	r.Helper()
	op := r.operationAt(method, target)
	if op == nil { // the answer to what there is not
		if a.status < 400 && strings.HasPrefix(target, "/api/") && !strings.Contains(target, "/openapi.") && method != http.MethodOptions {
			r.Errorf("%s: %d, and the document has no such operation", a.what, a.status)
		}
		return
	}
	response := op.Responses[strconv.Itoa(a.status)]
	if response == nil {
		r.Errorf("%s: %d is not an answer that the document has for %s: %.300s", a.what, a.status, op.OperationID, a.text)
		return
	}
	if response.Ref != "" {
		response = r.API.OpenAPI().Components.Responses[strings.TrimPrefix(response.Ref, "#/components/responses/")]
	}
	if method == http.MethodHead {
		return
	}
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	if len(a.text) == 0 {
		if a.status != http.StatusNoContent && kind == "application/json" {
			r.Errorf("%s: %d without a body", a.what, a.status)
		}
		return
	}
	media := response.Content[kind]
	if media == nil {
		if len(response.Content) > 0 && a.status != http.StatusPartialContent && kind != "multipart/byteranges" {
			r.Errorf("%s: %d is %q, which the document does not say of %s", a.what, a.status, kind, op.OperationID)
		}
		return
	}
	if kind != "application/json" && kind != body.ContentType {
		return
	}
	if err := r.valid(media.Schema, huma.ModeReadFromServer, a.text); err != nil {
		r.Errorf("%s: %d is not what the document says of %s: %v\n%.600s", a.what, a.status, op.OperationID, err, a.text)
	}
}

// valid holds JSON against a schema of the document.
func (r *rig) valid(s *huma.Schema, mode huma.ValidateMode, text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	res := &huma.ValidateResult{}
	huma.Validate(r.API.OpenAPI().Components.Schemas, s, huma.NewPathBuffer(nil, 0), mode, v, res)
	return errors.Join(res.Errors...)
}
