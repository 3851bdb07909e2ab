"""Catalogs, their categories, and the records that are assigned to these."""

from shared.database.migrations import run_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    # The lock of all trees of a workspace, and the number of changes of them.
    run_sql(
        """
        CREATE TABLE catalog_versions (
            workspace_id text PRIMARY KEY,
            version      bigint NOT NULL
        ) WITH (fillfactor = 50)
        """
    )
    # `codes` counts the codes that paths have been given; `categories` and `bytes` the present.
    run_sql(
        """
        CREATE TABLE catalogs (
            workspace_id text NOT NULL,
            id           text NOT NULL,
            alias        text NOT NULL,
            body         jsonb NOT NULL,
            version      bigint NOT NULL,
            codes       bigint NOT NULL DEFAULT 0,
            categories   bigint NOT NULL DEFAULT 0,
            bytes        bigint NOT NULL DEFAULT 0,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            CONSTRAINT catalogs_id_taken PRIMARY KEY (workspace_id, id),
            CONSTRAINT catalogs_alias_taken UNIQUE (workspace_id, alias)
        )
        """
    )
    # The code of a category, after those of the categories above it, is its `path`: what is below
    # it are the paths that begin with its own.
    run_sql(
        """
        CREATE TABLE categories (
            workspace_id        text NOT NULL,
            id                  text NOT NULL,
            catalog_id          text NOT NULL,
            parent_id           text,
            path                text COLLATE "C" NOT NULL,
            alias               text,
            body                jsonb NOT NULL,
            sort_order          double precision NOT NULL,
            bytes               bigint NOT NULL,
            version             bigint NOT NULL,
            assignments_version bigint NOT NULL,
            created_at          timestamptz NOT NULL,
            updated_at          timestamptz NOT NULL,
            CONSTRAINT categories_id_taken PRIMARY KEY (workspace_id, id),
            CONSTRAINT categories_in_order UNIQUE (workspace_id, catalog_id, path),
            CONSTRAINT category_is_in_a_catalog FOREIGN KEY (workspace_id, catalog_id)
                REFERENCES catalogs (workspace_id, id) ON DELETE CASCADE,
            CONSTRAINT category_is_below_another FOREIGN KEY (workspace_id, parent_id)
                REFERENCES categories (workspace_id, id)
        )
        """
    )
    run_sql("CREATE INDEX categories_below ON categories (workspace_id, parent_id)")
    run_sql(
        """
        CREATE UNIQUE INDEX categories_alias_taken
            ON categories (workspace_id, catalog_id, parent_id, alias) NULLS NOT DISTINCT
         WHERE alias IS NOT NULL
        """
    )
    for table in ("catalogs", "categories"):
        run_sql(
            f"""
            CREATE UNIQUE INDEX {table}_external_key_taken
                ON {table} (workspace_id, (body ->> 'externalKey'))
             WHERE body ->> 'externalKey' IS NOT NULL
            """
        )
    # The database removes the assignments of a deleted record: it also does so for code of the
    # version before, and for an assignment that is stored at the same moment.
    run_sql(
        """
        CREATE TABLE category_assignments (
            workspace_id      text NOT NULL,
            record_id         text NOT NULL,
            category_id       text NOT NULL,
            catalog_id        text NOT NULL,
            record_created_at timestamptz NOT NULL,
            PRIMARY KEY (workspace_id, record_id, category_id),
            CONSTRAINT assignment_of_a_record FOREIGN KEY (workspace_id, record_id)
                REFERENCES records (workspace_id, id) ON DELETE CASCADE,
            CONSTRAINT assignment_to_a_category FOREIGN KEY (workspace_id, category_id)
                REFERENCES categories (workspace_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        """
        CREATE INDEX category_assignments_in_order
            ON category_assignments (workspace_id, category_id, record_created_at, record_id)
        """
    )
    run_sql(
        """
        CREATE INDEX category_assignments_of_catalog
            ON category_assignments (workspace_id, catalog_id, record_created_at, record_id)
        """
    )
