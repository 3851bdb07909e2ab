"""Maps a request to its service, and to what holds for its operation: permission and limits.

The first word of a path leads to the service. What an operation requires and how much it takes is
declared on its route in that service and described in `openapi.json` (`operations.py`); the gateway
reads the description when it starts. An operation that is not described requires what the class of
its prefix says, and its service answers that it does not exist. The service checks the permission
and the size of the body again.

An address that two programs could read in two ways is refused before anything is decided, so that
what is authorised here is what the service routes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum, StrEnum
from typing import Any, Final

import orjson

from gateway import operations
from gateway.description import OPENAPI_FILE
from gateway.operations import Access, Described, Operation, Policy, described
from shared.errors import MethodNotAllowed, ValidationError
from shared.identity import Permission

BASE: Final = "/api/v1/"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGING = frozenset({"POST", "PUT", "PATCH"})
METHODS: Final = (*sorted(_READING), *sorted(_CHANGING), "DELETE")


class Service(StrEnum):
    """The services that the gateway forwards to."""

    AUTH = "auth_service"
    RECORDS = "records_service"
    WORKFLOW = "workflow_service"


class PermissionClass(Enum):
    """What reading, changing and deleting require where the operation is not described."""

    OPEN = (operations.OPEN,) * 3
    DATA = (
        Access(Permission.READ),
        Access(Permission.UPDATE_DATA),
        Access(Permission.DELETE_DATA),
    )
    MODEL = (
        Access(Permission.READ),
        Access(Permission.UPDATE_MODEL),
        Access(Permission.DELETE_MODEL),
    )
    USERS_ONLY = (operations.USERS_ONLY,) * 3

    def access(self, method: str) -> Access:
        """Methods that do not exist require what changing does; they are refused later."""
        reading, changing, deleting = self.value
        if method in _READING:
            return reading
        return deleting if method == "DELETE" else changing


_PREFIXES: Final = (
    ("auth", Service.AUTH, PermissionClass.OPEN),
    ("me", Service.AUTH, PermissionClass.DATA),
    ("schemas", Service.RECORDS, PermissionClass.MODEL),
    ("attributes", Service.RECORDS, PermissionClass.MODEL),
    ("dimensions", Service.RECORDS, PermissionClass.MODEL),
    ("option-lists", Service.RECORDS, PermissionClass.MODEL),
    ("records", Service.RECORDS, PermissionClass.DATA),
    ("variants", Service.RECORDS, PermissionClass.DATA),
    ("audit", Service.RECORDS, PermissionClass.DATA),
    ("import", Service.RECORDS, PermissionClass.DATA),
    ("imports", Service.RECORDS, PermissionClass.DATA),
    ("export", Service.RECORDS, PermissionClass.DATA),
    ("changes", Service.RECORDS, PermissionClass.DATA),
    ("jobs", Service.RECORDS, PermissionClass.MODEL),
    ("catalogs", Service.RECORDS, PermissionClass.MODEL),
    ("categories", Service.RECORDS, PermissionClass.MODEL),
    ("search", Service.RECORDS, PermissionClass.DATA),
    ("saved-queries", Service.RECORDS, PermissionClass.DATA),
    ("permissions", Service.RECORDS, PermissionClass.DATA),
    ("workflows", Service.WORKFLOW, PermissionClass.MODEL),
    ("change-sets", Service.WORKFLOW, PermissionClass.DATA),
    ("webhooks", Service.WORKFLOW, PermissionClass.MODEL),
    ("channels", Service.WORKFLOW, PermissionClass.MODEL),
    ("export-jobs", Service.WORKFLOW, PermissionClass.MODEL),
    ("roles", Service.AUTH, PermissionClass.MODEL),
    ("api-keys", Service.AUTH, PermissionClass.USERS_ONLY),
)
"""First word of the path, service, permission class."""


class Prefix:
    """Everything below one word after `/api/v1/`.

    An operation that is not described takes no larger body than any that is described here, so that
    nobody can send much where all are small, and nothing above the configured limit. Neither does
    one that is described without a body: what is sent to it is not read.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        permission_class: PermissionClass,
        configured: Policy,
        described: Sequence[Described],
    ) -> None:
        self.name = name
        self.service = service
        self.follows = any(each.operation.policy.follows for each in described)
        """Whether requests below it may wait for news."""
        largest = max(
            (each.operation.policy.body_bytes_max for each in described if each.has_body),
            default=configured.body_bytes_max,
        )
        unread = min(largest, configured.body_bytes_max)
        otherwise = replace(configured, body_bytes_max=unread)
        self._not_described = {
            method: Operation(permission_class.access(method), otherwise) for method in METHODS
        }
        self._unknown_method = Operation(permission_class.access(""), otherwise)
        # By method and number of segments, so that a request is compared with few templates. A
        # group is left out where the same holds for all its operations as for others here: then
        # nothing is compared.
        groups: dict[tuple[str, int], list[tuple[str, Operation]]] = {}
        for each in described:
            operation = each.operation
            if not each.has_body:
                policy = replace(operation.policy, body_bytes_max=unread)
                operation = replace(operation, policy=policy)
            group = groups.setdefault((each.method, each.path.count("/")), [])
            group.append((each.path, operation))
        self._described = {
            (method, slashes): [
                (_pattern(template), operation)
                for template, operation in sorted(group, key=_literal_first)
            ]
            for (method, slashes), group in groups.items()
            if any(operation != self._not_described[method] for _, operation in group)
        }

    def operation(self, method: str, path: str) -> Operation:
        """What holds for this request; `path` is below this prefix."""
        for pattern, operation in self._described.get((method, path.count("/")), ()):
            if pattern.fullmatch(path):
                return operation
        return self._not_described.get(method, self._unknown_method)


def _literal_first(operation: tuple[str, Operation]) -> list[bool]:
    return [segment.startswith("{") for segment in operation[0].split("/")]


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(
        "/".join(
            "[^/]+" if segment.startswith("{") else re.escape(segment)
            for segment in template.split("/")
        )
    )


class RouteTable:
    """All prefixes, with the operations of one description.

    `configured` holds where an operation declares no limit, and at addresses below no prefix.
    """

    def __init__(self, description: Mapping[str, Any], configured: Policy) -> None:
        self.configured = configured
        by_word: dict[str, list[Described]] = {}
        for each in described(description, configured):
            by_word.setdefault(_word_of(each.path), []).append(each)
        self.prefixes: Mapping[str, Prefix] = {
            word: Prefix(BASE + word, service, permission_class, configured, by_word.get(word, ()))
            for word, service, permission_class in _PREFIXES
        }
        self.body_bytes_max = max(
            configured.body_bytes_max,
            *(each.operation.policy.body_bytes_max for group in by_word.values() for each in group),
        )
        """The largest body that any operation takes."""

    @classmethod
    def shipped(cls, configured: Policy) -> RouteTable:
        """The table for the description that is shipped with this gateway."""
        return cls(orjson.loads(OPENAPI_FILE.read_bytes()), configured)

    def prefix_of(self, path: str) -> Prefix | None:
        """The prefix of this path, or None."""
        if not path.startswith(BASE):
            return None
        # As `_word_of`, without a call for each request.
        return self.prefixes.get(path[len(BASE) :].partition("/")[0])


def _word_of(path: str) -> str:
    """The word after `/api/v1/`; empty for other paths."""
    return path[len(BASE) :].partition("/")[0] if path.startswith(BASE) else ""


def check_method(method: str) -> None:
    """Refuse methods that no service has; the services decide about the others.

    Raises `MethodNotAllowed`.
    """
    if method not in METHODS:
        raise MethodNotAllowed(
            f"Method '{method[:32]}' is not allowed", headers={"Allow": ", ".join(METHODS)}
        )


_ABSOLUTE_FORM = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

# What a path may be made of, and the reason for what is missing:
# - an empty segment (`//`), `.` and `..`, also percent-encoded: one program resolves them, one not;
# - `%2f` and `%5c`, a backslash, `;`: a separator for some programs and a letter for others;
# - `%25`: a program that decodes twice would decode what follows;
# - control characters, encoded or not, `#` and a percent sign that starts no escape.
_SEGMENT = r"(?:[^\x00-\x20\x7f%/\\;#?]|%(?!2[eEfF5]|5[cC]|3[bB]|7[fF]|[01])[0-9A-Fa-f]{2}|%2[eE])+"
_PATH = re.compile(rf"(?:/(?!(?:\.|%2[eE]){{1,2}}(?:/|$)){_SEGMENT})*/?")
_QUERY = re.compile(r"[^\x00-\x20\x7f#]*")


def split_target(target: str) -> tuple[str, str]:
    """The path and the query of a request line, the query with its `?`.

    Both are returned as they were sent, and forwarded in that form. Raises `ValidationError` if the
    path is ambiguous.
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
