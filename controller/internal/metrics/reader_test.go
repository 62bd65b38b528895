package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/metrics"
)

func told(t *testing.T, h http.Handler, line string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.Contains("\n"+w.Body.String(), "\n"+line+"\n") {
		t.Errorf("status %d, without the line %q", w.Code, line)
	}
}

// However many ask, the catalog is read once in five seconds.
func TestReader_Shares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &catalog{databases: 3, states: func(int) string { return controller.ProtectionProtected }}
		h := metrics.New(metrics.Options{Store: c})
		for range 10 {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { told(t, h, "devflow_catalog_up 1") })
			}
			all.Wait()
			<-time.After(time.Second) // of the bubble's clock
		}
		if c.reads != 2 {
			t.Errorf("the catalog was read %d times in ten seconds, want 2", c.reads)
		}
	})
}

// A catalog that does not answer is told of within the time that Prometheus waits, and where only its databases are slow, all else is told.
func TestReader_Deadline(t *testing.T) {
	for _, tc := range []struct {
		c    *catalog
		line string
	}{
		{&catalog{hangAll: true}, "devflow_catalog_up 0"},
		{&catalog{hang: true}, "devflow_catalog_databases_up 0"},
		{&catalog{hang: true}, "devflow_catalog_size_bytes 1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, start := metrics.New(metrics.Options{Store: tc.c}), time.Now()
			told(t, h, tc.line)
			if took := time.Since(start); took != metrics.ReadTimeout || took >= 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
