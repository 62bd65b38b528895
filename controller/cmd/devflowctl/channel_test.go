package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/testkit/dockit"
)

// TestChannels: channels are made, changed, tried and deleted; what opens them comes from files or is asked for, and is never shown.
func TestChannels(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	url, key, password := r.file("url", "https://hook.test/canary-7f31\n"), r.file("key", "canary-7f31-of-the-signature\n"), r.file("password", "canary-7f31-password\n")
	var said strings.Builder
	ctl := func(args ...string) *result {
		t.Helper()
		x := r.ctl(args...)
		said.WriteString(x.out + x.err)
		return x
	}
	for _, c := range []struct {
		args  string
		words string
	}{
		{"channel create x", "--kind"},
		{"channel create x --email a@mail.test", "--smtp"},
		{"channel create x --email a@mail.test --smtp mail.test:smtp", "--smtp"},
		{"channel create x --email a@mail.test --smtp mail.test --url-file " + url, "--url-file"},
		{"channel create x --email a@mail.test --smtp mail.test --password-file " + password, "--smtp-user"},
		{"channel create x --kind slack --smtp mail.test", "email"},
		{"channel create x --kind slack --url-file " + url + " --secret-file " + key, "webhook"},
		{"channel create x --kind webhook --url-file /nowhere --secret-file " + key, "/nowhere"},
		{"channel create x --kind webhook --remind 90m", "whole hours"},
		{"channel edit x", "change what?"},
	} {
		ctl(strings.Fields(c.args)...).ends(2, c.words)
	}
	ctl("channel", "kinds").ends(0, "email", "webhook", "slack", "https://hooks.slack.com/")
	ctl("channel", "create", "hook", "--kind", "webhook", "--url-file", url, "--secret-file", key, "--default", "--remind", "never", "--min-severity", "warning").ends(0, "hook.test", "never", "devflowctl channel test hook")
	ctl("channel", "create", "mail", "--email", "b@mail.test,c@mail.test", "--smtp", "mail.test:2525", "--smtp-user", "u", "--password-file", password, "--project", "shop", "--notify", "overdue,backup_failing", "--fallback", "hook").
		ends(0, "b@mail.test", "backup_failing, overdue", "every 24 h", "hook")
	if _, target, err := r.Store.ChannelTarget(t.Context(), 2); err != nil || target.Host != "mail.test" || target.Port != 2525 || target.From != "<b@mail.test>" || target.Password.Reveal() != "canary-7f31-password" || len(target.To) != 2 {
		t.Errorf("%+v %q: %v", target, target.Password.Reveal(), err)
	}
	// Without files it is asked for, or read line by line.
	var out bytes.Buffer
	cmd := r.command(t.Context(), "channel", "edit", "hook", "--url")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("https://other.test/canary-7f31\nanother-canary-7f31-key\n"), &out, &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "other.test") {
		t.Errorf("%v: %s", err, out.String())
	}
	said.WriteString(out.String())
	if _, target, err := r.Store.ChannelTarget(t.Context(), 1); err != nil || target.Secret.Reveal() != "another-canary-7f31-key" {
		t.Errorf("%q: %v", target.Secret.Reveal(), err)
	}
	ctl("channel", "edit", "mail", "--notify", "all", "--fallback", "", "--active=false", "--name", "post office").ends(0, "post office", "off")
	ctl("channel", "list").ends(0, "hook", "other.test", "post office", "not used yet", "off", "shop")
	ctl("channel", "list", "--project", "nowhere").ends(1, "does not exist")
	ctl("channel", "show", "post office").ends(0, "version")
	ctl("channel", "edit", "hook", "--remind", "12h", "--if-match", "x").ends(1, "changed meanwhile")
	if ch := into[controller.Channel](ctl("channel", "show", "hook", "-o", "json")); ch.RemindHours != 0 || ch.MinSeverity != "warning" || !ch.IsDefault {
		t.Errorf("%+v", ch)
	}
	ctl("channel", "test", "hook").ends(0, "has taken the test")
	r.Alarms.With(func() { r.Alarms.Err = controller.Errorf(controller.EUnavailable, "connect: refused") })
	ctl("channel", "test", "hook").ends(1, "did not take the test", "connect: refused")
	ctl("channel", "edit", "post office", "--fallback", "hook").ends(0)
	ctl("channel", "delete", "hook").ends(1, "post office")
	ctl("channel", "delete", "post office").ends(0)
	ctl("channel", "delete", "hook").ends(0, "is deleted")
	if i := strings.Index(said.String(), "7f31"); i >= 0 {
		t.Errorf("a secret is shown: …%.300s", said.String()[max(i-200, 0):])
	}
}

// TestAlarms: what is wrong is listed and shown with who was told; it is muted and no longer muted.
func TestAlarms(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.ctl("alarm", "list").ends(0)
	r.ctl("channel", "create", "hook", "--kind", "webhook", "--url-file", r.file("url", "https://hook.test/x\n"), "--secret-file", r.file("key", "0123456789abcdef\n"), "--default").ends(0)
	r.SQL(`INSERT INTO alarms (kind, key, severity, project_id, title, detail, count) SELECT 'overdue', 'a', 'critical', id, 'app is overdue', 'look at its schedule', 3 FROM projects;
		INSERT INTO alarms (kind, key, severity, title, closed_at) VALUES ('storage_full', 'b', 'warning', 'disk was full', now());
		INSERT INTO notices (kind, event, severity, alarm_id, title, unsent) VALUES ('overdue', 'reminder', 'critical', 1, 'still overdue', 'muted'), ('overdue', 'opened', 'critical', 1, 'app is overdue', '');
		INSERT INTO messages (uid, channel_id, severity, notices, body, status, attempts, error) VALUES ('m', 1, 'critical', 1, '{}', 'failed', 9, 'no route');
		INSERT INTO messages (uid, channel_id, severity, notices, body, status, attempts, fallback_of) VALUES ('n', 1, 'critical', 1, '{}', 'sent', 1, 1);
		INSERT INTO deliveries (notice_id, channel_id, message_id, fallback_message_id) VALUES (2, 1, 1, 2)`)
	r.ctl("alarm", "list").ends(0, "app is overdue", "critical", "shop", "stands", "alarm show")
	if x := r.ctl("alarm", "list").ends(0); strings.Contains(x.out, "disk") {
		t.Errorf("closed ones are listed: %s", x.out)
	}
	r.ctl("alarm", "list", "--all").ends(0, "app is overdue", "disk was full", "over ")
	if all := into[[]controller.Alarm](r.ctl("alarm", "list", "--all", "--min-severity", "critical", "-o", "json")); len(all) != 1 || all[0].Count != 3 {
		t.Errorf("%+v", all)
	}
	r.ctl("alarm", "show", "1").ends(0, "look at its schedule", "3 times", "NOTICE", "hook failed: no route, in its place hook sent", "to nobody: muted")
	r.ctl("alarm", "show", "9").ends(1, "alarm 9 does not exist")
	r.ctl("notice", "list", "--alarm", "1").ends(0, "hook failed: no route", "to nobody: muted")
	if x := r.ctl("notice", "list", "--unsent").ends(0, "still overdue"); strings.Contains(x.out, "hook") {
		t.Errorf("sent ones are listed: %s", x.out)
	}
	r.ctl("notice", "show", "2").ends(0, "TRIES", "9", "no route")

	r.ctl("alarm", "mute", "1", "--for", "4h").ends(2, "--reason")
	r.ctl("alarm", "mute", "1", "--reason", "x").ends(2, "--for")
	r.ctl("mute", "create", "--reason", "x", "--for", "1h").ends(2, "mute what?")
	r.ctl("mute", "create", "--everything", "--project", "shop", "--reason", "x", "--for", "1h").ends(2, "mute what?")
	r.ctl("mute", "create", "--everything", "--reason", "x", "--for", "2400h").ends(2, "90 days")
	r.ctl("alarm", "mute", "1", "--for", "4h", "--reason", "deploy").ends(0, "alarm 1 is muted until", "devflowctl mute end 1")
	r.ctl("alarm", "list").ends(0, "muted until")
	r.ctl("mute", "create", "--project", "shop", "--notice", "overdue", "--until", "2199-01-01T00:00", "--reason", "x").ends(2, "90 days")
	r.ctl("mute", "create", "--project", "shop", "--notice", "overdue", "--for", "1h", "--reason", "moving").ends(0, "project shop")
	r.ctl("mute", "list").ends(0, "alarm 1: app is overdue", "deploy", "project shop", "overdue", "moving")
	r.ctl("mute", "end", "1").ends(0, "alarm 1 is no longer muted")
	if x := r.ctl("mute", "list").ends(0); strings.Contains(x.out, "deploy") {
		t.Errorf("ended ones are listed: %s", x.out)
	}
	r.ctl("mute", "list", "--all").ends(0, "deploy")

	for line, want := range map[string]string{
		"channel show ": "hook", "alarm show ": "1", "mute end ": "2", "channel create x --kind em": "email", "channel create x --notify overd": "overdue", "mute create --channel ": "hook", "channel edit hook --fallback ": "hook",
	} {
		args := append([]string{"__complete"}, strings.Split(line, " ")...)
		if x := r.ctl(args...); !slices.ContainsFunc(strings.Split(x.out, "\n"), func(l string) bool { name, _, _ := strings.Cut(l, "\t"); return name == want }) {
			t.Errorf("%q is completed by %q, want %q", line, x.out, want)
		}
	}
}

// TestNoticeKinds: the page tells every kind of notices that there is, with its severity, and no other.
func TestNoticeKinds(t *testing.T) {
	t.Parallel()
	var want []string
	for _, k := range controller.NoticeKinds {
		if k.Kind == controller.NoticeTest {
			continue
		}
		shape := "happens"
		if k.Stands {
			shape = "stands"
		}
		if k.Off {
			shape += ", off"
		}
		want = append(want, "| `"+k.Kind+"` | "+k.Severity+" | "+shape+" | "+k.Text+" |")
	}
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "alarms.md"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") == 5 {
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/alarms.md has\n%s\nand there is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
