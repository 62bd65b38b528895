// Package engine is the contract between the agent and a database system.
//
// An engine knows how to look at, dump, restore and describe the databases of one server. It knows nothing of
// compression, encryption, upload or the controller: bytes go out of Dump and into Restore. Every engine passes the
// suite in enginetest; a new one is one folder beside postgres and one line in the agent's list of engines.
package engine

import (
	"context"
	"io"
	"time"

	"devflowbackup/shared/wire"
)

// Engine works on the databases of one configured server. Its methods may be called from several goroutines.
// Every database name is data: an engine never places one where a tool, a shell or a server could read it as code.
type Engine interface {
	// Check reports, one finding per line, whether the server can be reached, the account's privileges, and the
	// tools found with their versions. It returns findings, not an error, for what an operator can mend.
	Check(ctx context.Context) []Finding

	// Server identifies the database server: engine, version, a stable identity.
	Server(ctx context.Context) (ServerInfo, error)

	// Discover lists the databases that the configuration allows to be backed up, with size and version.
	Discover(ctx context.Context) ([]wire.Database, error)

	// Dump starts a consistent dump of one database. The returned Dump is a stream that yields io.EOF only after the
	// tool ended with success and the engine's end mark, where it has one, was seen; any other end is a
	// *wire.Failure.
	// An error before the first byte is returned here: unknown database, missing or too old tool, refused login. ctx counts
	// until the Dump is closed; if its cause is a *wire.Failure, that is the outcome.
	Dump(ctx context.Context, req DumpRequest) (Dump, error)

	// Restore opens a writer that receives one raw dump and restores it into req.Database, which must not exist: it is created,
	// owned and filled by the restore account. The content counts only once Close returned nil. Abort, or cancelling ctx
	// before that, stops the tool; both, and every error of Write and Close, remove the half-filled database.
	Restore(ctx context.Context, req RestoreRequest) (Restore, error)

	// Validate opens a writer that reads one raw dump to its end and reports from Close whether the engine can read
	// all of it. Nothing is written to any database.
	Validate(ctx context.Context) (Restore, error)

	// Fingerprint describes the content of one existing database, from one consistent snapshot.
	Fingerprint(ctx context.Context, database string) (*wire.Fingerprint, error)

	// Publish gives the database from, made by Restore, the name to: in one step where the server can rename a database,
	// else in steps of which a Remove of from undoes whatever a crash left half done. It fails with wire.CodeTargetExists if
	// to exists, and then changes nothing.
	Publish(ctx context.Context, from, to string) error

	// Inspect describes what is at a restore's target and what would stop a restore there, for a plan. It changes nothing. A target
	// that is not there is no error: then Exists is false.
	Inspect(ctx context.Context, req InspectRequest) (*Target, error)

	// Swap puts the database req.Staged, which Restore or an earlier Swap made, in the place of req.Target, whose content is kept as
	// req.Keep. On an error the target is as it was, unless it is a wire.CodeInterrupted: then, and after a crash, Settle decides.
	Swap(ctx context.Context, req SwapRequest) (*SwapResult, error)

	// Settle brings a Swap that was begun to one of its two ends and tells which: SwapBefore or SwapAfter. It may be repeated, also
	// after a Swap that was complete or never begun. Whichever content is not at the target is under req.Staged or req.Keep.
	Settle(ctx context.Context, req SwapRequest) (state string, err error)

	// Exists tells whether a database of that exact name is on the server.
	Exists(ctx context.Context, database string) (bool, error)

	// Remove drops a database that Restore made or Swap kept. One that is not there is no error. It refuses names that do not start
	// with StagingPrefix or KeptPrefix.
	Remove(ctx context.Context, database string) error
}

// StagingPrefix starts the name of every database that a restore fills before it is published.
const StagingPrefix = "devflow_staging_"

// KeptPrefix starts the name of every database that a swap took out of its place.
const KeptPrefix = "devflow_kept_"

// What to do about other sessions at a swap's target.
const (
	SessionsRefuse = wire.SessionsRefuse // the swap fails with wire.CodeTargetInUse
	SessionsWait   = wire.SessionsWait   // for up to SwapRequest.Wait, then as refuse
	SessionsEnd    = wire.SessionsEnd    // they are ended
)

// Ends of a swap.
const (
	SwapBefore = wire.SwapBefore // the target has its old content
	SwapAfter  = wire.SwapAfter  // the target has the content of Staged
)

// SwapRequest names the three databases of a swap.
type SwapRequest struct {
	Staged string // StagingPrefix or KeptPrefix and up to 40 of a-z, 0-9 and _
	Target string
	Keep   string // KeptPrefix and up to 40 of a-z, 0-9 and _; must not exist
	// Identity is what Inspect said of the target. Another target by now is wire.CodeTargetChanged.
	Identity string
	Sessions string // default SessionsRefuse
	Wait     time.Duration
}

// SwapResult is what a swap did.
type SwapResult struct {
	// Unavailable is how long the target could not be used.
	Unavailable time.Duration
	Ended       int      // sessions
	Notes       []string // for people: what was carried over, what was not
}

// InspectRequest names the target of a restore and what is to be restored there.
type InspectRequest struct {
	Target string
	// Of the dump, as far as known; zero where not.
	DumpServerVersion string
	DumpToolVersion   string
	DumpBytes         int64 // raw
	DatabaseBytes     int64 // on the server that it came from
	Extensions        []string
	InPlace           bool // the target is to be swapped
	Sessions          string
	Restore           RestoreRequest // with its choices; Database may be empty
}

// Target is what is at a restore's target.
type Target struct {
	Exists    bool
	Identity  string // of the database on its server; changes when it is dropped and made again
	SizeBytes int64
	Tables    int64
	FreeBytes int64 // where the copy would lie; -1: not known
	Owner     string
	Sessions  []Session
	Problems  []Problem
}

// Session is another one at the target.
type Session struct {
	User        string
	Application string
	Client      string
	Since       time.Time
	State       string
}

// Problem is what would stop a restore, or what a person should know before it.
type Problem struct {
	Stops bool
	Code  string // stable, such as missing_extension
	Text  string
	Hint  string
}

// Selection is a part of a dump.
type Selection struct {
	Schema string // PostgreSQL
	Table  string // empty: the whole schema
}

// DumpRequest names the database and the bounds of one dump.
type DumpRequest struct {
	Database string
	// Globals asks for roles and settings beside the dump; passwords are never part of them.
	Globals bool
	// StallTimeout ends the tool when it was waited for that long without a byte. Zero is two minutes.
	StallTimeout time.Duration
}

// Dump is one running dump. Read is called from one goroutine; Close may be called at any time, also twice: it stops
// the tool and everything it started, and waits for them.
type Dump interface {
	io.ReadCloser
	// Info is known from the start.
	Info() DumpInfo
	// Fingerprint describes what the dump holds, taken in the dump's own snapshot. It may be called while the dump is
	// being read and waits until the description is complete.
	Fingerprint(ctx context.Context) (*wire.Fingerprint, error)
	// Globals is the server's roles and settings as SQL without password hashes, nil if the engine has none or they
	// were not asked for. It is complete before Dump returned.
	Globals() []byte
	// Log is what the tool wrote to its standard error, capped and scrubbed of secrets.
	Log() string
}

// DumpInfo describes where a dump comes from, for the artifact's statement.
type DumpInfo struct {
	Server       ServerInfo
	Tool         string // for example "pg_dump"
	ToolVersion  string // for example "15.18"
	Method       string // for example "pg_dump --format=custom"
	DatabaseSize int64  // bytes on the server at the start
	Tables       int64
	Extension    string         // file name suffix of the raw dump, without a dot: "dump", "sql" or "sqlite"
	Extra        map[string]any // what one engine adds, such as a replica's position; never a secret
}

// ServerInfo identifies a database server.
type ServerInfo struct {
	Engine   string // wire.EnginePostgreSQL, …
	Version  string // "15.18"
	Identity string // does not change over restarts; PostgreSQL's system identifier
}

// RestoreRequest names the database to create and fill.
type RestoreRequest struct {
	// Database is StagingPrefix and up to 40 of a-z, 0-9 and _.
	Database string
	// Target is the name that Publish will give it, for an engine whose databases have a place: an SQLite file is filled in
	// the directory that it is published in. Nothing is made under it before.
	Target string
	// InPlace says that it is for a Swap with Target, and no Publish: the restore account needs no right at what is there, if
	// another account swaps.
	InPlace bool
	// StallTimeout ends the tool when it took no byte for that long while one was waiting. Zero is ten minutes: the server
	// works between two reads. After the last byte there is no limit but ctx, for indexes are built then.
	StallTimeout time.Duration

	// Choices. The zero values are safe for a dump that nobody trusts.
	Owners     bool        // PostgreSQL: objects belong to the roles that they belonged to, as far as the restore account may give them away
	Privileges bool        // PostgreSQL: grants are restored
	Roles      []byte      // PostgreSQL: roles and settings of the backup; those that are missing here are made, without login and without rights over the server
	Definers   string      // MySQL: "strip" or "keep"; empty: as the host is configured
	Only       []Selection // only these; empty: everything
	Jobs       int         // PostgreSQL: how many build indexes and constraints at once; 0 and 1: one
}

// Restore receives a raw dump.
type Restore interface {
	io.Writer
	// Close says that the whole dump was written, waits for the tool and reports its outcome.
	Close() error
	// Abort stops the tool and removes what it made, also after a Close that returned nil, but nothing that was published.
	// It may be called twice and at any time.
	Abort()
	// Log is what the tool wrote to its standard error, capped and scrubbed of secrets.
	Log() string
}

// Finding is one line of a check.
type Finding struct {
	Level  string // "ok", "warning" or "error"
	Name   string // what was looked at: "login", "tool pg_dump", "privileges"
	Detail string // what was found
	Hint   string // what to do about it, with the statement or command to run; empty when ok
}

// Said is an error of Dump with what the tool had written to its standard error by then, capped and scrubbed of secrets: there is no
// Dump that could be asked for it.
type Said struct {
	Err error
	Log string
}

func (s *Said) Error() string { return s.Err.Error() }

func (s *Said) Unwrap() error { return s.Err }
