package check

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

const (
	inPlaceName = "restore in place"
	// systemDatabase is the code of what makes a database that of the server, or of the agent, itself.
	systemDatabase = "system_database"
	// inPlaceMost is how many databases are looked at as targets, inPlaceAtOnce how many at the same time.
	inPlaceMost    = 20
	inPlaceAtOnce  = 4
	inPlaceTimeout = 30 * time.Second
)

// inPlace tells whether databases of an instance may be replaced, and if so, what would stop that.
func inPlace(ctx context.Context, in config.Instance, e engine.Engine) []engine.Finding {
	if !in.Restore.Allowed() {
		return nil // that is said
	}
	if !in.Restore.InPlace {
		return []engine.Finding{{Level: OK, Name: inPlaceName, Detail: "not allowed by this host; restore.in_place: true allows it"}}
	}
	ctx, cancel := context.WithTimeout(ctx, inPlaceTimeout)
	defer cancel()
	databases, err := e.Discover(ctx)
	if err != nil {
		return nil // the engine's own findings say why
	}
	looked := databases[:min(inPlaceMost, len(databases))]
	stops := lookAtTargets(ctx, looked, e)
	if len(stops) > 0 {
		return stops
	}
	return []engine.Finding{{Level: OK, Name: inPlaceName, Detail: fmt.Sprintf("allowed; nothing stops it at the %d of %d databases that were looked at", len(looked), len(databases))}}
}

// lookAtTargets lists what would stop a restore in the place of each database. Sessions are no stop: there are programs.
func lookAtTargets(ctx context.Context, databases []wire.Database, e engine.Engine) (findings []engine.Finding) {
	found := make([][]engine.Finding, len(databases))
	var wg sync.WaitGroup
	turn := make(chan struct{}, inPlaceAtOnce)
	for n, d := range databases {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			t, err := e.Inspect(ctx, engine.InspectRequest{Target: d.Name, InPlace: true, Sessions: engine.SessionsWait})
			name := fmt.Sprintf("%s of %q", inPlaceName, d.Name)
			if err != nil {
				f := wire.AsFailure(err)
				found[n] = []engine.Finding{{Level: Error, Name: name, Detail: f.Message, Hint: f.Hint}}
				return
			}
			if slices.ContainsFunc(t.Problems, func(p engine.Problem) bool { return p.Stops && p.Code == systemDatabase }) {
				return // nobody's data, and never a target
			}
			for _, p := range t.Problems {
				if p.Stops {
					found[n] = append(found[n], engine.Finding{Level: Error, Name: name, Detail: p.Text, Hint: p.Hint})
				}
			}
		})
	}
	wg.Wait()
	for _, f := range slices.Concat(found...) {
		same := func(other engine.Finding) bool { return other.Detail == f.Detail && other.Hint == f.Hint }
		if !slices.ContainsFunc(findings, same) { // what is about the account is the same for each
			findings = append(findings, f)
		}
	}
	return findings
}
