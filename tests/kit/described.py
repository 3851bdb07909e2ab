"""The endpoints of the API, from the route tables, as something that a test can ask.

An address is filled in with the description's examples, which exist in the demo catalogue
(`tests.kit.demo`). A new endpoint is among them as soon as its route is declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.openapi.description import described as routes_described
from deploy.openapi.document import TABLES, document
from shared.http.routes import Route
from shared.identity import Flag
from tests.kit.sigma import Answer, Caller

NOWHERE = "not-there"
DOCUMENT: dict[str, Any] = document()


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    described: dict[str, Any]
    service: str
    route: Route

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
    def flag(self) -> Flag | None:
        """What a person's role needs; an administrator has all."""
        return self.route.flag

    @property
    def role(self) -> str:
        """What else a person's role needs, in words."""
        return self.route.role

    @property
    def only_admin(self) -> bool:
        """Whether no flag is enough."""
        return self.route.administrators

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the body; None where there is none."""
        return self._body_described.get("schema")

    @property
    def example(self) -> Any:
        """The body of the description's example, which the demo catalogue takes."""
        return self._body_described.get("example")

    @property
    def _body_described(self) -> dict[str, Any]:
        content = self.described.get("requestBody", {}).get("content", {})
        found: dict[str, Any] = content.get("application/json", {})
        return found

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
        return self.path.format_map(self.examples) + self.query

    @property
    def query(self) -> str:
        """The query string without which the operation answers 400."""
        return "?query=foreign" if self.path.endswith("/search/text") else ""

    @property
    def address_nowhere(self) -> str:
        """Where nobody has anything."""
        return self.path.format_map(self.examples | {"id": NOWHERE})

    @property
    def body(self) -> Any:
        text = "-".join(re.findall("[a-z]+", str(self).lower()))
        return None if self.schema is None else example_of(self.schema, text)

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
    for service, tables in TABLES.items():
        for route in routes_described(tables):
            operation = DOCUMENT["paths"][route.path][route.method.lower()]
            yield Operation(route.method, route.path, operation, service, route)


OPERATIONS = tuple(described())
GUARDED = tuple(one for one in OPERATIONS if not one.is_open)
WITH_ID = tuple(one for one in GUARDED if one.examples)
READS = tuple(one for one in GUARDED if one.method == "GET")
INTERNAL = tuple(
    (service, route)
    for service, tables in TABLES.items()
    for table in tables
    for route in table.table
    if route.internal
)
