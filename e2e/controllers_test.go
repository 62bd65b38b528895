package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/freeport"
	"devflowbackup/shared/secret"
)

// newCatalog makes a catalog's database with the role that owns it.
func newCatalog(t *testing.T, ctx context.Context, p *stack.Postgres, name string) secret.String {
	t.Helper()
	password := secret.String("catalog-password-of-" + name)
	if err := errors.Join(p.CreateRole(ctx, name, password), p.CreateDatabase(ctx, name, name)); err != nil {
		t.Fatal(err)
	}
	return p.UserDSN(name, password, name)
}

// TestControllers_SideBySide runs two controllers on one catalog and one external broker. Each job is done once, whichever
// controller took it, and the end of one is no end of the work.
func TestControllers_SideBySide(t *testing.T) {
	s, ctx := newStack(t)
	pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s3, err := s.StartS3(ctx, "s3", stack.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	dsn := newCatalog(t, ctx, pg, "catalog")
	nats, err := s.NewNATS("nats")
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.NewController("one", stack.ControllerOptions{CatalogDSN: dsn, NATS: nats, Timing: stack.Quick()})
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.NewController("two", stack.ControllerOptions{
		CatalogDSN: dsn, NATS: nats, Timing: stack.Quick(), MasterKeyFile: filepath.Join(one.Dir, "master.key"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nats.Export(ctx, one), nats.Start()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Start(ctx), two.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(one.Dir, "admin.token")
	first, other := one.ClientWithFile(admin), two.ClientWithFile(admin)

	if err := first.AddStorage(ctx, "store", s3); err != nil {
		t.Fatal(err)
	}
	agent, err := s.NewAgent("db1", stack.AgentOptions{
		Servers: map[string]stack.Server{"main": pg}, Limits: map[string]any{"discovery_every": "2s"},
		Instance: map[string]any{"databases": map[string]any{"exclude": []string{"catalog"}}},
		Extra:    map[string]any{"concurrency": 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(agent.Enroll(ctx, one, ""), agent.StartOnline(ctx, one, 0)); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, first, "project", "create", "pair")
	do(t, ctx, first, "project", "grant", "pair", "db1")
	const databases = 4
	for i := range databases {
		name := fmt.Sprintf("data%d", i)
		makeDatabase(t, ctx, pg, name)
		found(t, ctx, other, "db1", name)
		do(t, ctx, other, "database", "assign", name, "--project", "pair")
	}

	// Ordered at one, seen and awaited at the other.
	do(t, ctx, first, "backup", "create", "pair", "--wait")
	do(t, ctx, other, "backup", "create", "pair", "--wait")
	completed := completedOnce(t, ctx, other, s3, "pair", 2*databases)
	do(t, ctx, first, "backup", "verify", "--project", "pair", "--level", "content")
	do(t, ctx, other, "restore", "create", id(completed[0].ID), "--to-database", "copied", "--wait")
	sameContent(t, ctx, pg, completed[0].DatabaseName, "copied")

	// One controller dies with all four jobs on their way.
	do(t, ctx, first, "backup", "create", "pair")
	if err := one.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, b := range mustBackups(t, ctx, other, "pair")[:databases] {
		if _, err := other.AwaitBackup(ctx, b.ID, "completed", 90*time.Second); err != nil {
			t.Error(err)
		}
	}
	completedOnce(t, ctx, other, s3, "pair", 3*databases)
	do(t, ctx, other, "backup", "create", "pair", "--wait")

	// The killed one comes back at once, as itself.
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, first, "backup", "create", "pair", "--wait")
	completedOnce(t, ctx, first, s3, "pair", 5*databases)
}

// TestControllers_Balanced runs two controllers behind a balancer, on a cluster of three brokers. Whoever calls does not see which
// controller answers, that a broker dies, or that controllers are stopped and started one after the other.
func TestControllers_Balanced(t *testing.T) {
	t.Parallel()
	s, ctx := newStack(t)
	pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s3, err := s.StartS3(ctx, "s3", stack.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	dsn := newCatalog(t, ctx, pg, "catalog")
	brokers, err := s.NewNATSCluster("nats", 3)
	if err != nil {
		t.Fatal(err)
	}
	var ports [2]int
	for i := range ports {
		if ports[i], err = freeport.Pick(); err != nil {
			t.Fatal(err)
		}
	}
	balancer, err := s.StartBalancer(ports[:]...)
	if err != nil {
		t.Fatal(err)
	}
	public := map[string]any{"public_url": balancer.URL()}
	one, err := s.NewController("one", stack.ControllerOptions{CatalogDSN: dsn, Cluster: brokers, Timing: stack.Quick(), Port: ports[0], Extra: public})
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.NewController("two", stack.ControllerOptions{
		CatalogDSN: dsn, Cluster: brokers, Timing: stack.Quick(), Port: ports[1], Extra: public, MasterKeyFile: filepath.Join(one.Dir, "master.key"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range brokers {
		if err := n.Export(ctx, one); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range brokers {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(one.Start(ctx), two.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	admin := one.Admin().At(balancer.URL())
	if one.URL() != balancer.URL() {
		t.Fatalf("the controllers are called %s", one.URL())
	}

	if err := admin.AddStorage(ctx, "store", s3); err != nil {
		t.Fatal(err)
	}
	agent, err := s.NewAgent("db1", stack.AgentOptions{
		Servers: map[string]stack.Server{"main": pg}, Limits: map[string]any{"discovery_every": "2s"},
		Instance: map[string]any{"databases": map[string]any{"exclude": []string{"catalog"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(agent.Enroll(ctx, one, ""), agent.StartOnline(ctx, one, 0)); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, admin, "project", "create", "shop")
	do(t, ctx, admin, "project", "grant", "shop", "db1")
	makeDatabase(t, ctx, pg, "data")
	found(t, ctx, admin, "db1", "data")
	do(t, ctx, admin, "database", "assign", "data", "--project", "shop")
	do(t, ctx, admin, "backup", "create", "shop", "--wait")
	// One controller makes the link, and another one may follow it.
	first := completedOnce(t, ctx, admin, s3, "shop", 1)[0]
	do(t, ctx, admin, "backup", "download", id(first.ID), "-o", filepath.Join(s.Dir, "copy"))

	// A reload is taken by both daemons, and a doctor has no complaint.
	from := logSize(t, agent.LogFile())
	if res, err := agent.Run(ctx, "reload"); err != nil || res.Code != 0 {
		t.Fatalf("%v: %s", err, res.Text())
	}
	logged(t, ctx, agent.LogFile(), from, "configuration read anew")
	from = logSize(t, one.LogFile())
	if res, err := one.Run(ctx, "reload"); err != nil || res.Code != 0 {
		t.Fatalf("%v: %s", err, res.Text())
	}
	logged(t, ctx, one.LogFile(), from, "configuration read anew")
	if res, err := two.Run(ctx, "doctor"); err != nil || res.Code != 0 || !strings.Contains(res.Out, "2 up") || !strings.Contains(res.Out, "storage store") {
		t.Errorf("%v: %s", err, res.Text())
	}

	// A broker dies under a backup.
	do(t, ctx, admin, "backup", "create", "shop")
	brokers[0].Stop()
	if _, err := admin.AwaitBackup(ctx, mustBackups(t, ctx, admin, "shop")[0].ID, "completed", 60*time.Second); err != nil {
		t.Error(err)
	}
	res, err := one.Run(ctx, "doctor")
	if err != nil || res.Code != 1 || !strings.Contains(res.Out, "broker "+strings.TrimPrefix(brokers[0].URL(), "tls://")) {
		t.Errorf("the doctor does not see that a broker is gone: %v %s", err, res.Text())
	}
	if err := brokers[0].Start(); err != nil {
		t.Fatal(err)
	}

	// Both are stopped and started in turn, as for an upgrade, and no call fails.
	asking, stop := context.WithCancel(ctx)
	defer stop()
	asked := make(chan error, 1)
	calls := 0
	go func() {
		for asking.Err() == nil {
			if err := admin.API(ctx, "GET", "/projects", nil, nil); err != nil {
				asked <- err
				return
			}
			calls++
		}
		asked <- nil
	}()
	for _, c := range []*stack.Controller{one, two} {
		if err := c.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-asked; err != nil || calls == 0 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	do(t, ctx, admin, "backup", "create", "shop", "--wait")
	completedOnce(t, ctx, admin, s3, "shop", 3)
	for n := range ports {
		if balancer.Given(n) == 0 {
			t.Errorf("controller %d was never asked", n+1)
		}
	}
}

func mustBackups(t *testing.T, ctx context.Context, c *stack.Client, project string) []stack.Backup {
	t.Helper()
	all, err := c.Backups(ctx, project)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// completedOnce wants that many backups, all completed by their first attempt, each with one artifact in the bucket and nothing
// beside them.
func completedOnce(t *testing.T, ctx context.Context, c *stack.Client, s3 *stack.S3, project string, want int) []stack.Backup {
	t.Helper()
	all := mustBackups(t, ctx, c, project)
	if len(all) != want {
		t.Fatalf("%d backups, want %d", len(all), want)
	}
	names := map[string]int{}
	for _, b := range all {
		if b.Status != "completed" || b.Attempt != 1 {
			t.Errorf("backup %d of %s is %s after attempt %d: %s %s", b.ID, b.DatabaseName, b.Status, b.Attempt, b.ErrorCode, b.ErrorMessage)
		}
		names[b.FilePath] = 0
	}
	objects, err := s3.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if _, ok := names[o.Key]; ok {
			names[o.Key]++
		} else if _, ok := names[strings.TrimSuffix(o.Key, ".manifest.json")]; !ok && strings.HasSuffix(o.Key, ".dump.zst.age") {
			t.Errorf("object %s belongs to no backup", o.Key)
		}
	}
	for name, n := range names {
		if n != 1 {
			t.Errorf("artifact %s is there %d times", name, n)
		}
	}
	if uploads, err := s3.Uploads(ctx); err != nil || len(uploads) > 0 {
		t.Errorf("unfinished uploads: %v, %v", uploads, err)
	}
	return all
}

// TestControllers_Refused: a controller that must not run beside another, or that cannot open the catalog, says why and changes
// nothing.
func TestControllers_Refused(t *testing.T) {
	s, ctx := newStack(t)
	pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dsn := newCatalog(t, ctx, pg, "catalog")
	one, err := s.NewController("one", stack.ControllerOptions{CatalogDSN: dsn, Timing: stack.Quick()})
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, one.Admin(), "project", "create", "kept")

	// refuses starts a controller, which must end by itself and say each of the words.
	refuses := func(t *testing.T, c *stack.Controller, words ...string) {
		t.Helper()
		err := c.Start(ctx)
		if err == nil {
			t.Fatal("the controller has started")
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("it does not say %q: %v", w, err)
			}
		}
		if c.Process().Running() || c.Process().ExitCode() != 1 {
			t.Errorf("it has not ended with status 1: %v", err)
		}
		for _, file := range []string{"admin.token", "master.key"} {
			if _, err := os.Stat(filepath.Join(c.Dir, file)); file == "admin.token" && !os.IsNotExist(err) {
				t.Errorf("it made %s: %v", file, err)
			}
		}
	}
	controller := func(t *testing.T, name string, opt stack.ControllerOptions) *stack.Controller {
		t.Helper()
		opt.Timing = stack.Quick()
		c, err := s.NewController(name, opt)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	masterKey := filepath.Join(one.Dir, "master.key")
	t.Run("SecondEmbeddedBroker", func(t *testing.T) {
		refuses(t, controller(t, "second", stack.ControllerOptions{CatalogDSN: dsn, MasterKeyFile: masterKey}), "external", "embedded")
	})
	t.Run("SameDataDir", func(t *testing.T) {
		c := controller(t, "same", stack.ControllerOptions{CatalogDSN: dsn, MasterKeyFile: masterKey, Extra: map[string]any{"data_dir": one.Dir}})
		refuses(t, c, "in use by another controller", "data_dir")
	})
	t.Run("NoMasterKey", func(t *testing.T) {
		c := controller(t, "nokey", stack.ControllerOptions{CatalogDSN: dsn})
		refuses(t, c, "master.key", "does not exist", "recovery key")
		if _, err := os.Stat(filepath.Join(c.Dir, "master.key")); !os.IsNotExist(err) {
			t.Errorf("it made a master key that opens nothing: %v", err)
		}
	})
	t.Run("WrongMasterKey", func(t *testing.T) {
		// The key of another installation.
		other := controller(t, "other", stack.ControllerOptions{CatalogDSN: newCatalog(t, ctx, pg, "catalog2")})
		if err := errors.Join(other.Start(ctx), other.Stop(ctx)); err != nil {
			t.Fatal(err)
		}
		refuses(t, controller(t, "wrongkey", stack.ControllerOptions{CatalogDSN: dsn, MasterKeyFile: filepath.Join(other.Dir, "master.key")}),
			"master key", "does not belong to this catalog", "master.key")
	})
	t.Run("MasterKeyOpenToOthers", func(t *testing.T) {
		b, err := os.ReadFile(masterKey)
		if err != nil {
			t.Fatal(err)
		}
		open := filepath.Join(s.Dir, "open.key")
		if err := errors.Join(os.WriteFile(open, b, 0o644), os.Chmod(open, 0o644)); err != nil {
			t.Fatal(err)
		}
		refuses(t, controller(t, "openkey", stack.ControllerOptions{CatalogDSN: dsn, MasterKeyFile: open}), "open.key", "600")
	})
	t.Run("Superuser", func(t *testing.T) {
		refuses(t, controller(t, "super", stack.ControllerOptions{CatalogDSN: pg.DSN(pg.Superuser(), "catalog"), MasterKeyFile: masterKey}), "row-level security", "NOSUPERUSER")
	})
	t.Run("WrongPassword", func(t *testing.T) {
		c := controller(t, "wrongpw", stack.ControllerOptions{CatalogDSN: pg.UserDSN("catalog", "correct-horse", "catalog"), MasterKeyFile: masterKey})
		refuses(t, c, "password", "catalog")
		if text := stack.Tail(c.LogFile(), 1000); strings.Contains(text, "correct-horse") {
			t.Errorf("the password is shown: %s", text)
		}
	})
	t.Run("NoCatalog", func(t *testing.T) {
		refuses(t, controller(t, "nocatalog", stack.ControllerOptions{CatalogDSN: secret.String(fmt.Sprintf("postgres://catalog:x@127.0.0.1:%d/nosuch?sslmode=disable", pg.Port())), MasterKeyFile: masterKey}), "nosuch")
	})

	// Whatever was refused, the first one works and its installation is the same.
	if out := do(t, ctx, one.Admin(), "project", "list"); !strings.Contains(out, "kept") {
		t.Errorf("the project is gone:\n%s", out)
	}
	if err := one.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, one.Admin(), "project", "show", "kept")
	// As after a power failure: it comes back at once.
	if err := errors.Join(one.Kill(), one.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, one.Admin(), "project", "show", "kept")
}
