package api_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
)

// BenchmarkScale_API is what a panel asks most: a page of the history, the cards, the table of schedules, of a project with 1,000,000
// backups, by a token of kind panel for one of its users. Eight clients ask at once, each on a connection of its own, as the workers of a
// panel do; an op is one request.
func BenchmarkScale_API(b *testing.B) {
	r := &rig{Rig: apitest.New(b)}
	const rows, databases, clients = 1_000_000, 1000, 8
	shop := r.Project("shop")
	r.SQL(fmt.Sprintf(`
		ALTER TABLE database_backups DISABLE TRIGGER tells; ALTER TABLE jobs DISABLE TRIGGER tells; ALTER TABLE backup_schedules DISABLE TRIGGER tells;
		INSERT INTO servers (agent_id, name, nkey, signing_key, recipient, session, last_seen_at) VALUES ('abench', 'db1', 'U1', '\x00', 'age1', 's', now());
		INSERT INTO project_servers SELECT %[1]d, id FROM servers;
		INSERT INTO storages (name, kind, is_default, probe_ok) VALUES ('store', 's3', true, true);
		INSERT INTO databases (server_id, instance, engine, name, project_id) SELECT s.id, 'main', 'postgresql', 'data' || n, %[1]d FROM servers s, generate_series(1, %[2]d) n;
		INSERT INTO backup_schedules (project_id, scope, database_id, server_id, instance, database_type, database_name, frequency, "time", timezone, max_duration_seconds, compression,
				retention_days, recorded_until, next_at, next_run_at)
			SELECT %[1]d, 'database', id, server_id, 'main', 'postgresql', name, 'daily', '02:00', 'UTC', 3600, 'zstd', 30, now(), now() + interval '1 day', now() + interval '1 day' FROM databases;
		INSERT INTO database_backups (project_id, server_id, database_id, storage_id, instance, database_type, database_name, type, status, compression, encryption, storage_disk,
				file_name, file_path, file_size, checksum, raw_size, raw_checksum, manifest, started_at, completed_at, created_at)
			SELECT %[1]d, d.server_id, d.id, s.id, 'main', 'postgresql', d.name, 'manual', 'completed', 'zstd', 'age', 's3',
				'data.dump.zst.age', 'backups/' || n, 1000000, repeat('0', 64), 3000000, repeat('1', 64), '\x7b7d', t, t + interval '1 minute', t
			FROM (SELECT n, now() - (%[3]d - n) * interval '30 seconds' AS t FROM generate_series(1, %[3]d) n) q JOIN databases d ON d.name = 'data' || 1 + q.n %% %[2]d, storages s;
		INSERT INTO jobs (kind, project_id, server_id, backup_id, status, max_duration_seconds, max_attempts, attempt_no, deadline_at, created_at, ended_at)
			SELECT 'backup', b.project_id, b.server_id, b.id, 'completed', 3600, 3, 1, b.created_at + interval '1 day', b.created_at, b.completed_at FROM database_backups b;
		ALTER TABLE database_backups ENABLE TRIGGER tells; ALTER TABLE jobs ENABLE TRIGGER tells; ALTER TABLE backup_schedules ENABLE TRIGGER tells;
		ANALYZE`, shop.ID, databases, rows))
	if err := r.Store.FoldTotals(b.Context()); err != nil {
		b.Fatal(err)
	}
	token := into[body.NewToken](r.do(http.MethodPost, "/tokens", map[string]any{"name": "panel", "kind": controller.TokenPanel, "permissions": []string{controller.ViewBackups}}).is(http.StatusCreated)).Token

	for _, call := range []struct{ name, path string }{
		{"history", "/backups?project=shop&page=1"},
		{"history-page-100", "/backups?project=shop&page=100"},
		{"statistics", "/projects/shop/statistics"},
		{"schedules", "/schedules?project=shop&page=1"},
	} {
		b.Run(fmt.Sprintf("rows=%d/%s", rows, call.name), func(b *testing.B) {
			took := make([][]time.Duration, clients)
			requests := make(chan struct{})
			var all sync.WaitGroup
			for i := range took {
				all.Go(func() {
					client := &http.Client{Transport: &http.Transport{}}
					defer client.CloseIdleConnections()
					for range requests {
						began := time.Now()
						if err := ask(b, client, r.URL+"/api/v1"+call.path, token); err != nil {
							b.Error(err)
						}
						took[i] = append(took[i], time.Since(began))
					}
				})
			}
			began := time.Now()
			for b.Loop() {
				requests <- struct{}{}
			}
			close(requests)
			all.Wait()
			sorted := slices.Sorted(slices.Values(slices.Concat(took...)))
			b.ReportMetric(float64(len(sorted))/time.Since(began).Seconds(), "req/s")
			b.ReportMetric(float64(sorted[len(sorted)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(sorted[len(sorted)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// ask is one request of a panel, whose answer is read to its end.
func ask(b *testing.B, client *http.Client, url, token string) error {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + token, body.ActingUser: "zoe", body.ActingPermissions: controller.ViewBackups, body.ActingProjects: "shop"} {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %d: %s", url, res.StatusCode, text)
	}
	return err
}
