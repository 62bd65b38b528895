package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	// inspectTimeout is less than a controller waits for the answer.
	inspectTimeout = 50 * time.Second
	// maxSessions is how many sessions are listed, maxProblems how many problems.
	maxSessions = 20
	maxProblems = 50
	// maxTarget is the size of a target in a message, in bytes, below wire.MaxMessage with what is around it.
	maxTarget = 200 << 10
)

// Inspect looks at what is at a restore's target and what would stop a restore there, as the engine and this host's configuration
// see it. It changes nothing, and ends within 50 seconds or when the runner stops.
func (r *Runner) Inspect(o wire.InspectOrder) (*wire.Target, *wire.Failure) {
	t, err := r.inspect(o)
	if err != nil {
		return nil, bounded(wire.AsFailure(err))
	}
	return t, nil
}

func (r *Runner) inspect(o wire.InspectOrder) (*wire.Target, error) {
	in, err := r.terms.Load().instance(o.Instance, o.Engine)
	if err != nil {
		return nil, err
	}
	if !knownSessions(o.Sessions) {
		return nil, wire.Failf(wire.CodeBadRequest, "sessions %q is unknown", o.Sessions).WithHint("update the agent")
	}
	ctx, cancel := context.WithTimeoutCause(r.ctx, inspectTimeout,
		wire.Failf(wire.CodeTimedOut, "the database server did not tell within %s what is at %q", inspectTimeout, o.Database).Retry())
	defer cancel()
	server, err := in.Engine.Server(ctx)
	if err != nil {
		return nil, caused(ctx, err)
	}
	found, err := in.Engine.Inspect(ctx, engine.InspectRequest{
		Target: o.Database, DumpServerVersion: o.DumpServerVersion, DumpToolVersion: o.DumpToolVersion, DumpBytes: o.DumpBytes, DatabaseBytes: o.DatabaseBytes,
		Extensions: o.Extensions, InPlace: o.InPlace, Sessions: o.Sessions, Restore: chosen(o.Choices, nil),
	})
	if err != nil {
		return nil, caused(ctx, err)
	}
	found.Problems = append(forbidden(in, o), found.Problems...)
	t := told(found)
	t.ServerIdentity, t.ServerVersion = server.Identity, server.Version
	return t, fit(t)
}

// caused prefers why the context has ended to the error that it led to.
func caused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// forbidden are the problems that this host's configuration makes.
func forbidden(in Instance, o wire.InspectOrder) []engine.Problem {
	var f *wire.Failure
	switch {
	case !in.Config.Restore.Allowed():
		f = notAllowed(o.Instance)
	case o.InPlace && !in.Config.Restore.InPlaceAllowed():
		f = notInPlace(o.Instance)
	case o.InPlace && !in.Config.Databases.Allows(o.Database):
		f = notReplaced(o.Instance, o.Database)
	default:
		return nil
	}
	return []engine.Problem{{Stops: true, Code: f.Code, Text: f.Message, Hint: f.Hint}}
}

func told(found *engine.Target) *wire.Target {
	short := func(s string) string { return clip(secret.ScrubURLs(s), 200) }
	t := &wire.Target{
		Exists: found.Exists, Identity: found.Identity, SizeBytes: found.SizeBytes, Tables: found.Tables, FreeBytes: found.FreeBytes,
		Owner: short(found.Owner), SessionCount: len(found.Sessions),
	}
	for _, s := range found.Sessions[:min(maxSessions, len(found.Sessions))] {
		one := wire.Session{User: short(s.User), Application: short(s.Application), Client: short(s.Client), State: short(s.State)}
		if s.Since.Unix() > 0 {
			one.Since = s.Since.Unix()
		}
		t.Sessions = append(t.Sessions, one)
	}
	problems := slices.Clone(found.Problems)
	slices.SortStableFunc(problems, func(a, b engine.Problem) int { // what stops comes first
		switch {
		case a.Stops == b.Stops:
			return 0
		case a.Stops:
			return -1
		}
		return 1
	})
	for _, p := range problems[:min(maxProblems, len(problems))] {
		t.Problems = append(t.Problems, wire.Problem{
			Stops: p.Stops, Code: p.Code, Text: clip(secret.ScrubURLs(p.Text), 2<<10), Hint: clip(secret.ScrubURLs(p.Hint), 2<<10),
		})
	}
	return t
}

// fit takes off what is last until a target fits into a message.
func fit(t *wire.Target) error {
	for {
		text, err := json.Marshal(t)
		switch {
		case err != nil:
			return fmt.Errorf("encode target: %w", err)
		case len(text) <= maxTarget:
			return nil
		case len(t.Problems) > 1:
			t.Problems = t.Problems[:len(t.Problems)-1]
		case len(t.Sessions) > 0:
			t.Sessions = t.Sessions[:len(t.Sessions)-1]
		default:
			return wire.Failf(wire.CodeInternal, "what is at the target takes %d bytes to tell", len(text))
		}
	}
}

// fits refuses a restore whose target the engine sees a stop at, before a byte of the artifact is read.
func (r *Runner) fits(ctx context.Context, in Instance, o *wire.RestoreOrder) error {
	req := engine.InspectRequest{
		Target: o.Database, DumpToolVersion: o.Source.ToolVersion, DumpBytes: o.Source.Artifact.RawSize, Restore: chosen(o.Choices, nil),
	}
	if len(req.Restore.Only) > 0 {
		req.DumpBytes = 0 // how large the part is nobody knows
	}
	if o.InPlace != nil {
		req.InPlace, req.Sessions = true, o.InPlace.Sessions
	}
	t, err := in.Engine.Inspect(ctx, req)
	if err != nil {
		return err
	}
	if o.InPlace != nil && !t.Exists {
		return wire.Failf(wire.CodeTargetChanged, "there is no database %q any more", o.Database).WithHint("look at the target again, and plan the restore anew")
	}
	stops := slices.DeleteFunc(slices.Clone(t.Problems), func(p engine.Problem) bool { return !p.Stops })
	if len(stops) == 0 {
		return nil
	}
	first, more := stops[0], ""
	if n := len(stops) - 1; n > 0 {
		more = fmt.Sprintf("; and %d more problems stop the restore", n)
	}
	return wire.Failf(unfit(first.Code, o.InPlace != nil), "%s%s", first.Text, more).WithHint("%s", first.Hint)
}

// unfit is the code of a restore that a problem stops. Restores into new databases keep the codes that they would fail with later.
func unfit(problem string, inPlace bool) string {
	switch {
	case problem == wire.CodeTargetInUse:
		return problem
	case !inPlace && slices.Contains([]string{
		wire.CodeTargetExists, wire.CodeSuperuser, wire.CodePrivilege, wire.CodeDiskFull, wire.CodeToolMissing, wire.CodeToolTooOld, wire.CodeAuth, wire.CodeTLS,
		wire.CodeDatabaseDown, wire.CodeNotAllowed, wire.CodeBadRequest,
	}, problem):
		return problem
	}
	return wire.CodeTargetUnfit
}
