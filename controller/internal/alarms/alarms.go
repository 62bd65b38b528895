// Package alarms sees to it that people hear of what goes wrong: it turns facts and conditions into alarms and notices, and gets their messages out.
//
// Invariants: a fact is taken out of the catalog's queue in the transaction that writes what follows from it, so none is lost and none is told twice; a
// message is sent at least once, with the same uid at each try; nothing is remembered here that the catalog does not hold, so any number of controllers
// work side by side and any of them may die at any point. The time is PostgreSQL's.
package alarms

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
	"devflowbackup/shared/secret"
)

// Store is the catalog as alarms use it; each method is one transaction or a few that may be repeated. now is the time by which everything is judged.
type Store interface {
	Now(ctx context.Context) (time.Time, error)

	// TakeFacts takes what happened and writes what follows from it; it returns how many facts it took.
	TakeFacts(ctx context.Context, now time.Time) (int, error)
	// ListenFacts calls wake when there may be facts, until the context ends or the connection breaks.
	ListenFacts(ctx context.Context, wake func()) error
	// Conditions opens and closes the alarms of what holds now. One controller does it each interval.
	Conditions(ctx context.Context, now time.Time, every time.Duration, p controller.Patience, ends []controller.CertificateEnd) (controller.Standing, error)
	// ConditionsDone is when that was done last, by whichever controller.
	ConditionsDone(ctx context.Context) (time.Time, error)
	// Remind tells again of alarms that stand.
	Remind(ctx context.Context, now time.Time) (int, error)
	// Summarise writes the weekly summary once it is due.
	Summarise(ctx context.Context, now time.Time) (bool, error)
	// TrimNotices removes what is no longer kept.
	TrimNotices(ctx context.Context, now time.Time) error
	// DueProbes returns storages to be probed, those that did not pass each interval; each is one controller's.
	DueProbes(ctx context.Context, now time.Time, every time.Duration) ([]int64, error)

	// PlanMessages makes messages of what waits for channels.
	PlanMessages(ctx context.Context, now time.Time, g controller.Grouping, url string) (int, error)
	// ClaimMessage takes a message that is due, nil if none is. What is done with it is told by one of the next three, unless somebody else has it by then.
	ClaimMessage(ctx context.Context, now time.Time) (*controller.Outgoing, error)
	MessageSent(ctx context.Context, now time.Time, m controller.Outgoing) error
	MessageFailed(ctx context.Context, now time.Time, m controller.Outgoing, cause string, retry bool, after time.Duration, g controller.Grouping) (string, error)
	ReleaseMessage(ctx context.Context, m controller.Outgoing) error
	// ChannelTarget opens what a channel sends to.
	ChannelTarget(ctx context.Context, id int64) (string, controller.ChannelTarget, error)
	// ChannelTried notes what a test of a channel came to; an empty cause is success.
	ChannelTried(ctx context.Context, now time.Time, id int64, cause string) error

	// ClaimPing takes a dead-man ping that is due, nil if none is.
	ClaimPing(ctx context.Context, now time.Time) (*controller.Ping, error)
	PingSent(ctx context.Context, p controller.Ping) error
	PingFailed(ctx context.Context, now time.Time, p controller.Ping, cause string, retry bool) (dropped bool, err error)
	// SchedulePing opens the URL of a schedule's dead-man switch; it is empty if there is none.
	SchedulePing(ctx context.Context, id int64) (secret.String, error)
}

// Sender sends; its errors may be shown. Retry tells whether another try can succeed.
type Sender interface {
	Send(ctx context.Context, kind string, target controller.ChannelTarget, m controller.Message) (retry bool, err error)
	Ping(ctx context.Context, url secret.String) (retry bool, err error)
}

// Options of an Engine. Zero values take the defaults named.
type Options struct {
	Store  Store
	Sender Sender
	Log    hclog.Logger

	URL      string                                   // of the console, in messages; empty: not known
	PingURL  secret.String                            // of the controller's own dead-man switch; empty: none
	Healthy  func(context.Context) error              // whether this controller is; nil: always
	Ends     func() []controller.CertificateEnd       // certificates that this controller knows of; nil: none
	Probe    func(context.Context, int64) error       // tries a storage and records the result; nil: nothing is probed
	Every    time.Duration                            // between two looks at conditions, default 30 s
	Patience controller.Patience                      // default controller.DefaultPatience
	Grouping controller.Grouping                      // default controller.DefaultGrouping
	Now      func(context.Context) (time.Time, error) // default Store.Now
}

const (
	collectEvery = 2 * time.Second // where nothing wakes it
	together     = 100 * time.Millisecond
	planEvery    = time.Second
	pingEvery    = 2 * time.Second
	minuteWork   = time.Minute
	probeLook    = 15 * time.Second
	probeEvery   = 5 * time.Minute // a storage that did not pass
	sendTimeout  = 20 * time.Second
	recordTime   = 10 * time.Second // to note what became of a message, also while the controller stops
	sendAtOnce   = 4
	probesAtOnce = 4
	relisten     = time.Second
	relistenMost = 30 * time.Second
)

// Engine is one controller's part in it. Start it once; Stop waits for what it started.
type Engine struct {
	opt Options
	log hclog.Logger

	group background.Group
	wake  chan struct{}
	slots chan struct{} // of messages being sent
	sends sync.WaitGroup

	unwell bool // the last ping of the controller's own was not sent; used by one loop
}

// New makes an Engine; it does nothing before Start.
func New(opt Options) *Engine {
	if opt.Every <= 0 {
		opt.Every = 30 * time.Second
	}
	if opt.Patience == (controller.Patience{}) {
		opt.Patience = controller.DefaultPatience
	}
	if opt.Grouping == (controller.Grouping{}) {
		opt.Grouping = controller.DefaultGrouping
	}
	if opt.Now == nil {
		opt.Now = opt.Store.Now
	}
	if opt.Log == nil {
		opt.Log = hclog.NewNullLogger()
	}
	return &Engine{opt: opt, log: opt.Log, wake: make(chan struct{}, 1), slots: make(chan struct{}, sendAtOnce)}
}

// Start begins to watch and to send. Starting twice is no error.
func (e *Engine) Start(ctx context.Context) {
	loop := func(every time.Duration, wake <-chan struct{}, what string, step func(context.Context) error) func(context.Context) {
		return func(ctx context.Context) { background.Every(ctx, every, wake, e.log, what, step) }
	}
	loops := []func(context.Context){
		e.listen,
		loop(collectEvery, e.wake, "collect facts", e.collect),
		loop(e.opt.Every, nil, "look at conditions", e.Conditions),
		loop(planEvery, nil, "send messages", e.send),
		loop(pingEvery, nil, "ping dead-man switches", e.Pings),
		loop(minuteWork, nil, "remind, summarise and trim", e.Minute),
	}
	if e.opt.Probe != nil {
		loops = append(loops, loop(probeLook, nil, "probe storages", e.Probes))
	}
	if !e.opt.PingURL.Empty() {
		loops = append(loops, loop(minuteWork, nil, "ping the own dead-man switch", e.OwnPing))
	}
	e.group.Start(ctx, loops...)
}

// Stop ends the loops and waits for them and for what is being sent. What it leaves undone another controller takes up.
func (e *Engine) Stop() {
	e.group.Stop()
	e.sends.Wait()
}

// listen wakes the collector; without it facts are looked for every few seconds.
func (e *Engine) listen(ctx context.Context) {
	wait := relisten
	for {
		err := e.opt.Store.ListenFacts(ctx, func() {
			wait = relisten
			select {
			case e.wake <- struct{}{}:
			default:
			}
		})
		if ctx.Err() != nil {
			return
		}
		e.log.Warn("listen for facts", "err", err, "again_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, relistenMost)
	}
}

// collect is Collect, and a moment in which more may come that is then taken together.
func (e *Engine) collect(ctx context.Context) error {
	err := e.Collect(ctx)
	timer := time.NewTimer(together)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return err
}

// Collect turns what happened into notices, until nothing is left or another controller is at it.
func (e *Engine) Collect(ctx context.Context) error {
	for {
		now, err := e.opt.Now(ctx)
		if err != nil {
			return err
		}
		n, err := e.opt.Store.TakeFacts(ctx, now)
		if err != nil || n == 0 {
			return err
		}
	}
}

// Conditions looks at what may stand, unless another controller has within the interval.
func (e *Engine) Conditions(ctx context.Context) error {
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	var ends []controller.CertificateEnd
	if e.opt.Ends != nil {
		ends = e.opt.Ends()
	}
	s, err := e.opt.Store.Conditions(ctx, now, e.opt.Every, e.opt.Patience, ends)
	if err == nil && s.Opened+s.Closed > 0 {
		e.log.Info("alarms changed", "opened", s.Opened, "closed", s.Closed, "open", s.Still+s.Opened)
	}
	return err
}

// Minute does what is looked at each minute: reminders, the weekly summary, and what is no longer kept.
func (e *Engine) Minute(ctx context.Context) error {
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	n, err := e.opt.Store.Remind(ctx, now)
	if n > 0 {
		e.log.Info("reminded of alarms", "alarms", n)
	}
	done, serr := e.opt.Store.Summarise(ctx, now)
	if done {
		e.log.Info("weekly summary written")
	}
	return errors.Join(err, serr, e.opt.Store.TrimNotices(ctx, now))
}

// Probes tries the storages that are due. One that cannot be tried at all is left for the next time.
func (e *Engine) Probes(ctx context.Context) error {
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	ids, err := e.opt.Store.DueProbes(ctx, now, probeEvery)
	if err != nil {
		return err
	}
	failed := make([]error, len(ids))
	slots := make(chan struct{}, probesAtOnce)
	var probes sync.WaitGroup
	for i, id := range ids {
		slots <- struct{}{}
		probes.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			if err := e.opt.Probe(ctx, id); err != nil {
				failed[i] = fmt.Errorf("probe storage %d: %w", id, err)
			}
		})
	}
	probes.Wait()
	return errors.Join(failed...)
}
