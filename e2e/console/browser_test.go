package console_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"devflowbackup/e2e/stack"
)

const (
	// soon bounds what a page does by itself, later what an agent has to do first.
	soon  = 20 * time.Second
	later = 60 * time.Second
	// between two looks at a page.
	pause = 100 * time.Millisecond
)

//go:embed page.js
var pageScript string

// browser is one tab of a real browser, at the size of a desktop or of a phone.
type browser struct {
	ctx  context.Context
	url  string // of the console, without a slash at its end
	shot string // where pictures go
	axe  string
	log  func(format string, args ...any)

	mu     sync.Mutex
	bytes  float64           // of the console's files that were loaded
	bodies map[string]bool   // requests of the console's files
	errors []string          // of scripts
	hold   func(string) bool // which paths of the API wait
	held   []fetch.RequestID // and those that do
}

// startBrowser starts Chromium with a profile below dir. Its end waits until the process is gone.
func startBrowser(ctx context.Context, log func(string, ...any), dir, shots, axeFile string) (_ *browser, stop func() error, err error) {
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: run scripts/install-deps.sh", err)
	}
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: run make console", err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.NoSandbox,
		chromedp.IgnoreCertErrors, chromedp.DisableGPU,
		chromedp.Flag("lang", "en-US"), chromedp.WindowSize(1360, 860), chromedp.Env("TZ=UTC", "LANG=C.UTF-8", "HOME="+dir),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }))
	allocated, end := chromedp.NewExecAllocator(ctx, opts...)
	tab, closeTab := chromedp.NewContext(allocated)
	b := &browser{ctx: tab, log: log, shot: shots, axe: string(axe), bodies: map[string]bool{}}
	stop = func() error {
		process := chromedp.FromContext(tab).Browser.Process()
		b.log("the browser took %s of processor time", groupTime(process.Pid))
		limit, cancel := context.WithTimeout(tab, soon)
		defer cancel()
		err := chromedp.Cancel(limit)
		closeTab()
		end()
		// Its helpers are in its process group: none may be left.
		gone := stack.Within(context.WithoutCancel(ctx), soon, "the browser is gone", func(context.Context) (bool, error) {
			return errors.Is(syscall.Kill(-process.Pid, 0), syscall.ESRCH), nil
		})
		if gone != nil {
			_ = syscall.Kill(-process.Pid, syscall.SIGKILL)
		}
		return errors.Join(err, gone)
	}
	if err := chromedp.Listen(tab, b.event); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", program, err)
	}
	_, err = chromedp.Call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: pageScript})
	// What is asked of pages is asked by scripts: nobody needs to be told of each node and style.
	if err == nil {
		_, err = chromedp.Call(tab, css.Disable, cdp.Empty{})
	}
	if err == nil {
		_, err = chromedp.Call(tab, dom.Disable, cdp.Empty{})
	}
	if err == nil {
		_, err = chromedp.Call(tab, network.Enable, network.EnableParams{})
	}
	if err == nil {
		_, err = chromedp.Call(tab, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*/api/v1/*"}}})
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return b, stop, nil
}

// groupTime is the processor time of the processes of a group that still run.
func groupTime(group int) time.Duration {
	var ticks int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		_, rest, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 15 || fields[2] != strconv.Itoa(group) {
			continue
		}
		for _, n := range fields[11:15] { // its own, and that of children that have ended
			v, _ := strconv.Atoi(n)
			ticks += v
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func (b *browser) event(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventResponseReceived:
		if strings.Contains(ev.Response.URL, "/console/") {
			b.bodies[string(ev.RequestID)] = true
		}
	case *network.EventLoadingFinished:
		if b.bodies[string(ev.RequestID)] {
			b.bytes += ev.EncodedDataLength
		}
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, ev.ExceptionDetails.Text+" "+ev.ExceptionDetails.URL)
	case *fetch.EventRequestPaused:
		_, path, _ := strings.Cut(ev.Request.URL, "/api/v1")
		path, _, _ = strings.Cut(path, "?")
		if b.hold != nil && b.hold(path) {
			b.held = append(b.held, ev.RequestID)
			return
		}
		go b.pass(ev.RequestID)
	}
}

func (b *browser) pass(id fetch.RequestID) {
	_, _ = chromedp.Call(b.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: id}) // a page that was left waits for nothing
}

// holding keeps requests of the API waiting, those of the paths that it returns true for, until it is called with nil.
func (b *browser) holding(which func(string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = which
	if which == nil {
		for _, id := range b.held {
			go b.pass(id)
		}
		b.held = nil
	}
}

// loaded is how many bytes of the console's files have come since it was asked last.
func (b *browser) loaded() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.bytes
	b.bytes = 0
	return n
}

// element names an element to page.js.
type element string

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// the is the first element of a kind with exactly that name, in the topmost dialog if there is one.
func the(kind, name string) element {
	return element("__t.find(" + quote(kind) + ", " + quote(name) + ")")
}

// like is the first element of a kind whose name matches.
func like(kind, pattern string) element {
	return element("__t.find(" + quote(kind) + ", /" + strings.ReplaceAll(pattern, "/", `\/`) + "/i)")
}

// in is the element inside of another one.
func (e element) in(other element) element {
	return element(strings.TrimSuffix(string(e), ")")) + element(", "+string(other)+")")
}

func evaluate[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(t, "%s: %v", script, err)
	}
	return v
}

// until waits until a script yields something that is true.
func (b *browser) until(t *testing.T, limit time.Duration, script string) {
	t.Helper()
	var last error
	deadline := time.Now().Add(limit)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for time.Now().Before(deadline) {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+script+")", chromedp.EvalAwaitPromise))
		if last = err; ok {
			return
		}
		if b.ctx.Err() != nil {
			break
		}
		<-ticker.C
	}
	b.fail(t, "not within %s: %s (%v)", limit, script, last)
}

// fail ends the test with what the page shows.
func (b *browser) fail(t *testing.T, format string, args ...any) {
	t.Helper()
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname + "\n" + (__t?.text() ?? "")`))
	b.picture(t, "failed-"+strings.ReplaceAll(t.Name(), "/", "-"))
	t.Fatalf("%s\nthe page: %.2500s", fmt.Sprintf(format, args...), text)
}

func (b *browser) sees(t *testing.T, e element) {
	t.Helper()
	b.until(t, soon, string(e))
}

// reads waits for words on the page, or in its topmost dialog.
func (b *browser) reads(t *testing.T, words ...string) {
	t.Helper()
	for _, w := range words {
		b.until(t, soon, "__t.text().includes("+quote(w)+")")
	}
}

func (b *browser) lacks(t *testing.T, e element) {
	t.Helper()
	if evaluate[bool](t, b, "!!"+string(e)) {
		b.fail(t, "there is %s", e)
	}
}

func (b *browser) click(t *testing.T, e element) {
	t.Helper()
	if !b.tries(t, e, soon) {
		b.fail(t, "not within %s: %s can be clicked", soon, e)
	}
}

// tries clicks an element once it can be used and nothing moves it; false if that is not within the limit.
func (b *browser) tries(t *testing.T, e element, limit time.Duration) bool {
	t.Helper()
	deadline := time.Now().Add(limit)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for time.Now().Before(deadline) && b.ctx.Err() == nil {
		// An error is of a page that is being left.
		at, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64]("__t.still(() => "+string(e)+")", chromedp.EvalAwaitPromise))
		if err == nil && len(at) == 2 {
			if err := chromedp.Do(b.ctx, chromedp.MouseClickXY(at[0], at[1])); err != nil {
				b.fail(t, "click %s: %v", e, err)
			}
			return true
		}
		<-ticker.C
	}
	return false
}

func (b *browser) fill(t *testing.T, label, text string) {
	t.Helper()
	b.until(t, soon, "__t.focused("+string(the("field", label))+")")
	if _, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		b.fail(t, "fill %s: %v", label, err)
	}
}

// choose opens a field with choices and takes the first that matches.
func (b *browser) choose(t *testing.T, label, option string) {
	t.Helper()
	for range 5 {
		b.click(t, the("field", label))
		// A field that had its choices open already has closed them now.
		if b.tries(t, like("option", option), soon/8) {
			return
		}
	}
	b.fail(t, "%s has no choice like %s", label, option)
}

func (b *browser) key(t *testing.T, keys string, opts ...chromedp.KeyOption) {
	t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.KeyEvent(keys, opts...)); err != nil {
		b.fail(t, "press %q: %v", keys, err)
	}
}

// open goes to a page and waits until everything on it is there.
func (b *browser) open(t *testing.T, path string) {
	t.Helper()
	b.load(t, path)
	b.until(t, soon, "__t.settled()")
}

// at is the path of the page within the console.
func (b *browser) at(t *testing.T) string {
	t.Helper()
	return evaluate[string](t, b, "location.pathname.slice('/console'.length)")
}

func (b *browser) load(t *testing.T, path string) {
	t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(b.url+path)); err != nil {
		b.fail(t, "open %s: %v", path, err)
	}
}

// look sets the size of the screen and the colour scheme. Nothing moves by itself.
func (b *browser) look(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	if err == nil {
		_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
	}
	if err != nil {
		b.fail(t, "look: %v", err)
	}
}

// picture keeps what the page shows, down to its end.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	// A dialog lies over what can be seen of a page, and no further.
	whole := evaluate[bool](t, b, "__t.top() === document && (scrollTo(0, 0), document.documentElement.scrollHeight > innerHeight)")
	shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "png", CaptureBeyondViewport: &whole, OptimizeForSpeed: new(true)})
	if err == nil {
		err = os.WriteFile(filepath.Join(b.shot, name+".png"), shot.Data, 0o644)
	}
	if err != nil {
		t.Errorf("picture %s: %v", name, err)
	}
}

// accessible holds what is shown against the rules of WCAG 2 A and AA.
func (b *browser) accessible(t *testing.T, what string) {
	t.Helper()
	found := evaluate[[]string](t, b, `(async () => {
		if (!window.axe) { (0, eval)(`+quote(b.axe)+`); }
		const { violations } = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"], preload: false, selectors: false });
		return violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 300) + " " + (n.any[0]?.message ?? n.all[0]?.message ?? v.help)));
	})()`)
	if len(found) > 0 {
		t.Errorf("%s: %d violations:\n%s", what, len(found), strings.Join(found, "\n"))
	}
}
