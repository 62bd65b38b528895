-- People who sign in, their sessions, and tokens that act for the users of a panel or are given a new secret.

-- panel: each request names the user that it acts for, with that user's permissions and projects.
ALTER TABLE api_tokens
    ADD COLUMN kind           text NOT NULL DEFAULT 'api' CHECK (kind IN ('api', 'panel')),
    ADD COLUMN rotated_at     timestamptz,
    ADD COLUMN previous_hash  bytea UNIQUE, -- of the secret before the rotation
    ADD COLUMN previous_until timestamptz,  -- it works until then
    ADD CONSTRAINT api_tokens_previous CHECK ((previous_hash IS NULL) = (previous_until IS NULL));

-- Sign-in failures are counted under the hash of a name or of an address: a name that is typed may be a password in the wrong field.
CREATE TABLE sign_in_failures (
    key          bytea       PRIMARY KEY,
    count        int         NOT NULL DEFAULT 0,
    last_at      timestamptz NOT NULL DEFAULT now(),
    locked_until timestamptz
);

CREATE TABLE users (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text        NOT NULL CHECK (name <> '' AND name = lower(name)),
    display_name    text        NOT NULL DEFAULT '',
    password        text        NOT NULL DEFAULT '', -- argon2id as a PHC string; empty: signs in by the provider alone
    password_at     timestamptz,
    issuer          text        NOT NULL DEFAULT '', -- of the OpenID Connect provider, empty for a local user
    subject         text        NOT NULL DEFAULT '', -- the provider's name of the user, which never changes
    admin           boolean     NOT NULL DEFAULT false, -- every permission
    permissions     text[]      NOT NULL DEFAULT '{}',
    projects        bigint[],   -- null: all
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_sign_in_at timestamptz,
    disabled_at     timestamptz,
    deleted_at      timestamptz,
    CHECK ((issuer = '') = (subject = ''))
);
CREATE UNIQUE INDEX users_subject ON users (issuer, subject) WHERE issuer <> '' AND deleted_at IS NULL;
-- The name of a deleted user can be given again.
CREATE UNIQUE INDEX users_name ON users (name) WHERE deleted_at IS NULL;

CREATE TABLE user_sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint      NOT NULL REFERENCES users (id),
    token_hash bytea       NOT NULL UNIQUE,
    method     text        NOT NULL CHECK (method IN ('password', 'oidc')),
    remote     text        NOT NULL DEFAULT '',
    agent      text        NOT NULL DEFAULT '', -- the browser, as it calls itself
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX user_sessions_user ON user_sessions (user_id) WHERE ended_at IS NULL;

-- A key belongs to whoever sent it: a token, a token for one user of the panel, a user.
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey;
ALTER TABLE idempotency_keys ALTER COLUMN token_id DROP NOT NULL;
ALTER TABLE idempotency_keys ADD COLUMN owner text NOT NULL DEFAULT '';
UPDATE idempotency_keys SET owner = 'token ' || token_id;
ALTER TABLE idempotency_keys ADD PRIMARY KEY (owner, key), ADD CHECK (owner <> '');

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['users', 'user_sessions', 'sign_in_failures'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY system ON %I USING (devflow_system()) WITH CHECK (devflow_system())', t);
    END LOOP;
END $$;
