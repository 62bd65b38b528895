package main

import (
	"fmt"
	"strings"
	"time"
)

// transferView shows how far a transfer is, on standard error: a bar that is redrawn on a terminal, else a line now and then.
type transferView struct {
	c     *ctl
	live  bool
	name  string
	total int64

	begun time.Time
	first int64 // bytes that were there when it began
	shown time.Time
	at    int64
	rate  float64
	drawn bool
}

func (c *ctl) transfer(name string) *transferView {
	return &transferView{c: c, live: c.terminal(), name: name}
}

const redrawEvery = 200 * time.Millisecond

// start says of how many bytes how many are there.
func (v *transferView) start(have, total int64) {
	now := time.Now()
	v.begun, v.first, v.total, v.at, v.shown, v.rate = now, have, total, have, now, 0
}

// moved says how many bytes are there now. It is cheap to call often.
func (v *transferView) moved(have int64) {
	now := time.Now()
	every := plainEvery
	if v.live {
		every = redrawEvery
	}
	since := now.Sub(v.shown)
	if since < every {
		return
	}
	current := float64(have-v.at) / since.Seconds()
	if v.rate == 0 {
		v.rate = current
	}
	v.rate = 0.7*v.rate + 0.3*current
	v.at, v.shown = have, now
	if v.live {
		fmt.Fprint(v.c.err, "\r\x1b[K"+clean(v.line(have, true)))
		v.drawn = true
		return
	}
	fmt.Fprintln(v.c.err, clean(v.line(have, false)))
}

func (v *transferView) line(have int64, bar bool) string {
	var b strings.Builder
	name := v.name
	if r := []rune(name); bar && len(r) > 40 {
		name = "…" + string(r[len(r)-39:])
	}
	b.WriteString(name)
	percent := int64(100)
	if v.total > 0 {
		percent = have * 100 / v.total
	}
	if bar {
		done := int(percent) * 20 / 100
		b.WriteString(" [" + strings.Repeat("#", done) + strings.Repeat(".", 20-done) + "]")
	}
	fmt.Fprintf(&b, " %d %%, %s of %s", percent, size(have), size(v.total))
	if v.rate >= 1 {
		b.WriteString(", " + size(int64(v.rate)) + "/s")
		if rest := v.total - have; rest > 0 {
			b.WriteString(", " + span(time.Duration(float64(rest)/v.rate*float64(time.Second))) + " left")
		}
	}
	return b.String()
}

// note says something that stays.
func (v *transferView) note(format string, args ...any) {
	v.clear()
	fmt.Fprintln(v.c.err, clean(fmt.Sprintf(format, args...)))
}

func (v *transferView) clear() {
	if v.drawn {
		fmt.Fprint(v.c.err, "\r\x1b[K")
		v.drawn = false
	}
}
