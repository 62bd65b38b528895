package controller_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
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
		"gzip":        {Compression: "gzip", Level: 9, Encryption: "aes-256-cbc", StorageDisk: "local"},
		"no level":    {Compression: "gzip", StorageDisk: "s3", Storage: "main"},
		"the switch":  {Encrypt: new(bool)},
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
		"encryption":  {controller.BackupRequest{Encryption: "rot13"}, "encryption", []string{`"rot13"`, "age, aes-256-cbc or none"}},
		"both":        {controller.BackupRequest{Encryption: "age", Encrypt: new(bool)}, "encrypt", []string{`"age"`, "leave one of them out"}},
		"disk":        {controller.BackupRequest{StorageDisk: "ftp"}, "storage_disk", []string{`"ftp"`, "s3 or local"}},
		"compression": {controller.BackupRequest{Compression: "bzip2"}, "compression", []string{`"bzip2"`, "zstd, gzip or none"}},
		"level":       {controller.BackupRequest{Level: 20}, "level", []string{"20", "zstd", "1 to 19"}},
		"gzip level":  {controller.BackupRequest{Compression: "gzip", Level: 10}, "level", []string{"10", "gzip", "1 to 9"}},
		"level below": {controller.BackupRequest{Level: -1}, "level", []string{"-1", "1 to 19"}},
		"level alone": {controller.BackupRequest{Compression: "none", Level: 3}, "level", []string{"3", "none", "leave it out"}},
		"too short":   {controller.BackupRequest{MaxDuration: time.Millisecond}, "max_duration_seconds", []string{"0 is", "1 to 604800"}},
		"negative":    {controller.BackupRequest{MaxDuration: -time.Minute}, "max_duration_seconds", []string{"-60", "1 to 604800"}},
		"too long":    {controller.BackupRequest{MaxDuration: 7*24*time.Hour + time.Second}, "max_duration_seconds", []string{"604801", "1 to 604800"}},
	} {
		checkInvalid(t, name, c.request.Validate(), c.field, c.says...)
	}
}

func TestBackupRequest_EncryptionFor(t *testing.T) {
	on, off := true, false
	for _, c := range []struct {
		project, asked string
		encrypt        *bool
		want           string
	}{
		{"age", "", nil, "age"},
		{"none", "", nil, "none"},
		{"aes-256-cbc", "", nil, "aes-256-cbc"},
		{"age", "none", nil, "none"},
		{"none", "aes-256-cbc", nil, "aes-256-cbc"},
		{"age", "", &on, "age"},
		{"aes-256-cbc", "", &on, "aes-256-cbc"},
		{"none", "", &on, "aes-256-cbc"},
		{"age", "", &off, "none"},
		{"none", "", &off, "none"},
	} {
		if got := (controller.BackupRequest{Encryption: c.asked, Encrypt: c.encrypt}).EncryptionFor(controller.Project{DefaultEncryption: c.project}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestLevels holds what a request may ask for against what the codecs take.
func TestLevels(t *testing.T) {
	for _, compression := range append(controller.Compressions, "bzip2") {
		for level := -1; level <= 21; level++ {
			r := controller.BackupRequest{Compression: compression, Level: level}
			codec := artifact.Codec{Compression: compression, Level: level, Encryption: controller.EncryptionNone}
			if asked, taken := r.Validate(), codec.Validate(); (asked == nil) != (taken == nil) {
				t.Errorf("%s %d: the request says %v, the codec %v", compression, level, asked, taken)
			}
		}
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
	for _, name := range []string{"", "shop", "ünïcode 🦀", "-rf", "devflow_staging", "/var/lib/app.db", text(4096)} {
		if err := (&controller.RestoreRequest{Backup: 1, Database: name}).Validate(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	checkInvalid(t, "no backup", (&controller.RestoreRequest{}).Validate(), "backup_id", "0")
	checkInvalid(t, "negative", (&controller.RestoreRequest{Backup: -3}).Validate(), "backup_id", "-3")
	checkInvalid(t, "long", (&controller.RestoreRequest{Backup: 1, Database: text(4097)}).Validate(), "to_database", "4096 bytes")
	checkInvalid(t, "NUL", (&controller.RestoreRequest{Backup: 1, Database: "a\x00b"}).Validate(), "to_database", `a\x00b`, "NUL")
	checkInvalid(t, "staging", (&controller.RestoreRequest{Backup: 1, Database: "devflow_staging_1"}).Validate(), "to_database", "devflow_staging_1", "are of restores")
	checkInvalid(t, "staging file", (&controller.RestoreRequest{Backup: 1, Database: "/data/devflow_staging_1"}).Validate(), "to_database", "are of restores")
}

func TestValidDatabaseName(t *testing.T) {
	const field = "to_database"
	for engine, names := range map[string][]string{
		wire.EnginePostgreSQL: {"shop", "a b", `"; drop`, text(63), "postgres://x", "-rf"},
		wire.EngineMySQL:      {"shop", text(64), strings.Repeat("ü", 64), "a/b"},
		wire.EngineSQLite:     {"/app.db", "/var/lib/ünïcode app/db.sqlite", "/" + text(4095)},
	} {
		for _, name := range names {
			if err := controller.ValidDatabaseName(field, engine, name); err != nil {
				t.Errorf("%s %q: %v", engine, name, err)
			}
		}
		for _, name := range []string{"", "a\x00b", "/a\x00b", "\xff"} {
			checkInvalid(t, engine, controller.ValidDatabaseName(field, engine, name), field, "without a NUL")
		}
	}
	checkInvalid(t, "PostgreSQL", controller.ValidDatabaseName(field, wire.EnginePostgreSQL, text(64)), field, "63 bytes", "64")
	checkInvalid(t, "PostgreSQL bytes", controller.ValidDatabaseName(field, wire.EnginePostgreSQL, strings.Repeat("ü", 32)), field, "63 bytes")
	checkInvalid(t, "MySQL", controller.ValidDatabaseName(field, wire.EngineMySQL, strings.Repeat("ü", 65)), field, "64 characters", "65")
	for _, name := range []string{"app.db", "./app.db", "../app.db", "/a/../app.db", "/a//b", "/a/", "/"} {
		checkInvalid(t, name, controller.ValidDatabaseName(field, wire.EngineSQLite, name), field, "absolute path")
	}
	checkInvalid(t, "long path", controller.ValidDatabaseName(field, wire.EngineSQLite, "/"+text(4096)), field, "4096")
}

func TestProjectSpec_Validate(t *testing.T) {
	str := func(s string) *string { return &s }
	var recipients []string
	var identity string
	for range controller.MaxEscrowRecipients + 1 {
		id, recipient, err := artifact.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		recipients, identity = append(recipients, recipient), id
	}
	for _, good := range []controller.ProjectSpec{
		{Slug: "shop"},
		{Slug: "1a"},
		{Slug: "a-"},
		{Slug: text(63)},
		{Slug: "a", Name: text(200), ExternalID: str(text(200)), DefaultEncryption: "none"},
		{Slug: "a", ExternalID: str("42"), DefaultEncryption: "age"},
		{Slug: "a", DefaultEncryption: "aes-256-cbc", AppKey: secret.String(artifact.NewAppKey())},
		{Slug: "a", AppKey: "sixteen bytes !!"},
		{Slug: "a", EscrowRecipients: recipients[:controller.MaxEscrowRecipients]},
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
	checkInvalid(t, "encryption", controller.ProjectSpec{Slug: "a", DefaultEncryption: "AGE"}.Validate(), "default_encryption", `"AGE"`, "age, aes-256-cbc or none")
	escrow := func(r ...string) error { return controller.ProjectSpec{Slug: "a", EscrowRecipients: r}.Validate() }
	checkInvalid(t, "too many", escrow(recipients...), "escrow_recipients", "17", "16")
	checkInvalid(t, "twice", escrow(recipients[0], recipients[1], recipients[0]), "escrow_recipients", recipients[0], "twice")
	checkInvalid(t, "no recipient", escrow("age1nonsense"), "escrow_recipients", `"age1nonsense"`)
	for _, wrong := range []string{identity, strings.ToLower(identity), " " + identity} {
		err := escrow(recipients[0], wrong)
		checkInvalid(t, "secret key", err, "escrow_recipients", "number 2 is a secret key")
		if strings.Contains(strings.ToUpper(err.Error()), identity[len("AGE-SECRET-KEY-"):]) {
			t.Errorf("the secret key is shown: %v", err)
		}
	}
	for _, key := range []secret.String{"too short", "base64:canary!!", "base64:c2hvcnQ="} {
		err := controller.ProjectSpec{Slug: "a", AppKey: key}.Validate()
		checkInvalid(t, "app key", err, "app_key", "base64:")
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("the app key is shown: %v", err)
		}
	}
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
		"no name":    {func(s *controller.StorageSpec) { s.Name = "" }, "name", `""`},
		"name an id": {func(s *controller.StorageSpec) { s.Name = "12" }, "name", `"12"`},
		"long name":  {func(s *controller.StorageSpec) { s.Name = text(101) }, "name", "100 bytes"},
		"ftp kind":   {func(s *controller.StorageSpec) { s.Kind = "ftp" }, "kind", `"ftp" is not supported; use s3 or local`},
		"local":      {func(s *controller.StorageSpec) { s.Kind = controller.StorageLocal }, "endpoint", "kind local"},
		"local prefix": {func(s *controller.StorageSpec) {
			*s = controller.StorageSpec{Name: "disk", Kind: controller.StorageLocal, Prefix: "a b/c"}
		}, "prefix", `"a b/c"`},
		"hidden prefix": {func(s *controller.StorageSpec) {
			*s = controller.StorageSpec{Name: "disk", Kind: controller.StorageLocal, Prefix: "a/.b"}
		}, "prefix", `"a/.b"`},
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
		"dot":           {func(s *controller.StorageSpec) { s.Prefix = "a/./b" }, "prefix", `"a/./b"`},
		"control":       {func(s *controller.StorageSpec) { s.Prefix = "a\nb" }, "prefix", `"a\nb"`},
		"backslash":     {func(s *controller.StorageSpec) { s.Prefix = `a\b` }, "prefix", `a\\b`},
		"not UTF-8":     {func(s *controller.StorageSpec) { s.Prefix = "a\xff" }, "prefix", `a\xff`},
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

func TestStorageSpec_Local(t *testing.T) {
	for _, good := range []controller.StorageSpec{
		{Name: "host", Kind: controller.StorageLocal},
		{Name: "host", Kind: controller.StorageLocal, Project: "shop", Prefix: "a/b/", Default: true},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for field, bad := range map[string]controller.StorageSpec{
		"endpoint":   {Endpoint: "https://s3.example.com"},
		"region":     {Region: "us-east-1"},
		"bucket":     {Bucket: "b"},
		"access_key": {AccessKey: "a"},
		"secret_key": {SecretKey: "s"},
		"prefix":     {Prefix: "/etc"},
	} {
		bad.Name, bad.Kind = "host", controller.StorageLocal
		checkInvalid(t, field, bad.Validate(), field)
	}
}

func TestStorage_Overlaps(t *testing.T) {
	at := func(endpoint, bucket, prefix string) controller.Storage {
		return controller.Storage{Kind: controller.StorageS3, Endpoint: endpoint, Bucket: bucket, Prefix: prefix}
	}
	local := func(prefix string) controller.Storage {
		return controller.Storage{Kind: controller.StorageLocal, Prefix: prefix}
	}
	for _, c := range []struct {
		a, b controller.Storage
		want bool
	}{
		{at("https://s", "b", "p"), at("https://s", "b", "p"), true},
		{at("https://s", "b", "p"), at("https://S/", "b", "p/"), true},
		{at("https://s", "b", ""), at("https://s", "b", ""), true},
		{at("https://s", "b", ""), at("https://s", "b", "backups"), true},
		{at("https://s", "b", ""), at("https://s", "b", "backups/2026"), true},
		{at("https://s", "b", ""), at("https://s", "b", "p"), false},
		{at("https://s", "b", "p"), at("https://s", "b", "p/q"), false},
		{at("https://s", "b", "p"), at("https://s", "b", "p2"), false},
		{at("https://s", "b", "p"), at("https://s", "c", "p"), false},
		{at("https://s", "b", "p"), at("https://t", "b", "p"), false},
		{local(""), local(""), true},
		{local(""), local("p"), false},
		{local(""), at("", "", ""), false},
	} {
		if c.a.Overlaps(c.b) != c.want || c.b.Overlaps(c.a) != c.want {
			t.Errorf("%+v and %+v: want %v", c.a, c.b, c.want)
		}
	}
}

func TestStorageChange(t *testing.T) {
	str := func(s string) *string { return &s }
	yes := true
	before := controller.StorageAccess{
		Storage:     controller.Storage{Name: "main", Kind: controller.StorageS3, Endpoint: "https://s", Region: "eu", Bucket: "b", Prefix: "p"},
		Credentials: controller.Credentials{AccessKey: "ak", SecretKey: "sk"},
	}
	for name, c := range map[string]struct {
		change  controller.StorageChange
		reaches bool
		want    func(*controller.StorageAccess)
	}{
		"nothing": {controller.StorageChange{}, false, func(*controller.StorageAccess) {}},
		"name":    {controller.StorageChange{Name: str("other")}, false, func(s *controller.StorageAccess) { s.Name = "other" }},
		"place": {controller.StorageChange{Endpoint: str(""), Region: str("us"), PathStyle: &yes}, true, func(s *controller.StorageAccess) {
			s.Endpoint, s.Region, s.PathStyle = "", "us", true
		}},
		"keys": {controller.StorageChange{AccessKey: "ak2", SecretKey: "sk2"}, true, func(s *controller.StorageAccess) {
			s.Credentials = controller.Credentials{AccessKey: "ak2", SecretKey: "sk2"}
		}},
		"secret key": {controller.StorageChange{SecretKey: "sk2"}, true, func(s *controller.StorageAccess) { s.Credentials.SecretKey = "sk2" }},
	} {
		want := before
		c.want(&want)
		if err := c.change.Validate(controller.StorageS3); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := c.change.Apply(before); !reflect.DeepEqual(got, want) || c.change.Reaches() != c.reaches {
			t.Errorf("%s: %+v, reaches %v", name, got, c.change.Reaches())
		}
	}
	checkInvalid(t, "name", controller.StorageChange{Name: str("7")}.Validate(controller.StorageS3), "name", `"7"`)
	checkInvalid(t, "endpoint", controller.StorageChange{Endpoint: str("s3")}.Validate(controller.StorageS3), "endpoint", "https://")
	checkInvalid(t, "half a pair", controller.StorageChange{AccessKey: "ak2"}.Validate(controller.StorageS3), "secret_key", "together")
	checkInvalid(t, "local", controller.StorageChange{Region: str("eu")}.Validate(controller.StorageLocal), "storage", "only its name")
	if err := (controller.StorageChange{Name: str("host")}).Validate(controller.StorageLocal); err != nil {
		t.Error(err)
	}
}

func TestDownloadRequest_Validate(t *testing.T) {
	r := controller.DownloadRequest{Backup: 1}
	if err := r.Validate(); err != nil || r.Object != wire.ObjectArtifact || r.Format != controller.FormatStored {
		t.Errorf("%+v, %v", r, err)
	}
	for _, good := range []controller.DownloadRequest{{Backup: 1, Object: "manifest"}, {Backup: 1, Object: "globals", Format: "dump"}, {Backup: 1, Object: "fingerprint", Format: "dump"}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	checkInvalid(t, "no backup", (&controller.DownloadRequest{}).Validate(), "backup_id", "0")
	checkInvalid(t, "object", (&controller.DownloadRequest{Backup: 1, Object: "../etc"}).Validate(), "object", `"../etc"`, "artifact, fingerprint, globals or manifest")
	checkInvalid(t, "format", (&controller.DownloadRequest{Backup: 1, Format: "raw"}).Validate(), "format", `"raw"`, "stored or dump")
	checkInvalid(t, "manifest", (&controller.DownloadRequest{Backup: 1, Object: "manifest", Format: "dump"}).Validate(), "format", "manifest")
}
