// Command quickstart shows the whole product on one machine: it runs a controller, an agent, an S3 server, PostgreSQL and MariaDB
// on loopback, backs up a database of each engine to S3 and to the host's own disk, verifies and restores every backup, recovers
// it once more with standard tools alone, and believes nothing that it did not compare itself.
//
// Everything lies in one directory, which the next run uses again. Without ONCE=1 it stays up until Ctrl-C. Its exit status is
// 0 only if everything was proven, and whatever happens no process is left.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const usage = `usage: quickstart

Shows DevFlow Backup on this machine, from end to end: databases of three engines are backed up, verified and restored, and all of it is
compared. Then it stays up until Ctrl-C, with a console to look at. It takes no arguments, but for -h.

environment:
   ONCE=1                   ends when everything is proven
   DEVFLOW_QUICKSTART_DIR   where everything lies; the next run goes on from there
`

// usageStatus is the exit status of a command line that is not understood.
const usageStatus = 2

// understood prints the usage if it is asked for, and tells whether to go on and, if not, with which status to end.
func understood(args []string, out, errOut io.Writer) (goOn bool, status int) {
	switch {
	case len(args) == 0:
		return true, 0
	case len(args) == 1 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help"):
		fmt.Fprint(out, usage)
		return false, 0
	}
	fmt.Fprintf(errOut, "quickstart: %q is not understood\n\n%s", args[0], usage)
	return false, usageStatus
}

func main() {
	if goOn, status := understood(os.Args[1:], os.Stdout, os.Stderr); !goOn {
		os.Exit(status)
	}
	// A closed terminal must not end us before the parts are stopped.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nquickstart:", err)
		os.Exit(1)
	}
}

var errInterrupted = errors.New("interrupted; nothing is left running")

func run(ctx context.Context, out io.Writer) (err error) {
	once := os.Getenv("ONCE") != "" && os.Getenv("ONCE") != "0"
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the built programs: %w", err)
	}
	began := time.Now()
	dir, err := openDirectory(os.Getenv("DEVFLOW_QUICKSTART_DIR"))
	if err != nil {
		return err
	}
	defer dir.close()
	st := newStory(out, dir.path)
	d := &demo{dir: dir, bin: filepath.Dir(self), story: st}
	defer func() {
		failed := err != nil
		if failed && ctx.Err() == nil {
			st.failed(d.logs())
		}
		// The way down has its own time: ctx may be over.
		stopCtx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if stopErr := d.stop(stopCtx); stopErr != nil {
			err = errors.Join(err, stopErr)
		} else if failed && ctx.Err() != nil {
			err = errInterrupted
		}
	}()

	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.setUp(ctx); err != nil {
		return err
	}
	if err := d.prove(ctx); err != nil {
		return err
	}
	st.proven(d.trips, time.Since(began))
	if once {
		return nil
	}
	h, err := d.hints(ctx)
	if err != nil {
		return err
	}
	st.next(h)
	select {
	case <-ctx.Done():
		st.say("\nStopping. Everything stays in %s; `make quickstart` goes on from there.", dir.shown())
		return nil
	case name := <-d.ended():
		return fmt.Errorf("%s has ended by itself", name)
	}
}
