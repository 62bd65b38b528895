package runner

import (
	"context"
	"fmt"
	"io"

	"devflowbackup/agent/internal/transfer"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// destination is where the objects of one backup go. Write, Close, Side and Publish belong to one goroutine, Abort and
// Stored to any.
type destination interface {
	// Write takes the artifact's stored bytes.
	io.Writer
	// Close returns nil when every byte is safe. Nobody sees it yet.
	Close() error
	// Side keeps one side object, after Close.
	Side(object string, data []byte) error
	// Stored is how many bytes of the artifact are safe or on their way to the disk.
	Stored() int64
	// Describe sets in the statement how the bytes are laid down.
	Describe(st *artifact.Statement)
	// Publish does what is left before the report may be sent. With an error the backup is given up.
	Publish(ctx context.Context, report *wire.Report) error
	// Abort gives the backup up and releases what blocks in Write. After it, or after the controller has aborted the
	// upload, nothing is left.
	Abort(err error)
}

// destination opens the place that the order names.
func (r *Runner) destination(ctx context.Context, a *attempt, o *wire.BackupOrder) (destination, error) {
	if o.Local {
		return r.newDirectory(ctx, a, o)
	}
	up := transfer.NewUpload(ctx, transfer.UploadConfig{
		Client: a.terms.Client, Attempt: a.job.Attempt, PartSize: o.PartSize, Checksum: o.Checksum,
		Grant: func(ctx context.Context, req wire.PartRequest) (g wire.Grant, err error) {
			return g, r.cfg.Controller.Request(ctx, wire.VerbPart, req, &g)
		},
	})
	return &upload{Upload: up, partSize: o.PartSize}, nil
}

// upload is a multipart upload to an object store. The controller completes it.
type upload struct {
	*transfer.Upload
	partSize int64
}

func (u *upload) Describe(st *artifact.Statement) {
	st.PartSize, st.Parts, st.CompositeSHA256 = u.partSize, len(u.Parts()), artifact.CompositeSHA256(u.Parts())
}

func (u *upload) Publish(_ context.Context, report *wire.Report) error {
	report.Done = u.TakeDone()
	return nil
}

// objectKey is where an object of an order lies.
func objectKey(key string, codec wire.Codec, object string) (string, error) {
	switch object {
	case wire.ObjectArtifact:
		return key, nil
	case wire.ObjectFingerprint:
		return artifact.FingerprintKey(key, artifact.Codec(codec)), nil
	case wire.ObjectGlobals:
		return artifact.GlobalsKey(key, artifact.Codec(codec)), nil
	}
	return "", fmt.Errorf("object %q is unknown", object)
}
