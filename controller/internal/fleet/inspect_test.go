package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/wire"
)

func inPlaceRestore() *controller.Restore {
	return &controller.Restore{
		ID: 31, Instance: "second", Engine: wire.EnginePostgreSQL, DatabaseName: "shop", InPlace: true, Sessions: wire.SessionsWait, WaitSeconds: 60, Identity: "identity-1",
		StagedName: "devflow_staging_31_aabbccdd", KeptName: "devflow_kept_31_00112233",
	}
}

var terms = wire.SwapTerms{Keep: "devflow_kept_31_00112233", Identity: "identity-1", Sessions: wire.SessionsWait, WaitSeconds: 60}

// A restore in place has the names of its row, whatever the attempt; choices and roles go with it only where they were made.
func TestDeliver_inPlace(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, keys, stored := readingOffer(t, k, wire.JobRestore)
	o.Restore = inPlaceRestore()
	k.offer(o)
	k.outcome("AttemptAccepted")
	order := agent.job(t, 0).Restore
	if order.Staging != "devflow_staging_31_aabbccdd" || order.InPlace == nil || order.Choices != nil || order.Source.Globals != nil || order.Database != "shop" {
		t.Fatalf("sent %+v", order)
	}
	same(t, "terms", *order.InPlace, terms)
	checkSource(t, order.Source, o, keys, stored)

	o.Attempt.No, o.Attempt.Token = 3, strings.Repeat("f", 32)
	o.Restore.Choices = wire.RestoreChoices{Roles: true, Only: []wire.Selection{{Schema: "a", Table: "b"}}}
	k.offer(o)
	eventually(t, "the next attempt is accepted", func() bool { return k.store.count("AttemptAccepted") == 2 })
	order = agent.job(t, 1).Restore
	if order.Staging != "devflow_staging_31_aabbccdd" || order.Choices == nil || order.Source.Globals == nil || len(order.Source.Globals.SealedKey) == 0 {
		t.Fatalf("sent %+v", order)
	}
	same(t, "choices", *order.Choices, o.Restore.Choices)
}

// Roles that the backup does not hold are not left out without a word.
func TestDeliver_noGlobals(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, _, _ := readingOffer(t, k, wire.JobRestore)
	o.Restore.Choices.Roles = true
	o.Record.Backup.ID = o.Backup.ID
	for i := range o.Objects {
		if o.Objects[i].Object == wire.ObjectGlobals {
			o.Objects[i].Object = "else"
		}
	}
	k.offer(o)
	if w := k.outcome("FailOffer"); w.failure.Code != wire.CodeMissing || w.failure.Retryable {
		t.Errorf("failed with %+v", w.failure)
	}
	if len(agent.all(wire.VerbRun)) != 0 {
		t.Error("the job was sent")
	}
}

func TestDeliver_swaps(t *testing.T) {
	for kind, want := range map[string]wire.Job{
		wire.JobUndo:    {Swap: &wire.SwapOrder{Instance: "second", Engine: wire.EnginePostgreSQL, Database: "shop", Staged: "devflow_staging_31_aabbccdd", Terms: terms}},
		wire.JobSettle:  {Swap: &wire.SwapOrder{Instance: "second", Engine: wire.EnginePostgreSQL, Database: "shop", Staged: "devflow_staging_31_aabbccdd", Terms: terms}},
		wire.JobDiscard: {Discard: &wire.DiscardOrder{Instance: "second", Engine: wire.EnginePostgreSQL, Database: "shop", Kept: "devflow_kept_31_00112233"}},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := start(t, nil)
			agent := k.accepting()
			k.offer(controller.Offer{Attempt: attempt, Kind: kind, Server: agentServer(), ProjectID: 3, MaxDuration: time.Hour, Backup: controller.Backup{ID: 12, ServerID: 99, SameHost: true}, Restore: inPlaceRestore()})
			k.outcome("AttemptAccepted")
			want.Attempt, want.Kind, want.MaxDurationSeconds = attempt, kind, 3600
			same(t, "job", agent.job(t, 0), want)
		})
	}
}

func TestInspect(t *testing.T) {
	ask := wire.InspectOrder{Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", InPlace: true, Sessions: wire.SessionsEnd, Extensions: []string{"citext"}, Choices: &wire.RestoreChoices{Owners: true}}
	target := wire.Target{Exists: true, Identity: "i", ServerIdentity: "s", SizeBytes: 5, FreeBytes: -1, Problems: []wire.Problem{{Stops: true, Code: "target_in_use", Text: "busy"}}}
	many := target
	many.SizeBytes = -1
	for i := range 150 {
		many.Sessions = append(many.Sessions, wire.Session{User: fmt.Sprint(i)})
		if i < 105 {
			many.Problems = append(many.Problems, wire.Problem{Text: strings.Repeat("ä", 1050)})
		}
	}
	for what, c := range map[string]struct {
		reply any
		code  string
		hint  string
		look  func(*testing.T, *wire.Target)
	}{
		"found":        {wire.InspectReply{V: 1, Target: &target}, "", "", func(t *testing.T, got *wire.Target) { same(t, "target", *got, target) }},
		"nothing":      {wire.InspectReply{V: 1}, wire.CodeInternal, "", nil},
		"failure":      {wire.InspectReply{V: 1, Failure: wire.Failf(wire.CodeDatabaseDown, "down")}, wire.CodeDatabaseDown, "", nil},
		"an old agent": {wire.InspectReply{V: 1, Failure: wire.Failf(wire.CodeUnknownVerb, "what?")}, wire.CodeUnknownVerb, "update devflow-agent on db-7", nil},
		"no message":   {[]int{1}, wire.CodeInternal, "", nil},
		"too much": {wire.InspectReply{V: 1, Target: &many}, "", "", func(t *testing.T, got *wire.Target) {
			if len(got.Sessions) != 20 || got.SessionCount != 150 || len(got.Problems) != 100 || len(got.Problems[5].Text) != 2000 || got.SizeBytes != 0 {
				t.Errorf("%d sessions, %d of %d problems", len(got.Sessions), len(got.Problems), got.SessionCount)
			}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, nil)
			b := encode(t, c.reply)
			agent := k.listen(func(wire.Directive) []byte { return b })
			got, err := k.fleet.Inspect(t.Context(), agentServer(), ask)
			var sent wire.InspectOrder
			if e := agent.all(wire.VerbInspect)[0].Into(&sent); e != nil {
				t.Fatal(e)
			}
			same(t, "order", sent, ask)
			var f *wire.Failure
			errors.As(err, &f)
			switch {
			case c.code == "" && err == nil:
				c.look(t, got)
			case f == nil || f.Code != c.code || !strings.Contains(f.Hint, c.hint) || got != nil:
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// An agent that looks takes longer than one that accepts a job may; one that is not connected is told at once.
func TestInspect_slow(t *testing.T) {
	k := newKit(t, func(o *fleet.Options) { o.Accept = 30 * time.Millisecond })
	_, err := k.fleet.Inspect(t.Context(), agentServer(), wire.InspectOrder{})
	if !wire.HasCode(err, wire.CodeOffline) {
		t.Fatalf("without an agent: %v", err)
	}
	b := encode(t, wire.InspectReply{V: 1, Target: &wire.Target{}})
	k.listen(func(wire.Directive) []byte {
		slow := time.NewTimer(200 * time.Millisecond)
		defer slow.Stop()
		<-slow.C
		return b
	})
	if _, err := k.fleet.Inspect(t.Context(), agentServer(), wire.InspectOrder{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.fleet.Inspect(ctx, agentServer(), wire.InspectOrder{}); err == nil {
		t.Error("it went on when its caller had gone")
	}
}
