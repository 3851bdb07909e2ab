"""The connector for any REST endpoint, by the description in the channel's configuration.

    create    createMethod url              the object; the answer's `idField` is its external id
    update    updateMethod url/{externalId} the object
    pull      GET url?page=1, 2, ...        arrays of objects, until an empty one
    test      GET url?page=1

A create is sent with an `Idempotency-Key`. It is sent again by itself only where the target has
certainly not carried it out: no connection, 429 or 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from aiohttp import hdrs, web
from yarl import URL

from shared.errors import truncated
from shared.process.offload import in_thread
from workflow_service.connectors.custom_config import PLAIN, CustomConfig, check
from workflow_service.connectors.model import (
    ITEMS_AT_ONCE,
    ChannelType,
    Checkpoint,
    Config,
    Interrupted,
    Item,
    NoList,
    Page,
    Postponed,
    Pulled,
    Refused,
    Sent,
    TargetBusy,
    TargetFailed,
    Tested,
    origin,
)
from workflow_service.connectors.requests import Answer, Target, Unanswered

REQUESTS_AT_ONCE: Final = 4
PAGE_BYTES_MAX: Final = 16 << 20
PAGES_MAX: Final = 100_000
EXTERNAL_ID_LENGTH_MAX: Final = 255
FAILURES_MAX: Final = 5
"""Items in a row that the target failed to answer properly: then it counts as broken."""
_OK: Final = range(200, 300)
_GONE: Final = (404, 410)
_FAILURES_BEGIN: Final = 500
_REFUSES_CALLER: Final = (401, 403)
_HAS_NO_LIST: Final = (400, 404, 405, 410, 501)


class CustomConnector:
    """Speaks to one REST endpoint."""

    def __init__(self, config: CustomConfig, target: Target) -> None:
        self._config = config
        self._target = target
        self._failed_in_a_row = 0
        self._held: tuple[int, Answer] | None = None
        """The page that was asked for last, as it came: it may be read in parts."""

    async def test(self) -> Tested:
        """Read the first page."""
        await self._page(1)
        return Tested(shop_url=self._config.url)

    async def find(self, lost: Sequence[Interrupted]) -> None:  # noqa: ARG002
        """A REST endpoint cannot be asked for what a create has made."""
        return

    async def push(self, items: Sequence[Item]) -> AsyncIterator[Sent | Refused | Postponed]:
        """Send some objects at a time, and none any more once the target asks to wait."""
        waiting = iter(items)
        running: dict[asyncio.Task[Sent | Refused], Item] = {}
        busy: TargetBusy | None = None
        try:
            while True:
                room = REQUESTS_AT_ONCE - len(running) if busy is None else 0
                for item in islice(waiting, room):
                    running[asyncio.create_task(self._send(item))] = item
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                ended = [(running.pop(task), task.exception() or task.result()) for task in done]
                busy = next((each for _, each in ended if isinstance(each, TargetBusy)), busy)
                for outcome in _outcomes(ended):
                    yield outcome
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if busy is not None:
            for item in waiting:
                yield Postponed(item.entity_id)
            raise busy

    async def pull(self, after: str | None) -> Page:
        """One page of the target's list, or a part of it."""
        number, start = (int(part) for part in (after or "1:0").split(":"))
        found = await self._page(number)
        some = found[start : start + ITEMS_AT_ONCE]
        if start + len(some) < len(found):
            following: str | None = f"{number}:{start + len(some)}"
        else:
            following = f"{number + 1}:0" if found and number < PAGES_MAX else None
        return Page([self._pulled(each, number) for each in some], following)

    async def _send(self, item: Item) -> Sent | Refused:
        config = self._config
        if item.external_id is None:
            method, url = config.create_method, config.url
            headers = {"Idempotency-Key": item.key}
        else:
            method, headers = config.update_method, {}
            base = URL(config.url)
            url = str(
                base.with_path(
                    f"{base.raw_path.rstrip('/')}/{quote(item.external_id, safe='')}",
                    encoded=True,
                ).with_query(base.query)
            )
        try:
            answer = await self._target.ask(
                method, url, body=item.fields, headers=headers, again=item.external_id is not None
            )
        except Unanswered as error:
            return self._unanswered(item, str(error))
        if answer.status in _OK:
            self._failed_in_a_row = 0
            return self._confirmed(item, answer)
        what = f"{method} answered {answer.status}"
        if answer.status in _REFUSES_CALLER:
            raise TargetFailed(f"The target refuses the credentials: {what}")
        if answer.status >= _FAILURES_BEGIN:
            self._count_failure(what)
        else:
            self._failed_in_a_row = 0
        return Refused(
            item.entity_id,
            f"The target refused the object: {what}",
            answer.text,
            is_unknown=item.external_id is None and answer.status >= _FAILURES_BEGIN,
            is_gone=item.external_id is not None and answer.status in _GONE,
        )

    def _unanswered(self, item: Item, reason: str) -> Refused:
        self._count_failure(reason)
        return Refused(item.entity_id, reason, is_unknown=item.external_id is None)

    def _count_failure(self, what: str) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILURES_MAX:
            raise TargetFailed(f"The target failed {FAILURES_MAX} times in a row: {what}")

    def _confirmed(self, item: Item, answer: Answer) -> Sent | Refused:
        if item.external_id is not None:
            return Sent(item.entity_id, item.external_id)
        made = answer.json()
        found = made.get(self._config.id_field) if isinstance(made, Mapping) else None
        external_id = _external_id(found)
        if external_id is None:
            return Refused(
                item.entity_id,
                "The answer to a create has no id in its field"
                f" '{truncated(self._config.id_field)}': expected a text or a number",
                answer.text,
                is_unknown=True,
            )
        return Sent(item.entity_id, external_id)

    async def _page(self, number: int) -> list[Any]:
        before = self._held
        if before is not None and before[0] == number:
            answer = before[1]
        else:
            answer = await self._asked_for(number)
            self._held = number, answer
        # Its objects take many times as much as its bytes: few pages are parsed at a time.
        found = await in_thread(answer.json)
        if not isinstance(found, list):
            raise NoList(f"Page {number} of the list: expected a JSON array of objects")
        if found and before is not None and before[0] == number - 1 and before[1] == answer:
            raise TargetFailed(
                f"Page {number} of the list is the same as page {number - 1}: expected an empty"
                " array behind the last page; does the target know the parameter"
                f" '{truncated(self._config.list_param)}'?"
            )
        return found

    async def _asked_for(self, number: int) -> Answer:
        url = str(URL(self._config.url).update_query({self._config.list_param: str(number)}))
        try:
            answer = await self._target.ask(
                hdrs.METH_GET, url, again=True, answer_bytes_max=PAGE_BYTES_MAX
            )
        except Unanswered as error:
            raise TargetFailed(str(error)) from None
        if answer.status not in _OK:
            reason = f"Page {number} of the list: GET answered {answer.status}, expected an array"
            raise NoList(reason) if answer.status in _HAS_NO_LIST else TargetFailed(reason)
        if answer.is_cut:
            raise TargetFailed(
                f"Page {number} of the list: expected at most {PAGE_BYTES_MAX} bytes"
            )
        return answer

    def _pulled(self, found: Any, number: int) -> Pulled:
        external_id = None
        if isinstance(found, Mapping):
            external_id = _external_id(found.get(self._config.id_field))
        if external_id is None:
            raise TargetFailed(
                f"Page {number} of the list: expected objects with a text or a number in"
                f" '{truncated(self._config.id_field)}'"
            )
        return Pulled(external_id, found)


def _outcomes(
    ended: Sequence[tuple[Item, Sent | Refused | BaseException]],
) -> Iterator[Sent | Refused | Postponed]:
    """What became of these; then raises the failure of one of them, if there is any."""
    for item, outcome in ended:
        if isinstance(outcome, TargetBusy):
            yield Postponed(item.entity_id)
        elif not isinstance(outcome, BaseException):
            yield outcome
    for _, outcome in ended:
        if isinstance(outcome, BaseException) and not isinstance(outcome, TargetBusy):
            raise outcome


def _external_id(found: Any) -> str | None:
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    usable = isinstance(found, str) and 0 < len(found) <= EXTERNAL_ID_LENGTH_MAX
    # The last two would lead an update out of the collection.
    return found if usable and "\x00" not in found and found not in (".", "..") else None


@asynccontextmanager
async def _connected(
    app: web.Application, config: Config, checkpoint: Checkpoint
) -> AsyncIterator[CustomConnector]:
    parsed = CustomConfig.of(config)
    yield CustomConnector(parsed, Target(app, parsed.headers, checkpoint.check))


CUSTOM: Final = ChannelType(
    plain=PLAIN, check=check, connect=_connected, urls=("url",), servers={"url": origin}
)
