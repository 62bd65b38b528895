package alarms

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"devflowbackup/controller"
)

// send is one turn of the loop: what waits becomes messages, and those that are due are begun to be sent. It does not wait for their ends.
func (e *Engine) send(ctx context.Context) error {
	if err := e.Plan(ctx); err != nil {
		return err
	}
	for {
		select {
		case e.slots <- struct{}{}:
		default:
			return nil // as many as may be are being sent
		}
		begun, err := e.begin(ctx)
		if err != nil || !begun {
			<-e.slots
			return err
		}
	}
}

// Plan makes messages of what waits.
func (e *Engine) Plan(ctx context.Context) error {
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	_, err = e.opt.Store.PlanMessages(ctx, now, e.opt.Grouping, e.opt.URL)
	return err
}

// Deliver sends the messages that are due, a few at once, and returns when none is left and all have ended.
func (e *Engine) Deliver(ctx context.Context) error {
	defer e.sends.Wait()
	for {
		select {
		case e.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		begun, err := e.begin(ctx)
		if err != nil || !begun {
			<-e.slots
			return err
		}
	}
}

// begin takes one message and sends it in a goroutine that frees a slot.
func (e *Engine) begin(ctx context.Context) (bool, error) {
	now, err := e.opt.Now(ctx)
	if err != nil {
		return false, err
	}
	m, err := e.opt.Store.ClaimMessage(ctx, now)
	if err != nil || m == nil {
		return false, err
	}
	e.sends.Go(func() {
		defer func() { <-e.slots }()
		if err := e.one(ctx, *m); err != nil {
			e.log.Warn("note what became of a message", "message", m.Body.UID, "channel", m.Channel, "err", err)
		}
	})
	return true, nil
}

// one sends a message and notes what became of it.
func (e *Engine) one(ctx context.Context, m controller.Outgoing) error {
	retry, cause := e.try(ctx, m.ChannelID, m.Body)
	stopped := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	about := []any{"message", m.Body.UID, "channel", m.Channel, "kind", m.ChannelKind, "title", m.Body.Title, "try", m.Attempts + 1}
	if cause == nil {
		if err := e.opt.Store.MessageSent(ctx, now, m); err != nil {
			return err
		}
		e.log.Info("message sent", about...)
		return nil
	}
	if stopped {
		return e.opt.Store.ReleaseMessage(ctx, m)
	}
	var after time.Duration
	var known *controller.Error
	if errors.As(cause, &known) {
		after = min(known.RetryAfter, time.Hour)
	}
	outcome, err := e.opt.Store.MessageFailed(ctx, now, m, shown(cause), retry, after, e.opt.Grouping)
	if err != nil {
		return err
	}
	about = append(about, "err", cause)
	switch outcome {
	case controller.OutgoingRetried:
		e.log.Warn("message was not taken; it is tried again", about...)
	case controller.OutgoingFailed:
		e.log.Error("message was given up", about...)
	}
	return nil
}

// shown is an error for people: of one that is not meant for them only that it is.
func shown(err error) string {
	var known *controller.Error
	if !errors.As(err, &known) {
		return "the controller could not send it; its log tells why"
	}
	if known.Hint != "" {
		return known.Message + ": " + known.Hint
	}
	return known.Message
}

func (e *Engine) try(ctx context.Context, channel int64, m controller.Message) (retry bool, err error) {
	kind, target, err := e.opt.Store.ChannelTarget(ctx, channel)
	if err != nil {
		return true, fmt.Errorf("open channel %d: %w", channel, err)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return e.opt.Sender.Send(ctx, kind, target, m)
}

// TestChannel sends a test through a channel now, and returns why it was not taken. A channel that works again is sent at once what waits for it.
func (e *Engine) TestChannel(ctx context.Context, channel int64) error {
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	const title = "Test of a channel of DevFlow Backup"
	_, cause := e.try(ctx, channel, controller.Message{
		UID: "dfm-" + rand.Text(), Severity: controller.SeverityInfo, Title: title, At: now.UTC(), URL: e.opt.URL,
		Notices: []controller.MessageEntry{{Kind: controller.NoticeTest, Event: controller.NoticeTest, Severity: controller.SeverityInfo, Title: title, Detail: "What this channel takes arrives here.", At: now.UTC()}},
		Counts:  []controller.MessageCount{{Kind: controller.NoticeTest, Event: controller.NoticeTest, Count: 1}},
	})
	text := ""
	if cause != nil {
		text = shown(cause)
		if ctx.Err() != nil { // whoever asked has gone
			return cause
		}
	}
	if err := e.opt.Store.ChannelTried(ctx, now, channel, text); err != nil {
		return errors.Join(cause, err)
	}
	if cause != nil {
		e.log.Warn("test of a channel was not taken", "channel_id", channel, "err", cause)
	}
	return cause
}
