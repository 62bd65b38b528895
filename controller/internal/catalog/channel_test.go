package catalog_test

import (
	"strings"
	"sync"
	"testing"

	"devflowbackup/controller"
)

// TestChannelTarget: a target opens for its own channel under the master key, and nowhere else; another target takes up what waits for it.
func TestChannelTarget(t *testing.T) {
	t.Parallel()
	f := open(t)
	spec := func(name, url string) controller.ChannelSpec {
		return controller.ChannelSpec{Name: name, Kind: "webhook", Target: controller.ChannelTarget{URL: "https://hook.test/" + "canary-" + "7f31", Secret: "key of " + "7f31", Host: url}}
	}
	one := must[controller.Channel](t)(f.CreateChannel(t.Context(), f.admin, spec("one", ""), "hook.test"))
	two := must[controller.Channel](t)(f.CreateChannel(t.Context(), f.admin, spec("two", ""), "hook.test"))
	if kind, target, err := f.ChannelTarget(t.Context(), one.ID); err != nil || kind != "webhook" || target.URL.Reveal() != "https://hook.test/canary-7f31" || target.Secret.Reveal() != "key of 7f31" {
		t.Errorf("%s %+v: %v", kind, target, err)
	}
	if sealed := f.sql("SELECT string_agg(encode(target_sealed, 'escape'), '') FROM channels"); strings.Contains(sealed, "7f31") {
		t.Error("targets lie open in the catalog")
	}
	f.sql("UPDATE channels SET target_sealed = (SELECT target_sealed FROM channels WHERE id = %d) WHERE id = %d", one.ID, two.ID)
	if _, target, err := f.ChannelTarget(t.Context(), two.ID); err == nil || !target.URL.Empty() || strings.Contains(err.Error(), "7f31") {
		t.Errorf("the target of another channel opens: %v", err)
	}
	f.sql("UPDATE channels SET failures = 7, failing_since = now(), last_error = 'gone', next_at = now() + interval '1 hour' WHERE id = %d;"+
		"INSERT INTO messages (uid, channel_id, severity, notices, body, next_at) VALUES ('m', %d, 'info', 3, '{}', now() + interval '30 minutes')", two.ID, two.ID)
	same := must[controller.Channel](t)(f.UpdateChannel(t.Context(), f.admin, "two", controller.ChannelChange{MinSeverity: new("warning")}, ""))
	if same.Failures != 7 || same.Hint != "hook.test" || same.Waiting != 3 {
		t.Errorf("a change of its filter: %+v", same)
	}
	mended := must[controller.Channel](t)(f.UpdateChannel(t.Context(), f.admin, "two", controller.ChannelChange{Target: &controller.ChannelTarget{URL: "https://new.test/", Secret: "another"}}, "new.test"))
	if mended.Failures != 0 || mended.FailingSince != nil || mended.LastError != "" || mended.Hint != "new.test" || mended.MinSeverity != "warning" {
		t.Errorf("another target: %+v", mended)
	}
	equal(t, "messages that are due", f.sql("SELECT count(*) FROM messages WHERE next_at <= now()"), "1")
	if _, target, err := f.ChannelTarget(t.Context(), two.ID); err != nil || target.URL.Reveal() != "https://new.test/" {
		t.Errorf("%v", err)
	}
	f.ok(f.DeleteChannel(t.Context(), f.admin, "two"))
	if _, _, err := f.ChannelTarget(t.Context(), two.ID); controller.ErrorCode(err) != controller.ENotFound {
		t.Errorf("a deleted channel opens: %v", err)
	}
	// Its name is free again.
	must[controller.Channel](t)(f.CreateChannel(t.Context(), f.admin, spec("two", ""), "hook.test"))
	_, err := f.CreateChannel(t.Context(), f.admin, spec("two", ""), "hook.test")
	equal(t, "the same name", controller.ErrorCode(err), controller.EConflict)
}

// TestDeleteChannel_race: a channel that becomes another's fallback is not deleted at the same moment, whoever is first.
func TestDeleteChannel_race(t *testing.T) {
	t.Parallel()
	f := open(t)
	for range 10 {
		place := must[controller.Channel](t)(f.CreateChannel(t.Context(), f.admin, controller.ChannelSpec{Name: "place", Kind: "webhook"}, ""))
		must[controller.Channel](t)(f.CreateChannel(t.Context(), f.admin, controller.ChannelSpec{Name: "own", Kind: "webhook"}, ""))
		var wait sync.WaitGroup
		var deleted, changed error
		wait.Go(func() { deleted = f.DeleteChannel(t.Context(), f.admin, "place") })
		wait.Go(func() {
			_, changed = f.UpdateChannel(t.Context(), f.admin, "own", controller.ChannelChange{Fallback: new("place")}, "")
		})
		wait.Wait()
		if (deleted == nil) == (changed == nil) {
			t.Fatalf("deleted: %v; became a fallback: %v", deleted, changed)
		}
		if n := f.sql("SELECT count(*) FROM channels c JOIN channels p ON p.id = c.fallback_id WHERE c.deleted_at IS NULL AND p.deleted_at IS NOT NULL"); n != "0" {
			t.Fatalf("channel %d is deleted and a fallback", place.ID)
		}
		f.sql("UPDATE channels SET deleted_at = now() WHERE deleted_at IS NULL")
	}
}
