"""What is wrong is told up to a hundred times, and not looked for after that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from auth_service.permissions.model import RoleDraft
from auth_service.permissions.validation import check_draft
from records_service.option_lists.hierarchy import check_values, values_of
from records_service.option_lists.model import OptionValueDraft
from shared.errors import VIOLATIONS_MAX, PermissionDenied, ValidationError, Violation
from workflow_service.definitions.model import Transition
from workflow_service.role_claims.claims import check_roles_exist


def faults(looked_at: list[int]) -> Iterator[Violation]:
    for number in range(10 * VIOLATIONS_MAX):
        looked_at.append(number)
        yield Violation(f"/{number}", f"fault {number}")


def test_nothing_is_looked_at_after_the_hundredth_violation():
    looked_at: list[int] = []
    with pytest.raises(ValidationError, match="fault 0") as raised:
        ValidationError.check(faults(looked_at))
    assert looked_at == list(range(VIOLATIONS_MAX))
    assert [each.pointer for each in raised.value.violations] == [f"/{n}" for n in looked_at]

    looked_at = []
    assert len(PermissionDenied(violations=faults(looked_at)).violations) == VIOLATIONS_MAX
    assert looked_at == list(range(VIOLATIONS_MAX))


def test_nothing_wrong_raises_nothing():
    ValidationError.check(iter(()))


def test_rules_about_long_lists_stop_there(monkeypatch):
    """Each message repeats what was sent through `truncated`, so that tells how many were made."""
    made: list[str] = []

    def truncated(text: str) -> str:
        made.append(text)
        return text

    for module in ("auth_service.permissions.validation", "workflow_service.role_claims.claims"):
        monkeypatch.setattr(f"{module}.truncated", truncated)
    monkeypatch.setattr("records_service.option_lists.hierarchy.truncated", truncated)
    many = 5 * VIOLATIONS_MAX
    step = Transition(
        id="tr-1",
        from_state_id="state-a",
        to_state_id="state-b",
        allowed_role_ids=["role-x"] * many,
        requires_completeness=None,
    )
    role = RoleDraft.model_validate(
        {"name": "Role", "catalogPermissions": [{"catalogId": "cat-a"}] * many}
    )
    values = values_of(
        [OptionValueDraft(id="val-a", alias="a", label="a") for _ in range(many)],
    )
    for check in (
        lambda: check_roles_exist([step], ["role-x"]),
        lambda: check_draft(role, "role-x"),
        lambda: check_values(values, hierarchical=False),
    ):
        made.clear()
        with pytest.raises(ValidationError) as raised:
            check()
        assert len(raised.value.violations) == VIOLATIONS_MAX
        assert len(made) == VIOLATIONS_MAX
