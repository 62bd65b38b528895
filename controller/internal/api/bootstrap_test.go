package api_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
)

// TestBootstrap_files: what a bare host asks for needs no token, has its type, and can be taken in parts.
func TestBootstrap_files(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.as("", "GET", "/packages/SHA256SUMS", nil).refused(http.StatusNotFound, controller.ENotFound, "the controller has no packages", r.Packages)
	name, sum := "devflow-agent_1.0-1_amd64.deb", strings.Repeat("0a", 32)
	for file, text := range map[string]string{name: "0123456789", "other.deb": "secret", "SHA256SUMS": sum + "  " + name + "\n"} {
		if err := os.WriteFile(filepath.Join(r.Packages, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][2]string{
		"/install.sh":          {"text/x-shellscript; charset=utf-8", "URL='" + apitest.PublicURL + "'"},
		"/ca.pem":              {"application/x-pem-file", apitest.CA},
		"/packages/SHA256SUMS": {"text/plain; charset=utf-8", sum + "  " + name + "\n"},
		"/packages/" + name:    {"application/vnd.debian.binary-package", "0123456789"},
	} {
		a := r.as("", "GET", path, nil).is(http.StatusOK)
		if a.header.Get("Content-Type") != want[0] || !strings.Contains(string(a.text), want[1]) {
			t.Errorf("%s: %q: %.100s", path, a.header.Get("Content-Type"), a.text)
		}
		r.as("", "HEAD", path, nil).is(http.StatusOK)
		r.as("", "POST", path, nil).refused(http.StatusMethodNotAllowed, body.CodeMethod)
	}
	part := r.as("", "GET", "/packages/"+name, nil, "Range", "bytes=4-5").is(http.StatusPartialContent)
	if string(part.text) != "45" || part.header.Get("ETag") != `"`+sum+`"` {
		t.Errorf("%q, %v", part.text, part.header)
	}
	for _, path := range []string{"/packages/other.deb", "/packages/..%2f..%2fetc%2fpasswd", "/packages/%2e%2e", "/packages/", "/packages", "/packages/SHA256SUMS/x"} {
		r.as("", "GET", path, nil).refused(http.StatusNotFound, controller.ENotFound)
	}
	if !strings.Contains(r.Logged.String(), "package sent") {
		t.Error("the log does not tell of the package")
	}
}

// TestBootstrap_token: whoever holds an enrolment token may ask what became of it, and nobody else.
func TestBootstrap_token(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	e := into[body.NewEnrolment](r.do("POST", "/enrolments", `{"server_name":"db-7","project":"shop","grant":true}`).is(http.StatusCreated))
	if !strings.Contains(e.InstallCommand, "DEVFLOW_ENROLMENT="+e.Token+" sh i --grant)") || len(e.CASHA256) != 64 || !strings.Contains(e.InstallCommand, e.CASHA256) {
		t.Errorf("%+v", e)
	}
	status := func() controller.EnrolmentStatus {
		t.Helper()
		return into[controller.EnrolmentStatus](r.as("", "POST", "/api/v1/enroll/status", body.EnrolmentToken{Token: e.Token}).is(http.StatusOK))
	}
	if s := status(); s != (controller.EnrolmentStatus{ServerName: "db-7"}) {
		t.Errorf("unused: %+v", s)
	}
	enrolled := into[body.Enrolled](r.as("", "POST", "/api/v1/enroll", enrolBody(t, e.Token)).is(http.StatusCreated))
	if s := status(); !s.Used || s.ServerID != enrolled.ServerID || s.Revoked || s.Expired {
		t.Errorf("used: %+v", s)
	}
	r.do("POST", "/servers/db-7/revoke", nil).is(http.StatusOK)
	if s := status(); !s.Revoked || s.Online {
		t.Errorf("revoked: %+v", s)
	}
	for _, bad := range []string{"dfe_wrong_" + apitest.Fingerprint, "dfe_wrong_00", r.Token, ""} {
		r.as("", "POST", "/api/v1/enroll/status", body.EnrolmentToken{Token: bad}).refused(http.StatusUnauthorized, controller.EUnauthorized)
	}
	for range 20 {
		r.as("", "POST", "/api/v1/enroll/status", body.EnrolmentToken{Token: "dfe_wrong_" + apitest.Fingerprint})
	}
	r.as("", "POST", "/api/v1/enroll/status", body.EnrolmentToken{Token: e.Token}).refused(http.StatusTooManyRequests, body.CodeTooMany)
	if strings.Contains(r.Logged.String(), strings.Split(e.Token, "_")[1]) {
		t.Error("the log holds the token")
	}
}
