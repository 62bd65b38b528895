package catalog

import "context"

// ReleaseClaims gives up what this controller had claimed before it was started: the process that worked on it is gone, and
// nobody has to wait until its claims run out. Call it before the fleet starts.
func (c *Catalog) ReleaseClaims(ctx context.Context) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE jobs SET claim_until = '-infinity' WHERE claim_owner = ? AND claim_until > now() AND "+jobOpen, c.opts.ControllerID)
		if err != nil {
			return err
		}
		return t.releaseDeletions(ctx, "b.delete_claim = ?", c.opts.ControllerID)
	})
}
