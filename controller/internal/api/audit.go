package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

const (
	maxActingUser = 200 // bytes
	refusalTime   = 5 * time.Second
)

// act is what a request would do, in the words of the audit log.
type act struct{ action, subject string }

// subjectOf is what the path names: a backup's id, a project.
func subjectOf(params gin.Params) string {
	named := make([]string, len(params))
	for i, p := range params {
		named[i] = p.Value
	}
	return strings.Join(named, "/")
}

// actingUser reads the header that names the user of the panel.
func actingUser(values []string) (string, error) {
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return "", nil
	}
	user := values[0]
	odd := strings.ContainsFunc(user, func(r rune) bool { return !unicode.IsPrint(r) })
	if len(values) > 1 || len(user) > maxActingUser || odd || !utf8.ValidString(user) {
		return "", controller.Invalid(body.ActingUser, "is not one text of at most %d bytes of printable UTF-8", maxActingUser)
	}
	return user, nil
}

// recordRefusal writes to the audit log that a write or a download was refused: the caller may not, there is no such thing, or its state
// forbids it. Requests that make no sense, and those of nobody, are not written there.
func (a *API) recordRefusal(ctx context.Context, err error) {
	if act, _ := ctx.Value(keyAct).(act); act.action != "" {
		a.recordRefused(ctx, act.action, act.subject, err)
	}
}

func (a *API) recordRefused(ctx context.Context, action, subject string, err error) {
	p := problem(requestID(ctx), err)
	switch p.Status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
	default:
		return
	}
	// It is written also if the caller has gone.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalTime)
	defer cancel()
	if err := a.opt.Store.Refused(after, actorOf(ctx), action, subject, p.Code, p.Detail); err != nil {
		a.opt.Log.Warn("record a refusal in the audit log", "request_id", p.RequestID, "action", action, "code", p.Code, "err", err)
	}
}

// AuditFilters select entries.
type AuditFilters struct {
	Project string    `query:"project" maxLength:"500" doc:"Slug, id or external id; all that the token sees if absent"`
	Action  string    `query:"action" maxLength:"100" doc:"Such as backup.create, or all that begin so: backup."`
	Actor   string    `query:"actor" maxLength:"200" doc:"A token's name, a part of the controller, or the user on whose behalf"`
	Since   time.Time `query:"since" doc:"Entries from then on"`
	Until   time.Time `query:"until" doc:"Entries before"`
}

func (in AuditFilters) filter() controller.AuditFilter {
	f := controller.AuditFilter{Project: in.Project, Action: in.Action, Actor: in.Actor}
	if !in.Since.IsZero() {
		f.Since = &in.Since
	}
	if !in.Until.IsZero() {
		f.Until = &in.Until
	}
	return f
}

func (a *API) registerAudit() {
	view := []string{controller.ViewAuditLogs}
	register(a, operation{id: "list-audit", method: http.MethodGet, path: "/audit", summary: "Who did what, newest first", tag: tagSystem, access: view, errors: []int{http.StatusNotFound}}, a.listAudit)
	register(a, operation{
		id: "export-audit", audit: "audit.export", method: http.MethodGet, path: "/audit/export", tag: tagSystem, access: []string{controller.ExportAuditLogs}, errors: []int{http.StatusNotFound},
		summary: "The audit log as JSON lines, in the order of its chain; the export is its last entry. A connection that breaks is an export that is not whole",
	}, a.exportAudit)
	register(a, operation{
		id: "check-audit", method: http.MethodGet, path: "/audit/check", tag: tagSystem, access: view, patient: true,
		summary: "Verify the chain of the audit log from its first row to its last. A chain that is wrong is an answer too: ok is false",
	}, a.checkAudit)
	register(a, operation{id: "audit-head", method: http.MethodGet, path: "/audit/head", summary: "The end of the chain: kept elsewhere, it shows a tail that was cut", tag: tagSystem, access: view},
		func(ctx context.Context, _ *none) (*bodyOut[controller.AuditHead], error) {
			return out(a.opt.Auditor.AuditHead(ctx, actorOf(ctx)))
		})
	register(a, operation{id: "list-security-events", method: http.MethodGet, path: "/security-events", summary: "What only a fault, a clone or an attack explains, newest first", tag: tagSystem, access: view},
		func(ctx context.Context, in *struct{ PageIn }) (*bodyOut[body.Page[controller.SecurityEvent]], error) {
			rows, err := a.opt.Store.SecurityEvents(ctx, actorOf(ctx), in.BeforeID, in.Limit)
			return page(rows, in.Limit, func(e controller.SecurityEvent) int64 { return e.ID }, err)
		})
	lines := map[string]*huma.MediaType{body.JSONLines: {Schema: &huma.Schema{Type: huma.TypeString}}}
	a.huma.OpenAPI().Paths["/audit/export"].Get.Responses["200"].Content = lines
}

func (a *API) listAudit(ctx context.Context, in *struct {
	AuditFilters
	PageIn
},
) (*bodyOut[body.Page[controller.AuditEntry]], error) {
	f := in.filter()
	f.BeforeID, f.Limit = in.BeforeID, in.Limit
	rows, err := a.opt.Store.Audit(ctx, actorOf(ctx), f)
	return page(rows, in.Limit, func(e controller.AuditEntry) int64 { return e.ID }, err)
}

func (a *API) checkAudit(ctx context.Context, in *struct {
	Heads []string `query:"head,explode" maxItems:"100" doc:"SEQ:HASH of a head that was kept; may be given several times"`
},
) (*bodyOut[controller.AuditCheck], error) {
	heads := make([]controller.AuditHead, len(in.Heads))
	for i, text := range in.Heads {
		head, err := controller.ParseAuditHead(text)
		if err != nil {
			return nil, err
		}
		heads[i] = head
	}
	return out(a.opt.Auditor.CheckAudit(ctx, actorOf(ctx), heads))
}

// exportAudit streams. A failure before the first entry is a problem; a later one breaks the connection, so that nobody takes a part for
// the whole.
func (a *API) exportAudit(ctx context.Context, in *AuditFilters) (*huma.StreamResponse, error) {
	f := in.filter()
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humagin.Unwrap(hc)
		w := &lineWriter{c: c, ctl: http.NewResponseController(c.Writer)}
		err := a.opt.Store.ExportAudit(c.Request.Context(), actorOf(ctx), f, w.entry)
		switch {
		case err == nil:
			w.begin()
		case !w.begun:
			a.refuse(hc, err)
		default:
			a.opt.Log.Warn("export of the audit log broke off", "request_id", requestID(ctx), "entries", w.n, "err", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// lineWriter writes entries as lines.
type lineWriter struct {
	c       *gin.Context
	ctl     *http.ResponseController
	begun   bool
	n       int64
	renewed time.Time
}

func (w *lineWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	w.c.Header("Content-Type", body.JSONLines)
	w.c.Header("Content-Disposition", `attachment; filename="audit.jsonl"`)
	w.c.Status(http.StatusOK)
	w.c.Writer.WriteHeaderNow()
}

func (w *lineWriter) entry(e controller.AuditEntry) error {
	w.begin()
	if now := time.Now(); now.Sub(w.renewed) > renewEvery {
		_ = w.ctl.SetWriteDeadline(now.Add(writeStall))
		w.renewed = now
	}
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode audit entry %d: %w", e.ID, err)
	}
	if _, err := w.c.Writer.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("send to %s: %w", w.c.RemoteIP(), err)
	}
	w.n++
	return nil
}
