package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/fleet"
)

// agents is what the API may do with agents and storages: the fleet, and the broker's identities.
type agents struct{ a *App }

func (g agents) Kick() { g.a.fleet.Kick() }

func (g agents) Progress(job int64) (controller.Progress, bool) { return g.a.fleet.Progress(job) }

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

// Revoke cuts a revoked server's connection. The catalog has refused it already; the revocation is kept for later starts.
func (g agents) Revoke(ctx context.Context, s controller.Server) error {
	jwt, err := g.a.broker.Revoke(ctx, s.NKey)
	if err != nil {
		return err
	}
	return g.a.install.keepAgentsJWT(ctx, g.a.catalog, jwt)
}

func publicKey(key ed25519.PrivateKey) ed25519.PublicKey {
	pub, _ := key.Public().(ed25519.PublicKey)
	return pub
}
