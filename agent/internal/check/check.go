// Package check looks at everything that the agent depends on and says what to mend. It changes nothing: it starts no
// session, so it can be run beside a running agent.
package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/shared/wire"
)

const (
	dialTimeout   = 10 * time.Second
	engineTimeout = time.Minute
)

// Levels of findings.
const (
	OK      = "ok"
	Warning = "warning"
	Error   = "error"
)

// Row is one finding about one thing.
type Row struct {
	About string // "controller", "instance main", …
	engine.Finding
}

// Run looks at the identity, the way to the controllers, the backup directory, and each database server.
func Run(ctx context.Context, cfg config.Config, open func(config.Instance, hclog.Logger) (engine.Engine, error), log hclog.Logger) []Row {
	var rows []Row
	add := func(about, level, name, detail, hint string) {
		rows = append(rows, Row{about, engine.Finding{Level: level, Name: name, Detail: detail, Hint: hint}})
	}
	id, err := identity.Load(cfg.StateDir)
	if err != nil {
		hint := ""
		if errors.Is(err, identity.ErrNotEnrolled) {
			hint = "make a token with `devflowctl server token NAME`, then run the command that it prints"
		}
		add("identity", Error, "enrolled", err.Error(), hint)
	} else {
		inst := id.Installation()
		add("identity", OK, "enrolled", fmt.Sprintf("server %s (%s), key set %d", inst.ServerName, inst.ServerID, inst.KeySet.Version), "")
		rows = append(rows, reach(ctx, inst)...)
	}
	for _, f := range local(cfg) {
		rows = append(rows, Row{"backup directory", f})
	}
	if len(cfg.Instances) == 0 {
		add("configuration", Warning, "instances", "no database server is configured", "add one under instances")
	}
	for _, in := range cfg.Instances {
		rows = append(rows, Instance(ctx, in, open, log)...)
	}
	return rows
}

// Instance looks at one database server.
func Instance(ctx context.Context, in config.Instance, open func(config.Instance, hclog.Logger) (engine.Engine, error), log hclog.Logger) []Row {
	about := "instance " + in.Name
	e, err := open(in, log)
	if err != nil {
		return []Row{{about, engine.Finding{Level: Error, Name: "configuration", Detail: err.Error()}}}
	}
	var rows []Row
	ectx, cancel := context.WithTimeout(ctx, engineTimeout)
	for _, f := range e.Check(ectx) {
		rows = append(rows, Row{about, f})
	}
	cancel()
	if !in.Restore.Allowed() {
		rows = append(rows, Row{about, engine.Finding{Level: OK, Name: "restore", Detail: "not allowed by this host"}})
	}
	for _, f := range inPlace(ctx, in, e) {
		rows = append(rows, Row{about, f})
	}
	return rows
}

// reach connects to the controller and to each broker, and verifies both against the installation's CA.
func reach(ctx context.Context, inst identity.Installation) []Row {
	var rows []Row
	add := func(name string, detail string, err error, hint string) {
		if err != nil {
			rows = append(rows, Row{"controller", engine.Finding{Level: Error, Name: name, Detail: err.Error(), Hint: hint}})
			return
		}
		rows = append(rows, Row{"controller", engine.Finding{Level: OK, Name: name, Detail: detail}})
	}
	roots, err := inst.Roots()
	if err != nil {
		add("ca", "", err, "enrol again with --force")
		return rows
	}
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	err = get(ctx, inst.Controller, cfg)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		// The controller shows people a certificate of another authority. Its own it shows by the name that only that one has.
		own := cfg.Clone()
		own.ServerName = wire.ControllerName
		err = get(ctx, inst.Controller, own)
	}
	add("https", inst.Controller, err, "is the controller running, and its port open to this host?")
	for _, u := range inst.NATSURLs {
		add("nats", u, greet(ctx, u, cfg), "is the broker running, and its port open to this host?")
	}
	return rows
}

func get(ctx context.Context, base string, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("controller URL: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s/healthz answers with status %d", base, resp.StatusCode)
	}
	return nil
}

// greet reads the broker's greeting and makes the TLS handshake; it does not log in.
func greet(ctx context.Context, text string, cfg *tls.Config) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("NATS URL: %w", err)
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "4222")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	greeting := make([]byte, 5)
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("%s sends no greeting: %w", addr, err)
	}
	if string(greeting) != "INFO " {
		return fmt.Errorf("%s is no NATS server", addr)
	}
	for b := make([]byte, 1); b[0] != '\n'; { // the rest of the line, in plain text before TLS
		if _, err := io.ReadFull(conn, b); err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
	}
	cfg = cfg.Clone()
	cfg.ServerName = u.Hostname()
	if err := tls.Client(conn, cfg).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%s: TLS: %w", addr, err)
	}
	return nil
}

// Print writes the findings as a table and tells whether none of them is an error.
func Print(w io.Writer, rows []Row) (fine bool) {
	fine = true
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LEVEL\tABOUT\tCHECK\tDETAIL")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Level, r.About, r.Name, r.Detail)
		fine = fine && r.Level != Error
	}
	_ = t.Flush()
	for _, r := range rows {
		if r.Hint != "" && r.Level != OK {
			fmt.Fprintf(w, "\n%s, %s: %s\n", r.About, r.Name, r.Hint)
		}
	}
	return fine
}
