package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// restore compares a whole restore from S3 (download, both checksums, fingerprint, publication) with what an operator types to
// restore a local dump that is neither compressed nor encrypted. Both end with a new database, which is then dropped.
func (b *bench) restore(ctx context.Context, s subject, dump string) (comparison, error) {
	info, err := os.Stat(dump)
	if err != nil {
		return comparison{}, err
	}
	backup, ok := b.stored[s.database]
	if !ok {
		last, _, err := b.product.backup(ctx, s.database, storageS3)
		if err != nil {
			return comparison{}, err
		}
		backup = last.ID
	}
	r := s.restore
	fresh := func(run func(context.Context) (time.Duration, error)) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (took time.Duration, err error) {
			if r.settle != nil {
				if err := r.settle(ctx); err != nil {
					return 0, err
				}
			}
			defer func() { err = errors.Join(err, r.drop(context.WithoutCancel(ctx))) }()
			return run(ctx)
		}
	}
	env := append(r.env[:len(r.env):len(r.env)], "FILE="+dump)
	// Minutes; what both read was written a moment ago.
	all, err := interleave(ctx, b.rounds, b.say,
		runner{name: "restore: API call to completed, from S3", cold: true, run: fresh(func(ctx context.Context) (time.Duration, error) {
			return b.product.restore(ctx, backup, r.instance, r.target)
		})},
		runner{name: r.shown, cold: true, run: fresh(func(ctx context.Context) (time.Duration, error) {
			return shell(ctx, env, r.typed)
		})},
	)
	if err != nil {
		return comparison{}, err
	}
	c := comparison{
		ID: s.id + " restore", Title: s.title + ": a whole restore", Bytes: info.Size(),
		Input:  fmt.Sprintf("dump of %s", mb(info.Size())),
		Series: all,
		Ratios: []result{
			most("time, to "+r.shown, all[0], all[1], r.aim),
			cpu("CPU, to "+r.shown, all[0], all[1]),
		},
	}
	peak, err := b.agentPeak()
	c.Ratios = append(c.Ratios, peak)
	return c, err
}
