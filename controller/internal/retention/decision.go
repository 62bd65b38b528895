package retention

import "time"

// Actions of a decision.
const (
	Keep   = "keep"
	Later  = "later" // removed by a plan that is made at or after At, unless something keeps it then
	Remove = "remove"
)

// Codes of reasons. They are stable.
const (
	// The policy keeps it.
	Newest   = "newest"
	Hourly   = "hourly"
	Daily    = "daily"
	Weekly   = "weekly"
	Monthly  = "monthly"
	Days     = "days"
	AtLeast  = "at_least"
	Verified = "verified"
	Oldest   = "oldest"

	// The policy does not keep it.
	Expired = "expired"

	// Something else keeps it.
	Held         = "held"
	OpenJob      = "open_job"
	Safety       = "safety" // of a restore in place
	Locked       = "locked"
	Changed      = "policy_changed"
	Orphan       = "orphan"
	InvalidRules = "policy_invalid"

	// It neither counts nor is it removed.
	Unfinished = "unfinished"
	Failed     = "failed"
	Missing    = "missing"
	Corrupt    = "corrupt"
	Archived   = "archived"
	Deleting   = "deleting"
	Unknown    = "unknown"
)

// Reason is why: a stable code, and a sentence for people.
type Reason struct {
	Code  string    `json:"code"`
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"` // it holds until then
}

// Decision is what becomes of one backup. There is always a reason.
type Decision struct {
	BackupID int64     `json:"backup_id"`
	Action   string    `json:"action"`
	At       time.Time `json:"at,omitzero"` // with Later
	Reasons  []Reason  `json:"reasons"`
}

// Totals are a plan in numbers.
type Totals struct {
	Keep        int   `json:"keep"`
	Later       int   `json:"later"`
	Remove      int   `json:"remove"`
	RemoveBytes int64 `json:"remove_bytes"`
}

// Sum counts the decisions about backups, which are those that the plan was made for.
func Sum(decisions []Decision, backups []Backup) Totals {
	var t Totals
	for i, d := range decisions {
		switch d.Action {
		case Keep:
			t.Keep++
		case Later:
			t.Later++
		case Remove:
			t.Remove++
			t.RemoveBytes += backups[i].FileSize
		}
	}
	return t
}
