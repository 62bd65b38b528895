// Package app puts the controller together: it is the one place where adapters meet.
//
// An App is started once and stopped once; what Start began, Stop ends, in reverse order, also when Start stopped half-way.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/alarms"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/audit"
	"devflowbackup/controller/internal/bootstrap"
	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/certificate"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/events"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/controller/internal/reconcile"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/controller/internal/scheduler"
	"devflowbackup/controller/web"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

// minUploadLimit is how much an attempt may always upload, whatever the database's size was.
const minUploadLimit = 1 << 30

// App is one controller.
type App struct {
	cfg     config.Config
	log     hclog.Logger
	id      string
	cleanup []func(context.Context) error

	catalog   *catalog.Catalog
	broker    *broker.Broker
	conn      *nats.Conn
	fleet     *fleet.Fleet
	reconcile *reconcile.Reconciler
	audit     *audit.Log
	cleaner   *retention.Runner
	install   *install
	events    *events.Hub
	alarms    *alarms.Engine

	certificates *certificate.Source

	keySet  wire.KeySet
	url     string
	addr    string
	natsURL []string
	failed  chan error
	stop    sync.Once
}

// New makes an App of a validated configuration.
func New(cfg config.Config, log hclog.Logger) *App {
	return &App{cfg: cfg, log: log, failed: make(chan error, 1)}
}

// URL is where the API answers, once started.
func (a *App) URL() string { return a.url }

// Addr is where the API listens, host:port, once started.
func (a *App) Addr() string { return a.addr }

// First is what the start that made the installation has to tell, nil on every later start. It is to be told also when Start
// failed after that: nobody can tell it later.
func (a *App) First() *FirstStart {
	if a.install == nil {
		return nil
	}
	return a.install.first
}

// Failed yields an error if something that must run has ended by itself.
func (a *App) Failed() <-chan error { return a.failed }

func (a *App) onStop(f func(context.Context) error) { a.cleanup = append(a.cleanup, f) }

// Start brings everything up or leaves nothing running.
func (a *App) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
		}
	}()
	id, lock, err := takeDataDir(a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.id = id
	a.onStop(func(context.Context) error { return lock.Close() })
	if err := a.openCatalog(ctx); err != nil {
		return err
	}
	if a.install, err = installation(ctx, a.cfg, a.catalog); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(a.cfg.DataDir, "ca.pem"), string(a.install.CA.CertPEM()), 0o644); err != nil {
		return fmt.Errorf("write the CA certificate: %w", err)
	}
	if err := a.register(ctx); err != nil {
		return err
	}
	if err := a.startBroker(ctx); err != nil {
		return err
	}
	if err := a.startFleet(ctx); err != nil {
		return err
	}
	a.startScheduler(ctx)
	a.startRetention(ctx)
	a.startReconcile(ctx)
	a.background(a.foldTotals)
	a.startEvents(ctx)
	return a.startAPI(ctx)
}

func (a *App) openCatalog(ctx context.Context) error {
	dsn := a.cfg.Catalog.DSN
	if a.cfg.Embedded {
		server, embedded, err := embeddedCatalog(ctx, a.cfg)
		if err != nil {
			return err
		}
		a.onStop(server.Stop)
		dsn = embedded
	}
	cat, err := openCatalog(ctx, a.cfg, dsn, a.id, a.log)
	if err != nil {
		return err
	}
	a.catalog = cat
	a.onStop(func(context.Context) error { return cat.Close() })
	applied, err := cat.Migrate(ctx)
	if err != nil {
		return fmt.Errorf("migrate the catalog: %w", err)
	}
	if len(applied) > 0 {
		a.log.Info("catalog migrated", "applied", strings.Join(applied, ", "))
	}
	return nil
}

// register says that this controller is up, now and every few seconds.
func (a *App) register(ctx context.Context) error {
	kind := "embedded"
	if len(a.cfg.NATS.URLs) > 0 {
		kind = "external"
	}
	if err := a.catalog.RegisterController(ctx, version.String(), kind); err != nil {
		return err
	}
	a.onStop(a.catalog.DeregisterController)
	if err := a.catalog.ReleaseClaims(ctx); err != nil {
		return err
	}
	a.background(func(ctx context.Context) {
		t := time.NewTicker(5 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if err := a.catalog.ControllerSeen(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("say that this controller is up", "err", err)
			}
		}
	})
	return nil
}

// background runs f until Stop, which waits for it.
func (a *App) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	a.onStop(func(context.Context) error { cancel(); <-done; return nil })
}

func (a *App) startBroker(ctx context.Context) error {
	revoked, err := revokedKeys(ctx, a.catalog, 0, a.log)
	if err != nil {
		return err
	}
	opt := broker.Options{
		Installation: a.install.Installation, AgentsJWT: a.install.agentsJWT, Revoked: revoked, ExternalURLs: a.cfg.NATS.URLs, ExternalCAFile: a.cfg.NATS.CAFile, Logger: a.log.Named("broker"),
	}
	opt.Names, opt.IPs = namesAndIPs(a.cfg.Names)
	events := make(chan broker.SecurityEvent, 256)
	opt.OnSecurity = func(e broker.SecurityEvent) {
		select {
		case events <- e:
		default: // the broker counts what it tried more often than this can be written
		}
	}
	if len(a.cfg.NATS.URLs) == 0 {
		host, port, err := net.SplitHostPort(a.cfg.NATS.Listen)
		if err != nil {
			return fmt.Errorf("nats.listen: %w", err)
		}
		opt.Host = host
		if opt.Port, err = net.DefaultResolver.LookupPort(ctx, "tcp", port); err != nil {
			return fmt.Errorf("nats.listen: %w", err)
		}
	}
	b, err := broker.New(opt)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if err := b.Start(ctx); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	a.broker = b
	a.onStop(func(context.Context) error { b.Stop(); return nil })
	a.background(func(ctx context.Context) { a.recordSecurity(ctx, events) })
	a.background(func(ctx context.Context) { a.keepRevoking(ctx, revoked) })
	a.natsURL = a.cfg.NATS.Advertise
	if len(a.natsURL) == 0 {
		a.natsURL = a.cfg.NATS.URLs
	}
	if len(a.natsURL) == 0 {
		a.natsURL = []string{"tls://" + b.Addr()}
	}
	return nil
}

func (a *App) recordSecurity(ctx context.Context, events <-chan broker.SecurityEvent) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			a.log.Error("security event", "kind", controller.EventPermission, "server", e.Server, "what", e.Kind, "subject", e.Subject, "remote", e.Remote)
			detail := fmt.Sprintf("%s %q from %s", e.Kind, e.Subject, e.Remote)
			if err := a.catalog.AddSecurityEvent(ctx, e.Server, controller.EventPermission, detail, 1+int64(min(e.Dropped, 1<<40))); err != nil && ctx.Err() == nil {
				a.log.Warn("record security event", "err", err)
			}
		}
	}
}

func (a *App) startFleet(ctx context.Context) error {
	conn, err := a.broker.Connect(ctx, "controller "+a.id[:8])
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	a.conn = conn
	a.onStop(func(context.Context) error { conn.Close(); return nil })
	key := a.install.CommandKey
	public := publicKey(key)
	a.keySet = wire.KeySet{Version: 1, Keys: []wire.Key{{ID: wire.KeyID(public), Public: public}}}
	roots, err := storageRoots(a.cfg.StorageCAFile)
	if err != nil {
		return err
	}
	stores := newStorages(a.log.Named("storage"), roots)
	a.onStop(func(context.Context) error { stores.close(); return nil })
	a.fleet = fleet.New(fleet.Options{
		Store: a.catalog, Storage: stores, Conn: conn, Log: a.log.Named("fleet"), Sender: sender, SigningKey: key, KeySet: a.keySet,
		Heartbeat: a.cfg.Timing.Heartbeat, LeaseMax: a.cfg.Timing.LeaseMax, URLExpires: a.cfg.Timing.URLExpires,
	})
	if err := a.fleet.Start(ctx); err != nil {
		return err
	}
	a.onStop(func(context.Context) error { a.fleet.Stop(); return nil })
	a.startAudit(ctx, stores)
	return nil
}

func (a *App) startScheduler(ctx context.Context) {
	s := scheduler.New(scheduler.Options{Store: a.catalog, Log: a.log.Named("scheduler"), Kick: a.fleet.Kick})
	s.Start(ctx)
	a.onStop(func(context.Context) error { s.Stop(); return nil })
}

func (a *App) startEvents(ctx context.Context) {
	a.events = events.New(events.Options{Store: a.catalog, Progress: a.fleet.Progress, Log: a.log.Named("events")})
	a.events.Start(ctx)
	a.onStop(func(context.Context) error { a.events.Stop(); return nil })
}

func (a *App) brokerReady(context.Context) error {
	if s := a.conn.Status(); s != nats.CONNECTED {
		return fmt.Errorf("the connection to the broker is %s", strings.ToLower(s.String()))
	}
	return nil
}

func (a *App) startAPI(ctx context.Context) error {
	names, ips := namesAndIPs(a.cfg.Names)
	host, _, err := net.SplitHostPort(a.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	hostNames, hostIPs := namesAndIPs([]string{host, "localhost", "127.0.0.1", "::1"})
	if hn, err := os.Hostname(); err == nil {
		hostNames = append(hostNames, hn)
	}
	if u, err := url.Parse(a.cfg.PublicURL); err == nil { // validated with the configuration
		n, i := namesAndIPs([]string{u.Hostname()})
		hostNames, hostIPs = append(hostNames, n...), append(hostIPs, i...)
	}
	names, ips = append(append(names, wire.ControllerName), hostNames...), append(ips, hostIPs...)
	a.certificates, err = certificate.New(certificate.Options{
		Issue:    func(now time.Time) (tls.Certificate, error) { return a.install.CA.IssueServer(now, names, ips) },
		CertFile: a.cfg.TLS.CertFile, KeyFile: a.cfg.TLS.KeyFile, Log: a.log.Named("certificate"),
	})
	if err != nil {
		return fmt.Errorf("the API's certificate: %w", err)
	}
	a.background(a.certificates.Watch)
	listener, err := tls.Listen("tcp", a.cfg.Listen, &tls.Config{GetCertificate: a.certificates.Get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	a.addr = listener.Addr().String()
	a.url = a.cfg.PublicURL
	if a.url == "" {
		a.url = "https://" + a.addr
	}
	hosts, err := bootstrap.New(bootstrap.Options{
		URL: a.url, CA: a.install.CA.CertPEM(), Given: a.certificates.GivenPair, Dir: a.cfg.Packages.Dir, Link: a.cfg.Packages.URL, Version: version.String(),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("the API's address: %w", err), listener.Close())
	}
	signIn, err := a.signIn()
	if err == nil {
		err = a.startAlarms(ctx)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler: web.New(api.New(api.Options{
			Store: a.catalog, Fleet: agents{a}, Cleaner: a.cleaner, Auditor: a.audit, Bootstrap: hosts, Events: a.events, Alarms: channels{a.alarms}, Origins: a.cfg.API.CORSOrigins,
			Rate: api.RateLimit{PerSecond: float64(a.cfg.API.RequestsPerSecond), Burst: a.cfg.API.RequestBurst}, Log: a.log.Named("api"), Version: version.String(), PublicURL: a.url, SignIn: signIn,
			Ready:   map[string]func(context.Context) error{"catalog": a.catalog.Ping, "broker": a.brokerReady},
			Metrics: api.Metrics{Handler: a.measure(), Allow: a.cfg.Metrics.Prefixes(), Token: a.cfg.Metrics.Token},
		})),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: a.log.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	server.RegisterOnShutdown(a.events.Cut) // it waits for streams otherwise
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			a.failed <- fmt.Errorf("serve the API: %w", err)
		}
	}()
	a.onStop(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = server.Close()
		}
		<-done
		return err
	})
	return nil
}

// Stop ends everything that Start began, last first. Stopping twice is no error.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	a.stop.Do(func() {
		for i := len(a.cleanup) - 1; i >= 0; i-- {
			errs = append(errs, a.cleanup[i](ctx))
		}
	})
	return errors.Join(errs...)
}

func namesAndIPs(list []string) (names []string, ips []net.IP) {
	for _, s := range list {
		if ip := net.ParseIP(s); ip != nil {
			ips = append(ips, ip)
		} else if s != "" {
			names = append(names, s)
		}
	}
	return names, ips
}
