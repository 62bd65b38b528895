package catalog

import (
	"context"
	"errors"
	"time"

	"devflowbackup/controller"
)

var errNotYet = errors.New("not there yet")

func (c *Catalog) Schedules(context.Context, controller.Actor, string, int64, int) ([]controller.Schedule, error) {
	return nil, errNotYet
}

func (c *Catalog) Schedule(context.Context, controller.Actor, int64) (controller.Schedule, error) {
	return controller.Schedule{}, errNotYet
}

func (c *Catalog) CreateSchedule(context.Context, controller.Actor, controller.ScheduleSpec) (controller.Schedule, error) {
	return controller.Schedule{}, errNotYet
}

func (c *Catalog) UpdateSchedule(context.Context, controller.Actor, int64, controller.ScheduleChange) (controller.Schedule, error) {
	return controller.Schedule{}, errNotYet
}
func (c *Catalog) DeleteSchedule(context.Context, controller.Actor, int64) error { return errNotYet }
func (c *Catalog) RunSchedule(context.Context, controller.Actor, int64) ([]controller.BackupOutcome, error) {
	return nil, errNotYet
}

func (c *Catalog) Occurrences(context.Context, controller.Actor, int64, time.Time, int) ([]controller.ScheduleOccurrence, error) {
	return nil, errNotYet
}
func (c *Catalog) Pauses(context.Context, controller.Actor, bool) ([]controller.Pause, error) {
	return nil, errNotYet
}
func (c *Catalog) CreatePause(context.Context, controller.Actor, controller.PauseSpec) (controller.Pause, error) {
	return controller.Pause{}, errNotYet
}
func (c *Catalog) EndPause(context.Context, controller.Actor, int64) (controller.Pause, error) {
	return controller.Pause{}, errNotYet
}

func (c *Catalog) RetryBackup(context.Context, controller.Actor, int64) (controller.Backup, error) {
	return controller.Backup{}, errNotYet
}

// DueSchedules takes up to limit schedules whose next occurrence is due at now, those due longest first. Each is claimed for 30 seconds.
func (c *Catalog) DueSchedules(_ context.Context, now time.Time, limit int) ([]controller.DueSchedule, error) {
	return nil, errNotYet
}

// RecordTick records what became of a schedule's occurrences and orders the backups, in one transaction.
func (c *Catalog) RecordTick(_ context.Context, tick controller.Tick) (controller.TickResult, error) {
	return controller.TickResult{}, errNotYet
}

// Now is PostgreSQL's clock.
func (c *Catalog) Now(context.Context) (time.Time, error) { return time.Time{}, errNotYet }
