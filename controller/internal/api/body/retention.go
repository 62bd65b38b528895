package body

// HoldBackup keeps a backup from being deleted.
type HoldBackup struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

// Cleanup asks for retention to be applied.
type Cleanup struct {
	Project      string `json:"project,omitempty" doc:"Slug, id or external id; all that the token sees if absent"`
	ScheduleID   int64  `json:"schedule_id,omitempty" minimum:"0" doc:"Only what this schedule made"`
	DryRun       bool   `json:"dry_run,omitempty" doc:"Show the plan and change nothing"`
	GraceSeconds *int64 `json:"grace_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"How long what is removed can be taken back; the installation's grace if absent"`
}

// UpdateSettings changes settings of the installation; what is absent stays as it is.
type UpdateSettings struct {
	Timezone    *string `json:"timezone,omitempty" doc:"IANA name of the zone in which the daily clean-up has its time"`
	CleanupTime *string `json:"cleanup_time,omitempty" doc:"HH:MM" example:"00:00"`
	SummaryDay  *string `json:"summary_day,omitempty" maxLength:"20" doc:"On which the weekly summary is sent: 0 (Sunday) to 6, a day's name, or off" example:"1"`
	SummaryTime *string `json:"summary_time,omitempty" doc:"HH:MM, in the same zone" example:"08:00"`
}
