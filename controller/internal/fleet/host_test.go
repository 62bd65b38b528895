package fleet_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// host is a server with a backup directory in memory, and an agent that answers for it.
type host struct {
	k      *kit
	server controller.Server

	mu     sync.Mutex
	sub    *nats.Subscription
	files  map[string][]byte
	fail   map[string]*wire.Failure // by operation
	silent map[string]int           // answers that get lost, by operation; negative: all
	sticky string                   // a key that a deletion leaves there
	probe  wire.LocalReply
	orders []wire.LocalOrder
	page   int // files in a page of a list
	jobs   []wire.Job
	now    int // orders being answered
	most   int
}

// newHost makes one that is online, whose backups go to its own directory.
func newHost(k *kit) *host {
	k.t.Helper()
	h := &host{k: k, server: agentServer(), files: map[string][]byte{}, fail: map[string]*wire.Failure{}, silent: map[string]int{}}
	k.store.set(func(s *store) { s.access.Kind = controller.StorageLocal })
	h.connect()
	return h
}

func (h *host) connect() {
	h.k.t.Helper()
	sub, err := h.k.agent.Subscribe(wire.AgentSubjects(h.server.AgentID), func(m *nats.Msg) { go h.answer(m) })
	if err == nil {
		err = h.k.agent.Flush()
	}
	if err != nil {
		h.k.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sub = sub
}

func (h *host) disconnect() {
	h.k.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.sub.Unsubscribe(); err != nil {
		h.k.t.Fatal(err)
	}
	if err := h.k.agent.Flush(); err != nil {
		h.k.t.Fatal(err)
	}
}

func (h *host) answer(m *nats.Msg) {
	verb := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	d, err := keySet.Open(m.Data, wire.Expect{Kind: wire.KindCommand, Server: h.server.AgentID, Session: sessionID, Verb: verb})
	if err != nil {
		h.k.t.Errorf("a command that an agent would drop: %v", err)
		return
	}
	var reply any = wire.Accepted{V: wire.Version, Session: sessionID}
	switch verb {
	case wire.VerbRun:
		var j wire.Job
		if err := d.Into(&j); err != nil {
			h.k.t.Error(err)
		}
		h.mu.Lock()
		h.jobs = append(h.jobs, j)
		h.mu.Unlock()
	case wire.VerbLocal:
		var o wire.LocalOrder
		if err := d.Into(&o); err != nil {
			h.k.t.Error(err)
		}
		r, lost := h.do(o)
		if lost {
			return
		}
		reply = r
	}
	b, err := wire.Encode(reply)
	if err != nil {
		h.k.t.Error(err)
		return
	}
	_ = m.Respond(b)
}

// do is what an agent does with an order.
func (h *host) do(o wire.LocalOrder) (r wire.LocalReply, lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	defer func() { h.now-- }()
	h.most = max(h.most, h.now)
	h.orders = append(h.orders, o)
	r.V, r.Session = wire.Version, sessionID
	if r.Failure = h.fail[o.Op]; r.Failure != nil {
		return r, false
	}
	body, there := h.files[o.Key]
	part := func(at, n int64) []byte {
		at = min(at, int64(len(body)))
		return body[at:min(at+n, int64(len(body)))]
	}
	switch o.Op {
	case wire.LocalStat:
		r.Exists, r.Size, r.Data = there, int64(len(body)), part(0, o.Length)
	case wire.LocalRead:
		if !there {
			r.Failure = wire.Failf(wire.CodeMissing, "%s does not exist", o.Key)
		}
		r.Data = part(o.Offset, o.Length)
	case wire.LocalWrite:
		h.files[o.Key] = o.Data
	case wire.LocalDelete:
		if o.Key == h.sticky {
			break
		}
		delete(h.files, o.Key)
		delete(h.files, o.Key+".partial")
	case wire.LocalProbe:
		r = h.probe
	case wire.LocalList:
		for _, key := range slices.Sorted(maps.Keys(h.files)) {
			if !strings.HasPrefix(key, o.Key) || key <= o.After {
				continue
			}
			if r.More = len(r.Entries) == min(h.page, int(o.Length)); r.More {
				break
			}
			r.Entries = append(r.Entries, wire.LocalEntry{Key: key, Size: int64(len(h.files[key])), ModifiedAt: 1735787045})
		}
	}
	if n := h.silent[o.Op]; n != 0 {
		h.silent[o.Op] = n - 1
		return r, true
	}
	return r, false
}

func (h *host) set(change func(*host)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *host) get(key string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.files[key]
}

func (h *host) keys() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.files))
}

// count is how often an operation was ordered.
func (h *host) count(op string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.orders {
		if o.Op == op {
			n++
		}
	}
	return n
}

// newLocalUpload is newUpload on the host itself.
func newLocalUpload(t *testing.T, k *kit, h *host, compression, encryption string, change func(*artifact.Statement)) upload {
	t.Helper()
	u := newUpload(t, k, compression, encryption, func(s *artifact.Statement) {
		s.PartSize, s.Parts, s.CompositeSHA256 = 0, 0, ""
		if change != nil {
			change(s)
		}
	})
	k.bucket.mu.Lock()
	h.set(func(h *host) { maps.Copy(h.files, k.bucket.objects) })
	clear(k.bucket.objects)
	clear(k.bucket.uploads)
	k.bucket.mu.Unlock()
	u.finishing.UploadID, u.finishing.PartSize, u.finishing.Parts = controller.LocalUpload, 0, nil
	u.finishing.Backup.StorageDisk, u.finishing.Backup.ServerID = controller.StorageLocal, h.server.ID
	u.ordered.UploadID, u.ordered.PartSize, u.ordered.Checksum, u.ordered.Local = controller.LocalUpload, 0, "", true
	return u
}

// noBucket fails the test if anything was asked of an object store.
func (k *kit) noBucket() {
	k.t.Helper()
	k.bucket.mu.Lock()
	defer k.bucket.mu.Unlock()
	if len(k.bucket.calls) > 0 || len(k.bucket.opened) > 0 {
		k.t.Errorf("an object store was used: %v, opened %d times", k.bucket.calls, len(k.bucket.opened))
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}
