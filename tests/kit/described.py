"""The endpoints of the description, as something that a test can ask.

An address is filled in with the description's examples, which exist in the demo catalogue
(`tests.kit.demo`). A new endpoint is among them as soon as it is described.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.description import OPENAPI_FILE
from tests.kit.sigma import Answer, Caller

NOWHERE = "not-there"
DOCUMENT: dict[str, Any] = orjson.loads(OPENAPI_FILE.read_bytes())


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    described: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def tag(self) -> str:
        """The feature that it belongs to."""
        return str(self.described["tags"][0])

    @property
    def is_open(self) -> bool:
        return not self.described["security"]

    @property
    def permission(self) -> str | None:
        """What an API key needs; None where no key is good enough."""
        return self.described.get("x-api-key-permission")

    @property
    def examples(self) -> dict[str, str]:
        return {
            parameter["name"]: parameter["example"]
            for parameter in self.described["parameters"]
            if parameter.get("in") == "path"
        }

    @property
    def address(self) -> str:
        """Where the demo catalogue has something."""
        return self.path.format_map(self.examples)

    @property
    def address_nowhere(self) -> str:
        """Where nobody has anything."""
        return self.path.format_map(self.examples | {"id": NOWHERE})

    @property
    def body(self) -> Any:
        content = self.described.get("requestBody", {}).get("content", {})
        text = "-".join(re.findall("[a-z]+", str(self).lower()))
        return example_of(content["application/json"]["schema"], text) if content else None

    async def ask(self, caller: Caller, address: str = "") -> Answer:
        return await self.send(caller, self.body, address)

    async def send(self, caller: Caller, body: Any, address: str = "") -> Answer:
        if body is None:
            return await caller.ask(self.method, address or self.address)
        return await caller.ask(self.method, address or self.address, body)


def example_of(schema: dict[str, Any], text: str) -> Any:
    """A value that this schema takes: its example, or as little as possible, made of this text."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    told = schema.get("examples") or schema.get("enum")
    if told:
        return told[0]
    if schema["type"] == "object":
        return {
            name: example_of(member, text)
            for name, member in schema.get("properties", {}).items()
            if name in schema.get("required", ()) or "examples" in member
        }
    if schema["type"] == "array":
        return [example_of(schema["items"], text)] * schema.get("minItems", 0)
    return {"string": text, "boolean": False}.get(schema["type"], 1)


def described() -> Iterator[Operation]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield Operation(method.upper(), path, operation)


OPERATIONS = tuple(described())
GUARDED = tuple(one for one in OPERATIONS if not one.is_open)
WITH_ID = tuple(one for one in GUARDED if one.examples)
READS = tuple(one for one in GUARDED if one.method == "GET")
