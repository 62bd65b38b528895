-- The catalog. Times are UTC on this server's clock. Every table that belongs to a project carries project_id and is
-- guarded by row-level security, which fails closed: without devflow.scope a session sees nothing.
--   devflow.scope = 'system'    everything: the controller's own work
--   devflow.scope = '*'         everything a caller of all projects may see
--   devflow.scope = '1,5,8'     these projects

CREATE FUNCTION devflow_sees(project bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE coalesce(current_setting('devflow.scope', true), '')
        WHEN 'system' THEN true
        WHEN '*' THEN true
        WHEN '' THEN false
        ELSE project = ANY (string_to_array(current_setting('devflow.scope', true), ',')::bigint[])
    END
$$;

CREATE FUNCTION devflow_system() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(current_setting('devflow.scope', true), '') = 'system'
$$;

-- One row: what makes this catalog this installation. check_value opens only under the right master key.
CREATE TABLE installation (
    id            smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    uid           text        NOT NULL,
    check_value   bytea       NOT NULL,
    escrow_master bytea       NOT NULL, -- the master key encrypted to the recovery key
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- Installation secrets, sealed under the master key.
CREATE TABLE sealed_secrets (
    name       text PRIMARY KEY,
    sealed     bytea       NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Controllers that are up, and the clock that runs only while one is.
CREATE TABLE controllers (
    id         text PRIMARY KEY,
    version    text        NOT NULL,
    broker     text        NOT NULL, -- 'embedded' or 'external'
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE fleet_clock (
    id         smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    up_seconds double precision NOT NULL DEFAULT 0,
    ticked_at  timestamptz      NOT NULL DEFAULT now()
);
INSERT INTO fleet_clock DEFAULT VALUES;

CREATE TABLE storages (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id         bigint, -- null: for all projects
    name               text        NOT NULL CHECK (name <> ''),
    kind               text        NOT NULL CHECK (kind IN ('s3', 'local')),
    endpoint           text        NOT NULL DEFAULT '',
    region             text        NOT NULL DEFAULT '',
    bucket             text        NOT NULL DEFAULT '',
    prefix             text        NOT NULL DEFAULT '',
    path_style         boolean     NOT NULL DEFAULT true,
    credentials_sealed bytea,
    is_default         boolean     NOT NULL DEFAULT false,
    checksum_mode      text        NOT NULL DEFAULT 'sha256' CHECK (checksum_mode IN ('sha256', 'md5')),
    probe              jsonb, -- the last probe's report
    probe_ok           boolean     NOT NULL DEFAULT false,
    probed_at          timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz
);
CREATE UNIQUE INDEX storages_name ON storages (coalesce(project_id, 0), name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX storages_default ON storages (coalesce(project_id, 0)) WHERE is_default AND deleted_at IS NULL;

CREATE TABLE projects (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug               text        NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$' AND slug !~ '^[0-9]+$'),
    name               text        NOT NULL,
    external_id        text,
    age_recipient      text        NOT NULL,
    age_identity       bytea       NOT NULL, -- sealed
    escrow_recipients  text[]      NOT NULL DEFAULT '{}',
    default_encryption text        NOT NULL DEFAULT 'age' CHECK (default_encryption IN ('age', 'aes-256-cbc', 'none')),
    default_storage_id bigint REFERENCES storages (id),
    created_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz
);
CREATE UNIQUE INDEX projects_slug ON projects (slug) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX projects_external_id ON projects (external_id) WHERE deleted_at IS NULL;
ALTER TABLE storages ADD FOREIGN KEY (project_id) REFERENCES projects (id);

CREATE TABLE servers (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id       text        NOT NULL UNIQUE CHECK (agent_id ~ '^[a-z][a-z0-9]+$'), -- in subjects and the broker's user name
    name           text        NOT NULL CHECK (name <> ''),
    nkey           text        NOT NULL UNIQUE, -- public key of the broker user
    signing_key    bytea       NOT NULL,        -- Ed25519 public key of its statements
    recipient      text        NOT NULL,        -- age recipient of secrets for it
    verifier       boolean     NOT NULL DEFAULT false,
    session        text        NOT NULL DEFAULT '', -- empty until the first hello
    session_at     timestamptz,
    agent_version  text        NOT NULL DEFAULT '',
    concurrency    int         NOT NULL DEFAULT 1,
    host           jsonb       NOT NULL DEFAULT '{}',
    inventory_hash text        NOT NULL DEFAULT '',
    inventory_at   timestamptz,
    key_set        int         NOT NULL DEFAULT 0,
    last_seen_at   timestamptz,
    enrolled_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at     timestamptz
);
CREATE UNIQUE INDEX servers_name ON servers (name) WHERE revoked_at IS NULL;

-- Every session that a server ever said hello with: one that was superseded is known when it speaks again.
CREATE TABLE agent_sessions (
    session       text PRIMARY KEY,
    server_id     bigint      NOT NULL REFERENCES servers (id),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    superseded_at timestamptz
);
CREATE INDEX agent_sessions_server ON agent_sessions (server_id, first_seen_at DESC);

CREATE TABLE project_servers (
    project_id bigint      NOT NULL REFERENCES projects (id),
    server_id  bigint      NOT NULL REFERENCES servers (id),
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, server_id)
);

CREATE TABLE enrolment_tokens (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash  bytea       NOT NULL UNIQUE,
    server_name text        NOT NULL,
    project_id  bigint REFERENCES projects (id),
    verifier    boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    server_id   bigint REFERENCES servers (id)
);

CREATE TABLE instances (
    server_id bigint      NOT NULL REFERENCES servers (id),
    name      text        NOT NULL,
    engine    text        NOT NULL CHECK (engine IN ('postgresql', 'mysql', 'sqlite')),
    version   text        NOT NULL DEFAULT '',
    error     text        NOT NULL DEFAULT '',
    restore   boolean     NOT NULL DEFAULT false,
    seen_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server_id, name)
);

CREATE TABLE databases (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server_id      bigint      NOT NULL REFERENCES servers (id),
    instance       text        NOT NULL,
    engine         text        NOT NULL CHECK (engine IN ('postgresql', 'mysql', 'sqlite')),
    name           text        NOT NULL,
    size_bytes     bigint      NOT NULL DEFAULT 0,
    server_version text        NOT NULL DEFAULT '',
    extensions     text[]      NOT NULL DEFAULT '{}',
    project_id     bigint REFERENCES projects (id),
    first_seen_at  timestamptz NOT NULL DEFAULT now(),
    last_seen_at   timestamptz NOT NULL DEFAULT now(),
    missing_since  timestamptz,
    UNIQUE (server_id, instance, name)
);
CREATE INDEX databases_project ON databases (project_id);

-- Pages of an inventory, which may come to several controllers, until the last one is there.
CREATE TABLE inventory_pages (
    server_id bigint      NOT NULL REFERENCES servers (id),
    page      int         NOT NULL,
    session   text        NOT NULL,
    hash      text        NOT NULL,
    last      boolean     NOT NULL,
    body      jsonb       NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server_id, page)
);

CREATE TABLE database_backups (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id       bigint      NOT NULL REFERENCES projects (id),
    server_id        bigint      NOT NULL REFERENCES servers (id),
    database_id      bigint      NOT NULL REFERENCES databases (id),
    schedule_id      bigint,
    storage_id       bigint      NOT NULL REFERENCES storages (id),
    instance         text        NOT NULL,
    database_type    text        NOT NULL CHECK (database_type IN ('postgresql', 'mysql', 'sqlite')),
    database_name    text        NOT NULL,
    type             text        NOT NULL CHECK (type IN ('manual', 'scheduled', 'pre_deploy')),
    status           text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    health           text        NOT NULL DEFAULT 'ok' CHECK (health IN ('ok', 'missing', 'corrupt', 'archived', 'deleting')),
    compression      text        NOT NULL,
    level            int         NOT NULL DEFAULT 0,
    encryption       text        NOT NULL CHECK (encryption IN ('age', 'aes-256-cbc', 'none')),
    storage_disk     text        NOT NULL CHECK (storage_disk IN ('local', 's3')),
    file_name        text        NOT NULL DEFAULT '',
    file_path        text        NOT NULL DEFAULT '', -- the object key
    file_size        bigint,
    checksum         text,                            -- SHA-256 of the stored bytes, hexadecimal
    raw_size         bigint,
    raw_checksum     text,
    etag             text,
    version_id       text,
    composite        text,                            -- composite checksum of the parts, as the statement says
    manifest         bytea,                           -- as stored in the bucket
    metadata         jsonb       NOT NULL DEFAULT '{}',
    started_at       timestamptz,
    completed_at     timestamptz,
    verified_at      timestamptz,
    verified_level   text,
    verified_by_host boolean     NOT NULL DEFAULT false, -- only by the host that made it
    error_code       text,
    error_message    text,
    error_hint       text,
    deleted_at       timestamptz, -- tombstone
    delete_reason    text,
    delete_after     timestamptz,
    purged_at        timestamptz, -- seen gone at the store
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (status <> 'completed' OR (file_size IS NOT NULL AND checksum IS NOT NULL AND manifest IS NOT NULL AND completed_at IS NOT NULL)),
    CHECK (purged_at IS NULL OR deleted_at IS NOT NULL)
);
CREATE INDEX database_backups_project ON database_backups (project_id, id DESC);
CREATE INDEX database_backups_server ON database_backups (server_id);
CREATE INDEX database_backups_database ON database_backups (database_id, id DESC);
CREATE INDEX database_backups_deletion ON database_backups (delete_after) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
CREATE UNIQUE INDEX database_backups_key ON database_backups (storage_id, file_path) WHERE file_path <> '';

-- The objects of a completed backup. An age header is unique in the catalog for good: a host that presents another backup's
-- header as its own must not have it opened.
CREATE TABLE backup_objects (
    backup_id     bigint NOT NULL REFERENCES database_backups (id),
    object        text   NOT NULL CHECK (object IN ('artifact', 'fingerprint', 'globals', 'manifest')),
    key           text   NOT NULL,
    stored_size   bigint NOT NULL,
    stored_sha256 text   NOT NULL,
    raw_size      bigint NOT NULL,
    raw_sha256    text   NOT NULL,
    etag          text   NOT NULL DEFAULT '',
    version_id    text   NOT NULL DEFAULT '',
    age_header    bytea,
    PRIMARY KEY (backup_id, object)
);
CREATE TABLE age_headers (
    sha256    bytea PRIMARY KEY,
    backup_id bigint NOT NULL REFERENCES database_backups (id),
    object    text   NOT NULL
);

CREATE TABLE restores (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id    bigint      NOT NULL REFERENCES projects (id),
    backup_id     bigint      NOT NULL REFERENCES database_backups (id),
    server_id     bigint      NOT NULL REFERENCES servers (id),
    instance      text        NOT NULL,
    database_name text        NOT NULL,
    status        text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    result        jsonb       NOT NULL DEFAULT '{}',
    error_code    text,
    error_message text,
    error_hint    text,
    started_at    timestamptz,
    completed_at  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX restores_project ON restores (project_id, id DESC);

-- One execution. Open states: queued, running, finishing. Terminal: completed, failed, cancelled, timed_out.
CREATE TABLE jobs (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                 text        NOT NULL CHECK (kind IN ('backup', 'verify', 'restore', 'drill', 'delete')),
    project_id           bigint      NOT NULL REFERENCES projects (id),
    server_id            bigint      NOT NULL REFERENCES servers (id),
    backup_id            bigint      NOT NULL REFERENCES database_backups (id), -- made by a backup, read by the others
    restore_id           bigint REFERENCES restores (id),
    level                text, -- verify: checksum or content
    status               text        NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'finishing', 'completed', 'failed', 'cancelled', 'timed_out')),
    max_duration_seconds bigint      NOT NULL,
    max_attempts         int         NOT NULL,
    attempt_no           int         NOT NULL DEFAULT 0, -- of the newest attempt
    not_before           timestamptz NOT NULL DEFAULT now(),
    deadline_at          timestamptz NOT NULL,
    urgent               boolean     NOT NULL DEFAULT false, -- fails at once where the agent is offline
    cancel_requested_at  timestamptz,
    cancel_reason        text        NOT NULL DEFAULT '',
    claim_owner          text        NOT NULL DEFAULT '',
    claim_until          timestamptz NOT NULL DEFAULT '-infinity',
    failure              jsonb,
    waiting              text        NOT NULL DEFAULT '', -- why it has not started, for people
    created_by           text        NOT NULL DEFAULT '',
    created_at           timestamptz NOT NULL DEFAULT now(),
    started_at           timestamptz,
    ended_at             timestamptz
);
CREATE INDEX jobs_open ON jobs (not_before) WHERE status IN ('queued', 'running', 'finishing');
CREATE INDEX jobs_server_open ON jobs (server_id) WHERE status IN ('queued', 'running', 'finishing');
CREATE INDEX jobs_backup ON jobs (backup_id);

-- One try. offered: the row stands, the agent has not accepted. running: accepted. uploaded: its part is over.
CREATE TABLE attempts (
    job_id           bigint      NOT NULL REFERENCES jobs (id),
    no               int         NOT NULL,
    project_id       bigint      NOT NULL REFERENCES projects (id),
    server_id        bigint      NOT NULL REFERENCES servers (id),
    token            text        NOT NULL UNIQUE,
    session          text        NOT NULL,
    status           text        NOT NULL DEFAULT 'offered' CHECK (status IN ('offered', 'running', 'uploaded', 'completed', 'failed', 'lost', 'cancelled')),
    lease_until      timestamptz,
    suspect_at       timestamptz,
    suspect_clock    double precision, -- fleet_clock.up_seconds when it became suspect
    -- uploads
    attempt_id       text        NOT NULL DEFAULT '', -- 80 random bits, in the file name
    storage_id       bigint REFERENCES storages (id),
    key              text        NOT NULL DEFAULT '',
    upload_id        text        NOT NULL DEFAULT '',
    part_size        bigint      NOT NULL DEFAULT 0,
    bytes_limit      bigint      NOT NULL DEFAULT 0,
    bytes_signed     bigint      NOT NULL DEFAULT 0,
    last_url_expires timestamptz,
    order_body       jsonb, -- the wire.Job without secrets, as ordered
    statement        bytea, -- the signed statement, as received
    settle_tries     int         NOT NULL DEFAULT 0,
    swept_at         timestamptz, -- a dead attempt: key and upload were seen gone
    sweep_after      timestamptz,
    -- progress
    stage            text        NOT NULL DEFAULT '',
    raw_bytes        bigint      NOT NULL DEFAULT 0,
    stored_bytes     bigint      NOT NULL DEFAULT 0,
    total_bytes      bigint      NOT NULL DEFAULT 0,
    failure          jsonb,
    log              text        NOT NULL DEFAULT '',
    millis           jsonb       NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    accepted_at      timestamptz,
    reported_at      timestamptz, -- the agent's report was committed
    ended_at         timestamptz,
    PRIMARY KEY (job_id, no)
);
-- At most one attempt of a job holds a valid fence.
CREATE UNIQUE INDEX attempts_one_open ON attempts (job_id) WHERE status IN ('offered', 'running', 'uploaded');
CREATE INDEX attempts_server_open ON attempts (server_id) WHERE status IN ('offered', 'running', 'uploaded');
CREATE INDEX attempts_unswept ON attempts (sweep_after) WHERE key <> '' AND swept_at IS NULL AND status IN ('failed', 'lost', 'cancelled');

CREATE TABLE upload_parts (
    job_id bigint NOT NULL,
    no     int    NOT NULL,
    object text   NOT NULL,
    number int    NOT NULL,
    size   bigint NOT NULL,
    sha256 bytea  NOT NULL,
    md5    bytea,
    etag   text   NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, no, object, number),
    FOREIGN KEY (job_id, no) REFERENCES attempts (job_id, no)
);

CREATE TABLE verifications (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint      NOT NULL REFERENCES projects (id),
    backup_id  bigint      NOT NULL REFERENCES database_backups (id),
    job_id     bigint      NOT NULL REFERENCES jobs (id),
    server_id  bigint      NOT NULL REFERENCES servers (id),
    level      text        NOT NULL CHECK (level IN ('checksum', 'content')),
    ok         boolean     NOT NULL,
    own_host   boolean     NOT NULL,
    failure    jsonb,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX verifications_backup ON verifications (backup_id, id DESC);

CREATE TABLE api_tokens (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text        NOT NULL CHECK (name <> ''),
    token_hash   bytea       NOT NULL UNIQUE,
    permissions  text[]      NOT NULL,
    projects     bigint[], -- null: all
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

CREATE TABLE idempotency_keys (
    token_id     bigint      NOT NULL REFERENCES api_tokens (id),
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    status       int, -- null: the first request is still at work
    body         bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token_id, key)
);

CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text        NOT NULL,
    action     text        NOT NULL,
    project_id bigint,
    subject    text        NOT NULL DEFAULT '',
    detail     jsonb       NOT NULL DEFAULT '{}',
    remote     text        NOT NULL DEFAULT ''
);

CREATE TABLE security_events (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    server_id bigint REFERENCES servers (id),
    kind      text        NOT NULL, -- stale_attempt, duplicate_agent, forged_directive, foreign_object, foreign_header, permission, …
    detail    text        NOT NULL DEFAULT '',
    count     bigint      NOT NULL DEFAULT 1
);
CREATE INDEX security_events_kind ON security_events (kind, id DESC);

DO $$
DECLARE t text;
BEGIN
    -- Rows of one project.
    FOREACH t IN ARRAY ARRAY['database_backups', 'restores', 'jobs', 'attempts', 'verifications', 'project_servers'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY scope ON %I USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id))', t);
    END LOOP;
    -- Rows that only the controller itself reads and writes.
    FOREACH t IN ARRAY ARRAY['installation', 'sealed_secrets', 'controllers', 'fleet_clock', 'agent_sessions', 'inventory_pages', 'upload_parts',
                             'backup_objects', 'age_headers', 'security_events', 'idempotency_keys', 'api_tokens'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY system ON %I USING (devflow_system()) WITH CHECK (devflow_system())', t);
    END LOOP;
END $$;

ALTER TABLE projects ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON projects USING (devflow_sees(id)) WITH CHECK (devflow_sees(id));

-- A storage of no project may be used, not changed, by every project.
ALTER TABLE storages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON storages FOR SELECT USING (devflow_sees(project_id)
    OR project_id IS NULL AND coalesce(current_setting('devflow.scope', true), '') <> '');
CREATE POLICY writes ON storages USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));

-- A project sees the servers granted to it and those that its backups came from; it changes none.
ALTER TABLE servers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON servers FOR SELECT USING (devflow_sees(NULL)
    OR EXISTS (SELECT FROM project_servers g WHERE g.server_id = servers.id)
    OR EXISTS (SELECT FROM database_backups b WHERE b.server_id = servers.id));
CREATE POLICY writes ON servers USING (devflow_sees(NULL)) WITH CHECK (devflow_sees(NULL));
ALTER TABLE instances ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON instances FOR SELECT USING (devflow_sees(NULL)
    OR EXISTS (SELECT FROM project_servers g WHERE g.server_id = instances.server_id));
CREATE POLICY writes ON instances USING (devflow_system()) WITH CHECK (devflow_system());
-- Of a server's databases it sees its own.
ALTER TABLE databases ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON databases USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));
ALTER TABLE enrolment_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON enrolment_tokens USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON audit_log FOR SELECT USING (devflow_sees(project_id));
CREATE POLICY appends ON audit_log FOR INSERT WITH CHECK (devflow_sees(project_id));
