package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

const (
	firstPoll    = 200 * time.Millisecond
	slowestPoll  = time.Second
	plainEvery   = 5 * time.Second // a line of progress where standard error is no terminal
	unreachable  = 5 * time.Minute // a controller that is away so long is no longer waited for
	pollTogether = 8
)

// watched is one job that --wait follows.
type watched struct {
	name   string
	cancel string // the command that stops it
	poll   func(context.Context) (jobState, error)
	about  func(controller.Event) bool // whether an event is of it; nil: none is

	stale bool // it has to be asked for
	state jobState
	since time.Time // of the progress below
	bytes int64
	rate  float64 // bytes a second
}

// jobState is what is shown of a job.
type jobState struct {
	ended    bool
	status   string
	waiting  string
	progress *controller.Progress
}

// wait follows the jobs until each has ended: by events, and where none are told by asking. Ctrl-C leaves them running and says how to stop
// them. A controller that restarts is waited for.
func (c *ctl) wait(ctx context.Context, cl *client.Client, jobs []*watched) error {
	if len(jobs) == 0 {
		return nil
	}
	p := &progressView{c: c, live: c.terminal()}
	defer p.clear()
	hearing, deaf := context.WithCancel(ctx)
	defer deaf()
	l := c.listen(hearing, cl, "")
	pause, failing := firstPoll, time.Time{}
	stale(jobs)
	for {
		err := poll(ctx, jobs)
		switch {
		case ctx.Err() != nil:
			p.clear()
			return interrupted(ctx, jobs)
		case err == nil:
			failing = time.Time{}
		case !waitable(err):
			return fmt.Errorf("%w; %s", err, stillOpen(jobs))
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) > unreachable:
			return fmt.Errorf("%w; %s", err, stillOpen(jobs))
		}
		if len(open(jobs)) == 0 {
			return nil
		}
		p.show(jobs, err)
		if err != nil || !l.live.Load() || slices.ContainsFunc(jobs, func(j *watched) bool { return j.about == nil }) {
			pause = min(pause*5/4, slowestPoll)
		} else {
			pause = safetyLook
		}
		l.news(ctx, jobs, pause, p)
	}
}

// news returns when one of the jobs has to be asked for: it was told that something of it has changed, or the pause is over. Progress that
// is told is shown meanwhile.
func (l *listener) news(ctx context.Context, jobs []*watched, pause time.Duration, p *progressView) {
	over := time.NewTimer(pause)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			stale(jobs)
			return
		case e := <-l.events:
			if e.Kind == "" {
				stale(jobs)
				return
			}
			news := false
			for _, j := range open(jobs) {
				switch {
				case j.about == nil || !j.about(e):
				case e.Progress != nil && j.state.progress != nil:
					s := j.state
					s.progress = e.Progress
					j.observe(s, time.Now())
					p.show(jobs, nil)
				default:
					j.stale, news = true, true
				}
			}
			if news {
				return
			}
		}
	}
}

// stale has every open job asked for.
func stale(jobs []*watched) {
	for _, j := range open(jobs) {
		j.stale = true
	}
}

func open(jobs []*watched) []*watched {
	var left []*watched
	for _, j := range jobs {
		if !j.state.ended {
			left = append(left, j)
		}
	}
	return left
}

// poll asks once for each open job that something may have happened to, a few at a time. It returns one of the errors.
func poll(ctx context.Context, jobs []*watched) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, pollTogether)
	errs := make(chan error, len(jobs))
	for _, j := range open(jobs) {
		if !j.stale {
			continue
		}
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer func() { <-slots; wg.Done() }()
			s, err := j.poll(ctx)
			if err != nil {
				errs <- err
				return
			}
			j.stale = false
			j.observe(s, time.Now())
		}()
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// waitable tells whether asking again may help.
func waitable(err error) bool {
	var p *body.Problem
	if errors.As(err, &p) {
		return p.Status >= 500 || p.Code == body.CodeTooMany
	}
	return true
}

func (j *watched) observe(s jobState, now time.Time) {
	if p := s.progress; p != nil {
		moved := max(p.RawBytes, p.StoredBytes)
		if seconds := now.Sub(j.since).Seconds(); !j.since.IsZero() && moved >= j.bytes && seconds > 0 {
			current := float64(moved-j.bytes) / seconds
			if j.rate == 0 {
				j.rate = current
			}
			j.rate = 0.7*j.rate + 0.3*current
		}
		j.since, j.bytes = now, moved
	}
	j.state = s
}

func interrupted(ctx context.Context, jobs []*watched) error {
	return fmt.Errorf("%w; %s", context.Cause(ctx), stillOpen(jobs))
}

func stillOpen(jobs []*watched) string {
	left := open(jobs)
	if len(left) == 0 {
		return "everything had ended"
	}
	var b strings.Builder
	b.WriteString("what was ordered goes on. To stop it:")
	for i, j := range left {
		if i == 10 {
			fmt.Fprintf(&b, "\n  and %d more", len(left)-i)
			break
		}
		b.WriteString("\n  " + j.cancel)
	}
	return b.String()
}

// progressView shows progress on standard error: one line that is redrawn on a terminal, else a line now and then.
type progressView struct {
	c     *ctl
	live  bool
	drawn bool
	last  time.Time
	said  string
}

func (p *progressView) show(jobs []*watched, err error) {
	left := open(jobs)
	var parts []string
	waiting := 0
	for _, j := range left {
		if j.state.progress == nil || len(parts) == 3 {
			waiting++
			continue
		}
		parts = append(parts, j.name+" "+describeProgress(*j.state.progress, j.rate))
	}
	if ended := len(jobs) - len(left); ended > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d ended", ended, len(jobs)))
	}
	switch {
	case waiting == len(left) && left[0].state.waiting != "":
		parts = append(parts, left[0].name+" waits: "+left[0].state.waiting)
	case waiting == len(left) && left[0].state.status != "":
		parts = append(parts, left[0].name+" "+left[0].state.status)
	case waiting > 0:
		parts = append(parts, fmt.Sprintf("%d more", waiting))
	}
	if err != nil {
		parts = append(parts, "asking again: "+err.Error())
	}
	p.say(strings.Join(parts, " · "))
}

// say shows a line.
func (p *progressView) say(line string) {
	line = clean(line)
	if p.live {
		// The line must not wrap, or redrawing would leave its first part.
		if r := []rune(line); len(r) > 118 {
			line = string(r[:117]) + "…"
		}
		fmt.Fprint(p.c.err, "\r\x1b[K"+line)
		p.drawn = true
		return
	}
	if line != p.said && time.Since(p.last) >= plainEvery {
		fmt.Fprintln(p.c.err, line)
		p.said, p.last = line, time.Now()
	}
}

func (p *progressView) clear() {
	if p.drawn {
		fmt.Fprint(p.c.err, "\r\x1b[K")
		p.drawn = false
	}
}

func describeProgress(p controller.Progress, rate float64) string {
	moved := max(p.RawBytes, p.StoredBytes)
	line := p.Stage
	if moved > 0 {
		line += " " + size(moved)
	}
	if p.TotalBytes > 0 && moved > 0 {
		percent := min(moved*100/p.TotalBytes, 99) // the total is an estimate
		line += fmt.Sprintf(" (%d %%)", percent)
	}
	if rate >= 1 {
		line += " " + size(int64(rate)) + "/s"
		if rest := p.TotalBytes - moved; rest > 0 && p.TotalBytes > 0 {
			line += ", " + span(time.Duration(float64(rest)/rate)*time.Second) + " left"
		}
	}
	return line
}
