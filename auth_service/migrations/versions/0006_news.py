"""Counts the news of the model, so that a role is not saved by what names meant before it."""

from shared.database.migrations import run_sql
from shared.messaging import news

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql(news.SCHEMA)
