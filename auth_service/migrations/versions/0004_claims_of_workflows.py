"""How often workflows were about to name a role, so that none is deleted that a gate asks for."""

from shared.database.migrations import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql("ALTER TABLE roles ADD COLUMN claims bigint NOT NULL DEFAULT 0")
