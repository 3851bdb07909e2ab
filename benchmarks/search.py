"""Searches of one client through the gateway, each beside a read of the same rows by their keys.

The catalogue is stored in the tables, with the rows of both search indexes as writes and the job
that indexes texts would make them.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any, TypeAlias

import aiohttp
import asyncpg
import orjson

from benchmarks.overload import percentile
from benchmarks.world import RECORD_LIMIT, World
from records_service.attributes.model import Attribute
from records_service.attributes.unique_keys import unique_keys_of
from records_service.blueprint.blueprint import Blueprint, load
from records_service.search_index.terms import Plan, indexed, number_lists, plan_of
from records_service.search_texts import sorting
from records_service.search_texts import store as texts
from records_service.search_texts.documents import document_of, layout_of
from records_service.search_texts.folding import FOLDING
from shared.database import Database
from shared.database.connection import speak_json
from tests.kit.workspace import ModelBuilder

RECORDS = 100_000
PIECE = 10_000
WRITTEN_AT_ONCE = 500
REPEATED = 40
FEW = 10
"""Records that have the rarest option and the rarest words."""
SCHEMAS = 5
STATES = ("draft", "review", "live", "retired")
COLORS = 60
BRANDS = 300
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
VOCABULARY = [f"word{n:04}" for n in range(3_000)]
"""Of which a record has twelve: one word is in one of 250 records."""
OFTEN = ("seldom", "often", "always")
"""Of which a record has one."""
TEXT = "A believable sentence about a product that somebody would like to buy, and more of it. "
FILTERABLE = ("brand", "third", "sold", "color", "rare", "price", "weight", "made", "code")
SCOPED = ("title", "cost")
POSTGRES = {"shared_buffers": "1GB"}
"""As in deploy/kubernetes. By itself it has 128 MB."""
AT_MOST_MS = 20.0
FACETS_AT_MOST_MS = 150.0
_READ = """
    SELECT id, schema_id, state_id, version, values::text, created_at, updated_at, created_by,
           updated_by, external_key
      FROM records WHERE workspace_id = $1 AND id = ANY($2::text[])
"""


Row: TypeAlias = tuple[str, datetime, str, str, dict[str, Any]]
"""Id, time of creation, schema, state and values of a record."""


@dataclass(frozen=True, slots=True)
class Case:
    """One search; `page` is how many pages are read on by cursor before the one that is timed."""

    name: str
    body: dict[str, Any]
    pages: int = 0
    at_most_ms: float = AT_MOST_MS
    path: str | None = None
    """Of a GET, instead of a body."""
    to: str = "/api/v1/search"
    """The path of the body."""


async def model(workspace: ModelBuilder) -> None:
    """The data model of the catalogue: `price` is rare, `third` frequent, and so on."""
    filterable: dict[str, Any] = {"filterable": True}
    await workspace.option_list("brands", [f"b{n}" for n in range(BRANDS)])
    await workspace.option_list("colors", [f"c{n}" for n in range(COLORS)])
    await workspace.option_list("thirds", ["t0", "t1", "t2"])
    await workspace.option_list("rares", ["yes", "no"])
    for alias, values in (
        ("brand", "brands"),
        ("color", "colors"),
        ("third", "thirds"),
        ("rare", "rares"),
    ):
        await workspace.attribute(alias, "option", optionListId=f"ol-{values}", **filterable)
    await workspace.attribute("sold", "boolean", **filterable)
    for alias in ("price", "weight"):
        await workspace.attribute(alias, "number", **filterable)
    await workspace.attribute("made", "datetime", **filterable)
    await workspace.attribute("code", **filterable)
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.dimension("language", ["en", "da"])
    for alias, kind in (("title", "text"), ("cost", "number")):
        await workspace.attribute(alias, kind, dimensionIds=["dim-language"], **filterable)
    for n in range(6):
        await workspace.attribute(f"text-{n}")
    await workspace.workflow("flow", STATES)
    for n in range(SCHEMAS):
        names = [*FILTERABLE, *SCOPED, "sku", *(f"text-{n}" for n in range(6))]
        await workspace.schema(f"s{n}", names, "wf-flow")


async def fill(url: str, workspace_id: str, records: int) -> None:
    """Store so many records of about 1.4 kB, with their rows of the search indexes."""
    # The text index knows the model, and no records, before there are any.
    await _until_texts_are_indexed(url, workspace_id)
    pieces = range(0, records, PIECE)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
        running = [processes.submit(_fill, url, workspace_id, each, records) for each in pieces]
        for each in running:
            await asyncio.wrap_future(each)
    conn = await asyncpg.connect(url)
    try:
        # As creates would have counted them.
        await conn.execute(
            "INSERT INTO usage (workspace_id, stripe, records, room, record_limit)"
            " VALUES ($1, 0, $2, 0, $3)",
            workspace_id,
            records,
            RECORD_LIMIT,
        )
        tables = "records search_records search_numbers search_texts search_sorts unique_values"
        for table in tables.split():
            await conn.execute(f"VACUUM ANALYZE {table}", timeout=600)
        # What was stored is written to disk now, not beside the searches.
        await conn.execute("CHECKPOINT", timeout=600)
    finally:
        await conn.close()


async def _until_texts_are_indexed(url: str, workspace_id: str) -> None:
    is_done = """
        SELECT EXISTS (
            SELECT FROM models m JOIN search_layouts l USING (workspace_id)
             WHERE m.workspace_id = $1 AND l.model_version >= m.version AND l.layout = l.wanted
               AND NOT EXISTS (SELECT FROM jobs j WHERE j.workspace_id = m.workspace_id))
        """
    conn = await asyncpg.connect(url)
    try:
        while not await conn.fetchval(is_done, workspace_id):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.5)
    finally:
        await conn.close()


def _fill(url: str, workspace_id: str, first: int, records: int) -> None:
    asyncio.run(_copy(url, workspace_id, range(first, min(first + PIECE, records)), records))


async def _copy(url: str, workspace_id: str, numbers: range, records: int) -> None:
    database = Database(url, connections_max=1)
    blueprint = await load(database, workspace_id)
    await database.close()
    attributes = list(blueprint.attributes.values())
    plans = {each: plan_of(workspace_id, each, attributes) for each in blueprint.schemas}
    sku = blueprint.attributes["attr-sku"]
    rows = list(_rows(numbers, records))
    conn = await asyncpg.connect(url)
    try:
        await speak_json(conn)
        await _copy_records(conn, workspace_id, rows, plans, sku)
        for at in range(0, len(rows), WRITTEN_AT_ONCE):
            await _write_texts(conn, blueprint, rows[at : at + WRITTEN_AT_ONCE])
    finally:
        await conn.close()


async def _copy_records(
    conn: asyncpg.Connection,
    workspace_id: str,
    rows: list[Row],
    plans: dict[str, Plan],
    sku: Attribute,
) -> None:
    stored, terms, numbers, unique = [], [], [], []
    for record_id, at, schema_id, state_id, values in rows:
        named = workspace_id, record_id, schema_id, state_id
        stored.append((*named, 1, orjson.dumps(values), at, at, "u", "u"))
        found = indexed(plans[schema_id], record_id, values)
        terms.append(
            (
                workspace_id,
                at,
                record_id,
                schema_id,
                state_id,
                found.bucket,
                found.terms,
                *number_lists(found.numbers),
            )
        )
        numbers += [
            (workspace_id, at, record_id, *number, schema_id, state_id, found.bucket)
            for number in found.numbers
        ]
        unique += [
            (workspace_id, sku.id, "{}", key.value_hash, record_id)
            for key in unique_keys_of(sku, values[sku.id]) or ()
        ]
    keys = "workspace_id created_at record_id"
    place = "schema_id state_id bucket"
    times = "created_at updated_at created_by updated_by"
    for table, copied, columns in (
        ("records", stored, f"workspace_id id schema_id state_id version values {times}"),
        ("search_records", terms, f"{keys} {place} terms number_keys numbers"),
        ("search_numbers", numbers, f"{keys} attribute_key entry number {place}"),
        ("unique_values", unique, "workspace_id attribute_id scope value_hash record_id"),
    ):
        await conn.copy_records_to_table(table, records=copied, columns=columns.split())


async def _write_texts(conn: asyncpg.Connection, blueprint: Blueprint, rows: list[Row]) -> None:
    types = {each.id: each.type for each in blueprint.attributes.values()}
    layout = layout_of(blueprint.attributes.values(), blueprint.dimensions.values(), FOLDING)
    documents = [
        (
            texts.Stored(record_id, at, schema_id, state_id, orjson.dumps(values).decode(), ()),
            document_of(blueprint.workspace_id, record_id, [values], types, layout),
        )
        for record_id, at, schema_id, state_id, values in rows
    ]
    await texts.write(conn, blueprint.workspace_id, documents)
    # Their schemas are known to be sorted, from before there were any records.
    await sorting.sort(conn, blueprint, [record for record, _ in documents])


def _rows(numbers: range, records: int) -> Iterator[Row]:
    for number in numbers:
        chance = random.Random(number)
        is_rare = number % (records // FEW) == 7
        values: dict[str, Any] = {
            "third": f"val-t{chance.randrange(3)}",
            "sold": chance.random() < 0.5,
            "color": f"val-c{chance.randrange(COLORS)}",
            "rare": "val-yes" if is_rare else "val-no",
            "weight": round(chance.random() * 100, 1),
            "made": (BEGAN - timedelta(minutes=chance.randrange(500_000))).isoformat(),
            "code": f"C-{number}",
            "sku": f"SKU-{number}",
            **{f"text-{n}": f"{number} {TEXT[: 60 + 5 * n]}" for n in range(5)},
        }
        words = [*chance.choices(VOCABULARY, k=12), OFTEN[chance.randrange(3)]]
        values["text-5"] = " ".join([*words, "extraordinary"] if is_rare else words)
        if chance.random() < 0.7:
            values["brand"] = f"val-b{chance.randrange(BRANDS)}"
        if number % 10:
            values["price"] = round(chance.random() * 1000, 2)
        record_id = f"ent-{chance.getrandbits(64):016x}"
        entries = {
            f"attr-{alias}": [{"scope": {}, "value": value}] for alias, value in values.items()
        }
        entries["attr-title"] = [
            {"scope": {"dim-language": f"seg-{language}"}, "value": f"{language} {n}"}
            for n, language in ((number, "en"), (records - number, "da"))
        ]
        entries["attr-cost"] = [{"scope": {}, "value": chance.randrange(records)}]
        yield (
            record_id,
            BEGAN + timedelta(seconds=number // 8),
            f"schema-s{chance.randrange(SCHEMAS)}",
            f"state-{STATES[min(chance.randrange(100) // 30, 3)]}",
            entries,
        )


def _where(attribute: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value}


def cases(records: int) -> list[Case]:
    """What is asked."""
    third, sold, color = (
        _where("third", "equals", "t1"),
        _where("sold", "equals", True),
        _where("color", "equals", "c5"),
    )
    rare, dear = _where("rare", "equals", "yes"), _where("price", "gt", 666)
    dearest = _where("price", "gt", 1000 - 10_000 / records)
    heavy = _where("weight", "gt", 66)
    by_price = [{"attribute": "price", "order": "asc"}]
    by_price_down = [{"attribute": "price", "order": "desc"}]
    brand = _where("brand", "equals", "b7")
    deep = min(1_000, records // 100)

    def by(attribute: str, order: str = "asc") -> list[dict[str, Any]]:
        return [{"attribute": attribute, "order": order}]

    def all_of(*criteria: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"criteria": list(criteria), **more}

    def one_of(*criteria: dict[str, Any]) -> dict[str, Any]:
        return {"criteria": list(criteria), "criteriaOperator": "or"}

    facets = ["third", "sold", "color"]
    by_state = f"/api/v1/records?schemaId=schema-s1&lifecycleStateId=state-{STATES[3]}"
    return [
        Case("equals, 10 records", all_of(rare)),
        Case("equals, 1/300", all_of(_where("brand", "equals", "b7"))),
        Case("equals, 1/60", all_of(color)),
        Case("equals, a third", all_of(third)),
        Case("equals, a text", all_of(_where("code", "equals", "C-4711"))),
        Case("in, 3 of 60", all_of(_where("color", "in", ["c1", "c2", "c3"]))),
        Case("notEquals, two thirds", all_of(_where("third", "notEquals", "t1"))),
        Case("notEquals, 10 records", all_of(_where("rare", "notEquals", "no"))),
        Case("notIn, 57 of 60", all_of(_where("color", "notIn", ["c1", "c2", "c3"]))),
        Case("isEmpty, 30 %", all_of(_where("brand", "isEmpty"))),
        Case("isEmpty, none", all_of(_where("sold", "isEmpty"))),
        Case("isNotEmpty, 70 %", all_of(_where("brand", "isNotEmpty"))),
        Case("gt, 10 records", all_of(dearest)),
        Case("gt, a third", all_of(dear)),
        Case("lte, a time, half", all_of(_where("made", "lte", "2025-07-01T00:00:00Z"))),
        Case("equals, a number", all_of(_where("weight", "equals", 50.1))),
        Case("and, a third and a half", all_of(third, sold)),
        Case("and, a third and 10 records", all_of(third, rare)),
        Case("and, 1/300 and 1/60", all_of(_where("brand", "equals", "b7"), color)),
        Case("and, a number a third, a third", all_of(third, dear)),
        Case("and, two numbers, a third each", all_of(dear, heavy)),
        Case("and, a number 10 records, a third", all_of(third, dearest)),
        Case("or, a third or a half", one_of(third, sold)),
        Case("or, 10 records or 1/300", one_of(rare, _where("brand", "equals", "b7"))),
        Case("or, a number or an option", one_of(dear, third)),
        Case("a third in one schema", all_of(third, schemaId="s1")),
        Case("sort by a number", all_of(sort=by_price)),
        Case("sort by a number, descending", all_of(sort=by_price_down)),
        Case("sort by a time, a third", all_of(third, sort=[{"attribute": "made"}])),
        Case("sort by a number, 1/300", all_of(_where("brand", "equals", "b7"), sort=by_price)),
        Case("page 1,000 by cursor, a third", all_of(third, limit=20), min(1_000, records // 100)),
        Case(
            "page 1,000 by cursor, sorted",
            all_of(sort=by_price, limit=20),
            min(1_000, records // 100),
        ),
        Case("sort by a text", all_of(sort=by("code"))),
        Case("sort by a text, descending", all_of(sort=by("code", "desc"))),
        Case("sort by a text, a third", all_of(third, sort=by("code"))),
        Case("sort by a text, 1/300", all_of(brand, sort=by("code"))),
        Case("sort by a text, 1/300, descending", all_of(brand, sort=by("code", "desc"))),
        Case("sort by two keys", all_of(sort=[*by("price", "desc"), *by("code")])),
        Case("sort by an option, then a text", all_of(sort=[*by("brand"), *by("code")])),
        Case("sort by a text, 10 records", all_of(rare, sort=by("code"))),
        Case("page 1,000 by cursor, by a text", all_of(sort=by("code"), limit=20), deep),
        Case("sort by an option of 300", all_of(sort=by("brand"))),
        Case("sort by an option of 3, descending", all_of(sort=by("third", "desc"))),
        Case("sort by an option, a third", all_of(third, sort=by("color"))),
        Case("sort by an option, 1/300", all_of(brand, sort=by("color"))),
        Case("page 1,000 by cursor, by an option", all_of(sort=by("color"), limit=20), deep),
        Case("sort by a boolean", all_of(sort=by("sold"))),
        Case("sort by a text in a scope", all_of(sort=by("title"))),
        Case("sort by a number in a scope", all_of(sort=by("cost", "desc"))),
        Case(
            "3 facets over a tenth",
            all_of(sold, schemaId="s1", facets=facets),
            0,
            FACETS_AT_MOST_MS,
        ),
        Case("GET /records by schema and state", {}, path=by_state),
        Case("contains 4 characters, 280 records", all_of(_where("code", "contains", "4711"))),
        Case("startsWith 4 characters, 1/90", all_of(_where("code", "startsWith", "C-47"))),
        Case(
            "startsWith 6 characters, 111 records", all_of(_where("code", "startsWith", "C-4711"))
        ),
        Case("startsWith 1 character, all", all_of(_where("code", "startsWith", "c"))),
        *(
            Case(name, {"query": query}, to="/api/v1/search/full-text")
            for name, query in (
                ("text: a word of 10 records", "extraordinary"),
                ("text: a word of 1/250", "word0123"),
                ("text: a word of a third", "often"),
                ("text: words of a third and 1/250", "often word0123"),
                ("text: a part of SKUs, 111 records", "KU-4711"),
                ("text: a phrase of 4 records", '"often extraordinary"'),
                ("text: a phrase of all", '"believable sentence"'),
                ("text: a third without 1/250", "often -word0123"),
                ("text: beginning of 10 words, 1/26", "word012"),
                ("text: beginning of 100 words, a third", "word01"),
                ("text: a label of options, 1/39", "b7"),
            )
        ),
    ]


async def measure(here: World, records: int = RECORDS) -> None:
    """Print p50 and p95 of each case, and of reading the rows of its page by their keys."""
    workspace = await here.stack.workspace(record_limit=RECORD_LIMIT)
    await model(workspace)
    url = here.stack.databases["records_service"]
    await fill(url, workspace.id, records)
    key = await workspace.api_key()
    conn = await asyncpg.connect(url)
    late = 0
    try:
        async with aiohttp.ClientSession(here.stack.url, headers=dict(key.headers)) as session:
            print(f"\nSearches in {records:,} records, 1 client, {REPEATED} times each, ms")
            print(f"  {'':36} {'p50':>7} {'p95':>7} {'floor':>7} {'found':>10}")
            for case in cases(records):
                late += await _measured(session, conn, workspace.id, case)
    finally:
        await conn.close()
    print(f"  {late} later than asked")


async def _measured(
    session: aiohttp.ClientSession, conn: asyncpg.Connection, workspace_id: str, case: Case
) -> bool:
    body = dict(case.body)
    for _ in range(case.pages):
        answer = await _asked(session, case, {**body, "total": "none"})
        body["cursor"] = answer["nextCursor"]
    took, floor = [], []
    answer = {}
    for _ in range(REPEATED):
        began = time.perf_counter()
        answer = await _asked(session, case, body)
        took.append(1000 * (time.perf_counter() - began))
        ids = [item["id"] for item in answer["items"]]
        began = time.perf_counter()
        await conn.fetch(_READ, workspace_id, ids)
        floor.append(1000 * (time.perf_counter() - began))
    total = f"{'~' if answer.get('totalIsEstimate') else ''}{answer.get('total'):,}"
    p95 = percentile(took, 0.95)
    verdict = "" if p95 <= case.at_most_ms else f"  NO (at most {case.at_most_ms:.0f})"
    print(
        f"  {case.name:36} {percentile(took, 0.5):7.1f} {p95:7.1f} {percentile(floor, 0.5):7.1f}"
        f" {total:>10}{verdict}",
        flush=True,
    )
    return bool(verdict)


async def _asked(
    session: aiohttp.ClientSession, case: Case, body: dict[str, Any]
) -> dict[str, Any]:
    request = session.get(case.path) if case.path else session.post(case.to, json=body)
    async with request as answer:
        found: dict[str, Any] = await answer.json()
        if answer.status != 200:
            raise SystemExit(f"{case.name}: {answer.status} {found}")
        return found
