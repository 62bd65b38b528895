package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/transfer"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// backup dumps one database into the store, or into the backup directory of this host.
func (r *Runner) backup(ctx context.Context, a *attempt, o *wire.BackupOrder) (report wire.Report, err error) {
	in, err := a.terms.instance(o.Instance, o.Engine)
	if err != nil {
		return report, err
	}
	keys, err := r.orderedKeys(a, o)
	if err != nil {
		return report, err
	}
	started := r.cfg.Now()
	report.Millis = map[string]int64{}
	lap := laps(report.Millis, r.cfg.Now)

	dump, err := in.Engine.Dump(ctx, engine.DumpRequest{Database: o.Database, Globals: true, StallTimeout: a.terms.StallTimeout})
	if err != nil {
		if said := (*engine.Said)(nil); errors.As(err, &said) {
			report.Log = said.Log
		}
		return report, err
	}
	whileDumping, stopDescribing := context.WithCancel(ctx)
	defer func() {
		stopDescribing()
		_ = dump.Close() // waits for the tool and what it started
		report.Log = dump.Log()
	}()
	lap("prepare")
	info := dump.Info()
	a.total.Store(info.DatabaseSize)
	a.at(wire.StageDump)
	failpoint.Hit("agent.dump_started")
	describing := r.describe(whileDumping, a, dump)

	dst, err := r.destination(ctx, a, o)
	if err != nil {
		return report, err
	}
	defer func() {
		if err != nil {
			dst.Abort(err)
		}
	}()
	sums, proven, err := r.encode(a, dump, artifact.Codec(o.Codec), keys[wire.ObjectArtifact], dst)
	if err != nil {
		return report, err
	}
	lap("dump")
	a.at(wire.StageUpload)
	if err := dst.Close(); err != nil {
		return report, err
	}
	a.stored.Store(dst.Stored())
	lap("upload")
	failpoint.Hit("agent.all_parts_uploaded")

	a.at(wire.StageFinish)
	st := artifact.Statement{
		FormatVersion: artifact.StatementVersion,
		ServerID:      r.cfg.Identity.ServerID(), JobID: strconv.FormatInt(a.job.Attempt.Job, 10), AttemptNo: a.job.Attempt.No,
		AttemptID: o.AttemptID, Key: o.Key,
		Engine: o.Engine, Database: o.Database, ServerVersion: info.Server.Version, ServerIdentity: info.Server.Identity,
		Tool: info.Tool, ToolVersion: info.ToolVersion, Method: info.Method,
		Sums: sums, Codec: artifact.Codec(o.Codec), StartedAt: started.UTC(),
		Metadata: artifact.Metadata{Tables: info.Tables, DatabaseSize: info.DatabaseSize, Extra: maps.Clone(info.Extra)},
	}
	if st.Metadata.Extra == nil {
		st.Metadata.Extra = map[string]any{}
	}
	st.Metadata.Extra["blocks_proven"] = proven
	dst.Describe(&st)
	described := <-describing
	if st.Fingerprint, err = r.side(dst, o, wire.ObjectFingerprint, keys, described.text); err != nil {
		return report, err
	}
	if st.Globals, err = r.side(dst, o, wire.ObjectGlobals, keys, dump.Globals()); err != nil {
		return report, err
	}
	st.FinishedAt = r.cfg.Now().UTC()
	signed, err := r.cfg.Identity.SignStatement(st)
	if err != nil {
		return report, err
	}
	if report.Statement, err = json.Marshal(signed); err != nil {
		return report, fmt.Errorf("encode statement: %w", err)
	}
	lap("finish")
	report.Attempt, report.Outcome, report.Log = a.job.Attempt, wire.OutcomeUploaded, clip(dump.Log(), maxLog)
	report.Rows = described.rows
	if err := dst.Publish(ctx, &report); err != nil {
		return report, err
	}
	lap("publish")
	a.log.Debug("artifact uploaded", "key", o.Key, "parts", st.Parts, "checksum", sums.StoredSHA256.String())
	return report, nil
}

// encode sends the dump through the codecs into dst. The artifact gets its clean end only after the dump yielded io.EOF,
// which it does only on success. Beside the sums it returns which blocks were proven.
func (r *Runner) encode(a *attempt, dump engine.Dump, codec artifact.Codec, keys *artifact.AESKeys, dst destination) (artifact.Sums, string, error) {
	w, err := artifact.NewWriter(dst, codec, keys)
	if err != nil {
		return artifact.Sums{}, "", wire.Failf(wire.CodeBadRequest, "%w", err)
	}
	if a.terms.ProveAll {
		w.ProveAll()
	}
	n, err := w.ReadFrom(&counter{r: dump, count: func(n int) {
		a.raw.Add(int64(n))
		a.stored.Store(dst.Stored())
	}})
	if err == nil && n == 0 {
		err = wire.Failf(wire.CodeEmptyDump, "the dump tool gave no byte")
	}
	if err != nil {
		w.Abort(err)
		dst.Abort(err) // releases what blocks in it
		_ = w.Close()
		return artifact.Sums{}, "", err
	}
	if err := w.Close(); err != nil {
		return artifact.Sums{}, "", err
	}
	return w.Sums(), w.Proves(), nil
}

// description is a fingerprint as it is stored, and how many rows it counts exactly.
type description struct {
	text []byte
	rows *int64
}

// describe takes the fingerprint beside the dump. A database that cannot be described is backed up all the same; its
// restores are then not compared. The channel yields once.
func (r *Runner) describe(ctx context.Context, a *attempt, dump engine.Dump) <-chan description {
	out := make(chan description, 1)
	go func() {
		f, err := dump.Fingerprint(ctx)
		var d description
		if err == nil && f != nil {
			d.text, err = f.Canonical()
			if f.Exact {
				d.rows = new(f.Rows())
			}
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("the database could not be described; its restores will not be compared", "err", err)
		}
		out <- d
	}()
	return out
}

// side encodes and stores one side object. One that is empty or too large is left out.
func (r *Runner) side(dst destination, o *wire.BackupOrder, object string, keys map[string]*artifact.AESKeys, raw []byte) (*artifact.Sums, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	w, err := artifact.NewWriter(&b, artifact.Codec(o.Codec), keys[object])
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("encode %s: %w", object, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", object, err)
	}
	if b.Len() > transfer.MaxSide {
		r.log.Warn("side object is too large and left out", "object", object, "bytes", b.Len(), "at_most", transfer.MaxSide)
		return nil, nil
	}
	if err := dst.Side(object, b.Bytes()); err != nil {
		return nil, err
	}
	sums := w.Sums()
	return &sums, nil
}

// counter tells of bytes as they are read.
type counter struct {
	r     io.Reader
	count func(n int)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count(n)
	return n, err
}

// laps returns a function that books the time since its last call under a name.
func laps(to map[string]int64, now func() time.Time) func(name string) {
	last := now()
	return func(name string) {
		t := now()
		to[name] += t.Sub(last).Milliseconds()
		last = t
	}
}
