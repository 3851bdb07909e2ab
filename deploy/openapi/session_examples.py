"""Examples of logging in, and of who is calling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples

ADMIN: Final = {
    "id": "user-admin",
    "email": "admin@sigma.io",
    "name": "Admin User",
    "roleId": catalogue.ADMIN,
}
_SESSION: Final = {"token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…", "user": ADMIN}
_DEMO: Final = {"id": "ws-demo", "name": "Sigma Demo"}
_FULL: Final = {**_DEMO, "recordLimit": 500, "records": 60}

SESSIONS: Final[Mapping[str, Examples]] = {
    "logIn": Examples({"email": ADMIN["email"], "password": "admin"}, _SESSION),
    "refreshToken": Examples({"token": _SESSION["token"]}, _SESSION),
    "getMe": Examples(answered={"kind": "user", **ADMIN, "workspace": _FULL}),
    "listTenants": Examples(answered=[{**_DEMO, "users": [ADMIN]}]),
}
