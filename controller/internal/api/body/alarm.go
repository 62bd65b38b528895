package body

import (
	"time"

	"devflowbackup/shared/secret"
)

// ChannelTarget is what a channel sends to. Which fields a kind has GET /channel-kinds tells. It is in no answer.
type ChannelTarget struct {
	URL      secret.String `json:"url,omitempty" writeOnly:"true" maxLength:"4096" doc:"Of a webhook, or of a service: as the service gives it, or a shoutrrr URL"`
	Secret   secret.String `json:"secret,omitempty" writeOnly:"true" maxLength:"4096" doc:"Of a webhook: the key of its signature"`
	Host     string        `json:"host,omitempty" maxLength:"255" doc:"Of email: the SMTP server"`
	Port     int           `json:"port,omitempty" minimum:"0" maximum:"65535" doc:"Of email; 587 if absent, or 465 with tls: implicit"`
	TLS      string        `json:"tls,omitempty" enum:"starttls,implicit,none" doc:"Of email; starttls if absent"`
	Username string        `json:"username,omitempty" maxLength:"255" doc:"Of email; no authentication if absent"`
	Password secret.String `json:"password,omitempty" writeOnly:"true" maxLength:"1024"`
	From     string        `json:"from,omitempty" maxLength:"320" doc:"Of email: the sender"`
	To       []string      `json:"to,omitempty" maxItems:"50" doc:"Of email: the recipients"`
}

// CreateChannel adds a channel.
type CreateChannel struct {
	Name        string        `json:"name"`
	Project     string        `json:"project,omitempty" doc:"Slug, id or external id; of the installation if absent"`
	Kind        string        `json:"kind" doc:"email, webhook, or a service; GET /channel-kinds lists them"`
	Target      ChannelTarget `json:"target"`
	Default     bool          `json:"default,omitempty" doc:"It takes what no channel of a project takes, and what is of no project; several may be"`
	Kinds       []string      `json:"kinds,omitempty" maxItems:"100" doc:"Of notices that it takes; all but those that are off unless named if absent"`
	MinSeverity string        `json:"min_severity,omitempty" enum:"info,warning,critical" doc:"The least that it takes; info if absent"`
	RemindHours *int          `json:"remind_hours,omitempty" minimum:"0" maximum:"720" doc:"How often it is reminded of an alarm that stands; 24 if absent, 0: never"`
	Fallback    string        `json:"fallback,omitempty" doc:"Name or id of the channel that takes its place when it fails"`
}

// UpdateChannel changes a channel; what is absent stays as it is. Kind and project never change.
type UpdateChannel struct {
	Name        *string        `json:"name,omitempty"`
	Target      *ChannelTarget `json:"target,omitempty" doc:"The whole target, with its secrets: none that is kept is ever sent to another place"`
	Default     *bool          `json:"default,omitempty"`
	IsActive    *bool          `json:"is_active,omitempty" doc:"One that is not takes nothing"`
	Kinds       []string       `json:"kinds,omitzero" maxItems:"100" doc:"Replaces the list; an empty list is all but those that are off unless named"`
	MinSeverity *string        `json:"min_severity,omitempty" enum:"info,warning,critical"`
	RemindHours *int           `json:"remind_hours,omitempty" minimum:"0" maximum:"720" doc:"0: never"`
	Fallback    *string        `json:"fallback,omitempty" doc:"Name or id; empty: none"`
}

// CreateMute keeps notices from being sent until a time. They are recorded nevertheless.
type CreateMute struct {
	Scope      string     `json:"scope" enum:"everything,project,server,database,channel,alarm"`
	Ref        string     `json:"ref,omitempty" maxLength:"500" doc:"Which one: slug, name or id; of an alarm its id; none of everything"`
	Kind       string     `json:"kind,omitempty" doc:"Only notices of one kind"`
	ForSeconds int64      `json:"for_seconds,omitempty" minimum:"0" maximum:"315360000" doc:"For how long, at most 90 days; or until"`
	Until      *time.Time `json:"until,omitempty" nullable:"true"`
	Reason     string     `json:"reason" maxLength:"500" doc:"For those who wonder why nobody was told"`
}
