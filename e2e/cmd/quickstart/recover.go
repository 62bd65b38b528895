package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"devflowbackup/e2e/stack"
)

var ageIdentity = regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]+`)

// recoverByHand does what is left to do when nothing of DevFlow Backup is at hand but a copy of the project's key.
func (d *demo) recoverByHand(ctx context.Context) (err error) {
	d.story.chapter("Recover it without DevFlow Backup: the object, the project's key, age, zstd and pg_restore")
	work := filepath.Join(d.dir.path, "recovery")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("recover by hand: %w", err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return fmt.Errorf("recover by hand: %w", err)
	}
	// The key and the file are only needed for a moment.
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	key := filepath.Join(work, "key.txt")
	res, err := d.client.Do(ctx, "project", "key", project)
	if err != nil {
		return err
	}
	identity := ageIdentity.FindString(res.Out)
	if identity == "" {
		return errors.New("devflowctl project key printed no age identity")
	}
	if err := stack.WriteFile(key, identity+"\n", 0o600); err != nil {
		return err
	}
	d.story.say("   $ devflowctl project key %s > %s", project, shorten(key))

	began := time.Now()
	file := filepath.Join(work, d.backup.FileName)
	sum, length, err := d.s3.Download(ctx, d.backup.FilePath, file)
	if err != nil {
		return err
	}
	if sum != d.backup.Checksum || length != d.backup.FileSize {
		return fmt.Errorf("%s has SHA-256 %s and %d bytes, the catalog says %s and %d", file, sum, length, d.backup.Checksum, d.backup.FileSize)
	}
	d.story.note("%s, fetched from the S3 server, SHA-256 as in the catalog: %s…", size(length), sum[:16])

	if err := d.postgres.CreateDatabase(ctx, recovered, ""); err != nil {
		return err
	}
	pgRestore := append([]string{"pg_restore", "--no-owner", "--no-privileges", "--exit-on-error"}, d.connection(recovered)...)
	d.story.pipe([]string{"age", "-d", "-i", key, file}, []string{"zstd", "-d"}, append([]string{"PGPASSFILE=" + shorten(d.passfile())}, pgRestore...))
	pgRestore[0] = filepath.Join(d.postgres.Bin().Dir, "pg_restore")
	if err := d.pipeline(ctx, []string{"age", "-d", "-i", key, file}, []string{"zstd", "-d", "-q", "-c"}, pgRestore); err != nil {
		return err
	}
	return d.compare(ctx, "by hand", recovered, time.Since(began))
}

// pipeline runs programs side by side, each one's output the next one's input. All must end with status 0.
func (d *demo) pipeline(ctx context.Context, commands ...[]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var input *os.File
	results := make(chan error, len(commands))
	for i, c := range commands {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGPASSFILE=" + d.passfile(), "HOME=" + d.dir.path}
		cmd.Dir = d.dir.path
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if input != nil {
			cmd.Stdin = input
		}
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
