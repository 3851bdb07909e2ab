"""Creates one database and one role per service; a role can access only its own database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local.failure import StartFailed
from deploy.local.settings import DATABASES

PART = "Databases"
ADDRESSES = "databases.json"
"""In the folder of `make run`: where the databases are, while they are there."""


def prepare(server_url: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Make what is missing; the address of each service's database, for its own role."""
    try:
        asyncio.run(_prepare(server_url, passwords))
    except (asyncpg.PostgresError, OSError) as error:
        advice = "The URL of the server must name a role that may create roles and databases."
        raise StartFailed(PART, str(error), advice) from error
    return {
        service: _address(server_url, name, passwords[name]) for service, name in DATABASES.items()
    }


async def _prepare(server_url: str, passwords: Mapping[str, str]) -> None:
    conn = await asyncpg.connect(server_url, timeout=10)
    try:
        for name in DATABASES.values():
            await _prepare_one(conn, name, passwords[name])
    finally:
        await conn.close()


async def _prepare_one(conn: asyncpg.Connection, name: str, password: str) -> None:
    # A name cannot be an argument of these statements; ours are fixed words, and the password has
    # no character that a literal would have to escape.
    if not await conn.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
        await conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    else:
        await conn.execute(f"ALTER ROLE {name} LOGIN PASSWORD '{password}'")
    owner = await conn.fetchval(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", name
    )
    if owner is None:
        await conn.execute(f"GRANT {name} TO CURRENT_USER")
        await conn.execute(f"CREATE DATABASE {name} OWNER {name}")
        await conn.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    elif owner != name:
        raise StartFailed(
            PART,
            f"there is a database {name} already, and it belongs to {owner}",
            "Use a server without it, or rename it.",
        )


def _address(server_url: str, name: str, password: str) -> str:
    server = urlsplit(server_url)
    at = server.netloc.rpartition("@")[2]
    credentials = f"{quote(name)}:{quote(password, safe='')}"
    return urlunsplit(server._replace(netloc=f"{credentials}@{at}", path=f"/{name}"))
