"""Fills the demo workspace once: users by the administration command, the rest by the public API.

The password `admin` exists here and nowhere else. What a person changed afterwards stays: once the
workspace is complete, nothing is written again. A seeding that was interrupted is continued.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.local import catalogue, web_shop
from deploy.local.failure import StartFailed

PART = "Demo workspace"
WORKSPACE = "ws-demo"
SETTINGS: Mapping[str, dict[str, str]] = {"auth_service": {"SIGMA_QUICK_LOGIN_ENABLED": "true"}}

_ALREADY_THERE = 3
_ANSWER_WITHIN_S = 30.0
_STEPS = {catalogue.DRAFT: (), catalogue.REVIEW: (catalogue.REVIEW,)}
_STEPS |= {catalogue.PUBLISHED: (catalogue.REVIEW, catalogue.PUBLISHED)}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    id: str
    email: str
    name: str
    role: str
    password: str


ADMIN = User("user-admin", "admin@sigma.io", "Admin User", catalogue.ADMIN, "admin")
EDITOR = User("user-editor", "editor@sigma.io", "Editor", catalogue.EDITOR, "editor")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo goes: the gateway, auth_service's settings, the file that says it is done."""

    url: str
    auth_environment: Mapping[str, str]
    done: Path


def seed(place: Place) -> str:
    """Create what is missing; says what there is now."""
    api = Api(place.url)
    try:
        # Checked as well, because the file stays when the database is created again elsewhere.
        there = any(tenant["id"] == WORKSPACE for tenant in api.call("GET", "/auth/tenants"))
        if there and place.done.exists():
            return "already there, unchanged"
        _administer(place, "create-workspace", "--id", WORKSPACE, "--name", "Sigma Demo", stdin="")
        _create_user(place, ADMIN)
        api.log_in(ADMIN.email, ADMIN.password)
        _create_model(api)
        records = sum(_create_product(api, *product) for product in catalogue.products())
        for category, ids in web_shop.assignments().items():
            api.call("POST", f"/categories/{category}/assign", {"entityIds": ids})
        for record_id, body in catalogue.variants():
            api.create(f"/records/{record_id}/variants", body)
    finally:
        api.close()
    _create_user(place, EDITOR)
    place.done.write_text("The demo workspace is complete; make run leaves it as it is.\n")
    return f"{records} records"


def welcome(url: str, logs: Path, broker: Path) -> str:
    """What a person reads when everything runs."""
    login = json.dumps({"email": ADMIN.email, "password": ADMIN.password})
    return f"""
Sigma PIM is at {url}

  Reference    {url}/docs
  Log in       {ADMIN.email} / {ADMIN.password}     (an editor: {EDITOR.email} / {EDITOR.password})
  Tour         python3 docs/tour.py {url}     (each step is in README.md)
  Logs         {logs}
  Events       make events     (the broker's address is in {broker})

Try it:

  TOKEN=$(curl -s {url}/api/v1/auth/login -H 'Content-Type: application/json' \\
    -d '{login}' | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')
  curl -s {url}/api/v1/records/ent-coastal-wb -H "Authorization: Bearer $TOKEN"

Ctrl-C stops everything; the data stays."""


def _create_user(place: Place, user: User) -> None:
    _administer(
        place,
        *("create-user", "--workspace", WORKSPACE, "--id", user.id, "--email", user.email),
        *("--name", user.name, "--role", user.role, "--password-stdin", "--quick-login"),
        stdin=user.password,
    )


def _administer(place: Place, *command: str, stdin: str) -> None:
    """Do it, unless it was done already."""
    done = subprocess.run(
        [sys.executable, "-m", "auth_service", "admin", *command],
        cwd=Path(__file__).resolve().parents[2],
        env=dict(place.auth_environment),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, _ALREADY_THERE):
        raise StartFailed(PART, f"{command[0]}: {(done.stderr or done.stdout).strip()}")


def _create_model(api: Api) -> None:
    api.create("/roles", catalogue.EDITOR_ROLE)
    for path, bodies in (
        ("/dimensions", catalogue.DIMENSIONS),
        ("/option-lists", catalogue.OPTION_LISTS),
        ("/attributes", catalogue.ATTRIBUTES),
        ("/workflows", (catalogue.LIFECYCLE,)),
        ("/schemas", catalogue.SCHEMAS),
        ("/catalogs", web_shop.CATALOGS),
        (f"/catalogs/{catalogue.CATALOG}/categories", web_shop.CATEGORIES),
        ("/saved-queries", web_shop.SAVED_QUERIES),
    ):
        for body in bodies:
            api.create(path, body)


def _create_product(api: Api, body: catalogue.Body, state: str) -> int:
    record = api.create("/records", body)
    steps = _STEPS[state]
    at = record["lifecycleStateId"]
    for step in steps[steps.index(at) + 1 if at in steps else 0 :]:
        api.call("POST", f"/records/{body['id']}/transition", {"toStateId": step})
    return 1


class Api:
    """The public API, as any client uses it."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=_ANSWER_WITHIN_S
        )
        self._headers = {"Content-Type": "application/json"}

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def log_in(self, email: str, password: str) -> None:
        """Everything from here on is this user's doing."""
        answer = self.call("POST", "/auth/login", {"email": email, "password": password})
        self._headers["Authorization"] = f"Bearer {answer['token']}"

    def create(self, path: str, body: catalogue.Body) -> Any:
        """The new object, or the one that has this id already."""
        status, answer = self._ask("POST", path, body)
        if status == http.HTTPStatus.CONFLICT:
            return self.call("GET", f"{path}/{body['id']}")
        return self._answer("POST", path, status, answer)

    def call(self, method: str, path: str, body: catalogue.Body | None = None) -> Any:
        """The answer; `StartFailed` when it is an error."""
        return self._answer(method, path, *self._ask(method, path, body))

    def _ask(self, method: str, path: str, body: catalogue.Body | None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, f"/api/v1{path}", sent, self._headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None

    def _answer(self, method: str, path: str, status: int, answer: Any) -> Any:
        if not http.HTTPStatus.OK <= status < http.HTTPStatus.MULTIPLE_CHOICES:
            message = answer.get("message") if isinstance(answer, dict) else answer
            raise StartFailed(PART, f"{method} {path} answered {status}: {message}")
        return answer
