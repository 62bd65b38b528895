package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func auditFilters(f controller.AuditFilter) []string {
	pairs := []string{"project", f.Project, "action", f.Action, "actor", f.Actor}
	for name, t := range map[string]*time.Time{"since": f.Since, "until": f.Until} {
		if t != nil {
			pairs = append(pairs, name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return pairs
}

// Audit lists one page of who did what, newest first.
func (c *Client) Audit(ctx context.Context, f controller.AuditFilter) (body.Page[controller.AuditEntry], error) {
	return get[body.Page[controller.AuditEntry]](ctx, c, pageOf(f.BeforeID, f.Limit, auditFilters(f)...), "audit")
}

// AuditHead is the end of the chain.
func (c *Client) AuditHead(ctx context.Context) (controller.AuditHead, error) {
	return get[controller.AuditHead](ctx, c, nil, "audit", "head")
}

// CheckAudit has the controller verify the chain, against heads that were kept.
func (c *Client) CheckAudit(ctx context.Context, heads []controller.AuditHead) (controller.AuditCheck, error) {
	query := url.Values{}
	for _, h := range heads {
		query.Add("head", h.Text())
	}
	return get[controller.AuditCheck](ctx, c, query, "audit", "check")
}

// ExportAudit writes the entries that the filter selects as JSON lines, in the order of the chain, and returns how many. It is not
// repeated: each export is an entry of the log. Where the connection breaks the error says so, and what was written is a part.
func (c *Client) ExportAudit(ctx context.Context, f controller.AuditFilter, w io.Writer) (int64, error) {
	target := c.base + "/audit/export"
	if query := values(auditFilters(f)...); len(query) > 0 {
		target += "?" + query.Encode()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(c.stall, func() { cancel(fmt.Errorf("the export stood still for %s", c.stall)) })
	defer stall.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("write the request of the export: %w", err)
	}
	req.Header.Set("Accept", body.JSONLines)
	c.identify(req)
	broke := func(err error, begun bool) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return &connectionError{base: c.base, err: err, begun: begun}
	}
	res, err := c.streams.Do(req)
	if err != nil {
		return 0, broke(err, false)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return 0, broke(err, true)
		}
		return 0, refusal(res, text)
	}
	lines := bufio.NewReaderSize(res.Body, 64<<10)
	for n := int64(0); ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return n, nil
		}
		if err != nil {
			return n, broke(err, true)
		}
		if !json.Valid(line) {
			return n, fmt.Errorf("entry %d of the export is not JSON: the answer was changed on its way", n+1)
		}
		stall.Reset(c.stall)
		if _, err := w.Write(line); err != nil {
			return n, fmt.Errorf("write the export: %w", err)
		}
	}
}
