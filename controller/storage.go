package controller

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"devflowbackup/shared/secret"
)

// Kinds of storages.
const (
	StorageS3    = "s3"
	StorageLocal = "local" // the backup directory of whichever host holds the database
)

// StorageKinds lists the kinds.
var StorageKinds = []string{StorageS3, StorageLocal}

// LocalUpload is the upload id of every attempt whose storage is local: nothing is created for it.
const LocalUpload = "local"

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
	UpdatedAt    time.Time       `json:"updated_at"`
	Backups      int64           `json:"backups"`    // that the caller sees on it and that are not seen gone
	UsedBytes    int64           `json:"used_bytes"` // of their artifacts
	SameHost     bool            `json:"same_host"`  // what lies there is lost with the database's host
	Display      StorageDisplay  `json:"display"`    // for people
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
	if err := validStorageName(s.Name); err != nil {
		return err
	}
	if err := validPrefix(s.Prefix); err != nil {
		return err
	}
	switch s.Kind {
	case StorageS3:
	case StorageLocal:
		return s.validateLocal()
	default:
		return Invalid("kind", "%q is not supported; use %s", s.Kind, orList(StorageKinds))
	}
	if err := validEndpoint(s.Endpoint); err != nil {
		return err
	}
	if !bucketName.MatchString(s.Bucket) {
		return Invalid("bucket", "%.100q is not a bucket's name; use the name alone: at most 255 of A–Z, a–z, 0–9, dot, dash and underscore, beginning with a letter or digit", s.Bucket)
	}
	if s.AccessKey == "" {
		return Invalid("access_key", "is empty")
	}
	if s.SecretKey.Empty() {
		return Invalid("secret_key", "is empty")
	}
	return nil
}

// validateLocal refuses what a directory has not. Which directory it is the host's own configuration says.
func (s StorageSpec) validateLocal() error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"endpoint", s.Endpoint != ""},
		{"region", s.Region != ""},
		{"bucket", s.Bucket != ""},
		{"access_key", s.AccessKey != ""},
		{"secret_key", !s.SecretKey.Empty()},
	} {
		if f.given {
			return Invalid(f.name, "is not allowed with kind local, which has a name and a prefix only")
		}
	}
	if s.Prefix != "" && !hostPrefix.MatchString(strings.TrimSuffix(s.Prefix, "/")) {
		return Invalid("prefix", "%q is not allowed with kind local; use directories of A–Z, a–z, 0–9, dot, dash and underscore that begin with none of . and -", s.Prefix)
	}
	return nil
}

// hostPrefix is what agents take: a path in the alphabet of artifacts' file names.
var hostPrefix = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`)

// bucketName is what S3 and its likes take, or have ever taken.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

func validStorageName(name string) error {
	if strings.TrimSpace(name) == "" || len(name) > 100 || digits.MatchString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return Invalid("name", "%.200q is empty, longer than 100 bytes, only digits, or has control characters", name)
	}
	return nil
}

func validEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return Invalid("endpoint", "is not a URL such as https://s3.example.com without path, query or user")
	}
	return nil
}

func validPrefix(prefix string) error {
	bad := len(prefix) > 200 || !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, func(r rune) bool { return unicode.IsControl(r) || r == '\\' })
	if prefix != "" {
		for part := range strings.SplitSeq(strings.TrimSuffix(prefix, "/"), "/") {
			bad = bad || part == "" || part == "." || strings.Contains(part, "..")
		}
	}
	if bad {
		return Invalid("prefix", "%q is not allowed; use a relative path of at most 200 bytes without .. or empty parts", prefix)
	}
	return nil
}

// Overlaps tells whether artifacts of both storages would lie in one folder: what is known of one would be strange to the other.
func (s Storage) Overlaps(o Storage) bool {
	if s.Kind != o.Kind || s.Bucket != o.Bucket || !sameEndpoint(s.Endpoint, o.Endpoint) {
		return false
	}
	a, b := s.folder(), o.folder()
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// folder is what every key of the storage begins with.
func (s Storage) folder() string {
	return strings.TrimPrefix(strings.Trim(s.Prefix, "/")+"/backups/", "/")
}

func sameEndpoint(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

// StorageChange is what a caller changes of a storage. Nil and empty leave a field as it is. Bucket, prefix and kind never change:
// the keys of its backups are bound to them.
type StorageChange struct {
	Name      *string
	Endpoint  *string
	Region    *string
	PathStyle *bool
	AccessKey string // with SecretKey
	SecretKey secret.String
	Force     bool // keep the change although the probe did not pass
}

// Validate names the first field that is wrong for a storage of the kind.
func (c StorageChange) Validate(kind string) error {
	if c.Name != nil {
		if err := validStorageName(*c.Name); err != nil {
			return err
		}
	}
	if kind == StorageLocal && c.Reaches() {
		return Invalid("storage", "is local: only its name can be changed")
	}
	if c.Endpoint != nil {
		if err := validEndpoint(*c.Endpoint); err != nil {
			return err
		}
	}
	if c.AccessKey != "" && c.SecretKey.Empty() {
		return Invalid("secret_key", "is empty; an access key is changed together with its secret key")
	}
	return nil
}

// Reaches tells whether the change touches how the storage is reached: then it has to be probed.
func (c StorageChange) Reaches() bool {
	return c.Endpoint != nil || c.Region != nil || c.PathStyle != nil || c.AccessKey != "" || !c.SecretKey.Empty()
}

// Apply returns the storage as it is after the change.
func (c StorageChange) Apply(s StorageAccess) StorageAccess {
	set(&s.Name, c.Name)
	set(&s.Endpoint, c.Endpoint)
	set(&s.Region, c.Region)
	set(&s.PathStyle, c.PathStyle)
	if c.AccessKey != "" {
		s.Credentials.AccessKey = c.AccessKey
	}
	if !c.SecretKey.Empty() {
		s.Credentials.SecretKey = c.SecretKey
	}
	return s
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}
