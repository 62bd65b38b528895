// Package metrics tells Prometheus how an agent is, where its configuration asks for that.
//
// Invariants: what is told holds no name of a database, a user or a file, so that who may read it learns figures alone; a scrape looks
// at nothing but memory, and holds no job up; whoever is not on this host needs a token.
package metrics

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"devflowbackup/agent/internal/runner"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	listenAgain   = 30 * time.Second // after an address that could not be had
	stopPatience  = 2 * time.Second
	answerTimeout = 10 * time.Second
	scrapesAtOnce = 4
	connections   = 32
)

// State is how an agent is now.
type State struct {
	Connected        bool      // to the broker
	Known            bool      // controllers know this session
	LastHeard        time.Time // when the other side last proved that it is there
	Running          int
	Concurrency      int
	Journal          int       // attempts that are not settled
	Discovered       time.Time // when databases were listed last; zero: not yet
	Databases        map[string]int
	FailingInstances int
	Local            *wire.LocalDir   // nil: no backup directory
	Dropped          map[string]int64 // by kind
}

// Options of New.
type Options struct {
	State   func() State                // answers at once
	Alive   func(context.Context) error // what is wrong with the agent itself
	Token   secret.String               // empty: nobody needs one
	Engines []string
	Version string
	Log     hclog.Logger
}

// Metrics counts what an agent did, and answers scrapes.
type Metrics struct {
	opt     Options
	handler http.Handler
	ended   *prometheus.CounterVec
	took    *prometheus.HistogramVec
	stages  *prometheus.CounterVec
	raw     *prometheus.CounterVec
	stored  *prometheus.CounterVec
	refused *prometheus.CounterVec
}

// Desc is what is known of a metric.
type Desc struct{ Name, Help string }

// durationBounds are those of the controller's histogram, in seconds.
var durationBounds = []float64{1, 5, 15, 60, 300, 900, 3600, 14400, 43200}

var descs []Desc

// Descs lists the metrics of this package.
func Descs() []Desc { return descs }

const prefix = "devflow_agent_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	descs = append(descs, Desc{prefix + name, help})
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

func named(name, help string) Desc {
	d := Desc{prefix + name, help}
	descs = append(descs, d)
	return d
}

var (
	buildInfo   = desc("build_info", "The build of this agent; always 1.", "version", "goversion")
	connected   = desc("connected", "Whether the agent is connected to the broker.")
	known       = desc("known", "Whether controllers know this start of the agent.")
	contactAt   = desc("last_contact_timestamp_seconds", "When a controller or the broker was last heard.")
	running     = desc("jobs_running", "Jobs that run.")
	concurrency = desc("concurrency", "Jobs that may run side by side.")
	journal     = desc("journal_entries", "Jobs whose outcome no controller has committed yet, running ones too.")
	discovered  = desc("discovery_timestamp_seconds", "When databases were listed last.")
	databases   = desc("databases", "Databases that were found and may be backed up.", "engine")
	failing     = desc("instances_failing", "Instances that could not be listed.")
	localOK     = desc("local_ok", "Whether the backup directory of this host can be used. Missing where there is none.")
	localFree   = desc("local_free_bytes", "Space that is left on the disk of the backup directory.")
	localKept   = desc("local_min_free_bytes", "Space that backups leave there.")
	dropped     = desc("messages_dropped_total", "Messages that no controller of the installation signed for this agent, by what they claimed to be.", "kind")

	endedDesc   = named("jobs_ended_total", "Jobs that have ended.")
	tookDesc    = named("job_duration_seconds", "How long jobs took.")
	stagesDesc  = named("stage_seconds_total", "Time that jobs spent, by stage; dump: compression and encryption too, and the part of the upload that went on meanwhile.")
	rawDesc     = named("raw_bytes_total", "Bytes of dumps, before compression, of jobs that have ended.")
	storedDesc  = named("stored_bytes_total", "Bytes as they are stored, of jobs that have ended.")
	refusedDesc = named("jobs_refused_total", "Orders of controllers that the agent did not accept, by the reason's code.")
)

// New makes one.
func New(o Options) *Metrics {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	counter := func(d Desc, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, labels)
	}
	m := &Metrics{
		opt: o, ended: counter(endedDesc, "kind", "outcome", "engine"), stages: counter(stagesDesc, "kind", "stage"),
		raw: counter(rawDesc, "kind"), stored: counter(storedDesc, "kind"), refused: counter(refusedDesc, "code"),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: tookDesc.Name, Help: tookDesc.Help, Buckets: durationBounds}, []string{"kind"}),
	}
	for _, engine := range o.Engines { // so that a first failure shows as an increase
		for _, outcome := range []string{wire.OutcomeUploaded, wire.OutcomeFailed} {
			m.ended.WithLabelValues(wire.JobBackup, outcome, engine)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.ended, m.took, m.stages, m.raw, m.stored, m.refused, state{m},
	)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      o.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Error}),
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesAtOnce, Timeout: answerTimeout,
	})
	return m
}

// Ended counts an attempt that has ended.
func (m *Metrics) Ended(e runner.Ended) {
	engine := e.Engine
	if !slices.Contains(m.opt.Engines, engine) { // it is the word of an order
		engine = "other"
	}
	m.ended.WithLabelValues(e.Kind, e.Outcome, engine).Inc()
	m.took.WithLabelValues(e.Kind).Observe(e.Took.Seconds())
	m.raw.WithLabelValues(e.Kind).Add(float64(e.Raw))
	m.stored.WithLabelValues(e.Kind).Add(float64(e.Stored))
	for stage, millis := range e.Millis {
		m.stages.WithLabelValues(e.Kind, stage).Add(max(float64(millis), 0) / 1000)
	}
}

// Refused counts an order that was not accepted.
func (m *Metrics) Refused(code string) { m.refused.WithLabelValues(code).Inc() }

// state is what is looked at when it is asked for.
type state struct{ m *Metrics }

func (s state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildInfo, connected, known, contactAt, running, concurrency, journal, discovered, databases, failing, localOK, localFree, localKept, dropped,
	} {
		ch <- d
	}
}

func (s state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	flag := func(d *prometheus.Desc, is bool) {
		v := 0.0
		if is {
			v = 1
		}
		gauge(d, v)
	}
	at := func(d *prometheus.Desc, t time.Time) {
		if !t.IsZero() {
			gauge(d, float64(t.UnixMilli())/1000)
		}
	}
	now := s.m.opt.State()
	gauge(buildInfo, 1, s.m.opt.Version, runtime.Version())
	flag(connected, now.Connected)
	flag(known, now.Known)
	at(contactAt, now.LastHeard)
	gauge(running, float64(now.Running))
	gauge(concurrency, float64(now.Concurrency))
	gauge(journal, float64(now.Journal))
	at(discovered, now.Discovered)
	for _, engine := range s.m.opt.Engines {
		gauge(databases, float64(now.Databases[engine]), engine)
	}
	gauge(failing, float64(now.FailingInstances))
	if l := now.Local; l != nil {
		flag(localOK, l.Error == "")
		gauge(localFree, float64(l.FreeBytes))
		gauge(localKept, float64(l.MinFree))
	}
	for kind, n := range now.Dropped {
		ch <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(n), kind)
	}
}

// ServeHTTP answers /metrics and /healthz. The latter is open: it tells whether the agent works, and whether it is connected.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.URL.Path != "/metrics" && r.URL.Path != "/healthz":
		http.Error(w, "there are /metrics and /healthz", http.StatusNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET is allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/healthz":
		m.health(w, r)
	case !m.may(r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the token of metrics.token_file is needed", http.StatusUnauthorized)
	default:
		m.handler.ServeHTTP(w, r)
	}
}

// may tells whether a request has the token. Guessing one of 16 bytes or more is hopeless at any rate that this server answers at.
func (m *Metrics) may(r *http.Request) bool {
	if m.opt.Token.Empty() {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(m.opt.Token.Reveal())), sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func (m *Metrics) health(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Status    string `json:"status"`
		Connected bool   `json:"connected"`
	}{"ok", m.opt.State().Connected}
	code := http.StatusOK
	if err := m.opt.Alive(r.Context()); err != nil {
		m.opt.Log.Warn("not healthy", "err", err)
		answer.Status, code = "unavailable", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// Serve answers on an address until ctx ends. One that cannot be had is no reason to make no backups: it is tried again.
func (m *Metrics) Serve(ctx context.Context, address string) {
	for ctx.Err() == nil {
		if err := m.serve(ctx, address); err != nil {
			m.opt.Log.Error("metrics are not served; trying again", "listen", address, "err", err)
		}
		t := time.NewTimer(listenAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

func (m *Metrics) serve(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	m.opt.Log.Info("metrics are served", "address", listener.Addr().String())
	server := &http.Server{
		Handler: m, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 2 * answerTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: m.opt.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	}()
	err = server.Serve(&few{Listener: listener, free: make(chan struct{}, connections)})
	if ctx.Err() != nil {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		_ = server.Close()
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
