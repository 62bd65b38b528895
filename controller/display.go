package controller

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"devflowbackup/shared/wire"
)

// Badge is a word with the colour and the icon that the panel gives it.
type Badge struct {
	Label  string `json:"label"`
	Colour string `json:"colour"`
	Icon   string `json:"icon"`
}

// BackupDisplay is a backup as people read it. What is relative to now is the client's.
type BackupDisplay struct {
	FileName string `json:"file_name"` // of one that has no file yet, its database's name
	Engine   string `json:"engine"`
	Type     string `json:"type"`
	Size     string `json:"size"`     // empty before it is known
	RawSize  string `json:"raw_size"` // of the dump
	Duration string `json:"duration"` // empty before it ended
	Storage  string `json:"storage"`
	Status   Badge  `json:"status"`
	Shield   Badge  `json:"shield"` // purple until it is verified, then green
	Health   *Badge `json:"health"` // null: ok
	Message  string `json:"message"`
}

// RestoreDisplay is a restore as people read it.
type RestoreDisplay struct {
	Kind     string `json:"kind"`
	Engine   string `json:"engine"`
	Target   string `json:"target"` // server / database
	Duration string `json:"duration"`
	Status   Badge  `json:"status"`
	Message  string `json:"message"`
}

// StorageDisplay is a storage as people read it.
type StorageDisplay struct {
	Kind   string `json:"kind"`
	Place  string `json:"place"` // bucket/prefix, or the hosts' own directory
	Used   string `json:"used"`
	Status Badge  `json:"status"`
}

// ScheduleDisplay is a schedule as people read it.
type ScheduleDisplay struct {
	Database  string `json:"database"` // or which ones it covers
	Engine    string `json:"engine"`   // empty: any
	Frequency string `json:"frequency"`
	Retention string `json:"retention"`
	Storage   string `json:"storage"`
	Status    Badge  `json:"status"`
}

var statusBadges = map[string]Badge{
	StatusCompleted: {"Completed", "green", "check-circle"},
	StatusRunning:   {"Running", "blue", "arrow-path"},
	StatusFailed:    {"Failed", "red", "x-circle"},
	StatusPending:   {"Pending", "yellow", "clock"},
}

var healthBadges = map[string]Badge{
	HealthMissing:  {"Missing", "red", "exclamation-triangle"},
	HealthCorrupt:  {"Corrupt", "red", "exclamation-triangle"},
	HealthArchived: {"Archived", "blue", "archive-box"},
	HealthDeleting: {"Deleting", "gray", "trash"},
}

var typeLabels = map[string]string{TypeManual: "Manual", TypeScheduled: "Scheduled", TypePreDeploy: "Pre-deploy", TypePreRestore: "Pre-restore"}

var engineLabels = map[string]string{wire.EnginePostgreSQL: "PostgreSQL", wire.EngineMySQL: "MySQL", wire.EngineSQLite: "SQLite"}

// Show fills what people read of the backup.
func (b *Backup) Show() {
	d := BackupDisplay{
		FileName: b.FileName, Engine: engineLabels[b.DatabaseType], Type: typeLabels[b.Type], Storage: b.Storage, Status: statusBadges[b.Status],
		Size: sizeText(b.FileSize), RawSize: sizeText(b.RawSize), Duration: spanText(b.StartedAt, b.CompletedAt),
		Shield: Badge{"Not verified", "purple", "shield"},
	}
	if d.FileName == "" {
		d.FileName = NameInFile(b.DatabaseType, b.DatabaseName)
	}
	if b.VerifiedAt != nil {
		d.Shield = Badge{"Verified at " + b.VerifiedAt.UTC().Format("2006-01-02 15:04 UTC"), "green", "shield-check"}
	}
	if h, ok := healthBadges[b.Health]; ok {
		d.Health = &h
	}
	d.Message = firstText(b.ErrorMessage, b.HealthReason, b.Waiting)
	b.Display = d
}

// Show fills what people read of the restore.
func (r *Restore) Show() {
	r.Display = RestoreDisplay{
		Kind: "Restore", Engine: engineLabels[r.Engine], Target: r.Server + " / " + r.DatabaseName, Status: statusBadges[r.Status], Duration: spanText(r.StartedAt, r.CompletedAt),
		Message: firstText(r.ErrorMessage, r.Waiting),
	}
	if r.Kind == "undo" {
		r.Display.Kind = "Undo"
	}
}

// Show fills what people read of the storage.
func (s *Storage) Show() {
	d := StorageDisplay{Kind: "S3", Place: path.Join(s.Bucket, s.Prefix), Used: SizeText(s.UsedBytes)}
	if s.Kind == StorageLocal {
		d.Kind, d.Place = "Local", "the backup directory of each database's own host"
	}
	switch {
	case s.ProbedAt == nil:
		d.Status = Badge{"Not tested", "yellow", "question-mark-circle"}
	case s.ProbeOK:
		d.Status = Badge{"Connected", "green", "check-circle"}
	default:
		d.Status = Badge{"Failed", "red", "x-circle"}
	}
	s.Display = d
}

// Display is the schedule as people read it.
func (s Schedule) Display() ScheduleDisplay {
	d := ScheduleDisplay{
		Database: s.DatabaseName, Engine: engineLabels[s.DatabaseType], Frequency: s.Label(), Retention: s.Words(), Storage: s.Storage,
		Status: Badge{"Active", "green", "check-circle"},
	}
	switch s.Scope {
	case ScopeProject:
		d.Database = "All databases of " + s.Project
	case ScopePattern:
		d.Database = "Databases like " + s.Pattern
	case ScopeDefault:
		d.Database = "Databases of " + s.Project + " without a schedule of their own"
	}
	if d.Storage == "" {
		d.Storage = "Default"
	}
	switch {
	case s.Problem != "":
		d.Status = Badge{"Problem", "red", "exclamation-triangle"}
	case !s.IsActive:
		d.Status = Badge{"Inactive", "gray", "pause-circle"}
	case s.PausedReason != "":
		d.Status = Badge{"Paused", "yellow", "pause-circle"}
	}
	return d
}

// firstText is the first that is not empty, of texts and pointers to texts.
func firstText(texts ...any) string {
	for _, t := range texts {
		switch t := t.(type) {
		case string:
			if t != "" {
				return t
			}
		case *string:
			if t != nil && *t != "" {
				return *t
			}
		}
	}
	return ""
}

// SizeText is a size as the panel shows it: "1.2 GB", counted in 1024s.
func SizeText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n), -1
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	if math.Round(v*10)/10 >= 1024 && unit < 4 { // 1023.96 MB is 1 GB
		v /= 1024
		unit++
	}
	return oneDigit(v) + " " + []string{"KB", "MB", "GB", "TB", "PB"}[unit]
}

// SpanText is a duration as the panel shows it: "42s", "3.5m", "1.2h".
func SpanText(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour && oneDigit(d.Minutes()) != "60":
		return oneDigit(d.Minutes()) + "m"
	}
	return oneDigit(d.Hours()) + "h"
}

// oneDigit is a number with one digit behind the point, unless that is 0.
func oneDigit(v float64) string { return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") }

func sizeText(n *int64) string {
	if n == nil {
		return ""
	}
	return SizeText(*n)
}

func spanText(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return SpanText(to.Sub(*from))
}
