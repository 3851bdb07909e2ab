"""Where the rows of a workspace are, and what a move and an export do with each table.

Each table with a column `workspace_id` is in this list; tests/service/test_workspace_tables.py
compares it with the migrated databases, so a new table cannot be forgotten. Of each service the
order is one in which rows can be inserted: a table comes after those that its foreign keys lead to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

AUTH, RECORDS, WORKFLOW = "auth_service", "records_service", "workflow_service"


class Moves(Enum):
    """When the rows of a table are moved."""

    BEFORE = "by logical replication, while clients write"
    AT_THE_END = "copied while nobody writes"
    """What makes workers of the target act: they must not act before the target is the truth."""
    NEVER = "not moved"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with rows of workspaces.

    An export has the rows that meet `exported_where` (SQL; None: it has none), with some columns
    replaced (`exported_as`: column -> SQL). A `counting` table is filled by triggers of others, so
    an import writes it after them. A number of `numbered` is drawn from a sequence.

    Workers that look after all workspaces write the rows that meet `work_where`, so a source that
    takes no writes of the workspace any more has none of them. Rows of `swept` tables are removed
    by age, which does no harm there. A change of the column `noted` alone, which a read makes, is
    left out while nobody writes. What a workspace has left behind in a `replaced` table, such as
    for an event that came late, stands in the way of nothing.
    """

    name: str
    moves: Moves = Moves.BEFORE
    exported_where: str | None = "true"
    exported_as: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    counting: bool = False
    numbered: str | None = None
    follows: tuple[str, str, str] | None = None
    """A column with numbers of another table's sequence: column, that table, its column."""
    work_where: str | None = None
    swept: bool = False
    noted: str = ""
    replaced: bool = False


_END, _NEVER = Moves.AT_THE_END, Moves.NEVER

TABLES: Final[Mapping[str, tuple[Table, ...]]] = {
    # Small, and what opens the target: a workspace that auth_service does not know has no callers.
    AUTH: (
        Table("workspaces", _END),
        Table("roles", _END),
        Table("role_versions", _END),
        Table("users", _END, exported_as={"password_hash": "''"}),
        Table("former_users", _END),
        Table("addresses", _END),
        Table("api_keys", _END, None, noted="last_used_at"),
        Table("grants", _END, "kind = 'user'"),
        Table("unknown_names", _END),
        Table("sizes", _END, "kind <> 'api_keys'", counting=True),
        Table("news", _END, None, replaced=True),
        Table("outbox", _NEVER, None, numbered="id"),
        Table("idempotency_keys", _END, None, swept=True),
    ),
    RECORDS: (
        Table("dimensions"),
        Table("option_lists"),
        Table("option_values"),
        Table("attributes"),
        Table("schemas"),
        Table("former_aliases"),
        Table("lost_attributes"),
        Table("attribute_removals"),
        Table("state_moves"),
        Table("unique_checks"),
        Table("conversions"),
        Table("conversion_holders"),
        Table("followed_jobs", exported_where=None),
        Table("lifecycles", _END, work_where="retired <> '{}'"),
        Table("roles"),
        Table("callers", exported_where="kind = 'user'"),
        Table("records"),
        Table("record_lives"),
        Table("variants"),
        Table("variant_lives"),
        Table("saved_queries"),
        Table("unique_values"),
        Table("value_uses", numbered="id"),
        Table("value_use_walks"),
        Table("search_records"),
        Table("search_numbers"),
        Table("search_attributes"),
        Table("search_builds"),
        Table("search_written"),
        Table("search_texts"),
        Table("search_texts_behind", _END, numbered="id", work_where="true"),
        Table("search_layouts"),
        Table("search_scores"),
        Table("search_scored"),
        Table("search_sorts"),
        Table("search_sorted"),
        Table("usage"),
        Table("audit", numbered="id"),
        Table("applied_change_sets"),
        Table("history_retentions", _END, work_where="true"),
        Table("catalog_versions"),
        Table("catalogs"),
        Table("categories"),
        Table("category_assignments"),
        Table("imports", _END, None, work_where="true"),
        Table("import_chunks", exported_where=None),
        Table("import_errors", exported_where=None),
        Table("outbox", _NEVER, None, numbered="id"),
        Table(
            "feed",
            exported_where=None,
            numbered="position",
            follows=("outbox_id", "outbox", "id"),
            swept=True,
        ),
        Table("feed_removed", exported_where=None, swept=True),
        Table("jobs", _END, None, work_where="true"),
        Table("idempotency_keys", exported_where=None, swept=True),
        # Where the housekeeping of workers looks for workspaces.
        Table("models", _END, counting=True),
    ),
    WORKFLOW: (
        Table("workflows"),
        Table("deleted_workflows"),
        Table("workflow_references", _END, work_where="true"),
        Table("heard_schemas"),
        Table("unknown_names"),
        Table("change_sets"),
        Table("change_set_operations"),
        Table("change_set_annotations"),
        Table("change_set_messages"),
        Table("change_set_counts"),
        # Without secrets there is nothing to sign with; the place in the feed is the source's.
        Table(
            "webhooks",
            _END,
            exported_as={
                "secret": "NULL",
                "former_secret": "NULL",
                "former_until": "NULL",
                "active": "false",
                "paused_reason": "NULL",
                "failing_since": "NULL",
                "position": "0",
            },
            work_where="true",
        ),
        Table("webhook_deliveries", _END, None, numbered="number", work_where="true"),
        Table("channels", _END, None, work_where="true"),
        Table("sync_runs", _END, None, work_where="true"),
        Table("sync_errors", exported_where=None),
        Table("sync_mappings", exported_where=None),
        Table("export_jobs", _END, None, work_where="true"),
        Table("export_runs", _END, None, work_where="true"),
        Table("news", _END, None, replaced=True),
        Table("sizes", counting=True),
        Table("outbox", _NEVER, None, numbered="id"),
        Table("idempotency_keys", exported_where=None, swept=True),
    ),
}

WITHOUT_WORKSPACE: Final[Mapping[str, tuple[str, ...]]] = {
    AUTH: ("alembic_version", "incarnations", "inbox", "login_attempts", "login_networks"),
    RECORDS: ("alembic_version", "incarnations", "inbox"),
    WORKFLOW: ("alembic_version", "incarnations", "inbox"),
}
"""Tables that stay where they are."""

OPENED_LAST: Final = (RECORDS, WORKFLOW, AUTH)
"""In this order the databases of a target get what opens the workspace."""
