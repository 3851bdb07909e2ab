"""The index of words and texts, what it is to hold, and the records that it has not reached yet."""

from shared.database.migrations import run_sql

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE search_texts (
            workspace_id text        NOT NULL,
            created_at   timestamptz NOT NULL,
            record_id    text        NOT NULL,
            schema_id    text        NOT NULL,
            level        smallint    NOT NULL,
            keys         tsvector    COMPRESSION lz4 NOT NULL,
            grams        integer[]   COMPRESSION lz4 NOT NULL,
            attributes   text[]      COMPRESSION lz4 NOT NULL,
            words        tsvector[]  COMPRESSION lz4 NOT NULL,
            options      text[]      COMPRESSION lz4 NOT NULL,
            folded_of    text[]      COMPRESSION lz4 NOT NULL,
            folded       text[]      COMPRESSION lz4 NOT NULL,
            PRIMARY KEY (workspace_id, created_at, record_id)
        )
        """
    )
    # Keys and grams are of one workspace each: these need no other column.
    run_sql("CREATE INDEX search_texts_by_key ON search_texts USING gin (keys)")
    run_sql("CREATE INDEX search_texts_by_gram ON search_texts USING gin (grams)")
    run_sql(
        """
        CREATE TABLE search_texts_behind (
            workspace_id text          NOT NULL,
            id           bigint        GENERATED ALWAYS AS IDENTITY,
            records      integer       NOT NULL,
            record_ids   text[]        NOT NULL,
            created_at   timestamptz[] NOT NULL,
            PRIMARY KEY (workspace_id, id)
        )
        """
    )
    run_sql(
        """
        CREATE TABLE search_layouts (
            workspace_id     text    NOT NULL,
            layout           jsonb,
            wanted           jsonb   NOT NULL,
            model_version    bigint  NOT NULL,
            after_created_at timestamptz,
            after_id         text,
            is_done          boolean NOT NULL DEFAULT false,
            gone             text[]  NOT NULL DEFAULT '{}',
            PRIMARY KEY (workspace_id)
        )
        """
    )
