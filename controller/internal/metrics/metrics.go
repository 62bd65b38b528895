// Package metrics tells Prometheus how a controller and its installation are.
//
// Invariants: a scrape reads the catalog within a deadline, few times a minute whoever asks, and holds nothing else up; what cannot be
// read is not told: no figure is older than a minute, and one that says so tells that reading failed; the number of series is bounded;
// names that people chose are values of labels and nothing else; no secret is read at all.
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"devflowbackup/controller"
)

const (
	// readTimeout is how long the catalog may take. Prometheus itself waits 10 seconds unless it is told otherwise, and shall learn
	// that the catalog does not answer.
	readTimeout = 8 * time.Second
	// answerTimeout is how long a scrape may take in all.
	answerTimeout = 20 * time.Second
	scrapesAtOnce = 4
	// readEvery is how often the catalog is read at most; readMost how seldom at least, where it takes long.
	readEvery, readMost = 5 * time.Second, time.Minute
	// readShare is the least time between two readings, as a multiple of what one takes.
	readShare = 10
	// DatabaseSeries is how many series tell of single databases.
	DatabaseSeries = 20_000
	// seriesEach is how many a database has at most.
	seriesEach   = 7
	pageOf       = 1000
	storagesMost = 1000
)

// Store is the catalog.
type Store interface {
	Ping(ctx context.Context) error
	Metrics(ctx context.Context) (controller.Metrics, error)
	// ProtectionPage returns databases in the order of their ids, from the one after afterID on; none: there are no more.
	ProtectionPage(ctx context.Context, afterID int64, limit int) ([]controller.Protection, error)
	DatabaseInstances(ctx context.Context, ids []int64) (map[int64]string, error)
}

// Pool is this controller's connections to the catalog.
type Pool struct{ InUse, Idle, Max int }

// Broker is what this controller sees of NATS.
type Broker struct {
	Connected  bool
	Reconnects uint64
	// Of this controller's own connection.
	InMsgs, OutMsgs uint64
	// Server is the embedded one's, nil if there is none.
	Server *Server
}

// Server is what an embedded NATS server counts.
type Server struct {
	Connections                                       int
	SlowConsumers, InMsgs, OutMsgs, InBytes, OutBytes int64
}

// Options of New. Pool, Broker and Certificates are asked at each scrape and answer at once.
type Options struct {
	Store        Store
	Pool         func() Pool
	Broker       func() Broker
	Certificates func() map[string]time.Time // when they end
	Outdated     func(agentVersion string) bool
	Version      string
	Log          hclog.Logger
	Now          func() time.Time // time.Now if nil
	// Series is how many series tell of single databases; 0: DatabaseSeries.
	Series int
}

// New makes what answers scrapes.
func New(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Series == 0 {
		o.Series = DatabaseSeries
	}
	if o.Outdated == nil {
		o.Outdated = func(string) bool { return false }
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&own{o}, &installation{o: o, reader: reader{o: o}},
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            o.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Error}),
		ErrorHandling:       promhttp.ContinueOnError, // the rest is told nevertheless
		MaxRequestsInFlight: scrapesAtOnce, Timeout: answerTimeout,
	})
}

// Desc is what is known of a metric.
type Desc struct{ Name, Help string }

// Descs lists the metrics of this package.
func Descs() []Desc { return descs }

var descs []Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	descs = append(descs, Desc{"devflow_" + name, help})
	return prometheus.NewDesc("devflow_"+name, help, labels, nil)
}

// sent makes the metrics of one scrape.
type sent struct{ to chan<- prometheus.Metric }

func (s sent) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.metric(d, prometheus.GaugeValue, v, labels)
}

func (s sent) count(d *prometheus.Desc, v float64, labels ...string) {
	s.metric(d, prometheus.CounterValue, v, labels)
}

func (s sent) metric(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) {
	if slices.ContainsFunc(labels, func(l string) bool { return !utf8.ValidString(l) }) {
		labels = slices.Clone(labels) // scrapes share them
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
		}
	}
	s.to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
}

func (s sent) at(d *prometheus.Desc, t *time.Time, labels ...string) {
	if t != nil {
		s.gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	buildInfo     = desc("build_info", "The build of this controller; always 1.", "version", "goversion")
	poolState     = desc("catalog_connections", "Connections of this controller to the catalog, by state.", "state")
	poolMax       = desc("catalog_connections_max", "The most connections that this controller makes to the catalog.")
	connected     = desc("broker_connected", "Whether this controller is connected to the broker.")
	reconnects    = desc("broker_reconnects_total", "Times that this controller's connection to the broker came back.")
	clientMsgs    = desc("broker_client_messages_total", "Messages over this controller's connection to the broker.", "direction")
	serverConns   = desc("broker_server_connections", "Connections to the embedded broker. Missing where the broker is external.")
	serverSlow    = desc("broker_server_slow_consumers_total", "Connections that the embedded broker cut because they were too slow.")
	serverMsgs    = desc("broker_server_messages_total", "Messages that the embedded broker carried.", "direction")
	serverBytes   = desc("broker_server_bytes_total", "Bytes that the embedded broker carried.", "direction")
	certificateAt = desc("certificate_expiry_timestamp_seconds", "When a certificate ends: ca, the installation's authority; api, the given one of the API.", "certificate")
)

// own is what this controller knows by itself.
type own struct{ o Options }

func (c *own) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, poolState, poolMax, connected, reconnects, clientMsgs, serverConns, serverSlow, serverMsgs, serverBytes, certificateAt} {
		ch <- d
	}
}

func (c *own) Collect(ch chan<- prometheus.Metric) {
	s := sent{ch}
	s.gauge(buildInfo, 1, c.o.Version, runtime.Version())
	if c.o.Pool != nil {
		p := c.o.Pool()
		s.gauge(poolState, float64(p.InUse), "in_use")
		s.gauge(poolState, float64(p.Idle), "idle")
		s.gauge(poolMax, float64(p.Max))
	}
	if c.o.Broker != nil {
		b := c.o.Broker()
		s.gauge(connected, flag(b.Connected))
		s.count(reconnects, float64(b.Reconnects))
		s.count(clientMsgs, float64(b.InMsgs), "in")
		s.count(clientMsgs, float64(b.OutMsgs), "out")
		if v := b.Server; v != nil {
			s.gauge(serverConns, float64(v.Connections))
			s.count(serverSlow, float64(v.SlowConsumers))
			s.count(serverMsgs, float64(v.InMsgs), "in")
			s.count(serverMsgs, float64(v.OutMsgs), "out")
			s.count(serverBytes, float64(v.InBytes), "in")
			s.count(serverBytes, float64(v.OutBytes), "out")
		}
	}
	if c.o.Certificates != nil {
		for name, at := range c.o.Certificates() {
			s.at(certificateAt, &at, name)
		}
	}
}
