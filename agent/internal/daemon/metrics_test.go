package daemon_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/link"
	"devflowbackup/shared/freeport"
	"devflowbackup/shared/wire"
)

// fetch returns what an address answers, or that it does not.
func fetch(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return fmt.Sprintln(res.StatusCode) + string(text)
}

// An agent that was asked to tells what it does, and of no database by name; it stops listening when it stops.
func TestDaemon_Metrics(t *testing.T) {
	port, err := freeport.Pick()
	must(t, err)
	a := prepare(t)
	a.cfg.Metrics = config.Metrics{Listen: freeport.Address(port)}
	a.e.Set("shop", random(3*partSize+1000))
	a.start()
	url := "http://" + a.cfg.Metrics.Listen
	a.await("the health", func() bool { return strings.HasPrefix(fetch(t, url+"/healthz"), "200\n") })
	_, st := a.backup(7)
	refused := a.backupJob(8)
	refused.Backup.Database = "private-1"
	if reply := a.c.Command(wire.VerbRun, refused); reply.Failure == nil {
		t.Fatal("a database that the host excludes is backed up")
	}
	var text string
	a.await("the figures", func() bool {
		text = fetch(t, url+"/metrics")
		return strings.Contains(text, "devflow_agent_journal_entries 0\n") && strings.Contains(text, "devflow_agent_instances_failing 0\n")
	})
	for _, line := range []string{
		`devflow_agent_jobs_ended_total{engine="other",kind="backup",outcome="uploaded"} 1`,
		fmt.Sprintf(`devflow_agent_raw_bytes_total{kind="backup"} %v`, float64(st.RawSize)),
		fmt.Sprintf(`devflow_agent_stored_bytes_total{kind="backup"} %v`, float64(st.StoredSize)),
		`devflow_agent_jobs_refused_total{code="not_allowed"} 1`,
		"devflow_agent_connected 1", "devflow_agent_known 1", "devflow_agent_jobs_running 0", "devflow_agent_concurrency 2",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
	for _, name := range []string{"shop", "private", a.cfg.StateDir} {
		if strings.Contains(text, name) {
			t.Errorf("the name %s is told", name)
		}
	}
	if err := a.stopped(); err != nil && !errors.Is(err, link.ErrClosed) {
		t.Fatal(err)
	}
	if text := fetch(t, url+"/healthz"); !strings.Contains(text, "refused") {
		t.Errorf("it still listens: %s", text)
	}
}
