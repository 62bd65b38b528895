package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"devflowbackup/shared/artifact"
)

// recoverByHand does what is left to do when nothing of DevFlow Backup is at hand but a copy of the project's keys.
func (d *demo) recoverByHand(ctx context.Context) (err error) {
	d.story.chapter("Recover each by public tools alone: the stored file, a copy of the project's keys, no controller and no agent")
	work := filepath.Join(d.dir.path, "recovery")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("recover by hand: %w", err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return fmt.Errorf("recover by hand: %w", err)
	}
	// Keys and files are only needed for a moment.
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	keys := filepath.Join(work, "keys.txt")
	if err := d.do(ctx, only(), "project", "key", project, "-o", keys); err != nil {
		return err
	}
	d.story.command("cd", work)
	return d.each(ctx, func(ctx context.Context, st *story, t *trip) error {
		st.wd = work
		return d.recover(ctx, st, t, work, keys)
	})
}

func (d *demo) recover(ctx context.Context, st *story, t *trip, work, keys string) error {
	began := time.Now()
	file := filepath.Join(work, t.backup.FileName)
	sum, length, err := d.stored(ctx, t, file)
	if err != nil {
		return err
	}
	if sum != t.backup.Checksum || length != t.backup.FileSize {
		return fmt.Errorf("%s has SHA-256 %s and %d bytes, the catalog says %s and %d", file, sum, length, t.backup.Checksum, t.backup.FileSize)
	}
	st.note("%s, SHA-256 as in the catalog: %s", map[string]string{diskS3: "Taken from the bucket", diskLocal: "Taken from the host"}[t.disk], t.backup.FileName)

	commands, shown, err := d.opened(ctx, st, t, file, keys)
	if err != nil {
		return err
	}
	load, loadShown, to, err := d.loader(ctx, st, t)
	if err != nil {
		return err
	}
	if load != nil {
		commands, shown = append(commands, load), append(shown, loadShown)
	}
	target := ""
	if to != os.DevNull {
		target = to
	}
	st.pipe(target, shown...)
	if err := d.pipeline(ctx, to, commands...); err != nil {
		return err
	}
	if t.server == d.sqlite {
		const check = "PRAGMA integrity_check"
		st.command("sqlite3", t.recovered(), check)
		said, err := t.server.Exec(ctx, t.recovered(), check+";")
		if err == nil && said != "ok" {
			err = errors.New(said)
		}
		if err != nil {
			return fmt.Errorf("check %s: %w", t.recovered(), err)
		}
	}
	if err := d.compare(ctx, st, t, t.recovered()); err != nil {
		return err
	}
	t.took.byHand = time.Since(began)
	return nil
}

// opened are the commands that give the dump, and how they are shown: without the keys.
func (d *demo) opened(ctx context.Context, st *story, t *trip, file, keys string) (commands, shown [][]string, err error) {
	expand := map[string][]string{"zstd": {"zstd", "-d", "-q", "-c"}, "gzip": {"gunzip", "-c"}}[t.compression]
	switch t.encryption {
	case artifact.Age:
		commands = [][]string{{"age", "-d", "-i", keys, file}}
		shown = commands
	case artifact.AES256CBC:
		if commands, err = d.openSSL(ctx, st, t, file, keys); err != nil {
			return nil, nil, err
		}
		hidden := append([]string{}, commands[1]...)
		hidden[5], hidden[7] = "$KEY", "$IV"
		shown = [][]string{commands[0], hidden}
	default:
		if expand == nil {
			expand = []string{"cat"}
		}
		commands = [][]string{append(expand, file)}
		return commands, commands, nil
	}
	if expand != nil {
		commands, shown = append(commands[:len(commands):len(commands)], expand), append(shown, expand)
	}
	return commands, shown, nil
}

// openSSL derives the keys of a file without asking the controller, has openssl check the file, and returns how it decrypts it.
func (d *demo) openSSL(ctx context.Context, st *story, t *trip, file, keys string) ([][]string, error) {
	manifest := artifact.ManifestKey(t.backup.FilePath)
	var err error
	if t.disk == diskS3 {
		_, _, err = d.s3.Download(ctx, manifest, artifact.ManifestKey(file))
	} else {
		_, _, err = copyFile(filepath.Join(d.agent.LocalDir, manifest), artifact.ManifestKey(file))
	}
	if err != nil {
		return nil, err
	}
	var derived struct {
		CipherKey string `json:"cipher_key"`
		Check     string `json:"check_command"`
	}
	if _, err := d.read(ctx, st, &derived, "key", "derive", file, "--app-key-file", keys); err != nil {
		return nil, err
	}
	check := exec.CommandContext(ctx, "sh", "-ec", derived.Check)
	check.Env = []string{"PATH=" + os.Getenv("PATH")}
	if out, err := check.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("check the MAC of %s: %w: %s", file, err, out)
	}
	st.note("the MAC of the file, by openssl dgst, is the manifest's: nobody changed it")
	iv, err := firstBytes(file, 16)
	if err != nil {
		return nil, err
	}
	return [][]string{{"tail", "-c", "+17", file}, {"openssl", "enc", "-d", "-aes-256-cbc", "-K", derived.CipherKey, "-iv", iv}}, nil
}

// loader makes the copy's database and returns the command that fills it from a dump, how it is shown, and the file for what it
// prints. A dump of SQLite is the database, and needs none.
func (d *demo) loader(ctx context.Context, st *story, t *trip) (command, shown []string, to string, err error) {
	switch t.server {
	case d.sqlite:
		return nil, nil, t.recovered(), nil
	case d.maria:
		command, _ = d.reader(t.server, t.recovered())
		shown = []string{command[0], "--defaults-file=" + st.shorten(d.maria.OptionFile()), "--", t.recovered()}
	default:
		pgRestore := append([]string{"pg_restore", "--no-owner", "--no-privileges", "--exit-on-error"}, d.connection(t.recovered())...)
		shown = append([]string{"PGPASSFILE=" + st.shorten(d.postgres.Passfile())}, pgRestore...)
		command = append([]string{filepath.Join(d.postgres.Bin().Dir, pgRestore[0])}, pgRestore[1:]...)
	}
	return command, shown, os.DevNull, t.server.Create(ctx, t.recovered())
}

// copyFile copies a file and returns the SHA-256 and the size of what it read.
func copyFile(from, to string) (string, int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", 0, fmt.Errorf("copy: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("copy: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), in)
	if err := errors.Join(err, out.Close()); err != nil {
		return "", 0, fmt.Errorf("copy %s: %w", from, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), n, nil
}

// firstBytes are the first n bytes of a file, in hexadecimal.
func firstBytes(file string, n int) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the IV: %w", err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(f, b); err != nil {
		return "", fmt.Errorf("read the IV of %s: %w", file, err)
	}
	return hex.EncodeToString(b), nil
}

// pipeline runs programs side by side, each one's output the next one's input; what the last one prints goes to the file. All must
// end with status 0.
func (d *demo) pipeline(ctx context.Context, to string, commands ...[]string) error {
	last, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("recover by hand: %w", err)
	}
	defer last.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var input *os.File
	results := make(chan error, len(commands))
	for i, c := range commands {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGPASSFILE=" + d.postgres.Passfile(), "HOME=" + d.dir.path}
		cmd.Dir = d.dir.path
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if input != nil {
			cmd.Stdin = input
		}
		cmd.Stdout = last
		var output *os.File
		mine := input
		if i < len(commands)-1 {
			r, w, err := os.Pipe()
			if err != nil {
				cancel()
				return fmt.Errorf("recover by hand: %w", err)
			}
			cmd.Stdout, output, input = w, w, r
		}
		go func() {
			// The death signal follows the thread that forked.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Start()
			// The children have their own copies; ours would hide the end of the stream.
			for _, f := range []*os.File{mine, output} {
				if f != nil {
					_ = f.Close()
				}
			}
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				err = fmt.Errorf("recover by hand: %s: %w: %s", filepath.Base(c[0]), err, strings.TrimSpace(stderr.String()))
			}
			results <- err
		}()
	}
	var errs []error
	for range commands {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}
