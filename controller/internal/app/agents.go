package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/wire"
)

// agents is what the API may do with agents and storages: the fleet, and the broker's identities.
type agents struct{ a *App }

func (g agents) Kick() {
	g.a.fleet.Kick()
	g.a.reconcile.Kick()
}

func (g agents) Progress(job int64) (controller.Progress, bool) { return g.a.fleet.Progress(job) }

func (g agents) Inspect(ctx context.Context, server controller.Server, o wire.InspectOrder) (*wire.Target, error) {
	return g.a.fleet.Inspect(ctx, server, o)
}

func (g agents) Probe(ctx context.Context, spec controller.StorageSpec) (api.ProbeResult, error) {
	res, err := g.a.fleet.Probe(ctx, spec)
	return probeResult(res), err
}

func (g agents) ProbeStored(ctx context.Context, id int64) (api.ProbeResult, error) {
	res, err := g.a.fleet.ProbeStored(ctx, id)
	return probeResult(res), err
}

// ProbeChange tries changed settings of a storage beside those in use.
func (g agents) ProbeChange(ctx context.Context, storage controller.Storage, change controller.StorageChange) (api.ProbeResult, error) {
	res, err := g.a.fleet.ProbeChange(ctx, storage, change)
	return probeResult(res), err
}

// DownloadURL is a link of the store itself, where there is one.
func (g agents) DownloadURL(ctx context.Context, d controller.Download) (url string, ok bool, err error) {
	return g.a.fleet.DownloadURL(ctx, d)
}

// StreamDownload writes what a link gives, from offset on.
func (g agents) StreamDownload(ctx context.Context, d controller.Download, offset int64, w io.Writer) error {
	return g.a.fleet.StreamDownload(ctx, d, offset, w)
}

func probeResult(r fleet.ProbeResult) api.ProbeResult {
	return api.ProbeResult{Report: r.Report, OK: r.OK, ChecksumMode: r.ChecksumMode, Summary: r.Summary}
}

// IssueAgent signs the broker credentials of a new agent.
func (g agents) IssueAgent(_ context.Context, agentID, nkey string) (string, error) {
	jwt, err := g.a.broker.IssueAgent(agentID, nkey)
	if errors.Is(err, broker.ErrRevoked) {
		return "", controller.Errorf(controller.EConflict, "this agent key was revoked; enrol with new keys")
	}
	return jwt, err
}

// Enrolment is what an agent pins.
func (g agents) Enrolment() api.EnrolmentInfo {
	return api.EnrolmentInfo{
		NATSURLs: g.a.natsURL, CAPEM: g.a.install.CA.CertPEM(), KeySet: g.a.keySet, CAFingerprint: g.a.install.CA.Fingerprint(),
	}
}

// Revoke cuts the connections of a server that was revoked, or of the hosts that it had before. The catalog refuses them already.
func (g agents) Revoke(ctx context.Context, s controller.Server) error {
	keys, err := revokedKeys(ctx, g.a.catalog, s.ID, g.a.log)
	if err != nil {
		return err
	}
	return g.a.revoke(ctx, keys)
}

// revoke tells the broker, and keeps what it then says for later starts.
func (a *App) revoke(ctx context.Context, keys []string) error {
	jwt, err := a.broker.Revoke(ctx, keys...)
	if err != nil {
		return err
	}
	return a.install.keepAgentsJWT(ctx, a.catalog, jwt)
}

// revokedKeys are what the broker must refuse, of one server or of all for 0. What is no key at all it refuses anyway.
func revokedKeys(ctx context.Context, cat *catalog.Catalog, server int64, log hclog.Logger) ([]string, error) {
	keys, err := cat.RevokedKeys(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("read revoked keys: %w", err)
	}
	return slices.DeleteFunc(keys, func(k string) bool {
		bad := !nkeys.IsValidPublicUserKey(k)
		if bad {
			log.Warn("the catalog holds a revoked key that is none", "key", k)
		}
		return bad
	}), nil
}

// revokeEvery is how often the catalog is asked for keys that the broker must refuse from now on.
const revokeEvery = 5 * time.Second

// keepRevoking tells the broker what the catalog has revoked and nobody has told it: a controller may have died in between. told is
// what it knows.
func (a *App) keepRevoking(ctx context.Context, told []string) {
	known := make(map[string]bool, len(told))
	for _, k := range told {
		known[k] = true
	}
	tick := time.NewTicker(revokeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		keys, err := revokedKeys(ctx, a.catalog, 0, a.log)
		keys = slices.DeleteFunc(keys, func(k string) bool { return known[k] })
		if err == nil && len(keys) > 0 {
			err = a.revoke(ctx, keys)
		}
		switch {
		case err == nil:
			for _, k := range keys {
				known[k] = true
			}
		case ctx.Err() == nil:
			a.log.Warn("tell the broker whom to refuse", "err", err)
		}
	}
}

func publicKey(key ed25519.PrivateKey) ed25519.PublicKey {
	pub, _ := key.Public().(ed25519.PublicKey)
	return pub
}

// sender is the key of the agent that sent a message, as the broker says.
func sender(m *nats.Msg) (string, error) {
	s, err := broker.SenderOf(m)
	return s.UserKey, err
}
