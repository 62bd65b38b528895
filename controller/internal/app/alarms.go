package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/alarms"
	"devflowbackup/controller/internal/notify"
)

// startAlarms watches what goes wrong and tells people. The API's address and certificates are known by then.
func (a *App) startAlarms(ctx context.Context) error {
	sender, err := notify.New(notify.Options{Allow: a.cfg.Alarms.Allow, CA: a.cfg.Alarms.CA, Log: a.log.Named("notify")})
	if err != nil {
		return fmt.Errorf("alarms: %w", err)
	}
	a.alarms = alarms.New(alarms.Options{
		Store: a.catalog, Sender: sender, Log: a.log.Named("alarms"), URL: a.url, PingURL: a.cfg.Alarms.PingURL, Healthy: a.healthy, Ends: a.endings,
		Every: a.cfg.Alarms.Every, Patience: a.cfg.Alarms.Patience(), Grouping: a.cfg.Alarms.Grouping(),
		Probe: func(ctx context.Context, id int64) error {
			_, err := a.fleet.WatchStored(ctx, id)
			return err
		},
	})
	a.alarms.Start(ctx)
	a.onStop(func(context.Context) error { a.alarms.Stop(); return nil })
	return nil
}

// healthy tells whether this controller has what it needs.
func (a *App) healthy(ctx context.Context) error {
	return errors.Join(a.catalog.Ping(ctx), a.brokerReady(ctx))
}

// endings are the ends of certificates, as people call them.
func (a *App) endings() []controller.CertificateEnd {
	names := map[string]string{"ca": "The certificate of the installation's own authority", "api": "The certificate that the API was given"}
	var out []controller.CertificateEnd
	ends := a.certificatesEnd()
	for _, which := range slices.Sorted(maps.Keys(ends)) {
		name := names[which]
		if name == "" {
			name = "Certificate " + which
		}
		out = append(out, controller.CertificateEnd{Name: name, At: ends[which]})
	}
	return out
}
