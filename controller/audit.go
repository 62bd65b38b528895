package controller

import (
	"encoding/json"
	"time"
)

// AuditEntry tells who did what. It is written in the transaction of what it tells.
type AuditEntry struct {
	ID        int64           `json:"id"`
	At        time.Time       `json:"at"`
	Actor     string          `json:"actor"`
	Action    string          `json:"action"` // such as backup.create
	ProjectID *int64          `json:"project_id"`
	Subject   string          `json:"subject"`
	Detail    json.RawMessage `json:"detail"`
	Remote    string          `json:"remote"`
}
