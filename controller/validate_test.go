package controller_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// checkInvalid fails the test unless err is about the field and its text holds each of the parts.
func checkInvalid(t *testing.T, what string, err error, field string, parts ...string) {
	t.Helper()
	var e *controller.Error
	if !errors.As(err, &e) || e.Code != controller.EInvalid || e.Field != field {
		t.Errorf("%s: %v; want an invalid %s", what, err, field)
		return
	}
	for _, p := range parts {
		if !strings.Contains(e.Error(), p) {
			t.Errorf("%s: %q does not say %q", what, e.Error(), p)
		}
	}
}

func text(n int) string { return strings.Repeat("x", n) }

func TestBackupRequest_Validate(t *testing.T) {
	var r controller.BackupRequest
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	if r.Type != controller.TypeManual || r.Compression != controller.CompressionZstd || r.Encryption != "" || r.Level != 0 || r.MaxDuration != time.Hour {
		t.Errorf("defaults: %+v", r)
	}
	for name, good := range map[string]controller.BackupRequest{
		"all types":   {Type: "pre_deploy", Encryption: "age", Compression: "none", MaxDuration: time.Second},
		"longest":     {Type: "scheduled", Encryption: "none", Compression: "zstd", Level: 19, MaxDuration: 7 * 24 * time.Hour},
		"lowest":      {Level: 1},
		"a database":  {Database: `o'brien; drop "x"`, Project: "shop"},
		"never empty": {Type: "manual"},
	} {
		given := good
		if err := good.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if given.Level != good.Level || given.Encryption != good.Encryption {
			t.Errorf("%s: changed to %+v", name, good)
		}
	}
	for name, c := range map[string]struct {
		request controller.BackupRequest
		field   string
		says    []string
	}{
		"type":        {controller.BackupRequest{Type: "Manual"}, "type", []string{`"Manual"`, "manual, scheduled or pre_deploy"}},
		"encryption":  {controller.BackupRequest{Encryption: "rot13"}, "encryption", []string{`"rot13"`, "age or none"}},
		"compression": {controller.BackupRequest{Compression: "gzip"}, "compression", []string{`"gzip"`, "zstd or none"}},
		"level":       {controller.BackupRequest{Level: 20}, "level", []string{"20", "1 to 19"}},
		"level below": {controller.BackupRequest{Level: -1}, "level", []string{"-1", "1 to 19"}},
		"level alone": {controller.BackupRequest{Compression: "none", Level: 3}, "level", []string{"3", "leave it out"}},
		"too short":   {controller.BackupRequest{MaxDuration: time.Millisecond}, "max_duration_seconds", []string{"0 is", "1 to 604800"}},
		"negative":    {controller.BackupRequest{MaxDuration: -time.Minute}, "max_duration_seconds", []string{"-60", "1 to 604800"}},
		"too long":    {controller.BackupRequest{MaxDuration: 7*24*time.Hour + time.Second}, "max_duration_seconds", []string{"604801", "1 to 604800"}},
	} {
		checkInvalid(t, name, c.request.Validate(), c.field, c.says...)
	}
}

func TestVerifyRequest_Validate(t *testing.T) {
	r := controller.VerifyRequest{All: true}
	if err := r.Validate(); err != nil || r.Level != wire.LevelChecksum {
		t.Errorf("%+v, %v", r, err)
	}
	for _, good := range []controller.VerifyRequest{{Backup: 1, Level: "content"}, {Project: "p", Level: "checksum"}, {Project: "p", All: true}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	checkInvalid(t, "nothing", (&controller.VerifyRequest{Level: "content"}).Validate(), "backup", "give a backup's id, all, or a project")
	checkInvalid(t, "level", (&controller.VerifyRequest{All: true, Level: "deep"}).Validate(), "level", `"deep"`, "checksum or content")
}

func TestRestoreRequest_Validate(t *testing.T) {
	for _, name := range []string{"", "shop", "ünïcode 🦀", "-rf", "devflow_staging", text(63)} {
		if err := (controller.RestoreRequest{Backup: 1, Database: name}).Validate(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	checkInvalid(t, "no backup", controller.RestoreRequest{}.Validate(), "backup_id", "0")
	checkInvalid(t, "negative", controller.RestoreRequest{Backup: -3}.Validate(), "backup_id", "-3")
	checkInvalid(t, "long", controller.RestoreRequest{Backup: 1, Database: text(64)}.Validate(), "to_database", text(64), "63 bytes")
	checkInvalid(t, "NUL", controller.RestoreRequest{Backup: 1, Database: "a\x00b"}.Validate(), "to_database", `a\x00b`, "NUL")
	checkInvalid(t, "staging", controller.RestoreRequest{Backup: 1, Database: "devflow_staging_1"}.Validate(), "to_database", "devflow_staging_1", "kept for restores")
}

func TestProjectSpec_Validate(t *testing.T) {
	str := func(s string) *string { return &s }
	for _, good := range []controller.ProjectSpec{
		{Slug: "shop"},
		{Slug: "1a"},
		{Slug: "a-"},
		{Slug: text(63)},
		{Slug: "a", Name: text(200), ExternalID: str(text(200)), DefaultEncryption: "none"},
		{Slug: "a", ExternalID: str("42"), DefaultEncryption: "age"},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, slug := range []string{"", "42", "-a", "A", "a_b", "a b", "ä", "a\n", "a/b", text(64)} {
		checkInvalid(t, "slug "+slug, controller.ProjectSpec{Slug: slug}.Validate(), "slug", "a–z")
	}
	checkInvalid(t, "name", controller.ProjectSpec{Slug: "a", Name: text(201)}.Validate(), "name", "201", "200")
	checkInvalid(t, "no external id", controller.ProjectSpec{Slug: "a", ExternalID: str(" ")}.Validate(), "external_id", `" "`)
	checkInvalid(t, "long external id", controller.ProjectSpec{Slug: "a", ExternalID: str(text(201))}.Validate(), "external_id", "200 bytes")
	checkInvalid(t, "encryption", controller.ProjectSpec{Slug: "a", DefaultEncryption: "AGE"}.Validate(), "default_encryption", `"AGE"`, "age or none")
}

func TestEnrolmentSpec_Validate(t *testing.T) {
	for _, good := range []controller.EnrolmentSpec{{ServerName: "db 7", TTL: time.Hour}, {ServerName: text(100), TTL: time.Second}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, name := range []string{"", " ", " a", "a\n", text(101)} {
		checkInvalid(t, "name", controller.EnrolmentSpec{ServerName: name, TTL: time.Minute}.Validate(), "server_name", "100 bytes")
	}
	checkInvalid(t, "no time", controller.EnrolmentSpec{ServerName: "a"}.Validate(), "ttl_seconds", "0", "1 to 3600")
	checkInvalid(t, "negative", controller.EnrolmentSpec{ServerName: "a", TTL: -time.Minute}.Validate(), "ttl_seconds", "-60", "1 to 3600")
	checkInvalid(t, "too long", controller.EnrolmentSpec{ServerName: "a", TTL: time.Hour + time.Second}.Validate(), "ttl_seconds", "3601", "1 to 3600")
}

func TestTokenSpec_Validate(t *testing.T) {
	good := controller.TokenSpec{Name: "ci", Permissions: controller.Permissions, TTL: time.Hour}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	checkInvalid(t, "no name", controller.TokenSpec{Name: " ", Permissions: controller.Permissions}.Validate(), "name", `" "`)
	checkInvalid(t, "long name", controller.TokenSpec{Name: text(101), Permissions: controller.Permissions}.Validate(), "name", "100 bytes")
	checkInvalid(t, "no permission", controller.TokenSpec{Name: "ci"}.Validate(), "permissions", "is empty", controller.ViewBackups, controller.ViewAuditLogs)
	checkInvalid(t, "unknown permission", controller.TokenSpec{Name: "ci", Permissions: []string{controller.ViewBackups, "root"}}.Validate(),
		"permissions", `"root"`, controller.ViewBackups, controller.ViewAuditLogs)
	checkInvalid(t, "negative", controller.TokenSpec{Name: "ci", Permissions: controller.Permissions, TTL: -time.Second}.Validate(), "ttl_seconds", "-1", "0")
}

func TestStorageSpec_Validate(t *testing.T) {
	good := func() controller.StorageSpec {
		return controller.StorageSpec{
			Name: "main", Kind: controller.StorageS3, Endpoint: "https://s3.example.com", Bucket: "backups", Prefix: "a/b", AccessKey: "key", SecretKey: "canary-secret",
		}
	}
	for name, change := range map[string]func(*controller.StorageSpec){
		"as it is":       func(*controller.StorageSpec) {},
		"no endpoint":    func(s *controller.StorageSpec) { s.Endpoint = "" },
		"http and port":  func(s *controller.StorageSpec) { s.Endpoint = "http://127.0.0.1:7070/" },
		"no prefix":      func(s *controller.StorageSpec) { s.Prefix = "" },
		"longest prefix": func(s *controller.StorageSpec) { s.Prefix = text(200) },
		"name 1a":        func(s *controller.StorageSpec) { s.Name = "1a" },
	} {
		s := good()
		change(&s)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		change func(*controller.StorageSpec)
		field  string
		says   string
	}{
		"no name":       {func(s *controller.StorageSpec) { s.Name = "" }, "name", `""`},
		"name an id":    {func(s *controller.StorageSpec) { s.Name = "12" }, "name", `"12"`},
		"long name":     {func(s *controller.StorageSpec) { s.Name = text(101) }, "name", "100 bytes"},
		"local":         {func(s *controller.StorageSpec) { s.Kind = controller.StorageLocal }, "kind", `"local" is not supported; use s3`},
		"no kind":       {func(s *controller.StorageSpec) { s.Kind = "" }, "kind", `""`},
		"no scheme":     {func(s *controller.StorageSpec) { s.Endpoint = "s3.example.com" }, "endpoint", "https://s3.example.com"},
		"ftp":           {func(s *controller.StorageSpec) { s.Endpoint = "ftp://s3.example.com" }, "endpoint", "https://"},
		"path":          {func(s *controller.StorageSpec) { s.Endpoint = "https://s3.example.com/bucket" }, "endpoint", "without path"},
		"query":         {func(s *controller.StorageSpec) { s.Endpoint = "https://s3.example.com?a=b" }, "endpoint", "query"},
		"user":          {func(s *controller.StorageSpec) { s.Endpoint = "https://u:canary-secret@s3.example.com" }, "endpoint", "user"},
		"not a URL":     {func(s *controller.StorageSpec) { s.Endpoint = "http://[::1" }, "endpoint", "is not a URL"},
		"no bucket":     {func(s *controller.StorageSpec) { s.Bucket = "" }, "bucket", `""`},
		"bucket path":   {func(s *controller.StorageSpec) { s.Bucket = "a/b" }, "bucket", `"a/b"`},
		"rooted prefix": {func(s *controller.StorageSpec) { s.Prefix = "/a" }, "prefix", `"/a"`},
		"dots":          {func(s *controller.StorageSpec) { s.Prefix = "a/../b" }, "prefix", `"a/../b"`},
		"empty part":    {func(s *controller.StorageSpec) { s.Prefix = "a//b" }, "prefix", `"a//b"`},
		"long prefix":   {func(s *controller.StorageSpec) { s.Prefix = text(201) }, "prefix", "200 bytes"},
		"no access key": {func(s *controller.StorageSpec) { s.AccessKey = "" }, "access_key", "is empty"},
		"no secret key": {func(s *controller.StorageSpec) { s.SecretKey = "" }, "secret_key", "is empty"},
	} {
		s := good()
		c.change(&s)
		err := s.Validate()
		checkInvalid(t, name, err, c.field, c.says)
		if err != nil && strings.Contains(err.Error(), "canary-secret") {
			t.Errorf("%s: the secret is shown: %v", name, err)
		}
	}
}
