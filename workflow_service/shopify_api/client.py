"""One shop's GraphQL Admin API: asks, waits for points, tries again, and says what went wrong."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson

from workflow_service.connectors.model import BUSY_S_MAX, WAIT_S_MAX, TargetBusy, TargetFailed
from workflow_service.outbound.addresses import OutboundFailed, RefusedAddress
from workflow_service.outbound.client import Outbound, OutboundAnswer
from workflow_service.shopify_api.answers import thing, things
from workflow_service.shopify_api.budget import Budget

API_VERSION: Final = "2026-07"
"""Shopify keeps the schema of a version for a year, and answers for one that has ended with the
oldest that has not. A later one is chosen here, with the schema of the tests (ADR 89)."""
REQUEST_TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 16 << 20
FILE_TIMEOUT_S: Final = 300.0
FILE_BYTES_MAX: Final = 64 << 20
ATTEMPTS_MAX: Final = 5
THROTTLED_MAX: Final = 30
"""Refusals in a row for the cost of a request. Others may spend the points of the same token."""
_PAUSE_S: Final = 0.5
_PAUSE_S_MAX: Final = 60.0
_DETAIL_LENGTH_MAX: Final = 500

_DONE: Final = range(200, 300)
_STATUSES: Final[Mapping[int, str]] = {
    401: "does not accept the access token",
    402: "says that the shop is frozen",
    403: "does not allow this to the access token",
    404: "knows no shop at this address",
    423: "says that the shop is locked",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A query or mutation, and the points that it is taken to cost until Shopify has said it."""

    text: str
    cost: float


class Refusal(Exception):
    """Shopify has understood a request and does not do it; `detail` may name values."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"Shopify refused the request ({code})")
        self.code = code
        self.detail = detail[:_DETAIL_LENGTH_MAX]


class _Again(Exception):
    """The same request may succeed after a pause."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Address:
    """Where the requests go: the shop's own address, or that of SIGMA_SHOPIFY_URL."""

    base: str

    @property
    def graphql(self) -> str:
        """The endpoint of the version that this connector speaks."""
        return f"{self.base.rstrip('/')}/admin/api/{API_VERSION}/graphql.json"


class Shop:
    """All requests of one connection, one after another."""

    def __init__(
        self,
        outbound: Outbound,
        address: Address,
        token: str,
        budget: Budget | None = None,
        *,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`check`: awaited before each request; what it raises keeps that from being sent."""
        self._check = check
        self._outbound = outbound
        self._address = address
        self._headers = {
            "X-Shopify-Access-Token": token,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self._budget = budget or Budget()
        self._costs: dict[str, float] = {}

    async def ask(
        self, document: Document, variables: Mapping[str, Any], *, cost: float | None = None
    ) -> dict[str, Any]:
        """The `data` of the answer. Every document that is sent may be sent twice.

        Raises `Refusal`, or `TargetFailed` when no answer can be had.
        """
        body = orjson.dumps({"query": document.text, "variables": variables})
        failed = throttled = 0
        while True:
            expected = max(cost or document.cost, self._costs.get(document.text, 0.0))
            await asyncio.sleep(min(self._budget.wait_s(expected), _PAUSE_S_MAX))
            try:
                return await self._once(document, body)
            except _Throttled as refused:
                throttled += 1
                if throttled > THROTTLED_MAX:
                    raise TargetFailed(
                        f"Shopify refused a request {throttled} times for its cost"
                    ) from None
                await asyncio.sleep(refused.pause_s)
            except _Again as refused:
                failed += 1
                if failed >= ATTEMPTS_MAX:
                    raise TargetFailed(f"{refused} ({failed} attempts)") from None
                pause_s = refused.pause_s
                await asyncio.sleep(_PAUSE_S * 2**failed if pause_s is None else pause_s)

    async def upload(self, url: str, form: Mapping[str, str], content: bytes) -> None:
        """Send a file to where Shopify wants it, as a form with these fields before it.

        Raises `TargetFailed`.
        """

        def data() -> aiohttp.FormData:
            sent = aiohttp.FormData(quote_fields=False)
            for name, value in form.items():
                sent.add_field(name, value)
            sent.add_field(
                "file",
                io.BytesIO(content),
                filename="products.jsonl",
                content_type="text/jsonl",
            )
            return sent

        await self._file("POST", url, "an upload", data)

    async def download(self, url: str) -> bytes:
        """A file that Shopify has made, without the access token. Raises `TargetFailed`."""
        return await self._file("GET", url, "a download")

    async def _file(
        self, method: str, url: str, what: str, data: Callable[[], Any] = lambda: None
    ) -> bytes:
        problem = ""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            if attempt > 1:
                await asyncio.sleep(_PAUSE_S * 2**attempt)
            await self._may_send()
            try:
                async with self._outbound.request(
                    method,
                    url,
                    data=data(),
                    timeout_s=FILE_TIMEOUT_S,
                    answer_bytes_max=FILE_BYTES_MAX,
                ) as answer:
                    if answer.is_cut:
                        raise TargetFailed(
                            f"Shopify's file is larger than {FILE_BYTES_MAX >> 20} MiB"
                        )
                    if answer.status in _DONE:
                        return answer.body
                    problem = f"Shopify's file store answered {answer.status} to {what}"
                    if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                        break
            except RefusedAddress as error:
                raise TargetFailed(str(error)) from None
            except OutboundFailed as error:
                problem = str(error)
        raise TargetFailed(problem)

    async def _may_send(self) -> None:
        if self._check is not None:
            await self._check()

    async def _once(self, document: Document, body: bytes) -> dict[str, Any]:
        await self._may_send()
        try:
            async with self._outbound.request(
                "POST",
                self._address.graphql,
                headers=self._headers,
                data=body,
                timeout_s=REQUEST_TIMEOUT_S,
                answer_bytes_max=ANSWER_BYTES_MAX,
            ) as answer:
                read = _json(answer)
        except RefusedAddress as error:
            raise TargetFailed(str(error)) from None
        except OutboundFailed as error:
            raise _Again(str(error)) from None
        self._note_cost(document, read)
        errors = read.get("errors")
        if errors:
            raise self._problem(errors, document)
        data = read.get("data")
        if not isinstance(data, dict):
            raise TargetFailed("Shopify's answer has neither data nor errors")
        return data

    def _note_cost(self, document: Document, read: Mapping[str, Any]) -> None:
        cost = thing(thing(read.get("extensions")).get("cost"))
        self._budget.note(cost.get("throttleStatus"))
        requested = cost.get("requestedQueryCost")
        if isinstance(requested, (int, float)) and not isinstance(requested, bool):
            self._costs[document.text] = requested

    def _problem(self, errors: Any, document: Document) -> Exception:
        first = next(iter(things(errors)), {})
        code = str(thing(first.get("extensions")).get("code") or "")
        match code:
            case "THROTTLED":
                return _Throttled(self._budget.wait_s(self._costs.get(document.text, 0.0)))
            case "ACCESS_DENIED":
                return TargetFailed(
                    "Shopify does not allow this to the access token: it needs the scopes"
                    " read_products and write_products"
                )
            case "SHOP_INACTIVE":
                return TargetFailed("Shopify says that the shop is not active")
            case "INTERNAL_SERVER_ERROR":
                return _Again("Shopify failed to answer (INTERNAL_SERVER_ERROR)")
            case _:
                return Refusal(code[:100] or "GraphQL error", str(first.get("message") or ""))


class _Throttled(Exception):
    """There are too few points: others spend those of the same token."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("Throttled")
        self.pause_s = min(max(wait_s, _PAUSE_S), _PAUSE_S_MAX)


def _json(answer: OutboundAnswer) -> dict[str, Any]:
    """The answer as an object. Raises `_Again` or `TargetFailed`."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        wait_s = _retry_after(answer.headers)
        if wait_s is not None and wait_s > WAIT_S_MAX:
            raise TargetBusy(f"Shopify asks to wait (429) for {wait_s:.0f} seconds", wait_s)
        raise _Again("Shopify answered 429: too many requests", wait_s)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _Again(f"Shopify answered {answer.status}")
    if answer.status != HTTPStatus.OK:
        meaning = _STATUSES.get(answer.status, "does not take the request")
        raise TargetFailed(f"Shopify {meaning}: it answered {answer.status}")
    if answer.is_cut:
        raise TargetFailed(f"Shopify's answer is larger than {ANSWER_BYTES_MAX >> 20} MiB")
    try:
        read = orjson.loads(answer.body)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise TargetFailed("Shopify's answer is not a JSON object")
    return read


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(max(0.0, float(headers.get("Retry-After", ""))), BUSY_S_MAX)
    except ValueError:
        return None
