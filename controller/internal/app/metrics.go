package app

import (
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller/internal/metrics"
	"devflowbackup/shared/version"
)

// measure is what answers scrapes.
func (a *App) measure() http.Handler {
	return metrics.New(metrics.Options{
		Store: a.catalog, Log: a.log.Named("metrics"), Version: version.Version,
		Pool:     func() metrics.Pool { return metrics.Pool(a.catalog.Pool()) },
		Outdated: func(agent string) bool { return version.Older(agent, version.Version) },
		Broker:   a.brokerState, Certificates: a.certificatesEnd,
	})
}

func (a *App) brokerState() metrics.Broker {
	s := a.conn.Stats()
	out := metrics.Broker{Connected: a.conn.Status() == nats.CONNECTED, Reconnects: s.Reconnects, InMsgs: s.InMsgs, OutMsgs: s.OutMsgs}
	if v, ok := a.broker.State(); ok {
		server := metrics.Server(v)
		out.Server = &server
	}
	return out
}

// certificatesEnd tells when the certificates end that nobody renews by itself.
func (a *App) certificatesEnd() map[string]time.Time {
	out := map[string]time.Time{"ca": a.install.CA.Certificate().NotAfter}
	if c := a.certificates.Given(); c != nil {
		out["api"] = c.NotAfter
	}
	return out
}
