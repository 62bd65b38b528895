package app_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// cutOff waits until the broker has closed the host's connection, and sees that it gets no other.
func (h *host) cutOff() {
	h.Helper()
	select {
	case <-h.closed:
	case <-time.After(patience):
		h.Fatal("the host is still connected")
	}
	h.shutOut()
}

func (h *host) shutOut() {
	h.Helper()
	h.closed = make(chan struct{})
	if nc, err := h.dial(); !errors.Is(err, nats.ErrAuthorization) && !errors.Is(err, nats.ErrAuthRevoked) {
		if err == nil {
			nc.Close()
		}
		h.Fatalf("the host that was cut off connects: %v", err)
	}
}

// A host takes the place of a server: it is the same one, with its databases and backups; the host before it is cut off at once; what that
// one was doing is begun anew, and what it had made is verified still.
func TestReplace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	old := w.enrol(body.CreateEnrolment{ServerName: "db-7", Project: "shop"})
	old.connect()
	old.finds("app", "busy")
	old.assign("app", "busy")
	made := old.backup("app")
	running := w.order("busy")
	held := old.job()
	before, err := w.api.Server(ctx, "db-7")
	w.ok(err)

	_, err = w.api.CreateEnrolment(ctx, body.CreateEnrolment{ServerName: "db-7"})
	var p *body.Problem
	if !errors.As(err, &p) || p.Code != controller.EConflict || !strings.Contains(p.Hint, "--replace") {
		t.Fatalf("a second server of the name: %v", err)
	}
	token, err := w.api.CreateEnrolment(ctx, body.CreateEnrolment{ServerName: "db-7", Replace: true})
	w.ok(err)
	if token.Replaces == nil || *token.Replaces != before.ID {
		t.Fatalf("token %+v", token)
	}
	// Nothing has happened before the host enrols.
	w.ok(old.hello())
	fresh := w.newHost()
	if status, text := fresh.present(token.Token); status != http.StatusCreated || fresh.id != old.id {
		t.Fatalf("%d %s: %q took the place of %q", status, text, fresh.id, old.id)
	}
	old.cutOff()
	if status, text := w.newHost().present(token.Token); status != http.StatusUnauthorized {
		t.Errorf("the token again: %d %s", status, text)
	}
	// The answer was lost: the same host asks again and gets credentials that work.
	if status, text := fresh.present(token.Token); status != http.StatusCreated || fresh.id != old.id {
		t.Fatalf("again: %d %s", status, text)
	}
	after, err := w.api.Server(ctx, "db-7")
	w.ok(err)
	if after.ID != before.ID || after.AgentID != before.AgentID || after.NKey != fresh.nkey || after.Recipient != fresh.recipient || after.Online || after.RevokedAt != nil || len(after.Projects) != 1 {
		t.Errorf("it was %+v and is %+v", before, after)
	}

	fresh.connect()
	fresh.finds("app", "busy")
	again := fresh.job()
	if again.Attempt.Job != held.Attempt.Job || again.Attempt.No != 2 || again.Backup.Key == held.Backup.Key {
		t.Fatalf("it goes on with %+v after %+v", again, held)
	}
	w.ok(fresh.ask(wire.VerbReport, fresh.upload(again), nil))
	if b := w.completed(running.ID); b.ServerID != before.ID {
		t.Errorf("made by %+v", b)
	}
	if j := fresh.verify(made.ID); j.Status != controller.JobCompleted {
		t.Errorf("the backup of the host before: %+v", j.Failure)
	}
	if j := fresh.verify(running.ID); j.Status != controller.JobCompleted {
		t.Errorf("the backup of the new host: %+v", j.Failure)
	}
	if n := w.owner("SELECT count(*) FROM servers"); n != "1" {
		t.Errorf("%s servers", n)
	}
	if n := w.owner("SELECT count(*) FROM databases WHERE missing_since IS NULL AND project_id IS NOT NULL"); n != "2" {
		t.Errorf("%s databases", n)
	}
	// After a restart the host before is refused as well, and the new one is not.
	w.stop()
	w.start()
	old.shutOut()
	fresh.connect()
}

// A controller may die after it has committed a replacement or a revocation and before the broker knows: whoever starts tells the broker.
func TestReplace_controllerDied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replaced, revoked := w.enrol(body.CreateEnrolment{ServerName: "db-7"}), w.enrol(body.CreateEnrolment{ServerName: "db-8"})
	replaced.connect()
	revoked.connect()
	w.stop()
	w.owner(`INSERT INTO server_keys (server_id, nkey, signing_key) SELECT id, nkey, signing_key FROM servers WHERE name = 'db-7';
		UPDATE servers SET nkey = '` + w.newHost().nkey + `' WHERE name = 'db-7'; UPDATE servers SET revoked_at = now() WHERE name = 'db-8'`)
	w.start()
	replaced.shutOut()
	revoked.shutOut()
}

// Another controller that is up tells the broker within seconds.
func TestRevoke_byAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.enrol(body.CreateEnrolment{ServerName: "db-7"})
	h.connect()
	w.owner("INSERT INTO server_keys (server_id, nkey, signing_key) SELECT id, 'no key at all', signing_key FROM servers; UPDATE servers SET revoked_at = now()")
	h.cutOff()
}

// While the broker has not cut it off yet, the host before is refused by the catalog: it is known by its key, whatever it says.
func TestReplace_spokenInBetween(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.enrol(body.CreateEnrolment{ServerName: "db-7"})
	h.connect()
	w.owner("UPDATE servers SET nkey = '" + w.newHost().nkey + "', session = ''")
	for _, session := range []string{h.session, wire.NewID()} {
		h.session = session
		if err := h.hello(); !wire.HasCode(err, wire.CodeRevoked) {
			t.Fatalf("hello: %v", err)
		}
	}
	if s := w.owner("SELECT session FROM servers"); s != "" {
		t.Errorf("it has the session %q", s)
	}
	if n := w.owner("SELECT sum(count) FROM security_events WHERE kind = 'revoked_server'"); n != "2" {
		t.Errorf("%s security events", n)
	}
}
