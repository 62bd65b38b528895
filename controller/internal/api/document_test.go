package api_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestDocument_Lint lints the document as it is served: whoever generates a client from it finds every name once, every reference resolved, every
// parameter of a path declared, a summary, an answer, and for what is refused the problem with its codes.
func TestDocument_Lint(t *testing.T) {
	t.Parallel()
	r := start(t)
	doc := into[map[string]any](r.do(http.MethodGet, "/openapi.json", nil).is(http.StatusOK))
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("openapi is %q", v)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
		at := any(doc)
		for part := range strings.SplitSeq(strings.TrimPrefix(m[1], "#/"), "/") {
			next, _ := at.(map[string]any)
			at = next[part]
		}
		if at == nil {
			t.Errorf("%s leads nowhere", m[1])
		}
	}
	ids := map[string]string{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, one := range item.(map[string]any) {
			op, ok := one.(map[string]any)
			if !ok || op["responses"] == nil {
				continue
			}
			name := method + " " + path
			id, _ := op["operationId"].(string)
			if other := ids[id]; id == "" || other != "" {
				t.Errorf("%s: operation id %q, which %q has", name, id, other)
			}
			ids[id] = name
			if s, _ := op["summary"].(string); s == "" || op["tags"] == nil {
				t.Errorf("%s has no summary or no tag", name)
			}
			declared := map[string]bool{}
			params, _ := op["parameters"].([]any)
			for _, p := range params {
				p, _ := p.(map[string]any)
				where, _ := p["in"].(string)
				key := where + " " + strings.ToLower(p["name"].(string))
				if declared[key] || p["schema"] == nil {
					t.Errorf("%s: parameter %s is there twice, or has no schema", name, key)
				}
				declared[key] = true
				if where == "path" && p["required"] != true {
					t.Errorf("%s: %s is not required", name, key)
				}
			}
			for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
				if !declared["path "+strings.ToLower(m[1])] {
					t.Errorf("%s does not declare %s", name, m[1])
				}
			}
			good := 0
			for status, answer := range op["responses"].(map[string]any) {
				a, _ := answer.(map[string]any)
				if d, _ := a["description"].(string); d == "" {
					t.Errorf("%s: answer %s has no description", name, status)
				}
				if status[0] == '2' || status[0] == '3' {
					good++
					continue
				}
				content, _ := a["content"].(map[string]any)
				if content["application/problem+json"] == nil {
					t.Errorf("%s: answer %s is no problem", name, status)
				}
			}
			if good == 0 {
				t.Errorf("%s has no answer of success", name)
			}
		}
	}
	if len(ids) < 90 {
		t.Errorf("only %d operations", len(ids))
	}
}
