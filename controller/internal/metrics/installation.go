package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"devflowbackup/controller"
)

var (
	catalogUp     = desc("catalog_up", "Whether the catalog could be read for this scrape; if not, there are no figures of the installation.")
	catalogPing   = desc("catalog_ping_seconds", "How long the catalog took to answer the smallest question.")
	catalogRead   = desc("catalog_read_seconds", "How long reading these figures took.")
	catalogSize   = desc("catalog_size_bytes", "Size of the catalog's database.")
	databasesRead = desc("catalog_databases_up", "Whether the figures of databases could be read for this scrape; if not, there are none.")

	jobsOpen   = desc("jobs", "Jobs that have not ended.", "kind", "status")
	jobsEnded  = desc("jobs_ended_total", "Jobs that have ended; code is of the failure.", "kind", "status", "code")
	jobSeconds = desc("job_duration_seconds", "How long jobs took from their start to their end.", "kind")
	storedSum  = desc("backup_stored_bytes_total", "Bytes that completed backups stored.")
	rawSum     = desc("backup_raw_bytes_total", "Bytes of the dumps of completed backups, before compression.")

	databases       = desc("databases", "Databases by their protection.", "state")
	databasesLeft   = desc("databases_not_exported", "Databases without series of their own, beyond the bound; those in the worst state come first.")
	databaseLabels  = []string{"project", "server", "db_instance", "database", "engine"}
	databaseState   = desc("database_protection_state", "The protection of a database: 1 for the state that it is in.", append(databaseLabels[:5:5], "state")...)
	databaseOverdue = desc("database_overdue", "Whether a database has no completed backup within the expected time.", databaseLabels...)
	databaseExpects = desc("database_expected_interval_seconds", "Within which time a completed backup is expected. Missing where no schedule covers the database.", databaseLabels...)
	databaseGood    = desc("database_last_good_backup_timestamp_seconds", "When the last good backup was completed. Missing where there is none.", databaseLabels...)
	databaseProven  = desc("database_last_good_backup_verified_timestamp_seconds", "When the last good backup was verified. Missing where it was not.", databaseLabels...)
	databaseSize    = desc("database_last_backup_size_bytes", "Stored size of the last completed backup.", databaseLabels...)
	databaseSeconds = desc("database_last_backup_duration_seconds", "How long the last completed backup took.", databaseLabels...)

	agents         = desc("agents", "Agents that are not revoked.", "state")
	agentsOutdated = desc("agents_outdated", "Agents that are older than this controller.")
	agentOnline    = desc("agent_online", "Whether an agent is online. Of the first 10,000, those that are offline first.", "server")

	storageLabels   = []string{"project", "storage", "kind"}
	storageOK       = desc("storage_probe_ok", "Whether the last probe of a storage found it fit.", storageLabels...)
	storageProbed   = desc("storage_probe_timestamp_seconds", "When a storage was probed last.", storageLabels...)
	storageBackups  = desc("storage_backups", "Backups on a storage.", storageLabels...)
	storageBytes    = desc("storage_bytes", "Bytes of the backups on a storage.", storageLabels...)
	inventoryAt     = desc("storage_inventory_timestamp_seconds", "When a storage was held against the catalog last.", storageLabels...)
	inventoryFailed = desc("storage_inventory_failures", "Inventories of a storage that failed in a row.", storageLabels...)
	storageFindings = desc("storage_findings", "Objects and uploads on a storage that belong to no backup.", "project", "storage", "finding")

	leasesLost   = desc("leases_lost_total", "Attempts that were given up because their agent was not heard any more.")
	securityBy   = desc("security_events_total", "What was refused that nobody should try; stale_attempt: a fence held.", "kind")
	occurrences  = desc("occurrences_total", "Occurrences of schedules that were missed or skipped.", "state", "code")
	notices      = desc("notices_total", "Notices that were written.", "kind", "event")
	messages     = desc("messages_total", "Messages to channels, by kind of channel; retried: a try that failed and is repeated.", "channel_kind", "result")
	pingsBy      = desc("pings_total", "Dead-man pings of schedules.", "result")
	queueLength  = desc("queue_length", "What waits for a controller.", "queue")
	queueOldest  = desc("queue_oldest_seconds", "For how long the oldest in a queue has waited; 0 for an empty one.", "queue")
	alarmsOpen   = desc("alarms", "Open alarms, muted ones too.", "kind", "severity")
	channels     = desc("channels", "Channels by state; failing: active, and the last message was not taken.", "state")
	schedules    = desc("schedules", "Schedules by state; problem: active, and it cannot occur.", "state")
	controllers  = desc("controllers", "Controllers of the installation; silent: not heard for a minute, and not signed off.", "state")
	cleanupAt    = desc("cleanup_timestamp_seconds", "When the last daily clean-up ended.")
	cleanupKept  = desc("cleanup_kept", "Backups that the last daily clean-up kept.")
	cleanupLater = desc("cleanup_postponed", "Backups that the last daily clean-up left for later.")
	cleanupFail  = desc("cleanup_failed", "Backups that the last daily clean-up could not remove.")
	cleanupError = desc("cleanup_error", "Whether the last daily clean-up ended with an error.")
	removedSum   = desc("cleanup_removed_total", "Backups that clean-ups removed.")
	removedBytes = desc("cleanup_removed_bytes_total", "Bytes of the backups that clean-ups removed.")
)

// What is told as 0 while there is none, so that a first one shows as an increase.
var (
	jobKinds    = []string{"backup", "verify", "restore", "undo", "settle", "discard", "delete"}
	openStates  = []string{"queued", "running", "finishing"}
	eventKinds  = []string{controller.EventStaleAttempt, controller.EventDuplicateAgent, controller.EventForgedDirective, controller.EventForeignObject, controller.EventForeignHeader, controller.EventStatement, controller.EventPermission, controller.EventRevoked, controller.EventRecord, controller.EventAuditChain, controller.EventSignIn}
	pingResults = []string{"sent", "failed"}
)

// installation is what the catalog knows.
type installation struct {
	o      Options
	reader reader
}

func (c *installation) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		catalogUp, catalogPing, catalogRead, catalogSize, databasesRead, jobsOpen, jobsEnded, jobSeconds, storedSum, rawSum, databases, databasesLeft,
		databaseState, databaseOverdue, databaseExpects, databaseGood, databaseProven, databaseSize, databaseSeconds, agents, agentsOutdated, agentOnline,
		storageOK, storageProbed, storageBackups, storageBytes, inventoryAt, inventoryFailed, storageFindings, leasesLost, securityBy, occurrences, notices,
		messages, pingsBy, queueLength, queueOldest, alarmsOpen, channels, schedules, controllers, cleanupAt, cleanupKept, cleanupLater, cleanupFail,
		cleanupError, removedSum, removedBytes,
	} {
		ch <- d
	}
}

func (c *installation) Collect(ch chan<- prometheus.Metric) {
	s, snap := sent{ch}, c.reader.read()
	s.gauge(catalogUp, flag(snap.err == nil))
	if snap.err != nil {
		return
	}
	m := snap.figures
	s.gauge(catalogPing, snap.ping.Seconds())
	s.gauge(catalogRead, snap.took.Seconds())
	s.gauge(catalogSize, float64(m.SizeBytes))
	s.jobs(m)
	s.databases(snap)
	s.fleet(m, c.o.Outdated)
	s.storages(m)
	s.counters(m.Counters)
	for _, q := range m.Queues {
		s.gauge(queueLength, float64(q.Length), q.Queue)
		s.gauge(queueOldest, max(q.Oldest, 0), q.Queue)
	}
	for _, a := range m.Alarms {
		s.gauge(alarmsOpen, float64(a.Alarms), a.Kind, a.Severity)
	}
	s.states(channels, m.Channels, "active", "inactive", "failing")
	s.states(schedules, m.Schedules, "active", "inactive", "problem")
	s.states(controllers, m.Controllers, "up", "silent")
	k := m.Cleanup
	if k.EndedAt != nil {
		s.at(cleanupAt, k.EndedAt)
		s.gauge(cleanupKept, float64(k.Kept))
		s.gauge(cleanupLater, float64(k.Postponed))
		s.gauge(cleanupFail, float64(k.Failed))
		s.gauge(cleanupError, flag(k.Erred))
	}
	s.count(removedSum, float64(k.Removed))
	s.count(removedBytes, float64(k.RemovedBytes))
}

func (s sent) states(d *prometheus.Desc, by controller.StateCounts, all ...string) {
	for _, state := range all {
		s.gauge(d, float64(by[state]), state)
	}
}

func (s sent) jobs(m controller.Metrics) {
	open := make(map[[2]string]int64)
	for _, kind := range jobKinds {
		for _, status := range openStates {
			open[[2]string{kind, status}] = 0
		}
	}
	for _, j := range m.Jobs {
		open[[2]string{j.Kind, j.Status}] = j.Jobs
	}
	for key, n := range open {
		s.gauge(jobsOpen, float64(n), key[0], key[1])
	}
	type duration struct {
		seconds float64
		buckets []uint64
	}
	took := make(map[string]*duration)
	var stored, raw int64
	for _, t := range m.Ended {
		s.count(jobsEnded, float64(t.Jobs), t.Kind, t.Status, t.Code)
		stored, raw = stored+t.Bytes, raw+t.RawBytes
		d := took[t.Kind]
		if d == nil {
			d = &duration{buckets: make([]uint64, len(controller.DurationBounds)+1)}
			took[t.Kind] = d
		}
		d.seconds += t.Seconds
		for i, n := range t.Buckets[:min(len(t.Buckets), len(d.buckets))] {
			d.buckets[i] += uint64(max(n, 0))
		}
	}
	for kind, d := range took {
		var count uint64
		buckets := make(map[float64]uint64, len(controller.DurationBounds))
		for i, n := range d.buckets {
			count += n
			if i < len(controller.DurationBounds) {
				buckets[controller.DurationBounds[i]] = count
			}
		}
		s.to <- prometheus.MustNewConstHistogram(jobSeconds, count, d.seconds, buckets, strings.ToValidUTF8(kind, ""))
	}
	s.count(storedSum, float64(stored))
	s.count(rawSum, float64(raw))
}

func (s sent) databases(snap *snapshot) {
	s.gauge(databasesRead, flag(snap.databasesErr == nil))
	if snap.databasesErr != nil {
		return
	}
	for _, state := range controller.ProtectionStates {
		s.gauge(databases, float64(snap.states[state]), state)
	}
	s.gauge(databasesLeft, float64(snap.left))
	for _, d := range snap.databases {
		l := d.labels
		s.gauge(databaseState, 1, append(l[:len(l):len(l)], d.state)...)
		s.gauge(databaseOverdue, flag(d.overdue), l...)
		if d.expected > 0 {
			s.gauge(databaseExpects, float64(d.expected), l...)
		}
		s.at(databaseGood, d.lastGood, l...)
		s.at(databaseProven, d.verified, l...)
		if d.hasSize {
			s.gauge(databaseSize, float64(d.size), l...)
		}
		if d.hasSeconds {
			s.gauge(databaseSeconds, d.seconds, l...)
		}
	}
}

func (s sent) fleet(m controller.Metrics, isOutdated func(string) bool) {
	var online, all, outdated int64
	for _, v := range m.AgentVersions {
		online, all = online+v.Online, all+v.Agents
		if isOutdated(v.Version) {
			outdated += v.Agents
		}
	}
	s.gauge(agents, float64(online), "online")
	s.gauge(agents, float64(all-online), "offline")
	s.gauge(agentsOutdated, float64(outdated))
	for _, a := range m.Agents {
		s.gauge(agentOnline, flag(a.Online), a.Server)
	}
}

func (s sent) storages(m controller.Metrics) {
	for _, st := range m.Storages[:min(len(m.Storages), storagesMost)] {
		l := []string{st.Project, st.Name, st.Kind}
		s.gauge(storageOK, flag(st.ProbeOK), l...)
		s.at(storageProbed, st.ProbedAt, l...)
		s.gauge(storageBackups, float64(st.Backups), l...)
		s.gauge(storageBytes, float64(st.Bytes), l...)
		s.at(inventoryAt, st.InventoryAt, l...)
		s.gauge(inventoryFailed, float64(st.InventoryFailures), l...)
	}
	for _, f := range m.Findings[:min(len(m.Findings), 2*storagesMost)] {
		s.gauge(storageFindings, float64(f.Findings), f.Project, f.Name, f.Kind)
	}
}

// counters are by the names that the catalog keeps them under.
func (s sent) counters(all []controller.Counter) {
	var lost int64
	security, pings := make(map[string]int64), make(map[string]int64)
	for _, kind := range eventKinds {
		security[kind] = 0
	}
	for _, result := range pingResults {
		pings[result] = 0
	}
	for _, c := range all {
		first, second, _ := strings.Cut(c.Label, ":")
		switch c.Name {
		case "lease_lost":
			lost += c.Value
		case "security":
			security[c.Label] += c.Value
		case "ping":
			pings[c.Label] += c.Value
		case "occurrence":
			s.count(occurrences, float64(c.Value), first, second)
		case "notice":
			s.count(notices, float64(c.Value), first, second)
		case "message":
			s.count(messages, float64(c.Value), first, second)
		}
	}
	s.count(leasesLost, float64(lost))
	for kind, n := range security {
		s.count(securityBy, float64(n), kind)
	}
	for result, n := range pings {
		s.count(pingsBy, float64(n), result)
	}
}
