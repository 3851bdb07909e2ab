"""docs/asyncapi.yaml is valid, has every event type, and describes what is really published."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import aio_pika
import jsonschema_rs
import orjson
import pytest
import yaml

from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.events import EventType
from shared.messaging.topology import EVENTS
from tests.kit.eventually import eventually
from tests.kit.npm_modules import MODULES, install_modules
from tests.kit.servers import ROOT
from tests.kit.workspace import Workspace

DESCRIPTION: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DESCRIPTION["components"]["messages"]


def published_by(channel: dict[str, Any]) -> Iterator[str]:
    """The routing keys that the address of a channel stands for."""
    parameters = channel.get("parameters", {})
    for values in product(*(parameter["enum"] for parameter in parameters.values())):
        yield channel["address"].format(**dict(zip(parameters, values, strict=True)))


def closed(schema: Any) -> Any:
    """The schema without room for properties that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(part) for name, part in schema.items()}
    properties = schema.get("properties", {})
    for holder, name in [*((properties, name) for name in properties), (schema, "items")]:
        part = holder.get(name)
        if isinstance(part, dict) and part.keys() & {"$ref", "properties"}:
            holder[name] = {"allOf": [part], "unevaluatedProperties": False}
    return schema


def validator(message: str) -> jsonschema_rs.Validator:
    """Of the whole CloudEvents document of a message, which may have nothing that is not told."""
    return jsonschema_rs.validator_for(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [closed(MESSAGES[message]["payload"])],
            "unevaluatedProperties": False,
            "components": {"schemas": closed(DESCRIPTION["components"]["schemas"])},
        },
        validate_formats=True,
    )


@pytest.mark.slow
async def test_the_official_schema_of_asyncapi_accepts_it():
    await install_modules()
    schema = json.loads((MODULES / "@asyncapi" / "specs" / "schemas" / "3.0.0.json").read_text())
    errors = jsonschema_rs.validator_for(schema).iter_errors(DESCRIPTION)
    assert [f"{error.instance_path}: {error.message}" for error in errors] == []


def test_it_has_every_event_type_and_no_other():
    named = {message["name"]: key for key, message in MESSAGES.items()}
    assert sorted(named) == sorted(EventType)
    for name, key in named.items():
        assert MESSAGES[key]["payload"]["allOf"][-1]["properties"]["type"] == {"const": name}
    for channel in DESCRIPTION["channels"].values():
        messages = [each["$ref"].rpartition("/")[2] for each in channel["messages"].values()]
        assert messages == list(channel["messages"])
        assert list(published_by(channel)) == [MESSAGES[key]["name"] for key in messages]
    channels = [operation["channel"] for operation in DESCRIPTION["operations"].values()]
    assert channels == [{"$ref": f"#/channels/{name}"} for name in DESCRIPTION["channels"]]


@asynccontextmanager
async def listening(stack: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """Everything that is published meanwhile."""
    heard: list[dict[str, Any]] = []
    connection = await aio_pika.connect(stack.amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "#")

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            event = orjson.loads(message.body)
            assert (message.routing_key, message.message_id) == (event["type"], event["id"])
            assert message.content_type == DESCRIPTION["defaultContentType"]
            heard.append(event)

        await queue.consume(take, no_ack=True)
        yield heard


async def change_everything(stack: Any) -> Workspace:
    """Create, change and delete one object of each kind in a new workspace."""
    sigma: Workspace = await stack.workspace()
    auth, admin = stack.auth_database, sigma.admin
    await workspaces.set_record_limit(auth, sigma.id, 100)
    role = await sigma.role("role-reader")
    (await admin.put("/roles/role-reader", role | {"name": "Reader"})).ok()
    await sigma.user("role-reader", "user-reader")
    await users.set_role(auth, sigma.id, "user-reader", "role-admin")
    await users.disable(auth, sigma.id, "user-reader")
    await users.delete(auth, sigma.id, "user-reader")
    key = (await admin.post("/api-keys", {"name": "key", "permissions": ["read"]})).ok()
    (await admin.post(f"/api-keys/{key['id']}/deactivate")).ok()
    (await admin.delete(f"/api-keys/{key['id']}")).ok()

    models = {
        "/dimensions": await sigma.dimension("language", ["en", "da"]),
        "/option-lists": await sigma.option_list("colour", ["red", "blue"]),
        "/attributes": await sigma.attribute("colour", "option", optionListId="ol-colour"),
        "/workflows": await sigma.workflow(),
        "/catalogs": await sigma.catalog("webshop"),
    }
    await sigma.attribute("name", dimensionIds=["dim-language"])
    models["/schemas"] = await sigma.schema("shirt", ["name"], "wf-lifecycle", variantEnabled=True)
    for path, made in models.items():
        (await admin.put(f"{path}/{made['id']}", made | {"name": "Renamed"})).ok()
    (await admin.put("/attributes/attr-colour", {**models["/attributes"], "alias": "tint"})).ok()
    await sigma.category("men")
    shirts = await sigma.category("shirts")
    (await admin.put("/categories/ctg-shirts", shirts | {"parentId": "ctg-men"})).ok()

    danish = [{"scope": {"dim-language": "seg-da"}, "value": "Skjorte"}]
    await sigma.record("schema-shirt", {"name": danish}, id="ent-1", externalKey="S-1")
    (await admin.put("/records/ent-1", {"values": {"name": []}, "externalKey": "S-2"})).ok()
    moving = {"toStateId": "state-review", "comment": "Looks fine"}
    (await admin.post("/records/ent-1/transition", moving)).ok()
    (await admin.post("/categories/ctg-shirts/assign", {"entityId": "ent-1"})).ok()
    (await admin.post("/categories/ctg-shirts/unassign", {"entityId": "ent-1"})).ok()
    variants = "/records/ent-1/variants"
    (await admin.post(variants, {"id": "var-1", "values": {}})).ok()
    (await admin.put(f"{variants}/var-1", {"values": {"name": danish}})).ok()
    (await admin.delete(f"{variants}/var-1")).ok()

    paths = """/records/ent-1 /categories/ctg-men /catalogs/cat-webshop /schemas/schema-shirt
        /attributes/attr-name /attributes/attr-colour /dimensions/dim-language
        /option-lists/ol-colour /workflows/wf-lifecycle /roles/role-reader"""
    for path in paths.split():
        (await admin.delete(path)).ok()
    return sigma


@pytest.mark.slow
async def test_what_is_published_is_what_is_described(stack: Any):
    async with listening(stack) as heard:
        sigma = await change_everything(stack)

        def all_types() -> bool:
            own = {one["type"] for one in heard if one["workspaceid"] in (sigma.id, "*")}
            # A restoration is in tests/service/records/test_restoring.py.
            assert own == set(EventType) - {EventType.RECORDS_RESTORED}
            return True

        await eventually(all_types, within_s=60)
    validators = {message["name"]: validator(key) for key, message in MESSAGES.items()}
    for event in heard:
        errors = validators[event["type"]].iter_errors(event)
        assert [error.message for error in errors] == [], event
