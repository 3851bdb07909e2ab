"""The requests and answers of login and refresh."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema

from auth_service.sessions.passwords import PASSWORD_LENGTH_MAX
from auth_service.users.model import UserAnswer
from shared.http.shapes import Shape

EMAIL_LENGTH_MAX = 320


def _required_text(length_max: int, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": length_max, **more})


def _both_required(schema: dict[str, Any]) -> None:
    """Describe what is asked for, not how the message about it comes about."""
    schema["required"] = ["email", "password"]
    for field in schema["properties"].values():
        field.pop("default", None)


class LoginRequest(Shape):
    """The credentials of a user. Both fields are required."""

    model_config = ConfigDict(json_schema_extra=_both_required)

    email: Annotated[
        str | None,
        Field(max_length=EMAIL_LENGTH_MAX),
        _required_text(EMAIL_LENGTH_MAX, examples=["admin@sigma.io"]),
    ] = None
    """The e-mail address; upper and lower case are the same."""
    password: Annotated[
        str | None,
        Field(max_length=PASSWORD_LENGTH_MAX, repr=False),
        _required_text(PASSWORD_LENGTH_MAX, examples=["admin"]),
    ] = None
    """The password."""


class RefreshRequest(Shape):
    """For clients that cannot set the `Authorization` header."""

    token: Annotated[str | None, Field(repr=False)] = None
    """A token that is still valid."""


class SessionAnswer(Shape):
    """A session: a token for the next 24 hours, and its user."""

    token: str
    """Send it as `Authorization: Bearer <token>`."""
    user: UserAnswer
    """The user who logged in."""
