package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/artifact"
)

// pipeline compares the artifact's pipeline with the same steps done by the bare tools: one file, read from the
// page cache by both; what comes out is hashed and thrown away by both.
func (b *bench) pipeline(ctx context.Context) (comparison, error) {
	size, err := fileSize(b.dump)
	if err != nil {
		return comparison{}, err
	}
	_, recipient, err := artifact.NewIdentity()
	if err != nil {
		return comparison{}, err
	}
	codec := artifact.Codec{Compression: "zstd", Level: 3, Encryption: "age", Recipients: []string{recipient}}
	var stored int64
	encoded := func(name string, all bool) runner {
		return runner{name: name, run: func(context.Context) (time.Duration, error) {
			return timed(func() error {
				sums, err := encode(b.dump, codec, all)
				stored = sums.StoredSize
				return err
			})
		}}
	}
	env := b.source.env(stack.BackupRole, b.shop, "DUMP="+b.dump, "RECIPIENT="+recipient)
	all, err := interleave(ctx, b.rounds, b.say,
		encoded("pipeline: zstd 3, age, both SHA-256", false),
		runner{name: "zstd -3 | age | sha256sum", run: func(ctx context.Context) (time.Duration, error) {
			return shell(ctx, env, `zstd -q -3 -c "$DUMP" | age -r "$RECIPIENT" | sha256sum`)
		}},
		encoded("the same, every block proven", true),
	)
	if err != nil {
		return comparison{}, err
	}
	return comparison{
		ID: "pipeline", Title: "The pipeline in memory",
		Input:  fmt.Sprintf("%s of dump, %s stored (%.1f : 1)", mb(size), mb(stored), float64(size)/float64(stored)),
		Series: all,
		Ratios: []result{
			most("time, to the shell", all[0], all[1], 1.00), cpu("CPU, to the shell", all[0], all[1]),
			most("every block proven: time, to the shell", all[2], all[1], 0),
			most("every block proven: time, to every eighth", all[2], all[0], 0), cpu("every block proven: CPU, to every eighth", all[2], all[0]),
		},
		Bytes: size,
	}, nil
}

// encode runs a file through the pipeline, which decodes every eighth block again, or all.
func encode(path string, codec artifact.Codec, proveAll bool) (artifact.Sums, error) {
	f, err := os.Open(path)
	if err != nil {
		return artifact.Sums{}, err
	}
	defer f.Close()
	w, err := artifact.NewWriter(io.Discard, codec, nil)
	if err != nil {
		return artifact.Sums{}, err
	}
	if proveAll {
		w.ProveAll()
	}
	if _, err := w.ReadFrom(f); err != nil {
		w.Abort(err)
		_ = w.Close()
		return artifact.Sums{}, err
	}
	err = w.Close()
	return w.Sums(), err
}
