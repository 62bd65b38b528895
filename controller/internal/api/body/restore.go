package body

import (
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// CreateRestore asks for a restore into a new database or, with InPlace, in the place of one that is there. A plan is asked for with
// the same body.
type CreateRestore struct {
	BackupID   int64  `json:"backup_id" minimum:"1"`
	ToServer   string `json:"to_server,omitempty" doc:"Name or id; the backup's own if absent"`
	ToInstance string `json:"to_instance,omitempty" doc:"The backup's own, or the only one of its engine, if absent"`
	ToDatabase string `json:"to_database,omitempty" doc:"The database's name; the backup's own if absent"`
	InPlace    bool   `json:"in_place,omitempty" doc:"Put it in the place of the database of that name, whose content is kept for a time"`
	Swap
	SkipSafetyBackup bool           `json:"skip_safety_backup,omitempty" doc:"In place: leave out the backup of the target that is made first"`
	Choices          RestoreChoices `json:"choices,omitempty,omitzero"`
}

// Swap is what every swap asks of a person.
type Swap struct {
	Confirm     string `json:"confirm,omitempty" doc:"The target's name, as a person typed it; a plan does without"`
	Identity    string `json:"identity,omitempty" doc:"What a plan found at the target; refused where it is another one by now"`
	Sessions    string `json:"sessions,omitempty" enum:"refuse,wait,end" doc:"What is done about other sessions at the target; refuse if absent"`
	WaitSeconds int64  `json:"wait_seconds,omitempty" minimum:"0" maximum:"600" doc:"With sessions wait: how long"`
	KeepSeconds int64  `json:"keep_seconds,omitempty" minimum:"0" maximum:"7776000" doc:"How long what is replaced is kept; 259200, three days, if absent"`
}

// RestoreChoices are a restore's, where its engine has them. The defaults are safe for a dump that nobody trusts.
type RestoreChoices struct {
	Owners     bool        `json:"owners,omitempty" doc:"PostgreSQL: objects belong to the roles that they belonged to"`
	Privileges bool        `json:"privileges,omitempty" doc:"PostgreSQL: grants are restored"`
	Roles      bool        `json:"roles,omitempty" doc:"PostgreSQL: missing roles are made, without login and without rights over the server"`
	Definers   string      `json:"definers,omitempty" enum:"strip,keep" doc:"MySQL: of views, routines, triggers and events; as the host is configured if absent"`
	Only       []Selection `json:"only,omitempty" maxItems:"100" doc:"Only these: PostgreSQL schemas or tables, one MySQL table"`
	Jobs       int         `json:"jobs,omitempty" minimum:"0" maximum:"16" doc:"PostgreSQL: how many indexes and constraints are built at once; one if absent"`
}

// Selection is a part of a backup.
type Selection struct {
	Schema string `json:"schema,omitempty" maxLength:"256"`
	Table  string `json:"table,omitempty" maxLength:"256" doc:"The whole schema if absent"`
}

// DiscardKept asks to remove what a restore in place kept, before its time.
type DiscardKept struct {
	Confirm string `json:"confirm" doc:"The target's name, as a person typed it"`
}

// KeepKept says how long, from now, what a restore in place kept stays.
type KeepKept struct {
	KeepSeconds int64 `json:"keep_seconds" minimum:"3600" maximum:"7776000"`
}

// Request is the body in the domain's terms.
func (b CreateRestore) Request() controller.RestoreRequest {
	r := controller.RestoreRequest{
		Backup: b.BackupID, Server: b.ToServer, Instance: b.ToInstance, Database: b.ToDatabase, InPlace: b.InPlace, SwapRequest: b.Swap.Request(),
		SkipSafety: b.SkipSafetyBackup,
		Choices: wire.RestoreChoices{
			Owners: b.Choices.Owners, Privileges: b.Choices.Privileges, Roles: b.Choices.Roles, Definers: b.Choices.Definers, Jobs: b.Choices.Jobs,
		},
	}
	for _, s := range b.Choices.Only {
		r.Choices.Only = append(r.Choices.Only, wire.Selection{Schema: s.Schema, Table: s.Table})
	}
	return r
}

// Request is the body in the domain's terms.
func (s Swap) Request() controller.SwapRequest {
	return controller.SwapRequest{
		Confirm: s.Confirm, Identity: s.Identity, Sessions: s.Sessions, Wait: time.Duration(s.WaitSeconds) * time.Second, KeepFor: time.Duration(s.KeepSeconds) * time.Second,
	}
}
