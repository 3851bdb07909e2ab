"""Reads a record together with the model that was in force at that moment."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from records_service.lifecycles.model import State
from records_service.records import store
from records_service.records.model import Record
from records_service.records.rules import RecordRules, rules_of
from records_service.schemas.blueprint import BLUEPRINTS, Blueprint
from shared.postgres import DATABASE


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was read, with the rules it is judged by."""

    record: Record
    blueprint: Blueprint
    rules: RecordRules
    state: State | None


async def see(app: web.Application, workspace_id: str, record_id: str) -> Seen:
    """The record, or `NotFound`."""
    db = app[DATABASE]
    async with db.acquire() as conn:
        record, model_version = await store.get(conn, workspace_id, record_id)
    blueprint = await app[BLUEPRINTS].at(db, workspace_id, model_version)
    rules = rules_of(blueprint, record.schema_id)
    return Seen(record, blueprint, rules, rules.state_of(record.state_id))
