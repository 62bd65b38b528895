package metrics_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/controller/internal/metrics"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/testkit/reference"
	"devflowbackup/shared/version"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

type families map[string]*dto.MetricFamily

// scrape asks as Prometheus does, and refuses what it would not understand.
func scrape(t *testing.T, h http.Handler) (families, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	text := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	got, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return got, text
}

// value is the one of the series with these labels, NaN if there is none. Labels that are not named may be anything.
func (f families) value(name string, labels ...string) float64 {
	for _, m := range f[name].GetMetric() {
		have := make(map[string]string)
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && have[labels[i]] == labels[i+1]
		}
		switch {
		case !fits:
		case m.Gauge != nil:
			return m.GetGauge().GetValue()
		case m.Counter != nil:
			return m.GetCounter().GetValue()
		case m.Histogram != nil:
			return float64(m.GetHistogram().GetSampleCount())
		}
	}
	return math.NaN()
}

func (f families) is(t *testing.T, want float64, name string, labels ...string) {
	t.Helper()
	if got := f.value(name, labels...); got != want {
		t.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

const (
	canary = "canary-5ecret"
	// hostile is a name that ends a label value, a line and more where it is not written with care.
	hostile = "o'b\"r\\i\nen} 1 # HELP x {ünï=🦀}"
)

// filled is an installation with a row of each kind.
func filled(t *testing.T) *apitest.Rig {
	t.Helper()
	r := apitest.New(t)
	r.Project("shop")
	st := r.Storage("main")
	a := r.Agent("db-1", "shop", "orders", hostile, "alone")
	if _, err := r.Store.CreateBackups(t.Context(), r.Admin, controller.BackupRequest{Database: "orders"}); err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Start(a) {
		r.Complete(a, o)
	}
	if _, err := r.Store.CreateBackups(t.Context(), r.Admin, controller.BackupRequest{Database: "alone"}); err != nil {
		t.Fatal(err)
	}
	// Of another instance, the same name; another agent, which is offline; a schedule, whose backup is overdue.
	r.SQL(fmt.Sprintf(`
		INSERT INTO databases (server_id, instance, engine, name, project_id) SELECT server_id, 'second', engine, name, project_id FROM databases WHERE name = 'orders';
		INSERT INTO servers (agent_id, name, nkey, signing_key, recipient, session, agent_version, last_seen_at) VALUES ('aold', 'db-2', 'N2', 'k', 'r', 's', 'v0.0.1', now() - interval '1 day');
		UPDATE database_backups SET verified_at = completed_at, verified_level = 'content' WHERE status = 'completed';
		INSERT INTO backup_schedules (project_id, scope, server_id, database_id, instance, database_name, frequency, time, retention_daily, timezone, max_duration_seconds, compression, recorded_until, interval_seconds, activated_at)
			SELECT project_id, 'database', server_id, id, instance, name, 'daily', '03:00', 7, 'UTC', 3600, 'zstd', now(), 86400, now() - interval '9 days' FROM databases WHERE name LIKE 'o''b%%' OR name = 'orders' AND instance = 'main';
		UPDATE databases SET first_seen_at = now() - interval '9 days', assigned_at = now() - interval '9 days';
		DELETE FROM job_totals; DELETE FROM counters;
		INSERT INTO job_totals (kind, status, code, jobs, seconds, buckets, bytes, raw_bytes) VALUES
			('backup', 'completed', '', 5, 400, '{1,0,2,1,1,0,0,0,0,0}', 1000, 5000), ('backup', 'failed', 'auth', 2, 1.5, '{1,1,0,0,0,0,0,0,0,0}', 0, 0), ('verify', 'timed_out', 'timed_out', 1, 99999, '{0,0,0,0,0,0,0,0,0,1}', 0, 0);
		INSERT INTO counters (name, label, value) VALUES ('lease_lost', '', 3), ('security', 'stale_attempt', 7), ('occurrence', 'missed:downtime', 4), ('notice', 'overdue:opened', 2),
			('message', 'email:sent', 6), ('message', 'slack:failed', 1), ('ping', 'sent', 9);
		INSERT INTO alarms (kind, key, severity, title) VALUES ('overdue', 'overdue:1', 'critical', '%[1]s'), ('overdue', 'overdue:2', 'critical', 't'), ('agent_offline', 'o', 'warning', 't');
		INSERT INTO alarms (kind, key, severity, title, closed_at) VALUES ('overdue', 'overdue:3', 'critical', 't', now());
		INSERT INTO channels (name, kind, target_sealed, failing_since, last_error) VALUES ('ops', 'webhook', '%[1]s', now(), '%[1]s');
		INSERT INTO channels (name, kind, target_sealed) VALUES ('dev', 'email', '%[1]s');
		INSERT INTO facts (kind, body, at) VALUES ('backup', '{"x": "%[1]s"}', now() - interval '1 hour');
		INSERT INTO controllers (id, version, broker, seen_at) VALUES ('one', 'v', 'embedded', now()), ('gone', 'v', 'embedded', now() - interval '10 minutes');
		INSERT INTO cleanups (kind, at, started_at, ended_at, kept, postponed, removed, removed_bytes, failed, error) VALUES ('daily', now() - interval '1 day', now(), now(), 9, 8, 3, 700, 0, ''), ('daily', now(), now(), '2026-01-02T03:04:05Z', 11, 1, 2, 300, 1, '%[1]s');
		INSERT INTO storage_inventories (storage_id, ended_at, failures, error) VALUES (%[2]d, now(), 2, '%[1]s') ON CONFLICT (storage_id, server_id) DO UPDATE SET ended_at = now(), failures = 2;
		INSERT INTO storage_findings (storage_id, kind, key) VALUES (%[2]d, 'object', '%[1]s');`, canary, st.ID))
	return r
}

func handler(r *apitest.Rig, change ...func(*metrics.Options)) http.Handler {
	o := metrics.Options{
		Store: r.Store, Version: "v9.9.9", Outdated: func(agent string) bool { return version.Older(agent, "v9.9.9") },
		Pool: func() metrics.Pool { return metrics.Pool(r.Store.Pool()) },
		Broker: func() metrics.Broker {
			return metrics.Broker{Connected: true, Reconnects: 2, InMsgs: 3, OutMsgs: 4, Server: &metrics.Server{Connections: 5, SlowConsumers: 1, InMsgs: 6, OutMsgs: 7, InBytes: 8, OutBytes: 9}}
		},
		Certificates: func() map[string]time.Time { return map[string]time.Time{"ca": time.Unix(4e9, 0)} },
	}
	for _, c := range change {
		c(&o)
	}
	return metrics.New(o)
}

func TestReference(t *testing.T) {
	t.Parallel()
	r := filled(t)
	f, text := scrape(t, handler(r))

	f.is(t, 1, "devflow_catalog_up")
	f.is(t, 1, "devflow_catalog_databases_up")
	f.is(t, 1, "devflow_jobs", "kind", "backup", "status", "queued")
	f.is(t, 0, "devflow_jobs", "kind", "restore", "status", "running")
	f.is(t, 2, "devflow_jobs_ended_total", "kind", "backup", "status", "failed", "code", "auth")
	f.is(t, 7, "devflow_job_duration_seconds", "kind", "backup")
	h := f["devflow_job_duration_seconds"].GetMetric()[0].GetHistogram()
	for i, want := range []uint64{2, 3, 5, 6, 7, 7} { // cumulative, unlike the catalog's
		if b := h.GetBucket()[i]; b.GetCumulativeCount() != want || b.GetUpperBound() != controller.DurationBounds[i] {
			t.Errorf("bucket %d is %v", i, b)
		}
	}
	if h.GetSampleSum() != 401.5 {
		t.Errorf("backups took %v seconds", h.GetSampleSum())
	}
	f.is(t, 1000, "devflow_backup_stored_bytes_total")
	f.is(t, 5000, "devflow_backup_raw_bytes_total")

	f.is(t, 1, "devflow_database_overdue", "database", hostile, "db_instance", "main")
	f.is(t, 0, "devflow_database_overdue", "database", "orders", "db_instance", "main")
	f.is(t, 0, "devflow_database_overdue", "database", "orders", "db_instance", "second")
	f.is(t, 1, "devflow_database_protection_state", "database", hostile, "state", controller.ProtectionOverdue, "project", "shop", "server", "db-1", "engine", "postgresql")
	f.is(t, 1, "devflow_databases", "state", controller.ProtectionOverdue)
	f.is(t, 0, "devflow_databases_not_exported")
	if at := f.value("devflow_database_last_good_backup_timestamp_seconds", "database", "orders"); math.Abs(at-float64(time.Now().Unix())) > 60 {
		t.Errorf("the last good backup is of %v", at)
	}
	if at := f.value("devflow_database_last_good_backup_timestamp_seconds", "database", hostile); !math.IsNaN(at) {
		t.Errorf("one that was never backed up has a last good backup of %v", at)
	}
	if s := f.value("devflow_database_last_backup_size_bytes", "database", "orders"); !(s > 0) {
		t.Errorf("the last size is %v", s)
	}
	f.is(t, 1, "devflow_agents", "state", "online")
	f.is(t, 1, "devflow_agents", "state", "offline")
	f.is(t, 1, "devflow_agents_outdated")
	f.is(t, 0, "devflow_agent_online", "server", "db-2")
	f.is(t, 1, "devflow_storage_probe_ok", "project", "", "storage", "main", "kind", "s3")
	f.is(t, 2, "devflow_storage_inventory_failures", "storage", "main")
	f.is(t, 1, "devflow_storage_findings", "storage", "main", "finding", "object")
	f.is(t, 3, "devflow_leases_lost_total")
	f.is(t, 7, "devflow_security_events_total", "kind", "stale_attempt")
	f.is(t, 0, "devflow_security_events_total", "kind", "foreign_object")
	f.is(t, 4, "devflow_occurrences_total", "state", "missed", "code", "downtime")
	f.is(t, 2, "devflow_notices_total", "kind", "overdue", "event", "opened")
	f.is(t, 6, "devflow_messages_total", "channel_kind", "email", "result", "sent")
	f.is(t, 9, "devflow_pings_total", "result", "sent")
	if n := f.value("devflow_queue_length", "queue", "facts"); !(n >= 1) {
		t.Errorf("%v facts wait", n)
	}
	if s := f.value("devflow_queue_oldest_seconds", "queue", "facts"); s < 3600 || s > 3700 {
		t.Errorf("the oldest fact has waited for %v s", s)
	}
	f.is(t, 0, "devflow_queue_oldest_seconds", "queue", "deletions")
	f.is(t, 2, "devflow_alarms", "kind", "overdue", "severity", "critical")
	f.is(t, 1, "devflow_channels", "state", "failing")
	f.is(t, 1, "devflow_channels", "state", "active")
	f.is(t, 1, "devflow_controllers", "state", "silent")
	f.is(t, 1767323045, "devflow_cleanup_timestamp_seconds")
	f.is(t, 11, "devflow_cleanup_kept")
	f.is(t, 1, "devflow_cleanup_failed")
	f.is(t, 1, "devflow_cleanup_error")
	f.is(t, 5, "devflow_cleanup_removed_total")
	f.is(t, 1000, "devflow_cleanup_removed_bytes_total")
	f.is(t, 5, "devflow_broker_server_connections")
	f.is(t, 4e9, "devflow_certificate_expiry_timestamp_seconds", "certificate", "ca")

	for _, word := range []string{canary, "sk-", rolePassword, r.Token} {
		if strings.Contains(text, word) {
			t.Errorf("the scrape holds %q", word)
		}
	}
	document(t, "controller", f, names(metrics.Descs()))
}

const rolePassword = "only for tests"

func names(all []metrics.Desc) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.Name)
	}
	return out
}

// document holds the page against what was scraped: each metric that there is, with its type and labels.
func document(t *testing.T, section string, f families, all []string) {
	t.Helper()
	slices.Sort(all)
	var rows [][]string
	for _, name := range all {
		family := f[name]
		if family == nil {
			t.Errorf("%s is in no scrape: the test has no row for it", name)
			continue
		}
		var labels []string
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(labels, l.GetName()) {
					labels = append(labels, l.GetName())
				}
			}
		}
		rows = append(rows, []string{reference.Code(name), strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp()})
	}
	for name := range f {
		if strings.HasPrefix(name, "devflow_") && !slices.Contains(all, name) {
			t.Errorf("%s is told and not known", name)
		}
	}
	reference.Hold(t, "docs/metrics.md", section, reference.Table([]string{"metric", "type", "labels", "meaning"}, rows))
}

// A catalog that is away is told so, and no figure of before stays.
func TestScrape_CatalogDown(t *testing.T) {
	t.Parallel()
	r := filled(t)
	var mu sync.Mutex
	now := time.Now()
	h := handler(r, func(o *metrics.Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	f, _ := scrape(t, h)
	f.is(t, 1, "devflow_catalog_up")
	if err := r.Store.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	f, text := scrape(t, h)
	f.is(t, 0, "devflow_catalog_up")
	f.is(t, 1, "devflow_broker_connected") // what the controller knows by itself
	for name := range f {
		for _, prefix := range []string{"devflow_job", "devflow_database", "devflow_queue", "devflow_agent", "devflow_storage", "devflow_alarms", "devflow_cleanup", "devflow_catalog_size", "devflow_catalog_ping"} {
			if strings.HasPrefix(name, prefix) {
				t.Errorf("%s is told though the catalog is away", name)
			}
		}
	}
	if strings.Contains(text, "127.0.0.1") || strings.Contains(text, rolePassword) {
		t.Error("the scrape tells where the catalog is")
	}
}

// catalog is scripted.
type catalog struct {
	mu        sync.Mutex
	reads     int
	databases int
	states    func(i int) string
	hang      bool // when it is asked for databases
	hangAll   bool
}

func (c *catalog) Ping(ctx context.Context) error {
	if c.hangAll {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (c *catalog) Metrics(context.Context) (controller.Metrics, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	return controller.Metrics{SizeBytes: 1}, nil
}

func (c *catalog) ProtectionPage(ctx context.Context, after int64, limit int) ([]controller.Protection, error) {
	if c.hang {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	var out []controller.Protection
	for i := after + 1; i <= int64(c.databases) && len(out) < limit; i++ {
		now := time.Now()
		out = append(out, controller.Protection{
			DatabaseID: i, Database: fmt.Sprint("db", i), Engine: "postgresql", Server: "s", State: c.states(int(i)), ExpectedSeconds: 1, LastGoodAt: &now, VerifiedAt: &now,
			Sizes: []int64{1, 2}, Seconds: []float64{3, 4},
		})
	}
	return out, nil
}

func (c *catalog) DatabaseInstances(_ context.Context, ids []int64) (map[int64]string, error) {
	out := make(map[int64]string)
	for _, id := range ids {
		out[id] = "main"
	}
	return out, nil
}

// There are no more series than the bound allows, and what is wrong is never what is left out.
func TestScrape_Bound(t *testing.T) {
	t.Parallel()
	const all, overdue = 9000, 40
	c := &catalog{databases: all, states: func(i int) string {
		switch {
		case i > all-overdue: // the last ones
			return controller.ProtectionOverdue
		case i%100 == 0:
			return controller.ProtectionGone
		}
		return controller.ProtectionProtected
	}}
	f, _ := scrape(t, metrics.New(metrics.Options{Store: c}))
	series := 0
	for name, family := range f {
		if strings.HasPrefix(name, "devflow_database_") {
			series += len(family.GetMetric())
		}
	}
	if most := metrics.DatabaseSeries; series > most || series < most-metrics.SeriesEach {
		t.Errorf("%d series of databases, at most %d are allowed", series, most)
	}
	late := 0
	for _, m := range f["devflow_database_overdue"].GetMetric() {
		late += int(m.GetGauge().GetValue())
	}
	told := len(f["devflow_database_overdue"].GetMetric())
	gone := (all - overdue) / 100
	if late != overdue {
		t.Errorf("%d overdue databases are told of, %d are there", late, overdue)
	}
	f.is(t, float64(all-gone-told), "devflow_databases_not_exported")
	f.is(t, float64(gone), "devflow_databases", "state", controller.ProtectionGone)
	f.is(t, overdue, "devflow_databases", "state", controller.ProtectionOverdue)
	f.is(t, 2, "devflow_database_last_backup_size_bytes", "database", fmt.Sprint("db", all))
	f.is(t, 4, "devflow_database_last_backup_duration_seconds", "database", fmt.Sprint("db", all))
}
