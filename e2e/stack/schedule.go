package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Schedule is what tests look at of a schedule.
type Schedule struct {
	ID           int64
	Project      string
	Scope        string
	DatabaseName string `json:"database_name"`
	Label        string
	Timezone     string
	Problem      string
	IsActive     bool         `json:"is_active"`
	PausedReason string       `json:"paused_reason"`
	PausedUntil  *time.Time   `json:"paused_until"`
	LastRunAt    *time.Time   `json:"last_run_at"`
	NextRunAt    *time.Time   `json:"next_run_at"`
	NextFive     []NextOccurs `json:"next_five"`
}

// NextOccurs is one of the next times of a schedule.
type NextOccurs struct{ At, Due time.Time }

// Occurrence is the record of one occurrence of a schedule.
type Occurrence struct {
	At        time.Time
	State     string
	Code      string
	Reason    string
	Late      bool
	Databases []OccurrenceDatabase
}

// OccurrenceDatabase is what became of one database in it.
type OccurrenceDatabase struct {
	DatabaseName string `json:"database_name"`
	State        string
	Code         string
	Reason       string
	BackupID     *int64 `json:"backup_id"`
	Status       string
}

// Schedule reads one schedule.
func (c *Client) Schedule(ctx context.Context, id int64) (Schedule, error) {
	var s Schedule
	err := c.API(ctx, http.MethodGet, "/schedules/"+strconv.FormatInt(id, 10), nil, &s)
	return s, err
}

// Occurrences lists the newest records of a schedule, newest first.
func (c *Client) Occurrences(ctx context.Context, schedule int64) ([]Occurrence, error) {
	var page struct{ Items []Occurrence }
	err := c.API(ctx, http.MethodGet, "/schedules/"+strconv.FormatInt(schedule, 10)+"/occurrences?limit=200", nil, &page)
	return page.Items, err
}

// Every step of what is recorded of a schedule is kept, with the timing that it had then; and of each occurrence, how many databases the
// schedule covered at that moment.
const recordSchedulesSQL = `
	CREATE TABLE stack.spans (no bigint GENERATED ALWAYS AS IDENTITY, schedule_id bigint, since timestamptz, until timestamptz, active boolean,
		frequency text, "time" text, cron text, timezone text);
	CREATE FUNCTION stack.span() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		INSERT INTO stack.spans (schedule_id, since, until, active, frequency, "time", cron, timezone)
			VALUES (OLD.id, OLD.recorded_until, NEW.recorded_until, OLD.is_active AND OLD.problem = '', OLD.frequency, OLD."time", OLD.cron, OLD.timezone);
		RETURN NULL;
	END $$;
	CREATE TRIGGER stack_span AFTER UPDATE OF recorded_until ON backup_schedules FOR EACH ROW WHEN (NEW.recorded_until <> OLD.recorded_until) EXECUTE FUNCTION stack.span();
	CREATE TABLE stack.occurrences (schedule_id bigint, at timestamptz, covered bigint);
	CREATE FUNCTION stack.occurrence() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
	BEGIN
		INSERT INTO stack.occurrences (schedule_id, at, covered) SELECT NEW.schedule_id, NEW.at, CASE
			WHEN NEW.code IN ('downtime', 'too_late', 'changed') THEN 0
			WHEN c.scope = 'database' THEN 1
			WHEN c.scope = 'default' THEN NULL
			ELSE (SELECT count(*) FROM databases d WHERE d.project_id = c.project_id AND c.database_type IN ('', d.engine)
				AND (c.scope = 'project' OR d.name LIKE replace(replace(replace(c.pattern, '_', '\_'), '*', '%'), '?', '_')))
			END FROM backup_schedules c WHERE c.id = NEW.schedule_id;
		RETURN NULL;
	END $$;
	CREATE TRIGGER stack_occurrence AFTER INSERT ON schedule_occurrences FOR EACH ROW EXECUTE FUNCTION stack.occurrence();`

// All that was recorded of a schedule moves with it. The far past lies between, so that no two rows meet.
const dueSQL = `
	UPDATE backup_schedules c SET "time" = to_char("time"::time - m.by, 'HH24:MI:SS'), recorded_until = recorded_until - m.by, next_at = next_at - m.by,
		next_run_at = next_run_at - m.by, last_run_at = last_run_at - m.by, claim_until = '-infinity' FROM moved m WHERE c.id = m.id;
	UPDATE schedule_occurrences o SET at = at - interval '8765832 hours' FROM moved m WHERE o.schedule_id = m.id;
	UPDATE schedule_occurrences o SET at = at + interval '8765832 hours' - m.by FROM moved m WHERE o.schedule_id = m.id;
	UPDATE occurrence_databases o SET at = at - interval '8765832 hours' FROM moved m WHERE o.schedule_id = m.id;
	UPDATE occurrence_databases o SET at = at + interval '8765832 hours' - m.by FROM moved m WHERE o.schedule_id = m.id;
	UPDATE database_backups b SET occurrence_at = occurrence_at - m.by FROM moved m WHERE b.schedule_id = m.id;
	UPDATE stack.occurrences o SET at = at - m.by FROM moved m WHERE o.schedule_id = m.id;
	UPDATE stack.spans s SET since = since - m.by, until = until - m.by, "time" = to_char("time"::time - m.by, 'HH24:MI:SS') FROM moved m
		WHERE s.schedule_id = m.id AND s."time" <> '';`

// Due lets time pass for schedules, until the next occurrence of each came that long ago. The schedule's time of day moves with its
// records: nothing is skipped, and nothing is recorded that was not. They have to be active, hourly or daily, in a zone whose clock
// never changes, and Record has to have been called.
func (c *Catalog) Due(ctx context.Context, ago time.Duration, schedules ...int64) error {
	conn, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica; SET LOCAL timezone = 'UTC'"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT 1 FROM backup_schedules WHERE id = ANY ($1) ORDER BY id FOR UPDATE", schedules); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `CREATE TEMP TABLE moved ON COMMIT DROP AS SELECT id, make_interval(secs => extract(epoch FROM next_at - date_trunc('second', clock_timestamp())) + $2::bigint) AS by
			FROM backup_schedules WHERE id = ANY ($1) AND is_active AND deleted_at IS NULL AND next_at IS NOT NULL AND frequency IN ('hourly', 'daily')`, schedules, int64(ago/time.Second))
		if err != nil {
			return err
		}
		if tag.RowsAffected() != int64(len(schedules)) {
			return fmt.Errorf("%d of them can be moved", tag.RowsAffected())
		}
		_, err = tx.Exec(ctx, dueSQL)
		return err
	})
	if err != nil {
		return fmt.Errorf("let time pass for schedules %v: %w", schedules, err)
	}
	return nil
}

// Now is the catalog's clock, which schedules follow.
func (c *Catalog) Now(ctx context.Context) (time.Time, error) {
	conn, err := c.Open(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var now time.Time
	err = conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	return now.UTC(), err
}

// span is one step of what is recorded of a schedule: it had that timing since one time until another.
type span struct {
	Schedule                        int64
	Since, Until                    time.Time
	Active                          bool
	Frequency, Time, Cron, Timezone string
}

// period is how often a timing occurs and how long after each full period, where that is the same on every day of every year.
func (s span) period() (period, offset time.Duration, ok bool) {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil || s.Timezone != "UTC" && !strings.HasPrefix(s.Timezone, "Etc/") {
		return 0, 0, false
	}
	if s.Frequency == "cron" && s.Cron == "* * * * *" {
		return time.Minute, 0, true
	}
	text := s.Time
	if len(text) == len("15:04") {
		text += ":00"
	}
	at, err := time.ParseInLocation(time.TimeOnly, text, zone)
	if err != nil {
		return 0, 0, false
	}
	period = map[string]time.Duration{"hourly": time.Hour, "daily": 24 * time.Hour}[s.Frequency]
	if period == 0 {
		return 0, 0, false
	}
	return period, at.Sub(at.Truncate(period)), true
}

// CheckSchedules returns what does not hold of the records of schedules.
func (c *Catalog) CheckSchedules(ctx context.Context) error {
	conn, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return checkSchedules(ctx, conn)
}

// checkSchedules finds occurrences without a record or with one too many, records of no occurrence, and databases of which an
// occurrence says nothing, twice, or something else than their backups.
func checkSchedules(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error { return checkRecords(ctx, tx) })
}

func checkRecords(ctx context.Context, conn pgx.Tx) error {
	rows, _ := conn.Query(ctx, `SELECT schedule_id, since, until, active, frequency, "time", cron, timezone FROM stack.spans ORDER BY schedule_id, no`)
	spans, err := pgx.CollectRows(rows, pgx.RowToStructByPos[span])
	if err != nil {
		return fmt.Errorf("read what was recorded of schedules: %w", err)
	}
	expected, unknown := map[int64][]time.Time{}, map[int64]bool{}
	ends := map[int64]time.Time{}
	var errs []error
	for _, s := range spans {
		if before, ok := ends[s.Schedule]; ok && !before.Equal(s.Since) || s.Until.Before(s.Since) {
			errs = append(errs, fmt.Errorf("schedule %d is recorded until %s, then from %s to %s", s.Schedule, before, s.Since, s.Until))
		}
		ends[s.Schedule] = s.Until
		period, offset, ok := s.period()
		if !ok {
			unknown[s.Schedule] = true
		}
		if !ok || !s.Active {
			continue
		}
		at := s.Since.Add(-offset).Truncate(period).Add(offset)
		for at = at.Add(period); !at.After(s.Until); at = at.Add(period) {
			expected[s.Schedule] = append(expected[s.Schedule], at.UTC())
		}
	}
	var schedule int64
	var at time.Time
	recorded := map[int64][]time.Time{}
	rows, _ = conn.Query(ctx, "SELECT schedule_id, at FROM schedule_occurrences ORDER BY schedule_id, at")
	if _, err = pgx.ForEachRow(rows, []any{&schedule, &at}, func() error {
		recorded[schedule] = append(recorded[schedule], at.UTC())
		if expected[schedule] == nil {
			expected[schedule] = []time.Time{}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("read the records of schedules: %w", err)
	}
	for id, want := range expected {
		if !unknown[id] && !slices.EqualFunc(want, recorded[id], time.Time.Equal) {
			errs = append(errs, fmt.Errorf("schedule %d occurred at %s, its records are of %s", id, want, recorded[id]))
		}
	}
	rows, _ = conn.Query(ctx, wrongOccurrencesSQL)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("compare occurrences and backups: %w", err)
	}
	for _, w := range wrong {
		errs = append(errs, errors.New(w))
	}
	return errors.Join(errs...)
}

const wrongOccurrencesSQL = `
	SELECT format('the record of schedule %s at %s covers %s databases and tells of %s', o.schedule_id, o.at, s.covered, count(i.database_id))
		FROM schedule_occurrences o JOIN stack.occurrences s USING (schedule_id, at) LEFT JOIN occurrence_databases i USING (schedule_id, at)
		WHERE s.covered IS NOT NULL GROUP BY o.schedule_id, o.at, s.covered HAVING count(i.database_id) <> s.covered
	UNION ALL SELECT format('the record of schedule %s at %s says %s %s %s, its databases say %s', o.schedule_id, o.at, o.state, o.code, o.reason, string_agg(i.state || ' ' || i.code, ', '))
		FROM schedule_occurrences o LEFT JOIN occurrence_databases i USING (schedule_id, at) GROUP BY o.schedule_id, o.at
		HAVING o.state <> CASE WHEN bool_or(i.state = 'run') THEN 'run' WHEN bool_or(i.state = 'skipped') THEN 'skipped' ELSE 'missed' END
			OR o.state <> 'run' AND (o.code = '' OR o.reason = '') OR bool_or(i.state <> 'run' AND (i.code = '' OR i.reason = ''))
	UNION ALL SELECT format('the record of schedule %s at %s has backup %s, which is a %s one of schedule %s at %s', i.schedule_id, i.at, b.id, b.type, b.schedule_id, b.occurrence_at)
		FROM occurrence_databases i JOIN database_backups b ON b.id = i.backup_id
		WHERE (b.schedule_id, b.occurrence_at, b.database_id, b.type) IS DISTINCT FROM (i.schedule_id, i.at, i.database_id, 'scheduled')
	UNION ALL SELECT format('schedule %s made %s backups of database %s at %s', b.schedule_id, count(*), b.database_id, b.occurrence_at)
		FROM database_backups b WHERE b.occurrence_at IS NOT NULL AND b.retry_of IS NULL GROUP BY b.schedule_id, b.occurrence_at, b.database_id HAVING count(*) > 1
	UNION ALL SELECT format('no record has backup %s, which is the newest of schedule %s at %s', b.id, b.schedule_id, b.occurrence_at)
		FROM database_backups b WHERE b.occurrence_at IS NOT NULL AND NOT EXISTS (SELECT FROM database_backups r WHERE r.retry_of = b.id)
			AND NOT EXISTS (SELECT FROM occurrence_databases i WHERE i.backup_id = b.id)`

// Rewind takes a schedule back to a time until which its occurrences are recorded, and to the one that comes next after it. It must
// not have occurred since.
func (c *Catalog) Rewind(ctx context.Context, schedule int64, recordedUntil, next time.Time) error {
	return c.Alter(ctx, "UPDATE backup_schedules SET recorded_until = $2, next_at = $3, next_run_at = $3, claim_until = '-infinity' WHERE id = $1", schedule, recordedUntil, next)
}

// Alter changes a row behind everybody's back: what Record keeps does not have it.
func (c *Catalog) Alter(ctx context.Context, sql string, args ...any) error {
	conn, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET session_replication_role = replica"); err != nil {
		return fmt.Errorf("alter the catalog: %w", err)
	}
	tag, err := conn.Exec(ctx, sql, args...)
	if err == nil && tag.RowsAffected() == 0 {
		err = errors.New("no row is changed")
	}
	if err != nil {
		return fmt.Errorf("alter the catalog: %w", err)
	}
	return nil
}
