"""What the caller sees of the rows `t` of the index of texts."""

from __future__ import annotations

from typing import Final

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.permissions.rules import Role
from records_service.search.full_text import TYPES, views
from records_service.search.sql import Arguments

IS_LOST: Final = (
    "(EXISTS (SELECT FROM lost_attributes l WHERE l.workspace_id = $1) OR EXISTS"
    " (SELECT FROM search_layouts l WHERE l.workspace_id = $1 AND cardinality(l.gone) > 0))"
)
"""The condition that rows may have texts of an attribute that their schema does not have: one that
the schema has lost, or one that was deleted."""


class TextSight:
    """What one caller sees in one version of the data model."""

    def __init__(self, blueprint: Blueprint, role: Role | None) -> None:
        self._seen, self._hidden = views(blueprint, role)
        having = sum(
            len(blueprint.schemas_having.get(each.id, ()))
            for each in blueprint.attributes.values()
            if each.type in TYPES
        )
        self._is_whole = not self._hidden and sum(map(len, self._seen.values())) == having
        self.is_lost = True
        """Whether `IS_LOST` may be true. Who says that it is not asks in the same statement."""

    @property
    def is_plain(self) -> bool:
        """Whether all that any row has is seen."""
        return self._is_whole and not self.is_lost

    @property
    def are_all_seen(self) -> str:
        """The condition that all texts of a row are seen."""
        return "true" if self.is_plain else "v.are_all_seen"

    @property
    def needs_state(self) -> bool:
        """Whether the state of a record tells what is seen of it."""
        return bool(self._hidden)

    def rows(
        self,
        arguments: Arguments,
        source: str = "search_texts t",
        *,
        is_asked_once: bool = False,
    ) -> str:
        """The rows `t`, each with `v`: which attributes are seen of it, and which are hidden.

        Without it if they are plain. Where all texts are seen, which of them has a word makes no
        difference. `is_asked_once`: mostly nothing else of `v` is asked, so it is not worth a
        subquery of its own for each row.
        """
        if self.is_plain:
            return source
        views = f"{_document(self._seen, arguments)} -> t.schema_id AS seen"
        are_all_seen = "v.seen ?& t.attributes"
        if self._hidden:
            source += " JOIN records r ON r.workspace_id = $1 AND r.id = t.record_id"
            place = f"t.schema_id || ' ' || coalesce({arguments.state}, '')"
            views += f", {_document(self._hidden, arguments)} -> ({place}) AS hidden"
            are_all_seen += " AND v.hidden IS NULL"
        end = "" if is_asked_once else " OFFSET 0"
        views = f"SELECT v.*, {are_all_seen} AS are_all_seen FROM (SELECT {views}{end}) AS v"  # noqa: S608
        return f"{source} CROSS JOIN LATERAL ({views}{end}) AS v"

    def visible(self, attribute: str) -> str:
        """The condition that the caller sees this attribute of the record of `t`."""
        if self.is_plain:
            # It is true. An argument must stand somewhere, or PostgreSQL does not know its type.
            return f"{attribute} IS NOT NULL"
        hidden = f" AND v.hidden ? {attribute} IS NOT TRUE" if self._hidden else ""
        return f"v.seen ? {attribute}{hidden}"


def _document(value: object, arguments: Arguments) -> str:
    return f"{arguments.name(orjson.dumps(value).decode(), 'text')}::jsonb"
