// Command devflowctl is the command line of DevFlow Backup: a plain client of the HTTP API, and the tool that opens artifacts without it.
//
// Exit status: 0 all went well; 1 something failed; 2 the command line is wrong; 3 there was nothing to back up, or status could not ask.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // where the system has no time zone database

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

const (
	exitFailed  = 1
	exitUsage   = 2
	exitNothing = 3
	exitUnasked = 3 // of status: nobody knows how things are
)

// errInterrupted is the cause of a context that Ctrl-C ended.
var errInterrupted = errors.New("interrupted")

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // a second one ends the program at once
		cancel(errInterrupted)
	}()

	c := &ctl{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv}
	err := c.root().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "devflowctl: "+c.describe(ctx, err))
	return exitStatus(err)
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func (e usageError) Unwrap() error { return e.error }

func exitStatus(err error) int {
	var usage usageError
	var unasked unaskedError
	var p *body.Problem
	switch {
	case errors.As(err, &unasked):
		return exitUnasked
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &p) && p.Code == body.CodeNothingToDo:
		return exitNothing
	case errors.As(err, &p) && p.Code == controller.EInvalid:
		return exitUsage
	}
	return exitFailed
}

// describe is the error with what to do about it on a line of its own.
func (c *ctl) describe(ctx context.Context, err error) string {
	var p *body.Problem
	if !errors.As(err, &p) {
		return cleanLines(err.Error())
	}
	// What was said around the problem is kept.
	before, after, _ := strings.Cut(err.Error(), p.Error())
	var b strings.Builder
	b.WriteString(clean(before))
	if p.Field != "" && len(p.Errors) < 2 {
		b.WriteString(clean(p.Field) + ": ")
	}
	if len(p.Errors) > 1 {
		b.WriteString("the request is refused")
		for _, f := range p.Errors {
			b.WriteString("\n  " + clean(f.Field) + ": " + clean(f.Message))
		}
	} else {
		b.WriteString(clean(p.Detail))
	}
	b.WriteString(cleanLines(after))
	for _, hint := range c.hints(ctx, p) {
		b.WriteString("\n  hint: " + clean(hint))
	}
	b.WriteString(problemsOf(p))
	if p.Status >= 500 && p.RequestID != "" {
		b.WriteString("\n  request: " + clean(p.RequestID))
	}
	return b.String()
}
