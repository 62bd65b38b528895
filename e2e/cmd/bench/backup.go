package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/artifact"
)

// backup compares a whole backup with what an operator would type. All run on the same cores, which the product shares
// with its S3 server, its controller and its catalog.
func (b *bench) backup(ctx context.Context) (comparison, error) {
	_, recipient, err := artifact.NewIdentity()
	if err != nil {
		return comparison{}, err
	}
	size, err := b.source.size(ctx, b.shop)
	if err != nil {
		return comparison{}, err
	}
	file := filepath.Join(b.stack.Dir, "baseline")
	defer os.Remove(file)
	env := b.source.env(stack.BackupRole, b.shop, "RECIPIENT="+recipient, "FILE="+file)
	typed := func(name, text string) runner {
		return runner{name: name, run: func(ctx context.Context) (time.Duration, error) {
			took, err := shell(ctx, env, text)
			if rmErr := os.Remove(file); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
				err = errors.Join(err, rmErr)
			}
			return took, err
		}}
	}
	gzip := typed("pg_dump | gzip > file", `pg_dump | gzip > "$FILE"`)
	gzip.cold = true
	var last job
	all, err := interleave(ctx, b.rounds, b.say,
		runner{name: "backup: API call to completed, age, to S3", run: func(ctx context.Context) (took time.Duration, err error) {
			last, took, err = b.product.backup(ctx, b.shop)
			return took, err
		}},
		typed("pg_dump -Fc -Z0 > /dev/null", `pg_dump -Fc -Z0 > /dev/null`),
		typed("pg_dump -Fc -Z0 | zstd -3 | age | sha256sum, to file",
			`pg_dump -Fc -Z0 | zstd -q -3 | age -r "$RECIPIENT" | tee >(sha256sum > /dev/null) > "$FILE"`),
		gzip,
	)
	if err != nil {
		return comparison{}, err
	}
	b.shopBackup = last.ID
	return comparison{
		ID: "b", Title: "A whole backup", Bytes: last.RawSize,
		Input:  fmt.Sprintf("database of %s, dump of %s, %s stored", mb(size), mb(last.RawSize), mb(last.FileSize)),
		Series: all,
		Ratios: []result{
			most("time, to pg_dump > /dev/null", all[0], all[1], 0),
			most("time, to the shell pipeline", all[0], all[2], 1.25),
			cpu("CPU, to the shell pipeline", all[0], all[2]),
			least("speed, to pg_dump | gzip", all[0], all[3], 2),
		},
	}, nil
}
