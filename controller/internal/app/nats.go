package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/config"
)

// NATSExport says how an external NATS server will run.
type NATSExport struct {
	Dir   string
	Host  string // where it listens; all addresses if empty
	Port  int
	Names []string // host names and addresses that its certificate carries

	Server  string   // its name; in a cluster each has another
	Cluster int      // port for the other servers of a cluster; 0 for a server by itself
	Routes  []string // where the others listen for that, host:port
}

// ExportNATS writes what an external nats-server needs to serve this installation, and makes the installation if there is none
// yet: then it returns what a first start has to tell.
func ExportNATS(ctx context.Context, cfg config.Config, log hclog.Logger, to NATSExport) (first *FirstStart, err error) {
	names := to.Names
	if len(names) == 0 {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("export NATS configuration: %w", err)
		}
		names = []string{host}
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return nil, err
	}
	err = withCatalog(ctx, cfg, "nats export", log, func(cat *catalog.Catalog) error {
		if _, err := cat.Migrate(ctx); err != nil {
			return fmt.Errorf("migrate the catalog: %w", err)
		}
		in, err := installation(ctx, cfg, cat)
		if err != nil {
			return err
		}
		first = in.first
		if err := writeFile(filepath.Join(cfg.DataDir, "ca.pem"), string(in.CA.CertPEM()), 0o644); err != nil {
			return fmt.Errorf("write the CA certificate: %w", err)
		}
		// Nothing is started or connected: the options only choose the accounts that are written.
		revoked, err := revokedKeys(ctx, cat, 0, log)
		if err != nil {
			return err
		}
		b, err := broker.New(broker.Options{Installation: in.Installation, AgentsJWT: in.agentsJWT, Revoked: revoked, Host: "127.0.0.1", Logger: log.Named("broker")})
		if err != nil {
			return fmt.Errorf("broker: %w", err)
		}
		opts := broker.ExportOptions{ServerName: to.Server, Host: to.Host, Port: to.Port, ClusterPort: to.Cluster, Routes: to.Routes}
		opts.Names, opts.IPs = namesAndIPs(names)
		return b.ExportConfig(to.Dir, opts)
	})
	return first, err
}
