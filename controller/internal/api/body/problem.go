package body

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// Problem codes beside the codes of controller.Error. They are stable.
const (
	CodeMalformed    = "malformed"             // the body is not JSON, or not the JSON of an object
	CodeTooLarge     = "too_large"             // the body is larger than the API takes
	CodeMediaType    = "unsupported_media"     // the body is no JSON by its Content-Type
	CodeMethod       = "method_not_allowed"    // the path exists, with other methods
	CodeTooMany      = "too_many_requests"     // too many refused tokens or sign-ins
	CodeProbeFailed  = "probe_failed"          // the storage did not pass its probe
	CodeChannel      = "channel_failed"        // the channel did not take the test
	CodeNothingToDo  = "nothing_to_back_up"    // no database is assigned to what was asked for
	CodeBackupFailed = "backup_failed"         // a backup before a deploy failed; pre_deploy tells which
	CodeChanged      = controller.EChanged     // If-Match names another version of what is to be changed
	CodeRate         = "rate_limited"          // more requests than the caller may send
	CodeQuota        = controller.EQuota       // a limit of the project is reached
	CodeSecretShown  = "secret_already_shown"  // the repeated request had been carried out, and its secret is shown once only
	CodeCSRF         = "csrf"                  // a write with a session cookie that does not come from the console's own page
	CodeRange        = "range_not_satisfiable" // a download was to begin behind its end
)

// EventStream is the content type of live events.
const EventStream = "text/event-stream"

// ContentType of a Problem.
const ContentType = "application/problem+json"

// JSONLines is the content type of an export: one JSON object a line.
const JSONLines = "application/jsonl"

// SessionCookie holds the secret of a session. The prefix makes browsers take it only over TLS, from this host, for all of it.
const SessionCookie = "__Host-devflow"

// Headers.
const (
	IdempotencyKey = "Idempotency-Key"
	// The user on whose behalf a panel asks, with that user's permissions and projects, each parted by commas, or * for all that the token
	// has. Projects are slugs and external ids, percent-encoded where they hold a comma.
	ActingUser        = "DevFlow-Acting-User"
	ActingPermissions = "DevFlow-Acting-Permissions"
	ActingProjects    = "DevFlow-Acting-Projects"
	CSRF              = "DevFlow-CSRF"      // of writes with a session cookie: what GET /session tells
	IdempotentReplay  = "Idempotent-Replay" // on an answer that repeats the first one
	RequestID         = "X-Request-ID"
)

// Problem is what every request that did not succeed is answered with (RFC 9457).
type Problem struct {
	Type      string                `json:"type" example:"about:blank"`
	Title     string                `json:"title" example:"Not Found"`
	Status    int                   `json:"status" example:"404"`
	Code      string                `json:"code" doc:"Stable, for programs" example:"not_found"`
	Detail    string                `json:"detail" doc:"A sentence for people"`
	Field     string                `json:"field,omitempty" doc:"The field that is wrong"`
	Hint      string                `json:"hint,omitempty" doc:"What to do about it"`
	RequestID string                `json:"request_id" doc:"Names the request in the controller's log"`
	Errors    []FieldError          `json:"errors,omitempty" doc:"Every field that is wrong, where there are several"`
	Probe     json.RawMessage       `json:"probe,omitempty" doc:"The report of a storage that did not pass its probe"`
	PreDeploy *controller.PreDeploy `json:"pre_deploy,omitempty" doc:"Of backup_failed: what became of each database"`
	// Problems are all that is known to stop a restore, and what a person should know before it.
	Problems []wire.Problem `json:"problems,omitempty" doc:"What stops a restore, and what to know before it; those that stop it come first"`
	// RetryAfter is the header of that name, for whoever reads the answer.
	RetryAfter time.Duration `json:"-"`
}

// GetHeaders are those of the answer that the problem has a part in.
func (p *Problem) GetHeaders() http.Header {
	if p.RetryAfter <= 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.FormatInt(int64(math.Ceil(p.RetryAfter.Seconds())), 10)}}
}

// FieldError is one wrong field.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is field, sentence and hint, as controller.Error prints them.
func (p *Problem) Error() string {
	msg := p.Detail
	if p.Field != "" {
		msg = p.Field + ": " + msg
	}
	if p.Hint != "" {
		msg += " (" + p.Hint + ")"
	}
	return msg
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type of a problem.
func (*Problem) ContentType(string) string { return ContentType }
