package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
)

func id(n int64) *int64 { return &n }

// Where notices go: each line is what is told, which channels there are and what is muted, and where it goes.
func TestRoute(t *testing.T) {
	t.Parallel()
	ch := func(n int64, change ...func(*controller.Channel)) controller.Channel {
		c := controller.Channel{ID: n, IsActive: true, MinSeverity: controller.SeverityInfo}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	of := func(project int64) func(*controller.Channel) {
		return func(c *controller.Channel) { c.ProjectID = &project }
	}
	def := func(c *controller.Channel) { c.IsDefault = true }
	off := func(c *controller.Channel) { c.IsActive = false }
	only := func(kinds ...string) func(*controller.Channel) {
		return func(c *controller.Channel) { c.Kinds = kinds }
	}
	least := func(severity string) func(*controller.Channel) {
		return func(c *controller.Channel) { c.MinSeverity = severity }
	}
	place := func(n int64) func(*controller.Channel) {
		return func(c *controller.Channel) { c.FallbackID = &n }
	}
	all := []controller.Channel{ch(1, def), ch(2, def, least("critical")), ch(3, of(1)), ch(4, of(1), only("overdue")), ch(5, of(2), off), ch(6)}
	failing := controller.Routing{Kind: controller.NoticeBackupFailing, Severity: "critical", ProjectID: id(1), ServerID: id(7), DatabaseID: id(8), AlarmID: id(9)}
	with := func(change func(*controller.Routing)) controller.Routing {
		r := failing
		change(&r)
		return r
	}
	project := func(n *int64) controller.Routing { return with(func(r *controller.Routing) { r.ProjectID = n }) }
	kind := func(k, severity string) controller.Routing {
		return with(func(r *controller.Routing) { r.Kind, r.Severity = k, severity })
	}
	mute := func(scope, kind string, n int64) []controller.Mute {
		m := controller.Mute{Scope: scope, Kind: kind}
		m.ProjectID, m.ServerID, m.DatabaseID, m.ChannelID, m.AlarmID = &n, &n, &n, &n, &n
		return []controller.Mute{m}
	}
	for name, c := range map[string]struct {
		n        controller.Routing
		channels []controller.Channel
		mutes    []controller.Mute
		want     string
	}{
		"the project's own":                     {n: failing, want: "3"},
		"each of them that takes it":            {n: kind("overdue", "critical"), want: "3 4"},
		"a project without channels":            {n: project(id(3)), want: "1 2"},
		"a project whose channel is off":        {n: project(id(2)), want: "1 2"},
		"of no project":                         {n: project(nil), want: "1 2"},
		"not severe enough for one":             {n: with(func(r *controller.Routing) { r.ProjectID, r.Severity = nil, "warning" }), want: "1"},
		"the project's do not take the kind":    {n: kind("backup_failing", "critical"), channels: []controller.Channel{ch(1, def), ch(4, of(1), only("overdue"))}, want: "1"},
		"the project's takes worse ones only":   {n: kind("overlap", "warning"), channels: []controller.Channel{ch(1, def), ch(4, of(1), least("critical"))}, want: "1"},
		"nobody takes it":                       {n: failing, channels: []controller.Channel{ch(4, of(1), only("overdue")), ch(5, of(2)), ch(6)}, want: "nowhere"},
		"there is no channel":                   {n: failing, channels: []controller.Channel{}, want: "nowhere"},
		"a kind that is off":                    {n: kind("backup_completed", "info"), want: "nowhere"},
		"a kind that is off and named":          {n: kind("backup_completed", "info"), channels: []controller.Channel{ch(1, def), ch(3, of(1), only("backup_completed"))}, want: "3"},
		"security is the installation's":        {n: kind("security", "critical"), want: "1 2"},
		"its schedule tells nobody":             {n: with(func(r *controller.Routing) { r.Silenced = true }), want: "silenced"},
		"silenced comes before muted":           {n: with(func(r *controller.Routing) { r.Silenced = true }), mutes: mute("everything", "", 1), want: "silenced"},
		"everything is muted":                   {n: failing, mutes: mute("everything", "", 0), want: "muted"},
		"everything of a kind":                  {n: failing, mutes: mute("everything", "backup_failing", 0), want: "muted"},
		"everything of another kind":            {n: failing, mutes: mute("everything", "overdue", 0), want: "3"},
		"its project":                           {n: failing, mutes: mute("project", "", 1), want: "muted"},
		"another project":                       {n: failing, mutes: mute("project", "", 2), want: "3"},
		"its server":                            {n: failing, mutes: mute("server", "", 7), want: "muted"},
		"its database":                          {n: failing, mutes: mute("database", "backup_failing", 8), want: "muted"},
		"its alarm":                             {n: failing, mutes: mute("alarm", "", 9), want: "muted"},
		"an alarm, of what has none":            {n: with(func(r *controller.Routing) { r.AlarmID = nil }), mutes: mute("alarm", "", 9), want: "3"},
		"one of two channels":                   {n: kind("overdue", "critical"), mutes: mute("channel", "", 3), want: "4"},
		"one channel, for another kind":         {n: failing, mutes: mute("channel", "overdue", 3), want: "3"},
		"the only channel":                      {n: failing, mutes: mute("channel", "", 3), want: "muted"}, // the defaults do not get what somebody muted
		"a channel fails":                       {n: with(func(r *controller.Routing) { r.Kind, r.ChannelID = controller.NoticeChannel, id(3) }), want: "1 2"},
		"a default channel fails":               {n: with(func(r *controller.Routing) { r.Kind, r.ChannelID = controller.NoticeChannel, id(1) }), want: "2"},
		"a channel with another in its place":   {n: with(func(r *controller.Routing) { r.Kind, r.ChannelID = controller.NoticeChannel, id(3) }), channels: []controller.Channel{ch(3, of(1), place(4)), ch(4, of(1), only("overdue"))}, want: "4"},
		"the only channel fails":                {n: with(func(r *controller.Routing) { r.Kind, r.ChannelID = controller.NoticeChannel, id(1) }), channels: []controller.Channel{ch(1, def)}, want: "nowhere"},
		"a channel that is neither takes none":  {n: failing, channels: []controller.Channel{ch(6)}, want: "nowhere"},
		"a project's default is of the project": {n: project(id(3)), channels: []controller.Channel{ch(3, of(1), def)}, want: "nowhere"},
	} {
		channels := c.channels
		if channels == nil {
			channels = all
		}
		to, unsent := controller.Route(c.n, channels, c.mutes)
		got := strings.Trim(fmt.Sprint(to), "[]") + unsent
		if got != c.want {
			t.Errorf("%s: goes to %q, want %q", name, got, c.want)
		}
	}
	// In the place of a channel that fails.
	down := time.Now()
	bad := ch(2, def)
	bad.FailingSince = &down
	for name, c := range map[string]struct {
		failing  controller.Channel
		channels []controller.Channel
		want     int64
	}{
		"its own choice":           {ch(1, def, place(6)), []controller.Channel{ch(1, def), ch(3, def), ch(6)}, 6},
		"its choice is off":        {ch(1, def, place(6)), []controller.Channel{ch(1, def), ch(3, def), ch(6, off)}, 3},
		"a default that works":     {ch(1, def), []controller.Channel{ch(1, def), bad, ch(3, def)}, 3},
		"a default that fails too": {ch(1, def), []controller.Channel{ch(1, def), bad, ch(3, of(1))}, 2},
		"none":                     {ch(1, def), []controller.Channel{ch(1, def), ch(6)}, 0},
	} {
		got := int64(0)
		if p := controller.PlaceOf(c.failing, c.channels); p != nil {
			got = p.ID
		}
		if got != c.want {
			t.Errorf("in the place of a channel, %s: %d, want %d", name, got, c.want)
		}
	}
}

func TestAnomaly(t *testing.T) {
	t.Parallel()
	ten := slices.Repeat([]int64{100}, 10)
	for _, c := range []struct {
		value  int64
		before []int64
		least  int64
		median int64
		odd    bool
	}{
		{49, ten, 0, 100, true},
		{50, ten, 0, 100, false},
		{200, ten, 0, 100, false},
		{201, ten, 0, 100, true},
		{1 << 62, ten, 0, 100, true},
		{0, ten, 100, 100, true},
		{0, ten, 101, 100, false},
		{0, ten[:5], 0, 100, true},
		{0, ten[:4], 0, 0, false},
		{9, []int64{10, 30, 20, 1000, 0}, 0, 20, true},
		{12, []int64{10, 30, 20, 1000, 0, 24}, 0, 22, false},
		{0, make([]int64, 10), 0, 0, false},
		{1, make([]int64, 10), 0, 0, true},
	} {
		if median, odd := controller.Anomaly(c.value, c.before, c.least); median != c.median || odd != c.odd {
			t.Errorf("%d after %v, at least %d: %d %v, want %d %v", c.value, c.before, c.least, median, odd, c.median, c.odd)
		}
	}
	for n, want := range map[int64]int64{-1: 0, 0: 0, 1: 1, 9: 1, 10: 10, 99: 10, 1009: 1000} {
		if got := controller.PowerOfTen(n); got != want {
			t.Errorf("power of ten of %d: %d, want %d", n, got, want)
		}
	}
	for seconds, want := range map[float64]int{0: 0, 1: 0, 1.1: 1, 43200: 8, 43201: 9} {
		if got := controller.DurationBucket(seconds); got != want {
			t.Errorf("bucket of %v: %d, want %d", seconds, got, want)
		}
	}
}

func TestRetryPause(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 8: 1280 * time.Second, 9: 30 * time.Minute, 1000: 30 * time.Minute} {
		if got := controller.RetryPause(n, 0); got != want {
			t.Errorf("pause after %d tries: %s, want %s", n, got, want)
		}
		if got := controller.RetryPause(n, 0.999999); got >= want || got < want*79/100 {
			t.Errorf("shortest pause after %d tries: %s of %s", n, got, want)
		}
	}
}

func TestMessage_Compose(t *testing.T) {
	t.Parallel()
	entry := func(event, severity, title string) controller.MessageEntry {
		return controller.MessageEntry{Event: event, Severity: severity, Title: title}
	}
	m := controller.Message{Notices: []controller.MessageEntry{entry("closed", "critical", "it is back")}, Counts: []controller.MessageCount{{Kind: "agent_offline", Event: "closed", Count: 1}}}
	m.Compose()
	if m.Title != "it is back" || m.Severity != "info" || m.More != 0 {
		t.Errorf("message is %+v", m)
	}
	m = controller.Message{
		Notices: []controller.MessageEntry{entry("opened", "warning", "a"), entry("closed", "critical", "b")},
		Counts:  []controller.MessageCount{{Kind: "overdue", Event: "closed", Count: 1}, {Kind: "agent_offline", Event: "opened", Count: 7}, {Kind: "overlap", Event: "reminder", Count: 2}, {Kind: "security", Event: "happened", Count: 1}},
	}
	m.Compose()
	if m.Title != "11 notices: 7 agent offline, 2 overlap still, 1 overdue over, …" || m.Severity != "warning" || m.More != 9 {
		t.Errorf("message is %+v", m)
	}
}

func TestSummaryDue(t *testing.T) {
	t.Parallel()
	zone, err := controller.LoadZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[string]string{
		"2026-11-23T06:59:59Z": "2026-11-16T07:00:00Z", // a Monday
		"2026-11-23T07:00:00Z": "2026-11-23T07:00:00Z",
		"2026-11-29T23:00:00Z": "2026-11-23T07:00:00Z",
		"2027-03-29T06:30:00Z": "2027-03-29T06:00:00Z", // the clock went forward the day before
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		due, err := controller.SummaryDue(at, 1, "08:00", zone)
		if err != nil || due.UTC().Format(time.RFC3339) != want {
			t.Errorf("summary at %s was due at %s, want %s (%v)", now, due.UTC().Format(time.RFC3339), want, err)
		}
	}
	if _, err := controller.SummaryDue(time.Now(), 1, "25:00", zone); err == nil {
		t.Error("a time that is none was taken")
	}
}
