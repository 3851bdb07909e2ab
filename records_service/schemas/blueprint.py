"""Everything a workspace has modelled, at one version: what records are judged by.

A process keeps one blueprint per workspace. Whoever reads a record reads the model's version with
it, and asks for the blueprint of that version: so a change made through any process is seen by the
next request of every other, without a message between them (docs/adr/0002).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from records_service.attributes.model import Attribute
from records_service.dimensions.model import Dimension
from records_service.lifecycles.model import Lifecycle
from records_service.option_lists.model import OptionList
from records_service.parts.model import Part
from records_service.schemas.model import Schema
from shared.postgres import Database

WORKSPACES_MAX = 512


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One version of one workspace's model. `compiled` is where its users keep what they derive."""

    workspace_id: str
    version: int
    dimensions: Mapping[str, Dimension]
    option_lists: Mapping[str, OptionList]
    attributes: Mapping[str, Attribute]
    schemas: Mapping[str, Schema]
    lifecycles: Mapping[str, Lifecycle]
    compiled: dict[str, Any] = field(default_factory=dict, compare=False)


class Blueprints:
    """The blueprints this process has; those of the least recently used workspaces go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Blueprint] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Blueprint]] = {}

    async def get(self, db: Database, workspace_id: str) -> Blueprint:
        """The blueprint in force now."""
        version = await db.fetchval(
            "SELECT version FROM models WHERE workspace_id = $1", workspace_id
        )
        return await self.at(db, workspace_id, version or 0)

    async def at(self, db: Database, workspace_id: str, version: int) -> Blueprint:
        """The blueprint of this version, or of a newer one if that is in force by now."""
        known = self._known.get(workspace_id)
        while known is None or known.version < version:
            known = await self._load(db, workspace_id)
        self._known.move_to_end(workspace_id)
        return known

    async def _load(self, db: Database, workspace_id: str) -> Blueprint:
        """Load once, however many ask; a caller who goes away does not stop it for the others."""
        task = self._loading.get(workspace_id)
        if task is None:
            task = asyncio.create_task(load(db, workspace_id))
            self._loading[workspace_id] = task
            task.add_done_callback(lambda _: self._loading.pop(workspace_id, None))
        blueprint = await asyncio.shield(task)
        known = self._known.get(workspace_id)
        if known is not None and known.version >= blueprint.version:
            return known
        self._known[workspace_id] = blueprint
        if len(self._known) > WORKSPACES_MAX:
            self._known.popitem(last=False)
        return blueprint


BLUEPRINTS = web.AppKey("blueprints", Blueprints)


async def load(db: Database, workspace_id: str) -> Blueprint:
    """Read the whole model in one statement, so that all of it is of one moment."""
    rows = await db.fetch(
        """
        SELECT 'model' AS kind, '' AS id, '' AS alias, NULL::jsonb AS body, version,
               NULL::timestamptz AS created_at, NULL::timestamptz AS updated_at,
               NULL::text[] AS retired
          FROM models WHERE workspace_id = $1
         UNION ALL
        SELECT 'dimension', id, alias, body, version, created_at, updated_at, NULL
          FROM dimensions WHERE workspace_id = $1
         UNION ALL
        SELECT 'option_list', id, alias, body, version, created_at, updated_at, NULL
          FROM option_lists WHERE workspace_id = $1
         UNION ALL
        SELECT 'attribute', id, alias, body, version, created_at, updated_at, NULL
          FROM attributes WHERE workspace_id = $1
         UNION ALL
        SELECT 'schema', id, alias, body, version, created_at, updated_at, NULL
          FROM schemas WHERE workspace_id = $1
         UNION ALL
        SELECT 'lifecycle', workflow_id, '', definition, version, NULL, NULL, retired
          FROM lifecycles WHERE workspace_id = $1
        """,
        workspace_id,
    )
    version = 0
    lifecycles: dict[str, Lifecycle] = {}
    found: dict[str, dict[str, Part]] = {
        kind: {} for kind in ("dimension", "option_list", "attribute", "schema")
    }
    for row in rows:
        if row["kind"] == "model":
            version = row["version"]
        elif row["kind"] == "lifecycle":
            lifecycles[row["id"]] = Lifecycle.parse(row["body"], row["retired"])
        else:
            found[row["kind"]][row["id"]] = Part(
                id=row["id"],
                alias=row["alias"],
                body=row["body"],
                version=row["version"],
                created_at=row["created_at"],
                updated_at=row["updated_at"],
            )
    return Blueprint(
        workspace_id=workspace_id,
        version=version,
        dimensions={i: Dimension.parse(part) for i, part in found["dimension"].items()},
        option_lists={i: OptionList.parse(part) for i, part in found["option_list"].items()},
        attributes={i: Attribute.parse(part) for i, part in found["attribute"].items()},
        schemas={i: Schema.parse(part) for i, part in found["schema"].items()},
        lifecycles=lifecycles,
    )
