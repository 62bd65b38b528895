package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/secret"
)

// upcoming is how many occurrences are shown wherever a schedule is.
const upcoming = 5

func (a *API) registerSchedules() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageSchedules}
	store := a.opt.Store
	register(a, operation{id: "list-schedules", method: http.MethodGet, path: "/schedules", summary: "Schedules, with when each occurs next", tag: tagSchedules, access: view, errors: []int{http.StatusNotFound}}, a.listSchedules)
	register(a, operation{
		id: "create-schedule", audit: "schedule.create", method: http.MethodPost, path: "/schedules", summary: "Make a schedule of one database, of all of a project, or of those whose names match",
		tag: tagSchedules, access: manage, creates: true,
	}, a.createSchedule)
	register(a, operation{id: "preview-schedule", unaudited: "it makes nothing", method: http.MethodPost, path: "/schedules/preview", summary: "What a schedule would be; nothing is made", tag: tagSchedules, access: view}, a.previewSchedule)
	register(a, operation{id: "get-schedule", method: http.MethodGet, path: "/schedules/{id}", summary: "One schedule", tag: tagSchedules, access: view},
		func(ctx context.Context, in *idIn) (*tagged[body.Schedule], error) {
			return a.scheduleOut(store.Schedule(ctx, actorOf(ctx), in.ID))
		})
	register(a, operation{id: "update-schedule", audit: "schedule.update", method: http.MethodPatch, path: "/schedules/{id}", summary: "Change a schedule, activate it or not", tag: tagSchedules, access: manage, edits: true},
		func(ctx context.Context, in *idBodyIn[body.UpdateSchedule]) (*tagged[body.Schedule], error) {
			change := scheduleChange(in.Body)
			if in.Body.PingURL != nil {
				url := *in.Body.PingURL
				hint, err := a.pingHint(url)
				if err != nil {
					return nil, err
				}
				change.PingURL, change.PingHint = &url, hint
			}
			return a.scheduleOut(store.UpdateSchedule(ctx, actorOf(ctx), in.ID, change))
		})
	register(a, operation{id: "delete-schedule", audit: "schedule.delete", method: http.MethodDelete, path: "/schedules/{id}", summary: "Delete a schedule; its backups stay", tag: tagSchedules, access: manage, status: http.StatusNoContent, edits: true},
		func(ctx context.Context, in *idIn) (*answer, error) {
			return nil, store.DeleteSchedule(ctx, actorOf(ctx), in.ID)
		})
	register(a, operation{
		id: "run-schedule", audit: "schedule.run", method: http.MethodPost, path: "/schedules/{id}/run", summary: "Back up now what the schedule covers; 207 where some could not be ordered. Its occurrences are not changed by it",
		tag: tagSchedules, access: []string{controller.ManageSchedules, controller.CreateBackups}, creates: true, also: http.StatusMultiStatus,
	}, func(ctx context.Context, in *idIn) (*backupsOut, error) {
		outcomes, err := store.RunSchedule(ctx, actorOf(ctx), in.ID)
		return a.ordered(ctx, outcomes, err)
	})
	register(a, operation{id: "list-occurrences", method: http.MethodGet, path: "/schedules/{id}/occurrences", summary: "What became of each occurrence: run, missed or skipped, and why; newest first", tag: tagSchedules, access: view}, a.listOccurrences)
}

func (a *API) listSchedules(ctx context.Context, in *struct {
	Project   string `query:"project" doc:"Slug, id or external id"`
	Server    string `query:"server" doc:"Name or id; of those of one database"`
	Database  string `query:"database" doc:"Exact name or id; of those of one database"`
	Engine    string `query:"engine" enum:"postgresql,mysql,sqlite" doc:"Of those that are for one engine"`
	Frequency string `query:"frequency" enum:"hourly,daily,weekly,monthly,cron"`
	Active    string `query:"active" enum:"true,false" doc:"Only active ones, or only those that are not"`
	AfterID   int64  `query:"after_id" minimum:"0" doc:"Those that follow this one; the first if absent"`
	Limit     int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Rows of an answer"`
	NumberIn
},
) (*bodyOut[body.SchedulePage], error) {
	f := controller.ScheduleFilter{
		Project: in.Project, Server: in.Server, Database: in.Database, Engine: in.Engine, Frequency: in.Frequency, Active: flag(in.Active), AfterID: in.AfterID, Limit: in.Limit, NumberedPage: in.number(),
	}
	rows, err := a.opt.Store.Schedules(ctx, actorOf(ctx), f)
	if err != nil {
		return nil, err
	}
	p := body.SchedulePage{Items: make([]body.Schedule, len(rows))}
	for i, s := range rows {
		p.Items[i] = a.schedule(s)
	}
	if in.Page != 0 {
		total, err := a.opt.Store.CountSchedules(ctx, actorOf(ctx), f)
		p.Numbered = in.numbered(total)
		return out(p, err)
	}
	if len(rows) >= in.Limit {
		p.Items = p.Items[:in.Limit]
		last := p.Items[in.Limit-1].ID
		p.NextAfterID = &last
	}
	return out(p, nil)
}

func (a *API) createSchedule(ctx context.Context, in *bodyIn[body.CreateSchedule]) (*tagged[body.Schedule], error) {
	spec := scheduleSpec(in.Body.Project, in.Body.ScheduleTarget, in.Body.ScheduleOptions)
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	var err error
	if spec.PingHint, err = a.pingHint(spec.PingURL); err != nil {
		return nil, err
	}
	return a.scheduleOut(a.opt.Store.CreateSchedule(ctx, actorOf(ctx), spec))
}

// pingHint is what of a dead-man switch's URL may be shown; of none, nothing.
func (a *API) pingHint(url secret.String) (string, error) {
	if url.Empty() {
		return "", nil
	}
	return a.opt.Alarms.CheckPing(url)
}

// previewSchedule needs no project: what it says follows from the request alone.
func (a *API) previewSchedule(_ context.Context, in *bodyIn[body.PreviewSchedule]) (*bodyOut[body.SchedulePreview], error) {
	spec := scheduleSpec(cmp.Or(in.Body.Project, "-"), in.Body.ScheduleTarget, in.Body.ScheduleOptions)
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	agenda, err := controller.Schedule{Timing: spec.Timing, SpreadSeconds: spec.SpreadSeconds}.Agenda()
	if err != nil {
		return nil, err
	}
	keeps := spec.Retention()
	return out(body.SchedulePreview{
		Label: spec.Label(), Timezone: spec.Timezone, NextFive: agenda.NextFive(a.opt.Now()), SpreadSeconds: int64(agenda.Spread() / time.Second),
		Retention: keeps, Keeps: keeps.Words(),
	}, nil)
}

func (a *API) listOccurrences(ctx context.Context, in *struct {
	IDPath
	Before time.Time `query:"before" doc:"Those before it; the newest if absent"`
	Limit  int       `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Rows of an answer"`
},
) (*bodyOut[body.OccurrencePage], error) {
	rows, err := a.opt.Store.Occurrences(ctx, actorOf(ctx), in.ID, in.Before, in.Limit)
	if err != nil {
		return nil, err
	}
	p := body.OccurrencePage{Items: append([]controller.ScheduleOccurrence{}, rows...)}
	if len(rows) >= in.Limit {
		p.Items = p.Items[:in.Limit]
		last := p.Items[in.Limit-1].At
		p.NextBefore = &last
	}
	return out(p, nil)
}

func (a *API) scheduleOut(s controller.Schedule, err error) (*tagged[body.Schedule], error) {
	if err != nil {
		return nil, err
	}
	return tag(a.schedule(s), nil)
}

// schedule adds what follows from a schedule. One whose zone is no longer known has no next occurrence, and says why.
func (a *API) schedule(s controller.Schedule) body.Schedule {
	v := body.Schedule{Schedule: s, Display: s.Display(), Label: s.Label(), Keeps: s.Words(), NextFive: []controller.Occurrence{}}
	agenda, err := s.Agenda()
	if err != nil {
		v.Problem = cmp.Or(s.Problem, err.Error())
		return v
	}
	after := a.opt.Now()
	// One that has come and waits for its share of the spread is still the next.
	if next := s.NextOccurrence; s.IsActive && next != nil && !next.After(after) && agenda.Occurrence(*next).Due.After(after) {
		after = next.Add(-time.Second)
	}
	v.NextFive = agenda.Upcoming(after, upcoming)
	return v
}

func scheduleSpec(project string, t body.ScheduleTarget, o body.ScheduleOptions) controller.ScheduleSpec {
	return controller.ScheduleSpec{
		Project: project,
		Target: controller.Target{
			Scope: t.Scope, Pattern: t.Pattern, DatabaseType: t.DatabaseType,
			Database: controller.DatabaseRef{ID: t.DatabaseID, Name: t.DatabaseName, Server: t.Server, Instance: t.Instance},
		},
		Timing:        controller.Timing{Frequency: o.Frequency, Time: o.Time, DayOfWeek: o.DayOfWeek, DayOfMonth: o.DayOfMonth, Cron: o.Cron, Timezone: o.Timezone},
		SpreadSeconds: o.SpreadSeconds, CatchUpSeconds: o.CatchUpSeconds, MaxDurationSeconds: o.MaxDurationSeconds,
		Storage: o.Storage, StorageDisk: o.StorageDisk, Encryption: o.Encryption, Encrypt: o.Encrypt, Compression: o.Compression, Level: o.Level, VerifyAfter: o.VerifyAfter,
		RetentionDays: o.RetentionDays, RetentionHourly: o.RetentionHourly, RetentionDaily: o.RetentionDaily, RetentionWeekly: o.RetentionWeekly, RetentionMonthly: o.RetentionMonthly,
		NotifyOnFailure: o.NotifyOnFailure, IsActive: o.IsActive, PingURL: o.PingURL,
	}
}

func scheduleChange(b body.UpdateSchedule) controller.ScheduleChange {
	return controller.ScheduleChange{
		Frequency: b.Frequency, Time: b.Time, DayOfWeek: b.DayOfWeek, DayOfMonth: b.DayOfMonth, Cron: b.Cron, Timezone: b.Timezone,
		SpreadSeconds: change(b.SpreadSeconds), CatchUpSeconds: change(b.CatchUpSeconds), MaxDurationSeconds: b.MaxDurationSeconds,
		Storage: b.Storage, StorageDisk: b.StorageDisk, Encryption: b.Encryption, Encrypt: change(b.Encrypt), Compression: b.Compression, Level: b.Level, VerifyAfter: b.VerifyAfter,
		RetentionDays: b.RetentionDays, RetentionHourly: b.RetentionHourly, RetentionDaily: b.RetentionDaily, RetentionWeekly: b.RetentionWeekly, RetentionMonthly: b.RetentionMonthly,
		NotifyOnFailure: b.NotifyOnFailure, IsActive: b.IsActive,
	}
}

func change[T any](c body.Clearable[T]) **T {
	if !c.Given {
		return nil
	}
	return &c.Value
}
