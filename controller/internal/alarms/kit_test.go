package alarms_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/alarms"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

const role = "devflow_test"

var (
	rolePassword = secret.String("password")
	migrated     struct {
		sync.Mutex
		name string
	}
)

type sealer struct{ *keys.Master }

func (s sealer) Seal(purpose string, plaintext []byte) ([]byte, error) {
	return s.Master.Seal(purpose, plaintext), nil
}

// clock is the time that all controllers of a test see.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now(context.Context) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, nil
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), words)
}

// taken is what a sender took.
type taken struct {
	to string // the target's URL
	controller.Message
}

// sender takes messages, or fails as it is told to, for each URL.
type sender struct {
	mu    sync.Mutex
	fail  map[string]error
	final bool          // no other try can succeed
	hold  chan struct{} // closed: go on
	begun chan string
	busy  map[string]int
	most  map[string]int // at once, by URL
	tries map[string]int
	got   []taken
	pings []string
}

func newSender() *sender {
	return &sender{fail: map[string]error{}, busy: map[string]int{}, most: map[string]int{}, tries: map[string]int{}}
}

func (s *sender) Send(ctx context.Context, _ string, target controller.ChannelTarget, m controller.Message) (bool, error) {
	to := target.URL.Reveal()
	s.mu.Lock()
	s.tries[to]++
	s.busy[to]++
	s.most[to] = max(s.most[to], s.busy[to])
	err, hold, begun, final := s.fail[to], s.hold, s.begun, s.final
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy[to]--
	}()
	if begun != nil {
		begun <- m.UID
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return true, context.Cause(ctx)
		}
	}
	if err != nil {
		return !final, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, taken{to, m})
	return false, nil
}

func (s *sender) Ping(_ context.Context, at secret.String) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pings = append(s.pings, at.Reveal())
	return true, s.fail[at.Reveal()]
}

func (s *sender) failing(to string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[to] = err
}

// took are the messages of one target, and forgets them.
func (s *sender) took(to string) []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []taken
	s.got = slices.DeleteFunc(s.got, func(m taken) bool {
		if m.to == to {
			out = append(out, m)
		}
		return m.to == to
	})
	return out
}

// told counts the notices that messages stand for.
func told(messages []taken) int {
	n := 0
	for _, m := range messages {
		for _, c := range m.Counts {
			n += c.Count
		}
	}
	return n
}

var errDown = controller.Errorf(controller.EUnavailable, "the receiver is down")

// world is a catalog and what is outside.
type world struct {
	*testing.T
	store  *catalog.Catalog
	dsn    secret.String
	sealer sealer
	super  *sql.DB
	admin  controller.Actor
	clock  *clock
	log    *logged
	sender *sender
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := pgkit.Shared(t)
	ctx := t.Context()
	own := func(name string) {
		t.Helper()
		must[string](t)(s.Exec(ctx, "postgres", "ALTER DATABASE "+pgserver.Quote(name)+" OWNER TO "+role))
	}
	w := &world{
		T: t, sealer: sealer{keys.NewMaster()}, clock: &clock{}, log: &logged{}, sender: newSender(),
		admin: controller.Actor{Name: "admin", Permissions: controller.Permissions, Scope: controller.Scope{All: true}},
	}
	migrated.Lock()
	if migrated.name == "" {
		if err := s.CreateRole(ctx, role, rolePassword); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateDatabase(ctx, "migrated", ""); err != nil {
			t.Fatal(err)
		}
		own("migrated")
		c := must[*catalog.Catalog](t)(catalog.Open(ctx, catalog.Options{DSN: s.UserDSN(role, rolePassword, "migrated"), ControllerID: "one", Sealer: w.sealer, MaxConns: 2}))
		must[[]string](t)(c.Migrate(ctx))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		migrated.name = "migrated"
	}
	super := pgkit.CloneDatabase(t, migrated.name)
	migrated.Unlock()
	name := strings.TrimPrefix(must[*url.URL](t)(url.Parse(super)).Path, "/")
	own(name)
	w.dsn = s.UserDSN(role, rolePassword, name)
	w.super = must[*sql.DB](t)(sql.Open("pgx", super))
	t.Cleanup(func() { _ = w.super.Close() })
	w.store = w.another("one")
	w.clock.now = must[time.Time](t)(w.store.Now(ctx))
	return w
}

// another opens the same catalog as another controller.
func (w *world) another(id string) *catalog.Catalog {
	w.Helper()
	c := must[*catalog.Catalog](w)(catalog.Open(w.Context(), catalog.Options{DSN: w.dsn, ControllerID: id, Sealer: w.sealer, MaxConns: 8}))
	w.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.Error(err)
		}
	})
	return c
}

// engine is one on the test's clock.
func (w *world) engine(store alarms.Store, opts ...func(*alarms.Options)) *alarms.Engine {
	o := alarms.Options{Store: store, Sender: w.sender, Now: w.clock.Now, URL: "https://backup.example.com", Log: hclog.New(&hclog.LoggerOptions{Output: w.log, Level: hclog.Debug})}
	for _, opt := range opts {
		opt(&o)
	}
	return alarms.New(o)
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// exec runs SQL past every policy.
func (w *world) exec(query string, args ...any) {
	w.Helper()
	_, err := w.super.ExecContext(w.Context(), query, args...)
	w.ok(err)
}

// one reads one number or text.
func one[T any](w *world, query string, args ...any) T {
	w.Helper()
	var v T
	w.ok(w.super.QueryRowContext(w.Context(), query, args...).Scan(&v))
	return v
}

// channel makes a default channel that sends to a URL of its name.
func (w *world) channel(name, fallback string) controller.Channel {
	w.Helper()
	return must[controller.Channel](w)(w.store.CreateChannel(w.Context(), w.admin, controller.ChannelSpec{
		Name: name, Kind: "webhook", IsDefault: fallback != "", Fallback: strings.TrimPrefix(fallback, "-"), Target: controller.ChannelTarget{URL: secret.String(name), Secret: "canary-secret"},
	}, name))
}

// happen makes security events, each told by a warning or an urgent notice.
func (w *world) happen(n int, kind string) {
	w.Helper()
	w.exec("INSERT INTO security_events (kind, detail) SELECT $1, 'event ' || v || ' ' || gen_random_uuid() FROM generate_series(1, $2::int) v", kind, n)
}

// step lets time pass and does what is due.
func (w *world) step(e *alarms.Engine, d time.Duration) {
	w.Helper()
	w.clock.add(d)
	w.ok(e.Collect(w.Context()))
	w.ok(e.Plan(w.Context()))
	w.ok(e.Deliver(w.Context()))
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 seconds: %s", what)
		case <-tick.C:
		}
	}
}

var errKilled = errors.New("the controller was killed")

// mortal is a store whose controller is killed once a message was taken by its receiver, before it notes that.
type mortal struct{ alarms.Store }

func (mortal) MessageSent(context.Context, time.Time, controller.Outgoing) error { return errKilled }
