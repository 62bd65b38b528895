package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/freeport"
	"devflowbackup/shared/testkit/s3kit"
)

// directory is where the quickstart keeps everything. One quickstart at a time has it.
type directory struct {
	path  string
	lock  *os.File
	state state
}

// state is what one run tells the next.
type state struct {
	// Complete says that the demo was set up to its end. A directory without it is begun anew.
	Complete bool
	// Ports are kept: the agent and the storage know them.
	Controller, NATS, S3, Postgres, MariaDB int
}

// fallback is used by root where the accounts of the database servers cannot reach the repository, in /root for example.
const fallback = "/var/lib/devflow-quickstart"

func openDirectory(path string) (*directory, error) {
	if path == "" {
		root, err := s3kit.Root()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(root, ".devflow", "quickstart")
		if closed, err := closedParent(path); err != nil {
			return nil, err
		} else if closed != "" {
			fmt.Fprintf(os.Stderr, "%s is closed to other users, and database servers do not run as root: using %s\n", closed, fallback)
			path = fallback
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	d := &directory{path: path}
	if d.lock, err = os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another quickstart: stop that one first (Ctrl-C in its terminal)", path), d.lock.Close())
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// closedParent is the first directory on the way to path that only its owner may pass, if we are root.
func closedParent(path string) (string, error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	for p := filepath.Dir(path); ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("open directory: %w", err)
		}
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			return p, nil
		}
		if p == filepath.Dir(p) {
			return "", nil
		}
	}
}

func (d *directory) stateFile() string { return filepath.Join(d.path, "state.json") }

// load reads what the last run left. After one that did not set everything up, the directory is emptied.
func (d *directory) load() error {
	b, err := os.ReadFile(d.stateFile())
	if err == nil {
		err = json.Unmarshal(b, &d.state)
	}
	// One that was set up by an older quickstart lacks what that did not have, and is begun anew too.
	if err == nil && d.state.Complete && d.state.MariaDB != 0 {
		for _, port := range []int{d.state.Controller, d.state.NATS, d.state.S3, d.state.Postgres, d.state.MariaDB} {
			if err := awaitPort(port); err != nil {
				return fmt.Errorf("%w: stop it, or remove %s to begin anew on other ports", err, d.path)
			}
		}
		return nil
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	if err := d.clear(entries); err != nil {
		return err
	}
	d.state = state{}
	for port, preferred := range map[*int]int{&d.state.Controller: 18443, &d.state.NATS: 14222, &d.state.S3: 19000, &d.state.Postgres: 15432, &d.state.MariaDB: 13306} {
		if *port, err = freeport.Pick(preferred); err != nil {
			return err
		}
	}
	return nil
}

// clear removes what an unfinished run left. It touches nothing in a directory that no quickstart has made.
func (d *directory) clear(entries []os.DirEntry) error {
	if err := awaitEnd(d.path); err != nil {
		return err
	}
	ours := filepath.Join(d.path, "quickstart")
	if _, err := os.Stat(ours); errors.Is(err, os.ErrNotExist) && len(entries) > 1 {
		return fmt.Errorf("%s is not empty and was not made by the quickstart: name another directory in DEVFLOW_QUICKSTART_DIR", d.path)
	}
	for _, e := range entries {
		if e.Name() == "lock" || e.Name() == "quickstart" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.path, e.Name())); err != nil {
			return fmt.Errorf("clear directory: %w", err)
		}
	}
	return stack.WriteFile(ours, "This directory belongs to `make quickstart`. It may be removed at any time while that does not run.\n", 0o644)
}

func (d *directory) save() error {
	b, err := json.MarshalIndent(d.state, "", "  ")
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return stack.WriteFile(d.stateFile(), string(b)+"\n", 0o644)
}

// shown is the directory as people would type it from where they are.
func (d *directory) shown() string { return shorten(d.path) }

func shorten(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func (d *directory) close() { _ = d.lock.Close() }
