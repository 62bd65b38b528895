package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// The server cannot rename a database. Publish makes the target, moves the tables there and makes everything else again.
// Two small tables say how far it came:
//
//	staging.devflow_publishing   intent: its comment is the target's name
//	target.devflow_publishing    not complete: its comment is the name of the staging database
//	staging.devflow_published    complete; what is left of the staging database is rubbish
//
// The second becomes the third by one rename: this is the moment at which the target is published. Until then Remove
// of the staging database drops the target with it, for both say that they belong together; a target that only the intent
// names is dropped if it is empty. From then on Exists says that the staging database is gone, and Remove, or the next
// restore, drops what is left of it.
const (
	publishingTable = "devflow_publishing"
	publishedTable  = "devflow_published"
)

// publication is one Publish on its connection.
type publication struct {
	e        *Engine
	c        *conn
	from, to string
}

// Publish moves a database that Restore made to its name. It fails with wire.CodeTargetExists if to exists, and then
// changes nothing. After any other error, Remove of from undoes it.
func (e *Engine) Publish(ctx context.Context, from, to string) error {
	if !staging(from) {
		return wire.Failf(wire.CodeNotAllowed, "publish database %q: only what a restore made (%s…) is renamed", from, engine.StagingPrefix)
	}
	if err := checkName(to); err != nil {
		return err
	}
	if ours(to) {
		return wire.Failf(wire.CodeBadRequest, "publish as %q: names that start with %s or %s are for restores that are not complete and for what they replaced",
			to, engine.StagingPrefix, engine.KeptPrefix)
	}
	c, err := e.connect(ctx, e.restore)
	if err != nil {
		return err
	}
	defer c.hangUp(ctx)
	p := &publication{e: e, c: c, from: from, to: to}
	err = p.run(ctx)
	if err != nil {
		return e.sqlFailure(ctx, err, "publish "+e.where(to), to)
	}
	return nil
}

func (p *publication) run(ctx context.Context) error {
	for _, name := range []string{p.from, p.to} {
		there, err := p.c.exists(ctx, name)
		switch {
		case err != nil:
			return err
		case name == p.from && !there:
			return p.e.missing(p.from, errNotListed)
		case name == p.to && there:
			return p.exists()
		}
	}
	var objects *content
	as := making{database: p.to, disable: true}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"read definitions", func() (err error) {
			objects, err = readContent(ctx, p.from, p.c)
			return err
		}},
		{"write intent", func() error {
			return p.c.exec(ctx, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (n INT) ENGINE = InnoDB COMMENT = %s", qualified(p.from, publishingTable), quoteText(p.to)))
		}},
		{"make target", func() error { return p.makeTarget(ctx, objects) }},
		{"mark target", func() error {
			return p.c.exec(ctx, fmt.Sprintf("CREATE TABLE %s (n INT) ENGINE = InnoDB COMMENT = %s", qualified(p.to, publishingTable), quoteText(p.from)))
		}},
		{"drop triggers", func() error {
			for _, t := range objects.Triggers {
				if err := p.c.exec(ctx, "DROP TRIGGER "+qualified(p.from, t.Name)); err != nil {
					return fmt.Errorf("drop trigger %q: %w", t.Name, err)
				}
			}
			return nil
		}},
		{"move tables", func() error { return p.moveTables(ctx, objects.Tables) }},
		{"mend defaults", func() error { return p.c.mendDefaults(ctx, p.to, p.from) }},
		{"make routines", func() error { return p.c.makeAll(ctx, objects.Routines, as) }},
		{"make views", func() error { return p.c.makeViews(ctx, objects.Views, as) }},
		{"make triggers", func() error { return p.c.makeAll(ctx, objects.Triggers, as) }},
		{"make events", func() error { return p.c.makeAll(ctx, objects.Events, as) }},
		{"publish", func() error {
			return p.c.exec(ctx, "RENAME TABLE "+qualified(p.to, publishingTable)+" TO "+qualified(p.from, publishedTable))
		}},
	} {
		if p.e.beforeStep != nil {
			if err := p.e.beforeStep(step.name); err != nil {
				return err
			}
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	// It is done. What is left goes now, or with the next restore.
	if p.e.beforeStep != nil {
		if err := p.e.beforeStep("clean up"); err != nil {
			return nil //nolint:nilerr // a test that looks at what is left
		}
	}
	if err := p.c.exec(ctx, "DROP DATABASE IF EXISTS "+quoteName(p.from)); err != nil {
		p.e.log.Warn("the rest of a published restore is left; the next restore drops it", "database", p.from, "err", p.e.scrub(err))
	}
	return nil
}

func (p *publication) exists() error {
	return wire.Failf(wire.CodeTargetExists, "there is a %s already", p.e.where(p.to)).WithHint("choose another name")
}

func qualified(database, name string) string { return quoteName(database) + "." + quoteName(name) }

// makeTarget fails with wire.CodeTargetExists, and takes the intent back, if somebody else was faster.
func (p *publication) makeTarget(ctx context.Context, o *content) error {
	err := p.c.exec(ctx, "CREATE DATABASE "+quoteName(p.to)+" CHARACTER SET "+o.Charset+" COLLATE "+o.Collation)
	if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) {
		if err := p.c.exec(ctx, "DROP TABLE "+qualified(p.from, publishingTable)); err != nil {
			return err
		}
		if answer.Number == 1007 {
			return p.exists()
		}
		if answer.Number == 1044 {
			return wire.Failf(wire.CodePrivilege, "the restore account %q may not make %s: %w", p.e.restore.user, p.e.where(p.to), answer).
				WithHint("run %s", grant(allPrivileges, quotePattern(p.to), "the account"))
		}
	}
	return err
}

// tablesPerRename bounds the length of a statement.
const tablesPerRename = 1000

// moveTables renames all tables and sequences. Foreign keys follow.
func (p *publication) moveTables(ctx context.Context, tables []string) error {
	for len(tables) > 0 {
		some := tables[:min(len(tables), tablesPerRename)]
		tables = tables[len(some):]
		var moves []string
		for _, name := range some {
			moves = append(moves, qualified(p.from, name)+" TO "+qualified(p.to, name))
		}
		if err := p.c.exec(ctx, "RENAME TABLE "+strings.Join(moves, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// published tells whether a staging database is what Publish left.
func (c *conn) published(ctx context.Context, database string) (bool, error) {
	var n int
	err := c.one(ctx, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = ? AND "+same("TABLE_SCHEMA"), []any{publishedTable, database, database}, &n)
	if err != nil {
		return false, c.e.sqlFailure(ctx, err, "look for "+c.e.where(database), database)
	}
	return n > 0, nil
}

// Remove drops a database that Restore made, with a target that a Publish of it did not complete, or one that a Swap kept. It refuses
// both while a Swap of them is neither complete nor settled.
func (e *Engine) Remove(ctx context.Context, database string) error {
	if !ours(database) || checkName(database) != nil {
		return wire.Failf(wire.CodeNotAllowed, "remove database %q: only what a restore made (%s…) or kept (%s…) is removed", database, engine.StagingPrefix, engine.KeptPrefix)
	}
	if err := e.settled(ctx, database); err != nil {
		return err
	}
	return e.drop(ctx, database)
}

func (e *Engine) drop(ctx context.Context, database string) error {
	c, err := e.connect(ctx, e.owner(database))
	if err != nil {
		return err
	}
	defer c.hangUp(ctx)
	what := "remove " + e.where(database)
	targets, err := c.unpublished(ctx, database)
	if err != nil {
		return e.sqlFailure(ctx, err, what, database)
	}
	for _, name := range append(targets, database) {
		if err := c.dropNow(ctx, name); err != nil {
			return e.sqlFailure(ctx, err, what, database)
		}
	}
	return nil
}

// dropNow drops a database, and ends the connections of ours that a client which was stopped has left in it: they hold
// locks until the server notices.
func (c *conn) dropNow(ctx context.Context, database string) error {
	if ours(database) {
		ids, err := c.strings(ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = ? AND CONVERT(DB USING utf8mb4) COLLATE utf8mb4_bin = ?",
			c.who.user, database)
		if err != nil {
			return err
		}
		for _, id := range ids {
			_ = c.exec(ctx, "KILL "+id) // gone meanwhile
		}
	}
	return c.exec(ctx, "DROP DATABASE IF EXISTS "+quoteName(database))
}

// unpublished lists the targets that a Publish of a staging database made and did not complete.
func (c *conn) unpublished(ctx context.Context, database string) (targets []string, err error) {
	done, err := c.published(ctx, database)
	if err != nil || done {
		return nil, err
	}
	err = c.each(ctx, "SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = ? AND TABLE_COMMENT = ?", []any{publishingTable, database},
		func(scan func(to ...any) error) error {
			var name string
			if err := scan(&name); err != nil {
				return err
			}
			if !ours(name) && !system(name) {
				targets = append(targets, name)
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	// Made, but not marked: the intent names it, and nothing is in it.
	intents, err := c.strings(ctx, "SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_NAME = ? AND "+same("TABLE_SCHEMA"), publishingTable, database, database)
	if err != nil || len(intents) == 0 || ours(intents[0]) || system(intents[0]) || checkName(intents[0]) != nil {
		return targets, err
	}
	target := intents[0]
	there, err := c.exists(ctx, target)
	if err != nil || !there {
		return targets, err
	}
	var n int
	if err := c.one(ctx, `SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE `+same("TABLE_SCHEMA")+`) +
		(SELECT COUNT(*) FROM information_schema.ROUTINES WHERE `+same("ROUTINE_SCHEMA")+`) + (SELECT COUNT(*) FROM information_schema.EVENTS WHERE `+same("EVENT_SCHEMA")+`)`,
		[]any{target, target, target, target, target, target}, &n); err != nil {
		return nil, err
	}
	if n == 0 {
		targets = append(targets, target)
	}
	return targets, nil
}

// sweep drops what is left of restores that were published. It is a courtesy: an error is no reason not to restore.
func (c *conn) sweep(ctx context.Context) {
	left, err := c.strings(ctx, "SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = ? AND TABLE_SCHEMA LIKE 'devflow\\_staging\\_%'", publishedTable)
	if err != nil {
		return
	}
	for _, name := range left {
		if !staging(name) {
			continue
		}
		if err := c.exec(ctx, "DROP DATABASE IF EXISTS "+quoteName(name)); err != nil {
			c.e.log.Warn("the rest of a published restore is left", "database", name, "err", c.e.scrub(err))
		}
	}
}
