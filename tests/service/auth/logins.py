"""A user with a password, and logging in as that user."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest

from auth_service.users import commands as users
from tests.kit.service import RunningService
from tests.kit.sigma import Answer, error

WS = "ws-test"
TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="
EMAIL, PASSWORD = "Eva@Sigma.io", "correct horse"

REFUSED = error(401, "UNAUTHORIZED", "Invalid email or password")


HASH: dict[str, str] = {}


async def add_user(auth: RunningService, user_id: str = "user-eva", **fields: Any) -> None:
    await users.create(
        auth.database,
        **{
            "workspace_id": WS,
            "user_id": user_id,
            "email": EMAIL,
            "name": "Eva",
            "role_id": "role-admin",
            "password_hash": HASH["of_password"],
            "quick_login": False,
            **fields,
        },
    )


async def log_in(
    auth: RunningService,
    email: str = EMAIL,
    password: str = PASSWORD,
    *,
    peer: str = "192.0.2.1",
    last_token: str | None = None,
) -> Answer:
    """As the gateway passes a login on: with the address of the client."""
    headers = {"X-Sigma-Peer": peer}
    if last_token is not None:
        headers["Authorization"] = f"Bearer {last_token}"
    body = {"email": email, "password": password}
    return await auth.stranger().post("/auth/login", body, headers=headers)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str):
    """How often a function is called meanwhile, and with what."""
    calls: list[tuple[Any, ...]] = []
    real: Callable[..., Any] = getattr(module, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, counting)
        yield calls
