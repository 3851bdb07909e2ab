"""A workspace in a records_service and a workflow_service of the test's own process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from records_service.permissions import store as roles
from shared.database import Database
from shared.events import Event
from shared.identity import ALL_PERMISSIONS, Flag, Identity
from tests.kit import identities
from tests.kit.service import RunningService
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import ModelBuilder, entries


@dataclass(frozen=True)
class RecordsWorkspace(ModelBuilder):
    """A workspace of one test's own, in services that other tests use too."""

    records: RunningService
    workflows: RunningService
    id: str

    @property
    def admin(self) -> Caller:
        return self.records.as_(identities.admin(self.id))

    @property
    def workflow_admin(self) -> Caller:
        return self.workflows.as_(identities.admin(self.id))

    @property
    def database(self) -> Database:
        return self.records.database

    def user(self, *flags: Flag) -> Caller:
        return self.records.as_(identities.user(self.id, flags=flags))

    async def user_with_role(
        self,
        words: dict[str, dict[str, str]],
        *flags: Flag,
        name: str = "role-held",
        catalogs: dict[str, str] | None = None,
    ) -> Caller:
        """A user whose role says this, as auth_service would tell it: schema -> attribute -> word.

        `catalogs` is catalog -> "view", "assign", "both" or "nothing". Said again, it is the next
        version of the role.
        """
        async with self.database.acquire() as conn:
            known = await roles.find(conn, self.id, name)
            version = 1 if known is None else known["version"] + 1
            document = {
                "id": name,
                "version": version,
                "schemaPermissions": [
                    {"schemaId": schema_id, "attributePermissions": by_attribute}
                    for schema_id, by_attribute in words.items()
                ],
                "catalogPermissions": [
                    {
                        "catalogId": catalog_id,
                        "canView": right in ("view", "both"),
                        "canAssign": right in ("assign", "both"),
                    }
                    for catalog_id, right in (catalogs or {}).items()
                ],
                **{flag.value: flag in flags for flag in Flag},
            }
            await roles.upsert(conn, self.id, name, version, document)
        return self.records.as_(identities.user(self.id, name, flags=flags, role_version=version))

    def api_key(self, *permissions: str) -> Caller:
        return self.records.as_(
            identities.api_key(self.id, permissions=permissions or ALL_PERMISSIONS)
        )

    def as_(self, identity: Identity) -> Caller:
        return self.records.as_(identity)

    async def staged(self) -> list[Event]:
        """What waits in this workspace's outbox, oldest first."""
        return [e for e in await self.records.staged() if e.workspace_id == self.id]

    async def fetch(self, query: str) -> list[dict[str, Any]]:
        """Rows of this workspace, which is $1."""
        return [dict(row) for row in await self.database.fetch(query, self.id)]

    async def post_record(self, schema_alias: str, **values: Any) -> Answer:
        """The answer to a new record with these values, each for everywhere."""
        body = {"schemaId": f"schema-{schema_alias}", "values": entries(values)}
        return await self.admin.post("/records", body)
