package catalog_test

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// cutter passes a PostgreSQL connection on until it is armed: then it lets one commit reach the server and cuts the connection
// in place of the answer.
type cutter struct {
	net.Listener
	target string
	armed  atomic.Bool
	fired  atomic.Int32
	wg     sync.WaitGroup
}

func newCutter(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, target: target}
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.pass(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", c.target) //nolint:noctx // a test's own server on the loopback
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var cut atomic.Bool
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		buf := make([]byte, 32<<10)
		for {
			n, err := server.Read(buf)
			if cut.Load() {
				_ = client.Close() // the commit was answered, and nobody will know
				return
			}
			if err == nil {
				_, err = client.Write(buf[:n])
			}
			if err != nil {
				_ = client.Close()
				return
			}
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			if bytes.Contains(buf[:n], []byte("commit\x00")) && c.armed.CompareAndSwap(true, false) {
				c.fired.Add(1)
				cut.Store(true)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = server.Close()
	<-answers
}

// TestCommit_Ambiguity cuts the connection after a commit was sent: the caller hears that the outcome is unknown, and doing it again
// does it once. Fault 29.
func TestCommit_Ambiguity(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	proxy := newCutter(t, f.address())
	direct := f.Catalog
	dsn := strings.Replace(f.dsn.Reveal(), f.address(), proxy.Addr().String(), 1)
	f.Catalog = f.another("one", func(o *catalog.Options) { o.DSN = secret.String(dsn) })
	shot := func(what string, do func() error) {
		t.Helper()
		before := proxy.fired.Load()
		proxy.armed.Store(true)
		err := do()
		f.refused(err, controller.EUnavailable, "may or may not")
		equal(t, what+": cuts", proxy.fired.Load(), before+1)
	}
	shot("create", func() error {
		return second(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"}))
	})
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EConflict, "pending")
	shot("claim", func() error { return second(f.ClaimOffers(ctx, 1)) })
	f.sql("UPDATE jobs SET claim_until = now() - interval '1 second'")
	o := f.offer() // the same attempt again
	equal(t, "attempt", o.Attempt.No, 1)
	shot("upload", func() error { return second(f.SetUpload(ctx, o.Attempt, "u")) })
	o.UploadID = must[string](t)(f.SetUpload(ctx, o.Attempt, "u"))
	shot("accept", func() error { return f.AttemptAccepted(ctx, o.Attempt, a.session) })
	f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
	shot("part", func() error {
		return second(f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1, o.PartSize), 60e9))
	})
	for n, size := range []int64{o.PartSize, 77} {
		must[controller.PartTarget](t)(f.SignPart(ctx, a.AgentID, a.session, partRequest(o, n+1, size), 60e9))
	}
	equal(t, "bytes signed", f.sql("SELECT bytes_signed FROM attempts"), "8388685")
	shot("uploaded", func() error { return f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o)) })
	f.ok(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o)))
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	shot("complete", func() error { return f.CompleteBackup(ctx, o.Attempt, finished(o)) })
	f.ok(f.CompleteBackup(ctx, o.Attempt, finished(o)))
	f.Catalog = direct
	equal(t, "backups", f.sql("SELECT count(*) || ' ' || min(status) FROM database_backups"), "1 completed")

	// A failure that was reported twice ends one attempt.
	b := f.order("app")
	o = f.started(a)
	f.Catalog = f.another("one", func(o *catalog.Options) { o.DSN = secret.String(dsn) })
	r := wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeStalled, "x").Retry()}
	shot("failed", func() error { return f.ReportDone(ctx, a.AgentID, a.session, r) })
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	j := f.job(b.JobID)
	if j.Status != "queued" || len(j.Attempts) != 1 {
		t.Fatalf("job is %+v", j)
	}
}

func TestReleaseClaims(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "crm")
	f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	f.order("crm")
	f.offer()
	two := f.another("two")
	f.ok(two.ReleaseClaims(ctx)) // not its own
	equal(t, "to finish", len(must[[]controller.Finishing](t)(two.ClaimFinishing(ctx, 1))), 0)
	f.ok(f.another("one").ReleaseClaims(ctx)) // started again
	equal(t, "to finish", len(must[[]controller.Finishing](t)(two.ClaimFinishing(ctx, 1))), 1)
	equal(t, "to deliver", len(must[[]controller.Offer](t)(two.ClaimOffers(ctx, 1))), 1)
}

func (f *fix) address() string {
	return net.JoinHostPort(f.server.Host(), strconv.Itoa(f.server.Port()))
}
