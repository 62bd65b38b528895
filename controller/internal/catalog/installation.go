package catalog

import (
	"context"

	"devflowbackup/controller"
)

// Installation is what the first start made.
type Installation = controller.Installation

// liveFor is how long after its last word a controller counts as up.
const liveFor = "interval '15 seconds'"

// Installation returns what the first start made, or nil before it.
func (c *Catalog) Installation(ctx context.Context) (*controller.Installation, error) {
	var in *controller.Installation
	err := c.system(ctx, func(t *tx) error {
		in = nil
		var row struct {
			UID                      string `bun:"uid"`
			CheckValue, EscrowMaster []byte
		}
		found, err := t.find(ctx, &row, "SELECT uid, check_value, escrow_master FROM installation")
		if err != nil || !found {
			return err
		}
		var secrets []struct {
			Name   string
			Sealed []byte
		}
		if err := t.scan(ctx, &secrets, "SELECT name, sealed FROM sealed_secrets"); err != nil {
			return err
		}
		in = &controller.Installation{UID: row.UID, CheckValue: row.CheckValue, EscrowMaster: row.EscrowMaster, Secrets: make(map[string][]byte, len(secrets))}
		for _, s := range secrets {
			in.Secrets[s.Name] = s.Sealed
		}
		return nil
	})
	return in, err
}

// CreateInstallation stores what a first start made. Of controllers that race, one gets true; the others must read what it made.
func (c *Catalog) CreateInstallation(ctx context.Context, in controller.Installation) (created bool, err error) {
	err = c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "INSERT INTO installation (uid, check_value, escrow_master) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
			in.UID, in.CheckValue, in.EscrowMaster)
		if created = n == 1; err != nil || !created {
			return err
		}
		for name, sealed := range in.Secrets {
			if _, err := t.exec(ctx, "INSERT INTO sealed_secrets (name, sealed) VALUES (?, ?)", name, sealed); err != nil {
				return err
			}
		}
		return nil
	})
	return created && err == nil, err
}

// PutSecret stores or replaces one sealed secret.
func (c *Catalog) PutSecret(ctx context.Context, name string, sealed []byte) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO sealed_secrets (name, sealed) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, updated_at = now()`, name, sealed)
		return err
	})
}

// Brokers of a controller.
const (
	brokerEmbedded = "embedded"
	brokerExternal = "external"
)

// RegisterController says that this controller is up. An embedded broker serves one controller: where another controller is
// up, embedded is refused, and so is external beside a controller with an embedded one.
func (c *Catalog) RegisterController(ctx context.Context, version, broker string) error {
	if broker != brokerEmbedded && broker != brokerExternal {
		return controller.Invalid("broker", "%q is not allowed; use embedded or external", broker)
	}
	return c.system(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockRegister); err != nil {
			return err
		}
		var others []struct{ ID, Broker string }
		if err := t.scan(ctx, &others, "SELECT id, broker FROM controllers WHERE id <> ? AND seen_at > clock_timestamp() - "+liveFor, c.opts.ControllerID); err != nil {
			return err
		}
		for _, o := range others {
			if broker == brokerEmbedded || o.Broker == brokerEmbedded {
				return controller.Errorf(controller.EConflict, "controller %q with an %s broker is up on this catalog: this one, with an %s broker, would not hear its agents", o.ID, o.Broker, broker).
					WithHint("run several controllers on one external NATS cluster, or stop the other one and wait 15 seconds")
			}
		}
		if _, err := t.exec(ctx, "DELETE FROM controllers WHERE seen_at < now() - interval '1 day'"); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO controllers (id, version, broker) VALUES (?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET version = excluded.version, broker = excluded.broker, started_at = now(), seen_at = now()`,
			c.opts.ControllerID, version, broker)
		return err
	})
}

// ControllerSeen keeps this controller among those that are up. It is called every few seconds.
func (c *Catalog) ControllerSeen(ctx context.Context) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE controllers SET seen_at = now() WHERE id = ?", c.opts.ControllerID)
		return err
	})
}

// DeregisterController says that this controller is going down. What it had begun to delete is another one's at once.
func (c *Catalog) DeregisterController(ctx context.Context) error {
	return c.system(ctx, func(t *tx) error {
		if err := t.releaseDeletions(ctx, "b.delete_claim = ?", c.opts.ControllerID); err != nil {
			return err
		}
		_, err := t.exec(ctx, "DELETE FROM controllers WHERE id = ?", c.opts.ControllerID)
		return err
	})
}
