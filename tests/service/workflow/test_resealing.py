"""After a new secret key came first, everything that is stored is sealed with it."""

from __future__ import annotations

import base64

from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from workflow_service.app import create_app
from workflow_service.config import Config
from workflow_service.secrets import resealing
from workflow_service.secrets.columns import SealedColumn
from workflow_service.secrets.resealing import reseal
from workflow_service.secrets.vault import Place, Vault

WHERE = SealedColumn("workflows", "thing", "alias")
"""Any text column of a table with workspaces and ids will do."""
KEYS = {name: base64.b64encode(name.encode().ljust(32)).decode() for name in ("old", "new", "lost")}


def ring(*names: str) -> str:
    return ",".join(f"{name}={KEYS[name]}" for name in names)


async def store(service: RunningService, vault: Vault, count: int) -> None:
    places = [Place(f"ws-{n % 3}", "thing", f"{vault.prefix}{n}") for n in range(count)]
    await service.database.execute(
        """INSERT INTO workflows (workspace_id, id, alias, body, version, created_at, updated_at)
           SELECT *, '{}', 1, now(), now() FROM unnest($1::text[], $2::text[], $3::text[])""",
        [place.workspace_id for place in places],
        [place.owner_id for place in places],
        [vault.seal(f"secret {place.owner_id}", place) for place in places],
    )


async def stored(service: RunningService):
    return await service.database.fetch("SELECT workspace_id, id, alias AS secret FROM workflows")


async def test_old_secrets_are_sealed_anew_and_still_say_the_same(service: RunningService):
    old, both, new = (Vault.parse(ring(*names)) for names in (["old"], ["new", "old"], ["new"]))
    await store(service, old, 450)
    await store(service, new, 5)
    before = {row["id"]: row["secret"] for row in await stored(service)}
    assert await reseal(service.database, both, [WHERE]) == (450, 0)
    rows = await stored(service)
    for row in rows:
        place = Place(row["workspace_id"], "thing", row["id"])
        assert new.open(row["secret"], place) == f"secret {row['id']}"
    assert sum(before[row["id"]] == row["secret"] for row in rows) == 5
    assert await reseal(service.database, both, [WHERE]) == (0, 0)


async def test_a_secret_whose_key_is_lost_stays_and_is_counted(service: RunningService):
    await store(service, Vault.parse(ring("lost")), 2)
    await store(service, Vault.parse(ring("old")), 3)
    assert await reseal(service.database, Vault.parse(ring("new", "old")), [WHERE]) == (3, 2)
    lost = [row for row in await stored(service) if row["secret"].startswith("1.lost.")]
    assert len(lost) == 2


async def test_the_worker_seals_anew_when_it_starts(services: Services, monkeypatch):
    first = await services.start(create_app, Config, secret_keys=ring("old"))
    await store(first, Vault.parse(ring("old")), 3)
    monkeypatch.setattr(resealing, "COLUMNS", (WHERE,))
    await services.start(
        create_app,
        Config,
        role="worker",
        amqp_url=await services.broker(),
        database_url=first.config.database_url,
        secret_keys=ring("new", "old"),
    )

    async def all_new() -> bool:
        return all(row["secret"].startswith("1.new.") for row in await stored(first))

    await eventually(all_new)
