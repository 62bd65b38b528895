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

// Invariants are what must hold some time after the last fault, whatever it was. Parts that are nil are left out.
type Invariants struct {
	Catalog   *Catalog // after Record
	Client    *Client  // for the controllers' public keys
	S3        *S3      // every storage of the catalog is its bucket
	Agents    []*Agent
	Databases []*Postgres
	// Within is how long jobs and the sweeper may take until all is quiet, 30 s if zero.
	Within time.Duration
	// Damaged are backups whose artifact the test itself has damaged or removed: their objects are not compared.
	Damaged []int64
}

// Check waits until every job has ended and nothing is left of what failed, and returns everything that does not hold:
//
//   - each job, attempt, backup and restore has ended once and did not change after that; no attempt is open;
//   - a completed backup has each of its objects in the bucket with the size and SHA-256 that catalog and manifest say, and
//     both signatures of the manifest hold;
//   - the bucket holds nothing else: no object of another attempt, no unfinished upload;
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
	errs := []error{checkHistory(ctx, conn), checkAttempts(ctx, conn)}
	if in.S3 != nil {
		objects, err := in.liveObjects(ctx, conn)
		errs = append(errs, err, Within(ctx, within, "the bucket holds completed backups and nothing else", func(ctx context.Context) (bool, error) {
			return in.bucketIs(ctx, objects)
		}))
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
			WHERE (j.status = 'completed') <> (r.status = 'completed')`)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return err
}

// liveObject is one object that the catalog says is in the bucket.
type liveObject struct {
	Backup int64
	Object string
	Key    string
	Size   int64
	SHA256 string
}

// liveObjects are the objects of backups that are completed and not deleted, by key.
func (in Invariants) liveObjects(ctx context.Context, conn *pgx.Conn) (map[string]liveObject, error) {
	rows, _ := conn.Query(ctx, `SELECT o.backup_id AS backup, o.object, o.key, o.stored_size AS size, o.stored_sha256 AS sha256 FROM backup_objects o JOIN database_backups b ON b.id = o.backup_id
		WHERE b.status = 'completed' AND b.purged_at IS NULL`)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[liveObject])
	if err != nil {
		return nil, fmt.Errorf("list objects in the catalog: %w", err)
	}
	byKey := map[string]liveObject{}
	for _, o := range all {
		byKey[o.Key] = o
	}
	return byKey, nil
}

func (in Invariants) bucketIs(ctx context.Context, want map[string]liveObject) (bool, error) {
	uploads, err := in.S3.Uploads(ctx)
	if err != nil {
		return false, err
	}
	objects, err := in.S3.Objects(ctx)
	if err != nil {
		return false, err
	}
	var wrong []string
	for _, u := range uploads {
		wrong = append(wrong, "unfinished upload "+u.Key)
	}
	missing := maps.Clone(want)
	for _, o := range objects {
		w, ok := want[o.Key]
		delete(missing, o.Key)
		switch {
		case !ok:
			wrong = append(wrong, "object of no completed backup "+o.Key)
		case o.Size != w.Size && !slices.Contains(in.Damaged, w.Backup):
			wrong = append(wrong, fmt.Sprintf("%s of backup %d has %d bytes, the catalog says %d", w.Object, w.Backup, o.Size, w.Size))
		}
	}
	for _, m := range missing {
		if !slices.Contains(in.Damaged, m.Backup) {
			wrong = append(wrong, fmt.Sprintf("%s of backup %d is not in the bucket", m.Object, m.Backup))
		}
	}
	if len(wrong) > 0 {
		return false, errors.New(strings.Join(wrong, "; "))
	}
	return true, nil
}

// checkArtifacts reads every object and compares bytes, catalog and manifest.
func (in Invariants) checkArtifacts(ctx context.Context, conn *pgx.Conn, objects map[string]liveObject) error {
	key, err := in.controllerKeys(ctx)
	if err != nil {
		return err
	}
	rows, _ := conn.Query(ctx, `SELECT b.id, b.file_path, b.file_size, b.checksum, b.raw_size, b.raw_checksum, b.database_name, b.manifest, s.agent_id, s.signing_key
		FROM database_backups b JOIN servers s ON s.id = b.server_id WHERE b.status = 'completed' AND b.purged_at IS NULL ORDER BY b.id`)
	backups, err := pgx.CollectRows(rows, pgx.RowToStructByPos[completedBackup])
	if err != nil {
		return fmt.Errorf("list completed backups: %w", err)
	}
	var errs []error
	for _, b := range backups {
		if slices.Contains(in.Damaged, b.ID) {
			continue
		}
		if err := in.checkArtifact(ctx, b, objects, key); err != nil {
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
	SigningKey  []byte
}

func (in Invariants) checkArtifact(ctx context.Context, b completedBackup, objects map[string]liveObject, key artifact.ControllerKey) error {
	own := 0
	for _, o := range objects {
		if o.Backup != b.ID {
			continue
		}
		own++
		sum, size, err := in.S3.Sum(ctx, o.Key)
		if err != nil {
			return err
		}
		if sum != o.SHA256 || size != o.Size {
			return fmt.Errorf("%s has %d bytes with SHA-256 %s, the catalog says %d with %s", o.Object, size, sum, o.Size, o.SHA256)
		}
	}
	if a, ok := objects[b.Key]; !ok || a.Object != wire.ObjectArtifact || a.Size != b.Size || a.SHA256 != b.Checksum {
		return fmt.Errorf("its row and its artifact's row differ: %d objects, %+v", own, a)
	}
	stored, err := in.S3.Get(ctx, artifact.ManifestKey(b.Key))
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, b.Manifest) {
		return errors.New("the manifest in the bucket is not the one in the catalog")
	}
	m, err := artifact.ParseManifest(stored)
	if err != nil {
		return err
	}
	st, facts, err := m.Verify(b.Key, func(artifact.Facts, string) (ed25519.PublicKey, error) { return b.SigningKey, nil }, key)
	if err != nil {
		return err
	}
	if st.StoredSize != b.Size || st.StoredSHA256.String() != b.Checksum || st.RawSize != b.RawSize || st.RawSHA256.String() != b.RawChecksum ||
		st.Database != b.Database || facts.BackupID != b.ID || facts.Server.ID != b.AgentID {
		return fmt.Errorf("manifest and catalog differ: %+v, %+v", st, b)
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

// stateFiles are what an agent keeps.
var stateFiles = []string{"identity.json", "journal", "lock"}

func (in Invariants) hostsClean(ctx context.Context) error {
	var errs []error
	for _, a := range in.Agents {
		for _, p := range a.stack.Processes() {
			if name := filepath.Base(strings.Fields(p.Command)[0]); name == "pg_dump" || name == "pg_restore" || name == "psql" {
				errs = append(errs, fmt.Errorf("a tool still runs: %s", p))
			}
		}
		entries, err := os.ReadDir(a.Dir)
		if err != nil {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if !slices.Contains(stateFiles, e.Name()) {
				errs = append(errs, fmt.Errorf("%s has a file %s", a.Dir, e.Name()))
			}
		}
	}
	for _, d := range in.Databases {
		names, err := d.Databases(ctx)
		errs = append(errs, err)
		for _, n := range names {
			if strings.HasPrefix(n, "devflow_staging_") {
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
