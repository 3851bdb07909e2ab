"""The configuration of a `custom` channel: the description of a REST endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from shared.errors import ValidationError, Violation, truncated
from shared.http.json_types import js_type
from shared.http.messages import pointer_to
from workflow_service.connectors.model import Config

PLAIN: Final = frozenset({"url", "idField", "createMethod", "updateMethod", "listParam"})
HEADERS_MAX: Final = 50
HEADER_LENGTH_MAX: Final = 8_192
NAME_LENGTH_MAX: Final = 255
METHODS: Final = ("POST", "PUT", "PATCH")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,255}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
_OURS: Final = frozenset(
    {"content-type", "content-length", "host", "transfer-encoding", "connection", "expect",
     "idempotency-key", "accept-encoding"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CustomConfig:
    """What the members of the configuration say; the defaults are those of the documentation."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    id_field: str = "id"
    create_method: str = "POST"
    update_method: str = "PUT"
    list_param: str = "page"

    @classmethod
    def of(cls, config: Config) -> Self:
        """The parsed configuration, which was checked when it was saved."""
        return cls(
            config["url"],
            config.get("headers") or {},
            config.get("idField") or "id",
            config.get("createMethod") or "POST",
            config.get("updateMethod") or "PUT",
            config.get("listParam") or "page",
        )


def check(config: Config) -> None:
    """Raise `ValidationError` with all that is wrong with a configuration.

    Whether requests may go to the address is checked by `Outbound.check_url`.
    """
    faults: list[Violation] = []

    def expect(good: bool, name: str, expected: str, value: Any) -> None:
        if not good:
            shown = f"'{truncated(value)}'" if isinstance(value, str) else js_type(value)
            faults.append(
                Violation(
                    pointer_to(["config", *name.split(".", 1)]),
                    f"Field 'config.{truncated(name)}' expects {expected}, got {shown}",
                )
            )

    url = config.get("url")
    expect(isinstance(url, str) and bool(url), "url", "an absolute http or https URL", url)
    for name in ("idField", "listParam"):
        value = config.get(name)
        expect(
            value is None or (isinstance(value, str) and 0 < len(value) <= NAME_LENGTH_MAX),
            name,
            f"a text of 1 to {NAME_LENGTH_MAX} characters",
            value,
        )
    for name in ("createMethod", "updateMethod"):
        value = config.get(name)
        expect(value is None or value in METHODS, name, "POST, PUT or PATCH", value)
    headers = config.get("headers")
    if headers is not None and not isinstance(headers, Mapping):
        expect(False, "headers", "an object of texts", headers)
    elif headers:
        expect(len(headers) <= HEADERS_MAX, "headers", f"at most {HEADERS_MAX} headers", headers)
        for name, value in list(headers.items())[:HEADERS_MAX]:
            usable = _HEADER_NAME.fullmatch(name) and name.lower() not in _OURS
            # The value is a secret: what came is not repeated.
            fits = isinstance(value, str) and len(value) <= HEADER_LENGTH_MAX
            if not usable:
                faults.append(
                    Violation(
                        pointer_to(["config", "headers", name]),
                        f"Field 'config.headers' cannot have a header '{truncated(name)}'",
                    )
                )
            elif not fits or _HEADER_VALUE.fullmatch(value) is None:
                faults.append(
                    Violation(
                        pointer_to(["config", "headers", name]),
                        f"Field 'config.headers.{truncated(name)}' expects a text of at most"
                        f" {HEADER_LENGTH_MAX} visible ASCII characters, got"
                        f" {'another text' if isinstance(value, str) else js_type(value)}",
                    )
                )
    ValidationError.check(faults)
