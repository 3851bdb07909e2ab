"""What a schema and its workflow ask of a record, whatever things are called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

from records_service.attributes.model import AttributeType, SubAttribute, Validation
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import (
    CompiledSchema,
    compile_schema,
    compiled_schema,
)
from records_service.option_lists.model import OptionValue
from tests.unit.records.model_builders import a_schema, a_workflow, an_attribute, an_option_list


def rules(**lists: list[str]) -> CompiledSchema:
    """Two attributes of which one's alias is the other's id, and one state with these lists."""
    attributes = [an_attribute("price", "own"), an_attribute("attr-2", "price")]
    blueprint = Blueprint(
        workspace_id="ws",
        version=1,
        dimensions={},
        option_lists={},
        attributes={attribute.id: attribute for attribute in attributes},
        schemas={"schema-x": a_schema("schema-x", "price", "attr-2", workflow_id="wf-simple")},
        workflows={"wf-simple": a_workflow(draft=lists)},
    )
    return compile_schema(blueprint, "schema-x")


def test_a_states_list_names_an_attribute_by_its_id_and_any_other_that_is_called_so():
    asked = rules(required=["price"], readOnly=["price"])
    state = asked.state_of("state-draft")
    assert asked.read_only_in(state) == {"price", "attr-2"}
    assert [attribute.id for attribute in asked.required_in(state)] == ["price", "attr-2"]


def test_only_an_id_in_a_states_hidden_list_takes_an_attribute_out_of_what_is_required():
    for hidden, left in ((["own"], ["price", "attr-2"]), (["price"], ["attr-2"])):
        hiding = rules(required=["own", "attr-2"], hidden=hidden)
        required = hiding.required_in(hiding.state_of("state-draft"))
        assert [attribute.id for attribute in required] == left


def test_data_name_an_attribute_by_its_alias_before_any_by_its_id():
    assert rules().ids_by_name["price"] == "attr-2"


class WatchedValues(tuple[OptionValue, ...]):  # noqa: SLOT001 - a tuple cannot have any
    """The values of an option list, and by which threads they were gone through."""

    seen_by: list[int]

    def __iter__(self) -> Iterator[OptionValue]:
        self.seen_by.append(threading.get_ident())
        return super().__iter__()

    def __reversed__(self) -> Iterator[OptionValue]:
        return reversed(tuple(super().__iter__()))


def of_option_fields(attributes: int, fields: int) -> tuple[Blueprint, WatchedValues]:
    """Two schemas with the same attributes, whose every field chooses from one list."""
    option_list = an_option_list("ol-all", *(f"o{n}" for n in range(10)))
    values = WatchedValues(option_list.values)
    values.seen_by = []
    of_fields = tuple(
        SubAttribute(f"f{n}", f"f{n}", AttributeType.OPTION, Validation(), "ol-all", False)
        for n in range(fields)
    )
    made = [
        an_attribute(f"attr-{n}", kind=AttributeType.COMPLEX, attributes=of_fields)
        for n in range(attributes)
    ]
    blueprint = Blueprint(
        workspace_id="ws",
        version=1,
        dimensions={},
        option_lists={"ol-all": replace(option_list, values=values)},
        attributes={attribute.id: attribute for attribute in made},
        schemas={name: a_schema(name, *(one.id for one in made)) for name in ("one", "two")},
        workflows={},
    )
    return blueprint, values


def test_all_fields_that_choose_from_a_list_share_one_lookup():
    blueprint, values = of_option_fields(attributes=20, fields=200)
    one, two = compile_schema(blueprint, "one"), compile_schema(blueprint, "two")
    assert len(values.seen_by) == 1
    assert one.checks["attr-3"] is two.checks["attr-3"]
    # The next version of the model has the same list, if that was not changed.
    compile_schema(replace(blueprint, version=2, compiled={}, checks={}), "one")
    assert len(values.seen_by) == 1


async def test_rules_are_made_once_and_beside_the_event_loop():
    blueprint, values = of_option_fields(attributes=2, fields=2)
    made = await asyncio.gather(*(compiled_schema(blueprint, "one") for _ in range(5)))
    assert all(rules is made[0] for rules in made)
    assert await compiled_schema(blueprint, "one") is made[0]
    assert values.seen_by != []
    assert threading.get_ident() not in values.seen_by


async def test_who_goes_away_does_not_stop_the_making_for_others():
    blueprint, _ = of_option_fields(attributes=2, fields=2)
    first = asyncio.create_task(compiled_schema(blueprint, "one"))
    second = asyncio.create_task(compiled_schema(blueprint, "one"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).definition.id == "one"
