package fleet_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/wire"
)

// store is a catalog in memory: queues that a test fills, and a record of what the fleet wrote.
type store struct {
	mu sync.Mutex

	fail map[string]error  // by method
	hook map[string]func() // by method, called without the lock

	hello     controller.HelloResult
	server    controller.Server
	part      controller.PartTarget
	read      controller.ReadTarget
	ordered   *controller.Ordered
	access    controller.StorageAccess
	identity  []byte
	appKey    []byte
	newest    string
	servers   []controller.Server
	upload    string // what SetUpload says, if not the given one
	stale     []wire.Attempt
	offers    []controller.Offer
	finishing []controller.Finishing
	cancels   []controller.CancelDue
	dead      []controller.DeadUpload
	deletions []controller.Deletion

	log []written
}

// written is one call that changes the catalog.
type written struct {
	method  string
	agent   string
	session string
	attempt wire.Attempt
	backup  int64
	id      string // upload, kind of an event
	text    string // why
	count   int64
	delay   time.Duration
	until   time.Time
	failure *wire.Failure
	report  wire.Report
	hello   wire.Hello
	done    controller.Finished
	beats   []controller.AgentBeat
	at      time.Time
}

var _ fleet.Store = (*store)(nil)

func (s *store) write(w written) error {
	s.mu.Lock()
	w.at = time.Now()
	s.log = append(s.log, w)
	err, hook := s.fail[w.method], s.hook[w.method]
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	return err
}

// all returns what was written by a method, or by any.
func (s *store) all(method string) (out []written) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.log {
		if method == "" || w.method == method {
			out = append(out, w)
		}
	}
	return out
}

func (s *store) count(method string) int { return len(s.all(method)) }

func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *store) failing(method string, err error) {
	s.set(func(s *store) {
		if s.fail == nil {
			s.fail = map[string]error{}
		}
		s.fail[method] = err
	})
}

func (s *store) onCall(method string, f func()) {
	s.set(func(s *store) {
		if s.hook == nil {
			s.hook = map[string]func(){}
		}
		s.hook[method] = f
	})
}

func (s *store) broken(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail[method]
}

// take empties a queue, at most limit of it.
func take[T any](s *store, queue *[]T, limit int) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, len(*queue))
	out := (*queue)[:n:n]
	*queue = (*queue)[n:]
	return out
}

func (s *store) Hello(_ context.Context, agentID, key, session string, h wire.Hello) (controller.HelloResult, controller.Server, error) {
	err := s.write(written{method: "Hello", agent: agentID, id: key, session: session, hello: h})
	return s.hello, s.server, err
}

func (s *store) Heartbeats(_ context.Context, beats []controller.AgentBeat) ([]wire.Attempt, error) {
	err := s.write(written{method: "Heartbeats", beats: beats})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stale, err
}

func (s *store) Inventory(_ context.Context, agentID, session string, inv wire.Inventory) error {
	return s.write(written{method: "Inventory", agent: agentID, session: session, text: inv.Hash})
}

func (s *store) RecordDiffers(_ context.Context, backup int64, reason string) error {
	return s.write(written{method: "RecordDiffers", backup: backup, text: reason})
}

func (s *store) AddSecurityEvent(_ context.Context, agentID, kind, detail string, count int64) error {
	return s.write(written{method: "AddSecurityEvent", agent: agentID, id: kind, text: detail, count: count})
}

func (s *store) ClaimOffers(_ context.Context, limit int) ([]controller.Offer, error) {
	return take(s, &s.offers, limit), s.broken("ClaimOffers")
}

func (s *store) SetUpload(_ context.Context, a wire.Attempt, id string) (string, error) {
	if err := s.write(written{method: "SetUpload", attempt: a, id: id}); err != nil {
		return "", err
	}
	if s.upload != "" {
		return s.upload, nil
	}
	return id, nil
}

func (s *store) ReleaseOffer(_ context.Context, a wire.Attempt, delay time.Duration, waiting string) error {
	return s.write(written{method: "ReleaseOffer", attempt: a, delay: delay, text: waiting})
}

func (s *store) AttemptAccepted(_ context.Context, a wire.Attempt, session string) error {
	return s.write(written{method: "AttemptAccepted", attempt: a, session: session})
}

func (s *store) FailOffer(_ context.Context, a wire.Attempt, fail *wire.Failure) error {
	return s.write(written{method: "FailOffer", attempt: a, failure: fail})
}

func (s *store) SignPart(_ context.Context, agentID, session string, req wire.PartRequest, expires time.Duration) (controller.PartTarget, error) {
	err := s.write(written{method: "SignPart", agent: agentID, session: session, attempt: req.Attempt, id: req.Object, delay: expires})
	return s.part, err
}

func (s *store) SignRead(_ context.Context, agentID, session string, req wire.ReadRequest) (controller.ReadTarget, error) {
	err := s.write(written{method: "SignRead", agent: agentID, session: session, attempt: req.Attempt, id: req.Object})
	return s.read, err
}

func (s *store) AttemptOrder(_ context.Context, _, _ string, _ wire.Attempt) (*controller.Ordered, error) {
	return s.ordered, s.broken("AttemptOrder")
}

func (s *store) ReportUploaded(_ context.Context, agentID, session string, r wire.Report) error {
	return s.write(written{method: "ReportUploaded", agent: agentID, session: session, attempt: r.Attempt, report: r})
}

func (s *store) ReportDone(_ context.Context, agentID, session string, r wire.Report) error {
	return s.write(written{method: "ReportDone", agent: agentID, session: session, attempt: r.Attempt, report: r})
}

func (s *store) ClaimFinishing(_ context.Context, limit int) ([]controller.Finishing, error) {
	return take(s, &s.finishing, limit), s.broken("ClaimFinishing")
}

func (s *store) ExtendClaim(_ context.Context, a wire.Attempt) error {
	return s.write(written{method: "ExtendClaim", attempt: a})
}

func (s *store) CompleteBackup(_ context.Context, a wire.Attempt, done controller.Finished) error {
	return s.write(written{method: "CompleteBackup", attempt: a, done: done})
}

func (s *store) RetryFinish(_ context.Context, a wire.Attempt, delay time.Duration, why *wire.Failure) error {
	return s.write(written{method: "RetryFinish", attempt: a, delay: delay, failure: why})
}

func (s *store) FailFinish(_ context.Context, a wire.Attempt, fail *wire.Failure) error {
	return s.write(written{method: "FailFinish", attempt: a, failure: fail})
}

func (s *store) Sweep(context.Context) (controller.SweepResult, error) {
	return controller.SweepResult{}, s.write(written{method: "Sweep"})
}

func (s *store) CancelsDue(context.Context) ([]controller.CancelDue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancels, s.fail["CancelsDue"]
}

func (s *store) DeadUploads(_ context.Context, limit int) ([]controller.DeadUpload, error) {
	return take(s, &s.dead, limit), s.broken("DeadUploads")
}

func (s *store) UploadSwept(_ context.Context, a wire.Attempt) error {
	return s.write(written{method: "UploadSwept", attempt: a})
}

func (s *store) UploadSweepLater(_ context.Context, a wire.Attempt, delay time.Duration) error {
	return s.write(written{method: "UploadSweepLater", attempt: a, delay: delay})
}

func (s *store) DueDeletions(_ context.Context, limit int) ([]controller.Deletion, error) {
	return take(s, &s.deletions, limit), s.broken("DueDeletions")
}

func (s *store) DeletionDone(_ context.Context, backup int64) error {
	return s.write(written{method: "DeletionDone", backup: backup})
}

func (s *store) DeletionLater(_ context.Context, backup int64, delay time.Duration, reason string) error {
	return s.write(written{method: "DeletionLater", backup: backup, delay: delay, text: reason})
}

func (s *store) DeletionLocked(_ context.Context, backup int64, until time.Time) error {
	return s.write(written{method: "DeletionLocked", backup: backup, until: until})
}

func (s *store) StorageAccess(_ context.Context, id int64) (controller.StorageAccess, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access
	a.ID = id
	return a, s.fail["StorageAccess"]
}

func (s *store) UpdateProbe(_ context.Context, id int64, report json.RawMessage, ok bool, mode string) error {
	w := written{method: "UpdateProbe", backup: id, text: string(report), id: mode}
	if ok {
		w.count = 1
	}
	return s.write(w)
}

func (s *store) ProjectIdentitySecret(_ context.Context, project int64) ([]byte, error) {
	err := s.write(written{method: "ProjectIdentitySecret", backup: project})
	return s.identity, err
}

func (s *store) ProjectAppKey(_ context.Context, project int64) ([]byte, error) {
	err := s.write(written{method: "ProjectAppKey", backup: project})
	return s.appKey, err
}

func (s *store) NewestObject(context.Context, int64) (string, error) {
	return s.newest, s.broken("NewestObject")
}

func (s *store) Servers(_ context.Context, actor controller.Actor, _ controller.ServerFilter) ([]controller.Server, error) {
	if !actor.Scope.All {
		return nil, nil
	}
	return slices.Clone(s.servers), s.broken("Servers")
}
