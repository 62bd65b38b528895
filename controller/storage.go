package controller

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"devflowbackup/shared/secret"
)

// Kinds of storages.
const (
	StorageS3    = "s3"
	StorageLocal = "local"
)

// Storage is a place for artifacts. Its credentials never leave the controller.
type Storage struct {
	ID           int64           `json:"id"`
	ProjectID    *int64          `json:"project_id"` // null: for all projects
	Name         string          `json:"name"`
	Kind         string          `json:"kind"`
	Endpoint     string          `json:"endpoint"`
	Region       string          `json:"region"`
	Bucket       string          `json:"bucket"`
	Prefix       string          `json:"prefix"`
	PathStyle    bool            `json:"path_style"`
	IsDefault    bool            `json:"is_default"`
	ChecksumMode string          `json:"checksum_mode"` // sha256 or md5, as the probe found
	Probe        json.RawMessage `json:"probe"`         // the last report
	ProbeOK      bool            `json:"probe_ok"`
	ProbedAt     *time.Time      `json:"probed_at"`
	CreatedAt    time.Time       `json:"created_at"`
}

// Credentials open a storage.
type Credentials struct {
	AccessKey string
	SecretKey secret.String
}

// StorageAccess is a storage with what opens it, for the controller's own use.
type StorageAccess struct {
	Storage
	Credentials Credentials
}

// StorageSpec is what a caller gives to add a storage.
type StorageSpec struct {
	Name      string
	Project   string // empty: for all projects
	Kind      string
	Endpoint  string
	Region    string
	Bucket    string
	Prefix    string
	PathStyle bool
	Default   bool
	AccessKey string
	SecretKey secret.String
}

// Validate names the first field that is wrong.
func (s StorageSpec) Validate() error {
	if strings.TrimSpace(s.Name) == "" || len(s.Name) > 100 || digits.MatchString(s.Name) {
		return Invalid("name", "%q is empty, longer than 100 bytes or only digits", s.Name)
	}
	if s.Kind != StorageS3 {
		return Invalid("kind", "%q is not supported; use s3", s.Kind)
	}
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
			return Invalid("endpoint", "is not a URL such as https://s3.example.com without path, query or user")
		}
	}
	if s.Bucket == "" || strings.ContainsAny(s.Bucket, "/ \n") {
		return Invalid("bucket", "%q is not a bucket name; use the name alone, without path or spaces", s.Bucket)
	}
	if strings.HasPrefix(s.Prefix, "/") || strings.Contains(s.Prefix, "..") || strings.Contains(s.Prefix, "//") || len(s.Prefix) > 200 {
		return Invalid("prefix", "%q is not allowed; use a relative path of at most 200 bytes without .. or empty parts", s.Prefix)
	}
	if s.AccessKey == "" {
		return Invalid("access_key", "is empty")
	}
	if s.SecretKey.Empty() {
		return Invalid("secret_key", "is empty")
	}
	return nil
}
