-- Silence is never good news: facts, alarms, notices and how they get to people; metrics that survive controllers.

-- Facts: what happened, written by triggers in the transaction of the change, so that none is lost; one controller at a time takes
-- them out, in the transaction that writes what follows from them. The body names ids and states, never secrets.
CREATE TABLE facts (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    project    bigint, -- null: of a server or of the installation
    body       jsonb       NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);

-- The first argument is the kind, the others are the columns that are told.
CREATE FUNCTION devflow_fact() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_row jsonb := to_jsonb(NEW);
    body    jsonb := '{}';
    name    text;
BEGIN
    FOREACH name IN ARRAY TG_ARGV[1:] LOOP
        body := body || jsonb_build_object(name, now_row -> name);
    END LOOP;
    INSERT INTO facts (kind, project, body) VALUES (TG_ARGV[0], (now_row ->> 'project_id')::bigint, body);
    PERFORM pg_notify('devflow_facts', '');
    RETURN NULL;
END $$;

-- Ends of backups, jobs, attempts, restores and verifications.
CREATE TRIGGER fact_made AFTER INSERT ON database_backups FOR EACH ROW WHEN (NEW.status = 'failed')
    EXECUTE FUNCTION devflow_fact('backup', 'id', 'database_id', 'schedule_id', 'status');
CREATE TRIGGER fact_ended AFTER UPDATE OF status ON database_backups FOR EACH ROW WHEN (NEW.status IN ('completed', 'failed') AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION devflow_fact('backup', 'id', 'database_id', 'schedule_id', 'status');
CREATE TRIGGER fact_started AFTER UPDATE OF status ON database_backups FOR EACH ROW WHEN (NEW.status = 'running' AND OLD.status <> 'running' AND NEW.schedule_id IS NOT NULL)
    EXECUTE FUNCTION devflow_fact('started', 'id', 'database_id', 'schedule_id');
CREATE TRIGGER fact_ended AFTER UPDATE OF status ON jobs FOR EACH ROW WHEN (NEW.status IN ('completed', 'failed', 'cancelled', 'timed_out') AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION devflow_fact('job', 'id', 'kind', 'status', 'backup_id', 'created_at', 'started_at', 'ended_at', 'failure');
CREATE TRIGGER fact_lost AFTER UPDATE OF status ON attempts FOR EACH ROW WHEN (NEW.status = 'lost' AND OLD.status <> 'lost')
    EXECUTE FUNCTION devflow_fact('lost', 'job_id', 'no', 'server_id');
CREATE TRIGGER fact_ended AFTER UPDATE OF status ON restores FOR EACH ROW WHEN (NEW.status IN ('completed', 'failed') AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION devflow_fact('restore', 'id', 'backup_id', 'server_id', 'status');
CREATE TRIGGER fact_failed AFTER INSERT ON verifications FOR EACH ROW WHEN (NOT NEW.ok)
    EXECUTE FUNCTION devflow_fact('verification', 'id', 'backup_id', 'job_id', 'level');
-- Occurrences that were not run, or not for every database.
CREATE TRIGGER fact_missed AFTER INSERT ON schedule_occurrences FOR EACH ROW WHEN (NEW.state <> 'run')
    EXECUTE FUNCTION devflow_fact('occurrence', 'schedule_id', 'at', 'state', 'code', 'reason');
CREATE TRIGGER fact_missed AFTER INSERT ON occurrence_databases FOR EACH ROW WHEN (NEW.state <> 'run')
    EXECUTE FUNCTION devflow_fact('occurrence_database', 'schedule_id', 'at', 'database_id', 'state', 'code', 'reason');
-- Security events; of one that is counted again, its count.
CREATE TRIGGER fact_made AFTER INSERT ON security_events FOR EACH ROW EXECUTE FUNCTION devflow_fact('security', 'id', 'server_id', 'kind', 'detail', 'count');
CREATE TRIGGER fact_again AFTER UPDATE OF count ON security_events FOR EACH ROW EXECUTE FUNCTION devflow_fact('security', 'id', 'server_id', 'kind', 'detail', 'count');

-- Where people are told. Its target opens under the master key alone; hint is what of it may be shown.
CREATE TABLE channels (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id    bigint REFERENCES projects (id), -- null: of the installation
    name          text        NOT NULL CHECK (name <> ''),
    kind          text        NOT NULL, -- email, webhook, slack, …
    target_sealed bytea       NOT NULL,
    hint          text        NOT NULL DEFAULT '',
    is_default    boolean     NOT NULL DEFAULT false, -- of the installation: takes what no channel of a project takes
    is_active     boolean     NOT NULL DEFAULT true,
    kinds         text[]      NOT NULL DEFAULT '{}', -- of notices; empty: all but those that are off unless named
    min_severity  text        NOT NULL DEFAULT 'info' CHECK (min_severity IN ('info', 'warning', 'critical')),
    remind_hours  int         NOT NULL DEFAULT 24 CHECK (remind_hours >= 0), -- of open alarms; 0: never
    fallback_id   bigint REFERENCES channels (id),
    failures      int         NOT NULL DEFAULT 0, -- in a row
    failing_since timestamptz,
    last_error    text        NOT NULL DEFAULT '',
    last_sent_at  timestamptz,
    next_at       timestamptz NOT NULL DEFAULT '-infinity', -- no new message before it
    created_by    text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz,
    CHECK (NOT is_default OR project_id IS NULL)
);
CREATE UNIQUE INDEX channels_name ON channels (coalesce(project_id, 0), name) WHERE deleted_at IS NULL;

-- Conditions that stand. One of a key is open at a time.
CREATE TABLE alarms (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL,
    key         text        NOT NULL,
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    project_id  bigint REFERENCES projects (id),
    server_id   bigint REFERENCES servers (id),
    database_id bigint REFERENCES databases (id),
    schedule_id bigint REFERENCES backup_schedules (id),
    storage_id  bigint REFERENCES storages (id),
    backup_id   bigint REFERENCES database_backups (id),
    channel_id  bigint REFERENCES channels (id),
    title       text        NOT NULL,
    detail      text        NOT NULL DEFAULT '',
    silenced    boolean     NOT NULL DEFAULT false, -- its schedule tells nobody
    count       bigint      NOT NULL DEFAULT 1,     -- how often it was raised
    opened_at   timestamptz NOT NULL DEFAULT now(),
    last_at     timestamptz NOT NULL DEFAULT now(), -- raised last
    gone_at     timestamptz,                        -- not seen since; closed if that lasts
    remind_at   timestamptz,                        -- not before then; null: as soon as it is looked at
    closed_at   timestamptz
);
CREATE UNIQUE INDEX alarms_open ON alarms (key) WHERE closed_at IS NULL;
CREATE INDEX alarms_closed ON alarms (closed_at DESC) WHERE closed_at IS NOT NULL;
CREATE INDEX alarms_project ON alarms (project_id, id DESC);
CREATE TRIGGER tells AFTER INSERT OR UPDATE OF severity, count, closed_at ON alarms FOR EACH ROW EXECUTE FUNCTION
    devflow_event('alarm', '-id', '-kind', '-title', 'severity', 'count', 'closed_at');

-- One thing to be told.
CREATE TABLE notices (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL,
    event       text        NOT NULL CHECK (event IN ('happened', 'opened', 'reminder', 'closed', 'test')),
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    alarm_id    bigint REFERENCES alarms (id),
    project_id  bigint REFERENCES projects (id),
    server_id   bigint REFERENCES servers (id),
    database_id bigint REFERENCES databases (id),
    schedule_id bigint REFERENCES backup_schedules (id),
    storage_id  bigint REFERENCES storages (id),
    backup_id   bigint REFERENCES database_backups (id),
    restore_id  bigint REFERENCES restores (id),
    title       text        NOT NULL,
    detail      text        NOT NULL DEFAULT '',
    unsent      text        NOT NULL DEFAULT '' CHECK (unsent IN ('', 'muted', 'silenced', 'nowhere')), -- why there is no delivery
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notices_project ON notices (project_id, id DESC);
CREATE INDEX notices_alarm ON notices (alarm_id, id DESC) WHERE alarm_id IS NOT NULL;
CREATE INDEX notices_at ON notices (at);

-- What is sent: the deliveries of one channel that go together. It is kept until it was sent or given up.
CREATE TABLE messages (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid         text        NOT NULL UNIQUE, -- receivers tell doubles by it
    channel_id  bigint      NOT NULL REFERENCES channels (id),
    fallback_of bigint REFERENCES messages (id),
    status      text        NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'sent', 'failed', 'dropped')), -- dropped: its channel is gone
    severity    text        NOT NULL,
    notices     int         NOT NULL,
    body        jsonb       NOT NULL, -- as senders take it
    attempts    int         NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(),
    claim_owner text        NOT NULL DEFAULT '',
    claim_until timestamptz NOT NULL DEFAULT '-infinity',
    error       text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz
);
CREATE INDEX messages_open ON messages (next_at) WHERE status = 'open';
CREATE INDEX messages_channel ON messages (channel_id, id DESC);
CREATE INDEX messages_fallback ON messages (fallback_of) WHERE fallback_of IS NOT NULL;
CREATE INDEX messages_ended ON messages (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE deliveries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice_id  bigint NOT NULL REFERENCES notices (id) ON DELETE CASCADE,
    channel_id bigint NOT NULL REFERENCES channels (id),
    project_id bigint,                           -- of the notice
    urgent     boolean     NOT NULL DEFAULT false,
    message_id bigint REFERENCES messages (id), -- null: waits for its message
    fallback_message_id bigint REFERENCES messages (id), -- what told it in the place of a channel that fails
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (notice_id, channel_id)
);
CREATE INDEX deliveries_waiting ON deliveries (channel_id, id) WHERE message_id IS NULL;
CREATE INDEX deliveries_urgent ON deliveries (channel_id, id) WHERE message_id IS NULL AND urgent;
CREATE INDEX deliveries_fallback ON deliveries (fallback_message_id) WHERE fallback_message_id IS NOT NULL;
CREATE INDEX deliveries_message ON deliveries (message_id) WHERE message_id IS NOT NULL;

-- Who does not want to hear of something, until when and why.
CREATE TABLE mutes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text        NOT NULL CHECK (scope IN ('everything', 'project', 'server', 'database', 'channel', 'alarm')),
    kind        text        NOT NULL DEFAULT '', -- of notices; empty: all
    project_id  bigint REFERENCES projects (id),
    server_id   bigint REFERENCES servers (id),
    database_id bigint REFERENCES databases (id),
    channel_id  bigint REFERENCES channels (id),
    alarm_id    bigint REFERENCES alarms (id),
    until       timestamptz NOT NULL,
    reason      text        NOT NULL CHECK (reason <> ''),
    created_by  text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    ended_by    text        NOT NULL DEFAULT ''
);
CREATE INDEX mutes_open ON mutes (until) WHERE ended_at IS NULL;

-- When each recurring piece of the work was done last; whoever has the row does the next.
CREATE TABLE alarm_rounds (
    name    text PRIMARY KEY, -- conditions: when they were looked at last; looking: when that was begun; reminders, summary, probes, trim
    done_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO alarm_rounds (name) VALUES ('conditions'), ('looking'), ('reminders'), ('summary'), ('probes'), ('trim');

-- Dead-man pings of schedules: GET URL/start, URL and URL/fail. The URL is a secret.
ALTER TABLE backup_schedules ADD COLUMN ping_sealed bytea;
ALTER TABLE backup_schedules ADD COLUMN ping_hint text NOT NULL DEFAULT '';
CREATE TABLE pings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id bigint      NOT NULL REFERENCES backup_schedules (id),
    project_id  bigint      NOT NULL REFERENCES projects (id),
    state       text        NOT NULL CHECK (state IN ('start', 'success', 'fail')),
    text        text        NOT NULL DEFAULT '',
    attempts    int         NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(),
    claim_until timestamptz NOT NULL DEFAULT '-infinity',
    error       text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX pings_due ON pings (next_at);

-- The power of ten up to which the count of a security event was told, and how much of it the counters hold.
ALTER TABLE security_events ADD COLUMN told bigint NOT NULL DEFAULT 0;
ALTER TABLE security_events ADD COLUMN counted bigint NOT NULL DEFAULT 0;
-- Rows of the database that was dumped, where its agent counted them exactly.
ALTER TABLE attempts ADD COLUMN rows bigint;
-- Since when jobs fail at a storage; it is probed soon.
ALTER TABLE storages ADD COLUMN suspect_at timestamptz;

-- Databases that nobody has to back up, by choice.
ALTER TABLE databases ADD COLUMN ignored_at timestamptz;
ALTER TABLE databases ADD COLUMN ignored_by text NOT NULL DEFAULT '';
ALTER TABLE databases ADD COLUMN ignored_reason text NOT NULL DEFAULT '';
ALTER TABLE databases ADD COLUMN assigned_at timestamptz; -- to its project; null: since it was first seen
-- The longest time between two occurrences of a schedule; null until it was computed.
ALTER TABLE backup_schedules ADD COLUMN interval_seconds bigint;
ALTER TABLE backup_schedules ADD COLUMN activated_at timestamptz NOT NULL DEFAULT now();
UPDATE backup_schedules SET activated_at = created_at;
CREATE INDEX backup_schedules_database ON backup_schedules (database_id) WHERE database_id IS NOT NULL AND is_active AND deleted_at IS NULL;

-- When the weekly summary is sent, in the installation's zone; null: never.
ALTER TABLE installation ADD COLUMN summary_day smallint DEFAULT 1 CHECK (summary_day BETWEEN 0 AND 6); -- 0: Sunday
ALTER TABLE installation ADD COLUMN summary_time text NOT NULL DEFAULT '08:00';

-- Counters of the whole installation, for metrics. They only grow.
CREATE TABLE job_totals (
    kind    text   NOT NULL,
    status  text   NOT NULL,
    code    text   NOT NULL DEFAULT '', -- of the failure
    jobs    bigint NOT NULL DEFAULT 0,
    seconds double precision NOT NULL DEFAULT 0, -- from start to end
    buckets bigint[] NOT NULL DEFAULT '{}',      -- by duration, not cumulative; one more than there are bounds
    bytes   bigint NOT NULL DEFAULT 0,           -- stored by completed backups
    raw_bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, status, code)
);
CREATE TABLE counters (
    name  text   NOT NULL, -- lease_lost, security, occurrence_missed, notice, message, …
    label text   NOT NULL DEFAULT '',
    value bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (name, label)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['pings', 'deliveries'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY scope ON %I USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id))', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['channels', 'alarms', 'notices'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY scope ON %I USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id))', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['messages', 'alarm_rounds', 'job_totals', 'counters'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY system ON %I USING (devflow_system()) WITH CHECK (devflow_system())', t);
    END LOOP;
END $$;
-- What mutes everything or a server is seen by all whose notices it holds back; it is changed by who sees everything.
ALTER TABLE mutes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON mutes FOR SELECT USING (devflow_sees(project_id)
    OR project_id IS NULL AND scope IN ('everything', 'server') AND coalesce(current_setting('devflow.scope', true), '') <> '');
CREATE POLICY writes ON mutes USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));
ALTER TABLE facts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY reads ON facts USING (devflow_system()) WITH CHECK (devflow_system());
CREATE POLICY appends ON facts FOR INSERT WITH CHECK (devflow_sees(project));
