package retention

import (
	"encoding/json"
	"fmt"
	"time"

	"devflowbackup/controller"
)

// record is a PolicyChange as the catalog keeps it, in the column retention_changes of a schedule.
type record struct {
	controller.Retention
	Timezone    string    `json:"timezone"`
	EffectiveAt time.Time `json:"effective_at"`
}

// MarshalJSON encodes a change for the catalog; its zone by name.
func (c PolicyChange) MarshalJSON() ([]byte, error) {
	r := record{Retention: c.Old, EffectiveAt: c.EffectiveAt.UTC()}
	if c.Zone != nil {
		r.Timezone = c.Zone.String()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode policy change: %w", err)
	}
	return b, nil
}

// UnmarshalJSON decodes what MarshalJSON has encoded. A zone that is not known on this machine is an error: what the change keeps
// cannot be told then.
func (c *PolicyChange) UnmarshalJSON(b []byte) error {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("decode policy change: %w", err)
	}
	zone, err := controller.LoadZone(r.Timezone)
	if err != nil {
		return fmt.Errorf("decode policy change: %w", err)
	}
	*c = PolicyChange{Old: r.Retention, Zone: zone, EffectiveAt: r.EffectiveAt}
	return nil
}
