package stack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// Invariants are what must hold some time after the last fault, whatever it was. Parts that are nil are left out: without a
// bucket nothing on S3 is looked at, and without an agent that has a directory nothing on hosts.
type Invariants struct {
	Catalog   *Catalog       // after Record
	Client    *Client        // for the controllers' public keys
	S3        *S3            // the bucket of every S3 storage of the catalog, but those in Buckets
	Buckets   map[string]*S3 // by the storage's name
	Agents    []*Agent       // in whose directories backups on hosts lie
	Databases []Server
	// Within is how long jobs and the sweeper may take until all is quiet, 30 s if zero.
	Within time.Duration
	// Damaged are backups whose artifact the test itself has damaged or removed: their objects are not compared.
	Damaged []int64
	// Read remembers what a check has read, for the next one of the same stack: what the place lists as it did then is not read again.
	// Each check reads everything if it is nil.
	Read map[string]bool
}

// Check waits until every job has ended and nothing is left of what failed, and returns everything that does not hold:
//
//   - each job, attempt, backup and restore has ended once and did not change after that; no attempt is open;
//   - each occurrence of a schedule has one record, each database that it covers is told of once in it, and each backup of an
//     occurrence is in its record;
//   - a completed backup has each of its objects in its storage with the size and SHA-256 that catalog and manifest say, both
//     signatures of the manifest hold, and so do its MACs under aes-256-cbc;
//   - no bucket and no host's directory holds anything else, but for anchors of the audit log: no object of another attempt, no
//     unfinished upload, no partial file;
//   - what lies in a host's directory is its owner's alone to read;
//   - of what retention has removed something, a restorable backup is left; nothing that a backup needs was removed before its
//     deletion was committed, and no backup is closed while anything of it is there, in any version;
//   - the chain of the audit log holds, and each deletion, restore, verification and change of a policy is in it exactly once;
//   - each restore in place and each undo says what is at its target, and what it kept is there until the catalog says otherwise, and
//     nothing else of the kind;
//   - no dump or restore tool runs, no staging database is left, no file lies in an agent's state directory but its own.
func (in Invariants) Check(ctx context.Context) error {
	within := in.Within
	if within == 0 {
		within = 30 * time.Second
	}
	conn, err := in.Catalog.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := Within(ctx, within, "every job has ended", func(ctx context.Context) (bool, error) { return allEnded(ctx, conn) }); err != nil {
		return err
	}
	errs := []error{
		checkHistory(ctx, conn), checkAttempts(ctx, conn), checkSchedules(ctx, conn),
		in.checkRetention(ctx, conn), in.checkDeletions(ctx, conn), in.checkAudit(ctx, conn), checkSwaps(ctx, conn), in.checkKept(ctx, conn),
	}
	if len(in.places()) > 0 {
		objects, err := in.liveObjects(ctx, conn)
		errs = append(errs, err)
		for _, p := range in.places() {
			errs = append(errs, Within(ctx, within, p.String()+" holds completed backups and nothing else", func(ctx context.Context) (bool, error) {
				anchors, err := anchorKeys(ctx, conn)
				if err != nil {
					return false, err
				}
				return in.placeIs(ctx, p, objects, anchors)
			}))
		}
		errs = append(errs, in.checkArtifacts(ctx, conn, objects))
	}
	errs = append(errs, Within(ctx, within, "the hosts are clean", func(ctx context.Context) (bool, error) {
		err := in.hostsClean(ctx)
		return err == nil, err
	}))
	return errors.Join(errs...)
}

func allEnded(ctx context.Context, conn *pgx.Conn) (bool, error) {
	rows, _ := conn.Query(ctx, `SELECT format('job %s (%s) is %s, attempt %s is %s: %s', j.id, j.kind, j.status, a.no, a.status, j.waiting)
		FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no WHERE j.ended_at IS NULL ORDER BY j.id`)
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(open) > 0 {
		err = errors.New(strings.Join(open, "; "))
	}
	return err == nil, err
}

// checkAttempts finds jobs with an open attempt, and jobs whose attempts contradict them.
func checkAttempts(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `SELECT format('job %s is %s with attempts %s', j.id, j.status, string_agg(a.status, ', ' ORDER BY a.no))
		FROM jobs j JOIN attempts a ON a.job_id = j.id GROUP BY j.id
		HAVING count(*) FILTER (WHERE a.status IN ('offered', 'running', 'uploaded')) > 0
			OR count(*) FILTER (WHERE a.status = 'completed') <> CASE j.status WHEN 'completed' THEN 1 ELSE 0 END
			OR count(*) <> j.attempt_no
		UNION ALL SELECT format('job %s is %s, its backup %s is %s', j.id, j.status, b.id, b.status) FROM jobs j JOIN database_backups b ON b.id = j.backup_id
			WHERE j.kind = 'backup' AND (j.status = 'completed') <> (b.status = 'completed')
		UNION ALL SELECT format('job %s is %s, its restore %s is %s', j.id, j.status, r.id, r.status) FROM jobs j JOIN restores r ON r.id = j.restore_id
			WHERE j.kind IN ('restore', 'undo') AND (j.status = 'completed') <> (r.status = 'completed')`)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return err
}

// liveObject is one object that the catalog says is in a place.
type liveObject struct {
	Backup  int64
	Object  string
	Key     string
	Size    int64
	SHA256  string
	MAC     string // hexadecimal; empty but for aes-256-cbc
	Kind    string // of the storage: s3 or kindLocal
	Storage string // its name
	Server  string // name of the backup's server
}

// kindLocal is the kind of storages that are the directories of agents.
const kindLocal = "local"

// place is what holds objects: a bucket, or an agent's directory.
type place struct {
	s3      *S3
	storage string // the one whose bucket this is; empty for every other S3 storage
	agent   *Agent
}

func (p place) String() string {
	if p.agent != nil {
		return "the backup directory of " + p.agent.Name
	}
	return "bucket " + p.s3.Bucket
}

// listed is an object as its place lists it. Another time or tag may mean other bytes.
type listed struct {
	size  int64
	stamp string
}

// list returns what is there by key.
func (p place) list(ctx context.Context) (map[string]listed, error) {
	found := map[string]listed{}
	if p.agent == nil {
		objects, err := p.s3.Objects(ctx)
		for _, o := range objects {
			found[o.Key] = listed{o.Size, o.ETag + " " + o.Modified}
		}
		return found, err
	}
	err := filepath.WalkDir(p.agent.LocalDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil // no backup was made yet
			}
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode() != 0o600 {
			return Hopeless(fmt.Errorf("%s has mode %s", path, info.Mode()))
		}
		key, err := filepath.Rel(p.agent.LocalDir, path)
		found[key] = listed{info.Size(), info.ModTime().Format(time.RFC3339Nano)}
		return err
	})
	return found, err
}

// read returns the bytes of an object.
func (p place) read(ctx context.Context, key string) (io.ReadCloser, error) {
	if p.agent != nil {
		return os.Open(filepath.Join(p.agent.LocalDir, key))
	}
	resp, err := p.s3.open(ctx, key)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (p place) sum(ctx context.Context, key string) (string, int64, error) {
	r, err := p.read(ctx, key)
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

func (in Invariants) places() []place {
	var out []place
	if in.S3 != nil {
		out = append(out, place{s3: in.S3})
	}
	for name, s3 := range in.Buckets {
		out = append(out, place{s3: s3, storage: name})
	}
	for _, a := range in.Agents {
		if a.LocalDir != "" {
			out = append(out, place{agent: a})
		}
	}
	return out
}

// leftOut tells whether objects in storages of a kind are not looked at.
func (in Invariants) leftOut(kind string) bool {
	return !slices.ContainsFunc(in.places(), func(p place) bool { return (p.agent != nil) == (kind == kindLocal) })
}

// placeOf finds where an object must lie.
func (in Invariants) placeOf(o liveObject) (place, error) {
	for _, p := range in.places() {
		switch {
		case o.Kind == kindLocal && p.agent != nil && p.agent.Name == o.Server,
			o.Kind == "s3" && p.s3 != nil && p.storage == o.Storage,
			o.Kind == "s3" && p.s3 != nil && p.storage == "" && in.Buckets[o.Storage] == nil:
			return p, nil
		}
	}
	return place{}, fmt.Errorf("no place is known for %s of backup %d: %s storage %s of server %s", o.Object, o.Backup, o.Kind, o.Storage, o.Server)
}

// liveObjects are the objects of backups that are completed and not deleted, by key.
func (in Invariants) liveObjects(ctx context.Context, conn *pgx.Conn) (map[string]liveObject, error) {
	rows, _ := conn.Query(ctx, `SELECT o.backup_id AS backup, o.object, o.key, o.stored_size AS size, o.stored_sha256 AS sha256, o.mac, st.kind, st.name AS storage, s.name AS server
		FROM backup_objects o JOIN database_backups b ON b.id = o.backup_id JOIN storages st ON st.id = b.storage_id JOIN servers s ON s.id = b.server_id
		WHERE b.status = 'completed' AND b.purged_at IS NULL`)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[liveObject])
	if err != nil {
		return nil, fmt.Errorf("list objects in the catalog: %w", err)
	}
	byKey := map[string]liveObject{}
	for _, o := range all {
		if !in.leftOut(o.Kind) {
			byKey[o.Key] = o
		}
	}
	return byKey, nil
}

// anchorKeys are the objects that anchor the audit log, at whichever storage.
func anchorKeys(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, _ := conn.Query(ctx, "SELECT key FROM audit_anchors")
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list anchors of the audit log: %w", err)
	}
	return keys, nil
}

func (in Invariants) placeIs(ctx context.Context, p place, live map[string]liveObject, anchors []string) (bool, error) {
	var wrong []string
	if p.s3 != nil {
		uploads, err := p.s3.Uploads(ctx)
		if err != nil {
			return false, err
		}
		for _, u := range uploads {
			wrong = append(wrong, "unfinished upload "+u.Key)
		}
	}
	missing := map[string]liveObject{}
	for key, o := range live {
		where, err := in.placeOf(o)
		if err != nil {
			return false, Hopeless(err)
		}
		if where == p {
			missing[key] = o
		}
	}
	want := maps.Clone(missing)
	found, err := p.list(ctx)
	if err != nil {
		return false, err
	}
	for key, o := range found {
		w, ok := want[key]
		delete(missing, key)
		switch {
		case !ok && slices.Contains(anchors, key):
		case !ok:
			wrong = append(wrong, "object of no completed backup "+key)
		case o.size != w.Size && !slices.Contains(in.Damaged, w.Backup):
			wrong = append(wrong, fmt.Sprintf("%s of backup %d has %d bytes, the catalog says %d", w.Object, w.Backup, o.size, w.Size))
		}
	}
	for _, m := range missing {
		if !slices.Contains(in.Damaged, m.Backup) {
			wrong = append(wrong, fmt.Sprintf("%s of backup %d is not there", m.Object, m.Backup))
		}
	}
	if len(wrong) > 0 {
		return false, errors.New(strings.Join(wrong, "; "))
	}
	return true, nil
}

// checkArtifacts reads every object but those that were Read, and compares bytes, catalog and manifest.
func (in Invariants) checkArtifacts(ctx context.Context, conn *pgx.Conn, objects map[string]liveObject) error {
	key, err := in.controllerKeys(ctx)
	if err != nil {
		return err
	}
	rows, _ := conn.Query(ctx, `SELECT b.id, b.file_path, b.file_size, b.checksum, b.raw_size, b.raw_checksum, b.database_name, b.manifest, s.agent_id,
			ARRAY(SELECT s.signing_key UNION ALL SELECT k.signing_key FROM server_keys k WHERE k.server_id = s.id), st.kind
		FROM database_backups b JOIN servers s ON s.id = b.server_id JOIN storages st ON st.id = b.storage_id WHERE b.status = 'completed' AND b.purged_at IS NULL ORDER BY b.id`)
	backups, err := pgx.CollectRows(rows, pgx.RowToStructByPos[completedBackup])
	if err != nil {
		return fmt.Errorf("list completed backups: %w", err)
	}
	there := map[place]map[string]listed{}
	for _, p := range in.places() {
		if there[p], err = p.list(ctx); err != nil {
			return err
		}
	}
	macs := macCheck{client: in.Client, keys: map[string][]byte{}}
	var errs []error
	for _, b := range backups {
		if slices.Contains(in.Damaged, b.ID) || in.leftOut(b.Kind) {
			continue
		}
		if err := in.checkArtifact(ctx, b, objects, there, key, macs); err != nil {
			errs = append(errs, fmt.Errorf("backup %d: %w", b.ID, err))
		}
	}
	return errors.Join(errs...)
}

type completedBackup struct {
	ID          int64
	Key         string
	Size        int64
	Checksum    string
	RawSize     int64
	RawChecksum string
	Database    string
	Manifest    []byte
	AgentID     string
	SigningKeys [][]byte // of its server, the one that it has now first
	Kind        string   // of the storage
}

func (in Invariants) checkArtifact(ctx context.Context, b completedBackup, objects map[string]liveObject, there map[place]map[string]listed, key artifact.ControllerKey, macs macCheck) error {
	own := map[string]liveObject{}
	for _, o := range objects {
		if o.Backup != b.ID {
			continue
		}
		own[o.Object] = o
		where, err := in.placeOf(o)
		if err != nil {
			return err
		}
		read := fmt.Sprint(where, o, there[where][o.Key])
		if in.Read[read] {
			continue
		}
		sum, size, err := where.sum(ctx, o.Key)
		if err != nil {
			return err
		}
		if sum != o.SHA256 || size != o.Size {
			return fmt.Errorf("%s has %d bytes with SHA-256 %s, the catalog says %d with %s", o.Object, size, sum, o.Size, o.SHA256)
		}
		if in.Read != nil {
			in.Read[read] = true
		}
	}
	if a, ok := objects[b.Key]; !ok || a.Object != wire.ObjectArtifact || a.Size != b.Size || a.SHA256 != b.Checksum {
		return fmt.Errorf("its row and its artifact's row differ: %d objects, %+v", len(own), a)
	}
	where, err := in.placeOf(objects[b.Key])
	if err != nil {
		return err
	}
	r, err := where.read(ctx, artifact.ManifestKey(b.Key))
	if err != nil {
		return err
	}
	defer r.Close()
	stored, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, b.Manifest) {
		return errors.New("the manifest in the storage is not the one in the catalog")
	}
	m, err := artifact.ParseManifest(stored)
	if err != nil {
		return err
	}
	var st artifact.Statement
	var facts artifact.Facts
	for _, signing := range b.SigningKeys {
		if st, facts, err = m.Verify(b.Key, func(artifact.Facts, string) (ed25519.PublicKey, error) { return signing, nil }, key); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if st.StoredSize != b.Size || st.StoredSHA256.String() != b.Checksum || st.RawSize != b.RawSize || st.RawSHA256.String() != b.RawChecksum ||
		st.Database != b.Database || facts.BackupID != b.ID || facts.Server.ID != b.AgentID {
		return fmt.Errorf("manifest and catalog differ: %+v, %+v", st, b)
	}
	return macs.check(ctx, st, facts.Project.Slug, own)
}

// macCheck computes the MACs of aes-256-cbc anew from the projects' app keys.
type macCheck struct {
	client *Client
	keys   map[string][]byte // of the projects seen so far
}

func (m macCheck) check(ctx context.Context, st artifact.Statement, project string, own map[string]liveObject) error {
	stated := map[string]*artifact.Sums{wire.ObjectArtifact: &st.Sums, wire.ObjectFingerprint: st.Fingerprint, wire.ObjectGlobals: st.Globals}
	for object, sums := range stated {
		if sums == nil {
			continue
		}
		var want string
		if st.Codec.Encryption == artifact.AES256CBC {
			if m.keys[project] == nil {
				text, err := m.client.AppKey(ctx, project)
				if err != nil {
					return err
				}
				if m.keys[project], err = artifact.AppKeyBytes(text); err != nil {
					return err
				}
			}
			keys, err := artifact.DeriveAESKeys(m.keys[project], st.AttemptID, object)
			if err != nil {
				return err
			}
			tag := keys.Tag(sums.StoredSHA256)
			if tag != sums.MAC {
				return fmt.Errorf("the manifest's MAC of the %s is not that of the app key of project %s", object, project)
			}
			want = tag.String()
		}
		if own[object].MAC != want {
			return fmt.Errorf("the catalog's MAC of the %s is %q, not %q", object, own[object].MAC, want)
		}
	}
	return nil
}

func (in Invariants) controllerKeys(ctx context.Context) (artifact.ControllerKey, error) {
	var v struct {
		SigningKeys []wire.Key `json:"signing_keys"`
	}
	if err := in.Client.API(ctx, http.MethodGet, "/version", nil, &v); err != nil {
		return nil, err
	}
	return func(id string) (ed25519.PublicKey, error) {
		for _, k := range v.SigningKeys {
			if k.ID == id {
				return k.Public, nil
			}
		}
		return nil, fmt.Errorf("no controller signs with key %s", id)
	}, nil
}

// stateFiles are what an agent keeps. The directory for snapshots stays, empty.
var stateFiles = []string{"identity.json", "journal", "lock"}

// tools are the programs that an agent runs.
var tools = []string{"pg_dump", "pg_dumpall", "pg_restore", "psql", "mariadb-dump", "mysqldump", "mariadb", "mysql"}

func (in Invariants) hostsClean(ctx context.Context) error {
	var errs []error
	for _, a := range in.Agents {
		for _, p := range a.stack.Processes() {
			if name := filepath.Base(strings.Fields(p.Command)[0]); slices.Contains(tools, name) {
				errs = append(errs, fmt.Errorf("a tool still runs: %s", p))
			}
		}
		entries, err := os.ReadDir(a.Dir)
		if err != nil {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if e.Name() == "snapshots" {
				left, err := os.ReadDir(filepath.Join(a.Dir, e.Name()))
				errs = append(errs, err)
				if len(left) > 0 {
					errs = append(errs, fmt.Errorf("snapshots are left in %s: %v", a.Dir, left))
				}
				continue
			}
			if !slices.Contains(stateFiles, e.Name()) {
				errs = append(errs, fmt.Errorf("%s has a file %s", a.Dir, e.Name()))
			}
		}
	}
	for _, d := range in.Databases {
		names, err := d.Databases(ctx)
		errs = append(errs, err)
		for _, n := range names {
			if strings.HasPrefix(filepath.Base(n), "devflow_staging_") {
				errs = append(errs, fmt.Errorf("staging database %s is left", n))
			}
		}
	}
	return errors.Join(errs...)
}

// Get reads a small object, past any proxy.
func (s *S3) Get(ctx context.Context, key string) ([]byte, error) {
	resp, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return b, nil
}

// Sum reads an object, past any proxy, and returns its SHA-256 in hexadecimal and its size.
func (s *S3) Sum(ctx context.Context, key string) (string, int64, error) {
	resp, err := s.open(ctx, key)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, resp.Body)
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", key, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), n, nil
}

func (s *S3) open(ctx context.Context, key string) (*http.Response, error) {
	resp, err := s.Do(ctx, http.MethodGet, "/"+s.Bucket+"/"+key, nil, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("read %s: %s", key, resp.Status)
	}
	return resp, nil
}
