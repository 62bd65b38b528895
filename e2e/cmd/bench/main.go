// Command bench measures DevFlow Backup against the bare tools on this machine and prints ratios with all their inputs.
//
// Its invariant: both sides of a comparison do the same work on the same data, server and cores, in turns. It judges
// nothing but figures: a missed target is printed and is no error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"devflowbackup/e2e/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{out: os.Stdout, shop: shopDatabase}
	flag.StringVar(&b.dir, "dir", ".bench", "where data is kept between runs and result.json is written")
	flag.StringVar(&b.bin, "bin", "", "where the built programs are; bin in this repository if empty")
	flag.IntVar(&b.rounds, "rounds", 3, "samples of each side, taken in turns")
	flag.IntVar(&b.size, "size", 1024, "dump of the measured database, in MiB")
	flag.IntVar(&b.big, "big", 10*1024, "dump of the large database of the memory measurement, in MiB; 0 leaves it out")
	flag.StringVar(&b.only, "only", "abcd", "which measurements: (a) pipeline, (b) backup, (c) restore, (d) memory")
	quick := flag.Bool("quick", false, "a small database and no large one: a try that says little")
	flag.Parse()
	if *quick {
		b.shop, b.size, b.big = smallDatabase, 128, 0
	}
	err := b.run(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	dir, bin, only    string
	rounds, size, big int
	out               io.Writer

	shop       string // the measured database
	stack      *stack.Stack
	source     *source
	product    *product
	dump       string // an uncompressed dump of the shop, in a file
	shopBackup int64  // its last backup, 0 for none
}

func (b *bench) say(format string, a ...any) { fmt.Fprintf(b.out, format+"\n", a...) }

func (b *bench) wants(ids string) bool { return strings.ContainsAny(b.only, ids) }

func (b *bench) run(ctx context.Context) (err error) {
	if b.rounds < 3 {
		return fmt.Errorf("-rounds %d: give at least 3", b.rounds)
	}
	if err := clearInstallation(b.dir); err != nil {
		return err
	}
	if b.stack, err = stack.New(stack.Options{Dir: b.dir, Bin: b.bin}); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, b.stack.Stop(context.WithoutCancel(ctx)))
		// Gigabytes. The logs stay until the next run.
		err = errors.Join(err, os.RemoveAll(filepath.Join(b.dir, "s3")), os.RemoveAll(b.dump))
	}()
	rep := &report{At: time.Now().UTC(), Settings: settings, Version: b.version(ctx)}
	if err := b.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	rep.Machine = describeMachine(ctx, b.source.env(stack.BackupRole, b.shop))
	err = b.measure(ctx, rep)
	rep.print(b.out) // what there is, also if the rest failed
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "result.json")
	if err := rep.save(file); err != nil {
		return fmt.Errorf("save figures: %w", err)
	}
	b.say("All samples: %s", file)
	return nil
}

// measure fills the report, in order, until something fails.
func (b *bench) measure(ctx context.Context, rep *report) error {
	for _, m := range []struct {
		id, title string
		measure   func(context.Context) (comparison, error)
	}{
		{"a", "the pipeline in memory", b.pipeline},
		{"b", "a whole backup", b.backup},
		{"c", "a whole restore", b.restore},
	} {
		if !b.wants(m.id) {
			continue
		}
		b.say("(%s) %s", m.id, m.title)
		c, err := m.measure(ctx)
		if err != nil {
			return fmt.Errorf("(%s) %s: %w", m.id, m.title, err)
		}
		rep.Comparisons = append(rep.Comparisons, c)
	}
	if b.wants("d") {
		b.say("(d) peak memory")
		for _, database := range b.sizes() {
			m, err := b.peaks(ctx, database)
			if err != nil {
				return fmt.Errorf("(d) peak memory: %w", err)
			}
			rep.Memory = append(rep.Memory, m)
		}
	}
	return nil
}

// sizes are the databases of the memory measurement, the smaller first.
func (b *bench) sizes() []string {
	if b.big == 0 {
		return []string{b.shop}
	}
	return []string{b.shop, bigDatabase}
}

// prepare makes the data, a dump of it in a file, and the installation if one is measured.
func (b *bench) prepare(ctx context.Context) (err error) {
	b.say("prepare")
	b.dump = filepath.Join(b.stack.Dir, b.shop+".dump")
	databases := map[string]int{b.shop: b.size}
	if b.big > 0 && b.wants("d") {
		databases[bigDatabase] = b.big
	}
	if b.source, err = openSource(ctx, b.stack, b.say, databases); err != nil {
		return err
	}
	if _, err := shell(ctx, b.source.env(stack.BackupRole, b.shop, "FILE="+b.dump), `pg_dump -Fc -Z0 > "$FILE"`); err != nil {
		return err
	}
	if b.wants("bcd") {
		if b.product, err = install(ctx, b.stack, b.source, databases); err != nil {
			return err
		}
	}
	return nil
}

// version is what the measured agent says of itself.
func (b *bench) version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, b.stack.Program("devflow-agent"), "version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
