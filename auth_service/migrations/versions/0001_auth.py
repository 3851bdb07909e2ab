"""Workspaces, roles, users, API keys, what guessing costs, and the table for events."""

from shared.database.migrations import run_sql
from shared.messaging import outbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE workspaces (
            workspace_id text NOT NULL,
            name         text NOT NULL,
            record_limit bigint NOT NULL CHECK (record_limit >= 0),
            version      bigint NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            CONSTRAINT workspaces_id_taken PRIMARY KEY (workspace_id)
        );

        -- Outlives the role: one that is made again under the id of a deleted one goes on counting,
        -- so that no copy elsewhere takes the old one for the newer.
        CREATE TABLE role_versions (
            workspace_id text NOT NULL,
            role_id      text NOT NULL,
            version      bigint NOT NULL,
            PRIMARY KEY (workspace_id, role_id)
        );

        CREATE TABLE roles (
            workspace_id        text NOT NULL REFERENCES workspaces (workspace_id),
            id                  text NOT NULL,
            name                text NOT NULL,
            description         text,
            flags               text[] NOT NULL,
            schema_permissions  jsonb NOT NULL,
            catalog_permissions jsonb NOT NULL,
            version             bigint NOT NULL,
            created_at          timestamptz NOT NULL,
            updated_at          timestamptz NOT NULL,
            CONSTRAINT roles_id_taken PRIMARY KEY (workspace_id, id)
        );
        CREATE INDEX roles_in_order ON roles (workspace_id, created_at, id);

        CREATE TABLE users (
            workspace_id  text NOT NULL,
            id            text NOT NULL,
            email         text NOT NULL,
            name          text NOT NULL,
            role_id       text NOT NULL,
            password_hash text NOT NULL,
            active        boolean NOT NULL,
            quick_login   boolean NOT NULL,
            version       bigint NOT NULL,
            created_at    timestamptz NOT NULL,
            updated_at    timestamptz NOT NULL,
            CONSTRAINT users_id_taken PRIMARY KEY (workspace_id, id),
            CONSTRAINT users_have_a_role
                FOREIGN KEY (workspace_id, role_id) REFERENCES roles (workspace_id, id)
        );
        CREATE INDEX users_by_role ON users (workspace_id, role_id);

        -- Whose an address is, over all workspaces: who logs in names no workspace.
        CREATE TABLE addresses (
            address      text NOT NULL,
            workspace_id text NOT NULL,
            user_id      text NOT NULL,
            CONSTRAINT addresses_taken PRIMARY KEY (address)
        );

        CREATE TABLE api_keys (
            workspace_id text NOT NULL REFERENCES workspaces (workspace_id),
            id           text NOT NULL,
            name         text NOT NULL,
            permissions  text[] NOT NULL,
            key_hash     bytea NOT NULL,
            active       boolean NOT NULL,
            version      bigint NOT NULL,
            created_by   text NOT NULL,
            created_at   timestamptz NOT NULL,
            last_used_at timestamptz,
            CONSTRAINT api_keys_id_taken PRIMARY KEY (workspace_id, id)
        );
        CREATE INDEX api_keys_by_hash ON api_keys (key_hash);
        CREATE INDEX api_keys_in_order ON api_keys (workspace_id, created_at, id);

        -- No tenant data: digests of whatever addresses were tried, existing or not.
        CREATE TABLE login_attempts (
            address_digest bytea NOT NULL,
            failures       integer NOT NULL,
            blocked_until  timestamptz NOT NULL,
            last_at        timestamptz NOT NULL,
            PRIMARY KEY (address_digest)
        );
        CREATE INDEX login_attempts_by_age ON login_attempts (last_at);
        """
    )
    run_sql(outbox.SCHEMA)
