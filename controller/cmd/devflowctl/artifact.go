package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

func (c *ctl) artifactCommand() *cobra.Command {
	return c.group("artifact", "Open artifacts offline, without a controller", c.artifactInspect(), c.artifactDecrypt())
}

const manifestSuffix = ".manifest.json"

// description is what a manifest says of one file, and what was found out about it.
type description struct {
	File         string              `json:"file"`
	Size         int64               `json:"size"`
	SHA256       string              `json:"sha256"`
	Manifest     string              `json:"manifest"` // its file; empty if there is none
	Object       string              `json:"object,omitempty"`
	Statement    *artifact.Statement `json:"statement,omitempty"`
	Facts        *artifact.Facts     `json:"facts,omitempty"`
	SizeOK       *bool               `json:"size_ok"`
	SHA256OK     *bool               `json:"sha256_ok"`
	AgentSigned  *bool               `json:"agent_signature_ok"`
	Countersign  *bool               `json:"controller_signature_ok"` // null: no key was given
	ControllerID string              `json:"controller_key_id,omitempty"`

	problems []string
}

func (c *ctl) artifactInspect() *cobra.Command {
	var manifest, key string
	cmd := &cobra.Command{
		Use: "inspect FILE", Short: "Say what a file is, and hold it against its manifest",
		Long: `Say what a file is, and hold it against its manifest. Works offline; needs no key. Fails if anything does not hold.

The manifest lies beside the artifact in the bucket, with .manifest.json at the end of its name. The server's signature is checked with the
key that the manifest names; the controller's, over that, with a key that you give: ` + "`devflowctl version --output json`" + ` prints it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := inspect(cmd.Context(), args[0], manifest, key)
			if err != nil {
				return err
			}
			if err := c.show(d, d.table); err != nil {
				return err
			}
			if len(d.problems) > 0 {
				return errors.New(strings.Join(d.problems, "; "))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&manifest, "manifest", "", "the manifest's file (default FILE.manifest.json if it is there)")
	cmd.Flags().StringVar(&key, "controller-key", "", "public key of the controller, base64")
	return cmd
}

func inspect(ctx context.Context, file, manifestFile, controllerKey string) (*description, error) {
	var pub ed25519.PublicKey
	if controllerKey != "" {
		b, err := base64.StdEncoding.DecodeString(controllerKey)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return nil, usagef("--controller-key is not an Ed25519 public key in base64")
		}
		pub = b
	}
	d := &description{File: file}
	m, err := d.load(manifestFile)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if d.Size, err = io.Copy(h, &cancelReader{ctx, f}); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	d.SHA256 = fmt.Sprintf("%x", h.Sum(nil))
	if m != nil {
		if err := d.check(*m, pub); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// load reads the manifest that was named, or the one beside the file. Without one there is nothing to hold the file against.
func (d *description) load(name string) (*artifact.Manifest, error) {
	candidates := []string{name}
	if name == "" {
		candidates = []string{d.File + manifestSuffix}
		for _, side := range []string{".fingerprint.json", ".globals.sql"} {
			if i := strings.LastIndex(d.File, side); i > 0 {
				candidates = append(candidates, d.File[:i]+manifestSuffix)
			}
		}
	}
	for _, candidate := range candidates {
		text, err := readBounded(candidate, artifact.MaxManifestSize)
		if errors.Is(err, fs.ErrNotExist) && name == "" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		m, err := artifact.ParseManifest(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", candidate, err)
		}
		d.Manifest = candidate
		return &m, nil
	}
	return nil, nil
}

func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// check holds the file against its manifest. A signature that does not hold is found, not an error; a text that cannot be read is one.
func (d *description) check(m artifact.Manifest, pub ed25519.PublicKey) error {
	var facts artifact.Facts
	if err := json.Unmarshal(m.Facts, &facts); err != nil {
		return fmt.Errorf("%s: read facts: %w", d.Manifest, err)
	}
	d.ControllerID = m.KeyID
	d.Facts = &facts

	st, err := m.Signed.Verify(facts.Server.SigningKey)
	var forged *artifact.SignatureError
	switch {
	case errors.As(err, &forged):
		d.AgentSigned = d.found(false, "the server's signature does not hold")
		// What it says is still shown, as what it claims.
		if err := json.Unmarshal(m.Signed.Statement, &st); err != nil {
			return fmt.Errorf("%s: read statement: %w", d.Manifest, err)
		}
	case err != nil:
		return fmt.Errorf("%s: %w", d.Manifest, err)
	default:
		d.AgentSigned = d.found(true, "")
	}
	d.Statement = &st
	if pub != nil {
		_, _, err := m.Verify("", artifact.RecordedAgentKey, func(id string) (ed25519.PublicKey, error) {
			if id != wire.KeyID(pub) {
				return nil, fmt.Errorf("the manifest is signed by the controller's key %s, the one given is %s", id, wire.KeyID(pub))
			}
			return pub, nil
		})
		if err != nil {
			d.Countersign = d.found(false, err.Error())
		} else {
			d.Countersign = d.found(true, "")
		}
	}
	want := d.expected(st)
	d.SizeOK = d.found(d.Size == want.StoredSize, fmt.Sprintf("the file has %d bytes, the manifest says %d", d.Size, want.StoredSize))
	d.SHA256OK = d.found(d.SHA256 == want.StoredSHA256.String(), "the file's SHA-256 is not the manifest's")
	return nil
}

func (d *description) found(ok bool, otherwise string) *bool {
	if !ok {
		d.problems = append(d.problems, otherwise)
	}
	return &ok
}

// expected are the sums of the object that the file is by its name; of the artifact if the name says nothing.
func (d *description) expected(st artifact.Statement) artifact.Sums {
	name := filepath.Base(d.File)
	switch {
	case st.Fingerprint != nil && name == path.Base(artifact.FingerprintKey(st.Key, st.Codec)):
		d.Object = wire.ObjectFingerprint
		return *st.Fingerprint
	case st.Globals != nil && name == path.Base(artifact.GlobalsKey(st.Key, st.Codec)):
		d.Object = wire.ObjectGlobals
		return *st.Globals
	}
	d.Object = wire.ObjectArtifact
	return st.Sums
}

func mark(ok *bool) string {
	switch {
	case ok == nil:
		return "not checked"
	case *ok:
		return "ok"
	}
	return "DOES NOT HOLD"
}

func (d *description) table(t *rows) {
	t.fact("file", d.File)
	t.fact("size", fmt.Sprintf("%d (%s)", d.Size, size(d.Size)))
	t.fact("sha-256", d.SHA256)
	if d.Manifest == "" {
		comp, enc := codecOfName(d.File)
		t.fact("codecs by name", comp+", "+enc)
		t.note("There is no manifest to hold it against: give one by --manifest.")
		return
	}
	t.fact("manifest", d.Manifest)
	t.fact("  size", mark(d.SizeOK))
	t.fact("  checksum", mark(d.SHA256OK))
	t.fact("  server's signature", mark(d.AgentSigned))
	countersigned := mark(d.Countersign)
	if d.Countersign == nil {
		countersigned += "; give --controller-key, id " + d.ControllerID
	}
	t.fact("  controller's signature", countersigned)
	if st := d.Statement; st != nil {
		t.fact("object", d.Object)
		t.fact("database", st.Database+" ("+st.Engine+" "+st.ServerVersion+")")
		t.fact("made by", strings.TrimSpace(st.Tool+" "+st.ToolVersion))
		t.fact("codecs", fmt.Sprintf("%s (level %d), %s", st.Codec.Compression, st.Codec.Level, st.Codec.Encryption))
		t.fact("recipients", strings.Join(st.Codec.Recipients, ", "))
		t.fact("raw size", fmt.Sprintf("%d (%s)", st.RawSize, size(st.RawSize)))
		t.fact("raw sha-256", st.RawSHA256.String())
		t.fact("tables", number(st.Metadata.Tables))
		t.fact("started", stamp(&st.StartedAt))
		t.fact("finished", stamp(&st.FinishedAt))
	}
	if f := d.Facts; f != nil {
		t.fact("backup", fmt.Sprintf("%d, %s", f.BackupID, f.Type))
		t.fact("project", f.Project.Slug)
		t.fact("server", f.Server.Name)
		t.fact("received", stamp(&f.ReceivedAt))
	}
}

func (c *ctl) artifactDecrypt() *cobra.Command {
	var manifest, output, identity, appKey string
	var force bool
	cmd := &cobra.Command{
		Use: "decrypt FILE -o OUT", Short: "Take encryption and compression off a file",
		Long: `Take encryption and compression off a file. Works offline.

With its manifest at hand (FILE.manifest.json, or --manifest) sizes and checksums are proven as well. OUT appears only when everything has
proven itself; before that there is nothing at that name.

The key is the project's, as ` + "`devflowctl project key PROJECT -o FILE`" + ` writes it: for age the age key or an escrow key, by --identity-file; for
aes-256-cbc the app key, by --app-key-file or --identity-file. aes-256-cbc needs the manifest: its MAC is checked before a byte is decrypted.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" || output == "-" {
				return usagef("where to? Give a file by -o; standard output cannot be taken back when the end does not hold")
			}
			res, err := decrypt(cmd.Context(), args[0], manifest, output, cmp.Or(appKey, identity), identity, force)
			if err != nil {
				return err
			}
			return c.show(res, func(t *rows) {
				t.fact("out", res.Out)
				t.fact("raw size", fmt.Sprintf("%d (%s)", res.Sums.RawSize, size(res.Sums.RawSize)))
				t.fact("raw sha-256", res.Sums.RawSHA256.String())
				t.fact("stored sha-256", res.Sums.StoredSHA256.String())
				proven := "the formats' own checks; there was no manifest"
				if res.Manifest != "" {
					proven = "sizes and checksums of " + res.Manifest
				}
				t.fact("proven", proven)
			})
		},
	}
	f := cmd.Flags()
	c.outFlag(cmd, &output, "", "file to write")
	f.StringVar(&identity, "identity-file", "", "file with the project's keys, or an escrow key")
	f.StringVar(&appKey, "app-key-file", "", "file with the app key, for aes-256-cbc")
	f.StringVar(&manifest, "manifest", "", "the manifest's file (default FILE.manifest.json if it is there)")
	f.BoolVar(&force, "force", false, "replace OUT if it is there")
	return cmd
}

// decrypted is what decrypt proved.
type decrypted struct {
	Out      string        `json:"out"`
	Manifest string        `json:"manifest"`
	Sums     artifact.Sums `json:"sums"`
}

func decrypt(ctx context.Context, file, manifestFile, out, appKeyFile, identityFile string, force bool) (*decrypted, error) {
	if _, err := os.Lstat(out); err == nil && !force {
		return nil, fmt.Errorf("%s is there already (--force replaces it)", out)
	}
	d := &description{File: file}
	m, err := d.load(manifestFile)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	opt, attempt := artifact.ReadOptions{}, ""
	opt.Compression, opt.Encryption = codecOfName(file)
	if m != nil {
		st, err := stated(*m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Manifest, err)
		}
		sums := d.expected(st)
		opt.Compression, opt.Encryption, opt.Recipients = st.Codec.Compression, st.Codec.Encryption, st.Codec.Recipients
		opt.Expect, attempt = &sums, st.AttemptID
	}
	switch opt.Encryption {
	case artifact.AES256CBC:
		if m == nil {
			return nil, usagef("%s is encrypted with aes-256-cbc: give its manifest by --manifest, which has the MAC (or see `devflowctl key derive`)", file)
		}
		if appKeyFile == "" {
			return nil, usagef("%s is encrypted with aes-256-cbc: give the app key by --app-key-file (`devflowctl project key PROJECT -o FILE` writes it)", file)
		}
		if opt.AES, err = aesKeysOf(appKeyFile, attempt, d.Object); err != nil {
			return nil, err
		}
		if err := unchanged(ctx, f, *opt.Expect); err != nil {
			return nil, err
		}
	case artifact.Age:
		if identityFile == "" {
			return nil, usagef("%s is encrypted with age: give the project's key by --identity-file (`devflowctl project key PROJECT` prints it)", file)
		}
		key, err := identityFor(f, identityFile, opt.Recipients)
		if err != nil {
			return nil, err
		}
		if opt.Identity, err = artifact.ParseIdentity(key.Reveal()); err != nil {
			return nil, err
		}
	}
	r, err := artifact.NewReader(&cancelReader{ctx, bufio.NewReaderSize(f, 1<<20)}, opt)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := writeProven(out, r); err != nil {
		return nil, err
	}
	return &decrypted{Out: out, Manifest: d.Manifest, Sums: r.Sums()}, nil
}

func codecOfName(file string) (compression, encryption string) {
	c := artifact.CodecOf(filepath.Base(file))
	return c.Compression, c.Encryption
}

func aesKeysOf(appKeyFile, attempt, object string) (*artifact.AESKeys, error) {
	text, err := appKeyOf(appKeyFile)
	if err != nil {
		return nil, err
	}
	raw, err := artifact.AppKeyBytes(text.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", appKeyFile, err)
	}
	keys, err := artifact.DeriveAESKeys(raw, attempt, object)
	if err != nil {
		return nil, err
	}
	return &keys, nil
}

// unchanged reads the whole file first: of one that was changed no byte is decrypted.
func unchanged(ctx context.Context, f *os.File, want artifact.Sums) error {
	h := sha256.New()
	n, err := io.Copy(h, &cancelReader{ctx, f})
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if artifact.Digest(h.Sum(nil)) != want.StoredSHA256 || n != want.StoredSize {
		return fmt.Errorf("%s is damaged: its SHA-256 is not the manifest's", f.Name())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}

// identityFor picks, from a file as age-keygen writes it, the key that opens this file.
func identityFor(f *os.File, identityFile string, recipients []string) (secret.String, error) {
	text, err := secret.LoadFile(identityFile)
	if err != nil {
		return "", err
	}
	header, err := artifact.ExtractHeader(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.Name(), err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read %s: %w", f.Name(), err)
	}
	tried := fmt.Errorf("%s holds no key: it should have a line that begins with AGE-SECRET-KEY-1", identityFile)
	lines := bufio.NewScanner(bytes.NewReader([]byte(text.Reveal())))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := artifact.OpenHeader(header, line, recipients...); err != nil {
			tried = fmt.Errorf("%s: %w", cmp.Or(identityFile, "key"), err)
			continue
		}
		return secret.String(line), nil
	}
	return "", tried
}

// writeProven copies src to a temporary file beside out and renames it once src has ended with io.EOF, which proves it whole.
// On any error nothing is left, and what was at out stays.
func writeProven(out string, src io.Reader) (err error) {
	dir := filepath.Dir(out)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(out)+".*.partial") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	// Errors of the source name themselves; only those of the destination are ours to name.
	if _, err := io.CopyBuffer(&namedWriter{tmp, out}, onlyReader{src}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	if err := os.Rename(tmp.Name(), out); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return nil
}

type onlyReader struct{ io.Reader }

type namedWriter struct {
	w   io.Writer
	out string
}

func (w *namedWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", w.out, err)
	}
	return n, nil
}

// cancelReader ends a long copy when its context does.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *cancelReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
