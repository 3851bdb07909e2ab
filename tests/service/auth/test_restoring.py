"""auth_service on a restored database: sessions end, and everybody is told of again."""

from __future__ import annotations

from auth_service.users import commands as users
from auth_service.users import store
from auth_service.workspaces import commands as workspaces
from shared.database import Database, restored
from shared.events import Event
from tests.kit.service import Services


async def test_sessions_end_and_users_are_told_of_again(services: Services):
    url = await services.database("auth_service")
    db = Database(url)
    try:
        await workspaces.create(db, "ws-one", "One", 10)
        for name in ("ann", "bob"):
            await users.create(
                db,
                workspace_id="ws-one",
                user_id=f"user-{name}",
                email=f"{name}@one.example",
                name=name,
                role_id="role-admin",
                password_hash="none",
                quick_login=False,
            )
        await users.disable(db, "ws-one", "user-bob")
        await db.execute(
            """INSERT INTO unknown_names (workspace_id, kind, name, role_id, model_version)
               VALUES ('ws-one', 'attribute', 'price', 'role-admin', 9)"""
        )
        await db.execute("DELETE FROM outbox")
        said: list[str] = []

        await restored.restored("auth_service", url, said.append)

        assert any("users that are told of again: 2" in line for line in said)
        assert any("list-keys" in line for line in said)
        async with db.acquire() as conn:
            user = await store.find(conn, "ws-one", "user-ann")
        assert user is not None
        assert user.sessions_from > 0
        assert await db.fetchval("SELECT max(model_version) FROM unknown_names") == 0
        rows = await db.fetch("SELECT document::text AS news FROM outbox ORDER BY subject")
        told = [Event.from_json(row["news"].encode()) for row in rows]
        assert [(one.type, one.subject, one.version) for one in told] == [
            ("auth.user.updated", "user-ann", 1),
            ("auth.user.disabled", "user-bob", 2),
        ]
    finally:
        await db.close()
