package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"devflowbackup/e2e/stack"
)

// restore compares a whole restore (download, both checksums, fingerprint, publication) with pg_restore from a local,
// uncompressed file. Both end with a new database, which is then dropped.
func (b *bench) restore(ctx context.Context) (comparison, error) {
	if b.shopBackup == 0 {
		last, _, err := b.product.backup(ctx, b.shop)
		if err != nil {
			return comparison{}, err
		}
		b.shopBackup = last.ID
	}
	dumped, err := fileSize(b.dump)
	if err != nil {
		return comparison{}, err
	}
	const target = "bench_restored"
	fresh := func(run func(context.Context) (time.Duration, error)) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (took time.Duration, err error) {
			if err := b.source.settle(ctx); err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, b.source.DropDatabase(context.WithoutCancel(ctx), target)) }()
			return run(ctx)
		}
	}
	env := b.source.env(stack.RestoreRole, "postgres", "FILE="+b.dump, "TARGET="+target)
	all, err := interleave(ctx, b.rounds, b.say,
		runner{name: "restore: API call to completed, from S3", run: fresh(func(ctx context.Context) (time.Duration, error) {
			return b.product.restore(ctx, b.shopBackup, target)
		})},
		runner{name: "createdb; pg_restore < local file", run: fresh(func(ctx context.Context) (time.Duration, error) {
			return shell(ctx, env, `createdb -T template0 "$TARGET"; pg_restore --exit-on-error --no-owner --no-privileges -d "$TARGET" "$FILE"`)
		})},
	)
	if err != nil {
		return comparison{}, err
	}
	return comparison{
		ID: "c", Title: "A whole restore", Bytes: dumped,
		Input:  fmt.Sprintf("dump of %s", mb(dumped)),
		Series: all,
		Ratios: []result{
			most("time, to createdb and pg_restore", all[0], all[1], 1.15),
			cpu("CPU, to createdb and pg_restore", all[0], all[1]),
		},
	}, nil
}
