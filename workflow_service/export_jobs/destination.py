"""The configuration of a destination: checked, with its secrets masked and sealed.

A mask that is sent back stands for its secret only while the secret goes to the same server:
otherwise whoever may change a job could send its secrets to a server of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import orjson
from yarl import URL

from shared.errors import ValidationError, truncated
from shared.http.messages import pointer_to
from workflow_service.destinations import check, secret_places
from workflow_service.outbound.client import Outbound
from workflow_service.secrets.masks import is_mask, kept_or_new, mask
from workflow_service.secrets.vault import Place, Vault

FIELD: Final = "destinationConfig"
KIND: Final = "export job"
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("endpoint", "region"),
    "sftp": ("host", "port", "hostKey"),
    "webhook": ("url",),
    "azure-blob": (),
}
"""What says which server a secret is sent to. The connection string of Azure is all secret."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A kind of destination with its configuration, whose secrets are readable."""

    kind: str
    config: dict[str, Any]

    def masked(self) -> dict[str, Any]:
        """The configuration as it is shown."""
        shown = deepcopy(self.config)
        for path in secret_places(self.kind, self.config):
            _put(shown, path, mask(_at(self.config, path)))
        return shown

    def sealed(self, vault: Vault, place: Place) -> str:
        """The configuration as it is stored."""
        return vault.seal(orjson.dumps(self.config).decode(), place)


def opened(kind: str, sealed: str, vault: Vault, place: Place) -> Destination:
    """The destination of a stored job. Raises `CannotOpen`."""
    return Destination(kind, orjson.loads(vault.open(sealed, place)))


async def checked(
    kind: str, sent: dict[str, Any], old: Destination | None, outbound: Outbound
) -> Destination:
    """The destination that was sent; masks stand for the secrets of the old one.

    Raises `ValidationError` for what is wrong with it.
    """
    config = deepcopy(sent)
    known = old if old is not None and old.kind == kind else None
    for path in _texts_of_secrets(kind, config):
        stored = None if known is None else _find(known.config, path)
        text = _at(config, path)
        field = truncated(".".join((FIELD, *path)))
        if known is not None and stored is not None and is_mask(text, stored):
            _check_same_server(known, config, path, field)
        _put(config, path, kept_or_new(text, stored, field))
    return Destination(kind, await check(kind, config, outbound))


def _texts_of_secrets(kind: str, config: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The secrets that are texts; what else was sent there is refused by the check."""
    headers = config.get("headers", {})
    if not isinstance(headers, dict):
        return []
    return [path for path in secret_places(kind, config) if isinstance(_find(config, path), str)]


def _check_same_server(
    old: Destination, config: Mapping[str, Any], path: tuple[str, ...], field: str
) -> None:
    for name in _ADDRESSES[old.kind]:
        before, now = old.config.get(name), config.get(name, old.config.get(name))
        if name not in config and name != "port":
            now = None
        if _server(name, before) != _server(name, now):
            raise ValidationError.at(
                pointer_to((FIELD, *path)),
                f"Field '{field}' is a mask, and '{FIELD}.{name}' is another one than before: send"
                " the secret itself, because it goes to another server",
            )


def _server(name: str, value: Any) -> Any:
    if name == "url" and isinstance(value, str):
        try:
            return str(URL(value).origin())
        except ValueError:
            return value
    return value


def _at(config: Mapping[str, Any], path: tuple[str, ...]) -> str:
    for name in path[:-1]:
        config = config[name]
    text: str = config[path[-1]]
    return text


def _find(config: Mapping[str, Any], path: tuple[str, ...]) -> str | None:
    for name in path[:-1]:
        config = config.get(name, {})
    return config.get(path[-1])


def _put(config: dict[str, Any], path: tuple[str, ...], text: str) -> None:
    for name in path[:-1]:
        config = config[name]
    config[path[-1]] = text
