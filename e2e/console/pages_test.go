package console_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// devices are the screens on which each page is looked at, in light and dark; held is the scheme in which it is held against the rules
// of accessibility there.
var devices = []struct {
	name          string
	width, height int64
	held          string
}{
	{"desktop", 1360, 860, "light"},
	{"phone", 390, 844, "dark"},
}

// fourPictures keeps what is shown on each screen and holds it: nothing is wider than the screen, and the rules of accessibility. In the
// other scheme there is only a picture for people to look at, where DEVFLOW_PICTURES asks for all.
func (b *browser) fourPictures(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("DEVFLOW_PICTURES") == "all" {
		b.pictures(t, name, "light", "dark")
		return
	}
	b.pictures(t, name)
}

// twoPictures is fourPictures without that.
func (b *browser) twoPictures(t *testing.T, name string) {
	t.Helper()
	b.pictures(t, name)
}

func (b *browser) pictures(t *testing.T, name string, schemes ...string) {
	t.Helper()
	b.until(t, soon, "__t.settled()")
	for _, d := range devices {
		b.look(t, d.width, d.height, d.held)
		b.until(t, soon, fmt.Sprintf("innerWidth === %d && document.documentElement.scrollWidth <= innerWidth", d.width))
		// The page to its end, on a screen that is as high; what lies below a dialog cannot be seen.
		height := max(d.height, evaluate[int64](t, b, "__t.top() === document ? document.documentElement.scrollHeight : 0"))
		shown := schemes
		if len(shown) == 0 {
			shown = []string{d.held}
		}
		for _, scheme := range shown {
			b.look(t, d.width, height, scheme)
			b.until(t, soon, fmt.Sprintf("innerHeight === %d && document.documentElement.dataset.mantineColorScheme === %q", height, scheme))
			// Charts follow the width.
			evaluate[struct{}](t, b, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done({}))))")
			if scheme == d.held {
				b.accessible(t, name+", "+d.name+", "+scheme)
			}
			b.picture(t, name+"-"+d.name+"-"+scheme)
		}
	}
	b.look(t, 1360, 860, "light")
}

// pages looks at each page, and holds that none waits for more than two requests before it shows what it is about: who is signed in,
// and the one that is named here.
func pages(t *testing.T, w *world) {
	shop := w.backup(t, "shop").ID
	for _, p := range []struct{ name, path, asks, shows string }{
		{"overview", "/", "/overview", `__t.find("heading", "Needs attention") && document.querySelector(".attention")`},
		{"protection", "/protection", "/protection", `__t.text().includes("secrets") && document.querySelector("table svg[role=img]")`},
		{"projects", "/projects", "/projects", `__t.text().includes("The Shop")`},
		{"project", "/projects/shop", "/backups", fmt.Sprintf(`document.querySelector('a[href$="/backups/%d"]')`, shop)},
		{"backup", fmt.Sprintf("/backups/%d", shop), fmt.Sprintf("/backups/%d", shop), `__t.text().includes("SHA-256 of the stored bytes")`},
		{"restores", "/restores", "/restores", `__t.text().includes("Undo")`},
		{"restore-done", "/restores/1", "/restores/1", `__t.text().includes("Undone by")`},
		{"servers", "/servers", "/servers", `__t.text().includes("db1")`},
		{"storages", "/storages", "/storages", `__t.text().includes("Test passed")`},
		{"access", "/access", "/users", `__t.text().includes("Anna Admin")`},
		{"audit", "/audit", "/audit", `__t.text().includes("backup.create")`},
		{"alarms", "/alarms", "/alarms", `__t.find("tab", "Open") && !__t.text().includes("Nobody is told")`},
		{"channels", "/settings/channels", "/channels", `__t.text().includes("Reminders")`},
		{"settings", "/settings", "", `__t.text().includes("Your account")`},
		{"no-such-page", "/no-such-page", "", `__t.text().includes("There is no such page")`},
	} {
		w.holding(func(path string) bool { return path != "/session" && path != p.asks })
		w.load(t, p.path)
		w.until(t, soon, p.shows)
		w.holding(nil)
		w.until(t, soon, "__t.settled()")
		w.fourPictures(t, p.name)
	}
	w.open(t, "/access")
	w.click(t, the("tab", "API tokens"))
	w.reads(t, "Last used")
	w.fourPictures(t, "tokens")
	for _, dialog := range []struct{ page, button, name string }{
		{"/projects/shop", "Create Backup Now", "create-backup"},
		{"/projects/shop", "Create Schedule", "create-schedule"},
		{"/storages", "Add storage", "add-storage"},
		{"/servers", "Add server", "add-server-form"},
		{"/access", "Add a person", "add-person"},
		{"/projects", "Create project", "create-project"},
	} {
		if w.at(t) != dialog.page {
			w.open(t, dialog.page)
		}
		w.click(t, the("button", dialog.button))
		w.until(t, soon, "document.querySelector('[role=dialog]')")
		w.twoPictures(t, dialog.name)
		w.key(t, kb.Escape)
		if evaluate[bool](t, w.browser, "!!document.querySelector('[role=dialog], [role=listbox]')") {
			w.key(t, kb.Escape) // the first one was for the choices of a field
		}
		w.until(t, soon, "!document.querySelector('[role=dialog]')")
	}
}

// viewer: who may only look sees no buttons for more, is told when the API refuses, and sees one project: the other is not there,
// neither on a page nor by its address.
func viewer(t *testing.T, w *world) {
	if err := w.ctl.API(w.ctx, "POST", "/users", map[string]any{
		"name": "vera", "password": viewerPassword, "permissions": []string{"view-backups"}, "projects": []string{"shop"},
	}, nil); err != nil {
		t.Fatal(err)
	}
	vault, err := w.ctl.Backups(w.ctx, "vault")
	if err != nil || len(vault) != 1 {
		t.Fatal(vault, err)
	}
	w.open(t, "/")
	w.click(t, like("button", "^Signed in as"))
	w.click(t, the("menuitem", "Sign out"))
	w.sees(t, the("heading", "Sign in"))
	w.fill(t, "User name", "vera")
	w.fill(t, "Password", viewerPassword)
	w.click(t, the("button", "Sign in"))
	w.sees(t, the("heading", "Overview"))
	w.open(t, "/projects/shop")
	w.sees(t, the("button", "Verify Integrity"))
	for _, forbidden := range []string{"Create Backup Now", "Create Schedule", "Download", "Restore", "Delete", "Edit", "Run now", "Assign databases", "Try again"} {
		w.lacks(t, the("button", forbidden))
	}
	w.picture(t, "viewer-project")
	for _, place := range []string{"People and tokens", "Audit log"} {
		w.lacks(t, the("link", place))
	}
	// By its address all the same: the API says no, and the page says what that means.
	for _, path := range []string{"/access", "/audit"} {
		w.open(t, path)
		w.sees(t, like("alert", "manage-tokens|view-audit-logs"))
	}
	w.picture(t, "viewer-refused")
	w.open(t, "/projects")
	w.reads(t, "The Shop")
	for _, path := range []string{"/", "/protection", "/projects", "/restores", "/servers", "/storages", "/alarms", "/settings/channels"} {
		w.open(t, path)
		if text := evaluate[string](t, w.browser, "document.body.innerText"); strings.Contains(text, "vault") || strings.Contains(text, "secrets") {
			t.Errorf("%s shows the other project:\n%.1000s", path, text)
		}
	}
	for _, path := range []string{"/projects/vault", fmt.Sprintf("/backups/%d", vault[0].ID)} {
		w.open(t, path)
		w.sees(t, like("alert", "there is no|not found|does not exist"))
		if text := evaluate[string](t, w.browser, "document.body.innerText"); strings.Contains(text, "secrets") {
			t.Errorf("%s shows the other project:\n%.1000s", path, text)
		}
	}
	w.picture(t, "viewer-foreign")
}
