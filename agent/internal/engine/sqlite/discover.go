package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Server is the SQLite library in this agent. Its identity is the machine's and the instance's.
func (e *Engine) Server(context.Context) (engine.ServerInfo, error) {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(bytes.TrimSpace(machine)) == 0 {
		name, err := os.Hostname()
		if err != nil {
			return engine.ServerInfo{}, wire.Failf(wire.CodeToolFailed, "identify this machine: %w", err)
		}
		machine = []byte(name)
	}
	h := sha256.New()
	for _, part := range []string{"devflow sqlite", string(bytes.TrimSpace(machine)), e.cfg.Name} {
		h.Write([]byte(part + "\x00"))
	}
	return engine.ServerInfo{Engine: wire.EngineSQLite, Version: toolVersion, Identity: hex.EncodeToString(h.Sum(nil)[:16])}, nil
}

// Discover looks for databases at the configured paths: files that start as one, and empty files that are named as one.
func (e *Engine) Discover(ctx context.Context) ([]wire.Database, error) {
	found := map[string]wire.Database{}
	err := e.files(ctx, func(d *directory, name string, st unix.Stat_t) error {
		path := filepath.Join(d.path, name)
		if !possible(path) || !e.included(path) || !d.looksLikeDatabase(name, st.Size) {
			return nil
		}
		size := st.Size
		if wal, err := d.stat(name + walSuffix); err == nil && regular(&wal) {
			size += wal.Size
		}
		found[path] = wire.Database{Instance: e.cfg.Name, Engine: wire.EngineSQLite, Name: path, SizeBytes: size, ServerVersion: toolVersion}
		return nil
	})
	if errors.Is(err, errTooMany) {
		e.log.Warn("not all of the paths were searched: name the directories of the databases more closely", "at_most", maxFiles)
		err = nil
	}
	if err != nil {
		return nil, failure(ctx, err, "look for databases")
	}
	out := make([]wire.Database, 0, len(found))
	for _, d := range found {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b wire.Database) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// looksLikeDatabase reads the start of a regular file.
func (d *directory) looksLikeDatabase(name string, size int64) bool {
	for _, suffix := range sideSuffixes {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	if size == 0 {
		return slices.Contains([]string{".db", ".sqlite", ".sqlite3"}, filepath.Ext(name))
	}
	s, err := d.open(name)
	if err != nil {
		return false
	}
	defer s.close()
	done, ok := tryTurn(s.id())
	if !ok {
		return true // it is being backed up
	}
	defer done()
	f, err := s.read()
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(magic))
	_, err = f.ReadAt(b, 0)
	return err == nil && bytes.Equal(b, magic)
}
