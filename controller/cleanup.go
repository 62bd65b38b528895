package controller

import (
	"strconv"
	"strings"
	"time"
)

// CleanupGrace is how long what retention removed can be brought back, unless the installation says otherwise.
const CleanupGrace = 24 * time.Hour

// Kinds of clean-ups.
const (
	CleanupDaily = "daily"
	CleanupAsked = "asked"
)

// CleanupRequest asks for the clean-up of one project, or of all that the caller sees. A dry run shows the plan, which is the same
// one that is carried out, and changes nothing.
type CleanupRequest struct {
	Project  string
	Schedule int64 // only what this schedule made; 0: everything
	DryRun   bool
	Grace    time.Duration // negative: the installation's
}

// CleanupItem is what was decided about one backup.
type CleanupItem struct {
	BackupID     int64           `json:"backup_id"`
	Project      string          `json:"project"`
	Server       string          `json:"server"`
	DatabaseName string          `json:"database_name"`
	Type         string          `json:"type"`
	ScheduleID   int64           `json:"schedule_id"` // 0: none
	FileName     string          `json:"file_name"`
	FileSize     int64           `json:"file_size"`
	CompletedAt  *time.Time      `json:"completed_at"`
	Action       string          `json:"action"`       // keep, later, remove
	At           *time.Time      `json:"at"`           // with later
	Removed      bool            `json:"removed"`      // it was, by this run
	DeleteAfter  *time.Time      `json:"delete_after"` // of one that was removed: until then it can be brought back
	Error        string          `json:"error"`        // why it could not be removed
	Reasons      []CleanupReason `json:"reasons"`
}

// CleanupReason is why: a stable code and a sentence.
type CleanupReason struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// CleanupResult is what a clean-up did, or would do.
type CleanupResult struct {
	DryRun       bool          `json:"dry_run"`
	Items        []CleanupItem `json:"items"`     // at most MaxCleanupItems: those to be removed first, then those later, then those that stay
	Truncated    bool          `json:"truncated"` // there are more
	Kept         int           `json:"kept"`
	Postponed    int           `json:"postponed"`
	Removed      int           `json:"removed"` // or to be removed
	RemovedBytes int64         `json:"removed_bytes"`
	Failed       int           `json:"failed"`
}

// MaxCleanupItems bounds the answer to a clean-up. Its numbers are of all.
const MaxCleanupItems = 5000

// Settings of an installation, kept in the catalog: they are the same for every controller.
type Settings struct {
	Timezone    string `json:"timezone"`     // in which the daily clean-up has its time; IANA name
	CleanupTime string `json:"cleanup_time"` // HH:MM
	SummaryDay  string `json:"summary_day"`  // on which the weekly summary is sent: 0 (Sunday) to 6, or SummaryOff
	SummaryTime string `json:"summary_time"` // HH:MM, in the same zone
}

// SummaryOff is the day on which no weekly summary is sent.
const SummaryOff = "off"

// summaryDay is a day of the week by its number or its name, as its number.
func summaryDay(text string) (string, error) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if number := strconv.Itoa(int(day)); text == number || strings.EqualFold(text, day.String()) {
			return number, nil
		}
	}
	if strings.EqualFold(text, SummaryOff) {
		return SummaryOff, nil
	}
	return "", Invalid("summary_day", "%.40q is not allowed; use 0 (Sunday) to 6, a day's name, or %s", text, SummaryOff)
}

// Validate names the first field that is wrong.
func (s *Settings) Validate() error {
	t := Timing{Frequency: FrequencyDaily, Time: s.CleanupTime, Timezone: s.Timezone}
	if _, err := timeOfDay(s.CleanupTime); err != nil {
		return Invalid("cleanup_time", "%.40q is not allowed; use HH:MM, such as 00:00", s.CleanupTime)
	}
	if err := t.Validate(); err != nil {
		return err
	}
	s.Timezone, s.CleanupTime = t.Timezone, t.Time
	seconds, err := timeOfDay(s.SummaryTime)
	if err != nil || seconds%60 != 0 {
		return Invalid("summary_time", "%.40q is not allowed; use HH:MM, such as 08:00", s.SummaryTime)
	}
	s.SummaryTime = timeText(seconds)
	s.SummaryDay, err = summaryDay(s.SummaryDay)
	return err
}

// Calendar is when the daily clean-up occurs.
func (s Settings) Calendar() (*Calendar, error) {
	return Timing{Frequency: FrequencyDaily, Time: s.CleanupTime, Timezone: s.Timezone}.Calendar()
}
