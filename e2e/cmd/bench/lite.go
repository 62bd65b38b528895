package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"devflowbackup/e2e/stack"
)

// lite is the directory of the SQLite database that is backed up. It stays between runs.
type lite struct {
	*stack.SQLite
}

// openLite makes the database if it is not there yet for this size.
func openLite(ctx context.Context, s *stack.Stack, say func(string, ...any), word string, mib int) (*lite, error) {
	dir, err := s.NewSQLite("lite")
	if err != nil {
		return nil, err
	}
	l := &lite{SQLite: dir}
	return l, keep(s.Dir, word+".sqlite", mib, say, func() error { return l.fill(ctx, s.Dir, l.Name(word), mib) })
}

func (l *lite) fill(ctx context.Context, dir, database string, mib int) error {
	if err := l.Drop(ctx, database); err != nil {
		return err
	}
	file := filepath.Join(dir, "bench.rows")
	defer os.Remove(file)
	p := newProse()
	for _, t := range tables {
		if err := t.writeRows(file, p, mib); err != nil {
			return err
		}
		sql := "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; CREATE TABLE " + t.name + " (" + t.columns + ");\n" +
			`.separator "\t" "\n"` + "\n.import '" + file + "' " + t.name + "\n"
		if _, err := l.Exec(ctx, database, sql); err != nil {
			return fmt.Errorf("fill table %s: %w", t.name, err)
		}
	}
	_, err := l.Exec(ctx, database, "PRAGMA synchronous = OFF;"+indexes+"ANALYZE; PRAGMA journal_mode = WAL;")
	return err
}

// sqlite compares whole backups of a SQLite database with what an operator would type: a consistent copy, compressed; and that with
// the integrity check, the encryption and the checksum of a backup.
func (b *bench) sqlite(ctx context.Context) (comparison, error) {
	database := b.lite.Name(b.liteName)
	info, err := os.Stat(database)
	if err != nil {
		return comparison{}, err
	}
	copied := filepath.Join(b.stack.Dir, "copied.sqlite")
	env, file, err := b.baseline([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/", "DATABASE=" + database, "COPY=" + copied})
	if err != nil {
		return comparison{}, err
	}
	defer os.Remove(file)
	defer os.Remove(copied)
	const vacuum = `rm -f "$COPY"; sqlite3 -batch -init /dev/null "$DATABASE" "VACUUM INTO '$COPY'"; `
	runners := []runner{
		typed(env, file, "VACUUM INTO; zstd -3 > file", vacuum+`zstd -q -3 -c "$COPY" > "$FILE"; rm "$COPY"`),
		typed(env, file, "VACUUM INTO; check; zstd -3 | age | sha256sum", vacuum+
			`test "$(sqlite3 -batch -init /dev/null "$COPY" "PRAGMA integrity_check")" = ok; cat "$COPY"`+toArtifact+`; rm "$COPY"`),
	}
	storages := []string{storageS3, storageLocal}
	var last job
	all, err := interleave(ctx, b.rounds, b.say, append(runners, b.backups(database, storages, &last)...)...)
	if err != nil {
		return comparison{}, err
	}
	c := comparison{
		ID: "sqlite backup", Title: "SQLite: a whole backup", Bytes: last.RawSize,
		Input:  fmt.Sprintf("database of %s in WAL mode, dump of %s, %s stored", mb(info.Size()), mb(last.RawSize), mb(last.FileSize)),
		Series: all,
	}
	for i, storage := range storages {
		ours, at := all[len(runners)+i], "to "+storage+": "
		c.Ratios = append(c.Ratios,
			most(at+"time, to VACUUM INTO and zstd", ours, all[0], 0),
			most(at+"time, to the same with check, age, sha256sum", ours, all[1], 0),
			cpu(at+"CPU, to the same with check, age, sha256sum", ours, all[1]),
		)
	}
	peak, err := b.agentPeak()
	c.Ratios = append(c.Ratios, peak)
	return c, err
}
