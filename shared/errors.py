"""Every outcome a caller is told about, and the only two fields that tell it.

A rule or a store raises one of these; nothing between it and the HTTP edge speaks HTTP. The edge
writes the envelope, a calling service reads it back with `from_envelope`, so an error crosses any
number of services and arrives as it left.

    ApiError
    ├── ValidationError      400 VALIDATION_ERROR        a field is missing or of the wrong form
    ├── TransitionError      400 TRANSITION_ERROR        a lifecycle step is undefined or gated
    ├── Unauthorized         401 UNAUTHORIZED            no credential, or a bad one
    ├── PermissionDenied     403 PERMISSION_DENIED       the role, key or attribute rule says no
    ├── LimitExceeded        403 LIMIT_EXCEEDED          the workspace is full
    ├── NotFound             404 NOT_FOUND               nothing there, or another workspace's
    ├── MethodNotAllowed     405 METHOD_NOT_ALLOWED      with `Allow`
    ├── Conflict             409 CONFLICT                an id or a unique value is taken
    ├── PreconditionFailed   412 PRECONDITION_FAILED     `If-Match` names an older version
    ├── PayloadTooLarge      413 PAYLOAD_TOO_LARGE
    ├── UnsupportedMediaType 415 UNSUPPORTED_MEDIA_TYPE
    ├── RateLimited          429 RATE_LIMITED            with `Retry-After`
    ├── InternalError        500 INTERNAL_ERROR          anything unforeseen; never says what
    ├── ServiceUnavailable   503 SERVICE_UNAVAILABLE     nothing happened; with `Retry-After`
    └── UpstreamTimeout      504 UPSTREAM_TIMEOUT        no answer came; it may have happened

Codes are stable, messages are for people. Source of the rule: the error page of the public API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from shared.quoting import told


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with what was sent: where (a JSON pointer such as `/values/sku`) and what."""

    pointer: str
    message: str


class ApiError(Exception):
    """An outcome the caller is told about.

    `message` is told as it stands, so it holds no SQL, host, path or class name. `headers` travel
    beside the body, which has exactly two fields. `violations` are only shown to a client that asks
    for `application/problem+json` by name.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    meaning: ClassVar[str]

    upstream: str | None = None
    """The service that failed us, and in what way: for the log, never told."""
    reason: str | None = None

    def __init__(
        self,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.headers: dict[str, str] = dict(headers or {})
        self.violations: tuple[Violation, ...] = tuple(violations)

    def envelope(self) -> dict[str, str]:
        """The whole body of the answer."""
        return {"error": self.code, "message": self.message}


class ValidationError(ApiError):
    """A field is missing, of the wrong type, or breaks a rule of its attribute."""

    status, code = 400, "VALIDATION_ERROR"
    meaning = "A field is missing, of the wrong type, or breaks a rule of its attribute."

    @classmethod
    def at(cls, pointer: str, message: str) -> Self:
        """One violation at one place."""
        return cls(message, violations=(Violation(pointer, message),))

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> Self:
        """All that is wrong; the first one is the message. `violations` is not empty."""
        found = tuple(violations)
        return cls(found[0].message, violations=found)


class TransitionError(ApiError):
    """The step is not defined, or its role or completeness gate is closed."""

    status, code = 400, "TRANSITION_ERROR"
    meaning = "The lifecycle step is not defined, or its role or completeness gate is closed."


class Unauthorized(ApiError):
    """The credential is missing or invalid."""

    status, code = 401, "UNAUTHORIZED"
    meaning = "The credential is missing or invalid."

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer", **(headers or {})})


class PermissionDenied(ApiError):
    """The role, the API key or an attribute's permission does not allow it."""

    status, code = 403, "PERMISSION_DENIED"
    meaning = "The role, the API key or an attribute's permission does not allow it."

    def __init__(
        self,
        message: str = "Permission denied",
        *,
        headers: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message, headers=headers, violations=violations)


class LimitExceeded(ApiError):
    """The workspace has reached its record limit, or its model the size it may have."""

    status, code = 403, "LIMIT_EXCEEDED"
    meaning = "The workspace has reached its record limit, or its model the size it may have."


class NotFound(ApiError):
    """Nothing is there, or what is there belongs to another workspace."""

    status, code = 404, "NOT_FOUND"
    meaning = "Nothing is there, or what is there belongs to another workspace."

    @classmethod
    def of(cls, kind: str, resource_id: str) -> Self:
        """`kind` is the public name: Entity, Schema, Role, API key."""
        return cls(f"{kind} '{told(resource_id)}' not found")


class MethodNotAllowed(ApiError):
    """The path exists, the method does not; `Allow` lists those that do."""

    status, code = 405, "METHOD_NOT_ALLOWED"
    meaning = "The path exists, the method does not; `Allow` lists those that do."


class Conflict(ApiError):
    """An id or unique value is taken, or something still refers to what should go."""

    status, code = 409, "CONFLICT"
    meaning = "An id or unique value is taken, or something still refers to what should go."

    @classmethod
    def taken(cls, kind: str, resource_id: str) -> Self:
        """A second thing with one id."""
        return cls(f"{kind} with id '{told(resource_id)}' already exists")

    @classmethod
    def in_use(cls, kind: str, resource_id: str) -> Self:
        """A thing that something else still refers to."""
        return cls(f"{kind} '{told(resource_id)}' is in use and cannot be deleted")


class PreconditionFailed(ApiError):
    """`If-Match` names a version that is no longer the current one."""

    status, code = 412, "PRECONDITION_FAILED"
    meaning = "`If-Match` names a version that is no longer the current one."


class PayloadTooLarge(ApiError):
    """The body, a header or the address is larger than this server reads."""

    status, code = 413, "PAYLOAD_TOO_LARGE"
    meaning = "The body is larger than this server reads."


class UnsupportedMediaType(ApiError):
    """The body is not JSON in UTF-8."""

    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"
    meaning = "The body is not JSON in UTF-8."


class RateLimited(ApiError):
    """Too many requests; `Retry-After` says when to come back."""

    status, code = 429, "RATE_LIMITED"
    meaning = "Too many requests; `Retry-After` says when to come back."

    @classmethod
    def after(cls, retry_after_s: int) -> Self:
        """`retry_after_s` is a whole number of seconds, at least 1."""
        return cls(
            f"Too many requests. Retry after {retry_after_s} seconds.",
            headers={"Retry-After": str(retry_after_s), "X-RateLimit-Remaining": "0"},
        )


class InternalError(ApiError):
    """Something nobody foresaw: logged with its trace, told without."""

    status, code = 500, "INTERNAL_ERROR"
    meaning = "Something unforeseen; the log has it under the `X-Request-Id` of the answer."

    def __init__(self, message: str = "Internal server error") -> None:
        super().__init__(message)


class ServiceUnavailable(ApiError):
    """A part of the system is away or full, and nothing happened.

    Raise it only where that is certain: whoever reads it sends the request again. Where a write was
    sent and its outcome is not known, raise `UpstreamTimeout.unknown()`.
    """

    status, code = 503, "SERVICE_UNAVAILABLE"
    meaning = (
        "A part of the system is away or full. Nothing was changed;"
        " `Retry-After` says when to try again."
    )

    def __init__(
        self,
        message: str = "Service unavailable",
        *,
        headers: Mapping[str, str] | None = None,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_s), **(headers or {})})


class UpstreamTimeout(ApiError):
    """No answer came, or not in time: a change may have been made, unless the message denies it."""

    status, code = 504, "UPSTREAM_TIMEOUT"
    meaning = (
        "No answer came, or not within the request's deadline."
        " A change may have been made, unless the message says that it was not."
    )

    def __init__(
        self,
        message: str = "The answer did not come within the deadline",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, headers=headers)

    @classmethod
    def unknown(cls) -> Self:
        """The request was sent, and whoever had it broke off without an answer."""
        return cls("No answer came: a change may have been made")

    @classmethod
    def in_vain(cls) -> Self:
        """The database ended the statement: nothing happened, and next time it would again."""
        return cls("This takes longer than the database may take: nothing was changed")


BY_CODE: dict[str, type[ApiError]] = {error.code: error for error in ApiError.__subclasses__()}
"""The registry: the OpenAPI responses, docs/errors.md and the contract test are read off it."""

_HEADERS_THAT_CROSS = ("Retry-After", "Allow", "WWW-Authenticate", "X-RateLimit-Remaining")


def from_envelope(status: int, body: object, headers: Mapping[str, str] | None = None) -> ApiError:
    """The exception that another service answered with, class, message and headers.

    `body` is the parsed JSON. Anything that is not an envelope of a known code with that code's
    status is an `InternalError`: what it says was not meant for our caller.
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
