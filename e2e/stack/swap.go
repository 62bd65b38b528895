package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// keptPrefix begins the names of databases that a restore in place took out of their place.
const keptPrefix = "devflow_kept_"

// Problem is what a plan says against a restore, or before it.
type Problem struct {
	Stops bool
	Code  string
	Text  string
	Hint  string
}

// RestorePlan is what tests look at of a plan.
type RestorePlan struct {
	Kind   string
	Backup struct {
		ID       int64
		Database string
	}
	Target struct {
		Server, Instance, Database string
		InPlace                    bool `json:"in_place"`
		Looked                     bool
		Found                      *struct {
			Exists       bool
			Identity     string
			SizeBytes    int64 `json:"size_bytes"`
			Tables       int64
			FreeBytes    int64 `json:"free_bytes"`
			SessionCount int   `json:"session_count"`
			Problems     []Problem
		}
	}
	Steps    []string
	Problems []Problem
	Possible []string
	CanStart bool `json:"can_start"`
}

// Stops are the codes of the problems that stop it.
func (p RestorePlan) Stops() (codes []string) {
	for _, one := range p.Problems {
		if one.Stops {
			codes = append(codes, one.Code)
		}
	}
	return codes
}

// Restore is what tests look at of a restore or an undo.
type Restore struct {
	ID             int64
	Kind           string
	BackupID       int64 `json:"backup_id"`
	Server         string
	Instance       string
	DatabaseName   string `json:"database_name"`
	Status         string
	JobID          int64  `json:"job_id"`
	JobStatus      string `json:"job_status"`
	Waiting        string
	ErrorCode      string     `json:"error_code"`
	ErrorMessage   string     `json:"error_message"`
	ErrorHint      string     `json:"error_hint"`
	InPlace        bool       `json:"in_place"`
	TargetState    string     `json:"target_state"`
	SafetyBackupID int64      `json:"safety_backup_id"`
	SafetyStatus   string     `json:"safety_status"`
	UndoOf         int64      `json:"undo_of"`
	UndoneBy       int64      `json:"undone_by"`
	KeptName       string     `json:"kept_name"`
	KeptState      string     `json:"kept_state"`
	KeptUntil      *time.Time `json:"kept_until"`
	KeptError      string     `json:"kept_error"`
	Result         struct {
		Tables, Rows int64
		Compared     bool
		Warnings     string
		Swapped      *struct {
			State             string
			UnavailableMicros int64 `json:"unavailable_micros"`
			Ended             int
			Notes             []string
		}
	}
}

// PlanRestore asks what a restore would meet and do.
func (c *Client) PlanRestore(ctx context.Context, in map[string]any) (p RestorePlan, err error) {
	err = c.API(ctx, http.MethodPost, "/restores/plan", in, &p)
	return p, err
}

// CreateRestore asks for a restore.
func (c *Client) CreateRestore(ctx context.Context, in map[string]any) (r Restore, err error) {
	err = c.API(ctx, http.MethodPost, "/restores", in, &r)
	return r, err
}

// PlanUndo asks what an undo would meet and do.
func (c *Client) PlanUndo(ctx context.Context, restore int64, in map[string]any) (p RestorePlan, err error) {
	err = c.API(ctx, http.MethodPost, restorePath(restore, "/undo/plan"), in, &p)
	return p, err
}

// UndoRestore asks for what a restore in place kept to come back.
func (c *Client) UndoRestore(ctx context.Context, restore int64, in map[string]any) (r Restore, err error) {
	err = c.API(ctx, http.MethodPost, restorePath(restore, "/undo"), in, &r)
	return r, err
}

// DiscardKept asks for what a restore in place kept to be removed.
func (c *Client) DiscardKept(ctx context.Context, restore int64, confirm string) (r Restore, err error) {
	err = c.API(ctx, http.MethodPost, restorePath(restore, "/discard"), map[string]any{"confirm": confirm}, &r)
	return r, err
}

// KeepKept says how long what a restore in place kept stays.
func (c *Client) KeepKept(ctx context.Context, restore int64, keep time.Duration) (r Restore, err error) {
	err = c.API(ctx, http.MethodPost, restorePath(restore, "/keep"), map[string]any{"keep_seconds": int64(keep / time.Second)}, &r)
	return r, err
}

// Restore reads one restore.
func (c *Client) Restore(ctx context.Context, id int64) (r Restore, err error) {
	err = c.API(ctx, http.MethodGet, restorePath(id, ""), nil, &r)
	return r, err
}

func restorePath(id int64, rest string) string {
	return "/restores/" + strconv.FormatInt(id, 10) + rest
}

// AwaitRestore waits until cond holds of a restore.
func (c *Client) AwaitRestore(ctx context.Context, id int64, what string, limit time.Duration, cond func(Restore) bool) (r Restore, err error) {
	err = Within(ctx, limit, fmt.Sprintf("restore %d %s", id, what), func(ctx context.Context) (bool, error) {
		if r, err = c.Restore(ctx, id); err != nil {
			return false, err
		}
		if !cond(r) {
			return false, fmt.Errorf("it is %s (job %s, %s), its target %q, what it kept %q: %s %s", r.Status, r.JobStatus, r.Waiting, r.TargetState, r.KeptState, r.ErrorCode, r.ErrorMessage)
		}
		return true, nil
	})
	return r, err
}

// checkSwaps finds restores in place and undos whose row contradicts itself.
func checkSwaps(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `SELECT format('restore %s (undo of %s) in place is %s, its target is %L and what it kept is %L', id, undo_of, status, target_state, kept_state)
		FROM restores WHERE NOT in_place AND (target_state <> '' OR kept_state <> '')
			OR in_place AND (status NOT IN ('completed', 'failed') OR target_state NOT IN ('untouched', 'replaced')
				OR status = 'completed' AND target_state <> 'replaced' OR (target_state = 'replaced') <> (kept_state <> ''))
		UNION ALL SELECT format('restore %s is undone by none', r.id) FROM restores r WHERE kept_state = 'undone'
			AND NOT EXISTS (SELECT FROM restores u WHERE u.undo_of = r.id AND u.target_state = 'replaced')
		UNION ALL SELECT format('restore %s has what its undo %s brought back', r.id, u.id) FROM restores r JOIN restores u ON u.undo_of = r.id
			WHERE u.target_state = 'replaced' AND r.kept_state = 'kept'`)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list restores in place: %w", err)
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// checkKept compares what is kept on the servers with what the catalog says is.
func (in Invariants) checkKept(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, "SELECT kept_name FROM restores WHERE kept_state = 'kept'")
	told, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list what is kept: %w", err)
	}
	var errs []error
	for _, s := range in.Databases {
		names, err := s.Databases(ctx)
		errs = append(errs, err)
		for _, name := range names {
			base := filepath.Base(name)
			if !strings.HasPrefix(base, keptPrefix) {
				continue
			}
			if i := slices.Index(told, base); i >= 0 {
				told = slices.Delete(told, i, i+1)
			} else {
				errs = append(errs, fmt.Errorf("%s is kept on a server, and the catalog does not say so", name))
			}
		}
	}
	if len(told) > 0 {
		errs = append(errs, fmt.Errorf("the catalog says that these are kept, and no server has them: %s", strings.Join(told, ", ")))
	}
	return errors.Join(errs...)
}
