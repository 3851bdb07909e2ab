"""Says why a connection failed, in words for the owner of a job."""

from __future__ import annotations

import ssl

from workflow_service.outbound.addresses import OutboundFailed


def reason_of(error: BaseException, side: str) -> str:
    """What lies behind an error of a client library; nothing of its own text is quoted."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, BaseException) or each in seen:
            continue
        seen.append(each)
        # Libraries keep what they caught in one of these.
        kept = getattr(each, "kwargs", {})
        waiting += [each.__cause__, each.__context__, getattr(each, "os_error", None)]
        waiting += [getattr(each, "inner_exception", None)]
        waiting += [kept.get("error") if isinstance(kept, dict) else None]
    for each in seen:
        if isinstance(each, OutboundFailed):
            return str(each)
    for kind, reason in _REASONS:
        if any(isinstance(each, kind) for each in seen):
            return f"{side} {reason}"
    return f"{side} cannot be reached, or ended the connection"


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "has no valid certificate"),
    (ssl.SSLError, "does not speak TLS as expected"),
    (ConnectionRefusedError, "refuses the connection"),
    (TimeoutError, "did not answer in time"),
)
