"""Maps a request to its service, and to what its caller must hold.

The first word of a path leads to the service. What an operation requires is declared on its route
in that service and described in `openapi.json` (`security`, `x-api-key-permission`); the gateway
reads the description when it starts. An operation that is not described requires what the class of
its prefix says, and its service answers that it does not exist. The service checks the permission
again.

An address that two programs could read in two ways is refused before anything is decided, so that
what is authorised here is what the service routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Any, Final

import orjson

from gateway.description import OPENAPI_FILE
from shared.errors import MethodNotAllowed, ValidationError
from shared.http import SMALL_BODY
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


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller needs for an operation, as its route declares it (`shared.http.Route`)."""

    permission: Permission | None = None
    """What an API key must hold; None where keys are not asked for a permission."""
    open: bool = False
    """No credential is looked at."""
    user_only: bool = False
    """An API key is refused, whatever it holds."""


_OPEN: Final = Access(open=True)
_USERS_ONLY: Final = Access(user_only=True)


class PermissionClass(Enum):
    """What reading, changing and deleting require where the operation is not described."""

    OPEN = (_OPEN, _OPEN, _OPEN)
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
    USERS_ONLY = (_USERS_ONLY, _USERS_ONLY, _USERS_ONLY)

    def access(self, method: str) -> Access:
        """Methods that do not exist require what changing does; they are refused later."""
        reading, changing, deleting = self.value
        if method in _READING:
            return reading
        return deleting if method == "DELETE" else changing


_PREFIXES: Final = (
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
"""First word of the path, service, permission class, and the largest body if it is small."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of the requests below one prefix.

    Long polls (`/changes`), exports and imports will need other deadlines and body sizes than the
    configured ones, and a limit for streams: columns of `_PREFIXES` and fields of this class.
    """

    body_bytes_max: int
    """The largest body, in bytes."""
    deadline_s: float
    """Seconds from the request's head to the head of its response, or to the end of a small one."""


class Prefix:
    """Everything below one word after `/api/v1/`.

    `described` holds the method, the path template and the access of its described operations.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        permission_class: PermissionClass,
        policy: Policy,
        described: Iterable[tuple[str, str, Access]],
    ) -> None:
        self.name = name
        self.service = service
        self.policy = policy
        self._not_described = {method: permission_class.access(method) for method in METHODS}
        self._unknown_method = permission_class.access("")
        # By method and number of segments, so that a request is compared with few templates. A
        # group is left out where all its operations require what the class says anyway: then
        # nothing is compared.
        groups: dict[tuple[str, int], list[tuple[str, Access]]] = {}
        for method, template, access in described:
            groups.setdefault((method, template.count("/")), []).append((template, access))
        self._described = {
            (method, slashes): [
                (_pattern(template), access)
                for template, access in sorted(group, key=_literal_first)
            ]
            for (method, slashes), group in groups.items()
            if any(access != self._not_described[method] for _, access in group)
        }

    def access(self, method: str, path: str) -> Access:
        """What a caller needs for this operation; `path` is below this prefix."""
        for pattern, access in self._described.get((method, path.count("/")), ()):
            if pattern.fullmatch(path):
                return access
        return self._not_described.get(method, self._unknown_method)


def _literal_first(operation: tuple[str, Access]) -> list[bool]:
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

    `policy` is the configured one. It applies to prefixes without limits of their own and to
    addresses below no prefix.
    """

    def __init__(self, description: Mapping[str, Any], policy: Policy) -> None:
        self.policy = policy
        described: dict[str, list[tuple[str, str, Access]]] = {}
        for operation in _operations(description):
            described.setdefault(_word_of(operation[1]), []).append(operation)
        self.prefixes: Mapping[str, Prefix] = {
            word: Prefix(
                BASE + word,
                service,
                permission_class,
                _bounded(policy, *bound),
                described.get(word, ()),
            )
            for word, service, permission_class, *bound in _PREFIXES
        }

    @classmethod
    def shipped(cls, policy: Policy) -> RouteTable:
        """The table for the description that is shipped with this gateway."""
        return cls(orjson.loads(OPENAPI_FILE.read_bytes()), policy)

    def prefix_of(self, path: str) -> Prefix | None:
        """The prefix of this path, or None."""
        if not path.startswith(BASE):
            return None
        # As `_word_of`, without a call for each request.
        return self.prefixes.get(path[len(BASE) :].partition("/")[0])


def _word_of(path: str) -> str:
    """The word after `/api/v1/`; empty for other paths."""
    return path[len(BASE) :].partition("/")[0] if path.startswith(BASE) else ""


def _bounded(policy: Policy, body_bytes_max: int | None = None) -> Policy:
    if body_bytes_max is None:
        return policy
    return replace(policy, body_bytes_max=min(policy.body_bytes_max, body_bytes_max))


def _operations(description: Mapping[str, Any]) -> Iterator[tuple[str, str, Access]]:
    """Method, path template and access of every described operation; HEAD is as GET."""
    for template, methods in description["paths"].items():
        for method, operation in methods.items():
            access = _access_of(operation)
            yield method.upper(), template, access
            if method == "get":
                yield "HEAD", template, access


def _access_of(operation: Mapping[str, Any]) -> Access:
    if operation["security"] == []:
        return _OPEN
    permission = operation.get("x-api-key-permission")
    return _USERS_ONLY if permission is None else Access(Permission(permission))


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
