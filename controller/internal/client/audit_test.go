package client_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

func TestClient_ExportAudit(t *testing.T) {
	t.Parallel()
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if got := r.URL.Query(); got.Get("action") != "backup." || got.Get("since") != "2026-01-02T03:04:05Z" || got.Has("until") {
			t.Errorf("the query is %v", got)
		}
		w.Header().Set("Content-Type", body.JSONLines)
		_, _ = w.Write([]byte("{\"id\":1}\n{\"id\":2}\n{\"id\""))
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL, Token: "dfk_x"})
	if err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 1, 2, 4, 4, 5, 0, time.FixedZone("", 3600))
	var out bytes.Buffer
	n, err := c.ExportAudit(t.Context(), controller.AuditFilter{Action: "backup.", Since: &since}, &out)
	if err == nil || !strings.Contains(err.Error(), "broke") || n != 2 || asked != 1 {
		t.Errorf("%d entries, asked %d times: %v", n, asked, err)
	}
	full := errors.New("disk full")
	if _, err := c.ExportAudit(t.Context(), controller.AuditFilter{Action: "backup.", Since: &since}, failing{full}); !errors.Is(err, full) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
