package controller_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// drafted is a restore of a PostgreSQL backup in the place of its own database.
func drafted(change func(*controller.Draft)) controller.Draft {
	made := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	d := controller.Draft{
		Request: controller.RestoreRequest{Backup: 12, InPlace: true, SwapRequest: controller.SwapRequest{Sessions: wire.SessionsRefuse, KeepFor: controller.DefaultKeep}},
		Kind:    controller.RestoreKind,
		Backup: controller.Backup{
			ID: 12, DatabaseName: "shop", DatabaseType: wire.EnginePostgreSQL, ServerID: 1, Server: "db-1", Instance: "main", Storage: "s3", CompletedAt: &made,
			VerifiedAt: &made, VerifiedLevel: new(wire.LevelContent),
		},
		Server: controller.Server{ID: 1, Name: "db-1"}, Online: true, Instance: controller.Instance{Name: "main", Engine: wire.EnginePostgreSQL, Restore: true, InPlace: true},
		Engine: wire.EnginePostgreSQL, Database: "shop", Local: new(int64(3)), MadeAt: "7001",
		Metadata: controller.BackupFacts{
			Tool: "pg_dump", ToolVersion: "15.6", ServerVersion: "15.6", DatabaseBytes: 30 << 20, RawBytes: 20 << 20, StoredBytes: 5<<20 + 1, Tables: 12, Extensions: []string{"citext"},
			Objects: []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals},
		},
	}
	if change != nil {
		change(&d)
	}
	return d
}

// seen is a target that nothing is wrong with.
func seen(change func(*wire.Target)) *wire.Target {
	t := &wire.Target{Exists: true, Identity: "7001/16400", ServerIdentity: "7001", ServerVersion: "15.6", SizeBytes: 40 << 20, Tables: 13, FreeBytes: 8 << 30, Owner: "shop"}
	if change != nil {
		change(t)
	}
	return t
}

func asMySQL(d *controller.Draft) {
	d.Engine, d.Backup.DatabaseType, d.Instance.Engine = wire.EngineMySQL, wire.EngineMySQL, wire.EngineMySQL
}

func asSQLite(d *controller.Draft) {
	d.Engine, d.Backup.DatabaseType, d.Instance.Engine = wire.EngineSQLite, wire.EngineSQLite, wire.EngineSQLite
	d.Database, d.Backup.DatabaseName = "/srv/app/app.sqlite", "/srv/app/app.sqlite"
}

func asNew(d *controller.Draft) { d.Request.InPlace, d.Database = false, "shop_copy" }

func asUndo(d *controller.Draft) {
	d.Kind = controller.UndoKind
	d.Undo = &controller.Restore{ID: 5, KeptName: "devflow_kept_5_0a1b2c3d", DatabaseName: "shop"}
	d.Request = controller.RestoreRequest{SwapRequest: d.Request.SwapRequest}
}

// TestPlanRestore holds whole plans against files: what an operator reads is part of the contract.
func TestPlanRestore(t *testing.T) {
	offline := wire.Failf(wire.CodeOffline, "the agent on db-1 is not connected")
	for _, c := range []struct {
		name     string
		draft    controller.Draft
		found    *wire.Target
		err      error
		canStart bool
		first    string // code of the first problem
		says     []string
		not      []string
	}{
		{name: "in_place", draft: drafted(nil), found: seen(nil), canStart: true, says: []string{"pre_restore", "devflow_kept_", "3 days", "Two renames"}},
		{
			name: "in_place_declined", canStart: true, first: controller.ProblemNoSafetyBackup, found: seen(nil), draft: drafted(func(d *controller.Draft) {
				d.Request.SkipSafety, d.Request.Sessions, d.Request.KeepFor = true, wire.SessionsEnd, 36*time.Hour
				d.Request.Choices = wire.RestoreChoices{Owners: true, Privileges: true, Roles: true, Jobs: 4}
			}), says: []string{"are ended", "36 hours", "declined", "with owners; with grants", "4 indexes"}, not: []string{"of type pre_restore"},
		},
		{name: "in_place_mysql", canStart: true, found: seen(func(t *wire.Target) { t.FreeBytes = -1 }), draft: drafted(func(d *controller.Draft) {
			asMySQL(d)
			d.Request.Sessions, d.Request.Wait = wire.SessionsWait, 90*time.Second
			d.Request.Choices.Definers = "keep"
		}), says: []string{"90 seconds", "in one statement", "definers kept"}},
		{name: "in_place_sqlite_end", canStart: true, found: seen(nil), first: controller.ProblemSessionsKept, draft: drafted(func(d *controller.Draft) {
			asSQLite(d)
			d.Request.Sessions = wire.SessionsEnd
		}), says: []string{"exchange their names", "never ended", "integrity check", "have it open stop it"}, not: []string{"are ended."}},
		{
			name: "in_use", draft: drafted(nil), first: wire.CodeTargetInUse, says: []string{"--sessions wait", "--sessions end"},
			found: seen(func(t *wire.Target) {
				t.Sessions, t.SessionCount = []wire.Session{{User: "shop", Application: "php", State: "idle"}}, 1
				t.Problems = []wire.Problem{
					{Code: "owner", Text: "what is restored belongs to another role"},
					{Stops: true, Code: wire.CodeTargetInUse, Text: `"shop" is in use: "shop" with "php"`, Hint: "stop the programs that use it"},
				}
			}),
		},
		{name: "in_use_sqlite", draft: drafted(asSQLite), first: wire.CodeTargetInUse, says: []string{"--sessions wait"}, not: []string{"--sessions end"}, found: seen(func(t *wire.Target) {
			t.Problems = []wire.Problem{{Stops: true, Code: wire.CodeTargetInUse, Text: "it is in use by php"}}
		})},
		{
			name: "target_missing", draft: drafted(nil), first: controller.ProblemTargetMissing, says: []string{"leave in_place out", "leave --in-place out"}, not: []string{"no_target"},
			found: &wire.Target{FreeBytes: -1, Problems: []wire.Problem{{Stops: true, Code: "no_target", Text: "there is none"}}},
		},
		{
			name: "target_missing_and_strange", first: controller.ProblemTargetMissing, not: []string{"assign"}, found: &wire.Target{FreeBytes: -1},
			draft: drafted(func(d *controller.Draft) {
				d.Problems = []wire.Problem{{Stops: true, Code: "target_not_assigned", Text: "it is not assigned to the project"}}
			}),
		},
		{
			name: "target_exists", draft: drafted(asNew), first: wire.CodeTargetExists, says: []string{"--in-place", "--to-database"}, not: []string{"said by the agent"},
			found: seen(func(t *wire.Target) {
				t.Problems = []wire.Problem{{Stops: true, Code: wire.CodeTargetExists, Text: "said by the agent"}}
			}),
		},
		{name: "target_side_file", draft: drafted(func(d *controller.Draft) { asSQLite(d); d.Request.InPlace = false }), first: wire.CodeTargetExists, says: []string{"-wal"}, found: &wire.Target{
			FreeBytes: -1, Problems: []wire.Problem{{Stops: true, Code: wire.CodeTargetExists, Text: "there is a file app.sqlite-wal already"}},
		}},
		{name: "new", draft: drafted(asNew), canStart: true, found: &wire.Target{FreeBytes: -1, ServerIdentity: "7001", ServerVersion: "15.6"}, says: []string{`the name \"shop_copy\"`}, not: []string{"devflow_kept"}},
		{name: "new_part", canStart: true, found: &wire.Target{FreeBytes: -1}, draft: drafted(func(d *controller.Draft) {
			asNew(d)
			d.Request.Choices.Only = []wire.Selection{{Schema: "public", Table: "orders"}, {Schema: "sales"}}
		}), says: []string{"only public.orders, sales"}},
		{name: "new_offline", draft: drafted(asNew), err: offline, canStart: true, first: wire.CodeOffline, says: []string{"waits for it"}},
		{name: "in_place_just_back", canStart: true, found: seen(nil), not: []string{"offline since"}, draft: drafted(func(d *controller.Draft) {
			d.Problems = []wire.Problem{{Stops: true, Code: wire.CodeOffline, Text: "the agent on db-1 is offline since yesterday"}}
		})},
		{name: "in_place_offline", draft: drafted(nil), err: offline, first: wire.CodeOffline, says: []string{"--to-server"}},
		{name: "in_place_old_agent", draft: drafted(nil), err: wire.Failf(wire.CodeUnknownVerb, "unknown verb inspect"), first: wire.CodeUnknownVerb, says: []string{"too old"}},
		{name: "in_place_no_answer", draft: drafted(nil), err: errors.New("secret of the inside"), first: controller.ProblemNotLooked},
		{name: "in_place_refused_login", draft: drafted(nil), err: wire.Failf(wire.CodeAuth, "the login of backup was refused").WithHint("correct the password"), first: wire.CodeAuth, says: []string{"correct the password"}},
		{
			name: "not_allowed_said_once", first: wire.CodeNotAllowed, says: []string{"without --in-place"}, not: []string{"said by the agent"},
			draft: drafted(func(d *controller.Draft) {
				d.Problems = []wire.Problem{{Stops: true, Code: wire.CodeNotAllowed, Text: "the agent does not allow it", Hint: "set restore.in_place: true"}}
			}),
			found: seen(func(t *wire.Target) {
				t.Problems = []wire.Problem{{Stops: true, Code: wire.CodeNotAllowed, Text: "said by the agent"}}
			}),
		},
		{
			name: "disk_full", draft: drafted(nil), first: wire.CodeDiskFull,
			says: []string{"free at least 20.0 MiB more", "--only SCHEMA.TABLE", "backup download 12", "drop it by hand", "--to-server"},
			found: seen(func(t *wire.Target) {
				t.FreeBytes = 10 << 20
				t.Problems = []wire.Problem{{Stops: true, Code: wire.CodeDiskFull, Text: "the backup needs about 30 MiB, and 10 MiB are free"}}
			}),
		},
		{
			name: "disk_full_same_host", first: wire.CodeDiskFull, says: []string{"--only TABLE"}, not: []string{"--to-server"}, draft: drafted(func(d *controller.Draft) { asMySQL(d); d.Backup.SameHost = true }),
			found: seen(func(t *wire.Target) {
				t.FreeBytes = 10 << 20
				t.Problems = []wire.Problem{{Stops: true, Code: wire.CodeDiskFull, Text: "too little"}}
			}),
		},
		{name: "other_server", canStart: true, first: controller.ProblemOtherServer, found: seen(func(t *wire.Target) { t.ServerIdentity, t.ServerVersion = "7002", "17.2" }), draft: drafted(func(d *controller.Draft) {
			d.Server, d.Database, d.Metadata.Objects = controller.Server{ID: 2, Name: "db-2"}, "shop_old", []string{wire.ObjectArtifact}
		}), says: []string{controller.ProblemOtherVersion, controller.ProblemOtherDatabase, controller.ProblemNotCompared}},
		{name: "other_server_new", canStart: true, found: &wire.Target{FreeBytes: -1, ServerIdentity: "7002", ServerVersion: "15.8"}, draft: drafted(func(d *controller.Draft) {
			asNew(d)
			d.Server = controller.Server{ID: 2, Name: "db-2"}
		})},
		{
			name: "other_version_said_once", canStart: true, first: "older_server", draft: drafted(nil), not: []string{controller.ProblemOtherVersion},
			found: seen(func(t *wire.Target) {
				t.ServerVersion, t.Problems = "14.1", []wire.Problem{{Code: "older_server", Text: "this server is older"}}
			}),
		},
		{name: "undo", draft: drafted(asUndo), found: seen(nil), canStart: true, says: []string{"devflow_kept_5_0a1b2c3d", "What is there now stays"}, not: []string{"safety", "Backup 12 is read"}},
		{name: "undo_offline", draft: drafted(asUndo), err: offline, first: wire.CodeOffline, says: []string{"restore keep 5"}, not: []string{"--to-server", "backup download"}},
		{name: "undo_target_missing", draft: drafted(asUndo), found: &wire.Target{FreeBytes: -1}, first: controller.ProblemTargetMissing, says: []string{"it is not lost"}, not: []string{"--in-place"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := controller.PlanRestore(c.draft, c.found, c.err)
			var text bytes.Buffer
			enc := json.NewEncoder(&text)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(plan); err != nil {
				t.Fatal(err)
			}
			if plan.CanStart != c.canStart || plan.CanStart != (len(plan.Stopping()) == 0) || !plan.CanStart && len(plan.Possible) == 0 {
				t.Errorf("can start: %t, %d problems stop it, %d things are possible", plan.CanStart, len(plan.Stopping()), len(plan.Possible))
			}
			for i := 1; i < len(plan.Problems); i++ {
				if plan.Problems[i].Stops && !plan.Problems[i-1].Stops {
					t.Errorf("problem %d stops it and comes late", i)
				}
			}
			switch {
			case c.first == "" && len(plan.Problems) > 0:
				t.Errorf("problems are %+v", plan.Problems)
			case c.first != "" && (len(plan.Problems) == 0 || plan.Problems[0].Code != c.first):
				t.Errorf("problems are %+v, want %s first", plan.Problems, c.first)
			}
			for _, s := range c.says {
				if !strings.Contains(text.String(), s) {
					t.Errorf("does not say %q", s)
				}
			}
			for _, s := range c.not {
				if strings.Contains(text.String(), s) {
					t.Errorf("says %q", s)
				}
			}
			golden(t, filepath.Join("testdata", "restoreplan", c.name+".json"), text.Bytes())
		})
	}
}

// golden compares text with a file.
func golden(t *testing.T, file string, text []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("differs from %s (run with -update, and look at what changed):\n%s", file, text)
	}
}
