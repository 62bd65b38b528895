package apitest

import (
	"context"
	"sync"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
)

// Alarms checks targets as the controller does, and sends nothing. Its fields are touched through With.
type Alarms struct {
	sync.Mutex
	Err    error   // of each test
	Tested []int64 // channels
}

// With reads or changes the fields while nobody else does.
func (a *Alarms) With(do func()) {
	a.Lock()
	defer a.Unlock()
	do()
}

// Kinds are the controller's own.
func (a *Alarms) Kinds() []controller.ChannelKind { return notify.Channels() }

// CheckPing is the controller's own.
func (a *Alarms) CheckPing(url secret.String) (string, error) { return notify.CheckPing(url) }

// CheckTarget is the controller's own.
func (a *Alarms) CheckTarget(kind string, target controller.ChannelTarget) (controller.ChannelTarget, string, error) {
	return notify.Check(kind, target)
}

// TestChannel remembers the channel and gives Err.
func (a *Alarms) TestChannel(_ context.Context, id int64) error {
	a.Lock()
	defer a.Unlock()
	a.Tested = append(a.Tested, id)
	return a.Err
}
