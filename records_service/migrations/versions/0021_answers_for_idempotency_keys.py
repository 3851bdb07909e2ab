"""Answers that are kept for an Idempotency-Key, so that a repeated request has no second effect."""

from shared.database import idempotency
from shared.database.migrations import run_sql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run_sql(idempotency.SCHEMA)
    run_sql(idempotency.INDEX)
