package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"devflowbackup/agent/internal/metrics"
	"devflowbackup/agent/internal/runner"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/reference"
	"devflowbackup/shared/wire"
)

const token = secret.String("canary-0123456789abcdef")

// used are the metrics of an agent that has done something of each kind.
func used(change ...func(*metrics.Options)) *metrics.Metrics {
	o := metrics.Options{
		State: func() metrics.State {
			return metrics.State{
				Connected: true, Known: true, LastHeard: time.Unix(1000, 500e6), Running: 1, Concurrency: 2, Journal: 3, Discovered: time.Unix(2000, 0),
				Databases: map[string]int{wire.EnginePostgreSQL: 4}, FailingInstances: 1, Local: &wire.LocalDir{Dir: "/srv/canary", FreeBytes: 5, MinFree: 6, Error: "canary"},
				Dropped: map[string]int64{"command": 7},
			}
		},
		Alive:   func(context.Context) error { return nil },
		Engines: []string{wire.EnginePostgreSQL, wire.EngineSQLite}, Version: "v9.9.9",
	}
	for _, c := range change {
		c(&o)
	}
	m := metrics.New(o)
	m.Ended(runner.Ended{Kind: wire.JobBackup, Outcome: wire.OutcomeUploaded, Engine: wire.EnginePostgreSQL, Took: 7 * time.Second, Raw: 100, Stored: 40, Millis: map[string]int64{"dump": 1500}})
	m.Ended(runner.Ended{Kind: wire.JobVerify, Outcome: wire.OutcomeFailed, Engine: "canary", Took: time.Hour})
	m.Refused(wire.CodeBusy)
	return m
}

func ask(t *testing.T, h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	h.ServeHTTP(w, r)
	return w
}

// The page tells of each metric that is there, and nothing that is told is a name.
func TestReference(t *testing.T) {
	t.Parallel()
	w := ask(t, used(), http.MethodGet, "/metrics")
	text := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v: %s", w.Code, err, text)
	}
	for _, line := range []string{
		`devflow_agent_jobs_ended_total{engine="postgresql",kind="backup",outcome="uploaded"} 1`,
		`devflow_agent_jobs_ended_total{engine="sqlite",kind="backup",outcome="failed"} 0`,
		`devflow_agent_jobs_ended_total{engine="other",kind="verify",outcome="failed"} 1`,
		`devflow_agent_job_duration_seconds_bucket{kind="backup",le="5"} 0`,
		`devflow_agent_job_duration_seconds_bucket{kind="backup",le="15"} 1`,
		`devflow_agent_stage_seconds_total{kind="backup",stage="dump"} 1.5`,
		`devflow_agent_raw_bytes_total{kind="backup"} 100`,
		`devflow_agent_stored_bytes_total{kind="backup"} 40`,
		`devflow_agent_jobs_refused_total{code="busy"} 1`,
		`devflow_agent_last_contact_timestamp_seconds 1000.5`,
		`devflow_agent_databases{engine="postgresql"} 4`,
		`devflow_agent_databases{engine="sqlite"} 0`,
		`devflow_agent_local_ok 0`,
		`devflow_agent_local_free_bytes 5`,
		`devflow_agent_messages_dropped_total{kind="command"} 7`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
	if strings.Contains(text, "canary") {
		t.Error("a name or a text is told")
	}
	document(t, all)
}

func document(t *testing.T, all map[string]*dto.MetricFamily) {
	t.Helper()
	known := metrics.Descs()
	slices.SortFunc(known, func(a, b metrics.Desc) int { return strings.Compare(a.Name, b.Name) })
	var rows [][]string
	for _, d := range known {
		family := all[d.Name]
		if family == nil {
			t.Errorf("%s is in no scrape", d.Name)
			continue
		}
		delete(all, d.Name)
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		rows = append(rows, []string{reference.Code(d.Name), strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp()})
	}
	for name := range all {
		if strings.HasPrefix(name, "devflow_") {
			t.Errorf("%s is told and not known", name)
		}
	}
	reference.Hold(t, "docs/metrics.md", "agent", reference.Table([]string{"metric", "type", "labels", "meaning"}, rows))
}

func TestMetrics_May(t *testing.T) {
	t.Parallel()
	m := used(func(o *metrics.Options) { o.Token = token })
	for _, tc := range []struct {
		method, path, authorization string
		status                      int
	}{
		{http.MethodGet, "/metrics", "", http.StatusUnauthorized},
		{http.MethodGet, "/metrics", "Bearer", http.StatusUnauthorized},
		{http.MethodGet, "/metrics", "Bearer " + token.Reveal() + "x", http.StatusUnauthorized},
		{http.MethodGet, "/metrics", "Basic " + token.Reveal(), http.StatusUnauthorized},
		{http.MethodGet, "/metrics", "Bearer " + token.Reveal(), http.StatusOK},
		{http.MethodGet, "/metrics", "bearer  " + token.Reveal() + " ", http.StatusOK},
		{http.MethodPost, "/metrics", "Bearer " + token.Reveal(), http.StatusMethodNotAllowed},
		{http.MethodGet, "/healthz", "", http.StatusOK},
		{http.MethodGet, "/debug/pprof/", "Bearer " + token.Reveal(), http.StatusNotFound},
	} {
		w := ask(t, m, tc.method, tc.path, "Authorization", tc.authorization)
		if w.Code != tc.status || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%s %s with %q: %d, want %d: %s", tc.method, tc.path, tc.authorization, w.Code, tc.status, w.Body)
		}
	}
	if w := ask(t, used(), http.MethodGet, "/metrics"); w.Code != http.StatusOK {
		t.Errorf("without a token in the configuration: %d", w.Code)
	}
}

// An agent that has come to a halt says so, and not why: that is for its log.
func TestMetrics_Health(t *testing.T) {
	t.Parallel()
	sick := used(func(o *metrics.Options) {
		o.Alive = func(context.Context) error { return errors.New("canary: the last heartbeat was long ago") }
	})
	if w := ask(t, sick, http.MethodGet, "/healthz"); w.Code != http.StatusServiceUnavailable || w.Body.String() != `{"status":"unavailable","connected":true}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, used(), http.MethodGet, "/healthz"); w.Code != http.StatusOK || w.Body.String() != `{"status":"ok","connected":true}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
