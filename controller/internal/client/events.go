package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// EventReset tells that what was missed is no longer known, and lists have to be read again. Its id is where the stream goes on.
const EventReset = "reset"

const (
	maxEvent = 1 << 20          // bytes of one event
	quiet    = 45 * time.Second // the controller says something every 15 seconds
)

// ErrNoEvents is of a controller, or of a proxy before it, that does not tell events: lists have to be read again now and then.
var ErrNoEvents = errors.New("events are not told here")

// Events calls take with each event that the caller may know of, of one project if it is named, until the context ends, take returns an
// error, or the connection breaks; then it returns why. With the id of the last event that was seen it goes on after that one; 0 begins
// with what happens from now on. ready is called when the stream has begun: what happens from then on is told.
func (c *Client) Events(ctx context.Context, project string, last int64, ready func(), take func(controller.Event) error) error {
	target := c.base + "/events"
	if q := values("project", project); len(q) > 0 {
		target += "?" + q.Encode()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(quiet, func() { cancel(fmt.Errorf("nothing was heard for %s", quiet)) })
	defer stall.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return fmt.Errorf("write the request of events: %w", err)
	}
	req.Header.Set("Accept", body.EventStream)
	c.identify(req)
	if last != 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(last, 10))
	}
	broke := func(err error, begun bool) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return &connectionError{base: c.base, err: err, begun: begun}
	}
	res, err := c.streams.Do(req)
	if err != nil {
		return broke(err, false)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxEvent))
		if err != nil {
			return broke(err, true)
		}
		return refusal(res, text)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != body.EventStream {
		return fmt.Errorf("%w: the answer is %.100q", ErrNoEvents, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var name, id, data string
	for lines.Scan() {
		stall.Reset(quiet)
		line := lines.Text()
		if line != "" {
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch field {
			case "event":
				name = value
			case "id":
				id = value
			case "data":
				data += value
			}
			continue
		}
		e, err := eventOf(name, id, data)
		switch {
		case err != nil:
			return err
		case name == "hello":
			ready()
		case name != "":
			if err := take(e); err != nil {
				return err
			}
		}
		name, id, data = "", "", ""
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF // a stream of events has no end
	}
	return broke(err, true)
}

func eventOf(name, id, data string) (controller.Event, error) {
	var e controller.Event
	if name == "" || name == "hello" {
		return e, nil
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return e, fmt.Errorf("read the event %.40q: %w", name, err)
	}
	e.Kind = name
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		e.ID = n
	}
	return e, nil
}
