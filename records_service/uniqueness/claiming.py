"""Reserves the values that records and variants hold already, and says who stands against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson

from records_service.attributes.model import Attribute
from records_service.attributes.unique_keys import unique_keys_as_json
from records_service.model_objects.search_store import VALUE_TABLES
from records_service.progress.model import Counts, Sample
from records_service.uniqueness import store
from records_service.uniqueness.model import Check, Phase
from records_service.writes import stored_claims
from records_service.writes.stored_claims import Refused
from shared.database import Conn
from shared.errors import truncated
from shared.process.offload import in_thread

REASON_OF_SAMPLE: Final = "Has the same value as"


async def claim_next(
    conn: Conn, workspace_id: str, attribute: Attribute, check: Check, *, rows_max: int
) -> tuple[Check, Counts, list[Refused]]:
    """Reserve the values of the next records or variants of one schema; how far it is then.

    PostgreSQL reads and stores, a thread hashes. After the last the phase is `SETTLING`.
    """
    total = len(VALUE_TABLES) * len(check.schema_ids)
    if check.schemas_done >= total:
        return replace(check, phase=Phase.SETTLING), Counts(), []
    number, place = divmod(check.schemas_done, len(check.schema_ids))
    held, looked_at, having, after = await store.entries_after(
        conn,
        workspace_id,
        attribute.id,
        check.schema_ids[place],
        check.after,
        rows_max=rows_max,
        table=VALUE_TABLES[number],
    )
    refused = await _claim(conn, workspace_id, attribute, held) if having else []
    failed = len({one.asker for one in refused})
    done = check.schemas_done + (after is None)
    check = replace(
        check,
        phase=Phase.SETTLING if done >= total else Phase.CLAIMING,
        schemas_done=done,
        after=after,
        duplicates=check.duplicates + failed,
    )
    counts = Counts(unchanged=having - failed, skipped=looked_at - having, failed=failed)
    return check, counts, refused


async def claim_again(
    conn: Conn,
    workspace_id: str,
    attribute: Attribute,
    record_ids: Sequence[str],
    variants: Sequence[tuple[str, str]],
) -> list[Refused]:
    """Let these records and variants have reserved what they hold now, and nothing else.

    The caller holds the model lock: none of them is being written.
    """
    held = await store.entries_of(
        conn, workspace_id, attribute.id, record_ids, [variant_id for _, variant_id in variants]
    )
    keys = await in_thread(unique_keys_as_json, attribute, held)
    await stored_claims.release_others(conn, workspace_id, attribute.id, keys, record_ids, variants)
    return await _claim(conn, workspace_id, attribute, held)


def samples_of(refused: Sequence[Refused]) -> list[Sample]:
    """What clients are told of those that stand against it."""
    return [
        Sample(one.record_id, f"{REASON_OF_SAMPLE} '{truncated(one.holder)}'", one.variant_id)
        for one in refused
    ]


async def _claim(conn: Conn, workspace_id: str, attribute: Attribute, held: str) -> list[Refused]:
    """Reserve what is held; who could not, because another one holds the same value.

    A write that began before a value was reserved for its record does not see that, and gives up
    the value without releasing it. So whoever has reserved a value is looked at: one that does not
    hold it leaves it to the next.
    """
    keys = await in_thread(unique_keys_as_json, attribute, held)
    refused = await stored_claims.claim(conn, workspace_id, attribute.id, keys)
    if not refused:
        return []
    theirs = await store.entries_of(
        conn,
        workspace_id,
        attribute.id,
        {one.holding_record_id for one in refused if one.holding_variant_id is None},
        {one.holding_variant_id for one in refused if one.holding_variant_id is not None},
    )
    real = {
        tuple(key) for key in orjson.loads(await in_thread(unique_keys_as_json, attribute, theirs))
    }
    found: list[Refused] = []
    heirs: dict[tuple[str, bytes], Refused] = {}
    for one in refused:
        holding = (one.holding_record_id, one.holding_variant_id, one.scope, one.value_hash.hex())
        if holding in real:
            found.append(one)
            continue
        heir = heirs.setdefault((one.scope, one.value_hash), one)
        if heir is not one:
            found.append(
                replace(
                    one,
                    holding_record_id=heir.record_id,
                    holding_variant_id=heir.variant_id,
                )
            )
    if heirs:
        await stored_claims.take_over(conn, workspace_id, attribute.id, heirs.values())
    return found
