-- What the panel asks for: sorted and numbered lists, totals, trends, live events, one call before a deploy, limits of projects.

-- Lists: sorted by size and by duration, of a project; by time; newest first of what had no such list yet.
CREATE INDEX database_backups_size ON database_backups (project_id, (coalesce(file_size, 0)) DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX database_backups_duration ON database_backups (project_id, (coalesce(completed_at - started_at, interval '0')) DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX database_backups_created ON database_backups (created_at);
-- Trends read this index alone.
CREATE INDEX database_backups_days ON database_backups (project_id, created_at) INCLUDE (database_id, status, file_size, raw_size, started_at, completed_at);
CREATE INDEX database_backups_last ON database_backups (project_id, completed_at DESC) WHERE status = 'completed' AND deleted_at IS NULL;
CREATE INDEX jobs_project ON jobs (project_id, id DESC);
CREATE INDEX schedule_occurrences_missed ON schedule_occurrences (at DESC) WHERE state = 'missed';

-- Totals of backups. Each statement that changes what is counted appends what it changed; nobody waits for another one's row. They are
-- folded now and then; a total is the sum over both tables.
CREATE TABLE backup_totals (
    project_id   bigint NOT NULL REFERENCES projects (id),
    storage_id   bigint NOT NULL REFERENCES storages (id),
    backups      bigint NOT NULL DEFAULT 0, -- not deleted
    completed    bigint NOT NULL DEFAULT 0, -- of them
    failed       bigint NOT NULL DEFAULT 0, -- of them
    verified     bigint NOT NULL DEFAULT 0, -- of them
    bytes        bigint NOT NULL DEFAULT 0, -- of the completed ones
    stored       bigint NOT NULL DEFAULT 0, -- not failed and not seen gone from the storage
    stored_bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, storage_id)
);
CREATE TABLE backup_deltas (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   bigint NOT NULL,
    storage_id   bigint NOT NULL,
    backups      bigint NOT NULL,
    completed    bigint NOT NULL,
    failed       bigint NOT NULL,
    verified     bigint NOT NULL,
    bytes        bigint NOT NULL,
    stored       bigint NOT NULL,
    stored_bytes bigint NOT NULL
);
CREATE INDEX backup_deltas_project ON backup_deltas (project_id);
CREATE INDEX backup_deltas_storage ON backup_deltas (storage_id);
CREATE INDEX backup_totals_storage ON backup_totals (storage_id);

-- What one backup adds to the totals, in the order of their columns.
CREATE FUNCTION devflow_counted(status text, size bigint, deleted_at timestamptz, purged_at timestamptz, verified_at timestamptz) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        (deleted_at IS NULL)::int,
        (deleted_at IS NULL AND status = 'completed')::int,
        (deleted_at IS NULL AND status = 'failed')::int,
        (deleted_at IS NULL AND status = 'completed' AND verified_at IS NOT NULL)::int,
        CASE WHEN deleted_at IS NULL AND status = 'completed' THEN coalesce(size, 0) ELSE 0 END,
        (purged_at IS NULL AND status <> 'failed')::int,
        CASE WHEN purged_at IS NULL AND status <> 'failed' THEN coalesce(size, 0) ELSE 0 END
    ]::bigint[]
$$;

CREATE FUNCTION devflow_count_backups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO backup_deltas (project_id, storage_id, backups, completed, failed, verified, bytes, stored, stored_bytes)
        SELECT project_id, storage_id, sum(c[1]), sum(c[2]), sum(c[3]), sum(c[4]), sum(c[5]), sum(c[6]), sum(c[7])
        FROM (SELECT project_id, storage_id, devflow_counted(status, file_size, deleted_at, purged_at, verified_at) AS c FROM new_rows) q GROUP BY 1, 2;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO backup_deltas (project_id, storage_id, backups, completed, failed, verified, bytes, stored, stored_bytes)
        SELECT project_id, storage_id, -sum(c[1]), -sum(c[2]), -sum(c[3]), -sum(c[4]), -sum(c[5]), -sum(c[6]), -sum(c[7])
        FROM (SELECT project_id, storage_id, devflow_counted(status, file_size, deleted_at, purged_at, verified_at) AS c FROM old_rows) q GROUP BY 1, 2;
    ELSE
        INSERT INTO backup_deltas (project_id, storage_id, backups, completed, failed, verified, bytes, stored, stored_bytes)
        SELECT project_id, storage_id, sum(s * c[1]), sum(s * c[2]), sum(s * c[3]), sum(s * c[4]), sum(s * c[5]), sum(s * c[6]), sum(s * c[7])
        FROM (SELECT project_id, storage_id, 1 AS s, devflow_counted(status, file_size, deleted_at, purged_at, verified_at) AS c FROM new_rows
            UNION ALL SELECT project_id, storage_id, -1, devflow_counted(status, file_size, deleted_at, purged_at, verified_at) FROM old_rows) q
        GROUP BY 1, 2
        HAVING ROW (sum(s * c[1]), sum(s * c[2]), sum(s * c[3]), sum(s * c[4]), sum(s * c[5]), sum(s * c[6]), sum(s * c[7])) <> ROW (0, 0, 0, 0, 0, 0, 0);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON database_backups REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION devflow_count_backups();
CREATE TRIGGER count_update AFTER UPDATE ON database_backups REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION devflow_count_backups();
CREATE TRIGGER count_delete AFTER DELETE ON database_backups REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION devflow_count_backups();

-- Events for live views. What changes appends to the queue; one controller at a time moves the queue's rows to the log, so that ids are
-- in the order of commits and a reader that has seen one has seen all before it. The log is short: it is for readers that come back.
CREATE TABLE event_queue (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    project    bigint, -- null: of a server or of the installation
    server_id  bigint,
    body       jsonb       NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    project_id bigint,
    server_id  bigint,
    projects   bigint[]    NOT NULL DEFAULT '{}', -- of a server: those that it was granted to
    shared     boolean     NOT NULL DEFAULT false, -- every project may know it
    body       jsonb       NOT NULL,
    at         timestamptz NOT NULL
);
-- Whether agents were online when it was last told.
CREATE TABLE agent_states (
    server_id bigint      PRIMARY KEY REFERENCES servers (id),
    online    boolean     NOT NULL,
    since     timestamptz NOT NULL DEFAULT now()
);

-- The row's id and the columns that are named, as an event. A change of none of them is none.
CREATE FUNCTION devflow_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_row  jsonb := to_jsonb(NEW);
    body     jsonb := '{}';
    changed  boolean := TG_OP = 'INSERT';
    was      jsonb;
    name     text;
BEGIN
    IF NOT changed THEN
        was := to_jsonb(OLD);
    END IF;
    -- The first argument is the kind; names after a dash are told but no reason to tell.
    FOREACH name IN ARRAY TG_ARGV[1:] LOOP
        IF left(name, 1) = '-' THEN
            name := substr(name, 2);
        ELSIF NOT changed AND now_row -> name IS DISTINCT FROM was -> name THEN
            changed := true;
        END IF;
        body := body || jsonb_build_object(name, now_row -> name);
    END LOOP;
    IF changed THEN
        INSERT INTO event_queue (kind, project, server_id, body) VALUES (TG_ARGV[0],
            CASE WHEN TG_ARGV[0] = 'agent' THEN NULL ELSE (now_row ->> 'project_id')::bigint END,
            CASE WHEN TG_ARGV[0] = 'agent' THEN (now_row ->> 'id')::bigint ELSE (now_row ->> 'server_id')::bigint END, body);
        PERFORM pg_notify('devflow_queue', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF status, health, verified_at, held_at, deleted_at, purged_at ON database_backups FOR EACH ROW EXECUTE FUNCTION
    devflow_event('backup', '-id', '-database_id', '-database_name', '-type', '-file_size', '-error_code', 'status', 'health', 'verified_at', 'held_at', 'deleted_at', 'purged_at');
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF status, attempt_no, waiting, cancel_requested_at ON jobs FOR EACH ROW EXECUTE FUNCTION
    devflow_event('job', '-id', '-kind', '-backup_id', '-restore_id', 'status', 'attempt_no', 'waiting', 'cancel_requested_at');
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF status, target_state, kept_state, kept_until ON restores FOR EACH ROW EXECUTE FUNCTION
    devflow_event('restore', '-id', '-backup_id', '-database_name', '-error_code', 'status', 'target_state', 'kept_state', 'kept_until');
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF is_active, problem, next_run_at, last_run_at, updated_at, deleted_at ON backup_schedules FOR EACH ROW EXECUTE FUNCTION
    devflow_event('schedule', '-id', 'is_active', 'problem', 'next_run_at', 'last_run_at', 'updated_at', 'deleted_at');
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF probe_ok, probed_at, updated_at, is_default, deleted_at ON storages FOR EACH ROW EXECUTE FUNCTION
    devflow_event('storage', '-id', '-name', 'probe_ok', 'probed_at', 'updated_at', 'is_default', 'deleted_at');
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF session_at, verifier, revoked_at, inventory_at ON servers FOR EACH ROW EXECUTE FUNCTION
    devflow_event('agent', '-id', '-name', '-agent_version', 'session_at', 'verifier', 'revoked_at', 'inventory_at');

-- Backups that are ordered together before a deploy. The same key of the same caller is the same order.
CREATE TABLE pre_deploys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  bigint      NOT NULL REFERENCES projects (id),
    owner       text        NOT NULL,
    key         text,
    request     jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    deadline_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX pre_deploys_key ON pre_deploys (project_id, owner, key) WHERE key IS NOT NULL;
CREATE TABLE pre_deploy_databases (
    pre_deploy_id bigint NOT NULL REFERENCES pre_deploys (id) ON DELETE CASCADE,
    database_id   bigint NOT NULL REFERENCES databases (id),
    project_id    bigint NOT NULL REFERENCES projects (id),
    backup_id     bigint REFERENCES database_backups (id), -- null: not ordered yet, or refused
    error         jsonb,                                   -- why it cannot be ordered
    waiting       text   NOT NULL DEFAULT '',
    PRIMARY KEY (pre_deploy_id, database_id)
);

-- Limits of a project; null: none.
ALTER TABLE projects ADD COLUMN max_jobs_per_hour bigint CHECK (max_jobs_per_hour > 0);
ALTER TABLE projects ADD COLUMN max_bytes_per_day bigint CHECK (max_bytes_per_day > 0);
ALTER TABLE projects ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- Totals of what is there already.
INSERT INTO backup_totals SELECT project_id, storage_id, sum(c[1]), sum(c[2]), sum(c[3]), sum(c[4]), sum(c[5]), sum(c[6]), sum(c[7])
FROM (SELECT b.project_id, b.storage_id, devflow_counted(b.status, b.file_size, b.deleted_at, b.purged_at, b.verified_at) AS c FROM database_backups b) q GROUP BY 1, 2;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['backup_totals', 'backup_deltas', 'pre_deploys', 'pre_deploy_databases'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY scope ON %I USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id))', t);
    END LOOP;
    EXECUTE 'ALTER TABLE agent_states ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY';
    EXECUTE 'CREATE POLICY system ON agent_states USING (devflow_system()) WITH CHECK (devflow_system())';
END $$;
-- Whoever may change a row tells of it; what is queued is read by controllers alone.
ALTER TABLE event_queue ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON event_queue USING (devflow_system()) WITH CHECK (devflow_system());
CREATE POLICY appends ON event_queue FOR INSERT WITH CHECK (devflow_sees(project));
ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON events FOR SELECT USING (devflow_sees(project_id)
    OR project_id IS NULL AND coalesce(current_setting('devflow.scope', true), '') <> '' AND (shared OR EXISTS (SELECT FROM unnest(projects) p WHERE devflow_sees(p))));
CREATE POLICY writes ON events USING (devflow_system()) WITH CHECK (devflow_system());
