"""Signs deliveries: as the API's contract says, and as Standard Webhooks says.

`X-Sigma-Signature` is the HMAC-SHA256 of the body in lower-case hex; its key is the secret as it is
written. `webhook-signature` is that of `<webhook-id>.<webhook-timestamp>.<body>` in base64, behind
`v1,`; its key is what stands behind `whsec_` in base64, otherwise the secret as it is written.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

from shared.errors import ValidationError

PREFIX: Final = "whsec_"
SIGNATURE: Final = "X-Sigma-Signature"
KEY_BYTES_MIN: Final = 24
"""Of what stands behind the prefix, as Standard Webhooks says."""
LENGTH_MIN: Final = 16
"""Of any other secret, in characters."""


def check(secret: str, field: str) -> None:
    """Raise `ValidationError` for a secret that no receiver could use, or that is soon guessed."""
    if not secret.startswith(PREFIX):
        if len(secret) < LENGTH_MIN:
            raise ValidationError.at(
                f"/{field}",
                f"Field '{field}' expects at least {LENGTH_MIN} characters, got {len(secret)}",
            )
        return
    key = _decoded(secret)
    if key is None:
        raise ValidationError.at(
            f"/{field}", f"Field '{field}' expects base64 behind '{PREFIX}', or another secret"
        )
    if len(key) < KEY_BYTES_MIN:
        raise ValidationError.at(
            f"/{field}",
            f"Field '{field}' expects base64 of at least {KEY_BYTES_MIN} bytes behind '{PREFIX}',"
            f" got {len(key)} bytes",
        )


def headers(
    delivery_id: str, body: bytes, timestamp: int, secrets: Sequence[str]
) -> dict[str, str]:
    """The headers of one attempt; `secrets` has the present one first, and may be empty."""
    made = {"webhook-id": delivery_id, "webhook-timestamp": str(timestamp)}
    if secrets:
        made[SIGNATURE] = hmac.digest(secrets[0].encode(), body, "sha256").hex()
        signed = b"%s.%d.%s" % (delivery_id.encode(), timestamp, body)
        made["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(hmac.digest(_key(one), signed, 'sha256')).decode()}"
            for one in secrets
        )
    return made


def _key(secret: str) -> bytes:
    if secret.startswith(PREFIX):
        return _decoded(secret) or secret.encode()
    return secret.encode()


def _decoded(secret: str) -> bytes | None:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
