"""One, two and four processes of a service, each on the same share of a core: do they add up?

The processes of a group share a port (`SIGMA_REUSE_PORT`), as those of `make run PROCESSES=...` do.
All groups run the whole time and are measured in turn; the factor is the median over the rounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.scale.operations import Operation, operations
from benchmarks.scale.quota import shares
from benchmarks.scale.world import API, Scale
from deploy.local.private_server import HOST, free_port
from shared.identity import GATEWAY
from tests.kit.processes import Process
from tests.kit.stack import AUTH, RECORDS, WORKFLOW

COUNTS: Final = (1, 2, 4)
SHARE: Final = 0.08
"""Of a core for each process: four of them leave room for what they ask."""
SECONDS: Final = 3
CLIENTS: Final = 32
MEASURED: Final = {
    "gateway, read": (GATEWAY, "read"),
    "records_service, read": (RECORDS, "read"),
    "records_service, list": (RECORDS, "list"),
    "records_service, create": (RECORDS, "create"),
    "auth_service, roles": (AUTH, "roles"),
    "workflow_service, workflows": (WORKFLOW, "workflows"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """So many processes behind one address."""

    url: str
    processes: list[Process]


async def measure(here: Scale, rounds: int) -> dict[str, Any]:
    """Requests per second by service, request and number of processes."""
    found = {}
    for service in dict.fromkeys(of for of, _ in MEASURED.values()):
        made = await asyncio.gather(*(_group(here, service, count) for count in COUNTS))
        groups = dict(zip(COUNTS, made, strict=True))
        with ExitStack() as held:
            for group in groups.values():
                held.enter_context(shares([one.pid for one in group.processes], SHARE))
            for name, (of, kind) in MEASURED.items():
                if of == service:
                    found[name] = await _rates(
                        here, service, operations(here)[kind], groups, rounds
                    )
                    print(f"  {name}: {found[name]}", flush=True)
        for group in groups.values():
            for one in group.processes:
                await asyncio.to_thread(one.stop)
    return {"share_of_a_core": SHARE, "rounds": rounds, "requests_per_second": found}


async def _rates(
    here: Scale, service: str, operation: Operation, groups: Mapping[int, Group], rounds: int
) -> dict[str, Any]:
    rates: dict[int, list[float]] = {count: [] for count in groups}
    for _ in range(rounds):
        for count, group in groups.items():
            headers = here.key_headers if service == GATEWAY else here.identity_headers
            load = await asyncio.to_thread(
                operation.run, group.url, headers, SECONDS, clients=CLIENTS * count
            )
            rates[count].append(load.per_second)
    factors = {
        f"{2 * count} / {count}": round(
            median(two / one for one, two in zip(rates[count], rates[2 * count], strict=True)), 2
        )
        for count in groups
        if 2 * count in groups
    }
    return {str(count): round(median(each)) for count, each in rates.items()} | factors


async def _group(here: Scale, service: str, count: int) -> Group:
    settings = {"SIGMA_PORT": str(free_port()), "SIGMA_REUSE_PORT": "true"}
    processes = await asyncio.gather(
        *(here.stack.another(service, API, **settings) for _ in range(count))
    )
    return Group(f"http://{HOST}:{settings['SIGMA_PORT']}", processes)
