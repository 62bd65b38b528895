package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// appKeyLine begins the line of a project's key file that holds its app key. To age it is a comment.
const appKeyLine = "# app key: "

// keyFile holds both keys of a project as age reads it: everything but the age key is a comment.
func keyFile(k body.ProjectKey) string {
	text := fmt.Sprintf("# project: %s\n# public key: %s\n%s\n", clean(k.Project), clean(k.Recipient), k.Identity)
	if k.AppKey != "" {
		text += "# aes-256-cbc:\n" + appKeyLine + k.AppKey + "\n"
	}
	return text
}

// appKeyIn finds the app key in a project's key file, or takes the whole text for one.
func appKeyIn(text string) secret.String {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), appKeyLine); ok {
			return secret.String(strings.TrimSpace(rest))
		}
	}
	return secret.String(strings.TrimSpace(text))
}

// appKeyOf reads an app key from a file of mode 0600. No error shows anything of it.
func appKeyOf(file string) (secret.String, error) {
	text, err := secret.LoadFile(file)
	if err != nil {
		return "", err
	}
	key := appKeyIn(text.Reveal())
	if strings.Contains(key.Reveal(), "AGE-SECRET-KEY-1") {
		return "", fmt.Errorf("%s holds an age key and no app key", file)
	}
	if _, err := artifact.AppKeyBytes(key.Reveal()); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

func (c *ctl) keyCommand() *cobra.Command {
	return c.group("key", "Keys of single backups, offline", c.keyDerive())
}

// derived are the keys of one object of an aes-256-cbc backup, and how openssl opens it with them.
type derived struct {
	File      string   `json:"file"`
	AttemptID string   `json:"attempt_id"`
	Object    string   `json:"object"`
	CipherKey string   `json:"cipher_key"`
	MACKey    string   `json:"mac_key"`
	MAC       string   `json:"mac,omitempty"` // that the file has to have, from its manifest
	Check     string   `json:"check_command"`
	Decrypt   string   `json:"decrypt_command"`
	Notes     []string `json:"notes,omitempty"`

	sums *artifact.Sums
}

func (c *ctl) keyDerive() *cobra.Command {
	var appKeyFile, object string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "derive FILE", Short: "Derive the keys of an aes-256-cbc backup, and print how openssl opens it",
		Long: `Derive the keys of one object of an aes-256-cbc backup from its project's app key, and print the commands by which openssl and nothing else
checks and opens it. Works offline.

FILE is the stored file, its manifest, or only the file's name: the attempt id in it is what the keys are derived with. The app key comes from
a file of mode 0600 (also the one that ` + "`devflowctl project key PROJECT -o FILE`" + ` writes), or from standard input; never from the command line, which
others can see. For the same reason run what is printed where you are alone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if asJSON {
				c.output = outputJSON
			}
			d, codec, err := target(args[0], object)
			if err != nil {
				return err
			}
			key, err := c.appKey(appKeyFile)
			if err != nil {
				return err
			}
			raw, err := artifact.AppKeyBytes(key.Reveal())
			if err != nil {
				return usageError{err}
			}
			keys, err := artifact.DeriveAESKeys(raw, d.AttemptID, d.Object)
			if err != nil {
				return usageError{err}
			}
			if err := d.compare(keys); err != nil {
				return err
			}
			d.fill(keys, codec.Compression)
			return c.show(d, func(t *rows) {
				t.fact("file", d.File)
				t.fact("object", d.Object)
				t.fact("attempt id", d.AttemptID)
				t.fact("cipher key", d.CipherKey)
				t.fact("MAC key", d.MACKey)
				if d.MAC != "" {
					t.fact("MAC", d.MAC)
				}
				t.note("")
				t.note("# Check first that nobody changed it:")
				t.note("%s", d.Check)
				t.note("# Then decrypt:")
				t.note("%s", d.Decrypt)
				for _, n := range d.Notes {
					t.note("# %s", n)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&appKeyFile, "app-key-file", "", "file with the app key, or with a project's keys; standard input if absent")
	f.StringVar(&object, "object", "", "artifact, fingerprint or globals (default: as the file's name says)")
	f.BoolVar(&asJSON, "json", false, "the same as --output json")
	return cmd
}

// appKey reads the app key from the file, or from standard input.
func (c *ctl) appKey(file string) (secret.String, error) {
	if file != "" {
		key, err := appKeyOf(file)
		if err != nil {
			return "", usageError{err}
		}
		return key, nil
	}
	if f, ok := c.in.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return "", usagef("no app key: give a file with it by --app-key-file, or the key on standard input; typed here it would be seen")
	}
	text, err := io.ReadAll(io.LimitReader(c.in, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read the app key: %w", err)
	}
	key := appKeyIn(string(text))
	if key.Empty() {
		return "", usagef("no app key: give a file with it by --app-key-file, or the key on standard input")
	}
	return key, nil
}

var sideObjects = []struct{ object, mark string }{
	{wire.ObjectFingerprint, ".fingerprint.json"}, {wire.ObjectGlobals, ".globals.sql"},
}

// objectOf is the object that a file is by its name, and the name of the artifact that it belongs to.
func objectOf(name string) (object, of string) {
	for _, s := range sideObjects {
		if i := strings.LastIndex(name, s.mark); i > 0 {
			return s.object, name[:i]
		}
	}
	return wire.ObjectArtifact, name
}

// target finds out of which object of which attempt the argument is, from its name alone or from its manifest.
func target(arg, object string) (*derived, artifact.Codec, error) {
	switch object {
	case "", wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals:
	default:
		return nil, artifact.Codec{}, usagef("--object %q is not allowed; use artifact, fingerprint or globals", object)
	}
	name := arg
	var m *artifact.Manifest
	if rest, ok := strings.CutSuffix(arg, manifestSuffix); ok {
		text, err := readBounded(arg, artifact.MaxManifestSize)
		switch {
		case err == nil:
			parsed, err := artifact.ParseManifest(text)
			if err != nil {
				return nil, artifact.Codec{}, fmt.Errorf("%s: %w", arg, err)
			}
			m = &parsed
		case !errors.Is(err, fs.ErrNotExist):
			return nil, artifact.Codec{}, fmt.Errorf("read manifest: %w", err)
		}
		name = rest
	} else {
		var err error
		if m, err = (&description{File: arg}).load(""); err != nil {
			return nil, artifact.Codec{}, err
		}
	}
	given, base := objectOf(filepath.Base(name))
	codec := artifact.CodecOf(base)
	if object == "" {
		object = given
	}
	if object != given { // the name of another object of the same backup
		if object != wire.ObjectArtifact && given != wire.ObjectArtifact {
			return nil, codec, usagef("--object %s is not allowed: %s is the name of a %s", object, arg, given)
		}
		side := base
		for _, s := range sideObjects {
			if s.object == object {
				side = base + s.mark + codec.Suffix()
			}
		}
		name = filepath.Join(filepath.Dir(name), side)
	}
	d := &derived{File: name, Object: object}
	if m == nil {
		id, err := artifact.AttemptIDOf(base)
		if err != nil {
			return nil, codec, usagef("%w; give the file's own name or its manifest", err)
		}
		d.AttemptID = id
		if codec.Encryption != artifact.AES256CBC {
			return nil, codec, usagef("%s is not encrypted by %s: its name does not end in .enc", base, artifact.AES256CBC)
		}
		d.Notes = append(d.Notes, "Without its manifest the MAC that it has to have is not known here: it is the \"mac\" in the manifest.")
		return d, codec, nil
	}
	st, err := stated(*m)
	if err != nil {
		return nil, codec, err
	}
	if st.Codec.Encryption != artifact.AES256CBC {
		return nil, codec, usagef("%s is encrypted by %s: only %s has keys to derive", path.Base(st.Key), st.Codec.Encryption, artifact.AES256CBC)
	}
	sums := map[string]*artifact.Sums{wire.ObjectArtifact: &st.Sums, wire.ObjectFingerprint: st.Fingerprint, wire.ObjectGlobals: st.Globals}[object]
	if sums == nil {
		return nil, codec, usagef("--object %s is not allowed: by its manifest the backup has none", object)
	}
	d.AttemptID, d.MAC, d.sums = st.AttemptID, sums.MAC.String(), sums
	return d, st.Codec, nil
}

// stated is what a manifest's statement says, if the key that the manifest names has signed it.
func stated(m artifact.Manifest) (artifact.Statement, error) {
	var facts artifact.Facts
	if err := json.Unmarshal(m.Facts, &facts); err != nil {
		return artifact.Statement{}, fmt.Errorf("read the manifest's facts: %w", err)
	}
	st, err := m.Signed.Verify(facts.Server.SigningKey)
	if err != nil {
		return st, fmt.Errorf("%w (move the manifest away to go on without it)", err)
	}
	return st, nil
}

// expanders undo a compression, from standard input to standard output.
var expanders = map[string]string{artifact.Zstd: " | zstd -d", artifact.Gzip: " | gunzip", artifact.None: ""}

// fill writes the commands. They need a shell, coreutils, openssl and the tool of the compression.
func (d *derived) fill(keys artifact.AESKeys, compression string) {
	d.CipherKey, d.MACKey = hex.EncodeToString(keys.Cipher[:]), hex.EncodeToString(keys.MAC[:])
	file := shellQuote(d.File)
	mac := fmt.Sprintf("openssl dgst -sha256 -binary %s | openssl dgst -sha256 -mac HMAC -macopt hexkey:%s -r | cut -c1-64", file, d.MACKey)
	d.Check = mac
	if d.MAC != "" {
		d.Check = fmt.Sprintf(`[ "$(%s)" = %s ] && echo "the MAC holds" || { echo "THE MAC DOES NOT HOLD" >&2; false; }`, mac, d.MAC)
	}
	out := strings.TrimSuffix(d.File, artifact.Codec{Compression: compression, Encryption: artifact.AES256CBC}.Suffix())
	if out == d.File {
		out += ".out"
	}
	d.Decrypt = fmt.Sprintf(`tail -c +17 %s | openssl enc -d -aes-256-cbc -K %s -iv "$(head -c 16 %s | od -An -v -tx1 | tr -d ' \n')"%s > %s`,
		file, d.CipherKey, file, expanders[compression], shellQuote(out))
}

// compare holds the keys against the MAC of the manifest: an app key of another project is told at once.
func (d *derived) compare(keys artifact.AESKeys) error {
	if d.sums != nil && keys.Tag(d.sums.StoredSHA256) != d.sums.MAC {
		return fmt.Errorf("the app key does not open %s: by its manifest it is encrypted with another", d.File)
	}
	return nil
}

// shellQuote makes one word of s for any POSIX shell.
func shellQuote(s string) string {
	if strings.HasPrefix(s, "-") {
		s = "./" + s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
