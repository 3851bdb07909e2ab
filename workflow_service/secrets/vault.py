"""Seals secrets with a key ring: the first key seals, all keys open.

A sealed secret names its key and is bound to its place: copied to another owner, or to another
workspace, it cannot be opened. AES-256-GCM with a random nonce; a key seals far fewer than the 2^32
secrets for which those are safe (NIST SP 800-38D).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import truncated

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = "1"
_KEY_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class CannotOpen(Exception):
    """The key is not in the ring, or the secret was changed or belongs to another place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose secret it is: a webhook's, say."""

    workspace_id: str
    kind: str
    owner_id: str

    @property
    def bound(self) -> bytes:
        """What a sealed secret is bound to."""
        return f"{self.workspace_id}\0{self.kind}\0{self.owner_id}".encode()


class Vault:
    """The keys of this installation."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._first = next(iter(keys))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name=<base64 of 32 bytes>,...`; `ValueError` tells the entry, and never the key."""
        keys: dict[str, bytes] = {}
        for position, entry in enumerate(text.split(","), start=1):
            name, _, encoded = entry.strip().partition("=")
            if not _KEY_NAME.fullmatch(name) or not encoded.strip("="):
                # The text may be the key itself, so the message does not repeat it.
                raise ValueError(
                    f"entry {position} has no name or no key, expected <name>=<key in base64>"
                )
            if name in keys:
                raise ValueError(f"key '{name}' is named twice")
            keys[name] = _key_bytes(name, encoded)
        return cls(keys)

    @property
    def prefix(self) -> str:
        """What every secret begins with that the first key has sealed."""
        return f"{_VERSION}.{self._first}."

    def seal(self, text: str, place: Place) -> str:
        """What may be stored."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._keys[self._first].encrypt(nonce, text.encode(), place.bound)
        return self.prefix + base64.urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, place: Place) -> str:
        """The secret. Raises `CannotOpen`."""
        version, _, rest = sealed.partition(".")
        name, _, encoded = rest.partition(".")
        if version != _VERSION or name not in self._keys:
            raise CannotOpen(f"SIGMA_SECRET_KEYS lacks the key '{truncated(name)}'")
        try:
            content = base64.urlsafe_b64decode(encoded)
            opened = self._keys[name].decrypt(
                content[:_NONCE_BYTES], content[_NONCE_BYTES:], place.bound
            )
        except (InvalidTag, ValueError):
            raise CannotOpen(f"the key '{name}' does not open a secret of a {place.kind}") from None
        return opened.decode()


VAULT: Final = web.AppKey("vault", Vault)


def _key_bytes(name: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key '{name}' is not in base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key '{name}' must have {KEY_BYTES} bytes, got {len(key)}")
    return key
