package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sort"
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
	if staging(to) {
		return wire.Failf(wire.CodeBadRequest, "publish as %q: names that start with %s are for restores that are not complete", to, engine.StagingPrefix)
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
	var objects *objects
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"read definitions", func() (err error) {
			objects, err = p.read(ctx)
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
			for _, t := range objects.triggers {
				if err := p.c.exec(ctx, "DROP TRIGGER "+qualified(p.from, t.name)); err != nil {
					return fmt.Errorf("drop trigger %q: %w", t.name, err)
				}
			}
			return nil
		}},
		{"move tables", func() error { return p.moveTables(ctx, objects.tables) }},
		{"mend defaults", func() error { return p.mendDefaults(ctx) }},
		{"make routines", func() error { return p.makeAll(ctx, objects.routines) }},
		{"make views", func() error { return p.makeViews(ctx, objects.views) }},
		{"make triggers", func() error { return p.makeAll(ctx, objects.triggers) }},
		{"make events", func() error { return p.makeAll(ctx, objects.events) }},
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
func (p *publication) makeTarget(ctx context.Context, o *objects) error {
	err := p.c.exec(ctx, "CREATE DATABASE "+quoteName(p.to)+" CHARACTER SET "+o.charset+" COLLATE "+o.collation)
	if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) {
		if err := p.c.exec(ctx, "DROP TABLE "+qualified(p.from, publishingTable)); err != nil {
			return err
		}
		if answer.Number == 1007 {
			return p.exists()
		}
		if answer.Number == 1044 {
			return wire.Failf(wire.CodePrivilege, "the restore account %q may not make %s: %w", p.e.restore.user, p.e.where(p.to), answer).
				WithHint("run GRANT ALL PRIVILEGES ON %s.* TO the account", quotePattern(p.to))
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

// mendDefaults lets defaults that come from sequences use those that were moved: the server keeps the old database's
// name in them.
func (p *publication) mendDefaults(ctx context.Context) error {
	if p.c.server.flavour != flavourMariaDB {
		return nil
	}
	var changes []string
	err := p.c.each(ctx, "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE COLUMN_DEFAULT LIKE '%val(%' AND "+same("TABLE_SCHEMA"),
		[]any{p.to, p.to}, func(scan func(to ...any) error) error {
			var table, column, expression string
			if err := scan(&table, &column, &expression); err != nil {
				return err
			}
			if mended := requalify(expression, p.from, p.to); mended != expression {
				changes = append(changes, "ALTER TABLE "+qualified(p.to, table)+" ALTER COLUMN "+quoteName(column)+" SET DEFAULT ("+mended+")")
			}
			return nil
		})
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := p.c.exec(ctx, change); err != nil {
			return err
		}
	}
	return nil
}

// object is a view, routine, trigger or event as it can be made again.
type object struct {
	name, statement           string
	mode, charset, collation  string // of the session that made it
	databaseCollation, tzName string
}

type objects struct {
	charset, collation                string
	tables                            []string
	views, routines, triggers, events []object
}

// read takes down the definitions of everything that is not a table. It must come before tables move: the text of a view
// whose tables are gone names their old database.
func (p *publication) read(ctx context.Context) (*objects, error) {
	o := &objects{}
	c := p.c
	if err := c.exec(ctx, "USE "+quoteName(p.from)); err != nil {
		return nil, err
	}
	in := []any{p.from, p.from}
	err := c.one(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE "+same("SCHEMA_NAME"), in, &o.charset, &o.collation)
	if err != nil {
		return nil, err
	}
	if o.tables, err = c.strings(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND TABLE_NAME <> '"+publishingTable+"' AND "+
		same("TABLE_SCHEMA")+" ORDER BY TABLE_NAME", in...); err != nil {
		return nil, err
	}
	views, err := c.strings(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'VIEW' AND "+same("TABLE_SCHEMA"), in...)
	if err != nil {
		return nil, err
	}
	type routine struct{ kind, name string }
	var routines []routine
	if err := c.each(ctx, "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE "+same("ROUTINE_SCHEMA"), in, func(scan func(to ...any) error) error {
		var r routine
		err := scan(&r.kind, &r.name)
		routines = append(routines, r)
		return err
	}); err != nil {
		return nil, err
	}
	// A package comes before its body.
	sort.SliceStable(routines, func(i, j int) bool { return routines[i].kind < routines[j].kind })
	// Triggers of the same moment run in the order in which they were made.
	triggers, err := c.strings(ctx, "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE "+same("TRIGGER_SCHEMA")+
		" ORDER BY EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER", in...)
	if err != nil {
		return nil, err
	}
	events, err := c.strings(ctx, "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE "+same("EVENT_SCHEMA"), in...)
	if err != nil {
		return nil, err
	}
	// Definitions come in the character set that they were written in.
	if err := c.exec(ctx, "SET character_set_results = binary"); err != nil {
		return nil, err
	}
	for _, r := range routines {
		if o.routines, err = p.show(ctx, o.routines, r.kind, r.name); err != nil {
			return nil, err
		}
	}
	for _, name := range views {
		if o.views, err = p.show(ctx, o.views, "VIEW", name); err != nil {
			return nil, err
		}
	}
	for _, name := range triggers {
		if o.triggers, err = p.show(ctx, o.triggers, "TRIGGER", name); err != nil {
			return nil, err
		}
	}
	for _, name := range events {
		if o.events, err = p.show(ctx, o.events, "EVENT", name); err != nil {
			return nil, err
		}
	}
	return o, c.exec(ctx, "SET character_set_results = utf8mb4")
}

// show appends one definition. The database's own name is taken off sequences in it, and an event stays disabled.
func (p *publication) show(ctx context.Context, to []object, kind, name string) ([]object, error) {
	records, err := p.c.records(ctx, "SHOW CREATE "+kind+" "+quoteName(name))
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", strings.ToLower(kind), name, err)
	}
	if len(records) != 1 {
		return nil, fmt.Errorf("read %s %q: %w", strings.ToLower(kind), name, sql.ErrNoRows)
	}
	r := records[0]
	o := object{
		name: name, mode: r["sql_mode"], charset: r["character_set_client"], collation: r["collation_connection"],
		databaseCollation: r["database collation"], tzName: r["time_zone"],
	}
	for _, column := range []string{"create " + strings.ToLower(kind), "sql original statement"} {
		if o.statement == "" {
			o.statement = r[column]
		}
	}
	if o.statement == "" {
		return nil, wire.Failf(wire.CodePrivilege, "the restore account %q may not read %s %q", p.e.restore.user, strings.ToLower(kind), name).
			WithHint("it is not its definer: set restore.definers to strip, or grant what reading routines needs")
	}
	w := newRewriter(nil)
	w.disableEvents, w.unqualify = true, p.from
	w.lex.learnMode([]byte("SET sql_mode = '" + o.mode + "'"))
	o.statement = string(w.change([]byte(o.statement)))
	return append(to, o), nil
}

// make makes one object in the target as it was made in the first place.
func (p *publication) make(ctx context.Context, o object) error {
	settings := []string{
		"USE " + quoteName(p.to),
		"SET sql_mode = " + quoteText(o.mode),
		fmt.Sprintf("SET character_set_client = %s, collation_connection = %s", quoteText(o.charset), quoteText(o.collation)),
	}
	if o.tzName != "" {
		settings = append(settings, "SET time_zone = "+quoteText(o.tzName))
	}
	for _, statement := range settings {
		if err := p.c.exec(ctx, statement); err != nil {
			return err
		}
	}
	if err := p.c.exec(ctx, o.statement); err != nil {
		return err
	}
	return p.c.exec(ctx, "SET sql_mode = '', time_zone = '+00:00', character_set_client = utf8mb4, collation_connection = utf8mb4_bin")
}

func (p *publication) makeAll(ctx context.Context, all []object) error {
	for _, o := range all {
		if err := p.inCollation(ctx, o.databaseCollation, func() error { return p.make(ctx, o) }); err != nil {
			return fmt.Errorf("make %q: %w", o.name, err)
		}
	}
	return nil
}

// inCollation makes an object that was made when its database had another collation.
func (p *publication) inCollation(ctx context.Context, collation string, do func() error) error {
	if collation == "" {
		return do()
	}
	var now string
	if err := p.c.one(ctx, "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE "+same("SCHEMA_NAME"), []any{p.to, p.to}, &now); err != nil {
		return err
	}
	if now == collation {
		return do()
	}
	alter := func(to string) error {
		return p.c.exec(ctx, "ALTER DATABASE "+quoteName(p.to)+" COLLATE "+to)
	}
	if err := alter(collation); err != nil {
		return err
	}
	return errors.Join(do(), alter(now))
}

// makeViews makes views on views in whatever order works.
func (p *publication) makeViews(ctx context.Context, views []object) error {
	for len(views) > 0 {
		var left []object
		var failed error
		for _, v := range views {
			err := p.make(ctx, v)
			answer := (*driver.MySQLError)(nil)
			switch {
			case err == nil:
			case errors.As(err, &answer):
				left, failed = append(left, v), fmt.Errorf("make view %q: %w", v.name, err)
			default:
				return err
			}
		}
		if len(left) == len(views) {
			return failed
		}
		views = left
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

// Remove drops a database that Restore made, and a target that a Publish of it did not complete.
func (e *Engine) Remove(ctx context.Context, database string) error {
	if !staging(database) || checkName(database) != nil {
		return wire.Failf(wire.CodeNotAllowed, "remove database %q: only what a restore made (%s…) is removed", database, engine.StagingPrefix)
	}
	return e.drop(ctx, database)
}

func (e *Engine) drop(ctx context.Context, database string) error {
	c, err := e.connect(ctx, e.restore)
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
	if staging(database) {
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
			if !staging(name) && !system(name) {
				targets = append(targets, name)
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	// Made, but not marked: the intent names it, and nothing is in it.
	intents, err := c.strings(ctx, "SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_NAME = ? AND "+same("TABLE_SCHEMA"), publishingTable, database, database)
	if err != nil || len(intents) == 0 || staging(intents[0]) || system(intents[0]) || checkName(intents[0]) != nil {
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
