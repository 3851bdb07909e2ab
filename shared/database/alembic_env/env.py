"""What Alembic runs for each of its commands: one transaction per revision.

`shared.database.migrations` opens the connection, holds the lock and has checked whose database it
is. `oldest_code` of a revision is stored with its number, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script


def store_oldest_code(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Store which code the database works with, until a later revision says something else."""
    del heads, run_args
    revision = step.up_revision
    if isinstance(revision, Script) and ctx.connection is not None:
        oldest_code = getattr(revision.module, "oldest_code", None)
        if oldest_code is not None:
            ctx.connection.exec_driver_sql(
                "UPDATE alembic_version SET oldest_code = %s", (oldest_code,)
            )


context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    on_version_apply=store_oldest_code,
)
with context.begin_transaction():
    context.run_migrations()
