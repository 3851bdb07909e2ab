"""One part of a workspace's model, whatever it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import PreconditionFailed
from shared.ids import ID_PATTERN
from shared.web import json_response

NAME_LENGTH_MAX = 500
DESCRIPTION_LENGTH_MAX = 10_000

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Alias = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}$",
        description="URL-safe, unique in the workspace",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]

_VERSION_TAG = re.compile(r'(?:W/)?"(\d{1,18})"')


class Body(BaseModel):
    """A body whose public names are camelCase; fields it does not know are ignored (Q27)."""

    model_config = ConfigDict(populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """What parts of one kind are called: table, prefix of their ids, public name."""

    table: str
    prefix: str
    title: str


@dataclass(frozen=True, slots=True)
class Part:
    """One stored part; `body` is its public object without id, alias and times."""

    id: str
    alias: str
    body: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime

    def shown(self) -> dict[str, Any]:
        """The public object."""
        return {
            "id": self.id,
            "alias": self.alias,
            **self.body,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }


def answer(part: Part, status: int = 200) -> web.Response:
    """A part, with its version as `ETag`."""
    return json_response(part.shown(), status=status, headers={"ETag": f'"{part.version}"'})


def if_match(request: web.Request) -> frozenset[int] | None:
    """The versions that `If-Match` names; None where any version will do."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return frozenset(int(version) for version in _VERSION_TAG.findall(header))


def check_version(title: str, part_id: str, version: int, expected: frozenset[int] | None) -> None:
    """Raise `PreconditionFailed` when `If-Match` names another version than the stored one."""
    if expected is not None and version not in expected:
        raise PreconditionFailed(
            f"{title} '{part_id}' is at version {version}, which If-Match does not name"
        )
