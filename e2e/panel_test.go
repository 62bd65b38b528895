package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/shared/testkit/s3kit"
)

// panelUser is a user of the panel, as it names one with each call.
type panelUser struct {
	Name        string `json:"name"`
	Permissions string `json:"permissions"`
	Projects    string `json:"projects"`
}

// panel runs what the panel does: flows of e2e/testdata/panel, by PHP, against the estate's controller.
type panel struct {
	*estate
	script string
	on     map[string]any // what each flow is told
}

// The panel's ids of its projects.
const (
	panelID      = "4711"
	panelOtherID = "4712"
	panelEmptyID = "4713"
	panelNewID   = "4714"
)

func (e *estate) panel(t *testing.T, ctx context.Context) *panel {
	t.Helper()
	root, err := s3kit.Root()
	if err != nil {
		t.Fatal(err)
	}
	var token struct{ Token string }
	if err := e.ctl.API(ctx, "POST", "/tokens", map[string]any{
		"name": "panel", "kind": "panel",
		"permissions": []string{"view-backups", "create-backups", "restore-backups", "delete-backups", "download-backups", "manage-projects", "manage-schedules", "manage-storages"},
	}, &token); err != nil {
		t.Fatal(err)
	}
	client, err := e.controllers[0].ClientWith("panel", token.Token)
	if err != nil {
		t.Fatal(err)
	}
	return &panel{estate: e, script: filepath.Join(root, "e2e", "testdata", "panel", "flows.php"), on: map[string]any{
		"url": e.controllers[0].URL(), "authority": client.CAFile, "token_file": client.TokenFile, "project": panelID,
		"user": panelUser{"zoe@example.com", "view-backups,create-backups,restore-backups,delete-backups,download-backups,manage-schedules,manage-storages", panelID},
	}}
}

// flow runs one flow, which must end well, and decodes what it saw into out. Each line that it prints before goes to said.
func (p *panel) flow(t *testing.T, ctx context.Context, name string, on map[string]any, out any, said func(line string)) {
	t.Helper()
	told := maps.Clone(p.on)
	maps.Copy(told, on)
	text, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "php", "-n", p.script, name, string(text)) // without configuration: nothing but what is built in
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, 5*time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("run PHP, which scripts/install-deps.sh installs: %v", err)
	}
	last := ""
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if last = lines.Text(); !strings.HasPrefix(last, "{") && said != nil {
			said(last)
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", name, err, stderr.String(), last)
	}
	if err := json.Unmarshal([]byte(last), out); err != nil {
		t.Fatalf("%s: %v: %s", name, err, last)
	}
}

// panelDeploy is what a deploy was told.
type panelDeploy struct {
	Result    string
	Why       string
	Databases map[string]string // name to status
}

// deploy asks before a deploy, of all databases or of some.
func (p *panel) deploy(t *testing.T, ctx context.Context, project, key, want string, databases ...string) (d panelDeploy) {
	t.Helper()
	on := map[string]any{"project": project, "key": key, "user": panelUser{"ci", "create-backups", project}, "ask": map[string]any{"deadline_seconds": 120}}
	if len(databases) > 0 {
		on["ask"] = map[string]any{"databases": databases, "wait_seconds": 0}
	}
	p.flow(t, ctx, "deploy", on, &d, nil)
	if d.Result != want {
		t.Fatalf("the deploy was told %+v, want %s", d, want)
	}
	return d
}

// backups are the panel's project's, newest first.
func (p *panel) backups(t *testing.T, ctx context.Context, query string) (all []fullBackup) {
	t.Helper()
	var page struct{ Items []fullBackup }
	if err := p.ctl.API(ctx, "GET", "/backups?limit=200&project=panel&"+query, nil, &page); err != nil {
		t.Fatal(err)
	}
	return page.Items
}

// TestPanel runs every screen, action and console command of the panel as the panel does: by PHP's own HTTP functions, with a token of
// kind panel, for users that it names.
func TestPanel(t *testing.T) {
	e, ctx := commonEstate(t)
	p := e.panel(t, ctx)
	for slug, external := range map[string]string{"panel": panelID, "panel-other": panelOtherID, "panel-empty": panelEmptyID} {
		e.project(t, ctx, slug, "--external-id", external)
	}
	names := map[string]string{}
	for _, s := range e.servers {
		names[s.Engine()] = e.database(t, ctx, s, "panel", "shop", fewRows)
	}
	foreign := e.backUp(t, ctx, "panel-other", e.database(t, ctx, e.sqlite, "panel-other", "foreign", fewRows))

	type cards struct {
		Total     int    `json:"Total Backups"`
		Scheduled int    `json:"Scheduled"`
		Used      string `json:"Storage Used"`
		Last      string `json:"Last Backup"`
		Bytes     int64  `json:"bytes"`
	}
	t.Run("Cards", func(t *testing.T) {
		var c cards
		p.flow(t, ctx, "cards", nil, &c, nil)
		if (c != cards{Used: "0 B", Last: "Never"}) {
			t.Errorf("a new project has %+v", c)
		}
	})
	t.Run("Project", func(t *testing.T) {
		admin := panelUser{"ann@example.com", "view-backups,manage-projects", "*"}
		p.flow(t, ctx, "project", map[string]any{"user": admin, "project": panelNewID}, &struct{}{}, nil)
	})
	t.Run("Schedules", func(t *testing.T) {
		p.flow(t, ctx, "schedules", map[string]any{"database": names["sqlite"]}, &struct{}{}, nil)
	})
	t.Run("Deploy", func(t *testing.T) {
		if d := p.deploy(t, ctx, panelEmptyID, "deploy-0", "nothing_to_back_up"); len(d.Databases) != 0 || d.Why == "" {
			t.Errorf("%+v", d)
		}
		d := p.deploy(t, ctx, panelID, "deploy-1", "completed")
		for _, name := range names {
			if d.Databases[name] != "completed" {
				t.Errorf("%s: %+v", name, d)
			}
		}
		made := p.backups(t, ctx, "")
		for _, b := range made {
			if b.Type != "pre_deploy" || b.Status != "completed" {
				t.Errorf("%+v", b)
			}
		}
		// Another answer for the same deploy is of the same backups.
		p.deploy(t, ctx, panelID, "deploy-1", "completed")
		if now := p.backups(t, ctx, ""); len(made) != 3 || len(now) != 3 {
			t.Errorf("%d backups after a deploy, %d after it was asked again", len(made), len(now))
		}
	})
	var now struct {
		Backup int64
		Stages []string
	}
	t.Run("CreateBackupNow", func(t *testing.T) {
		// The store takes nothing before the panel has shown the progress.
		g, rule := e.gate(t, "UploadPart")
		p.flow(t, ctx, "create", map[string]any{"database": names["sqlite"]}, &now, func(string) { g.Open(); e.s3.Proxy.Reset() })
		if rule.Fired() == 0 {
			t.Error("the store held nothing up: the progress proves nothing")
		}
	})
	t.Run("Verify", func(t *testing.T) {
		p.flow(t, ctx, "verify", map[string]any{"backup": now.Backup}, &struct{}{}, nil)
	})
	t.Run("Download", func(t *testing.T) {
		var d struct{ Bytes int64 }
		p.flow(t, ctx, "download", map[string]any{"backup": now.Backup}, &d, nil)
		if d.Bytes == 0 {
			t.Error("nothing came")
		}
	})
	t.Run("Restore", func(t *testing.T) {
		name := names["postgresql"]
		if err := e.postgres.AllowInPlace(ctx, name); err != nil {
			t.Fatal(err)
		}
		saved := contentOf(t, ctx, e.postgres, name)
		if _, err := e.postgres.Exec(ctx, name, "DELETE FROM people WHERE id > 1; INSERT INTO people VALUES (9, 'Eve')"); err != nil {
			t.Fatal(err)
		}
		live := contentOf(t, ctx, e.postgres, name)
		if saved.Diff(live) == "" {
			t.Fatal("the backup has what is there: the comparison proves nothing")
		}
		backup := p.backups(t, ctx, "database="+url.QueryEscape(name))[0]
		var r struct{ Restore, Safety int64 }
		p.flow(t, ctx, "restore", map[string]any{"backup": backup.ID, "database": name}, &r, nil)
		same(t, ctx, e.postgres, saved, name)
		if b := e.backup(t, ctx, r.Safety); b.Type != "pre_restore" || b.Status != "completed" {
			t.Errorf("the safety backup is %+v", b)
		}
		var undo struct{ Restore int64 }
		p.flow(t, ctx, "undo", map[string]any{"restore": r.Restore, "database": name}, &undo, nil)
		same(t, ctx, e.postgres, live, name)
		eventually(t, ctx, "what the undo kept is gone", func(ctx context.Context) (bool, error) {
			r, err := e.ctl.Restore(ctx, undo.Restore)
			return r.KeptState == "removed", err
		})
	})
	t.Run("DeployFails", func(t *testing.T) {
		// A view whose table is gone is what stops a dump of MySQL.
		sql := func(text string) {
			t.Helper()
			if _, err := e.maria.Exec(ctx, names["mysql"], text); err != nil {
				t.Fatal(err)
			}
		}
		sql("CREATE TABLE gone (n integer); CREATE VIEW broken AS SELECT n FROM gone; DROP TABLE gone")
		d := p.deploy(t, ctx, panelID, "deploy-2", "backup_failed")
		if d.Databases[names["mysql"]] != "failed" || len(d.Databases) != 3 || !strings.Contains(d.Why, names["mysql"]) {
			t.Errorf("%+v", d)
		}
		sql("DROP VIEW broken")
		p.deploy(t, ctx, panelID, "deploy-3", "completed")
		for _, key := range []string{"deploy-4", "deploy-5"} {
			if d := p.deploy(t, ctx, panelID, key, "completed", names["sqlite"]); len(d.Databases) != 1 {
				t.Errorf("of one database: %+v", d)
			}
		}
		if all := p.backups(t, ctx, "type=pre_deploy&status=failed"); len(all) != 1 || all[0].DatabaseName != names["mysql"] || all[0].ErrorMessage == "" {
			t.Errorf("failed ones: %+v", all)
		}
	})
	t.Run("Storage", func(t *testing.T) {
		secret, err := os.ReadFile(e.s3.SecretKeyFile)
		if err != nil {
			t.Fatal(err)
		}
		p.flow(t, ctx, "storage", map[string]any{"spec": map[string]any{
			"endpoint": e.s3.URL(), "region": e.s3.Region, "bucket": e.s3.Bucket, "access_key": e.s3.AccessKey, "secret_key": strings.TrimSpace(string(secret)),
		}}, &struct{}{}, nil)
	})
	t.Run("History", func(t *testing.T) {
		var h struct {
			Pages  []int
			Failed int
		}
		p.flow(t, ctx, "history", nil, &h, nil)
		if all := p.backups(t, ctx, ""); len(all) < 11 || !slices.Equal(h.Pages, []int{10, len(all) - 10}) || h.Failed != 1 {
			t.Errorf("of %d backups it has %+v", len(all), h)
		}
	})
	t.Run("Viewer", func(t *testing.T) {
		viewer := panelUser{"val@example.com", "view-backups", panelID}
		p.flow(t, ctx, "viewer", map[string]any{"user": viewer, "backup": now.Backup, "database": names["sqlite"]}, &struct{}{}, nil)
	})
	t.Run("Foreign", func(t *testing.T) {
		// All that the token may do, in one project.
		user := panelUser{"zoe@example.com", "*", panelID}
		p.flow(t, ctx, "foreign", map[string]any{"user": user, "project": "panel", "other": panelOtherID, "foreign": foreign.ID}, &struct{}{}, nil)
	})
	t.Run("Quota", func(t *testing.T) { // fault 77
		limit := func(jobs any) {
			t.Helper()
			if err := e.ctl.API(ctx, "PATCH", "/projects/panel", map[string]any{"max_jobs_per_hour": jobs}, nil); err != nil {
				t.Fatal(err)
			}
		}
		before := len(p.backups(t, ctx, ""))
		limit(before)
		p.flow(t, ctx, "quota", map[string]any{"database": names["sqlite"]}, &struct{}{}, nil)
		if d := p.deploy(t, ctx, panelID, "deploy-flood", "backup_failed"); !strings.Contains(d.Why, "max_jobs_per_hour") {
			t.Errorf("%+v", d)
		}
		if now := len(p.backups(t, ctx, "")); now != before {
			t.Errorf("there were %d backups, past the limit there are %d", before, now)
		}
		limit(nil)
	})
	t.Run("Cleanup", func(t *testing.T) {
		// Of those that were made before deploys the newest three stay, and, as none was verified, the oldest.
		sqlite := p.backups(t, ctx, "type=pre_deploy&status=completed&database="+url.QueryEscape(names["sqlite"]))
		if len(sqlite) != 5 {
			t.Fatalf("there are %d, not five", len(sqlite))
		}
		old := sqlite[3]
		e.age(t, ctx, old.ID, "40 days")
		e.age(t, ctx, sqlite[4].ID, "41 days")
		var plan struct {
			Kept, Removed int
			Remove        []int64
		}
		p.flow(t, ctx, "cleanup", nil, &plan, nil)
		if plan.Removed != 1 || !slices.Equal(plan.Remove, []int64{old.ID}) || plan.Kept < 9 {
			t.Errorf("with %d aged, of %d backups, the plan is %+v", old.ID, len(sqlite), plan)
		}
		if b := e.backup(t, ctx, old.ID); b.DeletedAt != nil {
			t.Error("the dry run removed it")
		}
	})
	t.Run("Delete", func(t *testing.T) {
		mysql := p.backups(t, ctx, "status=completed&database="+url.QueryEscape(names["mysql"]))
		if len(mysql) != 2 {
			t.Fatalf("there are %d, not two", len(mysql))
		}
		p.flow(t, ctx, "delete", map[string]any{"backup": mysql[1].ID, "last": mysql[0].ID}, &struct{}{}, nil)
		eventually(t, ctx, "its objects are gone", func(ctx context.Context) (bool, error) { return e.backup(t, ctx, mysql[1].ID).PurgedAt != nil, nil })
	})
	t.Run("CardsAfter", func(t *testing.T) {
		var want cards
		for _, b := range p.backups(t, ctx, "") {
			want.Total++
			want.Bytes += b.FileSize
		}
		var c cards
		p.flow(t, ctx, "cards", nil, &c, nil)
		if c.Total != want.Total || c.Bytes != want.Bytes || c.Used == "0 B" || c.Last == "Never" {
			t.Errorf("%+v, want %+v", c, want)
		}
	})
	t.Run("Audit", func(t *testing.T) {
		// The log has the token and whom it acted for.
		type entry struct {
			Actor      string
			OnBehalfOf string `json:"on_behalf_of"`
			Result     string
		}
		for action, want := range map[string]entry{
			"project.create": {"panel", "ann@example.com", "done"}, "schedule.delete": {"panel", "zoe@example.com", "done"}, "backup.delete": {"panel", "zoe@example.com", "done"},
			"backup.verify": {"panel", "val@example.com", "accepted"}, "backup.create": {"panel", "ci", "accepted"}, "restore.create": {"panel", "zoe@example.com", "accepted"},
			"restore.undo": {"panel", "zoe@example.com", "accepted"}, "storage.create": {"panel", "zoe@example.com", "done"}, "backup.download": {"panel", "val@example.com", "refused: forbidden"},
		} {
			var page struct{ Items []entry }
			if err := e.ctl.API(ctx, "GET", "/audit?action="+action+"&limit=200", nil, &page); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(page.Items, want) {
				t.Errorf("%s: %+v", action, page.Items)
			}
		}
	})
	e.invariants(t, ctx)
}
