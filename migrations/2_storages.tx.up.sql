-- Symmetric keys, backups on the database's own host, downloads.

-- The project's app key, sealed: the keys of its aes-256-cbc backups are derived from it. Null until the first use.
ALTER TABLE projects ADD COLUMN app_key bytea;

-- HMAC-SHA-256 over the stored SHA-256, hexadecimal; empty unless the object is encrypted by aes-256-cbc.
ALTER TABLE backup_objects ADD COLUMN mac text NOT NULL DEFAULT '';

ALTER TABLE storages ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- Why a deleted backup is not yet gone from its storage, for people.
ALTER TABLE database_backups ADD COLUMN delete_waiting text NOT NULL DEFAULT '';

-- What a storage holds.
CREATE INDEX database_backups_storage ON database_backups (storage_id, id DESC) INCLUDE (file_size) WHERE purged_at IS NULL AND status <> 'failed';

-- Links that let someone fetch one object once. The token is in the URL alone; here is its hash.
CREATE TABLE download_links (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea       NOT NULL UNIQUE,
    project_id bigint      NOT NULL REFERENCES projects (id),
    backup_id  bigint      NOT NULL REFERENCES database_backups (id),
    object     text        NOT NULL CHECK (object IN ('artifact', 'fingerprint', 'globals', 'manifest')),
    format     text        NOT NULL CHECK (format IN ('stored', 'dump')),
    created_by text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX download_links_backup ON download_links (backup_id);
ALTER TABLE download_links ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON download_links USING (devflow_sees(project_id)) WITH CHECK (devflow_sees(project_id));
