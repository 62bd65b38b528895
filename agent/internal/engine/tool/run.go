package tool

import (
	"context"
	"fmt"
	"io"
)

// Run runs a program to its end and returns its standard output, which may not be longer than limit bytes, and its
// standard error; with an error too, as far as they came.
func Run(ctx context.Context, c Command, limit int64) (out []byte, log string, err error) {
	r, err := Output(ctx, c)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = r.Close() }()
	out, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return out, r.Log(), err
	}
	if int64(len(out)) > limit {
		return nil, r.Log(), fmt.Errorf("run %s: more than %d bytes of output", c.name(), limit)
	}
	return out, r.Log(), nil
}
