package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"devflowbackup/shared/secret"
)

// Catalog is a PostgreSQL server for the catalog of one or more controllers. As its superuser one sees every row.
type Catalog struct {
	*Postgres
	DSN secret.String // the controllers'
}

// catalogName is the catalog's database and the role that owns it.
const catalogName = "devflow"

// StartCatalog starts a PostgreSQL server with an empty catalog. What is committed survives the server's crash, as it must; not
// the machine's, which no test sees.
func (s *Stack) StartCatalog(ctx context.Context, name string, opt PostgresOptions) (*Catalog, error) {
	settings := map[string]string{"synchronous_commit": "on"}
	maps.Copy(settings, opt.Settings)
	opt.Settings = settings
	p, err := s.StartPostgres(ctx, name, opt)
	if err != nil {
		return nil, err
	}
	_, password, err := s.secretFile("secrets", name+"-owner")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.CreateRole(ctx, catalogName, secret.String(password)); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.CreateDatabase(ctx, catalogName, catalogName); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return &Catalog{Postgres: p, DSN: p.UserDSN(catalogName, secret.String(password), catalogName)}, nil
}

// Open connects to the catalog as the superuser.
func (c *Catalog) Open(ctx context.Context) (*pgx.Conn, error) { return c.Connect(ctx, catalogName) }

// Rows runs a query as the superuser and returns each row as a text of values separated by spaces.
func (c *Catalog) Rows(ctx context.Context, query string, args ...any) ([]string, error) {
	conn, err := c.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, _ := conn.Query(ctx, query, args...)
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		line := fmt.Sprintln(values...)
		return line[:len(line)-1], err
	})
	if err != nil {
		return nil, fmt.Errorf("ask the catalog: %w", err)
	}
	return out, nil
}

// Every change of a status is kept, in the order of the commits' statements.
const recordSQL = `
	CREATE SCHEMA stack;
	CREATE TABLE stack.history (no bigint GENERATED ALWAYS AS IDENTITY, kind text, id text, status text);
	CREATE FUNCTION stack.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	DECLARE id text;
	BEGIN
		IF TG_OP = 'UPDATE' AND NEW.status = OLD.status THEN RETURN NULL; END IF;
		IF TG_TABLE_NAME = 'attempts' THEN id := NEW.job_id || '/' || NEW.no; ELSE id := NEW.id; END IF;
		INSERT INTO stack.history (kind, id, status) VALUES (TG_TABLE_NAME, id, NEW.status);
		RETURN NULL;
	END $$;
	CREATE TRIGGER stack_record AFTER INSERT OR UPDATE OF status ON jobs FOR EACH ROW EXECUTE FUNCTION stack.record();
	CREATE TRIGGER stack_record AFTER INSERT OR UPDATE OF status ON attempts FOR EACH ROW EXECUTE FUNCTION stack.record();
	CREATE TRIGGER stack_record AFTER INSERT OR UPDATE OF status ON database_backups FOR EACH ROW EXECUTE FUNCTION stack.record();
	CREATE TRIGGER stack_record AFTER INSERT OR UPDATE OF status ON restores FOR EACH ROW EXECUTE FUNCTION stack.record();`

// Record has the catalog's database keep every status that a job, an attempt, a backup or a restore ever has, every step of a schedule,
// and every act that the audit log must tell of. Call it once, after the first controller has made the catalog.
func (c *Catalog) Record(ctx context.Context) error {
	conn, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, recordSQL+recordSchedulesSQL+actsSQL); err != nil {
		return fmt.Errorf("record the catalog's history: %w", err)
	}
	return nil
}

// terminal are the statuses after which none may follow, by table.
var terminal = map[string][]string{
	"jobs":             {"completed", "failed", "cancelled", "timed_out"},
	"attempts":         {"completed", "failed", "lost", "cancelled"},
	"database_backups": {"completed", "failed"},
	"restores":         {"completed", "failed"},
}

// checkHistory finds rows that never ended, or that changed after their end.
func checkHistory(ctx context.Context, conn *pgx.Conn) error {
	var kind, id, status string
	ended := map[string]string{}
	seen := map[string]bool{}
	var errs []error
	rows, _ := conn.Query(ctx, "SELECT kind, id, status FROM stack.history ORDER BY no")
	_, err := pgx.ForEachRow(rows, []any{&kind, &id, &status}, func() error {
		row := kind + " " + id
		seen[row] = true
		if before, ok := ended[row]; ok {
			errs = append(errs, fmt.Errorf("%s was %s for good and became %s", row, before, status))
		}
		if slices.Contains(terminal[kind], status) {
			ended[row] = status
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the catalog's history: %w", err)
	}
	for row := range seen {
		if _, ok := ended[row]; !ok {
			errs = append(errs, fmt.Errorf("%s has not ended", row))
		}
	}
	return errors.Join(errs...)
}
