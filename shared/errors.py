"""The error classes: each has an HTTP status, a stable error code and a message for people.

Business rules and stores raise these exceptions and know nothing else of HTTP. The HTTP edge writes
each one as the error envelope (`error`, `message`); a service that called another one turns the
envelope back into the same exception with `from_envelope`. An error therefore passes through any
number of services unchanged.

    ApiError
    ├── ValidationError      400 VALIDATION_ERROR        a field is missing or malformed
    ├── TransitionError      400 TRANSITION_ERROR        undefined transition, or a closed gate
    ├── Unauthorized         401 UNAUTHORIZED            the credential is missing or invalid
    ├── PermissionDenied     403 PERMISSION_DENIED       the role or API key does not allow this
    ├── LimitExceeded        403 LIMIT_EXCEEDED          the record limit or model size is reached
    ├── NotFound             404 NOT_FOUND               absent, or in another workspace
    ├── MethodNotAllowed     405 METHOD_NOT_ALLOWED      with `Allow`
    ├── Conflict             409 CONFLICT                an id or a unique value is taken
    ├── Gone                 410 GONE                    was there, and has been removed
    ├── PreconditionFailed   412 PRECONDITION_FAILED     `If-Match` names an older version
    ├── PayloadTooLarge      413 PAYLOAD_TOO_LARGE
    ├── UnsupportedMediaType 415 UNSUPPORTED_MEDIA_TYPE
    ├── RateLimited          429 RATE_LIMITED            with `Retry-After`
    ├── InternalError        500 INTERNAL_ERROR          unexpected; details only in the log
    ├── ServiceUnavailable   503 SERVICE_UNAVAILABLE     nothing happened; with `Retry-After`
    └── UpstreamTimeout      504 UPSTREAM_TIMEOUT        the outcome is unknown

Codes are stable, messages are for people. Source of the rule: the error page of the public API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

QUOTED_LENGTH_MAX: Final = 100
NAMES_SHOWN_MAX: Final = 10
VIOLATIONS_MAX: Final = 100
"""The maximum number of violations of an error; the first one is its message."""


def truncated(value: Any) -> str:
    """A sent value for a message: at most its first hundred characters."""
    text = str(value)
    return text if len(text) <= QUOTED_LENGTH_MAX else text[:QUOTED_LENGTH_MAX] + "…"


def some_of(names: Iterable[str]) -> str:
    """The first ten names of many for a message, and how many more there are."""
    every = list(names)
    shown = ", ".join(truncated(name) for name in every[:NAMES_SHOWN_MAX])
    more = len(every) - NAMES_SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def counted(number: int, thing: str) -> str:
    """The number with its noun, such as `1 role` or `2 roles`; the plural must end in -s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


@dataclass(frozen=True, slots=True)
class Violation:
    """One problem in a request: its place (a JSON pointer such as `/values/sku`) and a message.

    `detail` says more than a message whose words the contract has: the problem document shows it.
    """

    pointer: str
    message: str
    detail: str | None = None

    def moved(self, pointer: str, named: str = "") -> Violation:
        """The same at another place, with its name before the message."""
        detail = None if self.detail is None else named + self.detail
        return Violation(pointer, named + self.message, detail)


class ApiError(Exception):
    """Base class of all errors that a caller receives.

    `message` is sent to the caller unchanged, so it must not contain SQL, hosts, paths or class
    names. `headers` are sent with the answer, whose body has exactly two fields. `violations` are
    sent only to a client that asks for `application/problem+json` by name.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    meaning: ClassVar[str]
    """What the error says about the request, for readers of the API: the docstring of the class."""
    example: ClassVar[str]
    """A message, for the API description."""

    more: Mapping[str, Any] = MappingProxyType({})
    """Further members of the problem document, which the description names."""
    upstream: str | None = None
    """Which other service failed, and (in `reason`) how: for the log, never sent to the caller."""
    reason: str | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.meaning = " ".join((cls.__doc__ or "").split())

    def __init__(
        self,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        """Only the first hundred `violations` are read, also from a generator."""
        super().__init__(message)
        self.message = message
        self.headers: dict[str, str] = dict(headers or {})
        self.violations: tuple[Violation, ...] = tuple(islice(violations, VIOLATIONS_MAX))

    @property
    def first(self) -> str:
        """The first of the violations, which says more than the message of a refusal does."""
        return self.violations[0].message if self.violations else self.message

    def envelope(self) -> dict[str, str]:
        """The body of the error answer."""
        return {"error": self.code, "message": self.message}


class ValidationError(ApiError):
    """A field is missing, has the wrong type, or breaks a validation rule."""

    status, code = 400, "VALIDATION_ERROR"
    example = "Attribute 'price' expects type 'number', got 'string'"

    @classmethod
    def at(cls, pointer: str, message: str) -> Self:
        """An error with one violation, at the JSON pointer `pointer`."""
        return cls(message, violations=(Violation(pointer, message),))

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> Self:
        """An error with the first 100 of these violations, of which there is at least one."""
        left = iter(violations)
        first = next(left)
        return cls(first.message, violations=chain((first,), left))

    @classmethod
    def check(cls, violations: Iterable[Violation]) -> None:
        """Raise this error if there are violations.

        Pass a generator: after the hundredth violation nothing more is looked at.
        """
        left = iter(violations)
        for first in left:
            raise cls.of(chain((first,), left))


class TransitionError(ApiError):
    """The lifecycle transition is not defined, or its role gate or completeness gate is closed."""

    status, code = 400, "TRANSITION_ERROR"
    example = "Completeness score 60% does not meet minimum 80% for transition to 'review'"


class Unauthorized(ApiError):
    """The credential is missing or invalid."""

    status, code = 401, "UNAUTHORIZED"
    example = "Invalid or expired token"

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer", **(headers or {})})


class PermissionDenied(ApiError):
    """The caller's role or API key does not allow this."""

    status, code = 403, "PERMISSION_DENIED"
    example = "Permission denied"

    def __init__(
        self,
        message: str = "Permission denied",
        *,
        headers: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message, headers=headers, violations=violations)

    @classmethod
    def because(cls, why: str) -> Self:
        """A refusal that the log and a problem document explain; the message stays the same.

        `why` says what the caller lacks, and nothing about any object.
        """
        return cls(violations=(Violation("", why),))


class LimitExceeded(ApiError):
    """The workspace has reached its record limit, or a limit of its data model, workflows, roles or
    API keys.
    """  # noqa: D205 - one sentence, which readers of the API see

    status, code = 403, "LIMIT_EXCEEDED"
    example = "Entity limit of 500 reached"


class NotFound(ApiError):
    """The object does not exist in the caller's workspace."""

    status, code = 404, "NOT_FOUND"
    example = "Entity 'ent-abc123' not found"

    @classmethod
    def of(cls, kind: str, resource_id: str) -> Self:
        """`kind` is the public name: Entity, Schema, Role, API key."""
        return cls(f"{kind} '{truncated(resource_id)}' not found")


class MethodNotAllowed(ApiError):
    """The path exists, but not with this method; `Allow` lists the supported methods."""

    status, code = 405, "METHOD_NOT_ALLOWED"
    example = "Method 'PATCH' is not allowed for '/api/v1/records', expected GET, HEAD, POST"


class Conflict(ApiError):
    """An id or a unique value is already taken, or another object still refers to this one."""

    status, code = 409, "CONFLICT"
    example = "Entity with id 'ent-abc123' already exists"

    @classmethod
    def taken(cls, kind: str, resource_id: str) -> Self:
        """A create with an id that already exists."""
        return cls(f"{kind} with id '{truncated(resource_id)}' already exists")

    @classmethod
    def in_use(cls, kind: str, resource_id: str, by: str | None = None) -> Self:
        """A deletion of an object to which others still refer; a problem document names these."""
        message = f"{kind} '{truncated(resource_id)}' is in use and cannot be deleted"
        if by is None:
            return cls(message)
        return cls(message, violations=(Violation("", message, f"{message}: {by}"),))


class Gone(ApiError):
    """What this refers to was there, and has been removed: it will not come back."""

    status, code = 410, "GONE"
    example = "The change feed no longer has what came after this token: take a new snapshot"


class PreconditionFailed(ApiError):
    """`If-Match` names a version that is no longer current."""

    status, code = 412, "PRECONDITION_FAILED"
    example = "Entity 'ent-abc123' is at version 4; If-Match names another version"


class PayloadTooLarge(ApiError):
    """The request is larger than the server accepts."""

    status, code = 413, "PAYLOAD_TOO_LARGE"
    example = "Request body exceeds 10485760 bytes"


class UnsupportedMediaType(ApiError):
    """The body is not JSON in UTF-8."""

    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"
    example = "Expected Content-Type 'application/json', got 'text/plain'"


class RateLimited(ApiError):
    """Too many requests; `Retry-After` says how many seconds to wait."""

    status, code = 429, "RATE_LIMITED"
    example = "Too many requests. Retry after 1 seconds."

    @classmethod
    def after(cls, retry_after_s: int) -> Self:
        """`retry_after_s` is a whole number of seconds, at least 1."""
        return cls(
            f"Too many requests. Retry after {retry_after_s} seconds.",
            headers={"Retry-After": str(retry_after_s), "X-RateLimit-Remaining": "0"},
        )


class InternalError(ApiError):
    """An unexpected error; the server's log describes it under the `X-Request-Id` of the answer."""

    status, code = 500, "INTERNAL_ERROR"
    example = "Internal server error"

    def __init__(self, message: str = "Internal server error") -> None:
        super().__init__(message)


class ServiceUnavailable(ApiError):
    """A part of the system is unavailable or overloaded.

    Nothing was changed; `Retry-After` says how many seconds to wait.
    """

    # Raise it only if it is certain that nothing was changed, because clients send the request
    # again. If a write was sent and its outcome is unknown, raise `UpstreamTimeout.unknown()`.

    status, code = 503, "SERVICE_UNAVAILABLE"
    example = "Service unavailable"

    def __init__(
        self,
        message: str = "Service unavailable",
        *,
        headers: Mapping[str, str] | None = None,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_s), **(headers or {})})


class UpstreamTimeout(ApiError):
    """The request timed out, or a connection broke before the answer came.

    The change may have been made, unless the message says that it was not.
    """

    status, code = 504, "UPSTREAM_TIMEOUT"
    example = "The request timed out"

    def __init__(
        self,
        message: str = "The request timed out",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, headers=headers)

    @classmethod
    def unknown(cls) -> Self:
        """The request was sent, and the connection broke before the answer came."""
        return cls("The connection broke before the answer came: the change may have been made")

    @classmethod
    def in_vain(cls) -> Self:
        """The database cancelled the statement at its time limit; a retry would fail again."""
        return cls("The database needs too much time for this request: nothing was changed")


BY_CODE: dict[str, type[ApiError]] = {error.code: error for error in ApiError.__subclasses__()}
"""The registry of error codes: the OpenAPI responses and docs/errors.md must agree with it."""

_HEADERS_THAT_CROSS = ("Retry-After", "Allow", "WWW-Authenticate", "X-RateLimit-Remaining")


def from_envelope(status: int, body: object, headers: Mapping[str, str] | None = None) -> ApiError:
    """Turn another service's error answer into the same exception: class, message and headers.

    `body` is the parsed JSON. Anything that is not an envelope with a known code and the status of
    that code becomes an `InternalError`, because its text was not written for our caller.
    """
    if not isinstance(body, dict):
        return InternalError()
    code, message = body.get("error"), body.get("message")
    kind = BY_CODE.get(code) if isinstance(code, str) else None
    if kind is None or kind.status != status or not isinstance(message, str):
        return InternalError()
    error = kind.__new__(kind)
    crossing = {name: headers[name] for name in _HEADERS_THAT_CROSS if headers and name in headers}
    ApiError.__init__(error, message, headers=crossing)
    return error
