"""What a schema and its workflow ask of a record, whatever things are called."""

from __future__ import annotations

from records_service.records.rules import RecordRules, rules_of
from records_service.schemas.blueprint import Blueprint
from tests.unit.model_builders import a_lifecycle, a_schema, an_attribute


def rules(**lists: list[str]) -> RecordRules:
    """Two attributes of which one's alias is the other's id, and one state with these lists."""
    attributes = [an_attribute("price", "own"), an_attribute("attr-2", "price")]
    blueprint = Blueprint(
        workspace_id="ws",
        version=1,
        dimensions={},
        option_lists={},
        attributes={attribute.id: attribute for attribute in attributes},
        schemas={"schema-x": a_schema("schema-x", "price", "attr-2", workflow_id="wf-simple")},
        lifecycles={"wf-simple": a_lifecycle(draft=lists)},
    )
    return rules_of(blueprint, "schema-x")


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
