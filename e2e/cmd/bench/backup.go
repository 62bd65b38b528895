package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"devflowbackup/shared/artifact"
)

// storageShown is what the report says of a backup to each storage.
var storageShown = map[string]string{
	storageS3:    "backup: API call to completed, age, to S3",
	storageLocal: "backup: API call to completed, age, to local",
}

// backup compares whole backups of one database, to each of the storages, with what an operator would type. All run on the
// same cores, which the product shares with its S3 server, its controller and its catalog.
func (b *bench) backup(ctx context.Context, s subject, storages []string) (comparison, error) {
	env, file, err := b.baseline(s.env)
	if err != nil {
		return comparison{}, err
	}
	defer os.Remove(file)
	size, err := s.size(ctx)
	if err != nil {
		return comparison{}, err
	}
	gzip := typed(env, file, s.shownText+" | gzip > file", s.text+` | gzip > "$FILE"`)
	gzip.cold, gzip.most = true, b.gzip
	runners := []runner{
		typed(env, file, s.shown+" > /dev/null", s.dump+` > /dev/null`),
		typed(env, file, s.shown+" | zstd -3 | age | sha256sum, to file", s.dump+toArtifact),
		gzip,
	}
	var last job
	runners = append(runners, b.backups(s.database, storages, &last)...)
	all, err := interleave(ctx, b.rounds, b.say, runners...)
	if err != nil {
		return comparison{}, err
	}
	c := comparison{
		ID: s.id + " backup", Title: s.title + ": a whole backup", Bytes: last.RawSize,
		Input:  fmt.Sprintf("database of %s, dump of %s, %s stored", mb(size), mb(last.RawSize), mb(last.FileSize)),
		Series: all,
	}
	for i, storage := range storages {
		ours, aim := all[3+i], s.aims[storage]
		c.Ratios = append(c.Ratios,
			most("to "+storage+": time, to "+s.shown+" > /dev/null", ours, all[0], 0),
			most("to "+storage+": time, to the shell pipeline", ours, all[1], aim.pipeline),
			cpu("to "+storage+": CPU, to the shell pipeline", ours, all[1]),
			least("to "+storage+": speed, to "+s.shownText+" | gzip", ours, all[2], aim.gzip),
		)
	}
	peak, err := b.agentPeak()
	c.Ratios = append(c.Ratios, peak)
	return c, err
}

// toArtifact is what stands behind a dump to make of it what the product stores.
const toArtifact = ` | zstd -q -3 | age -r "$RECIPIENT" | tee >(sha256sum > /dev/null) > "$FILE"`

// baseline adds to an environment a new recipient, and the file that the typed commands write.
func (b *bench) baseline(env []string) (more []string, file string, err error) {
	_, recipient, err := artifact.NewIdentity()
	if err != nil {
		return nil, "", err
	}
	file = filepath.Join(b.stack.Dir, "baseline")
	return append(env[:len(env):len(env)], "RECIPIENT="+recipient, "FILE="+file), file, nil
}

// typed is a runner of what an operator types, which leaves a file that is then removed.
func typed(env []string, file, name, text string) runner {
	return runner{name: name, run: func(ctx context.Context) (time.Duration, error) {
		took, err := shell(ctx, env, text)
		if rmErr := os.Remove(file); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
		return took, err
	}}
}

// backups are runners of the product, one for each storage. What was made last stays in last, and what is in S3 can be restored.
func (b *bench) backups(database string, storages []string, last *job) []runner {
	var out []runner
	for _, storage := range storages {
		out = append(out, runner{name: storageShown[storage], run: func(ctx context.Context) (took time.Duration, err error) {
			*last, took, err = b.product.backup(ctx, database, storage)
			if err == nil && storage == storageS3 {
				b.stored[database] = last.ID
			}
			return took, err
		}})
	}
	return out
}
