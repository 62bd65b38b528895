package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Frequencies of a schedule.
const (
	FrequencyHourly  = "hourly"
	FrequencyDaily   = "daily"
	FrequencyWeekly  = "weekly"
	FrequencyMonthly = "monthly"
	FrequencyCron    = "cron"
)

// Frequencies lists them.
var Frequencies = []string{FrequencyHourly, FrequencyDaily, FrequencyWeekly, FrequencyMonthly, FrequencyCron}

// Timing says when a schedule occurs. What a frequency does not use may be given and is left alone, as the panel's form sends it.
type Timing struct {
	Frequency  string `json:"frequency"`
	Time       string `json:"time"`         // HH:MM or HH:MM:SS, on the zone's clock; hourly uses minute and second
	DayOfWeek  *int   `json:"day_of_week"`  // 0 (Sunday) to 6
	DayOfMonth *int   `json:"day_of_month"` // 1 to 31; the last day of a month that is shorter
	Cron       string `json:"cron"`         // minute, hour, day of month, month, day of week
	Timezone   string `json:"timezone"`     // IANA name
}

// Validate fills defaults (the full hour for hourly, UTC) and names the first field that is wrong.
func (t *Timing) Validate() error {
	if t.Timezone == "" {
		t.Timezone = "UTC"
	}
	if t.Time == "" && t.Frequency == FrequencyHourly {
		t.Time = "00:00"
	}
	if _, err := t.Calendar(); err != nil {
		return err
	}
	if t.Time != "" {
		seconds, err := timeOfDay(t.Time)
		if err != nil {
			return err
		}
		t.Time = timeText(seconds)
	}
	t.Cron = strings.Join(strings.Fields(t.Cron), " ")
	return nil
}

// Calendar is when it occurs. It fails where a field is wrong or the zone is unknown, and names the field.
func (t Timing) Calendar() (*Calendar, error) {
	zone, err := LoadZone(t.Timezone)
	if err != nil {
		return nil, err
	}
	return t.CalendarIn(zone)
}

// CalendarIn is Calendar with a zone that was loaded already, whatever Timezone says.
func (t Timing) CalendarIn(zone *time.Location) (*Calendar, error) {
	if !slices.Contains(Frequencies, t.Frequency) {
		return nil, Invalid("frequency", "%q is not allowed; use %s", t.Frequency, orList(Frequencies))
	}
	if err := validRange("day_of_week", t.DayOfWeek, 0, 6, "0 (Sunday) to 6", t.Frequency == FrequencyWeekly); err != nil {
		return nil, err
	}
	if err := validRange("day_of_month", t.DayOfMonth, 1, 31, "1 to 31", t.Frequency == FrequencyMonthly); err != nil {
		return nil, err
	}
	if t.Frequency == FrequencyCron {
		return cronCalendar(t.Cron, zone)
	}
	if t.Cron != "" {
		return nil, Invalid("cron", "%.100q is not allowed with frequency %s; use frequency cron, or leave it out", t.Cron, t.Frequency)
	}
	seconds, err := timeOfDay(t.Time)
	if err != nil {
		return nil, err
	}
	c := &Calendar{zone: zone, times: []int64{seconds}, dates: dates{months: allMonths, days: allDays, weekdays: allWeekdays}}
	switch t.Frequency {
	case FrequencyHourly:
		c.hourly, c.inHour = true, seconds%3600
	case FrequencyDaily:
		c.existing = true
	case FrequencyWeekly:
		c.dates.weekdays = 1 << *t.DayOfWeek
	case FrequencyMonthly:
		c.dates.last = *t.DayOfMonth
	}
	return c, nil
}

// Key is the same for timings that are the same in every field.
func (t Timing) Key() string {
	weekday, dom := -1, -1
	set(&weekday, t.DayOfWeek)
	set(&dom, t.DayOfMonth)
	return fmt.Sprintf("%s %s %d %d %q %s", t.Frequency, t.Time, weekday, dom, t.Cron, t.Timezone)
}

// Next is the first occurrence after an instant, in UTC.
func (t Timing) Next(after time.Time) (time.Time, error) {
	c, err := t.Calendar()
	if err != nil {
		return time.Time{}, err
	}
	return c.Next(after), nil
}

// Label is the timing for people, in the panel's words, with the zone where it is not UTC.
func (t Timing) Label() string {
	at := t.Time
	if seconds, err := timeOfDay(t.Time); err == nil {
		at = timeText(seconds)
	}
	var label string
	switch {
	case t.Frequency == FrequencyHourly:
		return "Every Hour"
	case t.Frequency == FrequencyDaily:
		label = "Daily at " + at
	case t.Frequency == FrequencyWeekly && t.DayOfWeek != nil:
		label = fmt.Sprintf("Weekly on %s at %s", time.Weekday(*t.DayOfWeek), at)
	case t.Frequency == FrequencyMonthly && t.DayOfMonth != nil:
		label = fmt.Sprintf("Monthly on day %d at %s", *t.DayOfMonth, at)
	case t.Frequency == FrequencyCron:
		label = "Cron " + t.Cron
	default:
		return t.Frequency
	}
	if t.Timezone != "" && t.Timezone != "UTC" {
		label += " (" + t.Timezone + ")"
	}
	return label
}

func validRange(field string, value *int, lowest, highest int, allowed string, needed bool) error {
	switch {
	case value == nil && needed:
		return Invalid(field, "is missing; use %s", allowed)
	case value != nil && (*value < lowest || *value > highest):
		return Invalid(field, "%d is not allowed; use %s", *value, allowed)
	}
	return nil
}

// timeOfDay reads HH:MM or HH:MM:SS as seconds after midnight.
func timeOfDay(text string) (int64, error) {
	if text == "" {
		return 0, Invalid("time", "is missing; use HH:MM, from 00:00 to 23:59")
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if len(text) != len(layout) { // time.Parse takes 2:00 and fractions of seconds too
			continue
		}
		if at, err := time.Parse(layout, text); err == nil {
			return int64(at.Hour()*3600 + at.Minute()*60 + at.Second()), nil
		}
	}
	return 0, Invalid("time", "%.40q is not allowed; use HH:MM or HH:MM:SS, from 00:00 to 23:59:59", text)
}

// timeText is HH:MM, with seconds only where there are some.
func timeText(seconds int64) string {
	text := fmt.Sprintf("%02d:%02d", seconds/3600, seconds/60%60)
	if seconds%60 != 0 {
		text += fmt.Sprintf(":%02d", seconds%60)
	}
	return text
}
