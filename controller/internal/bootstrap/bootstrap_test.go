package bootstrap_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/bootstrap"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/wire"
)

const token = "dfe_secret_0123456789abcdef"

func newBootstrap(t *testing.T, opt bootstrap.Options) *bootstrap.Bootstrap {
	t.Helper()
	if opt.URL == "" {
		opt.URL = "https://backup.example.com:8443/"
	}
	if opt.CA == nil {
		opt.CA = newCA(t).CertPEM()
	}
	b, err := bootstrap.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newCA(t *testing.T) *keys.CA {
	t.Helper()
	ca, err := keys.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Every shell reads the command and the script as it is meant.
func TestSyntax(t *testing.T) {
	b := newBootstrap(t, bootstrap.Options{URL: "https://backup.example.com/it's", Link: "https://mirror/p q", Version: "1 'x' $(false)"})
	line, err := b.Command(token, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"script": string(b.Script()), "line": line} {
		for _, shell := range []string{"dash", "bash"} {
			cmd := exec.CommandContext(t.Context(), shell, "-n")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v: %s", name, shell, err, out)
			}
		}
		if strings.Contains(text, "'@") {
			t.Errorf("%s: something was not put in", name)
		}
	}
	// What was put in is text, whatever is in it.
	cmd := exec.CommandContext(t.Context(), "dash", "-c", strings.Replace(string(b.Script()), `{ main "$@"; exit; }`, `printf '%s|%s|%s' "$URL" "$LINK" "$VERSION"`, 1))
	if out, err := cmd.Output(); err != nil || string(out) != "https://backup.example.com/it%27s|https://mirror/p q|1 'x' $(false)" && string(out) != "https://backup.example.com/it's|https://mirror/p q|1 'x' $(false)" {
		t.Errorf("%q, %v", out, err)
	}
}

// A script that was cut anywhere does nothing at all.
func TestScript_Cut(t *testing.T) {
	script := bytes.TrimRight(newBootstrap(t, bootstrap.Options{}).Script(), "\n")
	cuts := []int{}
	for i := range script {
		if i > len(script)-40 || script[i] == '\n' && i%7 == 0 {
			cuts = append(cuts, i)
		}
	}
	for _, n := range cuts {
		// The first thing that the script does is to look at who runs it.
		cmd := exec.CommandContext(t.Context(), "dash", "-s", "no-such-argument")
		cmd.Env, cmd.Stdin = []string{"PATH=/nowhere"}, bytes.NewReader(script[:n])
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		_ = cmd.Run() // of half a text: an error, or nothing
		if out.Len() != 0 || strings.Contains(errOut.String(), "usage") || strings.Contains(errOut.String(), "install.sh:") {
			t.Errorf("cut at byte %d of %d: %s%s", n, len(script), out.String(), errOut.String())
		}
	}
	cmd := exec.CommandContext(t.Context(), "dash", "-s", "no-such-argument")
	cmd.Stdin = bytes.NewReader(script)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "usage") {
		t.Errorf("the whole script: %s, %v", out, err)
	}
}

// How the line trusts the controller follows from the certificate that hosts see.
func TestCommand(t *testing.T) {
	own, other := newCA(t), newCA(t)
	pair, err := other.IssueServer(time.Now(), []string{"backup.example.com"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := other.IssueServer(time.Now(), []string{"elsewhere.example.com"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	given := func(c *tls.Certificate) func() *tls.Certificate { return func() *tls.Certificate { return c } }
	const connect = "--connect-to '::backup.example.com:8443'"
	for name, tc := range map[string]struct {
		opt     bootstrap.Options
		has     []string
		hasNot  []string
		connect string
	}{
		"own":     {bootstrap.Options{}, []string{"u='https://backup.example.com:8443'", "-ko ca $u/ca.pem", "--cacert ca"}, []string{"connect-to"}, ""},
		"trusted": {bootstrap.Options{Given: given(&pair), Roots: other.Pool()}, []string{"-o i 'https://backup.example.com:8443/install.sh'"}, []string{"-k", "--cacert", "connect-to"}, "::backup.example.com:8443"},
		"of an authority that is not trusted": {bootstrap.Options{Given: given(&pair), Roots: x509.NewCertPool()}, []string{
			"u='https://" + wire.ControllerName + ":8443'", "-m 60 " + connect + " -ko ca", connect + " --cacert ca",
		}, nil, "::backup.example.com:8443"},
		"for another name": {bootstrap.Options{Given: given(&elsewhere), Roots: other.Pool()}, []string{"--cacert ca", "u='https://backup.example.com:8443'"}, []string{"connect-to"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.opt.CA = own.CertPEM()
			b := newBootstrap(t, tc.opt)
			line, err := b.Command(token, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.has {
				if !strings.Contains(line, want) {
					t.Errorf("%q is not in %s", want, line)
				}
			}
			for _, not := range tc.hasNot {
				if strings.Contains(line, not) {
					t.Errorf("%q is in %s", not, line)
				}
			}
			if strings.Contains(line, "-k") && !strings.Contains(line, "echo '"+b.Fingerprint()+"  ca' | sha256sum -c") {
				t.Errorf("what comes with -k is not compared: %s", line)
			}
			if strings.Contains(line, "--grant") || strings.Contains(line, "\n") || len(line) > 700 {
				t.Errorf("%d bytes: %s", len(line), line)
			}
			if !strings.Contains(string(b.Script()), "CONNECT='"+tc.connect+"'") {
				t.Error("the script asks another way")
			}
		})
	}
	b := newBootstrap(t, bootstrap.Options{URL: "https://[::]:8443"})
	if _, err := b.Command(token, false); controller.ErrorCode(err) != controller.EConflict {
		t.Errorf("an address that no host can use: %v", err)
	}
	if _, err := newBootstrap(t, bootstrap.Options{}).Command("dfe_x; rm -rf /", false); err == nil {
		t.Error("a token with a command in it was taken")
	}
}

// Only what SHA256SUMS names comes out of the directory, and nothing from elsewhere.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	b := newBootstrap(t, bootstrap.Options{Dir: filepath.Join(dir, "packages")})
	if _, err := b.Sums(); controller.ErrorCode(err) != controller.ENotFound {
		t.Errorf("no directory: %v", err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "packages"), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("0a", 32)
	write("secret", "secret")
	write("packages/good_1.0~1+x_amd64.deb", "package")
	write("packages/unlisted.deb", "x")
	if err := os.Symlink("../secret", filepath.Join(dir, "packages", "link.deb")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "packages", "sub.deb"), 0o755); err != nil {
		t.Fatal(err)
	}
	lines := ""
	for _, name := range []string{"good_1.0~1+x_amd64.deb", "link.deb", "sub.deb", "missing.deb", "../secret", "/etc/passwd", ".hidden", "a b", "$(x)", "packages/good_1.0~1+x_amd64.deb"} {
		lines += sum + "  " + name + "\n"
	}
	write("packages/SHA256SUMS", lines+"no sum at all\n")

	f, got, _, err := b.Open("good_1.0~1+x_amd64.deb")
	if err != nil || got != sum {
		t.Fatalf("%q, %v", got, err)
	}
	defer func() { _ = f.Close() }()
	if text, err := io.ReadAll(f); err != nil || string(text) != "package" {
		t.Errorf("%q, %v", text, err)
	}
	for _, name := range []string{"unlisted.deb", "link.deb", "sub.deb", "missing.deb", "../secret", "/etc/passwd", ".hidden", "SHA256SUMS", "", ".", "a b"} {
		if _, _, _, err := b.Open(name); controller.ErrorCode(err) != controller.ENotFound {
			t.Errorf("%q: %v", name, err)
		}
	}
	sums, err := b.Sums()
	if want := []string{"good_1.0~1+x_amd64.deb", "link.deb", "sub.deb", "missing.deb"}; err != nil || strings.Count(string(sums), "\n") != len(want) || strings.Contains(string(sums), "secret") {
		t.Errorf("%s, %v", sums, err)
	}
}
