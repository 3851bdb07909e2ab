"""Deletes many records, many with each statement, by the rules of single deletes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.bulk.judging import failed, record_of
from records_service.bulk.model import BulkOutcome, Named, Result
from records_service.bulk.store import Stored
from records_service.bulk.work import WAVE_ROWS, Work, attempts
from records_service.context import Context
from records_service.permissions.rules import Role
from records_service.records import commands as single
from records_service.writes import batches, effects
from records_service.writes.model import PendingDelete
from records_service.writes.quota import any_stripe
from shared.database import Conn
from shared.errors import ApiError, NotFound
from shared.identity import Identity


async def delete_some(
    context: Context, ids: Sequence[Named], start: int, conn: Conn | None = None
) -> list[Result]:
    """Delete the records from `start` on that go into one statement; their results.

    A record that is not there is skipped. What keeps one from being deleted is in its result.
    Raises as `commands.write_rows` does.
    """
    wave = ids[start : start + WAVE_ROWS]

    async def attempt(work: Work) -> list[Result]:
        blueprint = await work.blueprint()
        stored = await work.records(sorted({one.id for one in wave}), blueprint)
        wanted = {one.row["schema_id"] for one in stored.values()}
        schemas = await work.schemas(blueprint, sorted(wanted))
        results, pending = await work.run(
            _judged, wave, stored, schemas, context.identity, context.role
        )
        if pending:
            async with work.writing() as writing:
                await batches.delete_many(
                    writing, pending, model_version=blueprint.version, stripe=any_stripe()
                )
        return results

    return await attempts(context, conn, attempt)


def _judged(
    wave: Sequence[Named],
    stored: Mapping[str, Stored],
    schemas: Mapping[str, CompiledSchema],
    identity: Identity,
    role: Role | None,
) -> tuple[list[Result], list[PendingDelete]]:
    results: list[Result] = []
    pending: list[PendingDelete] = []
    left = dict(stored)
    for one in wave:
        found = left.pop(one.id, None)
        if found is None:
            results.append(Result(one.index, BulkOutcome.SKIPPED, one.id))
            continue
        try:
            pending.append(_delete_of(found, schemas, identity, role))
        except ApiError as error:
            results.append(failed(one.index, error, one.id))
        else:
            results.append(Result(one.index, BulkOutcome.DELETED, one.id))
    return results, pending


def _delete_of(
    stored: Stored, schemas: Mapping[str, CompiledSchema], identity: Identity, role: Role | None
) -> PendingDelete:
    record = record_of(stored)
    schema = schemas.get(record.schema_id)
    if schema is None:
        raise NotFound.of("Schema", record.schema_id)
    single.check_may_delete(role, schema)
    gone = replace(record, version=record.version + 1)
    write = single.delete_of(identity, gone, schema)
    variants = effects.variants_delete_of(identity, gone, schema.names_in_variants, write.at)
    return PendingDelete(record, write, variants)
