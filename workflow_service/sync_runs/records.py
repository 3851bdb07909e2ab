"""The records of a channel, read and written with the rights of who started the synchronisation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from shared.errors import ServiceUnavailable, UpstreamTimeout
from workflow_service.acting import Gone, SubjectKind, identity_of
from workflow_service.channels.model import Channel
from workflow_service.clients import RECORDS
from workflow_service.mapping.mapping import LABEL, ChannelMapping, Field, Source
from workflow_service.mapping.paths import parse

TOKEN_AGE_S_MAX: Final = 30.0
"""Half of the life of an identity: rights that are taken away end a synchronisation soon."""
PATIENCE_S: Final = 300.0
"""How long records_service and auth_service may be away."""
PAUSE_S: Final = 2.0

TakeToken = Callable[[], Awaitable[str]]


class NobodyToActFor(Exception):
    """Who started the synchronisation cannot act any more; the message says why."""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some records, and where the next ones begin; None at the end."""

    records: Sequence[Source]
    next: Any


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be written of one record: attribute id -> value."""

    values: Mapping[str, Any]
    own: Mapping[str, Any]
    """What is written only if the record has no variants."""
    whole: Mapping[str, Any] | None = None
    """All that its object has, for a record that was deleted here meanwhile."""


class Records:
    """Reads and writes the records of one channel."""

    def __init__(
        self,
        app: web.Application,
        channel: Channel,
        token: TakeToken,
        patience_s: float = 0.0,
        *,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`check`: awaited before each request; what it raises keeps that from being sent."""
        self._check = check
        self._app = app
        self._channel = channel
        self._token = token
        self._patience_s = patience_s

    async def sees_all(self) -> bool:
        """Whether nothing that the channel may send is hidden from the caller."""
        visible: bool = (await self._ask("visible", self._names()))["all"]
        return visible

    async def page(self, after: Any) -> RecordPage:
        """The records behind a place. Raises `NotFound` or `ValidationError` for what is gone."""
        answer = await self._ask("read", {**self._names(), "after": after})
        found = [
            Source(
                each["id"],
                each["values"],
                [(variant["id"], variant["values"]) for variant in each["variants"]],
                answer["options"],
            )
            for each in answer["records"]
        ]
        return RecordPage(found, answer["next"])

    async def write(self, rows: Mapping[str, Row]) -> Sequence[Mapping[str, Any]]:
        """What became of each record (`id`, `outcome`, `message`), and whether it `hasVariants`.

        Repeating it changes nothing.
        """
        body = self._channel.body
        answer = await self._ask(
            "write",
            {
                "schemaId": body["schemaId"],
                "scope": body["dimensionScope"],
                "labelled": mapping_of(self._channel).by_label,
                "rows": [
                    {"id": id_, "values": row.values, "ownValues": row.own, "whole": row.whole}
                    for id_, row in rows.items()
                ],
            },
        )
        results: Sequence[Mapping[str, Any]] = answer["results"]
        return results

    def _names(self) -> dict[str, Any]:
        body = self._channel.body
        return {
            "schemaId": body["schemaId"],
            "catalogId": body["catalogId"],
            "scope": body["dimensionScope"],
            "attributes": list(
                dict.fromkeys(each["attributeId"] for each in self._channel.mappings)
            ),
        }

    async def _ask(self, action: str, asked: Mapping[str, Any]) -> Any:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                token = await self._token()
                if self._check is not None:
                    await self._check()
                return await self._app[RECORDS].request(
                    "POST",
                    f"/internal/channel-records/{action}",
                    json=asked,
                    identity_token=token,
                    reads=action != "write",
                )
            except (ServiceUnavailable, UpstreamTimeout):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(PAUSE_S)


def lent_tokens(app: web.Application, workspace_id: str, kind: SubjectKind, id_: str) -> TakeToken:
    """Identities of who started a synchronisation, asked for anew while it runs."""
    token = ""
    age = float("-inf")

    async def take() -> str:
        nonlocal token, age
        if time.monotonic() - age >= TOKEN_AGE_S_MAX:
            found = await identity_of(app, workspace_id, kind, id_)
            if isinstance(found, Gone):
                raise NobodyToActFor(found.reason)
            token, age = found, time.monotonic()
        return token

    return take


def mapping_of(channel: Channel) -> ChannelMapping:
    """The mapping of a channel."""
    return ChannelMapping(
        [
            Field(
                each["attributeId"],
                each["targetField"],
                parse(each["targetField"]),
                each["transform"],
                # Channels that were saved before there was a choice have none.
                each.get("optionAs", LABEL),
            )
            for each in channel.mappings
        ],
        channel.key,
    )
