package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
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
	tags := map[string]bool{}
	for _, one := range doc["tags"].([]any) {
		tag, _ := one.(map[string]any)
		if d, _ := tag["description"].(string); d == "" {
			t.Errorf("tag %v has no description", tag["name"])
		}
		tags[tag["name"].(string)] = true
	}
	components, _ := doc["components"].(map[string]any)
	names := map[string]string{}
	for name := range components["schemas"].(map[string]any) {
		if other := names[strings.ToLower(name)]; other != "" || !regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`).MatchString(name) {
			t.Errorf("schema %q: its name is not one, or is that of %q in other letters", name, other)
		}
		names[strings.ToLower(name)] = name
	}
	ids, used := map[string]string{}, map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, one := range item.(map[string]any) {
			op, ok := one.(map[string]any)
			if !ok || op["responses"] == nil {
				continue
			}
			name := method + " " + path
			id, _ := op["operationId"].(string)
			if other := ids[id]; !regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`).MatchString(id) || other != "" {
				t.Errorf("%s: operation id %q, which %q has", name, id, other)
			}
			ids[id] = name
			if s, _ := op["summary"].(string); s == "" {
				t.Errorf("%s has no summary", name)
			}
			for _, tag := range op["tags"].([]any) {
				if !tags[tag.(string)] {
					t.Errorf("%s: tag %v is not described", name, tag)
				}
				used[tag.(string)] = true
			}
			declared := map[string]bool{}
			params, _ := op["parameters"].([]any)
			for _, p := range params {
				p, _ := p.(map[string]any)
				where, _ := p["in"].(string)
				key := where + " " + strings.ToLower(p["name"].(string))
				schema, _ := p["schema"].(map[string]any)
				if declared[key] || schema == nil {
					t.Errorf("%s: parameter %s is there twice, or has no schema", name, key)
				}
				declared[key] = true
				if d, _ := p["description"].(string); d == "" && schema["enum"] == nil {
					t.Errorf("%s: parameter %s has no description", name, key)
				}
				if where == "path" && p["required"] != true {
					t.Errorf("%s: %s is not required", name, key)
				}
			}
			for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
				if !declared["path "+strings.ToLower(m[1])] {
					t.Errorf("%s does not declare %s", name, m[1])
				}
			}
			good, problems := 0, 0
			for status, answer := range op["responses"].(map[string]any) {
				a, _ := answer.(map[string]any)
				if ref, _ := a["$ref"].(string); ref != "" {
					a, _ = components["responses"].(map[string]any)[strings.TrimPrefix(ref, "#/components/responses/")].(map[string]any)
				}
				if d, _ := a["description"].(string); d == "" {
					t.Errorf("%s: answer %s has no description", name, status)
				}
				if status[0] == '2' || status[0] == '3' {
					good++
					continue
				}
				problems++
				content, _ := a["content"].(map[string]any)
				one, _ := content["application/problem+json"].(map[string]any)
				example, _ := one["example"].(map[string]any)
				if one["schema"] == nil || fmt.Sprint(example["status"]) != status || example["code"] == "" {
					t.Errorf("%s: answer %s is no problem, or has no example", name, status)
				}
			}
			if good == 0 || problems == 0 {
				t.Errorf("%s has %d answers of success and %d of refusal", name, good, problems)
			}
		}
	}
	for tag := range tags {
		if !used[tag] {
			t.Errorf("tag %s is of nothing", tag)
		}
	}
	if len(ids) < 90 {
		t.Errorf("only %d operations", len(ids))
	}
	// Requests are shown by an example that the operation takes.
	for _, op := range routes(r) {
		if op.RequestBody == nil {
			continue
		}
		media := op.RequestBody.Content["application/json"]
		example, ok := media.Example.(json.RawMessage)
		if !ok {
			t.Errorf("%s has no example of a request", op.OperationID)
			continue
		}
		if err := r.valid(media.Schema, huma.ModeWriteToServer, example); err != nil {
			t.Errorf("%s: its example is not one: %v", op.OperationID, err)
		}
	}
	for status, code := range map[string]string{"Conflict": "nothing_to_back_up", "TooManyRequests": "quota_exceeded", "Forbidden": "csrf"} {
		if d := r.API.OpenAPI().Components.Responses[status].Description; !strings.Contains(d, "`"+code+"`") {
			t.Errorf("%s does not name %s: %s", status, code, d)
		}
	}
}
