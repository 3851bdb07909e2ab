"""Shows what a running `make run` consists of, and how each part is: `make status`.

    .venv/bin/python -m deploy.local.status [--json] [--folder .run]

It asks each process on its internal port, PostgreSQL and RabbitMQ themselves, and the kernel for
CPU and memory. It exits with 0 if everything is ready, with 1 if something is not or nothing runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import aio_pika
import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.databases import ADDRESSES
from deploy.local.folder import BROKER, FOLDER, Running, holder_of, read_running
from deploy.local.process_figures import cpu_seconds, family, lives, memory_bytes
from deploy.local.servers import PrivatePostgres, PrivateRabbit
from deploy.local.settings import HOST
from deploy.local.status_report import (
    DatabaseFigures,
    PartStatus,
    QueueStatus,
    Report,
    ServiceFigures,
    text_of,
)
from shared.messaging import topology

SAMPLE_S: Final = 1.0
"""Over which CPU is measured."""
ANSWER_WITHIN_S: Final = 4.0
"""Longer than the 3 s in which /readyz answers for certain."""
_SHOWN_MAX: Final = 200

Metrics = Mapping[str, float]


async def report(folder: Path, holder: str) -> Report:
    """What runs, and how it is."""
    running = read_running(folder)
    before = {part.name: _cpu(part) for part in running}
    began = asyncio.get_running_loop().time()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_WITHIN_S)) as session:
        answers, postgres, rabbit, _ = await asyncio.gather(
            asyncio.gather(*(_asked(session, part) for part in running if part.probes)),
            _asked_postgres(folder),
            _asked_rabbit(folder),
            asyncio.sleep(SAMPLE_S),
        )
    passed_s = asyncio.get_running_loop().time() - began
    found = {part.name: answer for part, answer in zip(_services(running), answers, strict=True)}
    servers = {PrivatePostgres.part: postgres, PrivateRabbit.part: rabbit}
    parts = []
    for part in running:
        state, figures = found.get(part.name) or (servers[part.name][0], None)
        parts.append(
            PartStatus(
                part=part,
                state=_state(part, state),
                memory_bytes=sum(map(memory_bytes, _pids(part))),
                cores=max(0.0, _cpu(part) - before[part.name]) / passed_s,
                figures=figures,
            )
        )
    return Report(holder, str(folder), parts, postgres[1], rabbit[1])


def _services(running: list[Running]) -> Iterator[Running]:
    return (part for part in running if part.probes)


def _pids(part: Running) -> list[int]:
    if part.pid is None or not lives(part.pid):
        return []
    # A server is a family of processes; a service is one.
    return [part.pid] if part.probes else list(family(part.pid))


def _cpu(part: Running) -> float:
    return sum(cpu_seconds(pid) for pid in _pids(part))


def _state(part: Running, answer: str) -> str:
    if part.pid is not None and not lives(part.pid):
        return f"has ended; make run starts it again (its log: {part.log})"
    return answer


async def _asked(
    session: aiohttp.ClientSession, part: Running
) -> tuple[str, ServiceFigures | None]:
    """Empty or what is in the way, and what its metrics say."""
    url = f"http://{HOST}:{part.probes}"
    try:
        async with session.get(f"{url}/readyz") as answer:
            body = (await answer.content.read(_SHOWN_MAX)).decode(errors="replace")
            state = "" if answer.status == 200 else _message_of(body)  # noqa: PLR2004
        async with session.get(f"{url}/metrics") as answer:
            return state, _figures_of(await answer.text())
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return f"does not answer on port {part.probes} ({_reason(error)})", None


def _message_of(body: str) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body


def _figures_of(text: str) -> ServiceFigures:
    found: dict[str, float] = {}
    for family_ in text_string_to_metric_families(text):
        for sample in family_.samples:
            state = sample.labels.get("state")
            name = f"{sample.name}:{state}" if state else sample.name
            failed = sample.labels.get("status", "").startswith("5")
            found[name] = found.get(name, 0.0) + sample.value
            if failed:
                found[f"{name}:failed"] = found.get(f"{name}:failed", 0.0) + sample.value
    return ServiceFigures(
        requests=int(found.get("sigma_http_requests_total", 0)),
        failed=int(found.get("sigma_http_requests_total:failed", 0)),
        in_flight=int(found.get("sigma_http_requests_in_flight", 0)),
        connections={
            name.partition(":")[2]: int(value)
            for name, value in found.items()
            if name.startswith("sigma_postgres_pool_connections:")
        },
        loop_lag_s=found.get("sigma_loop_lag_seconds", 0.0),
        outbox_events=_whole(found.get("sigma_outbox_rows")),
        outbox_age_s=found.get("sigma_outbox_oldest_age_seconds"),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


async def _asked_postgres(folder: Path) -> tuple[str, DatabaseFigures | None]:
    """Empty or what is in the way, and its connections."""
    try:
        addresses: dict[str, str] = json.loads((folder / ADDRESSES).read_text())
        async with asyncio.timeout(ANSWER_WITHIN_S):
            conn = await asyncpg.connect(next(iter(addresses.values())))
            try:
                rows = await conn.fetch(
                    """SELECT datname, count(*) AS connections
                         FROM pg_stat_activity
                        WHERE datname IS NOT NULL AND pid <> pg_backend_pid()
                        GROUP BY datname
                        ORDER BY datname"""
                )
                most = await conn.fetchval("SHOW max_connections")
            finally:
                await conn.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is in the way
        return f"does not answer ({_reason(error)})", None
    return "", DatabaseFigures({row["datname"]: int(row["connections"]) for row in rows}, int(most))


async def _asked_rabbit(folder: Path) -> tuple[str, list[QueueStatus]]:
    """Empty or what is in the way, and its queues."""
    try:
        url = (folder / BROKER).read_text().strip()
        async with asyncio.timeout(ANSWER_WITHIN_S):
            connection = await aio_pika.connect(url)
            async with connection, connection.channel() as channel:
                return "", [await _queue(channel, queue) for queue in topology.QUEUES]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is in the way
        return f"does not answer ({_reason(error)})", []


async def _queue(channel: Any, queue: topology.Queue) -> QueueStatus:
    live = await channel.declare_queue(queue.name, passive=True)
    dead = await channel.declare_queue(queue.dead, passive=True)
    told = live.declaration_result
    return QueueStatus(
        queue.name,
        int(told.message_count or 0),
        int(told.consumer_count or 0),
        int(dead.declaration_result.message_count or 0),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error)[:_SHOWN_MAX] or type(error).__name__


def json_of(report: Report) -> str:
    """The report for programs; `state` is `ready`, or what is in the way."""
    document = asdict(report) | {"ready": report.ready}
    for part in document["parts"]:
        part["state"] = part["state"] or "ready"
    return json.dumps(document, indent=1)


def main() -> int:
    """Print the report; 1 when something is not ready, or nothing runs."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.status")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the folder of make run")
    called = parser.parse_args()
    # What does not answer is in the report, and not told by the libraries as well.
    logging.getLogger().addHandler(logging.NullHandler())
    holder = holder_of(called.folder)
    if holder is None:
        print("make run is not running: start it in another terminal.", file=sys.stderr)
        return 1
    found = asyncio.run(report(called.folder, holder))
    print(json_of(found) if called.json else text_of(found))
    return 0 if found.ready else 1


if __name__ == "__main__":
    sys.exit(main())
