-- Schedules, retention, reconciliation, and the chain of the audit log.

-- When scheduled clean-up runs, and in which zone.
ALTER TABLE installation ADD COLUMN timezone text NOT NULL DEFAULT 'UTC';
ALTER TABLE installation ADD COLUMN cleanup_time text NOT NULL DEFAULT '00:00';
ALTER TABLE installation ADD COLUMN cleanup_since timestamptz NOT NULL DEFAULT now(); -- since then it runs at that time

CREATE TABLE backup_schedules (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id           bigint      NOT NULL REFERENCES projects (id),
    scope                text        NOT NULL CHECK (scope IN ('database', 'project', 'pattern', 'default')),
    server_id            bigint REFERENCES servers (id),   -- of the one database
    database_id          bigint REFERENCES databases (id), -- scope database
    instance             text        NOT NULL DEFAULT '',
    database_type        text        NOT NULL DEFAULT '' CHECK (database_type IN ('', 'postgresql', 'mysql', 'sqlite')),
    database_name        text        NOT NULL DEFAULT '',
    pattern              text        NOT NULL DEFAULT '',
    frequency            text        NOT NULL CHECK (frequency IN ('hourly', 'daily', 'weekly', 'monthly', 'cron')),
    "time"               text        NOT NULL DEFAULT '',
    day_of_week          smallint CHECK (day_of_week BETWEEN 0 AND 6),
    day_of_month         smallint CHECK (day_of_month BETWEEN 1 AND 31),
    cron                 text        NOT NULL DEFAULT '',
    timezone             text        NOT NULL,
    spread_seconds       bigint,
    catch_up_seconds     bigint,
    max_duration_seconds bigint      NOT NULL,
    storage_id           bigint REFERENCES storages (id),
    storage_disk         text        NOT NULL DEFAULT '' CHECK (storage_disk IN ('', 's3', 'local')),
    encryption           text        NOT NULL DEFAULT '' CHECK (encryption IN ('', 'age', 'aes-256-cbc', 'none')),
    encrypt              boolean,
    compression          text        NOT NULL,
    level                int         NOT NULL DEFAULT 0,
    verify_after         text        NOT NULL DEFAULT 'none' CHECK (verify_after IN ('none', 'checksum', 'content')),
    retention_days       int         NOT NULL DEFAULT 0,
    retention_hourly     int         NOT NULL DEFAULT 0,
    retention_daily      int         NOT NULL DEFAULT 0,
    retention_weekly     int         NOT NULL DEFAULT 0,
    retention_monthly    int         NOT NULL DEFAULT 0,
    retention_changes    jsonb       NOT NULL DEFAULT '[]', -- what longer policies before it still keep, and until when
    notify_on_failure    boolean     NOT NULL DEFAULT true,
    is_active            boolean     NOT NULL DEFAULT true,
    problem              text        NOT NULL DEFAULT '', -- why it cannot occur, such as a zone that is no longer known
    recorded_until       timestamptz NOT NULL,            -- the newest occurrence with a record, or when it was made or activated
    next_at              timestamptz,                     -- the next occurrence
    next_run_at          timestamptz,                     -- when it is due: next_at and its share of the spread
    last_run_at          timestamptz,                     -- the newest occurrence that was run
    claim_until          timestamptz NOT NULL DEFAULT '-infinity',
    cleanup_at           timestamptz,                     -- its retention is to be applied
    created_by           text        NOT NULL DEFAULT '',
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    deleted_at           timestamptz,
    CHECK (retention_days + retention_hourly + retention_daily + retention_weekly + retention_monthly > 0)
);
CREATE INDEX backup_schedules_due ON backup_schedules (next_run_at) WHERE is_active AND deleted_at IS NULL AND next_run_at IS NOT NULL;
CREATE INDEX backup_schedules_cleanup ON backup_schedules (cleanup_at) WHERE cleanup_at IS NOT NULL;
CREATE INDEX backup_schedules_project ON backup_schedules (project_id, id);
CREATE UNIQUE INDEX backup_schedules_default ON backup_schedules (project_id) WHERE scope = 'default' AND deleted_at IS NULL;

-- One record of each occurrence. run: at least one database has a job; skipped: all that are left still ran; missed: none was run.
CREATE TABLE schedule_occurrences (
    schedule_id bigint      NOT NULL REFERENCES backup_schedules (id),
    at          timestamptz NOT NULL,
    project_id  bigint      NOT NULL REFERENCES projects (id),
    state       text        NOT NULL CHECK (state IN ('run', 'missed', 'skipped')),
    code        text        NOT NULL DEFAULT '', -- downtime, paused, overlap, offline, revoked, nothing, …
    reason      text        NOT NULL DEFAULT '',
    late        boolean     NOT NULL DEFAULT false, -- run after a downtime
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule_id, at)
);
CREATE INDEX schedule_occurrences_project ON schedule_occurrences (project_id, at DESC);

-- What became of each database that an occurrence covers.
CREATE TABLE occurrence_databases (
    schedule_id bigint      NOT NULL,
    at          timestamptz NOT NULL,
    database_id bigint      NOT NULL REFERENCES databases (id),
    project_id  bigint      NOT NULL REFERENCES projects (id),
    state       text        NOT NULL CHECK (state IN ('run', 'missed', 'skipped')),
    code        text        NOT NULL DEFAULT '',
    reason      text        NOT NULL DEFAULT '',
    backup_id   bigint REFERENCES database_backups (id), -- state run; a retry takes its place
    PRIMARY KEY (schedule_id, at, database_id),
    FOREIGN KEY (schedule_id, at) REFERENCES schedule_occurrences (schedule_id, at) ON DELETE CASCADE,
    CHECK ((state = 'run') = (backup_id IS NOT NULL))
);
CREATE INDEX occurrence_databases_backup ON occurrence_databases (backup_id);

-- While one is open, what it covers does not run by schedule.
CREATE TABLE pauses (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text        NOT NULL CHECK (scope IN ('everything', 'project', 'server', 'schedule')),
    project_id  bigint REFERENCES projects (id), -- null: of everything or of a server
    server_id   bigint REFERENCES servers (id),
    schedule_id bigint REFERENCES backup_schedules (id),
    until       timestamptz, -- null: until it is ended
    reason      text        NOT NULL CHECK (reason <> ''),
    created_by  text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    ended_by    text        NOT NULL DEFAULT ''
);
CREATE INDEX pauses_open ON pauses (scope) WHERE ended_at IS NULL;

ALTER TABLE database_backups ADD COLUMN occurrence_at timestamptz; -- of its schedule
ALTER TABLE database_backups ADD COLUMN verify_after text NOT NULL DEFAULT 'none' CHECK (verify_after IN ('none', 'checksum', 'content'));
ALTER TABLE database_backups ADD COLUMN retry_of bigint REFERENCES database_backups (id);
ALTER TABLE database_backups ADD COLUMN held_at timestamptz;
ALTER TABLE database_backups ADD COLUMN held_by text NOT NULL DEFAULT '';
ALTER TABLE database_backups ADD COLUMN hold_reason text NOT NULL DEFAULT '';
ALTER TABLE database_backups ADD COLUMN locked_until timestamptz; -- its storage refuses to delete it until then
ALTER TABLE database_backups ADD COLUMN delete_claim text NOT NULL DEFAULT ''; -- the controller that removes it from its storage
CREATE INDEX database_backups_delete_claim ON database_backups (delete_claim) WHERE delete_claim <> '';
ALTER TABLE database_backups ADD COLUMN health_reason text NOT NULL DEFAULT ''; -- why the health is not ok, and what to do
ALTER TABLE database_backups ADD COLUMN health_at timestamptz;
ALTER TABLE database_backups ADD FOREIGN KEY (schedule_id) REFERENCES backup_schedules (id);
-- Lists are newest first and mostly of what is not deleted: each filter finds its rows in that order.
CREATE INDEX database_backups_schedule ON database_backups (schedule_id, id DESC) WHERE schedule_id IS NOT NULL;
CREATE INDEX database_backups_newest ON database_backups (project_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX database_backups_database_newest ON database_backups (database_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX database_backups_server_newest ON database_backups (server_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX database_backups_type ON database_backups (project_id, type, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX database_backups_status ON database_backups (status, project_id, id DESC) WHERE status <> 'completed' AND deleted_at IS NULL;
CREATE INDEX database_backups_health ON database_backups (health, project_id, id DESC) WHERE health <> 'ok' AND deleted_at IS NULL;
CREATE INDEX database_backups_unverified ON database_backups (project_id, id DESC) WHERE verified_at IS NULL AND deleted_at IS NULL;
CREATE INDEX database_backups_held ON database_backups (id DESC) WHERE held_at IS NOT NULL;
-- What retention looks at.
CREATE INDEX database_backups_live ON database_backups (database_id, completed_at DESC) WHERE deleted_at IS NULL AND status = 'completed';

-- Runs of the clean-up: one each day, and those that people ask for.
CREATE TABLE cleanups (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('daily', 'asked')),
    at         timestamptz NOT NULL, -- daily: the instant that it is for
    project_id bigint REFERENCES projects (id), -- null: all
    created_by text        NOT NULL DEFAULT '',
    claim_until timestamptz NOT NULL DEFAULT '-infinity', -- daily: until then the controller that has it works on it; the fence
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    kept       int         NOT NULL DEFAULT 0,
    postponed  int         NOT NULL DEFAULT 0,
    removed    int         NOT NULL DEFAULT 0,
    removed_bytes bigint   NOT NULL DEFAULT 0,
    failed     int         NOT NULL DEFAULT 0,
    error      text        NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX cleanups_daily ON cleanups (at) WHERE kind = 'daily';

-- Inventories of storages: what lies there against what the catalog holds. A local storage has one for each host.
CREATE TABLE storage_inventories (
    storage_id   bigint      NOT NULL REFERENCES storages (id),
    server_id    bigint      NOT NULL DEFAULT 0, -- local: the host; 0 otherwise
    due_at       timestamptz NOT NULL DEFAULT now(),
    claim_until  timestamptz NOT NULL DEFAULT '-infinity',
    started_at   timestamptz,
    ended_at     timestamptz, -- of the last one that came to its end
    requests     bigint      NOT NULL DEFAULT 0,
    objects      bigint      NOT NULL DEFAULT 0,
    bytes        bigint      NOT NULL DEFAULT 0,
    missing      int         NOT NULL DEFAULT 0, -- that it found to be missing
    damaged      int         NOT NULL DEFAULT 0,
    archived     int         NOT NULL DEFAULT 0,
    recovered    int         NOT NULL DEFAULT 0, -- that are there again
    foreign_objects int      NOT NULL DEFAULT 0,
    stale_uploads   int      NOT NULL DEFAULT 0,
    error        text        NOT NULL DEFAULT '', -- why the last one did not come to its end
    failures     int         NOT NULL DEFAULT 0,  -- in a row
    PRIMARY KEY (storage_id, server_id)
);

-- What lies on a storage and is not the catalog's. It is listed and never touched.
CREATE TABLE storage_findings (
    storage_id    bigint      NOT NULL REFERENCES storages (id),
    server_id     bigint      NOT NULL DEFAULT 0,
    kind          text        NOT NULL CHECK (kind IN ('object', 'upload')),
    key           text        NOT NULL,
    upload_id     text        NOT NULL DEFAULT '',
    size          bigint      NOT NULL DEFAULT 0,
    modified_at   timestamptz,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    seen_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (storage_id, server_id, kind, key, upload_id)
);
-- What nothing may be at work on any more.
CREATE INDEX database_backups_open ON database_backups (id) WHERE status IN ('pending', 'running');
CREATE INDEX restores_open ON restores (id) WHERE status IN ('pending', 'running');
-- What should lie at a storage, in the order in which it is listed; of a local storage on each host.
CREATE INDEX database_backups_listing ON database_backups (storage_id, (CASE storage_disk WHEN 'local' THEN server_id ELSE 0 END), file_path COLLATE "C")
    WHERE status = 'completed' AND purged_at IS NULL;
CREATE INDEX attempts_key ON attempts (key COLLATE "C") WHERE key <> '';

-- A token that lets a host take the place of a server that is known already.
ALTER TABLE enrolment_tokens ADD COLUMN replaces bigint REFERENCES servers (id);
-- Keys that a server had before it was replaced.
CREATE TABLE server_keys (
    server_id   bigint      NOT NULL REFERENCES servers (id),
    nkey        text        NOT NULL UNIQUE,
    signing_key bytea       NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT now()
);

-- The chain. A row is written without seq and sealed within a second; then it never changes.
ALTER TABLE audit_log ADD COLUMN token_id bigint;
ALTER TABLE audit_log ADD COLUMN on_behalf_of text NOT NULL DEFAULT ''; -- the panel's user
ALTER TABLE audit_log ADD COLUMN result text NOT NULL DEFAULT 'done'; -- done, accepted, refused: <code>
ALTER TABLE audit_log ADD COLUMN seq bigint UNIQUE;
ALTER TABLE audit_log ADD COLUMN prev_hash bytea;
ALTER TABLE audit_log ADD COLUMN hash bytea;
ALTER TABLE audit_log ADD CHECK ((seq IS NULL) = (hash IS NULL) AND (seq IS NULL) = (prev_hash IS NULL));
CREATE INDEX audit_log_unsealed ON audit_log (id) WHERE seq IS NULL;
CREATE INDEX audit_log_project ON audit_log (project_id, id DESC);
CREATE FUNCTION devflow_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.seq IS NULL AND NEW.seq IS NOT NULL AND ROW (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.project_id, NEW.subject, NEW.detail, NEW.remote,
            NEW.token_id, NEW.on_behalf_of, NEW.result) IS NOT DISTINCT FROM ROW (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.project_id, OLD.subject, OLD.detail, OLD.remote,
            OLD.token_id, OLD.on_behalf_of, OLD.result) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'rows of the audit log are not changed' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_guard BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION devflow_audit_guard();
CREATE TRIGGER audit_guard_all BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION devflow_audit_guard();
ALTER POLICY appends ON audit_log WITH CHECK (devflow_sees(project_id) AND seq IS NULL);
CREATE POLICY seals ON audit_log FOR UPDATE USING (devflow_system() AND seq IS NULL) WITH CHECK (devflow_system());

-- Heads of the chain that are kept as objects at a storage. The row is committed before the object is written.
CREATE TABLE audit_anchors (
    seq        bigint PRIMARY KEY,
    hash       bytea       NOT NULL,
    storage_id bigint      NOT NULL REFERENCES storages (id),
    key        text        NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    written_at timestamptz -- null: the storage does not have it yet
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['backup_schedules', 'schedule_occurrences', 'occurrence_databases'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY scope ON %I USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id))', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['storage_inventories', 'storage_findings', 'server_keys', 'audit_anchors'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY system ON %I USING (devflow_system()) WITH CHECK (devflow_system())', t);
    END LOOP;
END $$;
-- What pauses everything or a server is seen by all that it holds back; it is changed by who sees everything.
ALTER TABLE pauses ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON pauses FOR SELECT USING (devflow_sees(project_id)
    OR project_id IS NULL AND scope IN ('everything', 'server') AND coalesce(current_setting('devflow.scope', true), '') <> '');
CREATE POLICY writes ON pauses USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));
ALTER TABLE cleanups ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON cleanups USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));
