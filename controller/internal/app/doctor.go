package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

const (
	clockWarning  = 2 * time.Second
	clockError    = time.Minute
	oldBackup     = 7 * 24 * time.Hour
	anchorOld     = 48 * time.Hour
	auditPatience = 2 * time.Minute
	probePatience = 2 * time.Minute
	liveWithin    = 15.0 // seconds since a controller's last word
)

// Doctor looks at an installation as a whole and says what to mend. It changes nothing in the catalog, holds no lock and may run
// beside controllers; a storage gets the objects that a probe writes and removes.
func Doctor(ctx context.Context, cfg config.Config, file string, log hclog.Logger) []Finding {
	f := findings(CheckConfig(ctx, cfg, file, false, log))
	f.space("data_dir", cfg.DataDir)
	err := withCatalog(ctx, cfg, "doctor", log, func(cat *catalog.Catalog) error {
		f.catalog(ctx, cfg, cat, log)
		return nil
	})
	if err != nil {
		hint := ""
		if cfg.Embedded {
			hint = "with --embedded the catalog runs inside the controller: stop it first"
		}
		f.fail("catalog", err, hint)
	}
	return f
}

func (f *findings) catalog(ctx context.Context, cfg config.Config, cat *catalog.Catalog, log hclog.Logger) {
	pending, err := cat.MigrationsPending(ctx)
	switch {
	case err != nil:
		f.fail("migrations", err, "")
		return
	case len(pending) > 0:
		f.add(FindingError, "migrations", "the catalog lacks "+strings.Join(pending, ", "), "start this version of the controller, or run `devflow-controller migrate`")
		return
	}
	f.ok("migrations", "all are applied")
	before := time.Now()
	h, err := cat.Health(ctx, oldBackup)
	if err != nil {
		f.fail("catalog", err, "")
		return
	}
	f.ok("catalog", "PostgreSQL %s, database %q of %d MiB, role %q", h.ServerVersion, h.Database, h.SizeBytes>>20, h.Role)
	f.clock(h.Now, before, time.Now())
	f.rights(h)
	f.installation(ctx, cfg, cat, log)
	f.controllers(cfg, h)
	f.servers(ctx, cat)
	f.jobs(h)
	f.backups(h)
	f.audit(ctx, cat)
}

// clock compares this host's clock with PostgreSQL's, which was read between before and after.
func (f *findings) clock(db, before, after time.Time) {
	off := db.Sub(before.Add(after.Sub(before) / 2)).Round(time.Millisecond)
	hint := "run NTP on this host and on that of PostgreSQL: presigned requests and certificates depend on it"
	switch text := fmt.Sprintf("PostgreSQL's differs from this host's by %s", off); {
	case off.Abs() > clockError+after.Sub(before):
		f.add(FindingError, "clock", text, hint)
	case off.Abs() > clockWarning+after.Sub(before):
		f.add(FindingWarning, "clock", text, hint)
	default:
		f.ok("clock", "%s", text)
	}
}

func (f *findings) rights(h catalog.Health) {
	if len(h.Unprotected) > 0 {
		f.add(FindingError, "row-level security", "does not hold for "+strings.Join(h.Unprotected, ", "),
			"somebody has changed the schema: ALTER TABLE … ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
	} else {
		f.ok("row-level security", "in force; the role is no superuser and does not bypass it")
	}
	if len(h.Foreign) > 0 {
		f.add(FindingError, "catalog role", "does not own "+strings.Join(h.Foreign, ", "),
			fmt.Sprintf("migrations would fail: ALTER TABLE … OWNER TO %q", h.Role))
	}
}

// installation proves the master key on the catalog, and looks at what only it opens.
func (f *findings) installation(ctx context.Context, cfg config.Config, cat *catalog.Catalog, log hclog.Logger) {
	found, err := cat.Installation(ctx)
	switch {
	case err != nil:
		f.fail("installation", err, "")
		return
	case found == nil:
		f.add(FindingWarning, "installation", "there is none yet", "start the controller: its first start makes it")
		return
	}
	master, err := keys.LoadMaster(cfg.MasterKeyFile)
	if err == nil {
		err = master.Verify(found.CheckValue)
	}
	var in *keys.Installation
	if err == nil {
		in, err = keys.OpenSecrets(master, found.Secrets)
	}
	if err != nil {
		f.fail("master key", fmt.Errorf("%s: %w", cfg.MasterKeyFile, err), "copy the master key of this installation there, or recover it with the recovery key")
		return
	}
	f.ok("master key", "opens installation %s", in.ID)
	cat.SetSealer(sealer{master})
	f.validity("CA", "the installation's authority", in.CA.Certificate(), authorityEndsSoon, time.Now())
	f.api(ctx, cfg, in)
	f.external(ctx, cfg, in)
	f.storages(ctx, cfg, cat, log)
}

// api asks this host's controller, as anybody would.
func (f *findings) api(ctx context.Context, cfg config.Config, in *keys.Installation) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialPatience)
	defer cancel()
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		f.fail("controller", err, "")
		return
	}
	if unspecified(cfg.Listen) {
		host = "localhost"
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: in.CA.Pool(), ServerName: wire.ControllerName, MinVersion: tls.VersionTLS12}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		f.fail("controller", err, "")
		return
	}
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		f.fail("controller", fmt.Errorf("does not answer at %s: %w", cfg.Listen, err), "look at `systemctl status devflow-controller` and its log")
		return
	}
	defer func() { _ = res.Body.Close() }()
	var ready struct {
		Checks map[string]string `json:"checks"`
	}
	_ = json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&ready) // the status counts
	var bad []string
	for name, word := range ready.Checks {
		if word != "ok" {
			bad = append(bad, name)
		}
	}
	slices.Sort(bad)
	if res.StatusCode != http.StatusOK {
		f.add(FindingError, "controller", fmt.Sprintf("answers at %s, and is not ready: %s", cfg.Listen, strings.Join(bad, ", ")), "its log tells why")
	} else {
		f.ok("controller", "answers at %s, with catalog and broker", cfg.Listen)
	}
	if shown := res.TLS; shown != nil && len(shown.PeerCertificates) > 0 {
		f.validity("certificate", "the controller's own", shown.PeerCertificates[0], givenEndsSoon, time.Now())
	}
}

// external logs in at each server of an external cluster by itself: one that is down is not hidden by the others.
func (f *findings) external(ctx context.Context, cfg config.Config, in *keys.Installation) {
	for _, raw := range cfg.NATS.URLs {
		check := "broker " + hostOf(raw)
		b, err := broker.New(broker.Options{Installation: in, ExternalURLs: []string{raw}, ExternalCAFile: cfg.NATS.CAFile})
		if err != nil {
			f.fail(check, err, "")
			continue
		}
		dial, cancel := context.WithTimeout(ctx, 2*dialPatience)
		nc, err := b.Connect(dial, "devflow-controller-doctor")
		cancel()
		if err != nil {
			f.fail(check, err, "look whether nats-server runs there with what `devflow-controller nats export` wrote")
			continue
		}
		f.ok(check, "lets controllers in, server %s", nc.ConnectedServerName())
		nc.Close()
	}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "4222")
	}
	return u.Host
}

func (f *findings) storages(ctx context.Context, cfg config.Config, cat *catalog.Catalog, log hclog.Logger) {
	all, err := controller.Every(ctx, func(ctx context.Context, p controller.Part) ([]controller.Storage, error) {
		return cat.Storages(ctx, wholeActor, controller.StorageFilter{Part: p})
	}, func(s controller.Storage) int64 { return s.ID })
	if err != nil {
		f.fail("storages", err, "")
		return
	}
	if len(all) == 0 {
		f.add(FindingWarning, "storages", "there is none", "`devflowctl storage add` makes one")
		return
	}
	roots, err := storageRoots(cfg.StorageCAFile)
	if err != nil {
		f.fail("storages", err, "")
		return
	}
	stores := newStorages(log, roots)
	defer stores.close()
	for _, s := range all {
		check := "storage " + s.Name
		if s.Kind == controller.StorageLocal {
			f.ok(check, "the backup directory of each host, which is looked at with its server")
			continue
		}
		access, err := cat.StorageAccess(ctx, s.ID)
		if err != nil {
			f.fail(check, err, "")
			continue
		}
		probing, cancel := context.WithTimeout(ctx, probePatience)
		begun := time.Now()
		res, err := stores.Probe(probing, access, "")
		cancel()
		hint := fmt.Sprintf("`devflowctl storage probe %s` tells each step", s.Name)
		switch {
		case err != nil:
			f.fail(check, err, hint)
		case !res.OK:
			f.add(FindingError, check, res.Summary, hint)
		default:
			f.ok(check, "probed in %s, parts by %s", time.Since(begun).Round(time.Millisecond), res.ChecksumMode)
		}
	}
}

// wholeActor sees the installation.
var wholeActor = controller.Actor{Name: "devflow-controller doctor", Scope: controller.Scope{All: true}}

func (f *findings) controllers(cfg config.Config, h catalog.Health) {
	var up, versions []string
	embedded := 0
	for _, c := range h.Controllers {
		if c.Silent > liveWithin {
			continue
		}
		up = append(up, c.ID[:min(8, len(c.ID))])
		if !slices.Contains(versions, c.Version) {
			versions = append(versions, c.Version)
		}
		if c.Broker == "embedded" {
			embedded++
		}
	}
	switch {
	case len(up) == 0:
		f.add(FindingError, "controllers", "none is up", "start devflow-controller: nothing is backed up meanwhile")
	case len(versions) > 1:
		f.add(FindingWarning, "controllers", fmt.Sprintf("%d are up, of different versions: %s", len(up), strings.Join(versions, ", ")), "upgrade all; the oldest decides what works")
	case embedded > 0 && len(cfg.NATS.URLs) > 0:
		f.add(FindingError, "controllers", "one with an embedded broker is up, and this configuration names an external one", "stop it, or remove nats.urls here")
	default:
		f.ok("controllers", "%d up: %s, version %s", len(up), strings.Join(up, ", "), versions[0])
	}
}

func (f *findings) servers(ctx context.Context, cat *catalog.Catalog) {
	all, err := controller.Every(ctx, func(ctx context.Context, p controller.Part) ([]controller.Server, error) {
		return cat.Servers(ctx, wholeActor, controller.ServerFilter{Part: p})
	}, func(s controller.Server) int64 { return s.ID })
	if err != nil {
		f.fail("servers", err, "")
		return
	}
	online := 0
	for _, s := range all {
		if s.RevokedAt != nil {
			continue
		}
		check := "server " + s.Name
		seen := "never"
		if s.LastSeenAt != nil {
			seen = s.LastSeenAt.UTC().Format(time.RFC3339)
		}
		switch {
		case !s.Online:
			f.add(FindingError, check, "its agent is offline, last seen "+seen, "on that host: `devflow-agent status`, then `devflow-agent check`; a host that is gone: `devflowctl server revoke`")
			continue
		case s.Outdated:
			f.add(FindingWarning, check, fmt.Sprintf("its agent is %s, older than %s", s.AgentVersion, version.Version), "install this version of devflow-agent there")
		}
		online++
		for _, i := range s.Instances {
			if i.Error != "" {
				f.add(FindingError, check, fmt.Sprintf("instance %s: %s", i.Name, i.Error), "on that host: `devflow-agent check`")
			}
		}
		if l := s.Host.Local; l != nil {
			switch {
			case l.Error != "":
				f.add(FindingError, check, "backup directory "+l.Dir+": "+l.Error, "on that host: `devflow-agent check`")
			case l.FreeBytes < 2*l.MinFree:
				f.add(FindingWarning, check, fmt.Sprintf("backup directory %s has %d MiB free, and backups stop at %d", l.Dir, l.FreeBytes>>20, l.MinFree>>20), "make room there, or shorten retention")
			}
		}
	}
	f.ok("servers", "%d online", online)
}

func (f *findings) jobs(h catalog.Health) {
	if len(h.Stuck) == 0 {
		f.ok("jobs", "none is stuck")
	}
	for _, j := range h.Stuck {
		f.add(FindingWarning, fmt.Sprintf("job %d", j.ID), fmt.Sprintf("%s of server %s, %s since %s: %s", j.Kind, j.Server, j.Status, j.CreatedAt.UTC().Format(time.RFC3339), j.Reason),
			"look at its server, and at `devflowctl backup list`; `devflowctl backup cancel` ends a backup")
	}
}

func (f *findings) backups(h catalog.Health) {
	if len(h.Unsafe) == 0 {
		f.ok("backups", "each of %d databases has a good one from the last %d days", h.Databases, int(oldBackup.Hours()/24))
	}
	for _, u := range h.Unsafe {
		check := fmt.Sprintf("database %s of %s", u.Name, u.Server)
		good := "no good backup"
		if u.LastGood != nil {
			good = "the last good backup is of " + u.LastGood.UTC().Format(time.RFC3339)
		}
		if u.LastStatus == "failed" {
			good += "; the last one failed: " + u.LastError
		}
		f.add(FindingWarning, check, good, fmt.Sprintf("`devflowctl backup list %s`, and give it a schedule", u.Project))
	}
}

// audit walks the whole chain, against the anchors that the catalog knows.
func (f *findings) audit(ctx context.Context, cat *catalog.Catalog) {
	ctx, cancel := context.WithTimeout(ctx, auditPatience)
	defer cancel()
	anchors, err := cat.AuditAnchors(ctx)
	var known []controller.KnownHead
	for _, a := range anchors {
		known = append(known, controller.KnownHead{AuditHead: a.AuditHead, Source: "the anchor in the catalog"})
	}
	var res controller.AuditCheck
	if err == nil {
		res, err = cat.CheckAudit(ctx, wholeActor, known)
	}
	switch {
	case err != nil:
		f.fail("audit log", err, "")
	case !res.OK:
		f.add(FindingError, "audit log", fmt.Sprintf("row %d: %s", res.BadSeq, res.Problem), "somebody has changed it: `devflowctl audit verify` compares it with the anchors in the storages too")
	case res.Rows > 0 && (len(anchors) == 0 || time.Since(anchors[len(anchors)-1].At) > anchorOld):
		f.add(FindingWarning, "audit log", fmt.Sprintf("%d rows are whole, and no anchor of the last %d hours is in a storage", res.Rows, int(anchorOld.Hours())), "add a default storage: what is anchored there cannot be cut unseen")
	default:
		f.ok("audit log", "%d rows are whole, head %d, %d anchors", res.Rows, res.Head.Seq, len(anchors))
	}
}

// space looks at the disk that a directory lies on.
func (f *findings) space(check, dir string) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return // that it is not there has been said
	}
	free, total := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize) //nolint:gosec // a block's size is positive
	text := fmt.Sprintf("%d MiB of %d MiB free", free>>20, total>>20)
	switch {
	case free < 64<<20:
		f.add(FindingError, check, text, "make room on the disk of "+dir)
	case free < 1<<30 || free < total/20:
		f.add(FindingWarning, check, text, "make room on the disk of "+dir)
	default:
		f.ok(check, "%s", text)
	}
}
