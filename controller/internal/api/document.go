package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// tags tell what each part of the API is about, in the order of the document.
var tags = []*huma.Tag{
	{Name: tagSession, Description: "People who sign in to the console, and their sessions"},
	{Name: tagProjects, Description: "What backups belong to, with its keys, limits and servers"},
	{Name: tagServers, Description: "Hosts with an agent, and how they enrol"},
	{Name: tagDatabases, Description: "What agents found, and the project that each belongs to"},
	{Name: tagStorages, Description: "Where backups lie, and whether that place can be relied on"},
	{Name: tagBackups, Description: "To back up, to verify, to download, to hold and to delete"},
	{Name: tagRestores, Description: "To restore beside a database or in place, and to undo it"},
	{Name: tagProtection, Description: "Which databases are protected and which are not"},
	{Name: tagSchedules, Description: "When backups are made, and what holds them back"},
	{Name: tagRetention, Description: "Which backups are removed, and why the others are kept"},
	{Name: tagAlarms, Description: "What is wrong, who is told of it and where, and what nobody is told of for a time"},
	{Name: tagStatistics, Description: "Figures of a project or of all, and what needs attention"},
	{Name: tagTokens, Description: "API tokens of programs and panels"},
	{Name: tagUsers, Description: "People who can sign in"},
	{Name: tagSystem, Description: "The installation: versions, settings, live events, audit log"},
}

// refusal is what an answer of a status looks like.
type refusal struct{ code, detail, field, hint string }

var refusals = map[int]refusal{
	http.StatusBadRequest:                   {body.CodeMalformed, "the body is not JSON: unexpected end of JSON input", "", ""},
	http.StatusUnauthorized:                 {controller.EUnauthorized, "the request has no API token and no session", "", "send `Authorization: Bearer dfk_…`, or sign in"},
	http.StatusForbidden:                    {controller.EForbidden, `the token lacks the permission "restore-backups"`, "", "make a token that has it"},
	http.StatusNotFound:                     {controller.ENotFound, `project "shop" does not exist`, "", "`devflowctl project list` shows the projects"},
	http.StatusConflict:                     {controller.EConflict, `a project with the slug "shop" exists already`, "", "choose another slug"},
	http.StatusPreconditionFailed:           {body.CodeChanged, `it was changed meanwhile: its version is "0d5a31b64c1f2a77c6d1", not "77c61e0a4f5b92d3810c"`, "", "read it again, and make the change to what it is now"},
	http.StatusRequestEntityTooLarge:        {body.CodeTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody), "", ""},
	http.StatusUnsupportedMediaType:         {body.CodeMediaType, "unknown content type: text/plain", "", "send application/json"},
	http.StatusRequestedRangeNotSatisfiable: {body.CodeRange, "there are 1048576 bytes, and none from 2000000 on", "", ""},
	http.StatusUnprocessableEntity:          {controller.EInvalid, "expected number <= 365, not 400", "retention_days", ""},
	http.StatusTooManyRequests:              {body.CodeRate, "more than 20 requests a second, 100 at once", "", "try again in 2 s"},
	http.StatusInternalServerError:          {controller.EInternal, "something went wrong inside the controller", "", "its log has the reason under this request's id"},
	http.StatusServiceUnavailable:           {controller.EUnavailable, "the request took too long", "", "try again"},
}

// complete adds to the document what all operations share: what is refused is described once, with its codes and an example.
func (a *API) complete() {
	doc := a.huma.OpenAPI()
	doc.Tags = tags
	problemSchema := doc.Components.Schemas.Schema(reflect.TypeFor[body.Problem](), true, "")
	nullable(doc.Components.Schemas)
	responses := map[int]string{}
	doc.Components.Responses = map[string]*huma.Response{}
	for status, r := range refusals {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(statuses)) {
			if statuses[code] == status {
				codes = append(codes, "`"+code+"`")
			}
		}
		name := strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status))
		responses[status] = name
		response := &huma.Response{
			Description: http.StatusText(status) + ": " + strings.Join(codes, ", "),
			Headers:     map[string]*huma.Param{body.RequestID: {Description: "The id of the request, also in the log", Schema: &huma.Schema{Type: huma.TypeString}}},
			Content: map[string]*huma.MediaType{body.ContentType: {Schema: problemSchema, Example: body.Problem{
				Type: "about:blank", Title: http.StatusText(status), Status: status, Code: r.code, Detail: r.detail, Field: r.field, Hint: r.hint, RequestID: "k5x7q2m4c9d3f8h1",
			}}},
		}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			response.Headers["Retry-After"] = &huma.Param{Description: "Seconds after which to try again", Schema: &huma.Schema{Type: huma.TypeInteger}}
		}
		doc.Components.Responses[name] = response
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			for text := range op.Responses {
				status, _ := strconv.Atoi(text)
				if name := responses[status]; name != "" {
					op.Responses[text] = &huma.Response{Ref: "#/components/responses/" + name}
				}
			}
			if example, ok := examples[op.OperationID]; ok && op.RequestBody != nil {
				op.RequestBody.Content["application/json"].Example = json.RawMessage(example)
			}
		}
	}
}

// nullable says of fields that are null where there is nothing, and objects otherwise, that they are both: the schema of an object does not.
func nullable(schemas huma.Registry) {
	for name, s := range schemas.Map() {
		t := schemas.TypeFromRef(schemaPrefix + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, f := range reflect.VisibleFields(t) {
			field, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			property := s.Properties[field]
			if f.Type.Kind() != reflect.Pointer || property == nil || property.Ref == "" || strings.Contains(options, "omit") {
				continue
			}
			s.Properties[field] = &huma.Schema{Description: f.Tag.Get("doc"), AnyOf: []*huma.Schema{{Ref: property.Ref}, {Type: "null", Enum: []any{nil}}}}
		}
	}
}

// examples are of requests, by operation.
var examples = map[string]string{
	"assign-database":   `{"server":"db-1","name":"shop_production","project":"shop"}`,
	"cancel-backup":     `{"reason":"the host is restarted"}`,
	"cancel-job":        `{"reason":"the host is restarted"}`,
	"cancel-restore":    `{"reason":"the wrong backup"}`,
	"change-password":   `{"old_password":"correct horse battery","new_password":"staple and another horse"}`,
	"cleanup":           `{"project":"shop","dry_run":true}`,
	"create-backups":    `{"project":"shop","database":"shop_production","type":"manual"}`,
	"create-download":   `{"format":"stored"}`,
	"create-enrolment":  `{"server_name":"db-2","project":"shop"}`,
	"create-channel":    `{"name":"on-call","kind":"webhook","target":{"url":"https://ops.example.com/devflow","secret":"only an example of a key"},"default":true}`,
	"create-mute":       `{"scope":"database","ref":"shop_production","for_seconds":14400,"reason":"moving to another host"}`,
	"update-channel":    `{"min_severity":"warning","kinds":["backup_failing","overdue"]}`,
	"create-pause":      `{"project":"shop","reason":"moving to another host"}`,
	"create-project":    `{"slug":"shop","name":"The shop","external_id":"17","default_schedule":{"frequency":"daily","time":"02:00","retention_days":7}}`,
	"create-restore":    `{"backup_id":4711,"to_database":"shop_copy"}`,
	"create-schedule":   `{"project":"shop","database_name":"shop_production","frequency":"daily","time":"02:00","retention_days":30,"notify_on_failure":true}`,
	"create-storage":    `{"name":"s3","endpoint":"https://s3.example.com","region":"eu-1","bucket":"backups","access_key":"AKIAEXAMPLE","secret_key":"only an example"}`,
	"create-token":      `{"name":"panel","kind":"panel","permissions":["view-backups","create-backups"],"ttl_seconds":31536000}`,
	"create-user":       `{"name":"zoe","display_name":"Zoë","password":"correct horse battery","permissions":["view-backups"],"projects":["shop"]}`,
	"delete-backup":     `{"reason":"of a test","confirm":"shop_production"}`,
	"discard-kept":      `{"confirm":"shop_production"}`,
	"enrol":             `{"token":"dfe_…","nkey":"U…","signing_key":"cHVibGljIGtleQ==","recipient":"age1…","agent_version":"1.0.0","protocol":1,"host":{}}`,
	"enrolment-status":  `{"token":"dfe_…"}`,
	"hold-backup":       `{"reason":"asked for by the auditors"}`,
	"ignore-database":   `{"reason":"a copy that is made anew each night"}`,
	"keep-kept":         `{"keep_seconds":86400}`,
	"plan-restore":      `{"backup_id":4711,"in_place":true}`,
	"plan-undo":         `{}`,
	"pre-deploy":        `{"deadline_seconds":900}`,
	"preview-schedule":  `{"frequency":"weekly","day_of_week":0,"time":"02:00"}`,
	"release-backup":    `{"reason":"the audit is over"}`,
	"rotate-token":      `{"grace_seconds":3600}`,
	"set-password":      `{"password":"correct horse battery"}`,
	"set-verifier":      `{"verifier":true}`,
	"sign-in":           `{"name":"zoe","password":"correct horse battery"}`,
	"unassign-database": `{"server":"db-1","name":"shop_production"}`,
	"undo-restore":      `{"confirm":"shop_production"}`,
	"update-project":    `{"name":"The shop","max_jobs_per_hour":60}`,
	"update-schedule":   `{"is_active":false}`,
	"update-settings":   `{"timezone":"Europe/Berlin"}`,
	"update-storage":    `{"region":"eu-2"}`,
	"update-user":       `{"permissions":["view-backups","restore-backups"]}`,
	"verify-backup":     `{"level":"checksum"}`,
	"verify-backups":    `{"project":"shop"}`,
}
