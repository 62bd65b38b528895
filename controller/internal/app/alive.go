package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"devflowbackup/shared/wire"
)

// Alive tells whether this process still does what it alone can do: it answers requests, and its own broker carries messages.
// A catalog or an external broker that is away is no error here: a new start of the controller would not mend it. To be
// called between Start and Stop.
func (a *App) Alive(ctx context.Context) error {
	if len(a.cfg.NATS.URLs) == 0 {
		if err := a.conn.FlushWithContext(ctx); err != nil {
			return fmt.Errorf("the embedded broker: %w", err)
		}
	}
	if err := a.answers(ctx); err != nil {
		return fmt.Errorf("the API: %w", err)
	}
	return nil
}

// answers asks the API as anybody would, by a connection of its own.
func (a *App) answers(ctx context.Context) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.install.CA.CertPEM()) {
		return errors.New("the CA certificate cannot be read")
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: wire.ControllerName, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", a.addr) // an unspecified address is this host
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask: status %d", resp.StatusCode)
	}
	return nil
}
