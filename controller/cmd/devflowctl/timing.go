package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
)

// timingFlags say when a schedule occurs.
type timingFlags struct {
	hourly, daily, weekly, monthly, cron string
	timezone                             string
}

func (t *timingFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.hourly, "hourly", "", "each hour, at the full hour or at =:MM")
	f.Lookup("hourly").NoOptDefVal = ":00"
	f.StringVar(&t.daily, "daily", "", "each day at HH:MM")
	f.StringVar(&t.weekly, "weekly", "", "each week at DAY@HH:MM, such as sunday@02:00")
	f.StringVar(&t.monthly, "monthly", "", "each month at DAY@HH:MM, such as 31@02:00")
	f.StringVar(&t.cron, "cron", "", "minute, hour, day of month, month, day of week")
	f.StringVar(&t.timezone, "timezone", "", "IANA name of the zone, such as Europe/Berlin (default UTC)")
}

// read is what was given; nil if nothing was.
func (t *timingFlags) read(cmd *cobra.Command) (*controller.Timing, error) {
	var given []string
	for _, name := range controller.Frequencies {
		if cmd.Flags().Changed(name) {
			given = append(given, name)
		}
	}
	switch len(given) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, usagef("--%s exclude each other", strings.Join(given, " and --"))
	}
	when := map[string]string{"hourly": t.hourly, "daily": t.daily, "weekly": t.weekly, "monthly": t.monthly, "cron": t.cron}[given[0]]
	timing, problem := timingOf(given[0], when)
	if problem != "" {
		return nil, usagef("--%s %q is not allowed; %s", given[0], when, problem)
	}
	return timing, nil
}

// parseTiming reads a frequency and what follows it, such as "weekly sunday@02:00".
func parseTiming(text string) (*controller.Timing, error) {
	frequency, when, _ := strings.Cut(strings.TrimSpace(text), " ")
	timing, problem := timingOf(frequency, strings.TrimSpace(when))
	if problem != "" {
		return nil, usagef("%q is not allowed; %s", text, problem)
	}
	return timing, nil
}

// timingOf reads what is said of a frequency. Times and expressions are the controller's to judge. The second result says what is
// allowed instead.
func timingOf(frequency, when string) (*controller.Timing, string) {
	t := &controller.Timing{Frequency: frequency, Time: when}
	day, at, found := strings.Cut(when, "@")
	switch frequency {
	case controller.FrequencyHourly:
		if when == "" {
			when = ":00"
		}
		if t.Time = when; strings.HasPrefix(when, ":") {
			t.Time = "00" + when
		}
	case controller.FrequencyDaily:
	case controller.FrequencyWeekly:
		n, ok := weekday(day)
		if !found || !ok {
			return nil, "use DAY@HH:MM, such as sunday@02:00"
		}
		t.Time, t.DayOfWeek = at, &n
	case controller.FrequencyMonthly:
		n, err := strconv.Atoi(day)
		if !found || err != nil {
			return nil, "use DAY@HH:MM, such as 31@02:00"
		}
		t.Time, t.DayOfMonth = at, &n
	case controller.FrequencyCron:
		t.Time, t.Cron = "", when
	default:
		return nil, `use hourly, "daily HH:MM", "weekly DAY@HH:MM", "monthly DAY@HH:MM" or "cron …"`
	}
	return t, ""
}

// weekday reads a name of at least three letters, or a number from 0, which is Sunday, to 6.
func weekday(text string) (int, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, n >= 0 && n <= 6
	}
	text = strings.ToLower(text)
	for d := time.Sunday; d <= time.Saturday; d++ {
		if len(text) >= 3 && strings.HasPrefix(strings.ToLower(d.String()), text) {
			return int(d), true
		}
	}
	return 0, false
}

// timeFlag reads a time: with a zone, or on this machine's clock.
func timeFlag(flag, text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("--%s %q is not allowed; use a time such as 2026-01-02T03:04, on this machine's clock, or 2026-01-02T03:04:00Z", flag, text)
}
