package mysql

import (
	"context"
	"strconv"
)

// Columns of a replica's state that are kept, under the names that both flavours and all versions share. None of them
// is a credential.
var replicaColumns = map[string][]string{
	"channel":          {"channel_name", "connection_name"},
	"source_host":      {"source_host", "master_host"},
	"source_file":      {"relay_source_log_file", "relay_master_log_file"},
	"source_position":  {"exec_source_log_pos", "exec_master_log_pos"},
	"gtid":             {"gtid_slave_pos", "executed_gtid_set"},
	"lag_seconds":      {"seconds_behind_source", "seconds_behind_master"},
	"receiver_running": {"replica_io_running", "slave_io_running"},
	"applier_running":  {"replica_sql_running", "slave_sql_running"},
}

// positions are where the server stands in replication: as a replica, and in its own binary log. An account that may not
// see them gets none. Under a lock they belong to the snapshot.
func (c *conn) positions(ctx context.Context) (extra map[string]any, warnings []string) {
	extra = map[string]any{}
	statement := "SHOW ALL SLAVES STATUS"
	if c.server.flavour == flavourMySQL {
		statement = "SHOW SLAVE STATUS"
		if c.server.atLeast(8, 1) {
			statement = "SHOW REPLICA STATUS"
		}
	}
	if records, err := c.records(ctx, statement); err == nil {
		var replicas []map[string]any
		for _, record := range records {
			replica := map[string]any{}
			for name, columns := range replicaColumns {
				for _, column := range columns {
					if value, ok := record[column]; ok && value != "" {
						replica[name] = value
						break
					}
				}
			}
			replicas = append(replicas, replica)
			warnings = append(warnings, lagging(replica)...)
		}
		if len(replicas) > 0 {
			extra["replica_of"] = replicas
		}
	}
	statement = "SHOW MASTER STATUS"
	if c.server.flavour == flavourMySQL && c.server.atLeast(8, 2) {
		statement = "SHOW BINARY LOG STATUS"
	}
	if records, err := c.records(ctx, statement); err == nil && len(records) > 0 {
		extra["binlog_file"], extra["binlog_position"] = records[0]["file"], records[0]["position"]
		if gtid := records[0]["executed_gtid_set"]; gtid != "" {
			extra["gtid"] = gtid
		}
		if c.server.flavour == flavourMariaDB {
			var gtid string
			if err := c.one(ctx, "SELECT @@gtid_binlog_pos", nil, &gtid); err == nil && gtid != "" {
				extra["gtid"] = gtid
			}
		}
	}
	return extra, warnings
}

// lagLimit is from how many seconds on a replica's lag is told.
const lagLimit = 60

func lagging(replica map[string]any) (warnings []string) {
	if running, ok := replica["applier_running"]; ok && running != "Yes" {
		return []string{"warning: this server is a replica and does not apply changes: the dump is as old as its last one"}
	}
	if text, ok := replica["lag_seconds"].(string); ok {
		if seconds, err := strconv.Atoi(text); err == nil && seconds >= lagLimit {
			return []string{"warning: this server is a replica that is " + text + " seconds behind its source"}
		}
	}
	return nil
}
