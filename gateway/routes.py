"""Maps a path to its service, and to the permission that an API key needs.

The gateway knows prefixes and methods, not endpoints: a new endpoint below a known prefix needs no
change here, unless its method says something else than it does. Those stand in `_EXCEPTIONS`. The
service checks the permission of the very endpoint again.

An address that two programs could read in two ways is refused before anything is decided, so that
what was authorised here and what the service routes is one thing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.errors import MethodNotAllowed, ValidationError
from shared.http import SMALL_BODY
from shared.identity import Permission

BASE: Final = "/api/v1/"


class Service(StrEnum):
    """The three that the gateway forwards to."""

    AUTH = "auth_service"
    RECORDS = "records_service"
    WORKFLOW = "workflow_service"


class PermissionClass(StrEnum):
    """The class of a prefix: what reading, changing and deleting below it means."""

    OPEN = "open"
    """Open: no credential is looked at."""
    DATA = "data"
    MODEL = "model"
    USERS_ONLY = "users_only"
    """For people only: an API key is refused, whatever it holds."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Everything below one word after `/api/v1/`."""

    name: str
    service: Service
    permission_class: PermissionClass
    body_bytes_max: int | None = None
    """How large a body may be; without it as large as the configuration says."""


_TABLE = (
    ("auth", Service.AUTH, PermissionClass.OPEN, SMALL_BODY),
    ("schemas", Service.RECORDS, PermissionClass.MODEL),
    ("attributes", Service.RECORDS, PermissionClass.MODEL),
    ("dimensions", Service.RECORDS, PermissionClass.MODEL),
    ("option-lists", Service.RECORDS, PermissionClass.MODEL),
    ("records", Service.RECORDS, PermissionClass.DATA),
    ("audit", Service.RECORDS, PermissionClass.DATA),
    ("workflows", Service.WORKFLOW, PermissionClass.MODEL),
    ("roles", Service.AUTH, PermissionClass.MODEL),
    ("api-keys", Service.AUTH, PermissionClass.USERS_ONLY, SMALL_BODY),
)
PREFIXES: Final[Mapping[str, Prefix]] = {
    word: Prefix(BASE + word, *rules) for word, *rules in _TABLE
}

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGING = frozenset({"POST", "PUT", "PATCH"})
METHODS: Final = (*sorted(_READING), *sorted(_CHANGING), "DELETE")

_CHANGE = {
    PermissionClass.DATA: Permission.UPDATE_DATA,
    PermissionClass.MODEL: Permission.UPDATE_MODEL,
}
_DELETE = {
    PermissionClass.DATA: Permission.DELETE_DATA,
    PermissionClass.MODEL: Permission.DELETE_MODEL,
}

# A POST that only computes. `POST /records/:id/transition` needs no row: it changes data.
_EXCEPTIONS: Final = (
    ("POST", re.compile(r"/api/v1/dimensions/scope-matrix"), Permission.READ),
    ("POST", re.compile(r"/api/v1/roles/[^/]+/resolve"), Permission.READ),
)


def prefix_of(path: str) -> Prefix | None:
    """Where this path belongs; None when this version has nothing there."""
    if not path.startswith(BASE):
        return None
    return PREFIXES.get(path[len(BASE) :].partition("/")[0])


def permission_for(method: str, path: str, prefix: Prefix) -> Permission | None:
    """What an API key must hold; None where keys are not asked for a permission."""
    if prefix.permission_class in (PermissionClass.OPEN, PermissionClass.USERS_ONLY):
        return None
    if method in _READING:
        return Permission.READ
    if method == "DELETE":
        return _DELETE[prefix.permission_class]
    for excepted, pattern, permission in _EXCEPTIONS:
        if method == excepted and pattern.fullmatch(path):
            return permission
    return _CHANGE[prefix.permission_class]


def check_method(method: str) -> None:
    """Methods nobody here has are refused at once; the others are the service's to judge."""
    if method not in METHODS:
        raise MethodNotAllowed(
            f"Method '{method[:32]}' is not allowed", headers={"Allow": ", ".join(METHODS)}
        )


_ABSOLUTE_FORM = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

# What a path may be made of, and the reason for what is missing:
# - an empty segment (`//`), `.` and `..`, also percent-encoded: one program resolves them, one not;
# - `%2f` and `%5c`, a backslash, `;`: a separator for some programs and a letter for others;
# - `%25`: what it hides would be decoded by whoever decodes twice;
# - control characters, encoded or not, `#` and a percent sign that starts no escape.
_SEGMENT = r"(?:[^\x00-\x20\x7f%/\\;#?]|%(?!2[eEfF5]|5[cC]|3[bB]|7[fF]|[01])[0-9A-Fa-f]{2}|%2[eE])+"
_PATH = re.compile(rf"(?:/(?!(?:\.|%2[eE]){{1,2}}(?:/|$)){_SEGMENT})*/?")
_QUERY = re.compile(r"[^\x00-\x20\x7f#]*")


def split_target(target: str) -> tuple[str, str]:
    """The path and the query of a request line (`?` included), or `ValidationError`.

    What comes back is exactly what came: it is judged and forwarded as it stands.
    """
    if not target.startswith("/"):
        absolute = _ABSOLUTE_FORM.match(target)
        if absolute is None:
            raise ValidationError("The path must start with '/'")
        target = target[absolute.end() :] or "/"
    path, mark, query = target.partition("?")
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
        raise ValidationError("The path contains characters or segments that are not allowed")
    return path, mark + query
