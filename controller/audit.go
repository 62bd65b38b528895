package controller

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"
)

// Results of audited acts, beside "refused: <code>".
const (
	AuditDone     = "done"
	AuditAccepted = "accepted" // a job was made; its outcome is the job's
)

// EventAuditChain is the security event of a log that was tampered with.
const EventAuditChain = "audit_chain"

// EventSignIn is the security event of a name or an address that was locked out.
const EventSignIn = "sign_in_locked"

// AuditRefused is the result of an act that was refused with that code.
func AuditRefused(code string) string { return "refused: " + code }

// AuditEntry tells who did what. It is written in the transaction of what it tells, and sealed into a chain within a second.
type AuditEntry struct {
	ID         int64           `json:"id"`
	At         time.Time       `json:"at"`
	Actor      string          `json:"actor"` // the token's name, or the part of the controller
	TokenID    *int64          `json:"token_id"`
	OnBehalfOf string          `json:"on_behalf_of"` // the panel's user
	Action     string          `json:"action"`       // such as backup.create
	ProjectID  *int64          `json:"project_id"`
	Subject    string          `json:"subject"`
	Detail     json.RawMessage `json:"detail"`
	Remote     string          `json:"remote"`
	Result     string          `json:"result"`
	Seq        *int64          `json:"seq"`       // place in the chain; null until sealed
	PrevHash   string          `json:"prev_hash"` // hexadecimal
	Hash       string          `json:"hash"`
}

// AuditFilter selects entries.
type AuditFilter struct {
	Project  string
	Action   string // exact, or a prefix that ends with a point
	Actor    string
	Since    *time.Time
	Until    *time.Time
	BeforeID int64
	Limit    int
}

// AuditHead is the end of the chain at some time. Kept elsewhere, it shows a tail that was cut.
type AuditHead struct {
	Seq  int64     `json:"seq"`
	Hash string    `json:"hash"` // hexadecimal
	At   time.Time `json:"at"`   // of the entry; zero if it is not known
}

// AuditAnchor is a head that is kept as an object at a storage.
type AuditAnchor struct {
	AuditHead        // At is when the anchor was made
	StorageID int64  `json:"storage_id"`
	Key       string `json:"key"`
	// Written tells that the storage has it.
	Written bool `json:"written"`
}

// AnchorPlace is where anchors lie: all keys below Root of a storage.
type AnchorPlace struct {
	StorageID int64
	Storage   string
	Root      string // such as prefix/audit/
}

// AnchorRoot is where the anchors of a storage with that prefix lie. Their keys order as their times do.
func AnchorRoot(prefix string) string { return path.Join(strings.Trim(prefix, "/"), "audit") + "/" }

// AnchorKey is where the anchor of a head lies below a root.
func AnchorKey(root string, h AuditHead) string {
	return fmt.Sprintf("%s%s/%012d.json", root, h.At.UTC().Format("2006/01/02"), h.Seq)
}

// AuditCheck is what the verification of the chain found.
type AuditCheck struct {
	OK      bool      `json:"ok"`
	Rows    int64     `json:"rows"`
	Head    AuditHead `json:"head"`
	Anchors int       `json:"anchors"` // heads kept at a storage that were compared
	// The first row that is wrong.
	BadSeq  int64  `json:"bad_seq"`
	BadID   int64  `json:"bad_id"`
	Problem string `json:"problem"`
	// Warnings tell what could not be compared, and why.
	Warnings []string `json:"warnings"`
}
