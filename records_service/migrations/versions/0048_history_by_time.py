"""Makes the history a table that is partitioned by time, and what it has been its first partition.

Nothing is read or copied, and all that can be done without the lock is done before it. The service
makes a partition for each further year, ahead of time. The last one takes what belongs to none of
them: nothing, unless clocks are wrong.
"""

from alembic import op

from shared.database.migrations import run_sql

revision = "0048"
down_revision = "0047"

INDEXES = {
    "in_order": "(workspace_id, at, version NULLS FIRST, id)",
    "of_variant": (
        "(workspace_id, variant_id, at, version NULLS FIRST, id) WHERE variant_id IS NOT NULL"
    ),
    "of_rare_actions": (
        "(workspace_id, action, at, version NULLS FIRST, id)"
        " WHERE action IN ('delete', 'transition')"
    ),
    "by_user": (
        "USING brin (workspace_id text_bloom_ops, user_id text_bloom_ops)"
        " WITH (pages_per_range = 32, autosummarize = on)"
    ),
}


def upgrade() -> None:
    if not _is_prepared():
        return
    run_sql("ALTER STATISTICS audit_together RENAME TO audit_first_together")
    run_sql("CREATE TABLE audit_all (LIKE audit INCLUDING COMPRESSION) PARTITION BY RANGE (at)")
    run_sql("ALTER TABLE audit_all ADD PRIMARY KEY (workspace_id, id, at)")
    run_sql(
        """
        CREATE INDEX audit_of_record
            ON audit_all (workspace_id, record_id, version NULLS FIRST, id) INCLUDE (at)
        """
    )
    for name, index in INDEXES.items():
        run_sql(f"ALTER INDEX audit_{name} RENAME TO audit_first_{name}")
        run_sql(f"CREATE INDEX audit_{name} ON audit_all {index}")
    run_sql(
        """
        CREATE STATISTICS audit_together (dependencies, mcv)
            ON workspace_id, action, user_id FROM audit_all
        """
    )
    run_sql("CREATE TABLE audit_other (LIKE audit_all INCLUDING ALL)")
    run_sql("ALTER TABLE audit_all ATTACH PARTITION audit_other DEFAULT")
    # In one round trip, because everybody waits for it. Entries go on being numbered: what asks for
    # those after a number must not miss any. The constraint spares the reading of the table.
    run_sql(
        """
        DO $$
        DECLARE
            next bigint;
            bound text;
        BEGIN
            LOCK TABLE audit IN ACCESS EXCLUSIVE MODE;
            ALTER TABLE audit
                  DROP CONSTRAINT audit_pkey,
                  ADD CONSTRAINT audit_first_pkey PRIMARY KEY USING INDEX audit_first_by_id;
            DROP INDEX audit_of_record_by_version;
            SELECT last_value + is_called::integer INTO next FROM audit_id_seq;
            ALTER TABLE audit ALTER COLUMN id DROP IDENTITY;
            ALTER TABLE audit RENAME TO audit_first;
            ALTER TABLE audit_all RENAME TO audit;
            ALTER TABLE audit RENAME CONSTRAINT audit_all_pkey TO audit_pkey;
            EXECUTE format(
                'ALTER TABLE audit ALTER COLUMN id'
                ' ADD GENERATED ALWAYS AS IDENTITY (START WITH %s)', next
            );
            SELECT substring(pg_get_constraintdef(oid) FROM '''([^'']+)''') INTO STRICT bound
              FROM pg_constraint
             WHERE conrelid = 'audit_first'::regclass AND conname = 'audit_first_until';
            EXECUTE format(
                'ALTER TABLE audit ATTACH PARTITION audit_first FOR VALUES FROM (MINVALUE) TO (%L)',
                bound
            );
            ALTER TABLE audit_first DROP CONSTRAINT audit_first_until;
        END
        $$
        """
    )


def _is_prepared() -> bool:
    found = op.get_bind().exec_driver_sql(
        "SELECT 1 FROM pg_constraint"
        " WHERE conrelid = 'audit'::regclass AND conname = 'audit_first_until'"
    )
    return found.scalar() is not None
