package main_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	main "devflowbackup/controller/cmd/devflowctl"
	"devflowbackup/controller/internal/api"
)

// commands are the command lines that send each operation of the API.
var commands = map[string]string{
	"list-projects": "project list", "create-project": "project create shop", "get-project": "project show shop", "update-project": "project update shop --name Shop --if-match v",
	"delete-project": "project delete shop", "get-project-key": "project key shop", "grant-server": "project grant shop db-1", "revoke-server-grant": "project grant shop db-1 --revoke",
	"get-statistics": "statistics", "get-project-statistics": "statistics shop", "get-trends": "trends shop --days 7", "get-overview": "overview", "pre-deploy": "pre-deploy shop", "get-pre-deploy": "pre-deploy shop",
	"list-servers": "server list", "get-server": "server show db-1", "revoke-server": "server revoke db-1", "set-verifier": "server verifier db-1", "list-enrolments": "server enrolments", "create-enrolment": "server token db-1",
	"list-databases": "database list", "assign-database": "database assign app --project shop", "unassign-database": "database unassign app",
	"list-protection": "status --all", "get-protection-summary": "status", "ignore-database": "database ignore 7 --id --reason x", "unignore-database": "database unignore 7 --id",
	"list-storages": "storage list", "create-storage": "storage add s3 --bucket b --access-key a --secret-key-file $SECRET", "get-storage": "storage show s3", "update-storage": "storage edit s3 --region eu-1", "probe-storage": "storage probe s3",
	"set-default-storage": "storage default s3", "delete-storage": "storage remove s3", "get-inventory": "storage inventory s3", "request-inventory": "storage inventory s3 --now", "list-findings": "storage inventory s3 --findings",
	"list-backups": "backup list", "create-backups": "backup create shop", "get-backup": "backup show 7", "get-backup-manifest": "backup manifest 7", "get-backup-log": "backup log 7", "cancel-backup": "backup cancel 7",
	"delete-backup": "backup delete 7", "undelete-backup": "backup undelete 7", "retry-backup": "backup retry 7", "verify-backup": "backup verify 7 --wait=false", "verify-backups": "backup verify --all --wait=false",
	"hold-backup": "backup hold 7 --reason x", "release-backup": "backup release 7", "cleanup": "backup cleanup shop --dry-run", "create-download": "backup download 7 -o $DIR",
	"list-restores": "restore list", "create-restore": "restore create 7 --to-database copy", "plan-restore": "restore plan 7 --to-database copy", "get-restore": "restore show 7", "cancel-restore": "restore cancel 7",
	"undo-restore": "restore undo 7 --confirm app", "plan-undo": "restore undo 7 --plan", "discard-kept": "restore discard 7 --confirm app", "keep-kept": "restore keep 7 --for 48h",
	"list-jobs": "job list", "get-job": "job show 7", "cancel-job": "job cancel 7",
	"list-schedules": "schedule list", "create-schedule": "schedule create shop --daily 02:00", "preview-schedule": "schedule preview --daily 02:00", "get-schedule": "schedule show 7", "update-schedule": "schedule edit 7 --daily 03:00",
	"delete-schedule": "schedule delete 7", "run-schedule": "schedule run 7", "list-occurrences": "schedule history 7",
	"list-channels": "channel list", "list-channel-kinds": "channel kinds", "create-channel": "channel create ops --kind slack --url-file $SECRET", "get-channel": "channel show ops", "update-channel": "channel edit ops --min-severity warning",
	"delete-channel": "channel delete ops", "test-channel": "channel test ops", "list-alarms": "alarm list", "get-alarm": "alarm show 7", "list-notices": "notice list", "list-notice-kinds": "notice kinds", "get-notice": "notice show 7",
	"list-mutes": "mute list", "create-mute": "alarm mute 7 --for 4h --reason x", "end-mute": "mute end 7",
	"list-pauses": "pause list", "create-pause": "pause add --project shop --reason x", "end-pause": "pause end 7",
	"list-tokens": "token list", "create-token": "token create ci --permission view-backups", "get-token": "token show 7", "rotate-token": "token rotate 7", "revoke-token": "token revoke 7",
	"list-users": "user list", "create-user": "user add anna --admin --no-password", "get-user": "user show anna", "update-user": "user update anna --admin", "set-password": "user passwd anna", "delete-user": "user delete anna", "end-user-sessions": "user sign-out anna",
	"whoami": "login $URL", "get-session": "whoami", "sign-in": "login $URL --user anna", "get-sign-in-methods": "login $URL --user anna", "list-sessions": "session list", "end-session": "session end 7", "change-password": "session passwd",
	"sign-out":     "logout",
	"get-settings": "settings show", "update-settings": "settings set --timezone UTC", "get-version": "version", "watch-events": "events",
	"list-audit": "audit list", "export-audit": "audit export", "audit-head": "audit head", "check-audit": "audit verify", "list-security-events": "audit security",
}

// commandless are the operations that no command sends, and why.
var commandless = map[string]string{
	"enrol":              "devflow-agent enroll sends it, on the host",
	"enrolment-status":   "devflow-agent enroll sends it, on the host",
	"get-install-script": "the command that server add prints fetches it, on the host",
	"get-package":        "the command that server add prints fetches it, on the host",
	"get-ca":             "login --ca-sha256 fetches it, before there is anyone to trust",
	"oidc-sign-in":       "it is for a browser",
	"oidc-callback":      "it is for a browser",
	"get-alarm-summary":  "it is for the console's bell; status tells it with the rest",
	"download":           "it is the link that backup download follows, or a store's in its place",
	"head-download":      "backup download begins at once where it stopped",
}

// TestOperations runs the command of each operation of the API's document against something that answers as a controller would, and looks
// whether the operation was asked for. A new operation has to be given a command, or a reason why it has none.
func TestOperations(t *testing.T) {
	t.Parallel()
	operations := map[string]*huma.Operation{}
	for _, item := range api.New(api.Options{}).OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				operations[op.OperationID] = op
			}
		}
	}
	if len(operations) < 105 {
		t.Fatalf("only %d operations", len(operations))
	}
	for id := range commandless {
		if operations[id] == nil || commands[id] != "" {
			t.Errorf("%s: there is no such operation, or it has a command", id)
		}
	}
	for id := range commands {
		if operations[id] == nil {
			t.Errorf("%s: there is no such operation", id)
		}
	}
	for id, op := range operations {
		line := commands[id]
		if line == "" {
			if commandless[id] == "" {
				t.Errorf("%s %s (%s) has no command, and no reason why not", op.Method, op.Path, id)
			}
			continue
		}
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			asked := runs(t, line)
			if !slices.ContainsFunc(asked, func(r string) bool { return is(op, r) }) {
				t.Errorf("devflowctl %s asks for %q, not for %s %s", line, asked, op.Method, op.Path)
			}
		})
	}
}

// is tells whether a request, as METHOD /path, is of the operation: literal parts are the same.
func is(op *huma.Operation, request string) bool {
	method, path, _ := strings.Cut(request, " ")
	want, got := strings.Split(op.Path, "/"), strings.Split(strings.TrimPrefix(path, "/api/v1"), "/")
	if method != op.Method || len(want) != len(got) {
		return false
	}
	for i, part := range want {
		if !strings.HasPrefix(part, "{") && part != got[i] {
			return false
		}
	}
	return true
}

// runs returns what a command line asks for, as METHOD /path. It is answered with what a person, a list or a single thing is read from.
func runs(t *testing.T, line string) []string {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.Path)
		n := len(asked)
		mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "__Host-devflow", Value: "dfs_x", Path: "/"})
		w.Header().Set("Content-Type", "application/json")
		status := "completed"
		if n == 1 {
			status = "running" // of what is waited for
		}
		_, _ = io.WriteString(w, `{"id":7,"status":"`+status+`","password":true,"items":[]}`)
	}))
	defer srv.Close()
	home := t.TempDir()
	r := &rig{home: home}
	r.Rig = offline(t).Rig
	secret := r.file("secret", "s3cret\n")
	env := map[string]string{"HOME": home, "DEVFLOW_URL": srv.URL, "DEVFLOW_TOKEN": "dfk_x"}
	if line == "logout" {
		env = map[string]string{"HOME": home}
		r.file(".config/devflow/profiles/default.yaml", "server: "+srv.URL+"\nsession: dfs_x\n")
	}
	line = strings.NewReplacer("$URL", srv.URL, "$SECRET", secret, "$DIR", filepath.Join(home, "out")+"/").Replace(line)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = main.Run(ctx, strings.NewReader("first line of 12 letters\nsecond line, another\n"), io.Discard, io.Discard, func(name string) string { return env[name] }, strings.Fields(line)...)
	mu.Lock()
	defer mu.Unlock()
	return asked
}
