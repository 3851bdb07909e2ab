"""Which tables Citus distributes by `workspace_id`, and which stay on the coordinator.

Each table of a service on Citus is in one of the two lists; tests/service/test_citus_tables.py
checks that, and that the tenant tables are as Citus needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ON_ONE_MACHINE: Final = ("auth_service",)
"""Services whose database stays on plain PostgreSQL: their data does not outgrow one machine."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one service.

    `tenant` is in the order of distribution: a table comes after those that its foreign keys lead
    to, and all are colocated with the first. `local` tables hold no data of a workspace.
    `triggers` by table are dropped before it is distributed; only the version before needs them
    (docs/adr/0035). In a `numbered` table a sequence gives this column its values: they tell rows
    apart, but are in order only as long as one node draws them (docs/adr/0034).
    """

    tenant: tuple[str, ...]
    local: tuple[str, ...]
    triggers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbered: Mapping[str, str] = field(default_factory=dict)


_COUNTING: Final = ("count_delete", "count_insert", "count_update")

# The inbox is local although its row is committed with the effect of an event on tenant tables. The
# worker commits first: if the coordinator crashes in between, the event has its effect again. The
# handlers compare versions, and change nothing then. Only a save of a schema that is under way at
# that moment may be taken for finished, until its own event: meanwhile it does not protect its
# workflow. A key that begins with the workspace would prevent that. But while two versions of a
# service run side by side, neither would know what the other has handled.
ON_CITUS: Final[Mapping[str, Tables]] = {
    "records_service": Tables(
        tenant=(
            "models",
            "dimensions",
            "option_lists",
            "option_values",
            "attributes",
            "schemas",
            "former_aliases",
            "lost_attributes",
            "attribute_removals",
            "state_moves",
            "unique_checks",
            "conversions",
            "conversion_holders",
            "followed_jobs",
            "lifecycles",
            "roles",
            "callers",
            "records",
            "record_lives",
            "variants",
            "variant_lives",
            "saved_queries",
            "unique_values",
            "value_uses",
            "value_use_walks",
            "search_records",
            "search_numbers",
            "search_attributes",
            "search_builds",
            "search_written",
            "search_texts",
            "search_texts_behind",
            "search_layouts",
            "search_scores",
            "search_scored",
            "search_sorts",
            "search_sorted",
            "usage",
            "audit",
            "applied_change_sets",
            "history_retentions",
            "catalog_versions",
            "catalogs",
            "categories",
            "category_assignments",
            "imports",
            "import_chunks",
            "import_errors",
            "outbox",
            "feed",
            "feed_removed",
            "jobs",
            "idempotency_keys",
        ),
        local=("inbox", "incarnations", "alembic_version"),
        triggers={
            **dict.fromkeys(("dimensions", "option_lists", "option_values"), _COUNTING),
            "attributes": (*_COUNTING, "forget_lost_attributes", "refuse_ids_with_values"),
            "schemas": (*_COUNTING, "forget_lost_attributes", "remember_lost_attributes"),
        },
        numbered={
            "audit": "id",
            "outbox": "id",
            "feed": "position",
            "search_texts_behind": "id",
            "value_uses": "id",
        },
    ),
    "workflow_service": Tables(
        tenant=(
            "workflows",
            "deleted_workflows",
            "workflow_references",
            "heard_schemas",
            "unknown_names",
            "change_sets",
            "change_set_operations",
            "change_set_annotations",
            "change_set_messages",
            "change_set_counts",
            "webhooks",
            "webhook_deliveries",
            "channels",
            "sync_runs",
            "sync_errors",
            "sync_mappings",
            "export_jobs",
            "export_runs",
            "news",
            "sizes",
            "outbox",
            "idempotency_keys",
        ),
        local=("inbox", "incarnations", "alembic_version"),
        triggers={"workflows": ("count_workflows",)},
        numbered={"outbox": "id", "webhook_deliveries": "number"},
    ),
}
