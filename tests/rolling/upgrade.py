"""From the code of another revision to this one, while both serve side by side."""

from __future__ import annotations

import asyncio
from functools import partial

import aiohttp

from deploy.local.settings import DATABASES
from shared.database.schema_version import known_revisions
from tests.kit.processes import Process
from tests.kit.servers import ROOT
from tests.rolling.fleet import ORDER, Fleet, Phase

SEEN_TO_REFUSE_S = 10.0


async def upgrade(fleet: Fleet, phase: Phase) -> list[str]:
    """New processes on the old schema, then the migrations, then the new code; what was wrong."""
    behind = [service for service in DATABASES if _revisions(fleet, service)]
    complaints: list[str] = []
    fleet.code = ROOT
    early: dict[str, Process] = {}

    async def start_early() -> None:
        for service in behind:
            early[service] = fleet.extra(service)
        await asyncio.sleep(SEEN_TO_REFUSE_S)
        for service, replica in early.items():
            said = await _readiness(replica)
            if "migrations missing" not in said:
                complaints.append(f"{service} on the old schema said {said}")

    async def migrate() -> None:
        await fleet.migrate()
        for service, replica in early.items():
            await fleet.ready(replica)
            await fleet.drop(service, replica)

    if behind:
        await phase(f"new code on the old schema: {', '.join(behind)}", start_early)
    else:
        complaints.append("the revision has the same migrations: nothing was proven about them")
    await phase("migrations, the old code serves", migrate)
    for service in ORDER:
        await phase(f"{service}: old to new", partial(fleet.roll, service))
    return complaints


def _revisions(fleet: Fleet, service: str) -> set[str]:
    """The migrations of this tree that the other one does not have."""
    folder = fleet.code / service / "migrations" / "versions"
    return set(known_revisions(service)) - {
        file.name.partition("_")[0] for file in folder.glob("[0-9]*_*.py")
    }


async def _readiness(replica: Process) -> str:
    url = f"{replica.internal_url}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return f"{answer.status} {await answer.text()}"
