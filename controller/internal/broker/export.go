package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"devflowbackup/controller/internal/keys"
)

// ExportOptions say how an external NATS server will run.
type ExportOptions struct {
	ServerName string // by default "devflow-nats"
	Host       string // where it listens, by default all addresses
	Port       int    // by default 4222
	// Names and IPs are what agents and controllers call it; they go into its certificate. At least one is needed.
	Names []string
	IPs   []net.IP
	// ClusterPort is where the server talks with the others of a cluster, on the same host; 0 for a server by itself. Routes are where
	// others listen for that, host:port. They know each other by certificates of our CA.
	ClusterPort int
	Routes      []string
}

// ExportConfig writes into dir what an external nats-server needs to run with our operator: nats-server.conf, the operator's
// and the accounts' JWTs and a certificate of our CA with its key. No seed is written. Files of an earlier export are replaced;
// an account that the server has changed since, by revocations, is newer and stays. Run it as `nats-server -c DIR/nats-server.conf`.
func (b *Broker) ExportConfig(dir string, opts ExportOptions) error {
	if opts.ServerName == "" {
		opts.ServerName = "devflow-nats"
	}
	if opts.Port == 0 {
		opts.Port = 4222
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("export NATS configuration: %w", err)
	}
	if opts.ClusterPort == 0 && len(opts.Routes) > 0 {
		return errors.New("export NATS configuration: routes need a cluster port")
	}
	certificate, err := b.opts.Installation.CA.IssuePeer(b.opts.Now(), opts.Names, opts.IPs)
	if err != nil {
		return fmt.Errorf("export NATS configuration: %w", err)
	}
	certPEM, keyPEM, err := keys.EncodeServer(certificate)
	if err != nil {
		return fmt.Errorf("export NATS configuration: %w", err)
	}
	config, err := b.config(dir, opts)
	if err != nil {
		return fmt.Errorf("export NATS configuration: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("export NATS configuration: %w", err)
	}
	for _, file := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{
		{"operator.jwt", []byte(b.authority.operator + "\n"), 0o644},
		{"ca.crt", b.opts.Installation.CA.CertPEM(), 0o644},
		{"server.crt", certPEM, 0o644},
		{"server.key", keyPEM, 0o600},
		{"nats-server.conf", []byte(config), 0o644},
	} {
		if err := replaceFile(filepath.Join(dir, file.name), file.content, file.mode); err != nil {
			return fmt.Errorf("export NATS configuration: %w", err)
		}
	}
	return nil
}

func (b *Broker) config(dir string, opts ExportOptions) (string, error) {
	var failed error
	quote := func(text string) string {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) {
			failed = errors.Join(failed, fmt.Errorf("%q cannot stand in a NATS configuration", text))
		}
		return `"` + text + `"`
	}
	var c strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&c, format+"\n", args...) }
	line("# NATS server for DevFlow Backup.")
	line("server_name: %s", quote(opts.ServerName))
	line("listen: %s", quote(net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port))))
	line("max_payload: %d", maxPayload)
	line("authorization { timeout: %d }", int(handshakeTimeout.Seconds())+5)
	line("tls {")
	line("  cert_file: %s", quote(filepath.Join(dir, "server.crt")))
	line("  key_file: %s", quote(filepath.Join(dir, "server.key")))
	line("  timeout: %d", int(handshakeTimeout.Seconds()))
	line("}")
	if opts.ClusterPort > 0 {
		line("cluster {")
		line("  name: devflow")
		line("  listen: %s", quote(net.JoinHostPort(opts.Host, strconv.Itoa(opts.ClusterPort))))
		line("  tls {") // both ends show a certificate: agents have none
		line("    cert_file: %s", quote(filepath.Join(dir, "server.crt")))
		line("    key_file: %s", quote(filepath.Join(dir, "server.key")))
		line("    ca_file: %s", quote(filepath.Join(dir, "ca.crt")))
		line("    timeout: %d", int(handshakeTimeout.Seconds()))
		line("  }")
		line("  routes: [")
		for _, route := range opts.Routes {
			line("    %s", quote("tls://"+route))
		}
		line("  ]")
		line("}")
	}
	line("operator: %s", quote(filepath.Join(dir, "operator.jwt")))
	line("system_account: %s", b.authority.systemPub)
	line("resolver {")
	line("  type: full")
	line("  dir: %s", quote(filepath.Join(dir, "accounts")))
	line("  allow_delete: false")
	line("  interval: \"10s\"") // a server that was away missed revocations: until it asks the others it lets those agents in
	line("}")
	line("resolver_preload {")
	for _, account := range b.authority.accounts(b.AgentsJWT()) {
		line("  %s: %s", account[0], account[1])
	}
	line("}")
	return c.String(), failed
}

func replaceFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
