package api

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// Store is the catalog as the API uses it: one transaction and one audit row per method. The actor's scope bounds what it sees; what
// lies outside is ENotFound. A *controller.Error is for the caller, every other error is internal.
type Store interface {
	CreateProject(ctx context.Context, actor controller.Actor, spec controller.ProjectSpec, recipient string, identity, appKey []byte) (controller.Project, error)
	// Projects lists by slug; CountProjects counts what it lists, whatever the page. The other lists have the same two.
	Projects(ctx context.Context, actor controller.Actor, f controller.ProjectFilter) ([]controller.Project, error)
	CountProjects(ctx context.Context, actor controller.Actor, f controller.ProjectFilter) (controller.Total, error)
	Project(ctx context.Context, actor controller.Actor, ref string) (controller.Project, error)
	UpdateProject(ctx context.Context, actor controller.Actor, ref string, spec controller.ProjectSpec) (controller.Project, error)
	DeleteProject(ctx context.Context, actor controller.Actor, ref string) error
	ProjectSecrets(ctx context.Context, actor controller.Actor, ref string) (controller.ProjectSecrets, error)
	GrantServer(ctx context.Context, actor controller.Actor, project, server string) error
	RevokeServerGrant(ctx context.Context, actor controller.Actor, project, server string) error

	CreateEnrolment(ctx context.Context, actor controller.Actor, spec controller.EnrolmentSpec, hash []byte) (controller.Enrolment, error)
	Enrolments(ctx context.Context, actor controller.Actor, beforeID int64, limit int) ([]controller.Enrolment, error)
	Enrol(ctx context.Context, tokenHash []byte, s controller.NewServer) (controller.Server, error)
	// EnrolmentStatus is what became of a token; EUnauthorized if it is not known.
	EnrolmentStatus(ctx context.Context, tokenHash []byte) (controller.EnrolmentStatus, error)
	Servers(ctx context.Context, actor controller.Actor, f controller.ServerFilter) ([]controller.Server, error)
	CountServers(ctx context.Context, actor controller.Actor, f controller.ServerFilter) (controller.Total, error)
	Server(ctx context.Context, actor controller.Actor, ref string) (controller.Server, error)
	RevokeServer(ctx context.Context, actor controller.Actor, ref string) (controller.Server, error)
	SetVerifier(ctx context.Context, actor controller.Actor, ref string, on bool) (controller.Server, error)

	Databases(ctx context.Context, actor controller.Actor, f controller.DatabaseFilter) ([]controller.Database, error)
	CountDatabases(ctx context.Context, actor controller.Actor, f controller.DatabaseFilter) (controller.Total, error)
	AssignDatabase(ctx context.Context, actor controller.Actor, ref controller.DatabaseRef, project string) (controller.Database, error)
	UnassignDatabase(ctx context.Context, actor controller.Actor, ref controller.DatabaseRef) (controller.Database, error)

	CreateStorage(ctx context.Context, actor controller.Actor, spec controller.StorageSpec, probe json.RawMessage, ok bool, checksumMode string) (controller.Storage, error)
	Storages(ctx context.Context, actor controller.Actor, f controller.StorageFilter) ([]controller.Storage, error)
	CountStorages(ctx context.Context, actor controller.Actor, f controller.StorageFilter) (controller.Total, error)
	Storage(ctx context.Context, actor controller.Actor, ref string) (controller.Storage, error)
	// UpdateStorage keeps a change with what the probe of it found. Of a change that does not reach the store nothing is recorded.
	UpdateStorage(ctx context.Context, actor controller.Actor, ref string, change controller.StorageChange, probe json.RawMessage, ok bool, checksumMode string) (controller.Storage, error)
	SetDefaultStorage(ctx context.Context, actor controller.Actor, ref string) (controller.Storage, error)
	DeleteStorage(ctx context.Context, actor controller.Actor, ref string) error

	CreateBackups(ctx context.Context, actor controller.Actor, r controller.BackupRequest) ([]controller.BackupOutcome, error)
	Backups(ctx context.Context, actor controller.Actor, f controller.BackupFilter) ([]controller.Backup, error)
	CountBackups(ctx context.Context, actor controller.Actor, f controller.BackupFilter) (controller.Total, error)
	Backup(ctx context.Context, actor controller.Actor, id int64) (controller.Backup, error)
	BackupManifest(ctx context.Context, actor controller.Actor, id int64) ([]byte, error)
	// Downloadable is what CreateDownload would give; nothing is made.
	Downloadable(ctx context.Context, actor controller.Actor, r controller.DownloadRequest) (controller.Download, error)
	// CreateDownload makes a link to an object of a completed backup, and its audit row. Without a hash it makes the audit row alone:
	// the link is the store's.
	CreateDownload(ctx context.Context, actor controller.Actor, r controller.DownloadRequest, tokenHash []byte, ttl time.Duration) (controller.Download, error)
	// FindDownload is what a link gives: ENotFound if there is none, EConflict if it was used or has expired.
	FindDownload(ctx context.Context, tokenHash []byte) (controller.Download, error)
	// UseDownload is FindDownload, and uses the link up: of several callers one gets it.
	UseDownload(ctx context.Context, tokenHash []byte) (controller.Download, error)
	DeleteBackup(ctx context.Context, actor controller.Actor, r controller.DeleteRequest) (controller.Backup, error)
	UndeleteBackup(ctx context.Context, actor controller.Actor, id int64) (controller.Backup, error)
	CreateVerify(ctx context.Context, actor controller.Actor, r controller.VerifyRequest) ([]controller.Job, error)
	// DraftRestore resolves and checks a request for a restore; nothing is written. Of a restore in place Confirm is not looked at.
	DraftRestore(ctx context.Context, actor controller.Actor, r controller.RestoreRequest) (controller.Draft, error)
	// CreateRestore makes a restore with its job; in place, with its safety backup, after Confirm was held against the target's name.
	// Identity is then what the agent has told of the target.
	CreateRestore(ctx context.Context, actor controller.Actor, r controller.RestoreRequest) (controller.Restore, error)
	// DraftUndo and CreateUndo are the same for bringing back what a restore in place kept.
	DraftUndo(ctx context.Context, actor controller.Actor, id int64, r controller.SwapRequest) (controller.Draft, error)
	CreateUndo(ctx context.Context, actor controller.Actor, id int64, r controller.SwapRequest) (controller.Restore, error)
	// DiscardKept has what a restore kept removed before its time; KeepKept changes that time.
	DiscardKept(ctx context.Context, actor controller.Actor, id int64, confirm string) (controller.Restore, error)
	KeepKept(ctx context.Context, actor controller.Actor, id int64, keepFor time.Duration) (controller.Restore, error)
	Restores(ctx context.Context, actor controller.Actor, f controller.RestoreFilter) ([]controller.Restore, error)
	CountRestores(ctx context.Context, actor controller.Actor, f controller.RestoreFilter) (controller.Total, error)
	Restore(ctx context.Context, actor controller.Actor, id int64) (controller.Restore, error)
	Jobs(ctx context.Context, actor controller.Actor, f controller.JobFilter) ([]controller.Job, error)
	CountJobs(ctx context.Context, actor controller.Actor, f controller.JobFilter) (controller.Total, error)
	Job(ctx context.Context, actor controller.Actor, id int64) (controller.Job, error)
	CancelJob(ctx context.Context, actor controller.Actor, job int64, reason string) (controller.Job, error)
	CancelBackup(ctx context.Context, actor controller.Actor, backup int64, reason string) (controller.Job, error)
	CancelRestore(ctx context.Context, actor controller.Actor, restore int64, reason string) (controller.Job, error)

	CreateToken(ctx context.Context, actor controller.Actor, spec controller.TokenSpec, hash []byte) (controller.APIToken, error)
	Tokens(ctx context.Context, actor controller.Actor, f controller.TokenFilter) ([]controller.APIToken, error)
	CountTokens(ctx context.Context, actor controller.Actor, f controller.TokenFilter) (controller.Total, error)
	Token(ctx context.Context, actor controller.Actor, id int64) (controller.APIToken, error)
	// RotateToken gives a token a new secret; the one before works for the grace.
	RotateToken(ctx context.Context, actor controller.Actor, id int64, hash []byte, grace time.Duration) (controller.APIToken, error)
	RevokeToken(ctx context.Context, actor controller.Actor, id int64) error
	TokenByHash(ctx context.Context, hash []byte) (controller.Actor, error)
	// ActingProjects are the projects of the scope among those that a panel names; the others are left out.
	ActingProjects(ctx context.Context, scope controller.Scope, refs []string) (controller.Scope, error)

	People

	Statistics(ctx context.Context, actor controller.Actor, project string) (controller.Statistics, error)
	Trend(ctx context.Context, actor controller.Actor, r controller.TrendRequest) (controller.Trend, error)
	// CreatePreDeploy orders the backups, or finds the order of the same key; PreDeploy goes on with it.
	CreatePreDeploy(ctx context.Context, actor controller.Actor, r controller.PreDeployRequest) (controller.PreDeploy, error)
	PreDeploy(ctx context.Context, actor controller.Actor, id int64) (controller.PreDeploy, error)
	// Events are those that the actor may know of, after an id up to another, in order. EventLog tells which ids are kept.
	Events(ctx context.Context, actor controller.Actor, after, upTo int64, limit int) ([]controller.Event, error)
	EventLog(ctx context.Context) (controller.EventLog, error)
	Overview(ctx context.Context, actor controller.Actor) (controller.Overview, error)
	// Protection lists how well databases are protected, by server, instance and name.
	Protection(ctx context.Context, actor controller.Actor, f controller.ProtectionFilter) ([]controller.Protection, error)
	CountProtection(ctx context.Context, actor controller.Actor, f controller.ProtectionFilter) (controller.Total, error)
	ProtectionSummary(ctx context.Context, actor controller.Actor, project string) (controller.ProtectionSummary, error)
	// IgnoreDatabase records the choice that a database need not be backed up; UnignoreDatabase takes it back.
	IgnoreDatabase(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Protection, error)
	UnignoreDatabase(ctx context.Context, actor controller.Actor, id int64) (controller.Protection, error)

	// Schedules lists by project and id.
	Schedules(ctx context.Context, actor controller.Actor, f controller.ScheduleFilter) ([]controller.Schedule, error)
	CountSchedules(ctx context.Context, actor controller.Actor, f controller.ScheduleFilter) (controller.Total, error)
	Schedule(ctx context.Context, actor controller.Actor, id int64) (controller.Schedule, error)
	CreateSchedule(ctx context.Context, actor controller.Actor, spec controller.ScheduleSpec) (controller.Schedule, error)
	UpdateSchedule(ctx context.Context, actor controller.Actor, id int64, change controller.ScheduleChange) (controller.Schedule, error)
	DeleteSchedule(ctx context.Context, actor controller.Actor, id int64) error
	// RunSchedule orders a backup of each database that the schedule covers, now; no occurrence is used up by it.
	RunSchedule(ctx context.Context, actor controller.Actor, id int64) ([]controller.BackupOutcome, error)
	// Occurrences are the records of a schedule, newest first; a zero before starts at the newest.
	Occurrences(ctx context.Context, actor controller.Actor, schedule int64, before time.Time, limit int) ([]controller.ScheduleOccurrence, error)
	Pauses(ctx context.Context, actor controller.Actor, all bool, beforeID int64, limit int) ([]controller.Pause, error)
	CreatePause(ctx context.Context, actor controller.Actor, spec controller.PauseSpec) (controller.Pause, error)
	EndPause(ctx context.Context, actor controller.Actor, id int64) (controller.Pause, error)
	// RetryBackup orders a backup that failed once more, as it was ordered.
	RetryBackup(ctx context.Context, actor controller.Actor, id int64) (controller.Backup, error)

	HoldBackup(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Backup, error)
	ReleaseBackup(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Backup, error)
	Settings(ctx context.Context, actor controller.Actor) (controller.Settings, error)
	UpdateSettings(ctx context.Context, actor controller.Actor, s controller.Settings) (controller.Settings, error)

	// CreateChannel and UpdateChannel keep a target that Alarms has checked; hint is what of it may be shown.
	CreateChannel(ctx context.Context, actor controller.Actor, spec controller.ChannelSpec, hint string) (controller.Channel, error)
	Channels(ctx context.Context, actor controller.Actor, f controller.ChannelFilter) ([]controller.Channel, error)
	CountChannels(ctx context.Context, actor controller.Actor, f controller.ChannelFilter) (controller.Total, error)
	Channel(ctx context.Context, actor controller.Actor, ref string) (controller.Channel, error)
	UpdateChannel(ctx context.Context, actor controller.Actor, ref string, change controller.ChannelChange, hint string) (controller.Channel, error)
	DeleteChannel(ctx context.Context, actor controller.Actor, ref string) error
	// BeginChannelTest is a channel that is to be tried, with the audit row of it.
	BeginChannelTest(ctx context.Context, actor controller.Actor, ref string) (controller.Channel, error)
	Alarms(ctx context.Context, actor controller.Actor, f controller.AlarmFilter) ([]controller.Alarm, error)
	CountAlarms(ctx context.Context, actor controller.Actor, f controller.AlarmFilter) (controller.Total, error)
	Alarm(ctx context.Context, actor controller.Actor, id int64) (controller.Alarm, error)
	// CountOpenAlarms counts those that stand and nobody muted.
	CountOpenAlarms(ctx context.Context, actor controller.Actor) (controller.AlarmCounts, error)
	Notices(ctx context.Context, actor controller.Actor, f controller.NoticeFilter) ([]controller.Notice, error)
	CountNotices(ctx context.Context, actor controller.Actor, f controller.NoticeFilter) (controller.Total, error)
	Notice(ctx context.Context, actor controller.Actor, id int64) (controller.Notice, error)
	Mutes(ctx context.Context, actor controller.Actor, f controller.MuteFilter) ([]controller.Mute, error)
	CountMutes(ctx context.Context, actor controller.Actor, f controller.MuteFilter) (controller.Total, error)
	CreateMute(ctx context.Context, actor controller.Actor, spec controller.MuteSpec) (controller.Mute, error)
	EndMute(ctx context.Context, actor controller.Actor, id int64) (controller.Mute, error)

	// StorageInventories are the last inventories of a storage, of a local one that of each host. They are by the name of the server, after one of them.
	StorageInventories(ctx context.Context, actor controller.Actor, storage string, afterServer int64, limit int) ([]controller.StorageInventory, error)
	// RequestInventory makes an inventory due now.
	RequestInventory(ctx context.Context, actor controller.Actor, storage string) ([]controller.StorageInventory, error)
	StorageFindings(ctx context.Context, actor controller.Actor, storage string, limit int) ([]controller.StorageFinding, error)

	Audit(ctx context.Context, actor controller.Actor, f controller.AuditFilter) ([]controller.AuditEntry, error)
	// ExportAudit calls row for each entry, oldest first, without limit, and writes an audit row of its own.
	ExportAudit(ctx context.Context, actor controller.Actor, f controller.AuditFilter, row func(controller.AuditEntry) error) error
	// Refused records that an act was refused, and why.
	Refused(ctx context.Context, actor controller.Actor, action, subject, code, reason string) error
	SecurityEvents(ctx context.Context, actor controller.Actor, beforeID int64, limit int) ([]controller.SecurityEvent, error)

	// BeginIdempotent claims the key for a request. A non-nil response is that of the first request with the same key and
	// hash; another hash, or a first request still at work, is EConflict. A claim ends with EndIdempotent or AbandonIdempotent.
	BeginIdempotent(ctx context.Context, actor controller.Actor, key string, requestHash []byte) (*controller.StoredResponse, error)
	EndIdempotent(ctx context.Context, actor controller.Actor, key string, r controller.StoredResponse) error
	AbandonIdempotent(ctx context.Context, actor controller.Actor, key string) error
}

// People are the users of the console and their sessions. Passwords are PHC strings.
type People interface {
	CreateUser(ctx context.Context, actor controller.Actor, spec controller.UserSpec, password string) (controller.User, error)
	// Users lists by name.
	Users(ctx context.Context, actor controller.Actor, f controller.UserFilter) ([]controller.User, error)
	CountUsers(ctx context.Context, actor controller.Actor, f controller.UserFilter) (controller.Total, error)
	User(ctx context.Context, actor controller.Actor, ref string) (controller.User, error)
	UpdateUser(ctx context.Context, actor controller.Actor, ref string, change controller.UserChange) (controller.User, error)
	DeleteUser(ctx context.Context, actor controller.Actor, ref string) error
	// SetPassword gives a user another password and signs the user out everywhere.
	SetPassword(ctx context.Context, actor controller.Actor, ref, password string) (controller.User, error)
	// OwnPassword is what ChangePassword is held against.
	OwnPassword(ctx context.Context, actor controller.Actor) (name, password string, err error)
	ChangePassword(ctx context.Context, actor controller.Actor, old, password string) error
	EndUserSessions(ctx context.Context, actor controller.Actor, ref string) error

	// BeginSignIn counts an attempt before its password is looked at; EndSignIn, of one that was right, takes that back and makes the session.
	BeginSignIn(ctx context.Context, name, remote string) (controller.SignInCheck, error)
	EndSignIn(ctx context.Context, user int64, password, rehash string, s controller.NewSession) (controller.Session, error)
	// SignInIdentity is for people whom a provider vouches for.
	SignInIdentity(ctx context.Context, in controller.Identity, s controller.NewSession) (controller.Session, error)
	// SessionByHash returns who a session is of; EUnauthorized if it has ended or was not used for idle.
	SessionByHash(ctx context.Context, hash []byte, idle time.Duration) (controller.Actor, error)
	Sessions(ctx context.Context, actor controller.Actor, idle time.Duration) ([]controller.Session, error)
	EndSession(ctx context.Context, actor controller.Actor, id int64) error
}

// Alarms reaches people.
type Alarms interface {
	// Kinds are the kinds of channels.
	Kinds() []controller.ChannelKind
	// CheckTarget tells whether a target can be one of a kind; it asks no network. It gives the target as it is kept, and what of it may be shown.
	CheckTarget(kind string, target controller.ChannelTarget) (normal controller.ChannelTarget, hint string, err error)
	// CheckPing tells whether the URL of a dead-man switch can be called, and what of it may be shown; it asks no network.
	CheckPing(url secret.String) (hint string, err error)
	// TestChannel sends a test through a channel, waits for what became of it, and records that. A *controller.Error is for the caller.
	TestChannel(ctx context.Context, id int64) error
}

// Auditor keeps the chain of the audit log.
type Auditor interface {
	// AuditHead is the end of the chain, once what is committed was sealed.
	AuditHead(ctx context.Context, actor controller.Actor) (controller.AuditHead, error)
	// CheckAudit verifies the chain from its first row to its last, against the heads that are kept at a storage and those given too. A
	// chain that is wrong is a result, not an error.
	CheckAudit(ctx context.Context, actor controller.Actor, heads []controller.AuditHead) (controller.AuditCheck, error)
}

// Cleaner applies retention.
type Cleaner interface {
	// Clean makes the plan of what the actor sees and, unless it is a dry run, carries it out.
	Clean(ctx context.Context, actor controller.Actor, r controller.CleanupRequest) (controller.CleanupResult, error)
}

// Fleet is what reaches agents and stores.
type Fleet interface {
	// Kick wakes whoever looks for work: a job is new or was cancelled, an inventory is due.
	Kick()
	// Inspect has the server's agent look at a restore's target. An agent that is not connected is wire.CodeOffline.
	Inspect(ctx context.Context, server controller.Server, o wire.InspectOrder) (*wire.Target, error)
	// Probe tries a storage that is not in the catalog yet. A storage that does not pass is a result, not an error.
	Probe(ctx context.Context, spec controller.StorageSpec) (ProbeResult, error)
	// ProbeStored tries a storage of the catalog and records what it found.
	ProbeStored(ctx context.Context, id int64) (ProbeResult, error)
	// ProbeChange tries a stored storage with a change that is not kept yet. Where backups lie on it, the newest has to be found.
	ProbeChange(ctx context.Context, s controller.Storage, change controller.StorageChange) (ProbeResult, error)
	// DownloadURL is the store's own link to what the download gives; not ok where it has to be streamed.
	DownloadURL(ctx context.Context, d controller.Download) (url string, ok bool, err error)
	// StreamDownload writes what the download gives, from offset on. It returns nil only after the last byte, and only if the whole has
	// the checksums of the catalog; the last bytes are not written before that is known.
	StreamDownload(ctx context.Context, d controller.Download, offset int64, w io.Writer) error
	// IssueAgent makes the broker credential of an agent with that public key. It changes nothing by itself.
	IssueAgent(ctx context.Context, agentID, nkey string) (jwt string, err error)
	// Enrolment is what an agent is told when it enrols.
	Enrolment() EnrolmentInfo
	// Revoke has the broker refuse every key of the server that the catalog takes no more, and cuts connections by them: of a revoked
	// server, or of the hosts that another one took the place of.
	Revoke(ctx context.Context, s controller.Server) error
	// Progress of a running job, fresher than the catalog's.
	Progress(jobID int64) (controller.Progress, bool)
}

// ProbeResult is what a probe of a storage found.
type ProbeResult struct {
	Report       json.RawMessage // each step with result and milliseconds
	OK           bool
	ChecksumMode string
	Summary      string // the failing step, or empty
}

// EnrolmentInfo is what every agent of the installation is told.
type EnrolmentInfo struct {
	NATSURLs      []string
	CAPEM         []byte
	KeySet        wire.KeySet
	CAFingerprint string
}

// Bootstrap is what makes a bare host a server: the command that is pasted there, the script that it runs, and the files that the
// script installs. A *controller.Error is for the caller.
type Bootstrap interface {
	Command(token string, grant bool) (string, error)
	Script() []byte
	// CA is PEM, and Fingerprint its SHA-256 in hex.
	CA() []byte
	Fingerprint() string
	Sums() ([]byte, error)
	// Open gives a file that Sums names, with its SHA-256 in hex.
	Open(name string) (file io.ReadSeekCloser, sum string, modified time.Time, err error)
}
