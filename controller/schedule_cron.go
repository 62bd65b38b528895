package controller

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// maxCron bounds an expression, in bytes.
const maxCron = 256

// cronField is one of the five, with what is allowed in it.
type cronField struct {
	name            string
	lowest, highest int
	names           []string // of lowest and those after it
	question        bool     // ? may stand for *
}

var cronFields = [5]cronField{
	{name: "minute", lowest: 0, highest: 59},
	{name: "hour", lowest: 0, highest: 23},
	{name: "day of month", lowest: 1, highest: 31, question: true},
	{name: "month", lowest: 1, highest: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of week", lowest: 0, highest: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}, question: true},
}

// cronCalendar reads a cron expression of five fields: numbers, names (JAN, MON), *, lists, ranges, steps, and ? for * in the two
// fields of days. 0 and 7 are Sunday. Where both day of month and day of week are restricted, that is, neither begins with * or ?,
// a date needs to match one of them, else both: the rule of every cron. An expression that no date ever matches is refused.
func cronCalendar(expression string, zone *time.Location) (*Calendar, error) {
	refuse := func(format string, args ...any) (*Calendar, error) {
		return nil, Invalid("cron", format, args...)
	}
	words := strings.Fields(expression)
	switch {
	case len(words) == 0:
		return refuse("is missing; use five fields: minute, hour, day of month, month, day of week")
	case len(expression) > maxCron:
		return refuse("%d bytes are not allowed; use at most %d", len(expression), maxCron)
	case len(words) != len(cronFields):
		return refuse("%q has %d fields; use five: minute, hour, day of month, month, day of week", expression, len(words))
	}
	var sets [len(cronFields)]uint64
	for i, f := range cronFields {
		set, problem := f.parse(words[i])
		if problem != "" {
			return refuse("%q is not allowed as %s: %s", words[i], f.name, problem)
		}
		sets[i] = set
	}
	if sets[4]&(1<<7) != 0 {
		sets[4] = sets[4]&^(1<<7) | 1
	}
	open := func(word string) bool { return word[0] == '*' || word[0] == '?' }
	c := &Calendar{
		zone: zone, existing: true, always: sets[1] == 1<<24-1,
		dates: dates{months: uint16(sets[3]), days: uint32(sets[2]), weekdays: uint8(sets[4]), either: !open(words[2]) && !open(words[4])},
	}
	if !c.dates.either && !c.dates.possible() {
		return refuse("%q never occurs: none of its months has such a day; use days that one of them has", expression)
	}
	c.times = make([]int64, 0, bits.OnesCount64(sets[0])*bits.OnesCount64(sets[1]))
	for hour := range int64(24) {
		for minute := range int64(60) {
			if sets[1]&(1<<hour) != 0 && sets[0]&(1<<minute) != 0 {
				c.times = append(c.times, hour*3600+minute*60)
			}
		}
	}
	return c, nil
}

// possible tells whether some month has one of the days. Every date falls on every day of the week in some year.
func (d dates) possible() bool {
	first := bits.TrailingZeros32(d.days)
	for month := time.January; month <= time.December; month++ {
		if d.months&(1<<month) != 0 && first <= daysIn(2000, month) {
			return true
		}
	}
	return false
}

// parse gives the values of one field as bits, or what is wrong with it.
func (f cronField) parse(word string) (set uint64, problem string) {
	for item := range strings.SplitSeq(word, ",") {
		part, step, stepped := strings.Cut(item, "/")
		from, to := f.lowest, f.highest
		if f.names != nil && f.lowest == 0 {
			to = 6 // * in the days of the week: 7 is Sunday again
		}
		if part != "*" && (part != "?" || !f.question) {
			first, last, isRange := strings.Cut(part, "-")
			var ok bool
			if from, ok = f.value(first); !ok {
				return 0, f.allowed()
			}
			switch {
			case isRange:
				if to, ok = f.value(last); !ok {
					return 0, f.allowed()
				}
				if to == 0 && from > 0 && strings.EqualFold(last, "SUN") {
					to = 7 // SAT-SUN
				}
				if from > to {
					return 0, "the range " + strconv.Quote(part) + " ends before it begins"
				}
			case stepped:
				to = max(from, to)
			default:
				to = from
			}
		}
		by := 1
		if stepped {
			var ok bool
			if by, ok = number(step); !ok || by < 1 || by > f.highest {
				return 0, "the step " + strconv.Quote(step) + " is not a number from 1 to " + strconv.Itoa(f.highest)
			}
		}
		for v := from; v <= to; v += by {
			set |= 1 << v
		}
	}
	return set, ""
}

// value reads a number or a name.
func (f cronField) value(text string) (int, bool) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.lowest + i, true
		}
	}
	n, ok := number(text)
	return n, ok && n >= f.lowest && n <= f.highest
}

func (f cronField) allowed() string {
	text := "use * or numbers from " + strconv.Itoa(f.lowest) + " to " + strconv.Itoa(f.highest)
	if f.names != nil {
		text += " or names from " + f.names[0] + " to " + f.names[len(f.names)-1]
	}
	return text + ", lists 1,2, ranges 1-3 and steps */2"
}

// number reads one or two digits.
func number(text string) (int, bool) {
	if len(text) < 1 || len(text) > 2 || !digits.MatchString(text) {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
