package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"devflowbackup/shared/freeport"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// MariaDBOptions of StartMariaDB.
type MariaDBOptions struct {
	// Port on loopback; a free one if 0.
	Port int
	// Settings are server settings, such as max_connections.
	Settings map[string]string
	// Targets are patterns of names that restores may be made to, with % and \_; "r\_%" if nil.
	Targets []string
}

// MariaDB is a running MariaDB server with the accounts of an agent.
type MariaDB struct {
	*mysqlserver.Server
	BackupPasswordFile  string
	RestorePasswordFile string
	SwapPasswordFile    string
}

// dumpRights are what the documentation tells to give the account that dumps.
const dumpRights = "SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, PROCESS, RELOAD, BINLOG MONITOR"

// StartMariaDB starts a database server with the accounts BackupRole and RestoreRole.
func (s *Stack) StartMariaDB(ctx context.Context, name string, opt MariaDBOptions) (*MariaDB, error) {
	log, err := os.OpenFile(s.LogFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if opt.Port == 0 {
		if opt.Port, err = freeport.Pick(); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
		}
	}
	server, err := mysqlserver.Start(ctx, mysqlserver.Options{Dir: s.path(name), Port: opt.Port, Settings: opt.Settings, Log: log})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	s.onStop(func(ctx context.Context) error { return errors.Join(server.Stop(ctx), log.Close()) })
	s.mu.Lock()
	s.mariaPorts = append(s.mariaPorts, server.Port())
	s.mu.Unlock()
	m := &MariaDB{Server: server}
	if opt.Targets == nil {
		opt.Targets = []string{`r\_%`}
	}
	if err := m.prepare(ctx, s, name, opt.Targets); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	s.note("started %s on port %d, process id %d", name, server.Port(), server.Pid())
	return m, nil
}

func (m *MariaDB) prepare(ctx context.Context, s *Stack, name string, targets []string) error {
	var backup, restore, swap string
	var err error
	if m.BackupPasswordFile, backup, err = s.secretFile("secrets", name+"-backup"); err != nil {
		return err
	}
	if m.RestorePasswordFile, restore, err = s.secretFile("secrets", name+"-restore"); err != nil {
		return err
	}
	if m.SwapPasswordFile, swap, err = s.secretFile("secrets", name+"-swap"); err != nil {
		return err
	}
	users, err := m.Exec(ctx, "", "SELECT DISTINCT user FROM mysql.user")
	if err != nil {
		return err
	}
	have := strings.Split(users, "\n")
	for _, a := range []struct{ name, password string }{{BackupRole, backup}, {RestoreRole, restore}, {SwapRole, swap}} {
		if contains(have, a.name) {
			continue
		}
		if err := m.CreateUser(ctx, a.name, secret.String(a.password)); err != nil {
			return err
		}
	}
	if err := m.Grant(ctx, dumpRights, "*.*", BackupRole); err != nil {
		return err
	}
	for _, pattern := range append([]string{`devflow\_staging\_%`}, targets...) {
		if err := m.Grant(ctx, "ALL PRIVILEGES", mysqlserver.Quote(pattern)+".*", RestoreRole); err != nil {
			return err
		}
	}
	for _, g := range []struct{ rights, on, to string }{
		{"ALL PRIVILEGES", "`devflow\\_staging\\_%`.*", SwapRole},
		{"ALL PRIVILEGES", "`devflow\\_kept\\_%`.*", SwapRole},
		{"SET USER, CONNECTION ADMIN", "*.*", SwapRole},
		// What was restored runs as the account that restored it, also where it is kept.
		{"SELECT, EXECUTE, SHOW VIEW", "`devflow\\_kept\\_%`.*", RestoreRole},
	} {
		if err := m.Grant(ctx, g.rights, g.on, g.to); err != nil {
			return err
		}
	}
	return nil
}

func contains(lines []string, want string) bool {
	for _, l := range lines {
		if strings.TrimSpace(l) == want {
			return true
		}
	}
	return false
}

// Engine is MySQL, which MariaDB counts as.
func (m *MariaDB) Engine() string { return wire.EngineMySQL }

// Name is the word itself.
func (m *MariaDB) Name(word string) string { return word }

// Instance has the accounts that StartMariaDB made.
func (m *MariaDB) Instance() map[string]any {
	return map[string]any{
		"engine": m.Engine(), "host": m.Host(), "port": m.Port(), "sslmode": "disable",
		"user": BackupRole, "password_file": m.BackupPasswordFile,
		"restore": map[string]any{"user": RestoreRole, "password_file": m.RestorePasswordFile},
	}
}

// InPlace names the account that swaps.
func (m *MariaDB) InPlace() map[string]any {
	return map[string]any{"swap_user": SwapRole, "swap_password_file": m.SwapPasswordFile}
}

// AllowInPlace gives SwapRole and RestoreRole all rights on the database.
func (m *MariaDB) AllowInPlace(ctx context.Context, name string) error {
	pattern := mysqlserver.Quote(strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(name)) + ".*"
	for _, who := range []string{SwapRole, RestoreRole} {
		if err := m.Grant(ctx, "ALL PRIVILEGES", pattern, who); err != nil {
			return err
		}
	}
	return nil
}

// Create makes an empty database.
func (m *MariaDB) Create(ctx context.Context, name string) error {
	_, err := m.Exec(ctx, "", "CREATE DATABASE "+mysqlserver.Quote(name)+" CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
	return err
}

// Drop removes a database if it is there.
func (m *MariaDB) Drop(ctx context.Context, name string) error { return m.DropDatabase(ctx, name) }

// Databases lists all but the server's own.
func (m *MariaDB) Databases(ctx context.Context) ([]string, error) {
	out, err := m.Exec(ctx, "", `SELECT schema_name FROM information_schema.schemata
		WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') ORDER BY schema_name`)
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(out, "\n"), nil
}

// mariaDefinitions gives name and text of everything but rows. What names the database itself is left out of the text, and so
// are definers, which a restore takes off.
const mariaDefinitions = `
	SELECT CONCAT('column ', table_name, '.', column_name), CONCAT_WS('|', ordinal_position, column_default, is_nullable, column_type, collation_name, extra, generation_expression, column_comment)
		FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name NOT LIKE 'devflow\_swap%';
	SELECT CONCAT('table ', table_name), CONCAT_WS('|', table_type, engine, table_collation, auto_increment, create_options, table_comment) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name NOT LIKE 'devflow\_swap%';
	SELECT CONCAT('index ', table_name, '.', index_name, '.', seq_in_index), CONCAT_WS('|', non_unique, column_name, collation, sub_part, index_type) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name NOT LIKE 'devflow\_swap%';
	SELECT CONCAT('key ', table_name, '.', constraint_name, '.', column_name), CONCAT_WS('|', referenced_table_name, referenced_column_name) FROM information_schema.key_column_usage WHERE table_schema = DATABASE() AND table_name NOT LIKE 'devflow\_swap%';
	SELECT CONCAT('check ', table_name, '.', constraint_name), check_clause FROM information_schema.check_constraints WHERE constraint_schema = DATABASE();
	SELECT CONCAT('view ', table_name), REPLACE(view_definition, CONCAT(CHAR(96), DATABASE(), CHAR(96), '.'), '') FROM information_schema.views WHERE table_schema = DATABASE();
	SELECT CONCAT('trigger ', trigger_name), CONCAT_WS('|', event_object_table, action_timing, event_manipulation, action_order, action_statement, sql_mode) FROM information_schema.triggers WHERE trigger_schema = DATABASE();
	SELECT CONCAT(LOWER(routine_type), ' ', routine_name), CONCAT_WS('|', dtd_identifier, routine_definition, is_deterministic, sql_data_access, security_type, sql_mode, routine_comment) FROM information_schema.routines WHERE routine_schema = DATABASE();
	SELECT CONCAT('parameter ', specific_name, '.', ordinal_position), CONCAT_WS('|', parameter_mode, parameter_name, dtd_identifier) FROM information_schema.parameters WHERE specific_schema = DATABASE();
	SELECT CONCAT('event ', event_name), CONCAT_WS('|', event_definition, event_type, interval_value, interval_field, on_completion, sql_mode, event_comment) FROM information_schema.events WHERE event_schema = DATABASE();
	SELECT CONCAT('partition ', table_name, '.', partition_name), CONCAT_WS('|', partition_method, partition_expression, partition_description) FROM information_schema.partitions WHERE table_schema = DATABASE() AND partition_name IS NOT NULL;`

// Content reads the whole database. Whether an event is enabled is not part of it: restored ones are disabled. Nor are the tables in which
// a swap notes, in what it keeps, what it does.
func (m *MariaDB) Content(ctx context.Context, database string) (Content, error) {
	c := Content{Tables: map[string]TableContent{}, Definitions: map[string]string{}}
	fail := func(err error) (Content, error) {
		return c, fmt.Errorf("read the content of database %q: %w", database, err)
	}
	out, err := m.Exec(ctx, database, mariaDefinitions+`
		SELECT CONCAT(IF(table_type = 'SEQUENCE', 'sequence', 'rows'), ' ', table_name), '' FROM information_schema.tables
			WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') AND table_name NOT LIKE 'devflow\_swap%' ORDER BY table_name;`)
	if err != nil {
		return fail(err)
	}
	var names []string
	var reads strings.Builder
	for line := range strings.Lines(out) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if table, ok := strings.CutPrefix(name, "rows "); ok {
			q := mysqlserver.Quote(table)
			fmt.Fprintf(&reads, "SELECT '%s'; SELECT count(*) FROM %s; CHECKSUM TABLE %s EXTENDED;\n", nextTable, q, q)
		} else if sequence, ok := strings.CutPrefix(name, "sequence "); ok {
			// It has one row, and reading uses nothing of it up.
			fmt.Fprintf(&reads, "SELECT '%s'; SELECT * FROM %s;\n", nextTable, mysqlserver.Quote(sequence))
		} else {
			c.Definitions[name] = text
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return c, nil
	}
	if out, err = m.Exec(ctx, database, reads.String()); err != nil {
		return fail(err)
	}
	parts := strings.Split("\n"+out, "\n"+nextTable+"\n")
	if len(parts) != len(names)+1 {
		return fail(fmt.Errorf("%d tables gave %d answers", len(names), len(parts)-1))
	}
	for i, part := range parts[1:] {
		table, ok := strings.CutPrefix(names[i], "rows ")
		if !ok {
			c.Definitions[names[i]] = part
			continue
		}
		count, sum, _ := strings.Cut(part, "\n")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return fail(fmt.Errorf("count rows of %s: %w", table, err))
		}
		_, sum, _ = strings.Cut(sum, "\t") // before it stands the table's name with the database's
		c.Tables[table] = TableContent{Rows: n, Checksum: sum}
	}
	return c, nil
}

// Load restores a dump by the mariadb client, which would take comments out of routines unless told otherwise.
func (m *MariaDB) Load(ctx context.Context, database, dump string) error {
	if err := m.Create(ctx, database); err != nil {
		return err
	}
	f, err := os.Open(dump)
	if err != nil {
		return fmt.Errorf("load %s: %w", dump, err)
	}
	defer f.Close()
	_, err = public(ctx, nil, f, m.Bin().Client, "--defaults-file="+m.OptionFile(), "--batch", "--comments", "--max-allowed-packet=1G", "--", database)
	return err
}
