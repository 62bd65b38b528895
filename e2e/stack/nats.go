package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"devflowbackup/shared/freeport"
)

// NATS is an external broker: a plain nats-server that runs in this process, from the configuration that a controller exports.
type NATS struct {
	port   int
	dir    string
	export []string // further arguments of the export
	server *server.Server
}

// NewNATS chooses where the broker will listen, so that controllers can be configured. It starts nothing.
func (s *Stack) NewNATS(name string) (*NATS, error) {
	port, err := freeport.Pick()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	n := &NATS{port: port, dir: s.path(name)}
	s.onStop(func(context.Context) error { n.Stop(); return nil })
	return n, nil
}

// NewNATSCluster chooses where the servers of a cluster will listen. Export and Start each of them.
func (s *Stack) NewNATSCluster(name string, servers int) ([]*NATS, error) {
	all, routes := make([]*NATS, servers), make([]int, servers)
	for i := range all {
		var err error
		if all[i], err = s.NewNATS(fmt.Sprintf("%s%d", name, i+1)); err != nil {
			return nil, err
		}
		if routes[i], err = freeport.Pick(); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
	}
	for i, n := range all {
		n.export = []string{"--server-name", fmt.Sprintf("%s%d", name, i+1), "--cluster-port", strconv.Itoa(routes[i])}
		for j, port := range routes {
			if j != i {
				n.export = append(n.export, "--route", freeport.Address(port))
			}
		}
	}
	return all, nil
}

// URL is where controllers and agents reach it.
func (n *NATS) URL() string { return "tls://" + freeport.Address(n.port) }

// Export has a controller write the broker's configuration. The first one makes the installation by that.
func (n *NATS) Export(ctx context.Context, c *Controller) error {
	args := append([]string{"nats", "export", n.dir, "--host", "127.0.0.1", "--port", strconv.Itoa(n.port), "--name", "127.0.0.1"}, n.export...)
	res, err := c.Run(ctx, args...)
	if err != nil {
		return fmt.Errorf("export NATS configuration: %w", err)
	}
	if res.Code != 0 {
		return fmt.Errorf("export NATS configuration: %s", res.Text())
	}
	return nil
}

// Start starts the broker from the exported configuration, on the same port each time.
func (n *NATS) Start() error {
	opts, err := server.ProcessConfigFile(filepath.Join(n.dir, "nats-server.conf"))
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	opts.NoSigs, opts.NoLog = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		srv.Shutdown()
		return errors.New("start NATS: it is not ready after 20 s")
	}
	n.server = srv
	return nil
}

// Stop cuts every connection and ends the broker. Stopping a stopped one does nothing.
func (n *NATS) Stop() {
	if n.server != nil {
		n.server.Shutdown()
		n.server.WaitForShutdown()
		n.server = nil
	}
}
