// Package journal is the agent's memory across restarts: which attempts it accepted and which outcomes no controller has
// committed yet.
//
// What a method has returned nil for is on the disk. A crash at any moment, a torn tail or a damaged byte loses at most
// the records that it hit: each record carries its checksum, so a wrong one is never believed and the others survive.
package journal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"devflowbackup/agent/internal/statedir"
	"devflowbackup/shared/wire"
)

const (
	file = "journal"

	// compactAt is the size in bytes from which the file is rewritten when most of it is history.
	compactAt = 1 << 20
)

// Kinds of records.
const (
	kindAccepted   = "accepted"   // Job: the attempt is ours
	kindPublishing = "publishing" // Report: true as soon as the staging database has got its name
	kindReport     = "report"     // Report: the attempt has ended
	kindForget     = "forget"     // Attempt: nothing is left to do
)

type record struct {
	V       int           `json:"v"`
	Kind    string        `json:"kind"`
	Job     *wire.Job     `json:"job,omitempty"`
	Report  *wire.Report  `json:"report,omitempty"`
	Attempt *wire.Attempt `json:"attempt,omitempty"`
}

// Entry is one attempt that is not forgotten.
type Entry struct {
	Job        *wire.Job    // nil if the record was lost and only the report is left
	Publishing *wire.Report // a restore was about to be published when this was written
	Report     *wire.Report // the outcome, not yet committed by a controller
}

// Attempt is the entry's attempt.
func (e Entry) Attempt() wire.Attempt {
	switch {
	case e.Job != nil:
		return e.Job.Attempt
	case e.Report != nil:
		return e.Report.Attempt
	default:
		return e.Publishing.Attempt
	}
}

// Journal is the open file. Its methods may be called from several goroutines.
type Journal struct {
	dir string

	mu      sync.Mutex
	f       *os.File
	size    int64
	live    int64 // size after the last compaction
	entries map[wire.Attempt]*Entry
	dropped int
}

// Open reads the journal in dir, or starts one. Damaged records are left out, see Dropped, and the file is rewritten.
// Only one process may have it open: the caller holds the directory's lock.
func Open(dir string) (*Journal, error) {
	j := &Journal{dir: dir, entries: make(map[wire.Attempt]*Entry)}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		r, ok := decode(line)
		if !ok {
			j.dropped++
			continue
		}
		j.apply(r)
	}
	if err := j.rewrite(); err != nil {
		return nil, err
	}
	return j, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode makes one line: checksum, space, JSON. JSON holds no newline.
func encode(r record) ([]byte, error) {
	r.V = 1
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode journal record: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text), nil
}

func decode(line []byte) (record, bool) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) {
		return record{}, false
	}
	var r record
	if json.Unmarshal(text, &r) != nil || r.V != 1 {
		return record{}, false
	}
	switch r.Kind {
	case kindAccepted:
		return r, r.Job != nil
	case kindReport, kindPublishing:
		return r, r.Report != nil
	case kindForget:
		return r, r.Attempt != nil
	}
	return record{}, false
}

func (j *Journal) apply(r record) {
	at := func(a wire.Attempt) *Entry {
		e := j.entries[a]
		if e == nil {
			e = &Entry{}
			j.entries[a] = e
		}
		return e
	}
	switch r.Kind {
	case kindAccepted:
		at(r.Job.Attempt).Job = r.Job
	case kindPublishing:
		at(r.Report.Attempt).Publishing = r.Report
	case kindReport:
		at(r.Report.Attempt).Report = r.Report
	case kindForget:
		delete(j.entries, *r.Attempt)
	}
}

// Accept records that an attempt is ours. A nil error means that it is durable.
func (j *Journal) Accept(job wire.Job) error {
	return j.append(record{Kind: kindAccepted, Job: &job})
}

// Publishing records, before the staging database gets its name, the report that will then be true.
func (j *Journal) Publishing(r wire.Report) error {
	return j.append(record{Kind: kindPublishing, Report: &r})
}

// Report records an attempt's outcome.
func (j *Journal) Report(r wire.Report) error {
	return j.append(record{Kind: kindReport, Report: &r})
}

// Forget removes an attempt: its outcome is committed, or nobody wants it any more.
func (j *Journal) Forget(a wire.Attempt) error {
	j.mu.Lock()
	_, ok := j.entries[a]
	j.mu.Unlock()
	if !ok {
		return nil
	}
	return j.append(record{Kind: kindForget, Attempt: &a})
}

func (j *Journal) append(r record) error {
	line, err := encode(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil { // an earlier write failed half-way, or the journal is closed
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	if err := j.put(line); err != nil {
		// The file may end in half a line: it is written anew before the next record.
		_ = j.f.Close()
		j.f = nil
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(line))
	j.apply(r)
	if j.size > compactAt && j.size > 2*j.live {
		return j.rewrite()
	}
	return nil
}

func (j *Journal) put(line []byte) error {
	if _, err := j.f.Write(line); err != nil {
		return err
	}
	return j.f.Sync()
}

// rewrite replaces the file by what still counts.
func (j *Journal) rewrite() error {
	var b bytes.Buffer
	for _, e := range j.sorted() {
		for _, r := range []record{
			{Kind: kindAccepted, Job: e.Job}, {Kind: kindPublishing, Report: e.Publishing}, {Kind: kindReport, Report: e.Report},
		} {
			if r.Job == nil && r.Report == nil {
				continue
			}
			line, err := encode(r)
			if err != nil {
				return err
			}
			b.Write(line)
		}
	}
	if err := statedir.WriteFile(j.dir, file, b.Bytes()); err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(j.dir, file), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	if j.f != nil {
		_ = j.f.Close()
	}
	j.f, j.size, j.live = f, int64(b.Len()), int64(b.Len())
	return nil
}

func (j *Journal) sorted() []Entry {
	out := make([]Entry, 0, len(j.entries))
	for _, e := range j.entries {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Entry) int {
		x, y := a.Attempt(), b.Attempt()
		return cmp.Or(cmp.Compare(x.Job, y.Job), cmp.Compare(x.No, y.No), cmp.Compare(x.Token, y.Token))
	})
	return out
}

// Entries lists what is not forgotten, by job and attempt.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sorted()
}

// Has tells whether an attempt is not forgotten.
func (j *Journal) Has(a wire.Attempt) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.entries[a]
	return ok
}

// Dropped is the number of damaged lines that Open left out.
func (j *Journal) Dropped() int { return j.dropped }

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	err := j.f.Close()
	j.f = nil
	return err
}
