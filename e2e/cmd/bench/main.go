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
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{out: os.Stdout}
	var only string
	flag.StringVar(&b.dir, "dir", ".bench", "where data is kept between runs and result.json is written")
	flag.StringVar(&b.bin, "bin", "bin", "where the built programs are")
	flag.IntVar(&b.rounds, "rounds", 3, "samples of each side, taken in turns")
	flag.IntVar(&b.size, "size", 1024, "dump of the measured database, in MiB")
	flag.IntVar(&b.big, "big", 10*1024, "dump of the large database of the memory measurement, in MiB; 0 leaves it out")
	flag.StringVar(&only, "only", "abcd", "which measurements: (a) pipeline, (b) backup, (c) restore, (d) memory")
	quick := flag.Bool("quick", false, "a small database and no large one: a try that says little")
	flag.Parse()
	if *quick {
		b.size, b.big = 128, 0
	}
	b.only = only
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

	source *source
	dump   string // an uncompressed dump of the shop, in a file
}

func (b *bench) say(format string, a ...any) { fmt.Fprintf(b.out, format+"\n", a...) }

func (b *bench) wants(id string) bool { return strings.Contains(b.only, id) }

func (b *bench) run(ctx context.Context) (err error) {
	if b.rounds < 3 {
		return fmt.Errorf("-rounds %d: give at least 3", b.rounds)
	}
	for _, dir := range []*string{&b.dir, &b.bin} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	rep := &report{At: time.Now().UTC(), Settings: settings}
	b.say("data")
	databases := map[string]int{shopDatabase: b.size}
	if b.big > 0 && b.wants("d") {
		databases[bigDatabase] = b.big
	}
	if b.source, err = openSource(ctx, filepath.Join(b.dir, "pg"), b.say, databases); err != nil {
		return fmt.Errorf("prepare data: %w", err)
	}
	defer func() { err = errors.Join(err, b.source.close(ctx)) }()
	rep.Machine = describeMachine(ctx, b.source.env(dumpRole, shopDatabase))
	b.dump = filepath.Join(b.dir, "shop.dump")
	if _, err := shell(ctx, b.source.env(dumpRole, shopDatabase, "FILE="+b.dump), `pg_dump -Fc -Z0 > "$FILE"`); err != nil {
		return err
	}
	for _, m := range []struct {
		id, what string
		measure  func(context.Context, *bench) (comparison, error)
	}{
		{"a", "the pipeline in memory", measurePipeline},
	} {
		if !b.wants(m.id) {
			continue
		}
		b.say("(%s) %s", m.id, m.what)
		c, err := m.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("(%s) %s: %w", m.id, m.what, err)
		}
		rep.Comparisons = append(rep.Comparisons, c)
	}
	rep.print(b.out)
	return rep.save(filepath.Join(b.dir, "result.json"))
}
