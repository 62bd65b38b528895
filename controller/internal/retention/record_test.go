package retention_test

import (
	"encoding/json"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
)

// TestPolicyChange_JSON: the form is that of rows in catalogs.
func TestPolicyChange_JSON(t *testing.T) {
	t.Parallel()
	p := retention.Policy{Retention: controller.Retention{Days: 30, Daily: 7}, Zone: zone(t, "Europe/Berlin")}
	shorter := p.Change(controller.Retention{Daily: 2}, zone(t, "Europe/Berlin"), at(t, "2026-11-01T00:00:00Z"), 72*time.Hour)
	text, err := json.Marshal(shorter.Changes)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"retention_days":30,"retention_hourly":0,"retention_daily":7,"retention_weekly":0,"retention_monthly":0,` +
		`"timezone":"Europe/Berlin","effective_at":"2026-11-04T00:00:00Z"}]`
	if string(text) != want {
		t.Errorf("encoded as\n%s, want\n%s", text, want)
	}
	var back []retention.PolicyChange
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != 1 || back[0].Old != p.Retention || back[0].Zone.String() != "Europe/Berlin" || !back[0].EffectiveAt.Equal(at(t, "2026-11-04T00:00:00Z")) {
		t.Errorf("decoded %+v", back)
	}
	for _, bad := range []string{`[{"timezone":"Mars/Olympus"}]`, `[{"timezone":""}]`, `[{}]`, `["x"]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
