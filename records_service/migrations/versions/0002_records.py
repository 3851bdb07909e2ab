"""Records, their unique values and counts, their history, and what other services own a copy of."""

from shared.database.migrations import run_sql
from shared.messaging import inbox, outbox

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE usage (
            workspace_id text NOT NULL,
            stripe       smallint NOT NULL,
            records      bigint NOT NULL,
            room         bigint NOT NULL,
            record_limit bigint NOT NULL,
            PRIMARY KEY (workspace_id, stripe),
            CONSTRAINT usage_gives_no_more_than_it_has CHECK (room >= 0)
        ) WITH (fillfactor = 50);

        CREATE TABLE records (
            workspace_id text NOT NULL,
            id           text NOT NULL,
            schema_id    text NOT NULL,
            state_id     text,
            version      bigint NOT NULL,
            values       jsonb NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            created_by   text NOT NULL,
            updated_by   text NOT NULL,
            CONSTRAINT records_id_taken PRIMARY KEY (workspace_id, id)
        );
        CREATE INDEX records_in_order ON records (workspace_id, created_at, id);
        CREATE INDEX records_by_schema
            ON records (workspace_id, schema_id, created_at, id) INCLUDE (state_id);

        CREATE TABLE unique_values (
            workspace_id text NOT NULL,
            attribute_id text NOT NULL,
            scope        text NOT NULL,
            value_hash   bytea NOT NULL,
            record_id    text NOT NULL,
            CONSTRAINT unique_value_taken
                PRIMARY KEY (workspace_id, attribute_id, scope, value_hash)
        );
        CREATE INDEX unique_values_of_record ON unique_values (workspace_id, record_id);

        CREATE TABLE audit (
            workspace_id  text NOT NULL,
            id            bigint GENERATED ALWAYS AS IDENTITY,
            record_id     text NOT NULL,
            schema_id     text NOT NULL,
            action        text NOT NULL,
            user_id       text NOT NULL,
            at            timestamptz NOT NULL,
            changes       json NOT NULL,
            from_state_id text,
            to_state_id   text,
            comment       text,
            PRIMARY KEY (workspace_id, id)
        );
        CREATE INDEX audit_of_record ON audit (workspace_id, record_id, id);

        -- Outlives the record: one that is made again under a deleted one's id goes on counting.
        CREATE TABLE record_lives (
            workspace_id text NOT NULL,
            record_id    text NOT NULL,
            last_version bigint NOT NULL,
            next_version bigint NOT NULL,
            PRIMARY KEY (workspace_id, record_id),
            CONSTRAINT record_goes_on_counting CHECK (next_version = last_version + 1)
        );

        CREATE TABLE lifecycles (
            workspace_id text NOT NULL,
            workflow_id  text NOT NULL,
            version      bigint NOT NULL,
            definition   jsonb NOT NULL,
            retired      text[] NOT NULL DEFAULT '{}',
            retired_in   bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (workspace_id, workflow_id)
        );

        CREATE TABLE roles (
            workspace_id text NOT NULL,
            id           text NOT NULL,
            version      bigint NOT NULL,
            document     jsonb NOT NULL,
            PRIMARY KEY (workspace_id, id)
        );
        """
    )
    run_sql(outbox.SCHEMA)
    run_sql(inbox.SCHEMA)
