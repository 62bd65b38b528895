package main

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/wire"
)

// completeTime is how long a shell waits for names: they are looked up while somebody types, and nothing is offered where there are none by
// then.
const completeTime = 1500 * time.Millisecond

// Kinds of things whose names and ids are looked up. Arguments and flags are told by their names, which are the same everywhere.
const (
	thingProject  = "project"
	thingServer   = "server"
	thingStorage  = "storage"
	thingSchedule = "schedule"
	thingUser     = "user"
	thingDatabase = "database"
	thingBackup   = "backup"
	thingRestore  = "restore"
	thingToken    = "token"
	thingPause    = "pause"
	thingProfile  = "profile"
	thingChannel  = "channel"
	thingAlarm    = "alarm"
	thingMute     = "mute"
	thingKind     = "kind of channels"
)

var (
	argThings = map[string]string{
		"PROJECT": thingProject, "SERVER": thingServer, "STORAGE": thingStorage, "SCHEDULE": thingSchedule, "BACKUP": thingBackup, "RESTORE": thingRestore,
		"DATABASE": thingDatabase, "USER": thingUser, "TOKEN": thingToken, "PAUSE": thingPause,
		"CHANNEL": thingChannel, "ALARM": thingAlarm, "MUTE": thingMute,
	}
	flagThings = map[string]string{
		"project": thingProject, "on": thingServer, "to-server": thingServer, "storage": thingStorage, "schedule": thingSchedule, "database": thingDatabase, "profile": thingProfile,
		"backup": thingBackup, "restore": thingRestore, "fallback": thingChannel, "channel": thingChannel, "alarm": thingAlarm,
	}
	// flagWords are the values of flags that mean the same on every command. Where they do not, the command is named.
	flagWords = map[string][]string{
		"output": {outputTable, outputJSON}, "permission": append([]string{"all"}, controller.Permissions...), "engine": {wire.EnginePostgreSQL, wire.EngineMySQL, wire.EngineSQLite},
		"encryption": {controller.EncryptionAge, controller.EncryptionAES, controller.EncryptionNone}, "compression": {"zstd", "gzip", "none"},
		"type": {controller.TypeManual, controller.TypeScheduled, controller.TypePreDeploy}, "status": controller.Statuses, "verify-after": {"none", "checksum", "content"},
		"level": {"checksum", "content"}, "storage-disk": {controller.StorageS3, controller.StorageLocal},
		"health":    {controller.HealthOK, controller.HealthMissing, controller.HealthCorrupt, controller.HealthArchived, controller.HealthDeleting},
		"frequency": controller.Frequencies, "sort": controller.BackupSorts,
		"job list --status": append([]string{controller.JobOpen}, controller.JobStatuses...), "job list --kind": controller.JobKinds,
		"token create --kind": {controller.TokenAPI, controller.TokenPanel}, "restore list --kind": {controller.RestoreKind, controller.UndoKind},
		"channel create --notify": controller.ChannelNotices(), "channel edit --notify": append([]string{"all"}, controller.ChannelNotices()...), "notice": controller.ChannelNotices(), "min-severity": controller.Severities, "tls": {"starttls", "implicit", "none"},
		"status --state": controller.ProtectionStates, "summary-day": {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", controller.SummaryOff},
		"storage add --kind": {controller.StorageS3, controller.StorageLocal},
		"events --kind":      {controller.EventBackup, controller.EventJob, controller.EventRestore, controller.EventSchedule, controller.EventStorage, controller.EventAgent, controller.EventAlarm, controller.EventProgress},
	}
	word = regexp.MustCompile(`[A-Z][A-Z-]*`)
)

// complete has shells offer what arguments and flags can be.
func (c *ctl) complete(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.complete(sub)
	}
	path := strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()), " ")
	for flag, thing := range flagThings {
		if f := cmd.LocalFlags().Lookup(flag); f != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, c.offers(thing))
		}
	}
	for flag, words := range flagWords {
		name := flag
		if on, only, found := strings.Cut(flag, " --"); found {
			if on != path {
				continue
			}
			name = only
		} else if _, own := flagWords[path+" --"+flag]; own {
			continue
		}
		f := cmd.LocalFlags().Lookup(name)
		if f == nil || f.Value.Type() == "int" { // --level of a compression is a number
			continue
		}
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	if path == "channel create" {
		_ = cmd.RegisterFlagCompletionFunc("kind", c.offers(thingKind))
	}
	if cmd.HasSubCommands() || cmd.ValidArgsFunction != nil {
		return
	}
	_, args, _ := strings.Cut(cmd.Use, " ")
	if cut := strings.Index(args, "--"); cut >= 0 { // what follows are values of flags
		args = args[:cut]
	}
	things := word.FindAllString(args, -1)
	if group := cmd.Parent(); group != nil && group.Name() == thingUser && len(things) == 1 && cmd.Name() != "add" {
		things[0] = "USER"
	}
	offers := make([]func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective), len(things))
	for i, w := range things {
		if w == "ID" && cmd.Parent() != nil {
			w = strings.ToUpper(cmd.Parent().Name())
		}
		switch thing, known := argThings[w]; {
		case known:
			offers[i] = c.offers(thing)
		case strings.Contains(w, "FILE") || strings.Contains(w, "DIR"):
			offers[i] = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return nil, cobra.ShellCompDirectiveDefault
			}
		}
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(offers) || offers[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offers[len(args)](cmd, args, typed)
	}
}

// offers looks names of a kind up. Whatever goes wrong, nothing is offered and nothing is said.
func (c *ctl) offers(thing string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		if thing == thingProfile {
			names, _ := c.profiles()
			return begin(names, typed), cobra.ShellCompDirectiveNoFileComp
		}
		c.tries = 1
		cl, err := c.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completeTime)
		defer cancel()
		return begin(namesOf(ctx, cl, thing), typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func begin(names []string, typed string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, typed) })
}

const offered = 50 // of a list that grows without end: the newest

// namesOf are the names of things of a kind, or their ids with what they are; none if they cannot be had.
func namesOf(ctx context.Context, cl *client.Client, thing string) []string {
	var names []string
	add := func(name, what string) {
		if name = clean(name); what != "" {
			name += "\t" + clean(what)
		}
		names = append(names, name)
	}
	switch thing {
	case thingProject:
		all, _ := cl.Projects(ctx)
		for _, p := range all {
			add(p.Slug, "")
		}
	case thingServer:
		all, _ := cl.Servers(ctx)
		for _, s := range all {
			add(s.Name, "")
		}
	case thingStorage:
		all, _ := cl.Storages(ctx)
		for _, s := range all {
			add(s.Name, "")
		}
	case thingUser:
		all, _ := cl.Users(ctx)
		for _, u := range all {
			add(u.Name, "")
		}
	case thingDatabase:
		all, _ := cl.Databases(ctx, controller.DatabaseFilter{})
		for _, d := range all {
			if !slices.Contains(names, d.Name) {
				add(d.Name, "")
			}
		}
	case thingSchedule:
		p, _ := cl.Schedules(ctx, controller.ScheduleFilter{Limit: pageSize})
		for _, s := range p.Items {
			add(number(s.ID), s.Project+": "+s.Label+", "+covers(s))
		}
	case thingBackup:
		p, _ := cl.Backups(ctx, controller.BackupFilter{Limit: offered})
		for _, b := range p.Items {
			add(number(b.ID), b.Project+": "+b.DatabaseName+", "+backupState(b)+", "+ago(&b.CreatedAt))
		}
	case thingRestore:
		p, _ := cl.Restores(ctx, controller.RestoreFilter{Limit: offered})
		for _, r := range p.Items {
			add(number(r.ID), r.Project+": "+r.DatabaseName+", "+r.Status+", "+ago(&r.CreatedAt))
		}
	case thingToken:
		all, _ := cl.Tokens(ctx)
		for _, t := range all {
			if t.RevokedAt == nil {
				add(number(t.ID), t.Name)
			}
		}
	case thingPause:
		all, _ := cl.Pauses(ctx, false)
		for _, p := range all {
			add(number(p.ID), pauseWhat(p)+": "+p.Reason)
		}
	case thingChannel:
		all, _ := cl.Channels(ctx, "")
		for _, ch := range all {
			add(ch.Name, ch.Kind+", "+ch.Hint)
		}
	case thingAlarm:
		all, _ := cl.Alarms(ctx, controller.AlarmFilter{}, offered)
		for _, a := range all {
			add(number(a.ID), a.Title)
		}
	case thingMute:
		all, _ := cl.Mutes(ctx, false)
		for _, m := range all {
			add(number(m.ID), muteWhat(m)+": "+m.Reason)
		}
	case thingKind:
		all, _ := cl.ChannelKinds(ctx)
		for _, k := range all {
			add(k.Kind, k.Title)
		}
	}
	return names
}
