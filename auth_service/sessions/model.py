"""What is asked and answered at the door."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from auth_service.sessions.passwords import PASSWORD_LENGTH_MAX
from auth_service.users.model import UserAnswer

EMAIL_LENGTH_MAX = 320


def _required_text(length_max: int, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": length_max, **more})


def _both_required(schema: dict[str, Any]) -> None:
    """Describe what is asked for, not how the message about it comes about."""
    schema["required"] = ["email", "password"]
    for field in schema["properties"].values():
        field.pop("default", None)


class LoginRequest(BaseModel):
    """Both fields are required; one message says so for either of them, or for both."""

    model_config = ConfigDict(json_schema_extra=_both_required)

    email: Annotated[
        str | None,
        Field(max_length=EMAIL_LENGTH_MAX),
        _required_text(EMAIL_LENGTH_MAX, examples=["admin@sigma.io"]),
    ] = None
    password: Annotated[
        str | None,
        Field(max_length=PASSWORD_LENGTH_MAX, repr=False),
        _required_text(PASSWORD_LENGTH_MAX, examples=["admin"]),
    ] = None


class RefreshRequest(BaseModel):
    """For clients that cannot set the `Authorization` header."""

    token: Annotated[str | None, Field(repr=False)] = None


class SessionAnswer(BaseModel):
    """A token for the next 24 hours, and whose it is."""

    token: str
    user: UserAnswer
