package api

import (
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// RateLimit is how many requests one caller may send: a token, a token for one user of the panel, a person. The zero one is no limit.
type RateLimit struct {
	PerSecond float64
	Burst     int // at once
}

const (
	callersKept = 10_000
	// usersTimes is how many times the limit of one user a panel's token has for all of its users: whom it names is its own word.
	usersTimes = 10
)

// rates has a bucket for each caller that sent something lately.
type rates struct {
	limit RateLimit
	now   func() time.Time

	mu sync.Mutex
	of map[string]bucket
}

type bucket struct {
	left  float64 // requests
	at    time.Time
	times float64 // the limit
}

func newRates(limit RateLimit, now func() time.Time) *rates {
	return &rates{limit: limit, now: now, of: map[string]bucket{}}
}

// take takes one request from the caller's bucket, which holds so many times the limit. It tells what is left and, where there is none,
// how long until there is one.
func (r *rates) take(caller string, times float64) (left int, wait time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b, known := r.of[caller]
	if !known {
		if len(r.of) >= callersKept {
			r.tidy(now)
		}
		b = bucket{left: float64(r.limit.Burst) * times, at: now, times: times}
	}
	b = r.filled(b, now)
	if ok = b.left >= 1; ok {
		b.left--
	} else {
		wait = time.Duration((1 - b.left) / (r.limit.PerSecond * times) * float64(time.Second))
	}
	r.of[caller] = b
	return int(b.left), wait, ok
}

func (r *rates) filled(b bucket, now time.Time) bucket {
	b.left = min(b.left+max(now.Sub(b.at).Seconds(), 0)*r.limit.PerSecond*b.times, float64(r.limit.Burst)*b.times)
	b.at = now
	return b
}

// tidy forgets callers whose buckets are full, and any if all are at work.
func (r *rates) tidy(now time.Time) {
	for caller, b := range r.of {
		if r.filled(b, now).left >= float64(r.limit.Burst)*b.times || len(r.of) >= callersKept {
			delete(r.of, caller)
		}
	}
}

// within refuses a caller that sends too much, and tells every one what is left.
func (a *API) within(c *gin.Context, actor controller.Actor) error {
	limit := a.opt.Rate
	if limit.PerSecond <= 0 {
		return nil
	}
	left, wait, ok := a.rates.take(actor.Owner(), 1)
	if ok && actor.Owner() != actor.Credential() {
		_, wait, ok = a.rates.take(actor.Credential(), usersTimes)
	}
	c.Header("RateLimit-Limit", strconv.Itoa(limit.Burst))
	c.Header("RateLimit-Remaining", strconv.Itoa(left))
	c.Header("RateLimit-Reset", strconv.Itoa(int(math.Ceil(float64(limit.Burst-left)/limit.PerSecond))))
	if ok {
		return nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	c.Header("Retry-After", strconv.Itoa(seconds))
	return controller.Errorf(body.CodeRate, "more than %g requests a second, %d at once, or %d times that of all users of a panel", limit.PerSecond, limit.Burst, usersTimes).WithHint("try again in %d s", seconds)
}
