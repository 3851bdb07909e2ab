"""The operations of the API as their services declare them, read from the description.

    security                empty: no credential is looked at; without `apiKey`: people only
    x-api-key-permission    what an API key must hold
    x-body-bytes-max        the largest body, where it is not the configured one
    x-follows               it waits for news, and is counted apart from others
    x-deadline-seconds      the time for an answer, where it is not the configured one

What an operation does not say it takes from the configuration. `shared.http.Route` has a field for
each of these, from which `deploy/openapi` writes the description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.http.context import DEADLINE_S_MAX
from shared.http.limits import body_limit
from shared.identity import Permission


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller needs for an operation, as its route declares it (`shared.http.Route`)."""

    permission: Permission | None = None
    """What an API key must hold; None where keys are not asked for a permission."""
    open: bool = False
    """No credential is looked at."""
    user_only: bool = False
    """An API key is refused, whatever it holds."""


OPEN = Access(open=True)
USERS_ONLY = Access(user_only=True)


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one request."""

    body_bytes_max: int
    """The largest body, in bytes."""
    deadline_s: float
    """Seconds from the request's head to the head of its response, or to the end of a small one.

    A large response, or one of unknown length, is streamed without a deadline after its head.
    """
    follows: bool = False
    """Whether it waits for news: a long poll, or a stream that has no end."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What holds for the requests to one operation."""

    access: Access
    policy: Policy


@dataclass(frozen=True, slots=True)
class Described:
    """One operation of the description; `method` in capitals, the path as a template."""

    method: str
    path: str
    operation: Operation
    has_body: bool


def described(description: Mapping[str, Any], configured: Policy) -> Iterator[Described]:
    """All operations of an OpenAPI document; HEAD is as GET.

    Raises `KeyError` or `ValueError` for one that does not say what it requires, or says nonsense.
    """
    for path, methods in description["paths"].items():
        for method, said in methods.items():
            operation = Operation(_access(said), _policy(said, configured))
            has_body = "requestBody" in said
            yield Described(method.upper(), path, operation, has_body)
            if method == "get":
                yield Described("HEAD", path, operation, has_body)


def _access(said: Mapping[str, Any]) -> Access:
    if said["security"] == []:
        return OPEN
    permission = said.get("x-api-key-permission")
    return USERS_ONLY if permission is None else Access(Permission(permission))


def _policy(said: Mapping[str, Any], configured: Policy) -> Policy:
    body_bytes_max = said.get("x-body-bytes-max")
    deadline_s = said.get("x-deadline-seconds", configured.deadline_s)
    if body_bytes_max is not None and body_bytes_max < 1:
        raise ValueError(f"{said.get('operationId')} takes no body at all")
    if not 0 < deadline_s <= DEADLINE_S_MAX:
        raise ValueError(f"{said.get('operationId')} has a deadline that services do not keep")
    return Policy(
        body_limit(body_bytes_max, configured.body_bytes_max),
        deadline_s,
        said.get("x-follows", False),
    )
