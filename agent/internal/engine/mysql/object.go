package mysql

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/shared/wire"
)

// The server moves tables between databases, and nothing else. Views, routines, triggers and events are read as text and
// made again.

// object is a view, routine, trigger or event as it can be made again. Its statement is in the character set that it was
// written in, and names no database for what is in its own.
type object struct {
	Kind      string `json:"kind"` // VIEW, PROCEDURE, …
	Name      string `json:"name"`
	Table     string `json:"table,omitempty"` // of a trigger
	Statement []byte `json:"statement"`
	// Of the session that made it.
	Mode              string `json:"mode,omitempty"`
	Charset           string `json:"charset,omitempty"`
	Collation         string `json:"collation,omitempty"`
	DatabaseCollation string `json:"database_collation,omitempty"`
	TimeZone          string `json:"time_zone,omitempty"`
}

// content is what a database consists of. Each list is in an order in which it can be made.
type content struct {
	Charset   string   `json:"charset"`
	Collation string   `json:"collation"`
	Tables    []string `json:"tables"` // and sequences
	Views     []object `json:"views"`
	Routines  []object `json:"routines"`
	Triggers  []object `json:"triggers"`
	Events    []object `json:"events"`
}

// reservedPattern fits the names of the tables that say how far a Publish or a Swap came, and of those that are hidden meanwhile.
const (
	reservedPattern = `^devflow_(publishing|published|swap.*)$`
	notReserved     = "TABLE_NAME NOT REGEXP '" + reservedPattern + "'"
)

// readContent takes down all definitions. It must come before tables move: the text of a view whose tables are gone names
// their old database. The first of the readers lists what there is; each definition is read by the first that may.
func readContent(ctx context.Context, database string, readers ...*conn) (*content, error) {
	c := readers[0]
	in := []any{database, database}
	o, err := c.readTables(ctx, database)
	if err != nil {
		return nil, err
	}
	var found []object
	for _, query := range []string{
		// A package comes before its body.
		"SELECT ROUTINE_TYPE, ROUTINE_NAME, '' FROM information_schema.ROUTINES WHERE " + same("ROUTINE_SCHEMA"),
		"SELECT 'VIEW', TABLE_NAME, '' FROM information_schema.TABLES WHERE TABLE_TYPE = 'VIEW' AND " + same("TABLE_SCHEMA"),
		// Triggers of the same moment run in the order in which they were made.
		"SELECT 'TRIGGER', TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE " + same("TRIGGER_SCHEMA") +
			" ORDER BY EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER",
		"SELECT 'EVENT', EVENT_NAME, '' FROM information_schema.EVENTS WHERE " + same("EVENT_SCHEMA"),
	} {
		err := c.each(ctx, query, in, func(scan func(to ...any) error) error {
			var one object
			err := scan(&one.Kind, &one.Name, &one.Table)
			found = append(found, one)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	var inside []*conn
	for _, c := range readers {
		// Definitions come in the character set that they were written in, and without the name of the current database.
		err := c.exec(ctx, "USE "+quoteName(database))
		if answered(err, 1044) && c != readers[0] {
			continue // an account without any right there sees nothing either
		}
		if err == nil {
			err = c.exec(ctx, "SET character_set_results = binary")
		}
		if err != nil {
			return nil, err
		}
		inside = append(inside, c)
	}
	readers = inside
	for _, one := range found {
		if err := one.read(ctx, database, readers); err != nil {
			return nil, fmt.Errorf("read %s %q: %w", strings.ToLower(one.Kind), one.Name, err)
		}
		switch one.Kind {
		case "VIEW":
			o.Views = append(o.Views, one)
		case "TRIGGER":
			o.Triggers = append(o.Triggers, one)
		case "EVENT":
			o.Events = append(o.Events, one)
		default:
			o.Routines = append(o.Routines, one)
		}
	}
	sort.SliceStable(o.Routines, func(i, j int) bool { return o.Routines[i].Kind < o.Routines[j].Kind })
	for _, c := range readers {
		if err := errors.Join(c.exec(ctx, "SET character_set_results = utf8mb4"), c.leave(ctx)); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// readTables is a content without what has to be made again.
func (c *conn) readTables(ctx context.Context, database string) (o *content, err error) {
	o = &content{}
	err = c.one(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE "+same("SCHEMA_NAME"), []any{database, database},
		&o.Charset, &o.Collation)
	if err != nil {
		return nil, err
	}
	o.Tables, err = c.tableNames(ctx, database)
	return o, err
}

// tableNames lists tables and sequences without those of our own.
func (c *conn) tableNames(ctx context.Context, database string) ([]string, error) {
	return c.strings(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND "+notReserved+" AND "+same("TABLE_SCHEMA")+
		" ORDER BY CONVERT(TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin", database, database)
}

var errUnreadable = errors.New("the account may not read it")

func (o *object) read(ctx context.Context, database string, readers []*conn) error {
	refused := errUnreadable
	for _, c := range readers {
		records, err := c.records(ctx, "SHOW CREATE "+o.Kind+" "+quoteName(o.Name))
		if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) {
			refused = err
			continue
		}
		if err != nil {
			return err
		}
		if len(records) != 1 {
			continue
		}
		r := records[0]
		o.Mode, o.Charset, o.Collation = r["sql_mode"], r["character_set_client"], r["collation_connection"]
		o.DatabaseCollation, o.TimeZone = r["database collation"], r["time_zone"]
		for _, column := range []string{"create " + strings.ToLower(o.Kind), "sql original statement"} {
			if len(o.Statement) == 0 {
				o.Statement = []byte(r[column])
			}
		}
		if len(o.Statement) > 0 {
			w := o.rewriter()
			w.unqualify = database
			o.Statement = w.change(o.Statement)
			return nil
		}
	}
	if !errors.Is(refused, errUnreadable) {
		return refused
	}
	return wire.Failf(wire.CodePrivilege, "the account %q may not read %s %q", readers[0].who.user, strings.ToLower(o.Kind), o.Name).
		WithHint("it is not its definer: set restore.definers to strip, or grant what reading routines needs")
}

// rewriter reads the statement as the server did.
func (o *object) rewriter() *rewriter {
	w := newRewriter(nil)
	w.lex.learnMode([]byte("SET sql_mode = '" + o.Mode + "'"))
	return w
}

// definer is the account that the object runs as, quoted; empty if the statement does not say.
func (o *object) definer() string {
	d := o.rewriter().parse(o.Statement)
	return d.definer()
}

// making says where and how objects are made.
type making struct {
	database string
	disable  bool              // events
	invoker  bool              // views run with the rights of who uses them
	onto     map[string]string // the names of tables now, for triggers
	as       string            // the name of a view, if not its own
}

// make makes one object as it was made in the first place.
func (c *conn) make(ctx context.Context, o object, m making) error {
	if c.who == c.e.swap && c.who != c.e.restore && o.definer() == "" {
		// It would run with the rights of the account that swaps.
		return wire.Failf(wire.CodeNotAllowed, "%s %q does not say as whom it runs", strings.ToLower(o.Kind), o.Name)
	}
	w := o.rewriter()
	w.disableEvents, w.invoker, w.as = m.disable, m.invoker, m.as
	if o.Kind == "TRIGGER" {
		w.onto = m.onto[o.Table]
	}
	settings := []string{
		"USE " + quoteName(m.database),
		"SET sql_mode = " + quoteText(o.Mode),
		fmt.Sprintf("SET character_set_client = %s, collation_connection = %s", quoteText(o.Charset), quoteText(o.Collation)),
	}
	if o.TimeZone != "" {
		settings = append(settings, "SET time_zone = "+quoteText(o.TimeZone))
	}
	for _, statement := range settings {
		if err := c.exec(ctx, statement); err != nil {
			return err
		}
	}
	err := c.exec(ctx, string(w.change(o.Statement)))
	// Also after an error: the connection goes on to be used.
	return errors.Join(err, c.exec(context.WithoutCancel(ctx), "SET sql_mode = '', time_zone = '+00:00', character_set_client = utf8mb4, collation_connection = utf8mb4_bin"))
}

// leave makes the connection one that is at none of the databases that are worked on.
func (c *conn) leave(ctx context.Context) error { return c.exec(ctx, "USE information_schema") }

func (c *conn) makeAll(ctx context.Context, all []object, m making) error {
	for _, o := range all {
		if err := c.inCollation(ctx, m.database, o.DatabaseCollation, func() error { return c.make(ctx, o, m) }); err != nil {
			return fmt.Errorf("make %s %q: %w", strings.ToLower(o.Kind), o.Name, err)
		}
	}
	return nil
}

// inCollation makes an object that was made when its database had another collation.
func (c *conn) inCollation(ctx context.Context, database, collation string, do func() error) error {
	if collation == "" {
		return do()
	}
	var now string
	if err := c.one(ctx, "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE "+same("SCHEMA_NAME"), []any{database, database}, &now); err != nil {
		return err
	}
	if now == collation {
		return do()
	}
	alter := func(ctx context.Context, to string) error {
		return c.exec(ctx, "ALTER DATABASE "+quoteName(database)+" COLLATE "+to)
	}
	if err := alter(ctx, collation); err != nil {
		return err
	}
	return errors.Join(do(), alter(context.WithoutCancel(ctx), now))
}

// makeViews makes views on views in whatever order works.
func (c *conn) makeViews(ctx context.Context, views []object, m making) error {
	left, failed, err := c.makeViewsThatWork(ctx, views, m)
	if err == nil && len(left) > 0 {
		err = failed
	}
	return err
}

// makeViewsThatWork returns those that the server refuses, with its last word on one of them.
func (c *conn) makeViewsThatWork(ctx context.Context, views []object, m making) (left []object, failed, err error) {
	for len(views) > 0 {
		left = nil
		for _, v := range views {
			err := c.make(ctx, v, m)
			answer := (*driver.MySQLError)(nil)
			switch {
			case err == nil:
			case errors.As(err, &answer):
				left, failed = append(left, v), fmt.Errorf("make view %q: %w", v.Name, err)
			default:
				return views, failed, err
			}
		}
		if len(left) == len(views) {
			return left, failed, nil
		}
		views = left
	}
	return nil, nil, nil
}

// mendDefaults lets defaults that come from sequences use those that were moved: the server keeps the old database's
// name in them.
func (c *conn) mendDefaults(ctx context.Context, database, was string) error {
	if c.server.flavour != flavourMariaDB {
		return nil
	}
	var changes []string
	err := c.each(ctx, "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE COLUMN_DEFAULT LIKE '%val(%' AND "+same("TABLE_SCHEMA"),
		[]any{database, database}, func(scan func(to ...any) error) error {
			var table, column, expression string
			if err := scan(&table, &column, &expression); err != nil {
				return err
			}
			if mended := requalify(expression, was, database); mended != expression {
				changes = append(changes, "ALTER TABLE "+qualified(database, table)+" ALTER COLUMN "+quoteName(column)+" SET DEFAULT ("+mended+")")
			}
			return nil
		})
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := c.exec(ctx, change); err != nil {
			return err
		}
	}
	return nil
}
