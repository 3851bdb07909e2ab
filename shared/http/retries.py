"""What `Idempotency-Key` and `Prefer: dry-run` ask of a request that writes.

Both need the same: everything that the request does is one transaction, which is rolled back after
a dry run, and which stores the answer beside its effect for a key. `shared.http` knows no database,
so what does this stands in the application (`IN_ONE_TRANSACTION`); without it, as in the gateway,
the headers mean nothing here and are only passed on.

The body is read and held before the transaction begins. A handler of a route with `receives` reads
the body itself, in transactions of its own, and then has its effect:

    effects = effects_of(request)
    if await effects.known():   # the body is only compared with that of the first request
        ...
    return await effects.have(digest_of_the_body, effect)

Sources of the rules: RFC 7240 (`Prefer`), and for `Idempotency-Key` the draft of the IETF's working
group on HTTP APIs.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Final, NamedTuple, Protocol

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from shared.errors import ValidationError
from shared.http.context import Call
from shared.http.messages import shown
from shared.http.routes import Handler, Route

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
IDEMPOTENCY_REPLAYED: Final = "Idempotency-Replayed"
PREFER: Final = "Prefer"
PREFERENCE_APPLIED: Final = "Preference-Applied"
DRY_RUN: Final = "dry-run"
KEY_LENGTH_MAX: Final = 255
READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})

_VISIBLE_ASCII: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_LENGTH_MAX}}}")
_QUOTED: Final = r'"(?:\\.|[^"\\])*"'
_MEMBERS: Final = re.compile(rf'(?:{_QUOTED}|[^,"])+')
_PARAMETERS: Final = re.compile(rf'(?:{_QUOTED}|[^;"])+')

DRY_RUNNING: Final[ContextVar[bool]] = ContextVar("dry_running", default=False)
"""Whether the current request is a dry run: calls to other services say so too."""


class Asked(NamedTuple):
    """What the headers of one request ask for; at least one of the two.

    `receives` says whether the handler reads the body itself.
    """

    key: str | None
    dry_run: bool
    receives: bool = False


InOneTransaction = Callable[
    [Asked, Handler, Call, web.Request],
    Awaitable[web.StreamResponse],
]
"""Answers a request with this handler, all of its effect in one transaction."""
IN_ONE_TRANSACTION: Final[web.AppKey[InOneTransaction]] = web.AppKey("in_one_transaction")


class Effects(Protocol):
    """Has the effect of a request whose handler has read the body itself, as its headers ask."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may stay."""
        ...

    async def known(self) -> bool:
        """Whether an answer is kept for the key of the request."""
        ...

    async def have(self, digest: bytes, effect: Handler) -> web.StreamResponse:
        """The answer of `effect`, which is all that the request does; or the kept answer.

        `digest` is that of the body. Raises what `InOneTransaction` raises.
        """
        ...


class _AsAlways:
    """Without one of the headers."""

    dry_run = False

    def __init__(self, request: web.Request) -> None:
        self._request = request

    async def known(self) -> bool:
        return False

    async def have(self, digest: bytes, effect: Handler) -> web.StreamResponse:  # noqa: ARG002
        return await effect(self._request)


EFFECTS: Final = web.RequestKey("effects", Effects)


def effects_of(request: web.Request) -> Effects:
    """For the handler of a route with `receives`."""
    found = request.get(EFFECTS)
    return _AsAlways(request) if found is None else found


def as_asked(request: web.Request, route: Route | None, call: Call, handler: Handler) -> Handler:
    """The handler, in one transaction where the headers ask for it.

    Raises `ValidationError` for a key or a preference of another form.
    """
    run = request.app.get(IN_ONE_TRANSACTION)
    if run is None or route is None or route.open:
        return handler
    headers = request.headers
    asked = Asked(
        idempotency_key(headers) if route.replayable and not route.internal else None,
        wants_dry_run(headers),
        route.receives,
    )
    if asked.key is None and not asked.dry_run:
        return handler
    return partial(run, asked, handler, call)


def idempotency_key(headers: CIMultiDictProxy[str]) -> str | None:
    """The key, None if there is none; `ValidationError` if it is not visible ASCII."""
    sent = headers.getall(IDEMPOTENCY_KEY, None)
    if sent is None:
        return None
    if len(sent) > 1 or _VISIBLE_ASCII.fullmatch(sent[0]) is None:
        raise ValidationError.at(
            f"/{IDEMPOTENCY_KEY}",
            f"Header 'Idempotency-Key' expects 1 to {KEY_LENGTH_MAX} visible ASCII characters,"
            f" got {shown(', '.join(sent))}",
        )
    return sent[0]


def wants_dry_run(headers: CIMultiDictProxy[str]) -> bool:
    """Whether `Prefer` names `dry-run`; other preferences are not looked at.

    Raises `ValidationError` where it has a value: `dry-run=false` might be meant either way, and
    taken wrongly it would write.
    """
    sent = headers.getall(PREFER, None)
    if sent is None:
        return False
    value = preferences(sent).get(DRY_RUN)
    if value:
        raise ValidationError.at(
            f"/{PREFER}",
            f"Preference 'dry-run' in header 'Prefer' expects no value, got {shown(value)}",
        )
    return value is not None


def preferences(values: Iterable[str]) -> dict[str, str]:
    """Name in lower case -> value, as RFC 7240 defines them; of several the first counts.

    No value and an empty value are the same. Parameters of a preference are left out.
    """
    found: dict[str, str] = {}
    for member in _MEMBERS.findall(",".join(values)):
        first = _PARAMETERS.match(member)
        if first is None:
            continue
        name, _, value = first[0].partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found.setdefault(name.strip().lower(), value)
    return found
