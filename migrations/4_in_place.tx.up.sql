-- Restores in the place of a database that is there: planned, swapped, kept for a time, undone.
ALTER TABLE instances ADD COLUMN in_place boolean NOT NULL DEFAULT false;

ALTER TABLE restores
    ADD COLUMN in_place         boolean NOT NULL DEFAULT false,
    ADD COLUMN undo_of          bigint REFERENCES restores (id), -- an undo: brings back what that restore kept
    ADD COLUMN identity         text    NOT NULL DEFAULT '',     -- of the target, as its agent told it when the restore was asked for
    ADD COLUMN sessions         text    NOT NULL DEFAULT 'refuse' CHECK (sessions IN ('refuse', 'wait', 'end')),
    ADD COLUMN wait_seconds     bigint  NOT NULL DEFAULT 0,
    ADD COLUMN choices          jsonb   NOT NULL DEFAULT '{}',   -- wire.RestoreChoices
    ADD COLUMN safety_backup_id bigint REFERENCES database_backups (id),
    ADD COLUMN staged_name      text    NOT NULL DEFAULT '',     -- in place: what comes into the target's place
    ADD COLUMN kept_name        text    NOT NULL DEFAULT '',     -- in place: what the target's old content is, or will be, called
    ADD COLUMN keep_seconds     bigint  NOT NULL DEFAULT 0,
    ADD COLUMN kept_state       text    NOT NULL DEFAULT '' CHECK (kept_state IN ('', 'kept', 'undone', 'removed')),
    ADD COLUMN kept_until       timestamptz,
    ADD COLUMN kept_retry_at    timestamptz,                     -- after a removal that failed
    ADD COLUMN kept_error       text    NOT NULL DEFAULT '',
    ADD COLUMN settle_after     timestamptz,                     -- of an unknown target: after a settlement that failed
    -- untouched: the old content; replaced: the new; unknown: an attempt was lost where only the server can tell, see job kind settle.
    ADD COLUMN target_state     text    NOT NULL DEFAULT '' CHECK (target_state IN ('', 'untouched', 'replaced', 'unknown')),
    ADD CONSTRAINT restores_in_place CHECK (NOT in_place OR identity <> '' AND staged_name <> '' AND kept_name <> ''),
    ADD CONSTRAINT restores_undo CHECK (undo_of IS NULL OR in_place),
    ADD CONSTRAINT restores_kept CHECK (kept_state <> 'kept' OR kept_until IS NOT NULL);
CREATE INDEX restores_kept ON restores (kept_until) WHERE kept_state = 'kept';
CREATE INDEX restores_unknown ON restores (id) WHERE target_state = 'unknown';
CREATE INDEX restores_undo_of ON restores (undo_of) WHERE undo_of IS NOT NULL;
CREATE INDEX restores_safety ON restores (safety_backup_id) WHERE safety_backup_id IS NOT NULL;
CREATE INDEX restores_at_work ON restores (server_id, instance, database_name) WHERE status IN ('pending', 'running');

ALTER TABLE jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('backup', 'verify', 'restore', 'drill', 'delete', 'undo', 'settle', 'discard')),
    ADD COLUMN after_job_id bigint REFERENCES jobs (id); -- starts when that one is completed, and fails when it is not
CREATE INDEX jobs_restore ON jobs (restore_id) WHERE restore_id IS NOT NULL;
CREATE INDEX jobs_after ON jobs (after_job_id) WHERE after_job_id IS NOT NULL;

ALTER TABLE database_backups
    DROP CONSTRAINT database_backups_type_check,
    ADD CONSTRAINT database_backups_type_check CHECK (type IN ('manual', 'scheduled', 'pre_deploy', 'pre_restore'));
