package alarms

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Pings sends the dead-man pings that are due.
func (e *Engine) Pings(ctx context.Context) error {
	for {
		now, err := e.opt.Now(ctx)
		if err != nil {
			return err
		}
		p, err := e.opt.Store.ClaimPing(ctx, now)
		if err != nil || p == nil {
			return err
		}
		if err := e.ping(ctx, now, *p); err != nil {
			return err
		}
	}
}

func (e *Engine) ping(ctx context.Context, now time.Time, p controller.Ping) error {
	base, err := e.opt.Store.SchedulePing(ctx, p.ScheduleID)
	retry := true
	switch {
	case err != nil:
	case base.Empty():
		return e.opt.Store.PingSent(ctx, p) // there is no switch any more
	default:
		var at secret.String
		if at, err = pingURL(base, p.State); err == nil {
			retry, err = e.pingAt(ctx, at)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err == nil {
		e.log.Debug("dead-man switch pinged", "schedule_id", p.ScheduleID, "state", p.State)
		return e.opt.Store.PingSent(ctx, p)
	}
	dropped, ferr := e.opt.Store.PingFailed(ctx, now, p, shown(err), retry)
	if dropped {
		e.log.Warn("a ping of a dead-man switch was given up", "schedule_id", p.ScheduleID, "state", p.State, "err", err)
	}
	return ferr
}

func (e *Engine) pingAt(ctx context.Context, at secret.String) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return e.opt.Sender.Ping(ctx, at)
}

// pingURL is where a state is told: URL/start, URL, URL/fail.
func pingURL(base secret.String, state string) (secret.String, error) {
	if state == "success" {
		return base, nil
	}
	u, err := url.Parse(base.Reveal())
	if err != nil {
		return "", controller.Invalid("ping_url", "is not a URL") // the parser's error quotes it
	}
	return secret.String(u.JoinPath(state).String()), nil
}

// OwnPing tells the controller's own dead-man switch that it is well: nobody hears of it otherwise when all controllers are silent.
func (e *Engine) OwnPing(ctx context.Context) error {
	err := e.healthy(ctx)
	if err == nil {
		_, err = e.pingAt(ctx, e.opt.PingURL)
	}
	if err != nil && !e.unwell && ctx.Err() == nil {
		e.log.Warn("the own dead-man switch was not pinged", "err", err)
	}
	if err == nil && e.unwell {
		e.log.Info("the own dead-man switch is pinged again")
	}
	e.unwell = err != nil
	return nil
}

func (e *Engine) healthy(ctx context.Context) error {
	if e.opt.Healthy != nil {
		if err := e.opt.Healthy(ctx); err != nil {
			return err
		}
	}
	now, err := e.opt.Now(ctx)
	if err != nil {
		return err
	}
	done, err := e.opt.Store.ConditionsDone(ctx)
	if err != nil {
		return err
	}
	if late := now.Sub(done); late > 3*e.opt.Every {
		if done.IsZero() {
			return errors.New("conditions were never looked at")
		}
		return fmt.Errorf("conditions were not looked at for %s", late.Round(time.Second))
	}
	return nil
}
