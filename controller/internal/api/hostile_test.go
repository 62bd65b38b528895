package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller/internal/api/body"
)

// wrong are values that no field is made for, as JSON.
var wrong = []string{`null`, `true`, `-1`, `99999999999999999999999`, `1e400`, `"x"`, `""`, `[]`, `{}`, `[[[1]]]`, `{"a":{"b":[null]}}`, `"\u0000"`, `"\ud800"`, `"` + strings.Repeat("ä", 5000) + `"`}

// texts are values of parameters.
var texts = []string{"", "0", "-1", "9223372036854775808", "1e9", "x", "..", "../../etc/passwd", "a/b", "%", "\x00", "\xff", "'\"; DROP TABLE projects; --", "<script>", "‮", strings.Repeat("z", 3000), "2026-13-45", "postgres://u:p@h/d"}

// TestHostile sends every operation of the document what it is not made for: each field and parameter of the wrong type, huge, or missing,
// and ids of nothing. Whatever comes back is no internal error, and what is refused is a whole problem.
func TestHostile(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	r.things("shop", "db-1", "app")
	schemas := r.API.OpenAPI().Components.Schemas.Map()
	sent := 0
	send := func(op route, path, payload string) {
		t.Helper()
		sent++
		a := r.direct(caller{"admin", []string{"Authorization", "Bearer " + r.Token}}, op, path, payload)
		if a.status < 400 {
			return
		}
		var p body.Problem
		err := json.Unmarshal(a.text, &p)
		if a.status == http.StatusInternalServerError || a.status == http.StatusServiceUnavailable && p.Code != "unavailable" {
			t.Errorf("%s %.300s %.200q: %d %s", op.OperationID, path, payload, a.status, a.text)
			return
		}
		if err != nil || p.Code == "" || p.Status != a.status || p.Detail == "" || p.RequestID == "" {
			t.Errorf("%s %.300s %.200q: %d is no problem: %.300s", op.OperationID, path, payload, a.status, a.text)
		}
	}
	for _, op := range routes(r) {
		if strings.HasSuffix(op.Path, "/probe") || op.OperationID == "revoke-token" || op.Tags[0] == "session" {
			continue
		}
		// Ids and names of nothing.
		if strings.Contains(op.Path, "{") {
			for _, v := range texts[1:] {
				values := map[string]string{}
				for _, p := range pathParameter.FindAllStringSubmatch(op.Path, -1) {
					values[p[1]] = url.PathEscape(v)
				}
				send(op, op.at(values), `{}`)
			}
		}
		for _, p := range op.Parameters {
			if p.In != "query" {
				continue
			}
			for _, v := range texts {
				send(op, op.at(nil)+"?"+url.Values{p.Name: {v}}.Encode(), `{}`)
			}
		}
		if op.RequestBody == nil {
			continue
		}
		for _, whole := range append([]string{``, `{`, `{"a":1,}`, strings.Repeat("[", 20000), strings.Repeat(" ", 1<<20) + "{}"}, wrong...) {
			send(op, op.at(nil), whole)
		}
		for name := range properties(schemas, op.RequestBody.Content["application/json"].Schema) {
			key, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range wrong {
				send(op, op.at(nil), `{`+string(key)+`:`+v+`}`)
			}
		}
	}
	if sent < 4000 {
		t.Errorf("only %d requests were sent", sent)
	}
}

func properties(schemas map[string]*huma.Schema, s *huma.Schema) map[string]*huma.Schema {
	if s == nil {
		return nil
	}
	if s.Ref != "" {
		s = schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s.Properties
}
