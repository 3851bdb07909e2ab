"""The keys of the fleet: what the next process is configured with."""

from __future__ import annotations

import base64
import secrets

from deploy.local.settings import AUTH, WORKFLOW
from shared.identity import GATEWAY, public_key_of

SIGNERS = (GATEWAY, AUTH, WORKFLOW)


class Keys:
    """Keys of identities and of login tokens; methods are the steps in which they are replaced."""

    def __init__(self) -> None:
        self.signing = {issuer: f"{issuer}={_secret()}" for issuer in SIGNERS}
        self._public = [public_key_of(key) for key in self.signing.values()]
        self._tokens = [f"first={_secret()}"]
        self._secrets = f"first={_secret()}"
        self._next = {issuer: f"{issuer}={_secret()}" for issuer in SIGNERS}

    def environment(self, service: str) -> dict[str, str]:
        env = {"SIGMA_IDENTITY_KEYS": ",".join(self._public)}
        if service in self.signing:
            env["SIGMA_IDENTITY_SIGNING_KEY"] = self.signing[service]
        if service == WORKFLOW:
            env["SIGMA_SECRET_KEYS"] = self._secrets
        if service in (GATEWAY, AUTH):
            env["SIGMA_TOKEN_KEYS"] = ",".join(self._tokens)
        return env

    def publish_identity_keys(self) -> None:
        self._public += [public_key_of(key) for key in self._next.values()]

    def sign_with_next_identity_keys(self) -> None:
        self.signing = dict(self._next)

    def remove_former_identity_keys(self) -> None:
        self._public = [public_key_of(key) for key in self.signing.values()]

    def publish_token_key(self) -> None:
        self._tokens.append(f"second={_secret()}")

    def sign_with_next_token_key(self) -> None:
        self._tokens.reverse()

    def remove_former_token_key(self) -> None:
        self._tokens.pop()


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
