package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/webhookkit"
)

// firstLoad is how much of the console may come before its first page is there, compressed.
const firstLoad = 300 << 10

// TestConsole is one installation from its first user on, as people would go about it.
func TestConsole(t *testing.T) {
	w := startWorld(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"SignIn", signIn},
		{"AddStorage", addStorage},
		{"AddServer", addServer},
		{"CreateProject", createProject},
		{"CreateSchedule", createSchedule},
		{"Alarms", alarms},
		{"BackUpNow", backUpNow},
		{"Verify", verify},
		{"Restore", restoreAndUndo},
		{"Failed", failedBackup},
		{"Retention", retentionPreview},
		{"Hold", holdAndDelete},
		{"EditedMeanwhile", editedMeanwhile},
		{"Keyboard", keyboard},
		{"Pages", pages},
		{"Viewer", viewer},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, w) }) {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errors) > 0 {
		t.Errorf("scripts of the console ended in errors: %s", strings.Join(w.errors, "\n"))
	}
}

func signIn(t *testing.T, w *world) {
	if err := w.firstUser("anna", adminPassword); err != nil {
		t.Fatal(err)
	}
	w.look(t, 1360, 860, "light")
	w.load(t, "/")
	w.sees(t, the("heading", "Sign in"))
	w.sees(t, the("field", "Password"))
	w.reads(t, "devflow-controller user add") // how to make the first one
	w.fourPictures(t, "sign-in")
	w.fill(t, "User name", "anna")
	w.fill(t, "Password", "not the password")
	w.click(t, the("button", "Sign in"))
	w.sees(t, like("alert", "password is wrong"))
	w.fill(t, "User name", "anna")
	w.fill(t, "Password", adminPassword)
	w.click(t, the("button", "Sign in"))
	w.sees(t, the("heading", "Begin here"))
	w.until(t, soon, "__t.settled()")
	if n := w.loaded(); n < 10_000 || n > firstLoad {
		t.Errorf("the first load takes %.0f bytes, want less than %d", n, firstLoad)
	} else {
		t.Logf("first load: %.0f KB", n/1024)
	}
	w.fourPictures(t, "overview-empty")
	for _, page := range []string{"projects", "servers", "restores", "storages"} {
		w.open(t, "/"+page)
		w.picture(t, page+"-empty")
	}
	// The session lies in a cookie that no script reads.
	if cookies := evaluate[string](t, w.browser, "document.cookie"); cookies != "" {
		t.Errorf("scripts see the cookies %q", cookies)
	}
}

func addStorage(t *testing.T, w *world) {
	secret, err := os.ReadFile(w.s3.SecretKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	w.open(t, "/storages")
	w.click(t, the("button", "Add storage"))
	w.fill(t, "Name", "store")
	w.fill(t, "Bucket", "no-such-bucket")
	w.fill(t, "Endpoint", w.s3.URL())
	w.fill(t, "Region", w.s3.Region)
	w.fill(t, "Access key", w.s3.AccessKey)
	w.fill(t, "Secret key", strings.TrimSpace(string(secret)))
	w.click(t, like("field", "^Path style"))
	w.click(t, the("field", "The default"))
	w.click(t, the("button", "Test and add"))
	w.sees(t, like("alert", "bucket")) // what happened, with the step that failed
	w.picture(t, "add-storage-refused")
	w.fill(t, "Bucket", w.s3.Bucket)
	w.click(t, the("button", "Test and add"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "Test passed", "Default", " ms")
}

var enrolToken = regexp.MustCompile(`--token (\S+)`)

func addServer(t *testing.T, w *world) {
	w.open(t, "/servers")
	w.click(t, the("button", "Add server"))
	w.fill(t, "Name", "db1")
	w.click(t, the("button", "Make the command"))
	w.reads(t, "Waiting for the host")
	w.picture(t, "add-server")
	text := evaluate[string](t, w.browser, "[...document.querySelectorAll('.command')].map((e) => e.textContent).join(' ')")
	token := enrolToken.FindStringSubmatch(text)
	if token == nil {
		t.Fatalf("the command has no token: %s", text)
	}
	res, err := w.agent.TryEnroll(w.ctx, w.controller.URL(), token[1])
	if err != nil || res.Code != 0 {
		t.Fatal(err, res.Text())
	}
	if err := w.agent.Start(); err != nil {
		t.Fatal(err)
	}
	// Nobody asks for the page again: it appears.
	w.reads(t, "db1 is here")
	w.picture(t, "add-server-here")
	w.click(t, the("button", "Done"))
	w.reads(t, "Online")
	w.until(t, later, `["shop", "orders", "secrets", "notes.sqlite"].every((n) => __t.text().includes(n))`)
}

func createProject(t *testing.T, w *world) {
	w.open(t, "/projects")
	w.click(t, the("button", "Create project"))
	w.fill(t, "Slug", "Not A Slug")
	w.click(t, w.inDialog("Create project"))
	w.reads(t, "Not A Slug") // the field and the value
	w.fill(t, "Slug", "shop")
	w.fill(t, "Name", "The Shop")
	w.choose(t, "Default schedule", "^None$")
	w.click(t, w.inDialog("Create project"))
	w.sees(t, the("heading", "The Shop"))
	w.sees(t, the("heading", "Backup History"))
	w.reads(t, "No backups yet", "Not scheduled", "Never", "Total Backups", "Scheduled", "Storage Used", "Last Backup")
	w.fourPictures(t, "project-empty")
	w.click(t, the("button", "Assign databases"))
	for _, name := range []string{"shop", "orders", "notes"} {
		w.choose(t, "Databases", "^"+name+"\\b")
	}
	w.key(t, kb.Escape) // of the choices
	w.click(t, the("button", "Assign"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "orders", "notes.sqlite")
	// A second project, which the viewer does not see.
	for _, args := range [][]string{
		{"project", "create", "vault"},
		{"project", "grant", "vault", "db1"},
		{"database", "assign", "--project", "vault", "--on", "db1", "--", "secrets"},
		{"backup", "create", "vault", "--wait"},
	} {
		if _, err := w.ctl.Do(w.ctx, args...); err != nil {
			t.Fatal(err)
		}
	}
}

func createSchedule(t *testing.T, w *world) {
	w.open(t, "/projects/shop")
	w.click(t, the("button", "Create Schedule"))
	w.choose(t, "Covers", "^One database")
	w.choose(t, "Database", "^shop ")
	w.choose(t, "Frequency", "^Weekly")
	w.choose(t, "Day of week", "^Wednesday")
	w.until(t, soon, "__t.set("+string(the("field", "Time"))+", '03:30')")
	w.choose(t, "Time zone", "^UTC$")
	w.reads(t, "Weekly on Wednesday at 03:30", "Next five times")
	if n := evaluate[int](t, w.browser, "document.querySelectorAll('.preview li').length"); n != 5 {
		t.Errorf("%d next times, want 5", n)
	}
	w.picture(t, "create-schedule")
	w.click(t, w.inDialog("Create Schedule"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "Weekly on Wednesday at 03:30")
	// The toggle, and back.
	w.click(t, like("field", ": active$"))
	w.reads(t, "Not active")
	w.click(t, like("field", ": active$"))
	w.until(t, soon, "!__t.text().includes('Not active')")
	// The tab knows its times again after it was edited.
	w.click(t, the("button", "Edit"))
	w.fill(t, "Daily", "9")
	w.click(t, the("button", "Save"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "9")
}

// newest waits for a backup that is newer than another one, and until it has the status.
func (w *world) newest(t *testing.T, than int64, status string) (b stack.Backup) {
	t.Helper()
	err := stack.Within(w.ctx, soon, "there is another backup", func(ctx context.Context) (bool, error) {
		all, err := w.ctl.Backups(ctx, "shop")
		if len(all) > 0 {
			b = all[0]
		}
		return b.ID > than, err
	})
	if err == nil {
		b, err = w.ctl.AwaitBackup(w.ctx, b.ID, status, later)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func row(b stack.Backup) element {
	return element(fmt.Sprintf(`[...document.querySelectorAll("main tr")].find((r) => r.querySelector('a[href$="/backups/%d"]'))`, b.ID))
}

func (w *world) inDialog(button string) element {
	return element("__t.find(\"button\", " + quote(button) + ", __t.top())")
}

func (w *world) order(t *testing.T, database string) {
	t.Helper()
	w.open(t, "/projects/shop")
	w.click(t, the("button", "Create Backup Now"))
	w.choose(t, "Database", "^"+database)
	w.click(t, w.inDialog("Create Backup"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
}

// alarms: that nobody would be told is an alarm itself. It is muted; a channel is added and tried, and the alarm is over.
func alarms(t *testing.T, w *world) {
	const title, key = "Nobody is told when backups fail", "a key of sixteen or more"
	receiver := webhookkit.Start(t, webhookkit.Options{Secret: key})
	w.open(t, "/")
	w.click(t, like("link", "^Alarms: .*warning")) // the bell, on every page; the disk here may be nearly full besides
	w.sees(t, the("heading", "Alarms"))
	w.reads(t, title)
	w.click(t, the("button", "Mute: "+title))
	w.fill(t, "Reason", "channels are set up")
	w.twoPictures(t, "mute")
	w.click(t, w.inDialog("Mute"))
	w.reads(t, "Muted until")
	w.click(t, the("tab", "Mutes"))
	w.reads(t, "channels are set up", "anna")
	w.picture(t, "mutes")

	w.click(t, the("link", "Channels"))
	w.click(t, the("button", "Add channel"))
	w.twoPictures(t, "add-channel")
	w.choose(t, "Kind", "^Webhook$")
	w.fill(t, "Name", "ops")
	w.fill(t, "URL", "ops.example.com")
	w.fill(t, "Key of the signature", key)
	w.click(t, w.inDialog("Add"))
	w.until(t, soon, `/not a URL/.test(__t.text())`) // beside its field
	w.fill(t, "URL", receiver.URL+"/devflow")
	w.click(t, w.inDialog("Add"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "Not used yet", receiver.Host)
	w.click(t, the("button", "Test"))
	w.sees(t, like("status", "The test was taken"))
	for _, r := range receiver.Requests() {
		if r.Signature != nil || r.Path != "/devflow" {
			t.Errorf("%s %s arrived: %v", r.Method, r.Path, r.Signature)
		}
	}
	w.reads(t, "Working")
	w.picture(t, "channels-working")
	w.click(t, the("button", "Edit"))
	w.choose(t, "Takes", "^Warnings and worse$")
	w.click(t, like("field", "^Send it to another place"))
	w.sees(t, the("field", "URL")) // empty: what is kept is not shown
	w.twoPictures(t, "edit-channel")
	w.click(t, like("field", "^Send it to another place"))
	w.click(t, w.inDialog("Save"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "Warnings and worse", "Working")
	if text := evaluate[string](t, w.browser, "document.body.innerHTML"); strings.Contains(text, "/devflow") || strings.Contains(text, key) {
		t.Error("the page shows what opens the channel")
	}

	// Somebody is told now: nobody asks for the page again, and the alarm is over.
	w.open(t, "/alarms")
	w.until(t, soon, "__t.settled() && !__t.text().includes("+quote(title)+")")
	w.click(t, the("tab", "Over"))
	w.reads(t, title)
	w.click(t, the("tab", "Notices"))
	w.reads(t, title)
	w.twoPictures(t, "notices")
}

func backUpNow(t *testing.T, w *world) {
	w.touch(t, w.slowly, true)
	w.order(t, "shop ")
	// Live: bytes, rate, remaining time, without asking for the page again.
	w.until(t, later, `/ [KM]B · .*[KM]B\/s · .*left/.test(__t.text())`)
	w.until(t, soon, "document.querySelector('[role=progressbar][aria-valuenow]')")
	w.picture(t, "backup-running")
	b := w.newest(t, 0, "running")
	w.click(t, element(string(row(b))+".querySelector('a')"))
	w.until(t, later, `/of about .*[KM]B\/s · .*left/.test(__t.text())`)
	w.picture(t, "backup-detail-running")
	w.touch(t, w.slowly, false)
	w.reads(t, "Completed", "SHA-256 of the stored bytes")
	w.click(t, the("link", "shop"))
	w.until(t, soon, string(row(b)))
	w.until(t, soon, string(row(b))+".innerText.includes('Completed')")
	// The others, for the pages.
	for _, name := range []string{"orders", "notes"} {
		w.order(t, name)
		b = w.newest(t, b.ID, "completed")
	}
}

func (w *world) backup(t *testing.T, database string) stack.Backup {
	t.Helper()
	all, err := w.ctl.Backups(w.ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		if b.DatabaseName == database && b.Status == "completed" {
			return b
		}
	}
	t.Fatalf("%s has no backup", database)
	return stack.Backup{}
}

func verify(t *testing.T, w *world) {
	w.open(t, "/projects/shop")
	b := w.backup(t, "shop")
	r := row(b)
	colour := func() string {
		return evaluate[string](t, w.browser, "getComputedStyle("+string(r)+".querySelector('svg[aria-label=\"Not verified\"], svg[aria-label^=\"Verified at\"]')).stroke")
	}
	w.until(t, soon, string(r))
	purple := colour()
	w.click(t, element(string(the("button", "Verify Integrity").in(r))))
	w.reads(t, "Nothing is changed")
	w.picture(t, "verify")
	w.click(t, w.inDialog("Verify"))
	w.until(t, later, string(r)+`?.querySelector('[aria-label^="Verified at"]')`)
	if green := colour(); purple != "rgb(124, 58, 237)" || green != "rgb(20, 120, 63)" {
		t.Errorf("the shield went from %s to %s, want from purple to green", purple, green)
	}
	w.picture(t, "verified")
	// Each verification is remembered.
	w.click(t, element(string(r)+".querySelector('a')"))
	w.click(t, the("tab", "Verifications"))
	w.reads(t, "Checksum", "Completed")
	w.picture(t, "backup-verifications")
	w.click(t, the("tab", "Recover without us"))
	w.reads(t, "sha256sum -c", b.FileName, b.FilePath, "age -d -i shop.key", "pg_restore")
	w.picture(t, "backup-recover")
	w.click(t, the("tab", "Manifest"))
	w.reads(t, b.Checksum)
}

func restoreAndUndo(t *testing.T, w *world) {
	if _, err := w.postgres.Exec(w.ctx, "shop", "UPDATE goods SET name = 'spoiled'"); err != nil {
		t.Fatal(err)
	}
	const spoiled = "SELECT count(*) FROM goods WHERE name = 'spoiled'"
	w.open(t, "/projects/shop")
	w.click(t, element(string(the("button", "Restore").in(row(w.backup(t, "shop"))))))
	w.click(t, the("field", "In place"))
	w.click(t, the("button", "Show what would happen"))
	w.reads(t, "It can start", "This replaces data")
	w.picture(t, "restore-plan")
	if w.clickable(t, w.inDialog("Replace it")) {
		t.Error("it can be replaced without a name")
	}
	w.fill(t, "Type shop to confirm", "shap")
	if w.clickable(t, w.inDialog("Replace it")) {
		t.Error("it can be replaced with another name")
	}
	w.fill(t, "Type shop to confirm", "shop")
	w.click(t, w.inDialog("Replace it"))
	w.sees(t, like("heading", "^Restore into shop"))
	w.until(t, later, "__t.text().includes('It has the restored content')")
	w.sees(t, the("button", "Undo"))
	if n := w.one(t, "shop", spoiled); n != "0" {
		t.Errorf("%s rows are spoiled after the restore", n)
	}
	w.picture(t, "restore")
	w.click(t, the("button", "Undo"))
	w.click(t, the("button", "Show what would happen"))
	w.fill(t, "Type shop to confirm", "shop")
	w.picture(t, "undo-plan")
	w.click(t, w.inDialog("Undo"))
	w.until(t, later, "__t.text().includes('Undone by')")
	w.open(t, "/restores")
	w.until(t, later, `document.querySelectorAll("main tbody tr").length === 2 && [...document.querySelectorAll("main tbody tr")].every((r) => r.innerText.includes("Completed"))`)
	if n := w.one(t, "shop", spoiled); n != "4000" {
		t.Errorf("%s rows are as before after the undo, want 4000", n)
	}
}

// clickable tells whether an element can be used.
func (w *world) clickable(t *testing.T, e element) bool {
	t.Helper()
	return evaluate[bool](t, w.browser, "!!__t.at("+string(e)+")")
}

func failedBackup(t *testing.T, w *world) {
	w.touch(t, w.broken, true)
	w.order(t, "orders ")
	const message = "could not read block 7"
	w.until(t, later, "__t.text().includes('Failed') && __t.text().includes("+quote(message)+")")
	b := w.newest(t, w.backup(t, "orders").ID, "failed")
	w.picture(t, "failed")
	w.click(t, element(string(row(b))+".querySelector('a')"))
	w.reads(t, message)
	w.click(t, the("tab", "Log"))
	w.until(t, soon, `[...document.querySelectorAll(".log")].some((e) => e.textContent.includes("pg_dump: error: query failed"))`)
	w.fourPictures(t, "backup-failed")
	w.touch(t, w.broken, false)
	w.click(t, the("button", "Try again"))
	b = w.newest(t, b.ID, "completed")
	// Cancel.
	w.touch(t, w.slowly, true)
	w.order(t, "orders ")
	running := w.newest(t, b.ID, "running")
	w.click(t, element(string(the("button", "Cancel").in(row(running)))))
	w.click(t, w.inDialog("Cancel backup"))
	w.newest(t, b.ID, "failed")
	w.until(t, soon, "/cancel/i.test("+string(row(running))+".innerText)")
	w.touch(t, w.slowly, false)
}

func retentionPreview(t *testing.T, w *world) {
	w.open(t, "/projects/shop")
	w.click(t, the("button", "More"))
	w.click(t, the("menuitem", "Preview retention"))
	w.reads(t, "kept, 0 removed", "Nothing is changed by looking")
	w.until(t, soon, `document.querySelectorAll('[role=dialog] tbody tr').length >= 3`)
	w.picture(t, "retention")
	w.key(t, kb.Escape)
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
}

func holdAndDelete(t *testing.T, w *world) {
	b := w.backup(t, w.sqlite.Name("notes"))
	w.open(t, "/backups/"+strconv.FormatInt(b.ID, 10))
	w.click(t, the("button", "Hold"))
	w.fill(t, "Reason", "asked for by the auditors")
	w.click(t, w.inDialog("Hold"))
	w.reads(t, "asked for by the auditors")
	w.click(t, the("button", "Release"))
	w.click(t, w.inDialog("Release"))
	w.sees(t, the("button", "Hold"))
	// The last one that is good asks for the name.
	w.click(t, the("button", "Delete"))
	w.reads(t, "is removed once its grace has passed")
	w.picture(t, "delete")
	w.click(t, w.inDialog("Delete backup"))
	w.reads(t, "last good backup")
	w.fill(t, "Type "+b.DatabaseName+" to confirm", b.DatabaseName)
	w.click(t, w.inDialog("Delete backup"))
	w.sees(t, the("button", "Take the deletion back"))
	w.click(t, the("button", "Take the deletion back"))
	w.click(t, w.inDialog("Keep the backup"))
	w.sees(t, the("button", "Restore"))
}

// editedMeanwhile: what someone else has changed since it was shown is not overwritten.
func editedMeanwhile(t *testing.T, w *world) {
	w.open(t, "/projects/shop")
	w.click(t, the("button", "Edit"))
	w.sees(t, the("button", "Save"))
	w.until(t, soon, "__t.text().includes('Next five times')")
	if err := w.ctl.API(w.ctx, "PATCH", "/schedules/1", json.RawMessage(`{"retention_weekly": 6}`), nil); err != nil {
		t.Fatal(err)
	}
	w.fill(t, "Monthly", "5")
	w.click(t, the("button", "Save"))
	w.sees(t, like("alert", "changed it meanwhile"))
	w.picture(t, "changed-meanwhile")
	w.click(t, the("button", "Show it as it is now"))
	w.until(t, soon, string(the("field", "Weekly"))+"?.value === '6'")
	w.fill(t, "Monthly", "5")
	w.click(t, the("button", "Save"))
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.reads(t, "6 weekly, 5 monthly")
}

// keyboard: what matters on a page is reached by keys alone; a dialog keeps the focus, ends by Escape, and gives the focus back.
func keyboard(t *testing.T, w *world) {
	w.open(t, "/projects/shop")
	name := func() string {
		return evaluate[string](t, w.browser, `(document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent).trim()`)
	}
	var seen []string
	reach := func(want string, most int) {
		t.Helper()
		for range most {
			w.key(t, kb.Tab)
			at := name()
			if seen = append(seen, at); at == want {
				return
			}
		}
		w.fail(t, "%d tabs do not reach %q: %q", most, want, seen)
	}
	reach("Skip to the content", 1)
	reach("Overview", 8)
	reach("Create Backup Now", 14)
	w.picture(t, "keyboard-focus")
	w.key(t, kb.Enter)
	w.until(t, soon, "document.querySelector('[role=dialog]')?.contains(document.activeElement)")
	for range 12 {
		w.key(t, kb.Tab)
		if !evaluate[bool](t, w.browser, "document.querySelector('[role=dialog]').contains(document.activeElement)") {
			w.fail(t, "the focus has left the dialog")
		}
	}
	w.key(t, kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift))
	w.key(t, kb.Escape)
	w.until(t, soon, "!document.querySelector('[role=dialog]')")
	w.until(t, soon, "document.activeElement.textContent === 'Create Backup Now'")
	reach("Verify Integrity", 60)
	reach("Restore", 3)
}
