package catalog

import (
	"context"
	"strings"

	"devflowbackup/controller"
)

// conditions is a WHERE of what is asked for and nothing else: then an index finds the rows, however many there are.
type conditions struct {
	list []string
	args []any
}

func (c *conditions) add(condition string, with ...any) {
	c.list = append(c.list, condition)
	c.args = append(c.args, with...)
}

// equal adds a condition unless the value is empty.
func (c *conditions) equal(column, value string) {
	if value != "" {
		c.add(column+" = ?", value)
	}
}

// number adds a condition unless the value is 0.
func (c *conditions) number(condition string, value int64) {
	if value != 0 {
		c.add(condition, value)
	}
}

func (c *conditions) between(column string, b controller.Between) {
	if b.Since != nil {
		c.add(column+" >= ?", *b.Since)
	}
	if b.Until != nil {
		c.add(column+" < ?", *b.Until)
	}
}

func (c *conditions) where() string { return strings.Join(c.list, " AND ") }

// What a name stands for, as the controller sees it: a database may be another project's by now, a server no longer granted, a storage
// deleted; what was made from them is the caller's nevertheless.
const (
	namedDatabase = "SELECT id FROM databases WHERE name = ?0 OR id::text = ?0"
	namedServer   = "SELECT id FROM servers WHERE name = ?0 OR id::text = ?0 OR agent_id = ?0"
	namedStorage  = "SELECT id FROM storages WHERE name = ?0 OR id::text = ?0"
)

// named adds that the column is one of what a name stands for. The rows that are listed are bounded by the scope as ever.
func (t *tx) named(ctx context.Context, c *conditions, column, query, ref string) error {
	if ref == "" {
		return nil
	}
	return t.elevated(ctx, func() error {
		var ids []int64
		if err := t.scan(ctx, &ids, query, ref); err != nil {
			return err
		}
		switch len(ids) {
		case 0:
			c.add("FALSE")
		case 1:
			c.add(column+" = ?", ids[0])
		default:
			c.add(column+" = ANY (?)", idArray(ids))
		}
		return nil
	})
}

// count counts rows, up to controller.MaxCounted.
func (t *tx) count(ctx context.Context, table string, c conditions) (controller.Total, error) {
	var n int64
	err := t.scan(ctx, &n, "SELECT count(*) FROM (SELECT 1 FROM "+table+" WHERE "+c.where()+" LIMIT ?) q", append(c.args, controller.MaxCounted+1)...)
	return controller.Total{N: min(n, controller.MaxCounted), More: n > controller.MaxCounted}, err
}

// limits are the LIMIT and the OFFSET of a list.
func limits(limit int, p controller.NumberedPage) (int, int) {
	if p.Page == 0 {
		return page(limit), 0
	}
	return p.PerPage, p.Offset()
}
