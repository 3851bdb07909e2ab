"""Which members of a configuration are secrets, what a reader sees of them, and what a PUT means.

Every text that the type of the channel does not name as plain is a secret: what nobody thought of
is hidden rather than shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from shared.errors import ValidationError, truncated
from shared.http.messages import pointer_to
from workflow_service.channels.model import CONFIG_BYTES_MAX

HIDDEN: Final = "********"
SHOWN: Final = 6
"""The first characters, which tell what kind of key it is."""
LENGTH_MIN: Final = 16
"""Of a shorter secret nothing is shown."""
DEPTH_MAX: Final = 5


def mask(secret: str) -> str:
    """What a reader sees of a secret."""
    return (secret[:SHOWN] if len(secret) >= LENGTH_MIN else "") + HIDDEN


def masked(config: Mapping[str, Any], plain: frozenset[str]) -> dict[str, Any]:
    """The configuration as it is answered."""
    return {
        name: value if name in plain else _each(value, (name,), lambda text, _: mask(text))
        for name, value in config.items()
    }


def with_secrets(
    sent: Mapping[str, Any],
    stored: Mapping[str, Any],
    plain: frozenset[str],
    servers: Mapping[str, Callable[[Any], Hashable]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The configuration that is meant: the mask of a stored secret leaves it as it is.

    `servers` are the members that say where requests, and the secrets with them, go. Raises
    `ValidationError` for the mask of another secret, which nobody means as one, for any mask where
    requests would go to another host, and for a configuration that is too large or too deep.
    """
    check_size(sent)
    moved = next(
        (name for name, of in servers.items() if of(sent.get(name)) != of(stored.get(name))), None
    )

    def kept_or_new(text: str, path: tuple[str | int, ...]) -> str:
        if not text.endswith(HIDDEN):
            return text
        known = _at(stored, path)
        name = ".".join(map(str, ("config", *path)))
        if isinstance(known, str) and hmac.compare_digest(text.encode(), mask(known).encode()):
            if moved is None:
                return known
            # Who may not read a secret would otherwise have it sent to a host of their own.
            raise ValidationError.at(
                pointer_to(["config", *path]),
                f"Field '{truncated(name)}' is a mask, which leaves the secret as it is, and"
                f" 'config.{moved}' leads to another host: expected the secret itself",
            )
        raise ValidationError.at(
            pointer_to(["config", *path]),
            f"Field '{truncated(name)}' is the mask of another secret: expected the secret itself,"
            " or the mask that is answered for it",
        )

    return {
        name: value if name in plain else _each(value, (name,), kept_or_new)
        for name, value in sent.items()
    }


def check_size(config: Mapping[str, Any]) -> None:
    """Raise `ValidationError` for a configuration of too many bytes or levels."""
    if _depth(config) > DEPTH_MAX:
        raise ValidationError.at("/config", f"Field 'config' has more than {DEPTH_MAX} levels")
    size = len(orjson.dumps(config))
    if size > CONFIG_BYTES_MAX:
        raise ValidationError.at(
            "/config",
            f"Field 'config' expects at most {CONFIG_BYTES_MAX} bytes of JSON, got {size}",
        )


def _each(
    value: Any, path: tuple[str | int, ...], change: Callable[[str, tuple[str | int, ...]], str]
) -> Any:
    """The value with each text in it changed."""
    if isinstance(value, str):
        return change(value, path)
    if isinstance(value, Mapping):
        return {name: _each(each, (*path, name), change) for name, each in value.items()}
    if isinstance(value, list):
        return [_each(each, (*path, place), change) for place, each in enumerate(value)]
    return value


def _at(config: Any, path: tuple[str | int, ...]) -> Any:
    node = config
    for step in path:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def _depth(value: Any) -> int:
    inner = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    )
    depths = [_depth(each) for each in inner]
    return 1 + max(depths, default=0) if isinstance(value, (Mapping, list)) else 0
