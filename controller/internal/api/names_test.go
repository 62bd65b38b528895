package api_test

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// strange are names that are code, options, paths or addresses somewhere.
var strange = []string{
	strings.Repeat("ü", 31) + "x", "'\";$(id)`id`", "line\nbreak\ttab", "-rf", "a=b", "postgres://u:p@h/d", "../../etc/passwd", "..", "a/b", "%2e%2e%2f", "\u202egnp.exe", "日本語", " lead and trail ", "\\", "*", "?x=1&y=2#z", "<script>alert(1)</script>", "{id}", "NULL", "0",
}

var plain = regexp.MustCompile(`^[A-Za-z0-9]+$`)

var safeFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// TestNames (fault 59): a database of whatever name is found, backed up, told of, downloaded, restored and deleted by exactly that name, its
// file has a name that is safe everywhere, and a NUL is refused. Names that people give are taken as they are, or refused with the field.
func TestNames(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", strange...)
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	backups := map[string]controller.Backup{}
	for _, name := range strange {
		found := into[body.Part[controller.Database]](r.do(http.MethodGet, "/databases?"+url.Values{"name": {name}}.Encode(), nil).is(http.StatusOK)).Items
		if len(found) != 1 || found[0].Name != name {
			t.Fatalf("%q is found as %+v", name, found)
		}
		b := into[outcomes](r.do(http.MethodPost, "/backups", `{"project":"shop","database":`+text(name)+`}`).is(http.StatusCreated)).Items[0].Backup
		if b.DatabaseName != name {
			t.Fatalf("%q is ordered as %q", name, b.DatabaseName)
		}
		backups[name] = *b
	}
	for range 10 {
		offers := r.Start(a)
		if len(offers) == 0 {
			break
		}
		for _, o := range offers {
			if o.Backup.DatabaseName != strange[o.Backup.ID-1] {
				t.Fatalf("backup %d is offered as %q", o.Backup.ID, o.Backup.DatabaseName)
			}
			r.Complete(a, o)
		}
	}
	for _, name := range strange {
		list := into[body.Page[controller.Backup]](r.do(http.MethodGet, "/backups?"+url.Values{"project": {"shop"}, "database": {name}}.Encode(), nil).is(http.StatusOK)).Items
		if len(list) == 0 || list[len(list)-1].ID != backups[name].ID && name != "0" {
			t.Fatalf("%q is listed as %+v", name, list)
		}
		id := number(backups[name].ID)
		b := into[controller.Backup](r.do(http.MethodGet, "/backups/"+id, nil).is(http.StatusOK))
		if b.DatabaseName != name || b.Status != controller.StatusCompleted || !safeFile.MatchString(b.FileName) || strings.Contains(b.FileName, "..") || !strings.HasSuffix(b.FilePath, "/"+b.FileName) {
			t.Errorf("%q is %q, %s, at %q", name, b.DatabaseName, b.Status, b.FilePath)
		}
		link := into[body.Download](r.do(http.MethodPost, "/backups/"+id+"/download", nil).is(http.StatusCreated))
		u, err := url.Parse(link.URL)
		if err != nil {
			t.Fatal(err)
		}
		header := r.as("", http.MethodHead, u.Path, nil).is(http.StatusOK).header.Get("Content-Disposition")
		if _, params, err := mime.ParseMediaType(header); err != nil || params["filename"] != b.FileName {
			t.Errorf("%q is sent as %q", name, header)
		}
		restore := into[controller.Restore](r.do(http.MethodPost, "/restores", `{"backup_id":`+id+`,"to_database":`+text("copy of "+name[:min(len(name), 40)&^1])+`}`).is(http.StatusCreated))
		r.do(http.MethodPost, "/restores/"+number(restore.ID)+"/cancel", nil).is(http.StatusOK)
		if name != " lead and trail " {
			r.do(http.MethodPost, "/backups/"+id+"/delete", `{"confirm":`+text(strings.ToUpper(name)+"x")+`}`).refused(http.StatusConflict, controller.EConflict)
		}
		r.do(http.MethodPost, "/backups/"+id+"/delete", `{"confirm":`+text(name)+`}`).is(http.StatusOK)
	}
	for path, in := range map[string]string{"/backups": `{"database":"a\u0000b"}`, "/restores": `{"backup_id":1,"to_database":"a\u0000b"}`, "/databases/assign": `{"name":"a\u0000b","project":"shop"}`} {
		r.do(http.MethodPost, path, in).refused(http.StatusUnprocessableEntity, controller.EInvalid, "NUL")
	}
	r.do(http.MethodGet, "/databases?name=a%00b", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid, "NUL")

	for _, c := range []struct{ path, field, in string }{
		{"/projects", "slug", `{"slug":%}`},
		{"/enrolments", "server_name", `{"server_name":%}`},
		{"/storages", "name", `{"name":%,"endpoint":"https://s3.test","bucket":"b","prefix":"#","access_key":"a","secret_key":"s"}`},
		{"/storages", "bucket", `{"name":"ok#","endpoint":"https://s3.test","bucket":%,"prefix":"#","access_key":"a","secret_key":"s"}`},
		{"/storages", "endpoint", `{"name":"ok#","endpoint":%,"bucket":"b","access_key":"a","secret_key":"s"}`},
		{"/users", "name", `{"name":%,"permissions":["view-backups"]}`},
		{"/tokens", "name", `{"name":%,"permissions":["view-backups"]}`},
	} {
		for i, name := range append(strange, "a\x00b") {
			got := r.do(http.MethodPost, c.path, strings.NewReplacer("%", text(name), "#", number(int64(i))).Replace(c.in))
			if got.status == http.StatusCreated {
				made := into[map[string]any](got)
				if made[c.field] != name && (c.path != "/users" || made[c.field] != controller.UserName(name)) {
					t.Errorf("POST %s: %s %q became %q", c.path, c.field, name, made[c.field])
				}
				if (c.field == "bucket" || c.field == "endpoint" || c.field == "slug") && !plain.MatchString(name) {
					t.Errorf("POST %s: %s %q was taken", c.path, c.field, name)
				}
				continue
			}
			if p := got.refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != c.field {
				t.Errorf("POST %s: %s %q was refused for %q: %s", c.path, c.field, name, p.Field, p.Detail)
			}
		}
	}
}
