"""The compiled data model of a workspace, at one version; records are validated against it.

A process keeps one blueprint per workspace. Whoever reads a record reads the model's version with
it, and asks for the blueprint of that version: so a change made through any process is seen by the
next request of every other, without a message between them (docs/adr/0002).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import orjson
from aiohttp import web

from records_service.attributes.model import Attribute, SubAttribute
from records_service.attributes.store import SINCE
from records_service.dimensions.model import Dimension
from records_service.model_objects.commands import MODEL
from records_service.model_objects.model import ModelObject
from records_service.option_lists.model import OptionList
from records_service.option_lists.store import WITH_OPTIONS
from records_service.schemas.model import Schema
from records_service.workflow_copies.model import WorkflowCopy
from records_service.workflow_copies.moves import StateMoves
from shared.database import REQUEST_TRANSACTION, Conn, Database, Record
from shared.database.request_transactions import RequestTransaction
from shared.process.offload import in_thread
from shared.process.sized_cache import SizedCache

WORKSPACES_MAX = 512
BYTES_MAX = 128 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One version of one workspace's model.

    `compiled` is where its users keep what they derive of a schema, `compiling` what they are
    deriving, `checks` what they derive of an attribute, and `derived` what is derived of the whole.
    """

    workspace_id: str
    version: int
    dimensions: Mapping[str, Dimension]
    option_lists: Mapping[str, OptionList]
    attributes: Mapping[str, Attribute]
    schemas: Mapping[str, Schema]
    workflows: Mapping[str, WorkflowCopy]
    former_aliases: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(table of the kind, id) -> the aliases that an attribute or a schema had before."""
    state_moves: Mapping[str, StateMoves] = field(default_factory=dict)
    """Schema -> the moves to its workflow that are not finished."""
    settling: frozenset[str] = frozenset()
    """The attributes that were converted, and whose conversion is not stored in each record yet."""
    is_indexed: bool = False
    """Whether writes of records write the search index."""
    filterable_since: Mapping[str, datetime] = field(default_factory=dict)
    """The attributes that searches may look up in the search index, and since when: every record
    has its row there, and the rows are right for these attributes."""
    text_layout: Mapping[str, Any] | None = None
    """What the index of texts holds of each record that it has reached; None for nothing."""
    text_folding: int | None = None
    """By which version of the rules texts are folded; None for the newest: nothing is stored."""
    bytes: int = 0
    """Of the model as it is stored; in memory it takes several times as much."""
    compiled: dict[str, Any] = field(default_factory=dict, compare=False)
    compiling: dict[str, asyncio.Future[Any]] = field(default_factory=dict, compare=False)
    checks: dict[str, Any] = field(default_factory=dict, compare=False)
    derived: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def schemas_having(self) -> Mapping[str, frozenset[str]]:
        """Attribute id -> the ids of the schemas that have it."""
        known: Mapping[str, frozenset[str]] | None = self.derived.get("schemas_having")
        if known is None:
            having: dict[str, set[str]] = {}
            for schema in self.schemas.values():
                for attribute_id in schema.attribute_ids:
                    having.setdefault(attribute_id, set()).add(schema.id)
            known = {each: frozenset(found) for each, found in having.items()}
            self.derived["schemas_having"] = known
        return known

    def chooses_from_large(self, form: Attribute | SubAttribute) -> bool:
        """Whether the options of an attribute, or of a field in it, are looked up by name."""
        option_list = self.option_lists.get(form.option_list_id or "")
        if option_list is not None and option_list.is_large:
            return True
        return any(map(self.chooses_from_large, form.attributes))

    def schema_id_of(self, name: str) -> str:
        """The id of the schema with this id or, failing that, alias; else the name itself.

        So a name that nothing has finds nothing, and is named where it has to be there.
        """
        if name in self.schemas:
            return name
        known: Mapping[str, str] | None = self.derived.get("schema_ids_by_alias")
        if known is None:
            known = {each.alias: each.id for each in self.schemas.values()}
            self.derived["schema_ids_by_alias"] = known
        return known.get(name, name)

    @property
    def attribute_ids_by_name(self) -> Mapping[str, str]:
        """The id behind each alias or, failing that, id: data speak aliases."""
        known: Mapping[str, str] | None = self.derived.get("attribute_ids_by_name")
        if known is None:
            known = {
                **{each: each for each in self.attributes},
                **{each.alias: each.id for each in self.attributes.values()},
            }
            self.derived["attribute_ids_by_name"] = known
        return known


class Blueprints:
    """The blueprints this process has; those of the least recently used workspaces go first."""

    def __init__(self) -> None:
        # One that is larger than the whole cache is kept alone, or each request would load it.
        self._known = SizedCache[str, Blueprint](
            BYTES_MAX, WORKSPACES_MAX, lambda blueprint: min(blueprint.bytes, BYTES_MAX)
        )
        self._loading: dict[str, asyncio.Task[Blueprint]] = {}

    def known(self, workspace_id: str) -> Blueprint | None:
        """The newest blueprint that this process has, which may be old."""
        return self._known.get(workspace_id)

    async def get(self, db: Database, workspace_id: str) -> Blueprint:
        """The blueprint in force now."""
        version = await db.fetchval(
            "SELECT version FROM models WHERE workspace_id = $1", workspace_id
        )
        return await self.at(db, workspace_id, version or 0)

    async def at(self, db: Database, workspace_id: str, version: int) -> Blueprint:
        """The blueprint of this version, or of a newer one if that is in force by now."""
        known = self._known.get(workspace_id)
        bound = REQUEST_TRANSACTION.get()
        if bound is not None and (known is None or known.version < version):
            return await self._load_in(bound, db, workspace_id, known)
        while known is None or known.version < version:
            task = self._loading.get(workspace_id)
            if task is None:
                task = asyncio.create_task(self._load(db, workspace_id))
                self._loading[workspace_id] = task
            # Loaded once, however many ask; who goes away does not stop it for the others.
            known = await asyncio.shield(task)
        return known

    async def _load_in(
        self,
        bound: RequestTransaction,
        db: Database,
        workspace_id: str,
        known: Blueprint | None,
    ) -> Blueprint:
        """Load in the transaction of a request; what that has changed is kept for nobody."""
        blueprint = await load(db, workspace_id, known)
        newest = self._known.get(workspace_id)
        if not bound.has_changed(MODEL) and (newest is None or newest.version < blueprint.version):
            self._known.keep(workspace_id, blueprint)
        return blueprint

    async def _load(self, db: Database, workspace_id: str) -> Blueprint:
        """Load and keep in one step: in between, nobody may find neither and load again."""
        try:
            blueprint = await load(db, workspace_id, self._known.get(workspace_id))
            self._known.keep(workspace_id, blueprint)
        finally:
            del self._loading[workspace_id]
        return blueprint


BLUEPRINTS = web.AppKey("blueprints", Blueprints)


async def load(db: Database | Conn, workspace_id: str, known: Blueprint | None = None) -> Blueprint:
    """Read the whole model in one statement, so that all of it is of one moment.

    Objects of a kind come in the order of creation, as in lists: the columns of exports follow it.
    What `known` has is taken from there unless it was written since: a change of one attribute
    among hundreds costs one body and a list of ids. What is read is parsed beside the event loop,
    which a large model would hold for seconds.
    """
    rows = await db.fetch(
        f"""
        SELECT 'model' AS kind, '' AS id, NULL AS alias, bytes::text AS body, version,
               NULL::timestamptz AS created_at, NULL::timestamptz AS updated_at,
               NULL::text[] AS retired, is_indexed, NULL::timestamptz AS since
          FROM models WHERE workspace_id = $1
         UNION ALL
        SELECT 'lifecycle', workflow_id, NULL, definition::text, version, NULL, NULL, retired,
               NULL, NULL
          FROM lifecycles WHERE workspace_id = $1
         UNION ALL
        SELECT 'state_moves', schema_id, NULL, moves::text, NULL, NULL, NULL, NULL, NULL, NULL
          FROM state_moves WHERE workspace_id = $1
         UNION ALL
        SELECT 'settling', settling, NULL, 'null', NULL, NULL, NULL, NULL, NULL, NULL
          FROM models WHERE workspace_id = $1 AND settling IS NOT NULL
         UNION ALL
        SELECT 'text_layout', '', NULL, layout::text, NULL, NULL, NULL, NULL, NULL, NULL
          FROM search_layouts l
         WHERE workspace_id = $1 AND layout IS NOT NULL
           AND NOT EXISTS (SELECT FROM attributes WHERE workspace_id = $1 AND id = ANY(l.gone))
         UNION ALL
        SELECT 'text_folding', '', NULL, coalesce(wanted ->> 'folding', '1'), NULL, NULL, NULL,
               NULL, NULL, NULL
          FROM search_layouts WHERE workspace_id = $1
         UNION ALL
        SELECT 'dimension', id, alias, CASE WHEN changed_in > $2 THEN body::text END,
               version, created_at, updated_at, NULL, NULL, NULL
          FROM dimensions WHERE workspace_id = $1
         UNION ALL
        SELECT 'option_list', id, alias, CASE WHEN changed_in > $2 THEN ({WITH_OPTIONS})::text END,
               version, created_at, updated_at, NULL, NULL, NULL
          FROM option_lists p WHERE workspace_id = $1 AND NOT is_deleted
         UNION ALL
        SELECT 'attribute', id, alias, CASE WHEN changed_in > $2 THEN body::text END,
               version, created_at, updated_at, NULL, NULL, {SINCE}
          FROM attributes WHERE workspace_id = $1
         UNION ALL
        SELECT 'schema', id, alias, CASE WHEN changed_in > $2 THEN body::text END,
               version, created_at, updated_at, NULL, NULL, NULL
          FROM schemas WHERE workspace_id = $1
         UNION ALL
        SELECT kind, id, alias, NULL, NULL, NULL, NULL, NULL, NULL, NULL
          FROM former_aliases
         WHERE workspace_id = $1
           AND (kind, id) IN (SELECT 'attributes', id FROM attributes WHERE workspace_id = $1
                               UNION ALL
                              SELECT 'schemas', id FROM schemas WHERE workspace_id = $1)
         ORDER BY created_at, id, alias
        """,  # noqa: S608 - WITH_OPTIONS and SINCE are constants
        workspace_id,
        known.version if known else 0,
    )
    return await in_thread(
        _parsed, workspace_id, rows, known or Blueprint(workspace_id, 0, {}, {}, {}, {}, {})
    )


def _parsed(workspace_id: str, rows: Sequence[Record], known: Blueprint) -> Blueprint:
    version = size = 0
    dimensions: dict[str, Dimension] = {}
    option_lists: dict[str, OptionList] = {}
    attributes: dict[str, Attribute] = {}
    schemas: dict[str, Schema] = {}
    workflows: dict[str, WorkflowCopy] = {}
    former_aliases: dict[tuple[str, str], tuple[str, ...]] = {}
    stored: dict[str, dict[str, Any]] = {
        "state_moves": {},
        "settling": {},
        "text_layout": {},
        "text_folding": {},
    }
    is_indexed = False
    filterable_since: dict[str, datetime] = {}
    for row in rows:
        match row["kind"]:
            case "model":
                version, size = row["version"], int(row["body"])
                is_indexed = row["is_indexed"]
            case "lifecycle":
                workflows[row["id"]] = WorkflowCopy.parse(orjson.loads(row["body"]), row["retired"])
            case "state_moves" | "settling" | "text_layout" | "text_folding" as kind:
                stored[kind][row["id"]] = orjson.loads(row["body"])
            case "dimension":
                _take(row, known.dimensions, Dimension.parse, dimensions)
            case "option_list":
                _take(row, known.option_lists, OptionList.parse, option_lists)
            case "attribute":
                _take(row, known.attributes, Attribute.parse, attributes)
                if row["since"] is not None and attributes[row["id"]].filterable:
                    filterable_since[row["id"]] = row["since"]
            case "schema":
                _take(row, known.schemas, Schema.parse, schemas)
            case table:
                key = table, row["id"]
                former_aliases[key] = (*former_aliases.get(key, ()), row["alias"])
    return Blueprint(
        workspace_id=workspace_id,
        version=version,
        bytes=size,
        dimensions=dimensions,
        option_lists=option_lists,
        attributes=attributes,
        schemas=schemas,
        workflows=workflows,
        former_aliases=former_aliases,
        state_moves=stored["state_moves"],
        settling=frozenset(stored["settling"]),
        is_indexed=is_indexed,
        filterable_since=filterable_since,
        text_layout=stored["text_layout"].get(""),
        text_folding=stored["text_folding"].get(""),
    )


def _take(
    row: Record, known: Mapping[str, T], parse: Callable[[ModelObject], T], found: dict[str, T]
) -> None:
    """The definition in a row: a row without body was not written since `known` was read."""
    object_id, body = row["id"], row["body"]
    if body is None:
        found[object_id] = known[object_id]
    else:
        found[object_id] = parse(
            ModelObject(
                object_id,
                row["alias"],
                orjson.loads(body),
                row["version"],
                row["created_at"],
                row["updated_at"],
            )
        )
