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
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"devflowbackup/e2e/stack"
)

// The parts of a run, in their order.
const (
	partPipeline   = "pipeline"
	partPostgreSQL = "postgresql"
	partLocal      = "local"
	partRestore    = "restore"
	partInPlace    = "inplace"
	partMariaDB    = "mariadb"
	partSQLite     = "sqlite"
	partMemory     = "memory"
)

var parts = []string{partPipeline, partPostgreSQL, partLocal, partRestore, partInPlace, partMariaDB, partSQLite, partMemory}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{out: os.Stdout, shop: shopDatabase, store: storeDatabase, liteName: shopDatabase, stored: map[string]int64{}}
	flag.StringVar(&b.dir, "dir", ".bench", "where data is kept between runs and result.json is written")
	flag.StringVar(&b.bin, "bin", "", "where the built programs are; bin in this repository if empty")
	flag.IntVar(&b.rounds, "rounds", 3, "samples of each side, taken in turns")
	flag.IntVar(&b.gzip, "gzip", 1, "samples of a dump through gzip, each of which takes a minute for 1 GB")
	flag.IntVar(&b.size, "size", 1024, "dump of the measured databases of PostgreSQL and MariaDB, in MiB; SQLite's is half as large")
	flag.IntVar(&b.big, "big", 0, "dump of a large database of PostgreSQL for the memory, in MiB; 10240 takes 7 minutes more")
	only := flag.String("only", strings.Join(parts, ","), "which parts; local is PostgreSQL's backup to the host's own directory, restore is PostgreSQL's, inplace that of both servers")
	quick := flag.Bool("quick", false, "small databases: a try that says little")
	flag.Parse()
	if *quick {
		b.shop, b.store, b.liteName, b.size = smallDatabase, smallStoreDatabase, smallDatabase, 128
	}
	err := b.choose(*only)
	if err == nil {
		err = b.run(ctx)
	}
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
	dir, bin     string
	only         []string
	rounds, gzip int
	size, big    int
	out          io.Writer

	shop, store, liteName string // the measured databases of PostgreSQL, MariaDB and SQLite
	stack                 *stack.Stack
	source                *source // nil: no part needs it; so are the other two
	maria                 *maria
	lite                  *lite
	product               *product
	dump, storeDump       string           // uncompressed dumps of shop and store, in files
	stored                map[string]int64 // the last backup in S3 of each database
}

func (b *bench) say(format string, a ...any) { fmt.Fprintf(b.out, format+"\n", a...) }

// choose takes the names of the parts to measure.
func (b *bench) choose(names string) error {
	b.only = strings.Split(names, ",")
	for _, name := range b.only {
		if !slices.Contains(parts, name) {
			return fmt.Errorf("-only %q: the parts are %s", name, strings.Join(parts, ", "))
		}
	}
	return nil
}

// wants tells whether one of the parts is measured.
func (b *bench) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(b.only, name) })
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.rounds < 3 {
		return fmt.Errorf("-rounds %d: give at least 3", b.rounds)
	}
	if b.gzip < 1 || b.gzip > b.rounds {
		return fmt.Errorf("-gzip %d: give 1 to %d", b.gzip, b.rounds)
	}
	if err := clearInstallation(b.dir); err != nil {
		return err
	}
	if b.stack, err = stack.New(stack.Options{Dir: b.dir, Bin: b.bin}); err != nil {
		return err
	}
	b.dump, b.storeDump = filepath.Join(b.stack.Dir, b.shop+".dump"), filepath.Join(b.stack.Dir, b.store+".sql")
	defer func() {
		err = errors.Join(err, b.stack.Stop(context.WithoutCancel(ctx)))
		// Gigabytes. The logs stay until the next run.
		for _, path := range []string{filepath.Join(b.dir, "s3"), filepath.Join(b.dir, hostName+"-backups"), b.dump, b.storeDump} {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}()
	rep := &report{
		At: time.Now().UTC(), Settings: settingsOf{PostgreSQL: settings, MariaDB: mariaSettings}, Version: b.version(ctx), Machine: describeMachine(ctx),
	}
	if err := b.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
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
		parts   []string
		title   string
		measure func(context.Context) (comparison, error)
	}{
		{[]string{partPipeline}, "the pipeline in memory", b.pipeline},
		{[]string{partPostgreSQL, partLocal}, "PostgreSQL: a whole backup", func(ctx context.Context) (comparison, error) {
			var storages []string
			if b.wants(partPostgreSQL) {
				storages = append(storages, storageS3)
			}
			if b.wants(partLocal) {
				storages = append(storages, storageLocal)
			}
			return b.backup(ctx, b.source.subject(b.shop), storages)
		}},
		{[]string{partRestore}, "PostgreSQL: a whole restore", func(ctx context.Context) (comparison, error) {
			return b.restore(ctx, b.source.subject(b.shop), b.dump)
		}},
		{[]string{partMariaDB}, "MariaDB: a whole backup", func(ctx context.Context) (comparison, error) {
			return b.backup(ctx, b.maria.subject(b.store), []string{storageS3, storageLocal})
		}},
		{[]string{partMariaDB}, "MariaDB: a whole restore", func(ctx context.Context) (comparison, error) {
			return b.restore(ctx, b.maria.subject(b.store), b.storeDump)
		}},
		{[]string{partInPlace}, "PostgreSQL: a restore in place", func(ctx context.Context) (comparison, error) {
			return b.inPlace(ctx, b.source.subject(b.shop), b.source.live(), rep)
		}},
		{[]string{partInPlace}, "MariaDB: a restore in place", func(ctx context.Context) (comparison, error) {
			return b.inPlace(ctx, b.maria.subject(b.store), b.maria.live(), rep)
		}},
		{[]string{partSQLite}, "SQLite: a whole backup", b.sqlite},
	} {
		if !b.wants(m.parts...) {
			continue
		}
		b.say("%s", m.title)
		c, err := m.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.title, err)
		}
		rep.Comparisons = append(rep.Comparisons, c)
	}
	if b.wants(partMemory) {
		b.say("peak memory")
		for _, database := range b.sizes() {
			m, err := b.peaks(ctx, database)
			if err != nil {
				return fmt.Errorf("peak memory: %w", err)
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

// prepare makes the data, dumps of it in files, and the installation, as far as they are measured.
func (b *bench) prepare(ctx context.Context) error {
	b.say("prepare")
	servers := map[string]stack.Server{}
	var databases []string
	var err error
	if b.wants(partPipeline, partPostgreSQL, partLocal, partRestore, partInPlace, partMemory) {
		sizes := map[string]int{b.shop: b.size}
		if b.wants(partMemory) && b.big > 0 {
			sizes[bigDatabase] = b.big
		}
		if b.source, err = openSource(ctx, b.stack, b.say, sizes); err != nil {
			return err
		}
		servers[b.source.subject(b.shop).restore.instance] = b.source.Postgres
		databases = slices.AppendSeq(databases, maps.Keys(sizes))
	}
	if b.wants(partMariaDB, partInPlace) {
		if b.maria, err = openMaria(ctx, b.stack, b.say, b.store, b.size); err != nil {
			return err
		}
		servers[b.maria.subject(b.store).restore.instance] = b.maria.MariaDB
		databases = append(databases, b.store)
	}
	if b.wants(partSQLite) {
		if b.lite, err = openLite(ctx, b.stack, b.say, b.liteName, max(1, b.size/2)); err != nil {
			return err
		}
		servers["lite"] = b.lite.SQLite
		databases = append(databases, b.lite.Name(b.liteName))
	}
	if b.wants(partPipeline, partRestore) {
		if err := b.dumpTo(ctx, b.source.subject(b.shop), b.dump); err != nil {
			return err
		}
	}
	if b.wants(partMariaDB) {
		if err := b.dumpTo(ctx, b.maria.subject(b.store), b.storeDump); err != nil {
			return err
		}
	}
	if b.wants(partInPlace) {
		for _, l := range []live{b.source.live(), b.maria.live()} {
			if err := l.make(ctx); err != nil {
				return err
			}
			databases = append(databases, l.name)
		}
	}
	if len(b.only) > 1 || !b.wants(partPipeline) {
		b.product, err = install(ctx, b.stack, servers, databases)
	}
	return err
}

// dumpTo writes a dump that is neither compressed nor encrypted.
func (b *bench) dumpTo(ctx context.Context, s subject, file string) error {
	_, err := shell(ctx, append(s.env[:len(s.env):len(s.env)], "FILE="+file), s.dump+` > "$FILE"`)
	return err
}

// version is what the measured agent says of itself.
func (b *bench) version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, b.stack.Program("devflow-agent"), "version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
