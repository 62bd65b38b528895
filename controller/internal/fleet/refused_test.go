package fleet_test

import (
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// An uploaded report that the catalog refuses for good ends the attempt at once. Its agent forgets it with the answer: an attempt that
// stayed open would be waited for until its lease_max.
func TestUploaded_refusedByTheCatalog(t *testing.T) {
	for code, event := range map[string]bool{wire.CodeStatement: true, wire.CodeCancelled: false} {
		t.Run(code, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "zstd", "age", nil)
			k.store.ordered = &u.ordered
			k.store.failing("ReportUploaded", wire.Failf(code, "refused"))
			r := wire.Report{Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: u.finishing.Statement}
			if _, err := k.request(wire.VerbReport, r); err != nil {
				t.Fatalf("the report was not taken: %v", err)
			}
			w := k.store.all("ReportDone")
			if len(w) != 1 || w[0].report.Outcome != wire.OutcomeFailed || w[0].report.Failure.Code != code || w[0].attempt != attempt {
				t.Errorf("recorded %+v", w)
			}
			if e := k.events(); event != (len(e) == 1 && e[0] == controller.EventStatement) {
				t.Errorf("security events %v", e)
			}
		})
	}
}
