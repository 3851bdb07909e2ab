"""Messages repeat little of what was sent, and every place that does so asks one function."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Conflict, NotFound, truncated

SERVICES = ("gateway", "auth_service", "records_service", "workflow_service", "shared")
ROOT = Path(__file__).parents[3]


def test_a_value_is_told_by_its_first_hundred_characters():
    assert truncated("x" * 100) == "x" * 100
    assert truncated("x" * 101) == "x" * 100 + "…"
    long = "x" * 5_000
    for one in (NotFound.of("Entity", long), Conflict.taken("Role", long)):
        assert long[:101] not in one.message


@pytest.mark.parametrize("service", SERVICES)
def test_no_message_cuts_what_it_repeats_by_itself(service: str):
    cuts = re.compile(r"\{[^{}]*\[:\w+\][^{}]*\}'")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / service).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if cuts.search(line) and "method[:32]" not in line
    ]
    assert found == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_message_is_made_of_a_representation_of_pythons(service: str):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / service).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "!r}" in line and "not an event" not in line
    ]
    assert found == []


# What stands in quotes in a text is cut by `truncated`, or is one of these: made of a name in the
# code, or of what was cut before.
ASKING = ("truncated", "shown", "_label")
BOUNDED = {
    "auth_service/permissions/grants.py": {"right", "word"},
    "auth_service/permissions/validation.py": {"ADMIN_ROLE", "field"},
    "auth_service/sessions/handlers.py": {"name"},
    "records_service/attributes/commands.py": {"field"},
    "records_service/feed/tokens.py": {"name"},
    "records_service/model_changes/attributes.py": {"fixed[0]", "of_values[0]"},
    "records_service/attributes/definition.py": {
        "field",
        "guard.operator.value",
        "kind.value",
        "name",
    },
    "records_service/bulk/finding.py": {"alias"},
    "records_service/bulk/rows.py": {"expected", "kind"},
    "records_service/attributes/guards.py": {"expected[0]", "js_type(value)"},
    "records_service/dimensions/commands.py": {"draft.id"},
    "records_service/option_lists/hierarchy.py": {"parent"},
    "records_service/records/fixed_fields.py": {"field"},
    "records_service/search/criteria.py": {
        "CATEGORY",
        "alias_of(target.attribute, *target.fields)",
        "place_name(at)",
        "place_name(place)",
        "name",
        "operator",
        "target",
        "target.type.value",
    },
    "records_service/search/facets.py": {"target.type.value"},
    "records_service/search/naming.py": {"alias_of(*path)", "place_name(at)"},
    "records_service/search/scored.py": {"place_name(at)"},
    "records_service/conversions/commands.py": {"alias"},
    "records_service/explanations/deciding.py": {"alias", "label", "right", "said.word", "start"},
    "records_service/explanations/questions.py": {
        "asked.action",
        "asked.resource",
        "name",
        "thing",
    },
    "records_service/conversions/rules.py": {"self._alias"},
    "records_service/writes/changes.py": {"alias"},
    "records_service/writes/holders.py": {"row['record_id']", "row['variant_id']"},
    "records_service/bulk/settling.py": {"holder", "holder[:-1]"},
    "records_service/transitions/decisions.py": {"start"},
    "records_service/values/types.py": {
        "alias",
        "expected",
        "js_type(value)",
        "name",
        "shown_pattern",
    },
    "records_service/values/validation.py": {"self._alias"},
    "gateway/routes.py": {"method[:32]"},
    "shared/ids.py": {"ID_PATTERN", "field"},
    "shared/process/config.py": {"issuer"},
    "shared/http/requests.py": {"name"},
    "shared/http/access.py": {"route.flag", "route.permission"},
    "shared/http/versions.py": {"name"},
    "shared/http/messages.py": {"bound['pattern']", "got", "kind", "text"},
    "workflow_service/transitions/gates.py": {"start", "target"},
    "workflow_service/channels/commands.py": {"seen.type"},
    "workflow_service/sync/commands.py": {"channel.type"},
    "workflow_service/sync/running.py": {"channel.type"},
    "workflow_service/outbound/client.py": {"field"},
    "workflow_service/destinations/checking.py": {"FIELD", "field", "kind", "library"},
    "workflow_service/destinations/sftp.py": {"given"},
    "workflow_service/export_jobs/commands.py": {"field", "name"},
    "workflow_service/export_runs/commands.py": {"name"},
    "workflow_service/export_jobs/destination.py": {"FIELD", "field", "name"},
    "workflow_service/destinations/s3.py": {"name"},
    "workflow_service/secrets/masks.py": {"field"},
    "workflow_service/shopify/channel_type.py": {"js_type(value)"},
    "workflow_service/shopify/products.py": {"row.variant_id"},
    "workflow_service/shopify_api/answers.py": {"name"},
    "workflow_service/webhooks/commands.py": {"field"},
    "workflow_service/webhooks/signing.py": {"field", "PREFIX"},
    "workflow_service/definitions/validation.py": {"dotted"},
    "workflow_service/author_rights/withholding.py": {"name"},
}
# For operators and for PostgreSQL, not for who sent a request.
NO_MESSAGES = (
    "auth_service/administration.py",
    "auth_service/sessions/commands.py",
    "gateway/config.py",
    "shared/identity/signed.py",
    "shared/database/migrations.py",
    "shared/messaging/relay.py",
    "shared/database/schema_version.py",
    "shared/database/sizes.py",
    "records_service/search/sql.py",
    "records_service/search_scores/sql.py",
    "records_service/search_texts/folding.py",
    "records_service/search_texts/words.py",
    "records_service/search/full_text.py",
    "records_service/search/text_index.py",
    "records_service/search/text_samples.py",
    "records_service/writes/history_partitions.py",
    "shared/identity/tokens.py",
    "workflow_service/secrets/vault.py",
)


def quoted(text: ast.JoinedStr) -> Iterator[str]:
    """The expressions that stand in quotes in an f-string."""
    before = ""
    for part in text.values:
        if isinstance(part, ast.FormattedValue):
            if before.endswith("'"):
                yield ast.unparse(part.value)
            before = ""
        elif isinstance(part, ast.Constant):
            before = str(part.value)


@pytest.mark.parametrize("service", SERVICES)
def test_every_name_in_quotes_is_cut(service: str):
    found = []
    for path in sorted((ROOT / service).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name in NO_MESSAGES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found += [
                    f"{name}:{node.lineno}: {expression}"
                    for expression in quoted(node)
                    if expression.partition("(")[0] not in ASKING
                    and expression not in BOUNDED.get(name, ())
                ]
    assert found == []
