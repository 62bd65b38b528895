package controller_test

import (
	"slices"
	"testing"
	"time"

	"devflowbackup/controller"
)

func TestChannelSpec_Validate(t *testing.T) {
	t.Parallel()
	s := controller.ChannelSpec{Name: "ops", Kinds: []string{controller.NoticeOverdue, controller.NoticeBackupFailing, controller.NoticeOverdue}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if s.MinSeverity != controller.SeverityInfo || *s.RemindHours != 24 || !slices.Equal(s.Kinds, []string{controller.NoticeBackupFailing, controller.NoticeOverdue}) {
		t.Errorf("defaults: %+v", s)
	}
	for name, c := range map[string]struct {
		change func(*controller.ChannelSpec)
		field  string
		words  string
	}{
		"no name":         {func(s *controller.ChannelSpec) { s.Name = " " }, "name", "empty"},
		"a number":        {func(s *controller.ChannelSpec) { s.Name = "12" }, "name", "digits"},
		"unknown kind":    {func(s *controller.ChannelSpec) { s.Kinds = []string{"rain"} }, "kinds", "overdue"},
		"the test":        {func(s *controller.ChannelSpec) { s.Kinds = []string{controller.NoticeTest} }, "kinds", "test"},
		"severity":        {func(s *controller.ChannelSpec) { s.MinSeverity = "grave" }, "min_severity", "critical"},
		"too seldom":      {func(s *controller.ChannelSpec) { s.RemindHours = new(721) }, "remind_hours", "720"},
		"negative":        {func(s *controller.ChannelSpec) { s.RemindHours = new(-1) }, "remind_hours", "never"},
		"project default": {func(s *controller.ChannelSpec) { s.Project, s.IsDefault = "shop", true }, "default", "installation"},
	} {
		s := controller.ChannelSpec{Name: "ops"}
		c.change(&s)
		checkInvalid(t, name, s.Validate(), c.field, c.words)
	}
	for name, c := range map[string]struct {
		change controller.ChannelChange
		field  string
	}{
		"name": {controller.ChannelChange{Name: new("")}, "name"}, "kinds": {controller.ChannelChange{Kinds: &[]string{"rain"}}, "kinds"},
		"severity": {controller.ChannelChange{MinSeverity: new("")}, "min_severity"}, "reminders": {controller.ChannelChange{RemindHours: new(-1)}, "remind_hours"},
	} {
		checkInvalid(t, "change of "+name, c.change.Validate(), c.field)
	}
	change := controller.ChannelChange{Kinds: &[]string{}, RemindHours: new(0)}
	if err := change.Validate(); err != nil || len(*change.Kinds) != 0 {
		t.Errorf("%v %v", err, *change.Kinds)
	}
}

func TestMuteSpec_Validate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	good := controller.MuteSpec{Scope: controller.MuteProject, Ref: "shop", For: time.Hour, Reason: "deploy"}
	s := good
	if err := s.Validate(now); err != nil || !s.Until.Equal(now.Add(time.Hour)) || s.For != 0 {
		t.Errorf("%v %+v", err, s)
	}
	s = controller.MuteSpec{Scope: controller.MuteEverything, Until: now.Add(controller.MaxMute), Reason: "moving"}
	if err := s.Validate(now); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(*controller.MuteSpec)
		field  string
	}{
		"no scope":      {func(s *controller.MuteSpec) { s.Scope = "" }, "scope"},
		"unknown scope": {func(s *controller.MuteSpec) { s.Scope = "planet" }, "scope"},
		"without a ref": {func(s *controller.MuteSpec) { s.Ref = "" }, "ref"},
		"with a ref":    {func(s *controller.MuteSpec) { s.Scope = controller.MuteEverything }, "ref"},
		"unknown kind":  {func(s *controller.MuteSpec) { s.Kind = "rain" }, "kind"},
		"kind of an alarm": {func(s *controller.MuteSpec) {
			s.Scope, s.Ref, s.Kind = controller.MuteAlarm, "1", controller.NoticeOverdue
		}, "kind"},
		"no time":           {func(s *controller.MuteSpec) { s.For = 0 }, "for_seconds"},
		"backwards":         {func(s *controller.MuteSpec) { s.For = -time.Hour }, "for_seconds"},
		"too long":          {func(s *controller.MuteSpec) { s.For = controller.MaxMute + time.Hour }, "for_seconds"},
		"two times":         {func(s *controller.MuteSpec) { s.Until = now.Add(time.Hour) }, "until"},
		"past":              {func(s *controller.MuteSpec) { s.For, s.Until = 0, now }, "until"},
		"until too far":     {func(s *controller.MuteSpec) { s.For, s.Until = 0, now.AddDate(1, 0, 0) }, "until"},
		"without a reason":  {func(s *controller.MuteSpec) { s.Reason = "" }, "reason"},
		"a novel of reason": {func(s *controller.MuteSpec) { s.Reason = text(501) }, "reason"},
	} {
		s := good
		c.change(&s)
		checkInvalid(t, name, s.Validate(now), c.field)
	}
}
