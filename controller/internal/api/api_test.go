package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/wire"
)

var _ api.Store = (*catalog.Catalog)(nil)

// TestDocument holds the OpenAPI document against the running server: each operation is reachable under its path, and every status that
// it was seen to answer with is documented.
func TestDocument(t *testing.T) {
	r := start(t)
	doc := into[struct {
		Servers []struct{ URL string }
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Responses   map[string]any
		}
	}](r.as("", "GET", "/api/v1/openapi.json", nil).is(http.StatusOK))
	if len(doc.Servers) != 1 || doc.Servers[0].URL != "/api/v1" {
		t.Errorf("servers are %+v", doc.Servers)
	}
	if yaml := r.as("", "GET", "/api/v1/openapi.yaml", nil).is(http.StatusOK); !bytes.Contains(yaml.text, []byte("openapi: 3.1.0")) {
		t.Errorf("the YAML document begins with %.80q", yaml.text)
	}
	seen := 0
	for _, op := range routes(r) {
		documented, ok := doc.Paths[op.Path][strings.ToLower(op.Method)]
		if !ok || documented.OperationID != op.OperationID {
			t.Errorf("%s is not in the served document", op.OperationID)
			continue
		}
		answers := []*answer{
			r.as(r.Token, op.Method, op.at(nil), op.body()),
			r.as("", op.Method, op.at(nil), op.body()),
			r.as(r.Token, op.Method, op.at(nil)+"?no_such_parameter=1", op.body()),
		}
		if op.RequestBody != nil {
			answers = append(answers, r.as(r.Token, op.Method, op.at(nil), `{"no_such_field":1}`), r.as(r.Token, op.Method, op.at(nil), `{`))
		}
		for _, a := range answers {
			seen++
			if a.status == http.StatusMethodNotAllowed || strings.Contains(string(a.text), "openapi.json lists") {
				t.Errorf("%s is not reachable: %s", op.OperationID, a.text)
			}
			if _, ok := documented.Responses[fmt.Sprint(a.status)]; !ok {
				t.Errorf("%s: status %d of %s is not documented: %s", op.OperationID, a.status, a.what, a.text)
			}
		}
	}
	if seen < 150 {
		t.Errorf("only %d answers were seen", seen)
	}
}

// TestInput_neverInternal sends every operation values that do not fit. None may be an internal error, none may be carried out.
func TestInput_neverInternal(t *testing.T) {
	r := start(t)
	p := r.Project("shop")
	r.Storage("s3")
	r.Agent("db-1", p.Slug, "app")
	r.Project("empty")
	strange := []string{
		`null`, `[]`, `""`, `0`, `-1`, `1e400`, `true`, `{`, `{"`, `{}`, `{}}`, "\xff\xfe", "\x00", `{"a":` + strings.Repeat("[", 20000),
		`{"name":"\u0000","slug":"a\u0000b","server_name":"x\u0000","bucket":"b","access_key":"a","secret_key":"s","project":"\u0000","database":"\u0000","reason":"\u0000","permissions":["\u0000"]}`,
	}
	values := []string{`null`, `""`, `"\u0000"`, `"\ud800"`, `-1`, `0`, `1.5`, `9223372036854775807`, `9223372036854775808`, `1e300`, `true`, `[]`, `[null]`, `{}`, `"` + strings.Repeat("x", 70000) + `"`, `"' OR 1=1 --"`, `"../.."`, `"%s%n"`}
	refs := []string{"0", "-1", "9223372036854775808", "a%00b", "%ff", "%27%3B--", strings.Repeat("x", 600), "..%2f..", "null", "1.5"}
	tried := 0
	try := func(method, path string, in any, headers ...string) {
		t.Helper()
		tried++
		a := r.as(r.Token, method, path, in, headers...)
		if a.status >= 500 {
			t.Errorf("%s with %.120v: %d %.300s", a.what, in, a.status, a.text)
		}
	}
	for _, op := range routes(r) {
		for _, ref := range refs {
			if strings.Contains(op.Path, "{") {
				try(op.Method, op.at(map[string]string{"ref": ref, "id": ref, "server": ref, "token": ref}), op.body())
			}
			for _, q := range op.Parameters {
				if q.In == "query" {
					try(op.Method, op.at(nil)+"?"+q.Name+"="+ref, nil)
				}
			}
		}
		if op.RequestBody == nil {
			continue
		}
		of := map[string]string{"ref": "shop", "server": "db-1"}
		if op.OperationID == "pre-deploy" { // which would wait for an agent that does nothing
			of["ref"] = "empty"
		}
		for _, s := range strange {
			try(op.Method, op.at(of), s)
		}
		try(op.Method, op.at(nil), `{}`, "Content-Type", "text/plain")
		// One wrong field at a time, in a body that is right otherwise.
		schema := op.RequestBody.Content["application/json"].Schema
		if schema.Ref != "" {
			schema = r.API.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
		}
		for name := range schema.Properties {
			for _, v := range values {
				fields := map[string]json.RawMessage{}
				if s, ok := sample[op.OperationID]; ok {
					if err := json.Unmarshal([]byte(s), &fields); err != nil {
						t.Fatal(err)
					}
				}
				fields[name] = json.RawMessage(v)
				var b strings.Builder
				for k, f := range fields {
					fmt.Fprintf(&b, ",%q:%s", k, f)
				}
				try(op.Method, op.at(of), "{"+b.String()[1:]+"}")
			}
		}
	}
	if log := r.Logged.String(); strings.Contains(log, "[ERROR]") {
		t.Errorf("internal errors were logged: %.2000s", log[strings.Index(log, "[ERROR]"):])
	}
	if tried < 1000 {
		t.Errorf("only %d requests were tried", tried)
	}
}

func TestProblem_everywhere(t *testing.T) {
	r := start(t)
	r.as("", "GET", "/nowhere", nil).refused(http.StatusNotFound, controller.ENotFound)
	r.do("GET", "/nowhere", nil).refused(http.StatusNotFound, controller.ENotFound, "openapi.json")
	r.do("PATCH", "/version", nil).refused(http.StatusMethodNotAllowed, body.CodeMethod, "PATCH")
	r.do("POST", "/projects", `{"slug":`).refused(http.StatusBadRequest, body.CodeMalformed)
	r.do("POST", "/projects", nil).refused(http.StatusBadRequest, body.CodeMalformed)
	r.do("POST", "/projects", `slug: x`, "Content-Type", "text/yaml").refused(http.StatusUnsupportedMediaType, body.CodeMediaType)
	r.do("POST", "/projects", `{"slug":"`+strings.Repeat("x", 1<<20)+`"}`).refused(http.StatusRequestEntityTooLarge, body.CodeTooLarge)
	if p := r.do("POST", "/projects", `{"slug":"ok","typo":1}`).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != "typo" {
		t.Errorf("an unknown field is named %q", p.Field)
	}
	if p := r.do("POST", "/projects", `{"slug":"NOT OK"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "NOT OK", "a–z"); p.Field != "slug" {
		t.Errorf("the field is %q", p.Field)
	}
	if p := r.do("POST", "/backups", `{"level":99,"type":"weird"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid); len(p.Errors) != 2 {
		t.Errorf("errors are %+v, want one for each field", p.Errors)
	}
	r.do("POST", "/backups", `{"encryption":"rot13"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "encryption", "age, aes-256-cbc, none", "rot13")
	r.do("POST", "/enroll", `{"token":7.5}`).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	if p := r.do("GET", "/backups?limit=0", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != "limit" {
		t.Errorf("the field is %q", p.Field)
	}
	if p := r.do("POST", "/projects", `{"slug":"ok","name":"a\u0000b"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "NUL"); p.Field != "name" {
		t.Errorf("the field is %q", p.Field)
	}
	r.do("GET", "/projects/%ff", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid, "UTF-8")
	// A secret that is wrong in shape, or in the place of another field's value, is not repeated.
	if text := r.do("POST", "/storages", `{"name":"x","bucket":"b","access_key":"a","secret_key":["canary-secret"]}`).is(http.StatusUnprocessableEntity).text; bytes.Contains(text, []byte("canary")) {
		t.Errorf("the answer repeats the secret: %s", text)
	}
	given := r.do("GET", "/whoami", nil, body.RequestID, "panel-17")
	if got := given.is(http.StatusOK).header.Get(body.RequestID); got != "panel-17" {
		t.Errorf("the request id is %q", got)
	}
	if got := r.do("GET", "/whoami", nil, body.RequestID, "no good").header.Get(body.RequestID); got == "" || strings.Contains(got, "good") {
		t.Errorf("the request id is %q", got)
	}
}

// TestInput_brokenBody: a body that breaks off is the caller's fault, and not taken for a whole one.
func TestInput_brokenBody(t *testing.T) {
	r := start(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"slug\":\"whole\"}\r\nnonsense\r\n", r.Token)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusBadRequest || !bytes.Contains(text, []byte(body.CodeMalformed)) {
		t.Errorf("status %d: %s", res.StatusCode, text)
	}
}

// panicking is a store that breaks.
type panicking struct{ api.Store }

func TestProblem_panic(t *testing.T) {
	var broken panicking // every method is a nil dereference
	srv := httptest.NewServer(api.New(api.Options{Store: broken}))
	defer srv.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/api/v1/projects", nil)
	token, _ := api.NewToken()
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	var p body.Problem
	if err := json.Unmarshal(text, &p); err != nil || res.StatusCode != http.StatusInternalServerError || p.Code != controller.EInternal || p.RequestID == "" {
		t.Errorf("status %d: %s", res.StatusCode, text)
	}
	if bytes.Contains(text, []byte("nil pointer")) {
		t.Errorf("the answer tells the reason: %s", text)
	}
}

func TestHealth(t *testing.T) {
	r := start(t)
	r.as("", "GET", "/healthz", nil).is(http.StatusOK)
	r.as("", "GET", "/readyz", nil).is(http.StatusOK)
	r.Fleet.Lock()
	r.Fleet.Down = true
	r.Fleet.Unlock()
	a := r.as("", "GET", "/readyz", nil).is(http.StatusServiceUnavailable)
	if !bytes.Contains(a.text, []byte(`"broker":"unavailable"`)) || !bytes.Contains(a.text, []byte(`"catalog":"ok"`)) || bytes.Contains(a.text, []byte("nats")) {
		t.Errorf("readyz is %s", a.text)
	}
}

func TestIdempotency(t *testing.T) {
	r := start(t)
	first := r.do("POST", "/projects", `{"slug":"one"}`, body.IdempotencyKey, "k1").is(http.StatusCreated)
	again := r.do("POST", "/projects", `{"slug":"one"}`, body.IdempotencyKey, "k1").is(http.StatusCreated)
	if !bytes.Equal(first.text, again.text) || again.header.Get(body.IdempotentReplay) != "true" || first.header.Get(body.IdempotentReplay) != "" {
		t.Errorf("the answers are %s and %s", first.text, again.text)
	}
	r.do("POST", "/projects", `{"slug":"two"}`, body.IdempotencyKey, "k1").refused(http.StatusConflict, controller.EConflict, "k1")
	// A refused request leaves its key free.
	r.do("POST", "/projects", `{"slug":"one"}`, body.IdempotencyKey, "k2").refused(http.StatusConflict, controller.EConflict, "exists")
	r.do("POST", "/projects", `{"slug":"three"}`, body.IdempotencyKey, "k2").is(http.StatusCreated)
	r.do("POST", "/projects", `{"slug":"four"}`, body.IdempotencyKey, "with space").refused(http.StatusUnprocessableEntity, controller.EInvalid)
	// Keys are each token's own.
	r.as(r.NewToken(controller.Permissions), "POST", "/api/v1/projects", `{"slug":"five"}`, body.IdempotencyKey, "k1").is(http.StatusCreated)

	// A secret is not kept.
	token := into[body.NewToken](r.do("POST", "/tokens", `{"name":"x","permissions":["view-backups"]}`, body.IdempotencyKey, "k3").is(http.StatusCreated))
	if !strings.HasPrefix(token.Token, "dfk_") {
		t.Errorf("the token is %q", token.Token)
	}
	repeated := r.do("POST", "/tokens", `{"name":"x","permissions":["view-backups"]}`, body.IdempotencyKey, "k3").is(http.StatusConflict)
	if !bytes.Contains(repeated.text, []byte(body.CodeSecretShown)) || bytes.Contains(repeated.text, []byte(token.Token)) {
		t.Errorf("the repetition is %s", repeated.text)
	}
	if n := len(into[body.List[controller.APIToken]](r.do("GET", "/tokens", nil)).Items); n != 3 {
		t.Errorf("%d tokens, want admin, the other and one", n)
	}
}

func TestIdempotency_concurrent(t *testing.T) {
	r := start(t)
	var wg sync.WaitGroup
	codes := make(chan int, 20)
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+"/api/v1/projects", strings.NewReader(`{"slug":"race"}`))
			req.Header.Set("Authorization", "Bearer "+r.Token)
			req.Header.Set(body.IdempotencyKey, "same")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
			codes <- res.StatusCode
		}()
	}
	wg.Wait()
	close(codes)
	created := 0
	for c := range codes {
		switch c {
		case http.StatusCreated:
			created++
		case http.StatusConflict: // the first one is still at work
		default:
			t.Errorf("status %d", c)
		}
	}
	if created == 0 {
		t.Error("none was answered with the project")
	}
	if n := len(into[body.List[controller.Project]](r.do("GET", "/projects", nil)).Items); n != 1 {
		t.Errorf("%d projects", n)
	}
}

func TestProjects(t *testing.T) {
	r := start(t)
	p := into[controller.Project](r.do("POST", "/projects", `{"slug":"shop","name":"The shop","external_id":"panel/7"}`).is(http.StatusCreated))
	if p.Slug != "shop" || !strings.HasPrefix(p.AgeRecipient, "age1") || p.DefaultEncryption != "age" {
		t.Fatalf("the project is %+v", p)
	}
	for _, ref := range []string{"shop", number(p.ID), "panel%2F7"} {
		if got := into[controller.Project](r.do("GET", "/projects/"+ref, nil).is(http.StatusOK)); got.ID != p.ID {
			t.Errorf("%s is %+v", ref, got)
		}
	}
	r.do("POST", "/projects", `{"slug":"shop"}`).refused(http.StatusConflict, controller.EConflict, "shop")
	changed := into[controller.Project](r.do("PATCH", "/projects/shop", `{"default_encryption":"none"}`).is(http.StatusOK))
	if changed.DefaultEncryption != "none" || changed.Name != "The shop" {
		t.Errorf("the project is %+v", changed)
	}
	key := into[body.ProjectKey](r.do("GET", "/projects/shop/key", nil).is(http.StatusOK))
	if !strings.HasPrefix(key.Identity, "AGE-SECRET-KEY-1") || key.Recipient != p.AgeRecipient {
		t.Errorf("the key is %+v", key)
	}
	if strings.Contains(r.Logged.String(), key.Identity) {
		t.Error("the log holds the key")
	}
	page := into[body.Page[controller.AuditEntry]](r.do("GET", "/audit", nil).is(http.StatusOK))
	if !slices.ContainsFunc(page.Items, func(e controller.AuditEntry) bool {
		return e.Action == "project.export_key" && e.Subject == "shop" && e.Remote == "127.0.0.1"
	}) {
		t.Errorf("the audit log is %+v", page.Items)
	}
	r.do("DELETE", "/projects/shop", nil).is(http.StatusNoContent)
	r.do("GET", "/projects/shop", nil).refused(http.StatusNotFound, controller.ENotFound, "shop")
}

func enrolBody(t *testing.T, token string) map[string]any {
	t.Helper()
	nkey, signing, recipient := apitest.NewAgentKeys(t)
	return map[string]any{
		"token": token, "nkey": nkey, "signing_key": []byte(signing), "recipient": recipient, "agent_version": "v9", "protocol": wire.Version,
		"host": map[string]any{"hostname": "db-7", "cpus": 4, "a_newer_fact": 1}, "a_newer_field": true,
	}
}

func TestEnrol(t *testing.T) {
	r := start(t)
	r.Project("shop")
	e := into[body.NewEnrolment](r.do("POST", "/enrolments", `{"server_name":"db 7/a","project":"shop"}`).is(http.StatusCreated))
	if want := "devflow-agent enroll --controller https://backup.test:8443 --token " + e.Token; e.Command != want {
		t.Errorf("the command is %q, want %q", e.Command, want)
	}
	if !strings.HasSuffix(e.Token, "_"+apitest.Fingerprint) {
		t.Errorf("the token %q does not carry the fingerprint", e.Token)
	}
	// Wrong in any part: refused, and the token is still good.
	for field, wrong := range map[string]any{"nkey": "UWRONG", "signing_key": []byte("short"), "recipient": "age1nope", "protocol": 99, "host": "x"} {
		in := enrolBody(t, e.Token)
		in[field] = wrong
		if p := r.as("", "POST", "/api/v1/enroll", in).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != field {
			t.Errorf("the field is %q, want %q", p.Field, field)
		}
	}
	r.as("", "POST", "/api/v1/enroll", enrolBody(t, e.Token[:len(e.Token)-2]+"00")).refused(http.StatusUnauthorized, controller.EUnauthorized, "another installation")
	r.as("", "POST", "/api/v1/enroll", enrolBody(t, "dfe_wrong_"+apitest.Fingerprint)).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.as("", "POST", "/api/v1/enroll", enrolBody(t, r.Token)).refused(http.StatusUnauthorized, controller.EUnauthorized, "not an enrolment token")
	r.Fleet.Lock()
	r.Fleet.IssueErr = fmt.Errorf("the broker is away")
	r.Fleet.Unlock()
	r.as("", "POST", "/api/v1/enroll", enrolBody(t, e.Token)).refused(http.StatusInternalServerError, controller.EInternal)
	r.Fleet.Lock()
	r.Fleet.IssueErr = nil
	r.Fleet.Unlock()

	got := into[body.Enrolled](r.as("", "POST", "/api/v1/enroll", enrolBody(t, e.Token)).is(http.StatusCreated))
	if got.ServerName != "db 7/a" || got.NATSJWT != "jwt of "+got.ServerID || len(got.NATSURLs) != 1 || len(got.KeySet.Keys) != 1 || !strings.HasPrefix(got.CAPEM, "-----BEGIN") {
		t.Errorf("the answer is %+v", got)
	}
	r.as("", "POST", "/api/v1/enroll", enrolBody(t, e.Token)).refused(http.StatusUnauthorized, controller.EUnauthorized, "used")

	s := into[controller.Server](r.do("GET", "/servers/db%207%2Fa", nil).is(http.StatusOK))
	if s.AgentID != got.ServerID || len(s.Projects) != 1 {
		t.Errorf("the server is %+v", s)
	}
	into[controller.Server](r.do("PUT", "/servers/db%207%2Fa/verifier", `{"verifier":true}`).is(http.StatusOK))
	if s := into[controller.Server](r.do("POST", "/servers/db%207%2Fa/revoke", nil).is(http.StatusOK)); s.RevokedAt == nil || !s.Verifier {
		t.Errorf("the server is %+v", s)
	}
	r.Fleet.With(func() {
		if len(r.Fleet.Revoked) != 1 {
			t.Error("the connection was not cut")
		}
	})
	if list := into[body.List[controller.Enrolment]](r.do("GET", "/enrolments", nil)); len(list.Items) != 1 || list.Items[0].UsedAt == nil {
		t.Errorf("enrolments are %+v", list.Items)
	}
}

func TestDatabases(t *testing.T) {
	r := start(t)
	r.Project("shop")
	r.Agent("db-1", "", "app", `o'brien; drop "x"`)
	r.do("POST", "/databases/assign", `{"name":"app","project":"shop"}`).refused(http.StatusConflict, controller.EConflict, "db-1")
	r.do("PUT", "/projects/shop/servers/db-1", nil).is(http.StatusNoContent)
	d := into[controller.Database](r.do("POST", "/databases/assign", map[string]any{"name": `o'brien; drop "x"`, "project": "shop"}).is(http.StatusOK))
	if d.Project != "shop" {
		t.Errorf("the database is %+v", d)
	}
	if got := into[body.List[controller.Database]](r.do("GET", "/databases?unassigned=true", nil)).Items; len(got) != 1 || got[0].Name != "app" {
		t.Errorf("unassigned are %+v", got)
	}
	r.do("POST", "/databases/assign", `{"name":"nope","project":"shop"}`).refused(http.StatusNotFound, controller.ENotFound, "nope")
	r.do("POST", "/databases/assign", `{"name":"app"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "project")
	r.do("POST", "/databases/assign", `{"name":"app","id":3,"project":"shop"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	r.do("DELETE", "/projects/shop/servers/db-1", nil).refused(http.StatusConflict, controller.EConflict, "o'brien")
	r.do("POST", "/databases/unassign", map[string]any{"id": d.ID}).is(http.StatusOK)
	r.do("DELETE", "/projects/shop/servers/db-1", nil).is(http.StatusNoContent)
}

func TestStorages(t *testing.T) {
	r := start(t)
	const spec = `{"name":"main","endpoint":"https://s3.test","bucket":"b","access_key":"ak","secret_key":"canary-secret","default":true%s}`
	failing := api.ProbeResult{Summary: "write", ChecksumMode: wire.ChecksumSHA256, Report: json.RawMessage(`{"steps":[
		{"name":"list","ok":true,"required":true},{"name":"versions","ok":false,"required":false,"detail":"off"},
		{"name":"write","ok":false,"required":true,"detail":"AccessDenied on b","hint":"allow s3:PutObject"}]}`)}
	r.Fleet.Lock()
	good := r.Fleet.Result
	r.Fleet.Result = failing
	r.Fleet.Unlock()
	p := r.do("POST", "/storages", fmt.Sprintf(spec, "")).refused(http.StatusUnprocessableEntity, body.CodeProbeFailed, "write", "AccessDenied", "s3:PutObject")
	if !bytes.Contains(p.Probe, []byte("PutObject")) {
		t.Errorf("the report is %s", p.Probe)
	}
	if n := len(into[body.List[controller.Storage]](r.do("GET", "/storages", nil)).Items); n != 0 {
		t.Errorf("%d storages after a refusal", n)
	}
	forced := r.do("POST", "/storages", fmt.Sprintf(spec, `,"force":true`)).is(http.StatusCreated)
	if s := into[controller.Storage](forced); s.ProbeOK || !s.PathStyle || s.Region != "us-east-1" || s.Kind != "s3" {
		t.Errorf("the storage is %+v", s)
	}
	r.Fleet.Lock()
	r.Fleet.Result = good
	spec0 := r.Fleet.Specs[0]
	r.Fleet.Unlock()
	if spec0.SecretKey.Reveal() != "canary-secret" {
		t.Error("the probe did not get the secret")
	}
	if s := into[controller.Storage](r.do("POST", "/storages/main/probe", nil).is(http.StatusOK)); !s.ProbeOK || s.ProbedAt == nil {
		t.Errorf("the storage is %+v", s)
	}
	if got := r.do("GET", "/storages/main", nil).is(http.StatusOK); bytes.Contains(got.text, []byte("canary")) || bytes.Contains(forced.text, []byte("canary")) {
		t.Errorf("the answer holds the secret: %s", got.text)
	}
	if strings.Contains(r.Logged.String(), "canary") {
		t.Error("the log holds the secret")
	}
	r.do("POST", "/storages/main/default", nil).is(http.StatusOK)
	r.do("POST", "/storages", `{"name":"x","endpoint":"ftp://x","bucket":"b","access_key":"a","secret_key":"s"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "endpoint")
	r.do("POST", "/storages", `{"name":"x","project":"nope","bucket":"b","access_key":"a","secret_key":"s"}`).refused(http.StatusNotFound, controller.ENotFound, "nope")
	r.do("DELETE", "/storages/main", nil).is(http.StatusNoContent)
	r.do("GET", "/storages/main", nil).refused(http.StatusNotFound, controller.ENotFound)
}

type outcomes struct{ Items []body.BackupOutcome }

func TestBackups(t *testing.T) {
	r := start(t)
	r.Project("shop")
	r.Project("empty")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", "app", "logs")
	r.do("POST", "/backups", `{"project":"empty"}`).refused(http.StatusConflict, body.CodeNothingToDo, "nothing to back up")
	r.do("POST", "/backups", `{"project":"shop","database":"nope"}`).refused(http.StatusNotFound, controller.ENotFound, "nope")

	one := into[outcomes](r.do("POST", "/backups", `{"project":"shop","database":"app","max_duration_seconds":60}`).is(http.StatusCreated)).Items
	if len(one) != 1 || one[0].Backup == nil || one[0].Backup.Status != controller.StatusPending {
		t.Fatalf("outcomes are %+v", one)
	}
	if r.Fleet.Kicked() == 0 {
		t.Error("the dispatcher was not woken")
	}
	// One of two is at work already: the other is ordered, and both are told. Alone it is a conflict.
	r.do("POST", "/backups", `{"project":"shop","database":"app"}`).refused(http.StatusConflict, controller.EConflict, number(one[0].Backup.ID))
	both := into[outcomes](r.do("POST", "/backups", `{"project":"shop"}`).is(http.StatusMultiStatus)).Items
	if len(both) != 2 || both[0].Database != "app" || both[0].Error == nil || both[0].Error.Code != controller.EConflict || both[1].Backup == nil {
		t.Fatalf("outcomes are %+v", both)
	}

	id := number(one[0].Backup.ID)
	offers := r.Start(a)
	r.Fleet.Lock()
	r.Fleet.Running[one[0].Backup.JobID] = controller.Progress{Stage: "upload", RawBytes: 42}
	r.Fleet.Unlock()
	if b := into[controller.Backup](r.do("GET", "/backups/"+id, nil)); b.Progress == nil || b.Progress.RawBytes != 42 || b.Status != controller.StatusRunning {
		t.Errorf("the backup is %+v with progress %+v", b, b.Progress)
	}
	r.do("GET", "/backups/"+id+"/manifest", nil).refused(http.StatusConflict, controller.EConflict)
	for _, o := range offers {
		if o.DatabaseName == "app" {
			r.Complete(a, o)
		} else {
			r.Break(a, o, wire.Failf(wire.CodeAuth, "the login was refused").WithHint("check the password"))
		}
	}
	b := into[controller.Backup](r.do("GET", "/backups/"+id, nil))
	if b.Status != controller.StatusCompleted || b.FileSize == nil || b.Progress != nil {
		t.Errorf("the backup is %+v", b)
	}
	manifest := r.do("GET", "/backups/"+id+"/manifest", nil).is(http.StatusOK)
	if string(manifest.text) != "{\n  \"format_version\": 1\n}\n" || manifest.header.Get("Content-Type") != "application/json" {
		t.Errorf("the manifest is %q as %s", manifest.text, manifest.header.Get("Content-Type"))
	}
	if j := into[controller.Job](r.do("GET", "/backups/"+id+"/log", nil).is(http.StatusOK)); len(j.Attempts) != 1 || !strings.Contains(j.Attempts[0].Log, "pg_dump") {
		t.Errorf("the job is %+v", j)
	}
	failed := into[controller.Backup](r.do("GET", "/backups/"+number(both[1].Backup.ID), nil))
	if failed.Status != controller.StatusFailed || *failed.ErrorCode != wire.CodeAuth || *failed.ErrorHint != "check the password" {
		t.Errorf("the backup is %+v", failed)
	}

	// Deletion in two phases; the last good one asks for the name.
	r.do("POST", "/backups/"+id+"/delete", nil).refused(http.StatusConflict, controller.EConflict, "app")
	deleted := into[controller.Backup](r.do("POST", "/backups/"+id+"/delete", `{"reason":"test","confirm":"app","grace_seconds":3600}`).is(http.StatusOK))
	if deleted.DeletedAt == nil || deleted.DeleteAfter == nil || time.Until(*deleted.DeleteAfter) > time.Hour+time.Minute || deleted.PurgedAt != nil {
		t.Errorf("the backup is %+v", deleted)
	}
	if got := into[body.Page[controller.Backup]](r.do("GET", "/backups?status=completed", nil)).Items; len(got) != 0 {
		t.Errorf("the list shows a tombstone: %+v", got)
	}
	into[controller.Backup](r.do("POST", "/backups/"+id+"/undelete", nil).is(http.StatusOK))
	r.do("POST", "/backups/"+id+"/cancel", nil).refused(http.StatusConflict, controller.EConflict)
}

func TestBackups_cancel(t *testing.T) {
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	r.Agent("db-1", "shop", "app")
	b := into[outcomes](r.do("POST", "/backups", `{"project":"shop"}`).is(http.StatusCreated)).Items[0].Backup
	viewer := r.NewToken([]string{controller.ViewBackups})
	r.as(viewer, "POST", "/api/v1/jobs/"+number(b.JobID)+"/cancel", nil).refused(http.StatusForbidden, controller.EForbidden, controller.CreateBackups)
	kicks := r.Fleet.Kicked()
	j := into[controller.Job](r.do("POST", "/jobs/"+number(b.JobID)+"/cancel", `{"reason":"wrong day"}`).is(http.StatusOK))
	if j.Status != controller.JobCancelled || r.Fleet.Kicked() == kicks {
		t.Errorf("the job is %+v", j)
	}
}

func TestBackups_pages(t *testing.T) {
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	names := []string{"a", "b", "c", "d", "e"}
	r.Agent("db-1", "shop", names...)
	r.do("POST", "/backups", `{"project":"shop"}`).is(http.StatusCreated)
	var seen []int64
	path := "/backups?limit=2"
	for range 4 {
		p := into[body.Page[controller.Backup]](r.do("GET", path, nil).is(http.StatusOK))
		for _, b := range p.Items {
			seen = append(seen, b.ID)
		}
		if p.NextBeforeID == nil {
			break
		}
		path = fmt.Sprintf("/backups?limit=2&before_id=%d", *p.NextBeforeID)
	}
	if len(seen) != 5 || !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("the pages hold %v", seen)
	}
}

func TestVerifyAndRestore(t *testing.T) {
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", "app")
	b := into[outcomes](r.do("POST", "/backups", `{"project":"shop"}`)).Items[0].Backup
	id := number(b.ID)
	r.do("POST", "/backups/"+id+"/verify", nil).refused(http.StatusConflict, controller.EConflict)
	r.Complete(a, r.Start(a)[0])
	r.do("POST", "/backups/verify", `{}`).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	r.do("POST", "/backups/"+id+"/verify", `{"level":"deep"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid)

	j := into[controller.Job](r.do("POST", "/backups/"+id+"/verify", nil).is(http.StatusAccepted))
	r.Verified(a, r.Start(a)[0])
	if got := into[controller.Job](r.do("GET", "/jobs/"+number(j.ID), nil)); got.Status != controller.JobCompleted {
		t.Errorf("the job is %+v", got)
	}
	if got := into[body.Page[controller.Backup]](r.do("GET", "/backups?verified=true", nil)).Items; len(got) != 1 {
		t.Errorf("verified are %+v", got)
	}
	if got := into[body.List[controller.Job]](r.do("POST", "/backups/verify", `{"all":true}`).is(http.StatusAccepted)).Items; len(got) != 0 {
		t.Errorf("all that is left to verify is %+v", got)
	}

	r.do("POST", "/restores", `{"backup_id":`+id+`}`).refused(http.StatusConflict, controller.EConflict)
	res := into[controller.Restore](r.do("POST", "/restores", `{"backup_id":`+id+`,"to_database":"copy"}`).is(http.StatusCreated))
	r.Restored(a, r.Start(a)[0])
	if got := into[controller.Restore](r.do("GET", "/restores/"+number(res.ID), nil)); got.Status != controller.StatusCompleted || !bytes.Contains(got.Result, []byte(`99`)) {
		t.Errorf("the restore is %+v", got)
	}
	if got := into[body.Page[controller.Restore]](r.do("GET", "/restores?project=shop", nil)).Items; len(got) != 1 {
		t.Errorf("restores are %+v", got)
	}
	r.do("POST", "/restores/"+number(res.ID)+"/cancel", nil).refused(http.StatusConflict, controller.EConflict)
}

func TestTokens(t *testing.T) {
	r := start(t)
	r.Project("shop")
	made := into[body.NewToken](r.do("POST", "/tokens", `{"name":"panel","permissions":["view-backups","manage-tokens"],"projects":["shop"],"ttl_seconds":60}`).is(http.StatusCreated))
	who := into[body.Whoami](r.as(made.Token, "GET", "/api/v1/whoami", nil).is(http.StatusOK))
	if who.Name != "panel" || who.AllProjects || len(who.Projects) != 1 || len(who.Permissions) != 2 {
		t.Errorf("whoami is %+v", who)
	}
	// A token never makes one that can do or see more.
	r.as(made.Token, "POST", "/api/v1/tokens", `{"name":"more","permissions":["delete-backups"],"projects":["shop"]}`).refused(http.StatusForbidden, controller.EForbidden)
	r.as(made.Token, "POST", "/api/v1/tokens", `{"name":"more","permissions":["view-backups"]}`).refused(http.StatusForbidden, controller.EForbidden)
	r.do("POST", "/tokens", `{"name":"x","permissions":["fly"]}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "fly", "view-backups")
	r.do("DELETE", "/tokens/"+number(made.ID), nil).is(http.StatusNoContent)
	r.as(made.Token, "GET", "/api/v1/whoami", nil).refused(http.StatusUnauthorized, controller.EUnauthorized, "revoked")
}
