package main

import "context"

// subject is a database that is backed up, with what an operator would type instead. Both sides read it with the same account.
type subject struct {
	title, id, database string

	size func(context.Context) (int64, error)
	env  []string // of what is typed

	dump, text       string // commands that write the dump to standard output: as the product takes it, and as text
	shown, shownText string // what the report calls them

	aims    map[string]aims // by storage
	restore restoring
}

// aims are the targets of a backup; 0 for none.
type aims struct {
	pipeline float64 // time, to the shell pipeline, at most
	gzip     float64 // speed, to the dump as text through gzip, at least
}

// restoring is how a dump comes back, by the product and as an operator would type it.
type restoring struct {
	instance, target string
	env              []string
	typed, shown     string
	aim              float64 // time, at most; 0 for none
	drop             func(context.Context) error
	settle           func(context.Context) error // writes out what the run before has left; nil if there is nothing to do
}
