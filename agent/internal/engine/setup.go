package engine

import (
	"fmt"
	"strings"
)

// Accounts of the agent that are made where nobody names others.
const (
	BackupUser  = "devflow_backup"
	RestoreUser = "devflow_restore"
	SwapUser    = "devflow_swap"
)

// SetupRequest says for whom and what a setup script is.
type SetupRequest struct {
	// Account of the operating system that the agent runs as. The account that backs up is then the one that a server on this host
	// knows by it, without a password. Empty: all accounts have passwords.
	Account string
	// MariaDB tells it from MySQL, where the engine is both.
	MariaDB bool
	// InPlace adds what restores in the place of Databases need.
	InPlace   bool
	Databases []string
	// Paths are those of the configuration, for an engine whose databases are files, Group that of the programs that use them.
	Paths []string
	Group string
}

// Kinds of steps.
const (
	StepSQL   = "sql"   // a statement that a superuser runs
	StepFile  = "file"  // a line for a file of the server, named by In
	StepShell = "shell" // a command that root runs
)

// Step is one thing that gives an account of the agent one right.
type Step struct {
	Kind string
	For  string // the section that it belongs to
	Why  string // what does not work without it
	Do   string // the statement, the line or the command
	In   string // StepFile: which file
	// Option marks what is needed only in the case that Why tells of: a script has it as a remark.
	Option bool
	// Secret names the account whose password is to stand where Do has Password; empty if it has none.
	Secret string
}

// Password stands in a script where the text of a password is to be put in, with its quotes. A server takes nothing before that is done.
const Password = "<password>"

// Script is what gives the agent's accounts their rights at one server, in order. Every step may be repeated.
type Script struct {
	Title   string
	Comment string // what begins a remark
	Steps   []Step
}

// String is the script as text: what an operator reads and runs.
func (s Script) String() string {
	var b strings.Builder
	remark := func(indent, text string) {
		for line := range strings.Lines(text) {
			fmt.Fprintf(&b, "%s %s%s\n", s.Comment, indent, strings.TrimRight(line, "\n"))
		}
	}
	remark("", s.Title)
	section := ""
	for _, step := range s.Steps {
		if step.For != section {
			section = step.For
			b.WriteByte('\n')
			remark("", "== "+section)
		}
		b.WriteByte('\n')
		remark("", step.Why)
		text := step.Do
		if step.Kind == StepSQL {
			text += ";"
		}
		switch {
		case step.Kind == StepFile:
			remark("  ", step.In+": "+text)
		case step.Option:
			remark("  ", text)
		default:
			b.WriteString(text + "\n")
		}
	}
	return b.String()
}
