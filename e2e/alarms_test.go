package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/testkit/smtpkit"
	"devflowbackup/shared/testkit/webhookkit"
	"devflowbackup/shared/wire"
)

// Secrets of the channels, and a password that is wrong. None of them may be told to anybody.
const (
	hookPath     = "canary-hook-path-4e1f"
	hookKey      = "canary-hook-key-8b27d0c1"
	mailPassword = "canary-mail-password-93aa"
	otherLogin   = "canary-other-login-17c4"
)

// alarmWorld is an installation with a webhook, which hears everything, and a mailbox, which hears of backups and of channels.
type alarmWorld struct {
	*scheduleWorld
	hook *webhookkit.Receiver
	mail *smtpkit.Server
}

// told is a message as a webhook gets it.
type told struct {
	UID      string
	Severity string
	Title    string
	Notices  []heard
	More     int
	Failed   string `json:"failed_channel"`
}

type heard struct {
	ID                                   int64
	Kind, Event, Severity, Title, Detail string
	Project, Server, Database            string
}

// TestAlarms raises what is to be told by what really causes it, and looks at what people hear.
func TestAlarms(t *testing.T) {
	t.Parallel()
	w := newAlarmWorld(t)
	w.fault(t, "nobody to tell", w.nobodyToTell)
	w.fault(t, "mistake 10", w.failedRunsAreTold)
	w.fault(t, "missed, and an agent that is away", w.missed)
	w.fault(t, "72/longer than the interval", w.overlaps)
	w.fault(t, "overdue", w.overdue)
	w.fault(t, "44/object removed or changed", w.damage)
	w.fault(t, "45/bucket denied", w.denied)
	w.fault(t, "size", w.sizes)
	w.fault(t, "9/the same identity started twice", w.twice)
	w.fault(t, "refused", w.refusals)
	w.fault(t, "86/endpoint down", w.endpointDown)
	w.fault(t, "controller killed while it tells", w.killed)
	w.fault(t, "all is told", w.allTold)
}

func newAlarmWorld(t *testing.T) *alarmWorld {
	t.Helper()
	hook := webhookkit.Start(t, webhookkit.Options{Secret: hookKey, TLS: true})
	mail := smtpkit.Start(t, smtpkit.Options{Username: "devflow", Password: mailPassword})
	ca := filepath.Join(t.TempDir(), "receivers.pem")
	if err := os.WriteFile(ca, slices.Concat(hook.CA, mail.CA), 0o600); err != nil {
		t.Fatal(err)
	}
	return &alarmWorld{hook: hook, mail: mail, scheduleWorld: newScheduleWorld(t, faultOptions{extra: map[string]any{"alarms": map[string]any{
		"allow": []string{"127.0.0.1/32"}, "ca_file": ca, "every": "1s", "group_wait": "100ms", "group_interval": "200ms", "fallback_after": "2s", "offline_after": "3s",
	}}})}
}

// heard are all notices that the webhook has taken, in their order.
func (w *alarmWorld) heard(t *testing.T) (messages []told) {
	t.Helper()
	for _, r := range w.hook.Requests() {
		if r.Status != http.StatusOK {
			continue
		}
		var m told
		if err := json.Unmarshal(r.Body, &m); err != nil || r.Signature != nil || r.Header.Get("DevFlow-Message-Id") != m.UID || r.Path != "/"+hookPath {
			t.Fatalf("request %s: %v, %v", r.Body, err, r.Signature)
		}
		messages = append(messages, m)
	}
	return messages
}

// since is how many messages there are, for hears.
func (w *alarmWorld) since(t *testing.T) int { return len(w.heard(t)) }

// hears waits until the webhook was told of something after so many messages.
func (w *alarmWorld) hears(t *testing.T, ctx context.Context, since int, kind, event string, words ...string) heard {
	t.Helper()
	var found heard
	if err := stack.Within(ctx, 20*time.Second, fmt.Sprintf("%s %s %q is told", kind, event, words), func(context.Context) (bool, error) {
		messages := w.heard(t)
		for _, m := range messages[min(since, len(messages)):] {
			for _, n := range m.Notices {
				if n.Kind == kind && n.Event == event && !slices.ContainsFunc(words, func(word string) bool {
					return !strings.Contains(n.Title+" "+n.Detail+" "+n.Project+" "+n.Server+" "+n.Database, word)
				}) {
					found = n
					return true, nil
				}
			}
		}
		return false, fmt.Errorf("since then there is %+v", messages[min(since, len(messages)):])
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// silent sees that the webhook was not told of something of a kind.
func (w *alarmWorld) silent(t *testing.T, since int, kind string, words ...string) {
	t.Helper()
	for _, m := range w.heard(t)[since:] {
		for _, n := range m.Notices {
			if n.Kind == kind && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(n.Title+" "+n.Database, word) }) {
				t.Errorf("%s was told: %+v", kind, n)
			}
		}
	}
}

// mailed waits for a mail, after so many, with the words in its text, and returns it.
func (w *alarmWorld) mailed(t *testing.T, ctx context.Context, since int, words ...string) {
	t.Helper()
	eventually(t, ctx, fmt.Sprintf("%q is mailed", words), func(context.Context) (bool, error) {
		var all []string
		for _, m := range w.mail.Mails()[since:] {
			text := mailText(t, m)
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
				return true, nil
			}
			all = append(all, text)
		}
		return false, fmt.Errorf("since then there is %q", all)
	})
}

// mailText are headers and bodies of a mail.
func mailText(t *testing.T, m smtpkit.Mail) string {
	t.Helper()
	msg, err := m.Message()
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	text := subject + "\n" + msg.Header.Get("Message-ID") + "\n"
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err != nil {
			return text
		}
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		text += string(b) + "\n"
	}
}

func (w *alarmWorld) secretFile(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(f, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// alarm is what devflowctl lists.
type alarm struct {
	Kind, Title, Severity string
	Silenced              bool
}

func (w *alarmWorld) alarms(t *testing.T, ctx context.Context, kind string) []alarm {
	t.Helper()
	return read[[]alarm](t, ctx, w.ctl, "alarm", "list", "--notice", kind)
}

// nobodyToTell has a schedule that is to tell of failures and no channel: that is an alarm of its own, which ends with the first channel.
// A channel is tried before it is needed, and what is wrong with it is said.
func (w *alarmWorld) nobodyToTell(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--database", small)
	eventually(t, ctx, "it is an alarm that nobody is told", func(ctx context.Context) (bool, error) {
		return len(w.alarms(t, ctx, "no_channel")) == 1, nil
	})
	unsent := read[[]struct{ Kind, Unsent string }](t, ctx, w.ctl, "notice", "list", "--unsent", "--notice", "no_channel")
	if len(unsent) != 1 || unsent[0].Unsent != "nowhere" {
		t.Errorf("what could not be told is %+v", unsent)
	}

	key := w.secretFile(t, hookKey)
	do(t, ctx, w.ctl, "channel", "create", "hook", "--kind", "webhook", "--url-file", w.secretFile(t, w.hook.URL+"/"+hookPath), "--secret-file", key, "--default")
	mail := []string{"channel", "create", "mail", "--email", "ops@example.com", "--from", "devflow@example.com", "--smtp", fmt.Sprintf("%s:%d", w.mail.Host, w.mail.Port), "--smtp-user", "devflow"}
	do(t, ctx, w.ctl, append(mail, "--password-file", w.secretFile(t, mailPassword), "--default", "--notify", "backup_failing,backup_completed,channel_failing")...)
	w.hears(t, ctx, 0, "no_channel", "closed")
	before := w.since(t)
	do(t, ctx, w.ctl, "channel", "test", "hook")
	w.hears(t, ctx, before, "test", "test")
	do(t, ctx, w.ctl, "channel", "test", "mail")
	w.mailed(t, ctx, 0, "[info]")

	do(t, ctx, w.ctl, "channel", "create", "inside", "--kind", "webhook", "--url-file", w.secretFile(t, "https://169.254.169.254/"+hookPath), "--secret-file", key)
	refused(t, ctx, w.ctl, 1, []string{"169.254.169.254", "alarms.allow"}, "channel", "test", "inside")
	do(t, ctx, w.ctl, "channel", "delete", "inside")
	do(t, ctx, w.ctl, "schedule", "delete", id(number))
}

// login sets the password of the role that the agent backs up as.
func (w *alarmWorld) login(t *testing.T, ctx context.Context, password secret.String) {
	t.Helper()
	if _, err := w.postgres.Exec(ctx, "postgres", "ALTER ROLE "+stack.BackupRole+" PASSWORD '"+password.Reveal()+"'"); err != nil {
		t.Fatal(err)
	}
}

// failedRunsAreTold (mistake 10): a failed run is told, once, to each channel, unless its schedule says no; and so is the first that is well
// again. Completed backups are told to those who ask for it.
func (w *alarmWorld) failedRunsAreTold(t *testing.T, ctx context.Context) {
	loud, quiet := w.schedule(t, ctx, "shop", "--database", small), w.schedule(t, ctx, "shop", "--database", big, "--notify=false")
	right, err := secret.LoadFile(w.postgres.BackupPasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	before, mails := w.since(t), len(w.mail.Mails())
	w.login(t, ctx, otherLogin)
	fails := func(schedule int64) {
		t.Helper()
		o := w.occur(t, ctx, schedule)
		if b, err := w.ctl.AwaitBackup(ctx, *o.Databases[0].BackupID, "failed", 60*time.Second); err != nil || b.ErrorCode != "auth" {
			t.Fatalf("with another password: %+v, %v", b, err)
		}
	}
	fails(quiet)
	fails(loud)
	n := w.hears(t, ctx, before, "backup_failing", "opened", small)
	if n.Severity != "critical" || n.Project != "shop" || n.Server != "db1" {
		t.Errorf("what was told is %+v", n)
	}
	w.mailed(t, ctx, mails, "[critical]", small, "db1")
	fails(loud) // once more is no news
	eventually(t, ctx, "the alarm counts it", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT count FROM alarms WHERE kind = 'backup_failing' AND NOT silenced AND closed_at IS NULL")
		return slices.Equal(rows, []string{"2"}), err
	})

	w.login(t, ctx, right)
	w.ran(t, ctx, w.occur(t, ctx, quiet), big)
	w.ran(t, ctx, w.occur(t, ctx, loud), small)
	w.hears(t, ctx, before, "backup_failing", "closed", small, "recovered")
	w.mailed(t, ctx, mails, small, "recovered")
	w.mailed(t, ctx, mails, big, "completed")
	w.silent(t, before, "backup_failing", big)
	w.silent(t, before, "backup_completed")
	opened := 0
	for _, m := range w.heard(t)[before:] {
		for _, n := range m.Notices {
			if n.Kind == "backup_failing" && n.Event == "opened" {
				opened++
			}
		}
	}
	if opened != 1 {
		t.Errorf("two failures in a row were told %d times", opened)
	}
	unsent := read[[]struct{ Kind, Unsent, Database string }](t, ctx, w.ctl, "notice", "list", "--unsent", "--notice", "backup_failing")
	if len(unsent) == 0 || slices.ContainsFunc(unsent, func(n struct{ Kind, Unsent, Database string }) bool {
		return n.Unsent != "silenced" || n.Database != big
	}) {
		t.Errorf("what the silent schedule did not tell is %+v", unsent)
	}
	do(t, ctx, w.ctl, "schedule", "delete", id(loud))
	do(t, ctx, w.ctl, "schedule", "delete", id(quiet))
}

// missed takes the agent away: that is told, and so is each occurrence that nothing came of, unless its schedule says no.
func (w *alarmWorld) missed(t *testing.T, ctx context.Context) {
	loud, quiet := w.schedule(t, ctx, "shop", "--database", small), w.schedule(t, ctx, "shop", "--database", big, "--notify=false")
	before := w.since(t)
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.offline(t, ctx)
	var waiting []int64
	for _, s := range []int64{quiet, loud} {
		waiting = append(waiting, *w.occur(t, ctx, s).Databases[0].BackupID)
		not(t, w.occur(t, ctx, s), "missed", "offline")
	}
	w.hears(t, ctx, before, "occurrence_missed", "happened", small)
	w.hears(t, ctx, before, "agent_offline", "opened", "db1")
	w.restartAgent(t, ctx)
	w.hears(t, ctx, before, "agent_offline", "closed", "db1", "back")
	for _, b := range waiting {
		w.completed(t, ctx, b, "completed")
	}
	w.silent(t, before, "occurrence_missed", big)
	do(t, ctx, w.ctl, "schedule", "delete", id(loud))
	do(t, ctx, w.ctl, "schedule", "delete", id(quiet))
}

// overlaps has a dump take longer than the time to the next three occurrences.
func (w *alarmWorld) overlaps(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--database", small)
	before := w.since(t)
	letGo := w.slow(t)
	defer letGo()
	running := *w.occur(t, ctx, number).Databases[0].BackupID
	if _, err := w.ctl.AwaitBackup(ctx, running, "running", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.silent(t, before, "overlap")
		not(t, w.occur(t, ctx, number), "skipped", "overlap")
	}
	w.hears(t, ctx, before, "overlap", "opened", small)
	letGo()
	w.completed(t, ctx, running, "completed")
	w.ran(t, ctx, w.occur(t, ctx, number), small)
	w.hears(t, ctx, before, "overlap", "closed", small)
	do(t, ctx, w.ctl, "schedule", "delete", id(number))
}

// overdue has a database that a schedule covers and that no backup was made of for longer than the schedule says. Nothing failed: it is the
// absence of success that is told.
func (w *alarmWorld) overdue(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "late")
	name := w.files(t, ctx, "late", "late")[0]
	number := w.schedule(t, ctx, "late", "--database", name, "--notify=false")
	before := w.since(t)
	for _, sql := range []string{
		"UPDATE backup_schedules SET activated_at = activated_at - interval '3 days' WHERE id = $1",
		"UPDATE databases SET first_seen_at = first_seen_at - interval '3 days', assigned_at = assigned_at - interval '3 days' WHERE id = (SELECT database_id FROM backup_schedules WHERE id = $1)",
	} {
		if err := w.catalog.Alter(ctx, sql, number); err != nil {
			t.Fatal(err)
		}
	}
	w.hears(t, ctx, before, "overdue", "opened", name)
	res := ctl(t, ctx, w.ctl, "status", "late")
	says(t, res, 1, "overdue")
	backUp(t, ctx, w.ctl, "late", name)
	w.hears(t, ctx, before, "overdue", "closed", name)
	says(t, ctl(t, ctx, w.ctl, "status", "late"), 0)
	do(t, ctx, w.ctl, "schedule", "delete", id(number))
}

// damage changes one stored backup and removes another behind our back. What finds it tells, and so does the restore that cannot be done,
// and the one that can.
func (w *alarmWorld) damage(t *testing.T, ctx context.Context) {
	before := w.since(t)
	good, changed, removed := w.restorable(t, ctx), w.restorable(t, ctx), w.restorable(t, ctx)
	for b, damage := range map[*stack.Backup]func(path string) error{
		&changed: func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
		&removed: os.Remove,
	} {
		got, err := w.ctl.Backup(ctx, b.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(w.s3.ObjectPath(w.s3.Bucket, got.FilePath)); err != nil {
			t.Fatal(err)
		}
		w.damaged = append(w.damaged, b.ID)
		if b == &changed { // nobody knows yet
			refused(t, ctx, w.ctl, 1, nil, "restore", "create", id(b.ID), "--to-database", "never", "--wait")
			w.hears(t, ctx, before, "restore_failed", "happened")
		}
		if res := w.verify(t, ctx, b.ID, "checksum"); res.Code != 1 {
			t.Errorf("a verification of the damaged backup: %s", res.Text())
		}
	}
	w.hears(t, ctx, before, "verification_failed", "happened", small)
	w.hears(t, ctx, before, "backup_corrupt", "opened", fmt.Sprintf("Backup %d", changed.ID))
	w.hears(t, ctx, before, "backup_missing", "opened", fmt.Sprintf("Backup %d", removed.ID))
	do(t, ctx, w.ctl, "restore", "create", id(good.ID), "--to-database", "well", "--wait")
	w.hears(t, ctx, before, "restore_completed", "happened")
}

// denied has the store refuse to be written to. The backup fails with the cause, the probe says so, and both are told, and their ends.
func (w *alarmWorld) denied(t *testing.T, ctx context.Context) {
	before := w.since(t)
	w.s3.Proxy.Inject("UploadPart", 0, s3kit.Status(http.StatusForbidden, "AccessDenied"))
	w.s3.Proxy.Inject("PutObject", 0, s3kit.Status(http.StatusForbidden, "AccessDenied"))
	failed := w.order(t, ctx, small, nil)
	refused(t, ctx, w.ctl, 1, []string{"AccessDenied"}, "storage", "probe", "store")
	n := w.hears(t, ctx, before, "storage_unavailable", "opened", "store", "AccessDenied")
	if n.Severity != "critical" {
		t.Errorf("what was told is %+v", n)
	}
	if _, err := w.ctl.AwaitBackup(ctx, failed.ID, "failed", 60*time.Second); err != nil {
		t.Fatal(err)
	}
	w.hears(t, ctx, before, "backup_failing", "opened", small)
	w.s3.Proxy.Reset()
	do(t, ctx, w.ctl, "storage", "probe", "store")
	w.hears(t, ctx, before, "storage_unavailable", "closed", "store")
	w.restorable(t, ctx)
	w.hears(t, ctx, before, "backup_failing", "closed", small)
}

// sizes has a database become four times as large from one backup to the next.
func (w *alarmWorld) sizes(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "growth")
	name := w.files(t, ctx, "growth", "grows")[0]
	more := func(megabytes int) {
		t.Helper()
		if _, err := w.sqlite.Exec(ctx, name, fmt.Sprintf("CREATE TABLE IF NOT EXISTS filler (b blob); WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < %d) INSERT INTO filler SELECT randomblob(1000000) FROM g;", megabytes)); err != nil {
			t.Fatal(err)
		}
	}
	more(2)
	before := w.since(t)
	for range 5 {
		backUp(t, ctx, w.ctl, "growth", name)
	}
	w.silent(t, before, "size_anomaly")
	more(6)
	backUp(t, ctx, w.ctl, "growth", name)
	w.hears(t, ctx, before, "size_anomaly", "happened", name)
}

// twice starts an agent on a copy of another one's state, as a cloned machine would.
func (w *alarmWorld) twice(t *testing.T, ctx context.Context) {
	before := w.since(t)
	clone, err := w.NewAgent("clone", stack.AgentOptions{Servers: map[string]stack.Server{"main": w.postgres, "files": w.sqlite}, Limits: map[string]any{"discovery_every": "10s"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(clone.Dir, os.DirFS(w.agent.Dir)); err != nil {
		t.Fatal(err)
	}
	for file, mode := range map[string]os.FileMode{"": 0o700, "identity.json": 0o600, "journal": 0o600} {
		if err := os.Chmod(filepath.Join(clone.Dir, file), mode); err != nil {
			t.Fatal(err)
		}
	}
	original := w.agent.Process()
	if err := clone.Start(); err != nil {
		t.Fatal(err)
	}
	if err := original.Wait(ctx, 30*time.Second); err != nil {
		t.Fatalf("the superseded agent goes on: %v", err)
	}
	w.hears(t, ctx, before, "agent_duplicate", "happened", "db1")
	if err := clone.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	w.restartAgent(t, ctx)
}

// refusals has a stolen host claim an attempt that never was.
func (w *alarmWorld) refusals(t *testing.T, ctx context.Context) {
	before := w.since(t)
	e := newEvil(t, ctx, w.faultWorld, "evil")
	e.come(ctx, "loot")
	report := wire.Report{Attempt: wire.Attempt{Job: 1, No: 1, Token: wire.NewID()}, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeToolFailed, "x")}
	if err := e.request(ctx, wire.VerbReport, report, nil); !wire.HasCode(err, wire.CodeStale) {
		t.Errorf("a report: %v", err)
	}
	w.hears(t, ctx, before, "security", "happened", "evil", "stale attempt")
	do(t, ctx, w.ctl, "server", "revoke", "evil")
}

// failing makes a backup that fails, and has all work again.
func (w *alarmWorld) failing(t *testing.T, ctx context.Context, database string) stack.Backup {
	t.Helper()
	w.tools.Add("pg_dump", w.dump(1))
	b, err := w.ctl.AwaitBackup(ctx, w.order(t, ctx, database, nil).ID, "failed", 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.tools.Add("pg_dump", w.dump(0))
	return b
}

func (w *alarmWorld) well(t *testing.T, ctx context.Context, database string) {
	t.Helper()
	w.completed(t, ctx, w.order(t, ctx, database, nil).ID, "completed")
}

// endpointDown has the webhook refuse everything. What it does not take goes to the mailbox, which is told of that too; backups are what they are;
// and when it is back it gets what waited.
func (w *alarmWorld) endpointDown(t *testing.T, ctx context.Context) {
	before, mails := w.since(t), len(w.mail.Mails())
	w.hook.Answer(webhookkit.Status(http.StatusServiceUnavailable, "down for "+hookPath))
	w.failing(t, ctx, small)
	w.mailed(t, ctx, mails, "[critical]", small, "another channel does not work", "hook", "503")
	w.mailed(t, ctx, mails, "Channel hook does not take messages")
	w.well(t, ctx, small)
	refused(t, ctx, w.ctl, 1, []string{"503"}, "channel", "test", "hook")
	says(t, ctl(t, ctx, w.ctl, "channel", "list"), 0, "hook", "fail")
	if n := w.since(t); n != before {
		t.Errorf("%d messages were taken by what is down", n-before)
	}
	w.hook.Answer(nil)
	do(t, ctx, w.ctl, "channel", "test", "hook")
	w.hears(t, ctx, before, "backup_failing", "opened", small)
	w.hears(t, ctx, before, "backup_failing", "closed", small)
	w.mailed(t, ctx, mails, "Over: Channel hook")
}

// killed ends the controller with kill -9 while a message is under way, and right after something happened. Both are told.
func (w *alarmWorld) killed(t *testing.T, ctx context.Context) {
	start := func() {
		t.Helper()
		// What the dead one had claimed is free when the claim has run out.
		if err := w.catalog.Alter(ctx, "UPDATE messages SET claim_until = '-infinity', next_at = least(next_at, now())"); err != nil {
			t.Fatal(err)
		}
		w.startController(t, ctx, 0)
	}
	before, all := w.since(t), len(w.hook.Requests())
	w.hook.Answer(w.hook.Hang)
	w.failing(t, ctx, small)
	if err := w.hook.Wait(ctx, func(r []webhookkit.Request) bool { return len(r) > all }); err != nil {
		t.Fatal(err)
	}
	var lost told
	if err := json.Unmarshal(w.hook.Requests()[all].Body, &lost); err != nil {
		t.Fatal(err)
	}
	if err := w.controllers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	w.hook.Answer(nil)
	start()
	w.hears(t, ctx, before, "backup_failing", "opened", small)
	if again := w.heard(t)[before]; again.UID != lost.UID || fmt.Sprint(again) != fmt.Sprint(lost) {
		t.Errorf("the message that was under way was %+v and is %+v", lost, again)
	}

	w.failing(t, ctx, big)
	if err := w.controllers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	start()
	w.hears(t, ctx, before, "backup_failing", "opened", big)
	for _, name := range []string{small, big} {
		w.well(t, ctx, name)
		w.hears(t, ctx, before, "backup_failing", "closed", name)
	}
}

// allTold holds what the catalog says was told against what arrived: each notice once, in one message, whatever happened; and nobody was
// told a secret (I12).
func (w *alarmWorld) allTold(t *testing.T, ctx context.Context) {
	eventually(t, ctx, "all is sent", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, `SELECT (SELECT count(*) FROM facts), (SELECT count(*) FROM messages WHERE status = 'open'), (SELECT count(*) FROM deliveries WHERE message_id IS NULL)`)
		if err == nil && rows[0] != "0 0 0" {
			err = fmt.Errorf("facts, open messages, waiting deliveries: %s", rows[0])
		}
		return err == nil, err
	})
	rows, err := w.catalog.Rows(ctx, "SELECT e.notice_id FROM deliveries e JOIN messages m ON m.id = e.message_id JOIN channels c ON c.id = e.channel_id WHERE c.name = 'hook' AND m.status = 'sent' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	uids := map[string]string{}
	for _, m := range w.heard(t) {
		if m.More > 0 || m.Failed != "" {
			t.Errorf("a message does not list all: %+v", m)
		}
		if before, twice := uids[m.UID]; twice {
			if before != fmt.Sprint(m) {
				t.Errorf("two messages have the id %s: %s and %+v", m.UID, before, m)
			}
			continue
		}
		uids[m.UID] = fmt.Sprint(m)
		for _, n := range m.Notices {
			if n.Kind != "test" {
				got = append(got, id(n.ID))
			}
		}
	}
	slices.Sort(got)
	slices.Sort(rows)
	if !slices.Equal(got, rows) || len(got) == 0 {
		t.Errorf("the webhook heard of notices %v, and was sent %v", got, rows)
	}

	texts := filesBelow(t, filepath.Join(w.Dir, "logs"))
	for _, r := range w.hook.Requests() {
		texts = append(texts, text{"a webhook's request", string(r.Body)})
	}
	for _, m := range w.mail.Mails() {
		texts = append(texts, text{"a mail", mailText(t, m)})
	}
	for _, table := range []string{"channels", "messages", "notices", "alarms", "audit_log", "security_events"} {
		all, err := w.catalog.Rows(ctx, "SELECT x::text FROM "+table+" x")
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text{"table " + table, strings.Join(all, "\n")})
	}
	for _, args := range [][]string{{"channel", "list"}, {"channel", "show", "hook"}, {"channel", "show", "mail"}, {"notice", "list"}, {"alarm", "list", "--all"}, {"audit", "list"}} {
		texts = append(texts, text{"devflowctl " + strings.Join(args, " "), do(t, ctx, w.ctl, append(args, "--output", "json")...)})
	}
	right, err := secret.LoadFile(w.postgres.BackupPasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"the webhook's URL": hookPath, "its key": hookKey, "the mail server's password": mailPassword, "a wrong password": otherLogin, "the right password": right.Reveal()} {
		check(t, texts, name, secret)
	}
	if !holds(texts, "ops@example.com") {
		t.Error("the search does not find what is there")
	}
}
