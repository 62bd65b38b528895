package runner

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/transfer"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const (
	copyBuffer = 1 << 20
	// maxDescription is the largest fingerprint that is read, decoded.
	maxDescription = 64 << 20
)

// object is one object of an attempt's source.
type object struct {
	name  string
	codec wire.Codec
	sums  artifact.Sums
	key   []byte // sealed
	path  string // where it lies in this host's backup directory; empty: in the object store
}

func sourceObject(src wire.Source, name string, o wire.SourceObject) (object, error) {
	out := object{name: name, codec: src.Codec, key: o.SealedKey, sums: artifact.Sums{RawSize: o.RawSize, StoredSize: o.StoredSize}}
	if src.Local {
		if out.path = o.Key; out.path == "" {
			return object{}, wire.Failf(wire.CodeBadRequest, "the order does not say where the %s lies", name)
		}
	}
	var err error
	if len(o.MAC) > 0 && copy(out.sums.MAC[:], o.MAC) != len(o.MAC) {
		return object{}, wire.Failf(wire.CodeBadRequest, "MAC of the %s: %d bytes, want %d", name, len(o.MAC), len(out.sums.MAC))
	}
	if out.sums.StoredSHA256, err = artifact.ParseDigest(o.StoredSHA256); err != nil {
		return object{}, wire.Failf(wire.CodeBadRequest, "stored checksum of the %s: %w", name, err)
	}
	if o.RawSHA256 == "" {
		return out, nil
	}
	if out.sums.RawSHA256, err = artifact.ParseDigest(o.RawSHA256); err != nil {
		return object{}, wire.Failf(wire.CodeBadRequest, "raw checksum of the %s: %w", name, err)
	}
	return out, nil
}

// stored reads the stored bytes of an object and counts them.
func (r *Runner) stored(ctx context.Context, a *attempt, o object) (io.Reader, func(), error) {
	var src io.ReadCloser
	if o.path != "" {
		f, err := r.openLocal(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		src = f
	} else {
		src = transfer.NewDownload(ctx, transfer.DownloadConfig{
			Client: a.terms.Client, Attempt: a.job.Attempt, Object: o.name, Size: o.sums.StoredSize, Range: r.cfg.ReadRange,
			Grant: func(ctx context.Context, req wire.ReadRequest) (g wire.Grant, err error) {
				return g, r.cfg.Controller.Request(ctx, wire.VerbRead, req, &g)
			},
		})
	}
	counted := &counter{r: src, count: func(n int) {
		if o.name == wire.ObjectArtifact {
			a.stored.Add(int64(n))
		}
	}}
	if o.name == wire.ObjectArtifact {
		a.stored.Store(0)
	}
	return counted, func() { _ = src.Close() }, nil
}

// openLocal opens an object in this host's backup directory. It must have its size.
func (r *Runner) openLocal(ctx context.Context, o object) (io.ReadCloser, error) {
	f, err := r.cfg.Local.Open(o.path)
	if err != nil {
		return nil, err
	}
	if f.Size() != o.sums.StoredSize {
		_ = f.Close()
		return nil, &artifact.DamageError{What: "stored size", Want: strconv.FormatInt(o.sums.StoredSize, 10), Got: strconv.FormatInt(f.Size(), 10)}
	}
	return &localFile{ctx, f}, nil
}

// localFile ends with the context.
type localFile struct {
	ctx context.Context
	io.ReadCloser
}

func (f *localFile) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		return 0, context.Cause(f.ctx)
	}
	return f.ReadCloser.Read(p)
}

// hash reads all stored bytes and compares size and checksum.
func (r *Runner) hash(ctx context.Context, a *attempt, o object) (*wire.ReadResult, error) {
	src, done, err := r.stored(ctx, a, o)
	if err != nil {
		return nil, err
	}
	defer done()
	h := sha256.New()
	n, err := io.CopyBuffer(h, src, make([]byte, copyBuffer))
	if err != nil {
		return nil, err
	}
	got := artifact.Digest(h.Sum(nil))
	res := &wire.ReadResult{StoredSize: n, StoredSHA256: got.String()}
	if got != o.sums.StoredSHA256 {
		return res, &artifact.DamageError{What: "stored SHA-256", Want: o.sums.StoredSHA256.String(), Got: got.String()}
	}
	return res, nil
}

// sink receives a raw dump. Refuse is called instead of Close when the dump did not come whole.
type sink interface {
	io.Writer
	Close() error
	Abort()
}

// streams tells whether every byte that an object's codec hands out is authentic at once. Where it is not, the stored
// bytes are read whole and proven before the first one is used.
func (o object) streams() bool { return o.codec.Encryption == artifact.Age }

// decode sends an object through its codecs into the sink that open opens, and closes that after both sizes and both
// checksums are proven. On any error after open the sink is aborted; where nothing authenticates the bytes as they come,
// open is not called before all of them are proven. An error that the sink gave is wrapped in *sinkError.
func (r *Runner) decode(ctx context.Context, a *attempt, o object, open func() (sink, error)) (*wire.ReadResult, error) {
	if o.sums.RawSHA256 == (artifact.Digest{}) {
		return nil, wire.Failf(wire.CodeBadRequest, "the order does not say what the decoded %s must be", o.name)
	}
	keys, err := r.open(a, o)
	if err != nil {
		return nil, err
	}
	if !o.streams() {
		if _, err := r.hash(ctx, a, o); err != nil {
			return nil, err
		}
	}
	dst, err := open()
	if err != nil {
		return nil, err
	}
	if err := r.decodeInto(ctx, a, o, keys, dst); err != nil {
		dst.Abort()
		return nil, err
	}
	return &wire.ReadResult{
		StoredSize: o.sums.StoredSize, StoredSHA256: o.sums.StoredSHA256.String(),
		RawSize: o.sums.RawSize, RawSHA256: o.sums.RawSHA256.String(),
	}, nil
}

func (r *Runner) decodeInto(ctx context.Context, a *attempt, o object, keys opened, dst sink) error {
	stored, done, err := r.stored(ctx, a, o)
	if err != nil {
		return err
	}
	defer done()
	expect := o.sums
	rd, err := artifact.NewReader(stored, artifact.ReadOptions{
		Compression: o.codec.Compression, Encryption: o.codec.Encryption, Identity: keys.age, AES: keys.aes,
		Recipients: o.codec.Recipients, Expect: &expect,
	})
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	src := &remembering{counter{r: rd, count: func(n int) {
		if o.name == wire.ObjectArtifact {
			a.raw.Add(int64(n))
		}
	}}, nil}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, src, make([]byte, copyBuffer))
	if src.err != nil {
		return src.err
	}
	if err != nil {
		// The tool has ended early: its own words say more than the broken pipe.
		if cerr := dst.Close(); cerr != nil {
			err = cerr
		}
		return &sinkError{err}
	}
	if err := dst.Close(); err != nil {
		return &sinkError{err}
	}
	return nil
}

// remembering keeps the error of its source, to tell it from an error of the destination.
type remembering struct {
	counter
	err error
}

func (s *remembering) Read(p []byte) (int, error) {
	n, err := s.counter.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
		s.err = err
	}
	return n, err
}

// sinkError is an error of what received the dump.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// twice runs a pass over stored bytes, and once more if they came damaged: a store or a network that lies once is not a
// damaged backup. Two readings decide.
func (r *Runner) twice(ctx context.Context, a *attempt, o object, pass func() error) error {
	var damage *artifact.DamageError
	err := pass()
	if !errors.As(err, &damage) {
		return readFailure(err)
	}
	a.log.Warn("damaged bytes were read; reading once more", "object", o.name, "err", err)
	a.raw.Store(0)
	a.stored.Store(0)
	err = pass()
	if errors.As(err, &damage) && o.codec.Encryption == artifact.Age && damage.What == "age header" {
		// A header that does not authenticate is damage or a wrong key. The stored bytes tell which.
		if _, herr := r.hash(ctx, a, o); herr == nil {
			return wire.Failf(wire.CodeWrongKey, "the key does not open the %s, which is intact: %w", o.name, err)
		}
	}
	return readFailure(err)
}

// readFailure gives errors of reading their code.
func readFailure(err error) error {
	var damage *artifact.DamageError
	var key *artifact.WrongKeyError
	var f *wire.Failure
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case errors.As(err, &damage):
		return wire.Failf(wire.CodeCorrupt, "%w", err).WithHint("restore from another backup; the stored object differs from what was uploaded")
	case errors.As(err, &key):
		return wire.Failf(wire.CodeWrongKey, "%w", err)
	default:
		return err
	}
}

// verify proves a stored artifact: its bytes, or with LevelContent that the engine reads the dump in it from end to end.
func (r *Runner) verify(ctx context.Context, a *attempt, o *wire.VerifyOrder) (report wire.Report, err error) {
	a.at(wire.StageVerify)
	obj, err := sourceObject(o.Source, wire.ObjectArtifact, o.Source.Artifact)
	if err != nil {
		return report, err
	}
	a.total.Store(obj.sums.StoredSize)
	report.Millis = map[string]int64{}
	lap := laps(report.Millis, r.cfg.Now)
	pass := func() (err error) {
		report.Read, err = r.hash(ctx, a, obj)
		return err
	}
	if o.Level == wire.LevelContent {
		in, err := a.terms.tools(o.Instance, o.Source.Engine)
		if err != nil {
			return report, err
		}
		pass = func() (err error) {
			report.Read, report.Log, err = r.validate(ctx, a, obj, in)
			return err
		}
	}
	if err := r.twice(ctx, a, obj, pass); err != nil {
		return report, err
	}
	lap("verify")
	report.Outcome = wire.OutcomeVerified
	return report, nil
}

func (r *Runner) validate(ctx context.Context, a *attempt, obj object, in Instance) (*wire.ReadResult, string, error) {
	var v engine.Restore
	res, err := r.decode(ctx, a, obj, func() (s sink, err error) {
		v, err = in.Engine.Validate(ctx)
		return v, err
	})
	if v == nil {
		return nil, "", err
	}
	var refused *sinkError
	if errors.As(err, &refused) && (wire.HasCode(err, wire.CodeToolFailed) || wire.HasCode(err, wire.CodeIncompleteDump)) {
		// Is the dump unreadable as it was made, or because of damage? The stored bytes tell.
		if _, herr := r.hash(ctx, a, obj); herr != nil {
			return nil, v.Log(), herr
		}
		err = wire.Failf(wire.CodeCorrupt, "the stored bytes are those that were uploaded, but the dump in them cannot be read: %w", err).
			WithHint("make a new backup and verify it; look at the tool's version and the job's log")
	}
	return res, v.Log(), err
}

// description reads a source's fingerprint, nil if it has none.
func (r *Runner) description(ctx context.Context, a *attempt, src wire.Source) (*wire.Fingerprint, error) {
	if src.Fingerprint == nil {
		return nil, nil
	}
	text, err := r.small(ctx, a, src, wire.ObjectFingerprint, *src.Fingerprint, maxDescription)
	if err != nil {
		return nil, err
	}
	var f wire.Fingerprint
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, wire.Failf(wire.CodeCorrupt, "the fingerprint does not decode: %w", err)
	}
	return &f, nil
}

// small reads a side object of a source into memory, proven by its checksums.
func (r *Runner) small(ctx context.Context, a *attempt, src wire.Source, name string, o wire.SourceObject, most int64) ([]byte, error) {
	obj, err := sourceObject(src, name, o)
	if err != nil {
		return nil, err
	}
	if obj.sums.RawSize > most {
		return nil, wire.Failf(wire.CodeBadRequest, "the %s has %d bytes, at most %d are read", name, obj.sums.RawSize, most)
	}
	var text memory
	err = r.twice(ctx, a, obj, func() error {
		text = nil
		_, err := r.decode(ctx, a, obj, func() (sink, error) { return &text, nil })
		return err
	})
	return text, err
}

// memory is a sink of known, small size.
type memory []byte

func (m *memory) Write(p []byte) (int, error) { *m = append(*m, p...); return len(p), nil }
func (m *memory) Close() error                { return nil }
func (m *memory) Abort()                      {}

var _ sink = engine.Restore(nil)

// differences is the message of a restored database that is not what was backed up.
func differences(lines []string) string {
	const shown = 5
	s := fmt.Sprintf("%d differences", len(lines))
	for i, l := range lines {
		if i == shown {
			return s + "; …"
		}
		s += "; " + l
	}
	return s
}
