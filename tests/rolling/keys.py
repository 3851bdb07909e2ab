"""The keys of the fleet, and the steps in which docs/operations.md replaces them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Iterator

from deploy.local.settings import AUTH, WORKFLOW
from shared.identity import GATEWAY, public_key_of

SIGNERS = (GATEWAY, WORKFLOW)
EVERY = (GATEWAY, AUTH, WORKFLOW, "records_service")


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Keys:
    """What the next process is configured with."""

    def __init__(self) -> None:
        self.signing = {issuer: f"{issuer}={_secret()}" for issuer in SIGNERS}
        self.public = [public_key_of(key) for key in self.signing.values()]
        self.tokens = [f"first={_secret()}"]

    def environment(self, service: str) -> dict[str, str]:
        env = {"SIGMA_IDENTITY_KEYS": ",".join(self.public)}
        if service in self.signing:
            env["SIGMA_IDENTITY_SIGNING_KEY"] = self.signing[service]
        if service in (GATEWAY, AUTH):
            env["SIGMA_TOKEN_KEYS"] = ",".join(self.tokens)
        return env


class Rotation:
    """The procedure, step by step: each changes the keys and names the services to restart."""

    def __init__(self, keys: Keys, log_in_again: Callable[[], Awaitable[None]]) -> None:
        self._keys = keys
        self._log_in_again = log_in_again
        self._new = {issuer: f"{issuer}={_secret()}" for issuer in SIGNERS}
        self._old_public = list(keys.public)

    def steps(self) -> Iterator[tuple[str, tuple[str, ...], Callable[[], Awaitable[None] | None]]]:
        """Title, services that restart, and what to do before they do."""
        yield "identity keys: add the new public keys", EVERY, self._add_public
        yield "identity keys: sign with the new keys", SIGNERS, self._sign
        yield "identity keys: remove the old public keys", EVERY, self._remove_public
        yield "token keys: add the new key", (GATEWAY, AUTH), self._add_token
        yield "token keys: auth_service signs with the new key", (AUTH,), self._sign_tokens
        yield "token keys: gateway has the new key first", (GATEWAY,), lambda: None
        # A day later: by then nobody has a token of the old key.
        yield "token keys: remove the old key", (GATEWAY, AUTH), self._remove_token

    def _add_public(self) -> None:
        self._keys.public += [public_key_of(key) for key in self._new.values()]

    def _sign(self) -> None:
        self._keys.signing = dict(self._new)

    def _remove_public(self) -> None:
        self._keys.public = [key for key in self._keys.public if key not in self._old_public]

    def _add_token(self) -> None:
        self._keys.tokens.append(f"second={_secret()}")

    def _sign_tokens(self) -> None:
        self._keys.tokens.reverse()

    async def _remove_token(self) -> None:
        await self._log_in_again()
        self._keys.tokens.pop()
