package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
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
var texts = []string{"", "0", "-1", "9223372036854775808", "1e9", "x", "..", "../../etc/passwd", "a/b", "%", "\x00", "\xff", "'\"; DROP TABLE projects; --", "<script>", "\u202e", strings.Repeat("z", 3000), "2026-13-45", "postgres://u:p@h/d"}

// TestHostile sends every operation of the document what it is not made for: each field, parameter and header of the wrong type, huge, or
// missing, bodies that are no JSON or say that they are something else, to what there is and to what there is not. Whatever comes back is no
// internal error, is what the document says, and what is refused is a whole problem.
func TestHostile(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	things := r.things("shop", "db-1", "app")
	schemas := r.API.OpenAPI().Components.Schemas.Map()
	sent := 0
	send := func(op route, path, payload string, headers ...string) *answer {
		t.Helper()
		sent++
		a := r.direct(caller{"admin", append([]string{"Authorization", "Bearer " + r.Token}, headers...)}, op, path, payload)
		if a.status < 400 || op.Method == http.MethodHead {
			return a
		}
		var p body.Problem
		err := json.Unmarshal(a.text, &p)
		if a.status == http.StatusInternalServerError || a.status == http.StatusServiceUnavailable && p.Code != "unavailable" {
			t.Errorf("%s %.300s %.200q %q: %d %s", op.OperationID, path, payload, headers, a.status, a.text)
			return a
		}
		if err != nil || p.Code == "" || p.Status != a.status || p.Detail == "" || p.RequestID == "" {
			t.Errorf("%s %.300s %.200q %q: %d is no problem: %.300s", op.OperationID, path, payload, headers, a.status, a.text)
		}
		return a
	}
	for _, op := range routes(r) {
		there := op.at(nil) // of what there is, where the path names something
		for prefix, values := range things.paths {
			if strings.HasPrefix(op.Path, prefix) && strings.Contains(op.Path, "{") {
				there = op.at(values)
			}
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
			for _, v := range texts {
				switch p.In {
				case "query":
					send(op, there+"?"+url.Values{p.Name: {v}}.Encode(), `{}`)
				case "header":
					send(op, op.at(nil), `{}`, p.Name, v)
				}
			}
		}
		if op.RequestBody == nil {
			continue
		}
		for _, whole := range append([]string{``, `{`, `{"a":1,}`, strings.Repeat("[", 20000), strings.Repeat(" ", 1<<20) + "{}"}, wrong...) {
			send(op, op.at(nil), whole)
		}
		for _, kind := range []string{"text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "/", "\x00"} {
			a := send(op, op.at(nil), fmt.Sprint(op.body()), "Content-Type", kind)
			if a.status < 400 {
				t.Errorf("%s takes %q: %d", op.OperationID, kind, a.status)
			}
		}
		// sample is what is taken but for one field.
		sample := map[string]json.RawMessage{}
		if err := json.Unmarshal(fmt.Append(nil, op.body()), &sample); err != nil {
			t.Fatal(op.OperationID, err)
		}
		try := func(name string, v json.RawMessage) {
			changed := maps.Clone(sample)
			if changed[name] = v; v == nil {
				delete(changed, name)
			}
			text, err := json.Marshal(changed)
			if err != nil { // what is no JSON
				text = fmt.Appendf(nil, `{%q:%s}`, name, v)
			}
			send(op, there, string(text))
		}
		for name, property := range properties(schemas, op.RequestBody.Content["application/json"].Schema) {
			for _, v := range wrong {
				try(name, json.RawMessage(v))
			}
			try(name, nil)
			for inner := range properties(schemas, property) {
				for _, v := range wrong {
					try(name, json.RawMessage(fmt.Sprintf(`{%q:%s}`, inner, v)))
				}
			}
		}
	}
	if sent < 9000 {
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
