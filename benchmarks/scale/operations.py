"""The requests whose costs are measured: one for each kind of work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from benchmarks.scale.world import BRANDS, RECORDS, Scale, new_run, values
from benchmarks.wrk import Load, wrk

CLIENTS = 16
LOGIN_CLIENTS = 2
"""As many as there are threads that hash passwords."""
_NUMBER, _RUN = "NUMBER-GOES-HERE", "RUN-GOES-HERE"


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request; `script` is Lua for wrk and makes the requests where they differ."""

    path: str
    script: str = ""
    clients: int = CLIENTS

    def run(self, url: str, headers: Mapping[str, str], seconds: int, clients: int = 0) -> Load:
        """Send such requests, each client one at a time."""
        script = self.script.replace(_RUN, new_run())
        sent = {**headers, "Content-Type": "application/json"} if script else headers
        return wrk(
            url + self.path,
            sent,
            clients=clients or self.clients,
            seconds=seconds,
            script=script,
            # On a machine that others use, a few are told to come again.
            failing=0.01,
        )


def operations(here: Scale) -> dict[str, Operation]:
    """By name."""
    login = {"email": here.workspace.email("user-admin"), "password": here.stack.password}
    search = {
        "criteria": [{"attribute": "brand", "operator": "equals", "value": f"brand {_NUMBER}"}],
        "limit": 50,
    }
    create = {"schemaId": "schema-scale", "values": values(_RUN, _NUMBER)}
    return {
        "read": Operation("/api/v1/records/ent-0-500"),
        "list": Operation("/api/v1/records?schemaId=schema-scale&limit=50"),
        "search": Operation("/api/v1/search", _script("POST", search, f"n % {BRANDS}")),
        "create": Operation("/api/v1/records", _script("POST", create, "n")),
        "update": Operation("/api/v1/records", _update_script()),
        "roles": Operation("/api/v1/roles"),
        "workflows": Operation("/api/v1/workflows"),
        "login": Operation("/api/v1/auth/login", _script("POST", login, "n"), LOGIN_CLIENTS),
    }


def _script(method: str, body: object, number: str) -> str:
    """Lua whose every request has another number in its body, where that has a place for one."""
    before, place, after = orjson.dumps(body).decode().partition(_NUMBER)
    number = number if place else '""'
    return f"""
wrk.method = "{method}"
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, [==[{before}]==] .. ({number}) .. [==[{after}]==])
end
"""


def _update_script() -> str:
    """Lua that sets the price of one record after the other to something new."""
    return f"""
wrk.method = "PATCH"
local n = 0
request = function()
  n = n + 1
  local path = "/api/v1/records/ent-0-" .. (n % {RECORDS}) .. "/values/price"
  return wrk.format(nil, path, nil, '{{"value": ' .. (os.time() % 100000) .. "." .. n .. "}}")
end
"""
