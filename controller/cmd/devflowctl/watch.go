package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

const (
	firstBreak   = time.Second // before events are asked for again; doubles
	longestBreak = 30 * time.Second
	safetyLook   = 10 * time.Second // while events come; the one that was missed is not missed for longer
	settleLook   = 250 * time.Millisecond
	listLook     = 3 * time.Second // where no events come
)

// listener hears of events for as long as its context lasts. Where none are told its channel stays silent, and live is false: then who
// listens has to look now and then.
type listener struct {
	events chan controller.Event // one without a kind: look at everything
	live   atomic.Bool
}

// listen begins to hear of what changes. A connection that breaks is made again, from the event after the last one that was heard.
func (c *ctl) listen(ctx context.Context, cl *client.Client, project string) *listener {
	l := &listener{events: make(chan controller.Event, 256)}
	go func() {
		var last int64
		pause := firstBreak
		for ctx.Err() == nil {
			err := cl.Events(ctx, project, last, func() {
				pause = firstBreak
				l.live.Store(true)
				l.tell(ctx, controller.Event{})
			}, func(e controller.Event) error {
				last = max(last, e.ID)
				if e.Kind == client.EventReset {
					e = controller.Event{}
				}
				l.tell(ctx, e)
				return ctx.Err()
			})
			l.live.Store(false)
			if noEvents(err) {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(pause*2, longestBreak)
		}
	}()
	return l
}

func (l *listener) tell(ctx context.Context, e controller.Event) {
	select {
	case l.events <- e:
	case <-ctx.Done():
	}
}

// noEvents tells whether it is of no use to ask for events again: they are not told here, or not to this caller.
func noEvents(err error) bool {
	var p *body.Problem
	if errors.As(err, &p) {
		return p.Status < 500 && p.Status != 429
	}
	return errors.Is(err, client.ErrNoEvents)
}

// listWatch is a list that is followed.
type listWatch[T any] struct {
	project string
	kinds   []string // of events after which it may have changed
	read    func() ([]T, error)
	id      func(T) int64
	state   func(T) string // what a new line is printed for, when it changes
	head    []string
	row     func(T) []string
}

// follow prints a list, and then a line for each of its rows that is new or has changed, until the context ends. As JSON each is a line, too.
func follow[T any](ctx context.Context, c *ctl, cl *client.Client, w listWatch[T]) error {
	l := c.listen(ctx, cl, w.project)
	seen := map[int64]string{}
	var widths []int
	line := func(cells []string) {
		for i, cell := range cells {
			if cell = clean(cell); cell == "" {
				cell = "-"
			}
			cells[i] = cell
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	write := func(cells []string) error {
		var b strings.Builder
		for i, cell := range cells {
			b.WriteString(cell)
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		_, err := fmt.Fprintln(c.out, b.String())
		return err
	}
	first, failing := true, time.Time{}
	for {
		all, err := w.read()
		switch {
		case over(ctx):
			return nil // Ctrl-C is how it ends
		case err == nil:
			failing = time.Time{}
		case first || !waitable(err):
			return err
		case failing.IsZero():
			failing = time.Now()
			fmt.Fprintln(c.err, "asking again: "+clean(err.Error()))
		case time.Since(failing) > unreachable:
			return err
		}
		var changed []T
		for _, v := range all {
			if now, was := w.state(v), seen[w.id(v)]; now != was {
				seen[w.id(v)] = now
				changed = append(changed, v)
			}
		}
		if !first {
			slices.Reverse(changed) // lists are newest first, and what is printed goes on downwards
		}
		lines := [][]string{}
		for _, v := range changed {
			if c.output == outputJSON {
				text, err := json.Marshal(v)
				if err != nil {
					return fmt.Errorf("print: %w", err)
				}
				if _, err := fmt.Fprintln(c.out, string(text)); err != nil {
					return fmt.Errorf("print: %w", err)
				}
				continue
			}
			lines = append(lines, w.row(v))
		}
		if first && c.output != outputJSON {
			lines = slices.Insert(lines, 0, slices.Clone(w.head))
		}
		for _, cells := range lines {
			line(cells)
		}
		for _, cells := range lines {
			if err := write(cells); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
		first = false
		if !l.await(ctx, w.kinds) {
			return nil
		}
	}
}

func over(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// await returns when one of the kinds was told, or when it is time to look; false if the context has ended.
func (l *listener) await(ctx context.Context, kinds []string) bool {
	pause := listLook
	if l.live.Load() {
		pause = safetyLook
	}
	look := time.NewTimer(pause)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
			return true
		case e := <-l.events:
			if e.Kind == "" || slices.Contains(kinds, e.Kind) {
				return l.settle(ctx)
			}
		}
	}
}

// settle lets what comes at the same time come, and takes it.
func (l *listener) settle(ctx context.Context) bool {
	over := time.After(settleLook)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-over:
			return true
		case <-l.events:
		}
	}
}

func watchFlag(cmd *cobra.Command, watch *bool) {
	cmd.Flags().BoolVar(watch, "watch", false, "then go on, with a line for each that is new or changes, until Ctrl-C")
}

// waitFlags are --wait and --watch, which is the same: it is what lists have.
func waitFlags(cmd *cobra.Command, wait *bool, otherwise bool, usage string) {
	cmd.Flags().BoolVar(wait, "wait", otherwise, usage)
	cmd.Flags().BoolVar(wait, "watch", otherwise, "the same as --wait")
}

func (c *ctl) eventsCommand() *cobra.Command {
	var project string
	var kinds []string
	var after int64
	cmd := &cobra.Command{
		Use: "events", Short: "Print what changes as it changes, until Ctrl-C", Args: cobra.NoArgs,
		Long: `Print what changes as it changes, until Ctrl-C: backups, jobs, restores, schedules, storages, agents, and the progress of what runs.
With --output json each event is a line.

A connection that breaks is made again, and goes on after the last event. --after goes on after one that was seen earlier; events are kept for a
day. A line "reset" tells that some are no longer known.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			known := []string{
				controller.EventBackup, controller.EventJob, controller.EventRestore, controller.EventSchedule, controller.EventStorage, controller.EventAgent, controller.EventProgress,
			}
			for _, k := range kinds {
				if !slices.Contains(known, k) {
					return usagef("--kind %q is not allowed; use %s", k, strings.Join(known, ", "))
				}
			}
			if after < 0 {
				return usagef("--after is an event's id")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.events(cmd.Context(), cl, project, kinds, after)
		},
	}
	f := cmd.Flags()
	f.StringVar(&project, "project", "", "only of a project")
	f.StringSliceVar(&kinds, "kind", nil, "only backup, job, restore, schedule, storage, agent or progress (repeatable)")
	f.Int64Var(&after, "after", 0, "go on after the event with this id")
	return cmd
}

func (c *ctl) events(ctx context.Context, cl *client.Client, project string, kinds []string, last int64) error {
	pause, failing := firstBreak, time.Time{}
	for {
		err := cl.Events(ctx, project, last, func() { pause, failing = firstBreak, time.Time{} }, func(e controller.Event) error {
			last = max(last, e.ID)
			if len(kinds) > 0 && e.Kind != client.EventReset && !slices.Contains(kinds, e.Kind) {
				return nil
			}
			return c.printEvent(e)
		})
		var stuck *printError
		switch {
		case over(ctx):
			return nil // Ctrl-C is how it ends
		case errors.As(err, &stuck), noEvents(err):
			return err
		case failing.IsZero():
			failing = time.Now()
			fmt.Fprintln(c.err, "asking again: "+clean(err.Error()))
		case time.Since(failing) > unreachable:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(pause*2, longestBreak)
	}
}

// printError is an output that takes nothing any more.
type printError struct{ error }

func (c *ctl) printEvent(e controller.Event) error {
	if c.output == outputJSON {
		text, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintln(c.out, string(text))
		}
		if err != nil {
			return &printError{fmt.Errorf("print: %w", err)}
		}
		return nil
	}
	at := ""
	if !e.At.IsZero() {
		at = e.At.UTC().Format(time.TimeOnly)
	}
	if _, err := fmt.Fprintln(c.out, clean(fmt.Sprintf("%-8s  %-8s  %s", at, e.Kind, eventText(e)))); err != nil {
		return &printError{fmt.Errorf("print: %w", err)}
	}
	return nil
}

// eventText is the thing's id and what it is like now.
func eventText(e controller.Event) string {
	if e.Progress != nil {
		return fmt.Sprintf("job %d of backup %d: %s", e.JobID, e.BackupID, describeProgress(*e.Progress, 0))
	}
	if e.Kind == client.EventReset {
		return "some events are no longer known: read the lists again"
	}
	row := map[string]any{}
	if json.Unmarshal(e.Row, &row) != nil {
		return ""
	}
	parts := []string{}
	if id, ok := row["id"].(float64); ok {
		parts = append(parts, number(int64(id)))
	}
	names := make([]string, 0, len(row))
	for name, v := range row {
		if name != "id" && v != nil && v != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		value := fmt.Sprint(row[name])
		if n, ok := row[name].(float64); ok {
			value = number(int64(n))
		}
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, " ")
}

// eventRow is the id of the thing that an event is about; 0 if it is not said.
func eventRow(e controller.Event) int64 {
	var row struct {
		ID int64 `json:"id"`
	}
	if json.Unmarshal(e.Row, &row) != nil {
		return 0
	}
	return row.ID
}
