"""One attempt: one request to a receiver, and what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import structlog
from aiohttp import hdrs
from prometheus_client import Counter

from shared.http.responses import JSON
from shared.process import tracing
from shared.timestamps import format_timestamp
from workflow_service.deliveries.model import BODY_SHOWN_MAX
from workflow_service.deliveries.store import Result
from workflow_service.outbound.addresses import OutboundFailed
from workflow_service.outbound.client import Outbound
from workflow_service.outbound.resolving import Busy
from workflow_service.webhooks import signing

TIMEOUT_S: Final = 10.0
_SUCCESS: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)

ATTEMPTS: Final = Counter(
    "sigma_webhook_attempts_total", "Requests to receivers of webhooks, by outcome", ["outcome"]
)
_SUCCEEDED, _REFUSED, _FAILED = map(ATTEMPTS.labels, ("succeeded", "refused", "failed"))


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send; `secrets` is None where the stored secret cannot be opened."""

    url: str
    secrets: Sequence[str] | None


async def attempt(
    outbound: Outbound, receiver: Receiver, delivery_id: str, tries: int, body: bytes
) -> Result:
    """Send a delivery once. Every failure is a result, but for `Busy`: nothing was tried."""
    at, began = datetime.now(UTC), time.perf_counter()
    status, error, answer = None, None, None
    headers: dict[str, str] = {str(hdrs.CONTENT_TYPE): JSON}
    if receiver.secrets is None:
        error = "The secret of the webhook cannot be opened: set a new one"
    else:
        headers |= signing.headers(delivery_id, body, int(at.timestamp()), receiver.secrets)
        host = urlsplit(receiver.url).hostname or ""
        try:
            with tracing.delivering(delivery_id, tries, host, headers):
                async with outbound.request(
                    "POST",
                    receiver.url,
                    headers=headers,
                    data=body,
                    timeout_s=TIMEOUT_S,
                    answer_bytes_max=BODY_SHOWN_MAX,
                ) as got:
                    status, answer = got.status, got.body
                tracing.note_outcome(status, failed=status not in _SUCCESS)
        except Busy:
            raise
        except OutboundFailed as failure:
            error = str(failure)
        except Exception:
            # A receiver may find what no client expects; it counts as its failure.
            log.exception("webhook_attempt_failed", delivery_id=delivery_id)
            error = "The request could not be made"
    if status is not None and status not in _SUCCESS:
        error = f"The receiver answered {status}"
        if status in _REDIRECT:
            error += ", and redirects are not followed"
    succeeded = status is not None and error is None
    (_SUCCEEDED if succeeded else _FAILED if status is None else _REFUSED).inc()
    made: dict[str, Any] = {"at": format_timestamp(at)}
    made |= {} if status is None else {"status": status}
    made |= {} if error is None else {"error": error}
    made["durationMs"] = round((time.perf_counter() - began) * 1000)
    sent: dict[str, Any] = {"url": receiver.url, "headers": headers}
    if answer is not None:
        # PostgreSQL stores no NUL.
        text = answer.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        sent["answer"] = {"status": status, "body": text}
    return Result(delivery_id, tries, orjson.dumps(made), orjson.dumps(sent), succeeded)
