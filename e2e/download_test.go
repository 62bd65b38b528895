package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

// TestDownload fetches backups by devflowctl, from the store, through the controller and from their host, and breaks each way.
func TestDownload(t *testing.T) {
	t.Parallel()
	w := newLocalWorld(t, faultOptions{big: threeParts})
	ctx := faultContext(t)
	d := downloads{faultWorld: w, dir: t.TempDir()}
	var err error
	if d.line, err = newLine(w.controllers[0].URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.line.close)
	d.stored = d.backUp(t, ctx, big, nil)
	d.onHost = d.backUp(t, ctx, big, onHost)
	d.aes = d.backUp(t, ctx, small, map[string]any{"storage": here, "encryption": "aes-256-cbc", "compression": "gzip"})

	for _, tc := range []struct {
		name string
		run  func(*testing.T, context.Context)
	}{
		{"from each place by each way", d.ways},
		{"every object of a backup", d.everything},
		{"to standard output", d.output},
		{"the store breaks off", d.storeBreaks},
		{"devflowctl is killed, store", d.killedDirect},
		{"devflowctl is killed, controller", d.killedVia},
		{"the host dies on the way", d.hostDies},
		{"the controller is restarted on the way", d.controllerRestarts},
		{"what is damaged is not handed out", d.damaged},
		{"decrypted by who may", d.decrypted},
		{"a link works once", d.once},
		{"another project's backup is not found", d.foreign},
		{"a host that is away is named", d.away},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, faultContext(t)) })
	}
	w.invariants(t, faultContext(t))
}

type downloads struct {
	*faultWorld
	dir    string
	line   *line // to the controller
	stored stack.Backup
	onHost stack.Backup
	aes    stack.Backup // on the host
}

func (d *downloads) backUp(t *testing.T, ctx context.Context, database string, more map[string]any) stack.Backup {
	t.Helper()
	b, err := d.ctl.AwaitBackup(ctx, d.order(t, ctx, database, more).ID, "completed", 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// file is the path of a new file.
func (d *downloads) file(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(d.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "file")
}

// fetched is what devflowctl tells of a download.
type fetched struct {
	File, Object, Format, SHA256 string
	Size                         int64
	Resumed                      int64 `json:"resumed_bytes"`
}

func (d *downloads) fetch(t *testing.T, ctx context.Context, b stack.Backup, args ...string) fetched {
	t.Helper()
	got := read[[]fetched](t, ctx, d.ctl, append([]string{"backup", "download", id(b.ID)}, args...)...)
	if len(got) != 1 {
		t.Fatalf("the answer is %+v", got)
	}
	return got[0]
}

// holdsFile checks a whole file, and that nothing else is left of its download.
func holdsFile(t *testing.T, file string, size int64, checksum string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if got := hex.EncodeToString(h.Sum(nil)); err != nil || n != size || got != checksum {
		t.Errorf("%s has %d bytes with SHA-256 %s, not %d with %s: %v", file, n, got, size, checksum, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%s: %v, %v", file, info.Mode(), err)
	}
	if left, err := filepath.Glob(file + ".part*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// audited counts the links to a backup that the audit log tells of, and how many of them lead to the store itself.
func (d *downloads) audited(t *testing.T, ctx context.Context, b stack.Backup) string {
	t.Helper()
	rows, err := d.catalog.Rows(ctx, `SELECT count(*), count(*) FILTER (WHERE (detail->>'direct')::boolean) FROM audit_log
		WHERE action = 'backup.download' AND subject = $1 AND result NOT LIKE 'refused%'`, id(b.ID))
	if err != nil {
		t.Fatal(err)
	}
	return rows[0]
}

func (d *downloads) ways(t *testing.T, ctx context.Context) {
	for _, tc := range []struct {
		name   string
		b      stack.Backup
		args   []string
		direct bool
	}{
		{"from the store", d.stored, nil, true},
		{"from the store through the controller", d.stored, []string{"--via-controller"}, false},
		{"from the host", d.onHost, nil, false},
		{"from the host, small", d.aes, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var links, direct int
			fmt.Sscan(d.audited(t, ctx, tc.b), &links, &direct)
			file := d.file(t)
			got := d.fetch(t, ctx, tc.b, append(tc.args, "-o", file)...)
			holdsFile(t, file, tc.b.FileSize, tc.b.Checksum)
			if got.Resumed != 0 || got.Format != "stored" || got.Object != "artifact" || got.SHA256 != tc.b.Checksum {
				t.Errorf("it says %+v", got)
			}
			if links++; tc.direct {
				direct++
			}
			if now := d.audited(t, ctx, tc.b); now != fmt.Sprint(links, direct) {
				t.Errorf("the audit log has %s links, those to the store themselves second; %d %d were given", now, links, direct)
			}
			// What is there is not overwritten.
			says(t, ctl(t, ctx, d.ctl, "backup", "download", id(tc.b.ID), "-o", file), 1, "is there already", "--force")
		})
	}
	on, err := os.ReadFile(filepath.Join(d.agent.LocalDir, d.onHost.FilePath))
	sum := sha256.Sum256(on)
	if err != nil || hex.EncodeToString(sum[:]) != d.onHost.Checksum {
		t.Errorf("the host has other bytes: %v", err)
	}
}

func (d *downloads) everything(t *testing.T, ctx context.Context) {
	for _, b := range []stack.Backup{d.stored, d.onHost} {
		dir := filepath.Dir(d.file(t)) + "/"
		all := read[[]fetched](t, ctx, d.ctl, "backup", "download", id(b.ID), "--object", "all", "-o", dir)
		if len(all) != 4 {
			t.Fatalf("%d objects came: %+v", len(all), all)
		}
		for _, got := range all {
			holdsFile(t, got.File, got.Size, got.SHA256)
		}
		manifest, err := os.ReadFile(filepath.Join(dir, b.FileName+".manifest.json"))
		if err != nil || !bytes.Contains(manifest, []byte(b.Checksum)) || !json.Valid(manifest) {
			t.Errorf("the manifest is not there: %v", err)
		}
	}
}

// output pipes a backup into another program.
func (d *downloads) output(t *testing.T, ctx context.Context) {
	for _, b := range []stack.Backup{d.stored, d.onHost} {
		r := d.start(t, ctx, d.ctl, "backup", "download", id(b.ID), "-o", "-")
		r.ends(t, ctx, 0)
		sum := sha256.Sum256(r.out.Bytes())
		if hex.EncodeToString(sum[:]) != b.Checksum || !strings.Contains(r.err.String(), b.Checksum) {
			t.Errorf("%d bytes came; it says %s", r.out.Len(), r.err.String())
		}
	}
}

// storeBreaks resets the connection to the store twice: the transfer goes on where it stopped.
func (d *downloads) storeBreaks(t *testing.T, ctx context.Context) {
	const part = 8 << 20
	rule := d.s3.Proxy.Inject("GetObject", 2, s3kit.ResetDownload(part))
	later := d.s3.Proxy.Add(&s3kit.Rule{Match: func(r *http.Request) bool {
		return s3kit.OpOf(r) == "GetObject" && strings.TrimPrefix(r.Header.Get("Range"), "bytes=") >= "1" // from a later byte on
	}, Action: func(x *s3kit.Exchange) { x.Forward() }})
	defer d.s3.Proxy.Reset()
	file := d.file(t)
	d.fetch(t, ctx, d.stored, "-o", file)
	holdsFile(t, file, d.stored.FileSize, d.stored.Checksum)
	if rule.Fired() != 2 || later.Fired() != 1 {
		t.Errorf("the store broke off %d times, and was asked for the rest %d times", rule.Fired(), later.Fired())
	}
}

// held passes on n bytes of a reply and then nothing until the receiver goes away.
func held(n int64, arrived chan<- struct{}) s3kit.Action {
	return func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		x.Reply(resp, io.MultiReader(io.LimitReader(resp.Body, n), readerFunc(func([]byte) (int, error) {
			_ = http.NewResponseController(x.W).Flush()
			arrived <- struct{}{}
			<-x.R.Context().Done()
			return 0, x.R.Context().Err()
		})))
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// killedDirect kills devflowctl in the middle. The same command goes on.
func (d *downloads) killedDirect(t *testing.T, ctx context.Context) {
	const part = 12 << 20
	came := make(chan struct{}, 1)
	d.s3.Proxy.Inject("GetObject", 1, held(part, came))
	defer d.s3.Proxy.Reset()
	file := d.file(t)
	r := d.start(t, ctx, d.ctl, "backup", "download", id(d.stored.ID), "-o", file)
	await(t, ctx, came)
	d.killedAt(t, ctx, r, file, part)
	d.resumed(t, ctx, d.ctl, d.stored, file, part)
}

// killedVia is killedDirect through the controller, of a backup on its host.
func (d *downloads) killedVia(t *testing.T, ctx context.Context) {
	for _, tc := range []struct {
		b    stack.Backup
		args []string
	}{{d.stored, []string{"--via-controller"}}, {d.onHost, nil}} {
		const part = 12 << 20
		came := d.line.holdAfter(part)
		file := d.file(t)
		r := d.start(t, ctx, d.ctl, append([]string{"backup", "download", id(tc.b.ID), "-o", file}, tc.args...)...)
		await(t, ctx, came)
		d.killedAt(t, ctx, r, file, part-1<<20) // what frames and headers take is no content
		d.line.cut()
		d.resumed(t, ctx, d.ctl, tc.b, file, part-1<<20, tc.args...)
	}
}

func await(t *testing.T, ctx context.Context, came <-chan struct{}) {
	t.Helper()
	select {
	case <-came:
	case <-ctx.Done():
		t.Fatalf("nothing was held: %v", context.Cause(ctx))
	}
}

// killedAt kills a download when so many bytes are in its part.
func (d *downloads) killedAt(t *testing.T, ctx context.Context, r *program, file string, atLeast int64) {
	t.Helper()
	if err := stack.Within(ctx, 20*time.Second, "what has come is written", func(context.Context) (bool, error) {
		info, err := os.Stat(file + ".part")
		return err == nil && info.Size() >= atLeast, err
	}); err != nil {
		t.Fatalf("%v; it says %s", err, r.err.String())
	}
	r.kill(t)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part has the name of the whole: %v", err)
	}
}

// resumed runs the same command again, which goes on with at least so many bytes.
func (d *downloads) resumed(t *testing.T, ctx context.Context, _ *stack.Client, b stack.Backup, file string, atLeast int64, args ...string) {
	t.Helper()
	got := d.fetch(t, ctx, b, append([]string{"-o", file}, args...)...)
	holdsFile(t, file, b.FileSize, b.Checksum)
	if got.Resumed < atLeast {
		t.Errorf("%d bytes were kept, at least %d were there", got.Resumed, atLeast)
	}
}

// hostDies takes the host away in the middle: devflowctl waits for it and goes on.
func (d *downloads) hostDies(t *testing.T, ctx context.Context) {
	came := d.line.holdAfter(12 << 20)
	file := d.file(t)
	r := d.start(t, ctx, d.ctl, "backup", "download", id(d.onHost.ID), "-o", file)
	await(t, ctx, came)
	if err := d.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	d.line.cut()
	r.said(t, ctx, "db1")
	d.restartAgent(t, ctx)
	r.ends(t, ctx, 0)
	holdsFile(t, file, d.onHost.FileSize, d.onHost.Checksum)
}

func (d *downloads) controllerRestarts(t *testing.T, ctx context.Context) {
	came := d.line.holdAfter(12 << 20)
	file := d.file(t)
	r := d.start(t, ctx, d.ctl, "backup", "download", id(d.onHost.ID), "-o", file)
	await(t, ctx, came)
	if err := d.controllers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	d.line.cut()
	r.said(t, ctx, "asking again")
	d.startController(t, ctx, 0)
	r.ends(t, ctx, 0)
	holdsFile(t, file, d.onHost.FileSize, d.onHost.Checksum)
}

// damaged changes a byte in the middle of what is stored: no way hands it out as the backup.
func (d *downloads) damaged(t *testing.T, ctx context.Context) {
	onDisk := filepath.Join(d.agent.LocalDir, d.onHost.FilePath)
	for _, tc := range []struct {
		name string
		b    stack.Backup
		flip func() error
		args []string
	}{
		{"store", d.stored, func() error { return d.s3.CorruptObject(d.s3.Bucket, d.stored.FilePath, d.stored.FileSize/2) }, nil},
		{"store through the controller", d.stored, func() error { return d.s3.CorruptObject(d.s3.Bucket, d.stored.FilePath, d.stored.FileSize/2) }, []string{"--via-controller"}},
		{"store, decrypted", d.stored, func() error { return d.s3.CorruptObject(d.s3.Bucket, d.stored.FilePath, d.stored.FileSize/2) }, []string{"--decrypt"}},
		{"host", d.onHost, func() error { return flip(onDisk, d.onHost.FileSize/2) }, nil},
		{"host, the last byte", d.onHost, func() error { return flip(onDisk, d.onHost.FileSize-1) }, nil},
		{"host, decrypted", d.aes, func() error { return flip(filepath.Join(d.agent.LocalDir, d.aes.FilePath), d.aes.FileSize/2) }, []string{"--decrypt"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.flip(); err != nil {
				t.Fatal(err)
			}
			file := d.file(t)
			res := ctl(t, ctx, d.ctl, append([]string{"backup", "download", id(tc.b.ID), "-o", file, "--retry", "1s"}, tc.args...)...)
			// Who does not compare checksums does not get the end either.
			via := d.link(t, ctx, tc.b, map[string]any{"via": "controller"})
			if resp, b, err := d.tryGet(t, ctx, via.URL, 0); err == nil && resp.StatusCode == http.StatusOK {
				t.Errorf("the link gave %d bytes as if they were the whole", len(b))
			}
			if err := tc.flip(); err != nil { // as it was
				t.Fatal(err)
			}
			says(t, res, 1, "damaged")
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the damaged file was handed out: %v", err)
			}
			d.fetch(t, ctx, tc.b, append([]string{"-o", file, "--force"}, tc.args...)...)
		})
	}
}

// flip inverts one byte of a file.
func flip(file string, at int64) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	b[0] ^= 0xff
	if err == nil {
		_, err = f.WriteAt(b[:], at)
	}
	return errors.Join(err, f.Close())
}

func (d *downloads) token(t *testing.T, ctx context.Context, name string, args ...string) *stack.Client {
	t.Helper()
	token := read[struct{ Token string }](t, ctx, d.ctl, append([]string{"token", "create", name}, args...)...).Token
	c, err := d.controllers[0].ClientWith(name, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *downloads) decrypted(t *testing.T, ctx context.Context) {
	viewer := d.token(t, ctx, "viewer", "--permission", "view-backups")
	fetcher := d.token(t, ctx, "fetcher", "--permission", "view-backups,download-backups")
	restorer := d.token(t, ctx, "restorer", "--permission", "view-backups,download-backups,restore-backups", "--project", "shop")
	for _, b := range []stack.Backup{d.stored, d.onHost, d.aes} {
		file := d.file(t)
		refused(t, ctx, viewer, 1, []string{"download-backups"}, "backup", "download", id(b.ID), "-o", file)
		refused(t, ctx, fetcher, 1, []string{"restore-backups", "format stored"}, "backup", "download", id(b.ID), "-o", file, "--decrypt")
		do(t, ctx, fetcher, "backup", "download", id(b.ID), "-o", file)
		dump := d.file(t)
		do(t, ctx, restorer, "backup", "download", id(b.ID), "-o", dump, "--decrypt")
		holdsFile(t, dump, b.RawSize, b.RawChecksum)
		list, err := exec.CommandContext(ctx, filepath.Join(d.postgres.Bin().Dir, "pg_restore"), "--list", dump).Output()
		if err != nil || !strings.Contains(string(list), "TABLE DATA public people") {
			t.Errorf("it is no dump: %v: %.200s", err, list)
		}
	}
}

// get asks a link without a token, as a browser does.
func (d *downloads) get(t *testing.T, ctx context.Context, link string, from int64) (*http.Response, []byte) {
	t.Helper()
	resp, b, err := d.tryGet(t, ctx, link, from)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// tryGet returns an error if what is given breaks off.
func (d *downloads) tryGet(t *testing.T, ctx context.Context, link string, from int64) (*http.Response, []byte, error) {
	t.Helper()
	pem, err := os.ReadFile(d.ctl.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

type link struct {
	URL       string
	Direct    bool
	Size      int64
	Checksum  string
	ExpiresAt time.Time `json:"expires_at"`
}

func (d *downloads) link(t *testing.T, ctx context.Context, b stack.Backup, order map[string]any) (l link) {
	t.Helper()
	if err := d.ctl.API(ctx, http.MethodPost, fmt.Sprintf("/backups/%d/download", b.ID), order, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func (d *downloads) once(t *testing.T, ctx context.Context) {
	l := d.link(t, ctx, d.aes, map[string]any{})
	if left := time.Until(l.ExpiresAt); l.Direct || left > 20*time.Minute || left < time.Minute {
		t.Errorf("the link is %+v", l)
	}
	resp, b := d.get(t, ctx, l.URL, 100)
	sum := sha256.Sum256(b)
	whole, err := os.ReadFile(filepath.Join(d.agent.LocalDir, d.aes.FilePath))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(b, whole[100:]) || resp.Header.Get("ETag") != `"`+d.aes.Checksum+`"` {
		t.Errorf("it answered %s with %d bytes %x, %v", resp.Status, len(b), sum, resp.Header)
	}
	if resp, b := d.get(t, ctx, l.URL, 0); resp.StatusCode != http.StatusConflict || !bytes.Contains(b, []byte("already used")) {
		t.Errorf("the second time it answered %s: %.200q", resp.Status, b)
	}
	if resp, _ := d.get(t, ctx, l.URL+"x", 0); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a link that nobody made answered %s", resp.Status)
	}
	late := d.link(t, ctx, d.aes, map[string]any{})
	d.forward(t, ctx, "UPDATE download_links SET expires_at = now() WHERE used_at IS NULL")
	if resp, b := d.get(t, ctx, late.URL, 0); resp.StatusCode != http.StatusConflict || !bytes.Contains(b, []byte("expired")) {
		t.Errorf("when it had expired it answered %s: %.200q", resp.Status, b)
	}
	// The store's own link opens that object for reading and nothing else.
	direct := d.link(t, ctx, d.stored, map[string]any{})
	u, err := url.Parse(direct.URL)
	if err != nil || !direct.Direct || direct.Size != d.stored.FileSize || direct.Checksum != d.stored.Checksum {
		t.Fatalf("the link is %+v, %v", direct, err)
	}
	for _, tc := range []struct{ method, path string }{
		{http.MethodDelete, u.Path},
		{http.MethodPut, u.Path},
		{http.MethodGet, u.Path + ".manifest.json"},
	} {
		other := *u
		other.Path, other.RawPath = tc.path, ""
		req, err := http.NewRequestWithContext(ctx, tc.method, other.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s of %s answered %s", tc.method, tc.path, resp.Status)
		}
	}
}

func (d *downloads) foreign(t *testing.T, ctx context.Context) {
	do(t, ctx, d.ctl, "project", "create", "rival")
	rival := d.token(t, ctx, "rival", "--permission", "all", "--project", "rival")
	for _, b := range []stack.Backup{d.stored, d.onHost} {
		before := d.audited(t, ctx, b)
		for _, args := range [][]string{nil, {"--via-controller"}, {"--decrypt"}, {"--object", "manifest"}} {
			refused(t, ctx, rival, 1, []string{"does not exist"}, append([]string{"backup", "download", id(b.ID), "-o", d.file(t)}, args...)...)
		}
		if after := d.audited(t, ctx, b); after != before {
			t.Errorf("the audit log had %s links and has %s", before, after)
		}
	}
}

// away asks for a backup whose host is not there.
func (d *downloads) away(t *testing.T, ctx context.Context) {
	if err := d.agent.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	says(t, ctl(t, ctx, d.ctl, "backup", "download", id(d.onHost.ID), "-o", d.file(t), "--retry", "0s"), 1, "db1", "devflow-agent")
	d.fetch(t, ctx, d.stored, "-o", d.file(t)) // who needs no host is not stopped
	d.restartAgent(t, ctx)
}

// program is a run of devflowctl that the test can end.
type program struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	err  lockedBuffer
	done chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs devflowctl, which reaches the controller by the line.
func (d *downloads) start(t *testing.T, ctx context.Context, c *stack.Client, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(ctx, d.Program("devflowctl"), args...), done: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + d.dir}, c.Env()...)
	p.cmd.Env = append(p.cmd.Env, "DEVFLOW_URL="+d.line.url())
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the death signal follows the thread
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill(t) })
	return p
}

func (p *program) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-p.done
}

func (p *program) ends(t *testing.T, ctx context.Context, status int) {
	t.Helper()
	await(t, ctx, p.done)
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("devflowctl ended with status %d: %s", got, p.err.String())
	}
}

// said waits until the program has said a word.
func (p *program) said(t *testing.T, ctx context.Context, word string) {
	t.Helper()
	if err := stack.Within(ctx, 30*time.Second, "devflowctl says "+word, func(context.Context) (bool, error) {
		return strings.Contains(p.err.String(), word), nil
	}); err != nil {
		t.Errorf("%v; it says %s", err, p.err.String())
	}
}

// line is a connection to the controller that a test holds and cuts.
type line struct {
	l  net.Listener
	to string
	wg sync.WaitGroup

	mu      sync.Mutex
	limit   int64         // bytes that a connection passes on to the client before it is held; 0: all
	came    chan struct{} // one was held
	release chan struct{} // closed by cut
}

func newLine(to string) (*line, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &line{l: l, to: u.Host, came: make(chan struct{}, 64), release: make(chan struct{})}
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.pass(c) })
		}
	})
	return n, nil
}

func (n *line) url() string { return "https://" + n.l.Addr().String() }

// holdAfter holds each connection that has passed so many bytes on to its client, and says so.
func (n *line) holdAfter(bytes int64) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limit, n.came = bytes, make(chan struct{}, 64)
	return n.came
}

// cut ends what is held, and holds nothing more.
func (n *line) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limit = 0
	close(n.release)
	n.release = make(chan struct{})
}

func (n *line) close() {
	_ = n.l.Close()
	n.cut()
	n.wg.Wait()
}

func (n *line) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", n.to)
	if err != nil {
		return
	}
	defer server.Close()
	n.wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	b := make([]byte, 32<<10)
	for passed := int64(0); ; {
		k, err := server.Read(b)
		if _, werr := client.Write(b[:k]); err != nil || werr != nil {
			return
		}
		passed += int64(k)
		n.mu.Lock()
		hold, came, release := n.limit > 0 && passed >= n.limit, n.came, n.release
		n.mu.Unlock()
		if hold {
			came <- struct{}{}
			<-release
			_ = client.(*net.TCPConn).SetLinger(0)
			return
		}
	}
}
