package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

const (
	streamBeat     = 15 * time.Second
	streamStall    = 10 * time.Second // a client that takes nothing for so long is cut
	streamPage     = 500
	streamsMost    = 1000 // of a controller
	streamsOfOwner = 20   // of a token, of a token for one user of the panel, of a user
	streamsOfUsers = 400  // of all users that a panel's token names
)

// Events is where live events come from.
type Events interface {
	// Subscribe gives the events after head, and those without an id, until they are closed; the channel is closed before that for who is
	// too slow. It is not ok where there are none at this moment.
	Subscribe() (events <-chan *controller.Event, head int64, end func(), ok bool)
}

// streams counts open streams.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[string]int
}

// begin counts a stream of who asks; the end of it is called once. It is nil where there is no room.
func (s *streams) begin(actor controller.Actor) (end func()) {
	of := map[string]int{actor.Owner(): streamsOfOwner}
	if c := actor.Credential(); c != actor.Owner() {
		of["all of "+c] = streamsOfUsers
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, most := range of {
		if s.all >= streamsMost || s.of[who] >= most {
			return nil
		}
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	for who := range of {
		s.of[who]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		for who := range of {
			if s.of[who]--; s.of[who] == 0 {
				delete(s.of, who)
			}
		}
	}
}

func (a *API) registerEvents() {
	register(a, operation{
		id: "watch-events", method: http.MethodGet, path: "/events", tag: tagSystem, access: []string{controller.ViewBackups}, errors: []int{http.StatusNotFound},
		summary: "Server-sent events: what changes, as it changes. With Last-Event-ID it goes on after that event; `reset` says that what was missed is no longer known, and lists are to be read again",
	}, a.watchEvents)
	answers := map[string]*huma.MediaType{body.EventStream: {Schema: &huma.Schema{Type: huma.TypeString}}}
	a.huma.OpenAPI().Paths["/events"].Get.Responses["200"].Content = answers
}

type eventsIn struct {
	Project   string `query:"project" doc:"Slug, id or external id; with it events of other projects, servers and shared storages are left out"`
	LastEvent string `header:"Last-Event-ID" pattern:"^[0-9]{0,18}$" doc:"The id of the last event that was seen"`
	After     int64  `query:"last_event_id" minimum:"0" doc:"The same, for clients that cannot set the header"`
}

func (a *API) watchEvents(ctx context.Context, in *eventsIn) (*huma.StreamResponse, error) {
	if a.opt.Events == nil {
		return nil, controller.Errorf(controller.EUnavailable, "this controller has no live events")
	}
	only := int64(0)
	if in.Project != "" {
		p, err := a.opt.Store.Project(ctx, actorOf(ctx), in.Project)
		if err != nil {
			return nil, err
		}
		only = p.ID
	}
	seen, resumes := in.After, in.After != 0
	if in.LastEvent != "" {
		n, err := strconv.ParseInt(in.LastEvent, 10, 64)
		if err != nil {
			return nil, controller.Invalid("Last-Event-ID", "%.40q is not an event's id", in.LastEvent)
		}
		seen, resumes = n, true
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humagin.Unwrap(hc)
		over := a.streams.begin(actorOf(ctx))
		if over == nil {
			c.Header("Retry-After", "30")
			a.refuse(hc, controller.Errorf(body.CodeTooMany, "too many event streams are open").WithHint("close some: %d are allowed at a time", streamsOfOwner))
			return
		}
		defer over()
		live, head, end, ok := a.opt.Events.Subscribe()
		if !ok {
			c.Header("Retry-After", "2")
			a.refuse(hc, controller.Errorf(controller.EUnavailable, "live events are not ready").WithHint("try again in a moment"))
			return
		}
		defer end()
		s := &stream{a: a, c: c, ctl: http.NewResponseController(c.Writer), actor: actorOf(ctx), only: only}
		if err := s.run(live, head, seen, resumes); err != nil {
			a.opt.Log.Debug("event stream ended", "request_id", requestID(ctx), "err", err)
		}
	}}, nil
}

// stream is one open stream.
type stream struct {
	a     *API
	c     *gin.Context
	ctl   *http.ResponseController
	actor controller.Actor
	only  int64
	seen  int64 // what the client has, it or all before it
}

func (s *stream) run(live <-chan *controller.Event, head, seen int64, resumes bool) error {
	ctx := s.c.Request.Context()
	// A page that is open is no person who is there.
	s.c.Request = s.c.Request.WithContext(controller.Unattended(ctx))
	// The server's limit of reading a request would end this one's context when it passes.
	_ = s.ctl.SetReadDeadline(time.Time{})
	s.c.Header("Content-Type", body.EventStream)
	s.c.Header("X-Accel-Buffering", "no") // proxies are not to collect it
	s.c.Status(http.StatusOK)
	s.c.Writer.WriteHeaderNow()
	if err := s.write(fmt.Appendf(nil, "retry: 2000\nevent: hello\ndata: {\"head\":%d}\n\n", head)); err != nil {
		return err
	}
	if s.seen = head; resumes {
		if err := s.resume(ctx, head, seen); err != nil {
			return err
		}
	}
	beat := time.NewTicker(cmp.Or(s.a.opt.StreamBeat, streamBeat))
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, open := <-live:
			if !open {
				return errors.New("it was too slow, or the controller stops")
			}
			if err := s.event(e); err != nil {
				return err
			}
		case <-beat.C:
			// What was allowed when the stream began may not be any longer.
			actor, err := s.a.authenticate(s.c)
			if err == nil && !actor.Can(controller.ViewBackups) {
				err = lacking(actor, controller.ViewBackups)
			}
			if err != nil {
				return fmt.Errorf("who listens may no longer: %w", err)
			}
			s.actor = actor
			if err := s.write([]byte(": beat\n\n")); err != nil {
				return err
			}
		}
	}
}

// resume sends what the log has between what was seen and the head.
func (s *stream) resume(ctx context.Context, head, seen int64) error {
	log, err := s.a.opt.Store.EventLog(ctx)
	if err != nil {
		return err
	}
	if !log.Holds(seen) {
		return s.write(fmt.Appendf(nil, "event: reset\nid: %d\ndata: {\"head\":%d}\n\n", head, head))
	}
	// Another controller may be ahead of this one.
	last := max(seen, head)
	for {
		s.seen = seen
		page, err := s.a.opt.Store.Events(ctx, s.actor, seen, head, streamPage)
		if err != nil {
			return err
		}
		for i := range page {
			if err := s.event(&page[i]); err != nil {
				return err
			}
			seen = page[i].ID
		}
		if len(page) < streamPage {
			s.seen = last
			return nil
		}
	}
}

// event sends an event, if who listens may know of it.
func (s *stream) event(e *controller.Event) error {
	if e.ID != 0 && e.ID <= s.seen || !e.Seen(s.actor.Scope) || s.only != 0 && (e.ProjectID == nil || *e.ProjectID != s.only) {
		return nil
	}
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %d: %w", e.ID, err)
	}
	var b []byte
	if e.ID != 0 {
		b = fmt.Appendf(b, "id: %d\n", e.ID)
	}
	return s.write(fmt.Appendf(b, "event: %s\ndata: %s\n\n", e.Kind, text))
}

func (s *stream) write(b []byte) error {
	_ = s.ctl.SetWriteDeadline(time.Now().Add(cmp.Or(s.a.opt.StreamStall, streamStall)))
	if _, err := s.c.Writer.Write(b); err != nil {
		return fmt.Errorf("send to %s: %w", s.c.RemoteIP(), err)
	}
	if err := s.ctl.Flush(); err != nil {
		return fmt.Errorf("send to %s: %w", s.c.RemoteIP(), err)
	}
	return nil
}
