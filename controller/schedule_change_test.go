package controller_test

import (
	"errors"
	"testing"
	"time"

	"devflowbackup/controller"
)

// A change leaves what it does not name, and what it makes senseless goes with what it belonged to.
func TestSchedule_Spec(t *testing.T) {
	t.Parallel()
	on := true
	s := controller.Schedule{
		Project: "shop", Scope: controller.ScopeProject, Timing: controller.Timing{Frequency: controller.FrequencyCron, Cron: "15 3 * * *", Timezone: "UTC"},
		Storage: "store", Encryption: "age", Compression: "zstd", MaxDurationSeconds: 60, VerifyAfter: controller.VerifyContent,
		Retention: controller.Retention{Daily: 7}, IsActive: true,
	}
	same := s.Spec(controller.ScheduleChange{})
	if err := same.Validate(); err != nil {
		t.Fatal(err)
	}
	if same.Cron != s.Cron || same.Storage != "store" || same.VerifyAfter != controller.VerifyContent || same.Retention() != s.Retention || !*same.IsActive {
		t.Errorf("nothing was changed: %+v", same)
	}
	daily, at, weekly, disk, spread := controller.FrequencyDaily, "02:00", 4, controller.StorageLocal, new(int64(0))
	encrypt := &on
	changed := s.Spec(controller.ScheduleChange{Frequency: &daily, Time: &at, RetentionWeekly: &weekly, StorageDisk: &disk, SpreadSeconds: &spread, Encrypt: &encrypt})
	if err := changed.Validate(); err != nil {
		t.Fatal(err)
	}
	if changed.Cron != "" || changed.Storage != "" || changed.Encryption != "" || !*changed.Encrypt || *changed.SpreadSeconds != 0 {
		t.Errorf("what was replaced is left: %+v", changed)
	}
	if want := (controller.Retention{Daily: 7, Weekly: 4}); changed.Retention() != want {
		t.Errorf("retention is %+v", changed.Retention())
	}
}

// A pause says what it is about and until when.
func TestPauseSpec_Validate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	before, after := now.Add(-time.Second), now.Add(time.Hour)
	for name, tc := range map[string]struct {
		spec  controller.PauseSpec
		scope string // of a good one
		field string // of a bad one
	}{
		"everything":       {spec: controller.PauseSpec{Scope: controller.PauseEverything, Reason: "r"}, scope: controller.PauseEverything},
		"project":          {spec: controller.PauseSpec{Project: "shop", Reason: "r", Until: &after}, scope: controller.PauseProject},
		"server":           {spec: controller.PauseSpec{Server: "db1", Reason: "r"}, scope: controller.PauseServer},
		"schedule":         {spec: controller.PauseSpec{Schedule: 5, Reason: "r"}, scope: controller.PauseSchedule},
		"nothing":          {spec: controller.PauseSpec{Reason: "r"}, field: "scope"},
		"unknown":          {spec: controller.PauseSpec{Scope: "planet", Reason: "r"}, field: "scope"},
		"two":              {spec: controller.PauseSpec{Project: "shop", Server: "db1", Reason: "r"}, field: "scope"},
		"another":          {spec: controller.PauseSpec{Scope: controller.PauseServer, Project: "shop", Reason: "r"}, field: "project"},
		"without one":      {spec: controller.PauseSpec{Scope: controller.PauseServer, Reason: "r"}, field: "server"},
		"with too much":    {spec: controller.PauseSpec{Scope: controller.PauseEverything, Project: "shop", Reason: "r"}, field: "project"},
		"negative":         {spec: controller.PauseSpec{Schedule: -1, Reason: "r"}, field: "schedule"},
		"without a reason": {spec: controller.PauseSpec{Project: "shop"}, field: "reason"},
		"past":             {spec: controller.PauseSpec{Project: "shop", Reason: "r", Until: &before}, field: "until"},
	} {
		err := tc.spec.Validate(now)
		switch {
		case tc.field == "" && (err != nil || tc.spec.Scope != tc.scope):
			t.Errorf("%s: scope %q, %v", name, tc.spec.Scope, err)
		case tc.field != "" && field(err) != tc.field:
			t.Errorf("%s: the error is about %q: %v", name, field(err), err)
		}
	}
}

func field(err error) string {
	var e *controller.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}
