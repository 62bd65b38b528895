package scheduler_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // where the system has no time zone database

	"filippo.io/age"
	"github.com/hashicorp/go-hclog"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/controller/internal/scheduler"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

const role = "devflow_test"

var (
	makeRole     sync.Once
	rolePassword = secret.String("password")
)

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

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// world is a catalog with one project, "shop", one server that is online, and a storage.
type world struct {
	*testing.T
	store   *catalog.Catalog
	dsn     secret.String
	sealer  sealer
	super   *sql.DB
	admin   controller.Actor
	project controller.Project
	clock   *clock
	log     *logged
}

type sealer struct{ *keys.Master }

func (s sealer) Seal(purpose string, plaintext []byte) ([]byte, error) {
	return s.Master.Seal(purpose, plaintext), nil
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

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T, databases int) *world {
	t.Helper()
	ctx := t.Context()
	super := pgkit.NewDatabase(t)
	s := pgkit.Shared(t)
	makeRole.Do(func() {
		if err := s.CreateRole(ctx, role, rolePassword); err != nil {
			t.Fatal(err)
		}
	})
	u := must[*url.URL](t)(url.Parse(super))
	name := strings.TrimPrefix(u.Path, "/")
	must[string](t)(s.Exec(ctx, "postgres", "ALTER DATABASE "+pgserver.Quote(name)+" OWNER TO "+role))
	w := &world{
		T: t, dsn: s.UserDSN(role, rolePassword, name), sealer: sealer{keys.NewMaster()}, clock: &clock{}, log: &logged{},
		admin: controller.Actor{Name: "admin", Permissions: controller.Permissions, Scope: controller.Scope{All: true}},
	}
	w.super = must[*sql.DB](t)(sql.Open("pgx", super))
	t.Cleanup(func() { _ = w.super.Close() })
	w.store = w.another("one")
	must[[]string](t)(w.store.Migrate(ctx))
	id := must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	w.project = must[controller.Project](t)(w.store.CreateProject(ctx, w.admin, controller.ProjectSpec{Slug: "shop"}, id.Recipient().String(), []byte(id.String()), nil))
	must[controller.Storage](t)(w.store.CreateStorage(ctx, w.admin, controller.StorageSpec{
		Name: "s3", Kind: "s3", Endpoint: "http://127.0.0.1:1", Bucket: "b", PathStyle: true, Default: true, AccessKey: "ak", SecretKey: "sk",
	}, nil, true, "sha256"))
	w.server(databases)
	return w
}

// server enrols the host and has its agent find databases "d1", "d2", …, all of the project.
func (w *world) server(databases int) {
	w.Helper()
	ctx := w.Context()
	hash := sha256.Sum256([]byte("token"))
	must[controller.Enrolment](w)(w.store.CreateEnrolment(ctx, w.admin, controller.EnrolmentSpec{ServerName: "db-7", Project: "shop", TTL: time.Minute}, hash[:]))
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	s := must[controller.Server](w)(w.store.Enrol(ctx, hash[:], controller.NewServer{
		AgentID: "a1", NKey: "U1", SigningKey: pub, Recipient: w.project.AgeRecipient, AgentVersion: "1.0.0", Host: wire.Host{Hostname: "h"},
	}))
	session := wire.NewID()
	_, _, err = w.store.Hello(ctx, s.AgentID, "U1", session, wire.Hello{Protocol: 1, Host: wire.Host{Hostname: "h"}, Concurrency: 1, InventoryHash: "none"})
	w.ok(err)
	inv := wire.Inventory{Hash: "h", Last: true, Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL}}}
	for i := range databases {
		inv.Databases = append(inv.Databases, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: fmt.Sprint("d", i+1)})
	}
	w.ok(w.store.Inventory(ctx, s.AgentID, session, inv))
	w.exec("UPDATE databases SET project_id = $1", w.project.ID)
}

// another opens the same catalog as another controller.
func (w *world) another(id string) *catalog.Catalog {
	w.Helper()
	c := must[*catalog.Catalog](w)(catalog.Open(w.Context(), catalog.Options{
		DSN: w.dsn, ControllerID: id, Sealer: w.sealer, MaxConns: 6, Retry: controller.Retry{Base: time.Millisecond, Max: time.Millisecond},
	}))
	w.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.Error(err)
		}
	})
	return c
}

// scheduler is one on the test's clock.
func (w *world) scheduler(store scheduler.Store, opts ...func(*scheduler.Options)) *scheduler.Scheduler {
	o := scheduler.Options{Store: store, Now: w.clock.Now, Log: hclog.New(&hclog.LoggerOptions{Output: w.log, Level: hclog.Debug})}
	for _, opt := range opts {
		opt(&o)
	}
	return scheduler.New(o)
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

// made is a schedule that was made at a time of the test's clock.
func (w *world) made(at time.Time, spec controller.ScheduleSpec) controller.Schedule {
	w.Helper()
	spec.Project = "shop"
	s := must[controller.Schedule](w)(w.store.CreateSchedule(w.Context(), w.admin, spec))
	a := must[*controller.Agenda](w)(s.Agenda())
	next := a.Due(at)
	w.exec("UPDATE backup_schedules SET recorded_until = $1, next_at = $2, next_run_at = $3 WHERE id = $4", at, next.At, next.Due, s.ID)
	return w.schedule(s.ID)
}

func (w *world) schedule(id int64) controller.Schedule {
	w.Helper()
	return must[controller.Schedule](w)(w.store.Schedule(w.Context(), w.admin, id))
}

// at sets the clock and has a scheduler run what is due.
func (w *world) at(s *scheduler.Scheduler, now time.Time) {
	w.Helper()
	w.clock.set(now)
	w.ok(s.RunDue(w.Context()))
}

// finish ends every backup that is open.
func (w *world) finish() {
	w.Helper()
	w.exec("UPDATE jobs SET status = 'completed', ended_at = now() WHERE status IN ('queued', 'running')")
}

// records are a schedule's, oldest first, as "time state code late".
func (w *world) records(id int64) []string {
	w.Helper()
	rows, err := w.super.QueryContext(w.Context(), `SELECT to_char(at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') || ' ' || state || CASE WHEN code <> '' THEN ' ' || code ELSE '' END
		|| CASE WHEN late THEN ' late' ELSE '' END FROM schedule_occurrences WHERE schedule_id = $1 ORDER BY at`, id)
	w.ok(err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var r string
		w.ok(rows.Scan(&r))
		out = append(out, r)
	}
	w.ok(rows.Err())
	return out
}

// recorded counts the records of a schedule's occurrences, by Unix time, and adds to the number of each state.
func (w *world) recorded(id int64, states map[string]int) map[int64]int {
	w.Helper()
	rows, err := w.super.QueryContext(w.Context(), "SELECT at, state || ' ' || code FROM schedule_occurrences WHERE schedule_id = $1", id)
	w.ok(err)
	defer rows.Close()
	recorded := map[int64]int{}
	for rows.Next() {
		var at time.Time
		var state string
		w.ok(rows.Scan(&at, &state))
		recorded[at.Unix()]++
		states[state]++
	}
	w.ok(rows.Err())
	return recorded
}

func (w *world) want(what string, got []string, want ...string) {
	w.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		w.Fatalf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	return must[time.Time](t)(time.Parse(time.RFC3339, text))
}

func ptr[T any](v T) *T { return &v }

func daily(zone, at string) controller.Timing {
	return controller.Timing{Frequency: controller.FrequencyDaily, Time: at, Timezone: zone}
}

func hourly() controller.Timing { return controller.Timing{Frequency: controller.FrequencyHourly} }

func database(n int) controller.Target {
	return controller.Target{Database: controller.DatabaseRef{Name: fmt.Sprint("d", n)}}
}

// unspread has occurrences due when they occur.
func unspread(spec controller.ScheduleSpec) controller.ScheduleSpec {
	spec.SpreadSeconds = ptr(int64(0))
	return spec
}

var errKilled = errors.New("the controller was killed")

// mortal is a store whose controller is killed now and then: before it records a tick, or after, without hearing of it.
type mortal struct {
	scheduler.Store
	mu            sync.Mutex
	die           func() (before, after bool)
	before, after int // how often it was
	stale         int
}

func (m *mortal) RecordTick(ctx context.Context, tick controller.Tick) (controller.TickResult, error) {
	m.mu.Lock()
	before, after := m.die()
	if before {
		m.before++
	} else if after {
		m.after++
	}
	m.mu.Unlock()
	if before {
		return controller.TickResult{}, errKilled
	}
	res, err := m.Store.RecordTick(ctx, tick)
	m.mu.Lock()
	defer m.mu.Unlock()
	if res.Stale {
		m.stale++
	}
	if err == nil && after {
		return controller.TickResult{}, errKilled
	}
	return res, err
}
