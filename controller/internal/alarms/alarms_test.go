package alarms_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/alarms"
	"devflowbackup/controller/internal/catalog"
)

// A storm of failures is few messages, which count them all.
func TestEngine_Storm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.exec(`INSERT INTO projects (slug, name, age_recipient, age_identity) VALUES ('shop', 'shop', 'r', 'i');
		INSERT INTO servers (agent_id, name, nkey, signing_key, recipient) VALUES ('a1', 'db-7', 'U1', 'k', 'r');
		INSERT INTO storages (name, kind) VALUES ('s3', 's3');
		INSERT INTO databases (server_id, instance, engine, name, project_id) SELECT 1, 'main', 'postgresql', 'd' || n, 1 FROM generate_series(1, 10000) n`)
	w.channel("ops", "-")
	e := w.engine(w.store)
	for wave := range 5 {
		w.exec(`INSERT INTO database_backups (project_id, server_id, database_id, storage_id, instance, database_type, database_name, type, status, compression, encryption, storage_disk, error_code, error_message)
			SELECT 1, 1, id, 1, 'main', 'postgresql', name, 'scheduled', 'failed', 'zstd', 'age', 's3', 'auth', 'password refused' FROM databases WHERE id % 5 = $1`, wave)
		w.step(e, time.Second)
	}
	for range 30 {
		w.step(e, time.Second)
	}
	got := w.sender.took("ops")
	if len(got) > 3 {
		t.Fatalf("%d messages", len(got))
	}
	equal(t, "notices", told(got), 10_000)
	for _, m := range got {
		n := m.Counts[0].Count
		if len(m.Counts) != 1 || m.Counts[0].Kind != controller.NoticeBackupFailing || len(m.Notices) != controller.MessageLimit || m.More != n-controller.MessageLimit || m.Severity != controller.SeverityCritical ||
			!strings.HasSuffix(m.Title, " backup failing") || m.URL != "https://backup.example.com" || m.Notices[0].Project != "shop" || m.Notices[0].Server != "db-7" || !strings.HasPrefix(m.Notices[0].Database, "d") {
			t.Fatalf("message is %+v", m.Message)
		}
	}
	// Some recover: that is not urgent, and one message.
	w.exec("INSERT INTO facts (kind, project, body) SELECT 'backup', 1, jsonb_build_object('id', id, 'status', 'completed') FROM database_backups WHERE id % 4 = 0")
	for range 75 {
		w.step(e, time.Second)
	}
	got = w.sender.took("ops")
	if len(got) != 1 || told(got) != 2500 || got[0].Severity != controller.SeverityInfo || got[0].Title != "2500 notices: 2500 backup failing over" {
		t.Fatalf("%d messages: %+v", len(got), got[0].Title)
	}
	equal(t, "open alarms", one[int](w, "SELECT count(*) FROM alarms WHERE closed_at IS NULL"), 7500)
	s := must[controller.Standing](t)(w.store.Conditions(ctx, w.clock.now, time.Second, controller.DefaultPatience, nil))
	if !s.Done {
		t.Fatal("conditions were not looked at")
	}
}

// How messages are grouped: what is urgent waits two seconds, the rest ten, and messages are a minute apart, or ten seconds before an urgent one.
func TestEngine_Grouping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.channel("ops", "-")
	e := w.engine(w.store)
	at := 0
	var seen []string
	until := func(second int) {
		t.Helper()
		for ; at < second; at++ {
			w.step(e, time.Second)
			for _, m := range w.sender.took("ops") {
				seen = append(seen, m.Title)
				equal(t, "second of "+m.Title, at+1, second)
			}
		}
	}
	w.happen(2, controller.EventSignIn) // warnings
	w.ok(e.Collect(t.Context()))
	until(9)
	w.happen(1, controller.EventSignIn)
	w.ok(e.Collect(t.Context()))
	until(10)
	w.happen(1, controller.EventSignIn)
	w.ok(e.Collect(t.Context()))
	until(70)
	w.happen(1, controller.EventForgedDirective)
	w.ok(e.Collect(t.Context()))
	until(80) // not two seconds after: the last one is ten seconds away
	w.happen(1, controller.EventForgedDirective)
	w.ok(e.Collect(t.Context()))
	until(90)
	if got := strings.Join(seen, "|"); got != "3 notices: 3 security|Security event at the controller: sign in locked|Security event at the controller: forged directive|Security event at the controller: forged directive" {
		t.Fatalf("messages are %s", got)
	}
}

// A receiver that is down for a day misses nothing: another channel is told meanwhile, and the day comes in one message after.
func TestEngine_Outage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.channel("second", "")
	ops := w.channel("ops", "second")
	e := w.engine(w.store)
	w.sender.failing("ops", errDown)
	const hours = 24
	second := 0
	for hour := range hours {
		w.happen(1, controller.EventForgedDirective)
		w.step(e, 0)
		for range 6 {
			w.step(e, 10*time.Minute)
		}
		w.ok(e.Conditions(ctx))
		got := w.sender.took("second")
		for _, m := range got {
			if m.Failed == "" && m.Notices[0].Kind == controller.NoticeChannel {
				continue // that it fails
			}
			if !strings.Contains(m.Failed, `"ops"`) || !strings.Contains(m.Failed, "the receiver is down") {
				t.Fatalf("hour %d: the message in its place says %q", hour, m.Failed)
			}
			for _, c := range m.Counts {
				if c.Kind == controller.NoticeSecurity {
					second += c.Count
				}
			}
		}
		equal(t, "told by the other channel", second, hour+1)
	}
	equal(t, "messages under way", one[int](w, "SELECT count(*) FROM messages WHERE status = 'open'"), 1)
	ch := must[controller.Channel](t)(w.store.Channel(ctx, w.admin, "ops"))
	if ch.FailingSince == nil || ch.Failures < 20 || !strings.Contains(ch.LastError, "down") {
		t.Fatalf("channel is %+v", ch)
	}
	equal(t, "alarm of the channel", one[string](w, "SELECT title FROM alarms WHERE kind = 'channel_failing' AND closed_at IS NULL"), "Channel ops does not take messages")
	tries := w.sender.tries["ops"]
	if tries > 80 { // every half hour, after the first ones
		t.Fatalf("%d tries in a day", tries)
	}
	w.sender.failing("ops", nil)
	for range 10 {
		w.step(e, 10*time.Minute)
	}
	got := w.sender.took("ops")
	security := 0
	for _, m := range got {
		for _, c := range m.Counts {
			if c.Kind == controller.NoticeSecurity {
				security += c.Count
			}
		}
	}
	if len(got) != 2 || security != hours {
		t.Fatalf("%d messages of %d notices, want 2 of %d", len(got), security, hours)
	}
	w.ok(e.Conditions(ctx))
	w.clock.add(time.Minute)
	w.ok(e.Conditions(ctx))
	equal(t, "alarm of the channel", one[int](w, "SELECT count(*) FROM alarms WHERE kind = 'channel_failing' AND closed_at IS NULL"), 0)
	ch = must[controller.Channel](t)(w.store.Channel(ctx, w.admin, "ops"))
	if ch.FailingSince != nil || ch.Failures != 0 || ch.LastError != "" || ch.LastSentAt == nil || ch.Version() != ops.Version() {
		t.Fatalf("channel is %+v", ch)
	}
	w.step(e, 0)
	w.step(e, 10*time.Minute)
	equal(t, "what is left", one[int](w, "SELECT count(*) FROM deliveries WHERE message_id IS NULL")+one[int](w, "SELECT count(*) FROM messages WHERE status = 'open'"), 0)
}

// What became of a message that is never taken, of one whose target is wrong, and of a channel that was changed or is gone.
func TestEngine_Ends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.channel("ops", "-")
	e := w.engine(w.store)
	w.sender.failing("ops", errDown)
	w.happen(1, controller.EventForgedDirective)
	for range 75 * 2 {
		w.step(e, 30*time.Minute)
	}
	equal(t, "states", one[string](w, "SELECT string_agg(status, ' ' ORDER BY id) FROM messages"), "failed")
	equal(t, "errors in the log", w.log.count("message was given up"), 1)

	// A wrong target: another channel hears of it at once, and the change of the target is tried at once.
	w.channel("second", "-")
	w.sender.final = true
	w.happen(1, controller.EventForgedDirective)
	w.step(e, 0)
	w.step(e, 2*time.Second)
	tries := w.sender.tries["ops"]
	w.step(e, 3*time.Second)
	got := w.sender.took("second")
	if len(got) != 2 || got[0].Failed == "" == (got[1].Failed == "") {
		t.Fatalf("the other channel took %+v", got) // its own message, and that in the place of the other's
	}
	w.step(e, 20*time.Minute)
	equal(t, "tries of a wrong target", w.sender.tries["ops"], tries)
	w.sender.failing("ops", nil)
	must[controller.Channel](t)(w.store.UpdateChannel(ctx, w.admin, "ops", controller.ChannelChange{Target: &controller.ChannelTarget{URL: "mended", Secret: "s"}}, "mended"))
	w.step(e, 0)
	equal(t, "taken after the change", told(w.sender.took("mended")), 1)

	// A test says what came of it, and a channel that works again is sent at once what waits.
	w.sender.final = false
	w.sender.failing("mended", errDown)
	w.happen(1, controller.EventForgedDirective)
	w.step(e, time.Minute)
	w.step(e, time.Minute)
	id := must[controller.Channel](t)(w.store.Channel(ctx, w.admin, "ops")).ID
	if err := e.TestChannel(ctx, id); !errors.Is(err, errDown) {
		t.Fatalf("test of a channel: %v", err)
	}
	w.sender.failing("mended", nil)
	w.ok(e.TestChannel(ctx, id))
	w.step(e, 0)
	got = w.sender.took("mended")
	if len(got) != 2 || got[0].Notices[0].Kind != controller.NoticeTest || got[1].Notices[0].Kind != controller.NoticeSecurity {
		t.Fatalf("taken after a test: %+v", got)
	}

	// What waits for a channel that is gone is dropped, and nothing else is.
	w.sender.failing("mended", errDown)
	w.happen(1, controller.EventForgedDirective)
	w.step(e, time.Minute)
	w.step(e, time.Minute)
	w.happen(1, controller.EventForgedDirective)
	w.ok(e.Collect(ctx))
	w.ok(w.store.DeleteChannel(ctx, w.admin, "ops"))
	w.sender.took("second")
	w.step(e, time.Minute)
	w.step(e, time.Minute)
	equal(t, "dropped", one[int](w, "SELECT coalesce(sum(notices), 0) FROM messages WHERE status = 'dropped'"), 2)
	equal(t, "taken by the other", told(w.sender.took("second")), 1)
	if strings.Contains(w.log.text.String(), "canary") {
		t.Fatal("the log holds a secret")
	}
}

// A controller that is killed between taking a message and noting its end loses nothing: another sends it again, with the same uid.
func TestEngine_Killed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.channel("ops", "-")
	w.happen(3, controller.EventForgedDirective)
	killed, other := w.engine(mortal{w.store}), w.engine(w.another("two"))
	w.step(killed, 0)
	w.step(killed, 3*time.Second)
	w.step(other, 30*time.Second)
	first := w.sender.took("ops")
	w.step(other, 31*time.Second)
	again := w.sender.took("ops")
	if len(first) != 1 || len(again) != 1 || first[0].UID != again[0].UID || told(again) != 3 {
		t.Fatalf("taken %+v, then %+v", first, again)
	}
	w.step(other, 2*time.Minute)
	equal(t, "messages after", len(w.sender.took("ops")), 0)

	// What the killed one notes late changes nothing; one that is killed before it sends at all leaves it to the other too.
	w.happen(1, controller.EventForgedDirective)
	w.ok(other.Collect(ctx))
	w.clock.add(2 * time.Second)
	w.ok(other.Plan(ctx))
	m := must[*controller.Outgoing](t)(w.store.ClaimMessage(ctx, w.clock.now))
	if must[*controller.Outgoing](t)(w.store.ClaimMessage(ctx, w.clock.now)) != nil {
		t.Fatal("a message was taken twice")
	}
	w.clock.add(time.Minute + time.Second)
	n := must[*controller.Outgoing](t)(w.store.ClaimMessage(ctx, w.clock.now))
	w.ok(w.store.MessageSent(ctx, w.clock.now, *m))
	equal(t, "late failure", must[string](t)(w.store.MessageFailed(ctx, w.clock.now, *m, "late", true, 0, controller.DefaultGrouping)), controller.OutgoingLost)
	equal(t, "state", one[string](w, "SELECT status FROM messages ORDER BY id DESC LIMIT 1"), "open")
	w.ok(w.store.MessageSent(ctx, w.clock.now, *n))
	equal(t, "state", one[string](w, "SELECT status FROM messages ORDER BY id DESC LIMIT 1"), "sent")
}

// Controllers work side by side: everything is told once, one message of a channel at a time; and what is being sent while one stops is sent by another.
func TestEngine_Together(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for _, name := range []string{"a", "b", "c"} {
		w.channel(name, "-")
	}
	quick := func(o *alarms.Options) {
		o.Now = nil
		o.Every = 50 * time.Millisecond
		g := controller.DefaultGrouping
		g.Wait, g.UrgentWait, g.Interval, g.UrgentInterval = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
		o.Grouping = g
	}
	var engines []*alarms.Engine
	for _, c := range []*catalog.Catalog{w.store, w.another("two"), w.another("three")} {
		e := w.engine(c, quick)
		e.Start(ctx)
		e.Start(ctx)
		engines = append(engines, e)
		t.Cleanup(e.Stop)
	}
	for range 5 {
		w.happen(200, controller.EventForgedDirective)
	}
	for _, name := range []string{"a", "b", "c"} {
		sum, uids := 0, map[string]bool{}
		eventually(t, "everything is told", func() bool {
			for _, m := range w.sender.took(name) {
				sum += told([]taken{m})
				if uids[m.UID] {
					t.Errorf("message %s was sent twice", m.UID)
				}
				uids[m.UID] = true
			}
			return sum >= 1000
		})
		equal(t, "told", sum, 1000)
		equal(t, "messages of a channel at once", w.sender.most[name], 1)
	}
	for _, e := range engines[1:] {
		e.Stop()
	}
	// Stopped while it sends.
	w.sender.mu.Lock()
	w.sender.hold, w.sender.begun = make(chan struct{}), make(chan string, 100)
	w.sender.mu.Unlock()
	w.happen(1, controller.EventForgedDirective)
	uid := <-w.sender.begun
	engines[0].Stop()
	engines[0].Stop()
	close(w.sender.hold)
	engines[1].Start(ctx)
	eventually(t, "it is sent by another", func() bool {
		w.sender.mu.Lock()
		defer w.sender.mu.Unlock()
		for _, m := range w.sender.got {
			if m.UID == uid {
				return true
			}
		}
		return false
	})
}

// The controller's own switch is called only while it is well.
func TestEngine_Pings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	var sick error
	e := w.engine(w.store, func(o *alarms.Options) {
		o.PingURL, o.Healthy = "https://hc.example.com/own", func(context.Context) error { return sick }
	})
	own := func(what string, want int) {
		t.Helper()
		w.ok(e.OwnPing(ctx))
		equal(t, "own pings, "+what, len(w.sender.pings), want)
		w.sender.pings = nil
	}
	own("before anything was looked at", 0)
	w.ok(e.Conditions(ctx))
	own("when well", 1)
	sick = errors.New("the broker is away")
	own("without the broker", 0)
	sick = nil
	w.clock.add(91 * time.Second)
	own("when nothing was looked at for long", 0)
	w.ok(e.Conditions(ctx))
	own("when well again", 1)

	// Schedules' switches, at their own addresses; one that fails is tried again, and given up in time.
	w.exec(`INSERT INTO projects (slug, name, age_recipient, age_identity) VALUES ('shop', 'shop', 'r', 'i')`)
	w.exec("INSERT INTO storages (name, kind, is_default) VALUES ('s3', 's3', true)")
	s := must[controller.Schedule](t)(w.store.CreateSchedule(ctx, w.admin, controller.ScheduleSpec{
		Project: "shop", Timing: controller.Timing{Frequency: controller.FrequencyHourly}, PingURL: "https://hc.example.com/x?k=canary", PingHint: "hc.example.com",
	}))
	ping := func(state string) {
		t.Helper()
		w.exec("INSERT INTO pings (schedule_id, project_id, state, next_at) VALUES ($1, 1, $2, '-infinity')", s.ID, state)
		w.ok(e.Pings(ctx))
	}
	ping("start")
	ping("success")
	ping("fail")
	equal(t, "pings", strings.Join(w.sender.pings, " "), "https://hc.example.com/x/start?k=canary https://hc.example.com/x?k=canary https://hc.example.com/x/fail?k=canary")
	w.sender.pings = nil
	w.sender.failing("https://hc.example.com/x?k=canary", errDown)
	ping("success")
	for range 20 {
		w.clock.add(10 * time.Minute)
		w.ok(e.Pings(ctx))
	}
	equal(t, "tries", len(w.sender.pings), 5)
	equal(t, "warnings", w.log.count("was given up"), 1)
	if text := w.log.text.String() + one[string](w, "SELECT coalesce(json_agg(c)::text, '') FROM counters c"); strings.Contains(text, "canary") {
		t.Fatal("a log or counter holds a secret")
	}
}

// What probes and conditions are told to do with what they are given.
func TestEngine_Probes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.exec("INSERT INTO storages (name, kind) VALUES ('a', 's3'), ('b', 's3'), ('c', 'local')")
	var mu sync.Mutex
	var probed []int64
	e := w.engine(w.store, func(o *alarms.Options) {
		o.Probe = func(_ context.Context, id int64) error {
			mu.Lock()
			defer mu.Unlock()
			probed = append(probed, id)
			if id == 1 {
				return errDown
			}
			return w.store.UpdateProbe(ctx, id, json.RawMessage("{}"), true, "")
		}
		o.Ends = func() []controller.CertificateEnd {
			return []controller.CertificateEnd{{Name: "The API's certificate", At: w.clock.now.Add(time.Hour)}}
		}
	})
	if err := e.Probes(ctx); !errors.Is(err, errDown) || len(probed) != 2 {
		t.Fatalf("probed %v: %v", probed, err)
	}
	w.ok(e.Probes(ctx)) // within five minutes
	w.clock.add(6 * time.Minute)
	if err := e.Probes(ctx); err == nil || len(probed) != 3 || probed[2] != 1 {
		t.Fatalf("probed %v: %v", probed, err)
	}
	w.ok(e.Conditions(ctx))
	w.ok(e.Minute(ctx))
	equal(t, "alarm", one[string](w, "SELECT kind FROM alarms"), controller.NoticeCertificate)
}
