"""The way from an empty system to its first record, as docs/operations.md goes it."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Protocol

from deploy.local.demo import Api

_EMAIL, _PASSWORD = "ann@acme.example", "correct horse battery staple"
_ATTRIBUTE = {"id": "attr-name", "alias": "name", "name": "Name", "type": "text"}
_SCHEMA = {
    "id": "schema-product",
    "alias": "product",
    "name": "Product",
    "variantEnabled": False,
    "attributeGroups": [{"name": "General", "attributeIds": ["attr-name"]}],
}
_RECORD = {
    "schemaId": "schema-product",
    "values": {"name": [{"scope": {}, "value": "Harbour Cap"}]},
}


class Administer(Protocol):
    """Runs `python -m auth_service admin ...`; raises `StartFailed` unless it exits with 0."""

    def __call__(self, *arguments: str, stdin: str = "") -> object:
        """Run it with this text as its input."""


def first_record(url: str, administer: Administer) -> str:
    """A workspace and a user by command, then a record through the gateway; the record's id."""
    workspace = ("--id", "ws-acme", "--name", "Acme", "--record-limit", "50000")
    administer("create-workspace", *workspace)
    administer(
        *("create-user", "--workspace", "ws-acme", "--id", "user-ann", "--email", _EMAIL),
        *("--name", "Ann", "--role", "role-admin", "--password-stdin"),
        stdin=_PASSWORD,
    )
    api = Api(url)
    try:
        api.log_in(_EMAIL, _PASSWORD)
        api.call("POST", "/attributes", _ATTRIBUTE)
        api.call("POST", "/schemas", _SCHEMA)
        made = str(api.call("POST", "/records", _RECORD)["id"])
        api.call("GET", f"/records/{made}")
    finally:
        api.close()
    return made


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  an address of ours
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, urllib.error.URLError):
        return False
