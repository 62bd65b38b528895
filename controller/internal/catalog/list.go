package catalog

import (
	"cmp"
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

// contains adds that one of the columns has the text in it, whatever its case.
func (c *conditions) contains(text string, columns ...string) {
	if text == "" {
		return
	}
	var one []string
	for _, column := range columns {
		one = append(one, "position(lower(?) IN lower("+column+")) > 0")
		c.args = append(c.args, text)
	}
	c.list = append(c.list, "("+strings.Join(one, " OR ")+")")
}

// part reads a part of a list in the order of columns, of which the last is the row's id. What comes before the part is named by the id of
// its last row; one that is not there any longer is refused, since nobody knows where it was.
func (t *tx) part(ctx context.Context, rows any, columns, tables string, where conditions, order string, p controller.Part) error {
	if err := t.following(ctx, tables, &where, order, p.AfterID); err != nil {
		return err
	}
	limit, offset := p.PerPage, p.Offset()
	if p.Page == 0 {
		limit = min(cmp.Or(p.Limit, 100), controller.MaxPart)
	}
	return t.scan(ctx, rows, "SELECT "+columns+" FROM "+tables+" WHERE "+where.where()+" ORDER BY "+order+" LIMIT ? OFFSET ?", append(where.args, limit, offset)...)
}

// following adds that a row comes after the one with the id in the order; 0 adds nothing.
func (t *tx) following(ctx context.Context, tables string, where *conditions, order string, afterID int64) error {
	if afterID == 0 {
		return nil
	}
	last := order[strings.LastIndex(order, " ")+1:]
	from := " FROM " + tables + " WHERE " + last + " = ?"
	var there bool
	if err := t.scan(ctx, &there, "SELECT EXISTS (SELECT"+from+")", afterID); err != nil {
		return err
	}
	if !there {
		return controller.Invalid("after_id", "%d is not known here, or no longer", afterID).WithHint("read the list from its beginning")
	}
	where.add("("+order+") > (SELECT "+order+from+")", afterID)
	return nil
}

// limits are the LIMIT and the OFFSET of a list.
func limits(limit int, p controller.NumberedPage) (int, int) {
	if p.Page == 0 {
		return page(limit), 0
	}
	return p.PerPage, p.Offset()
}
