"""Secrets are sealed for their place, and a mask is never stored in place of a secret."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from shared.errors import ValidationError
from workflow_service.secrets.masks import is_mask, kept_or_new, mask
from workflow_service.secrets.vault import CannotOpen, Place, Vault

PLACE = Place("ws-a", "webhook", "wh-1")
LONG = "whsec_c2VjcmV0LXNlY3JldC1z"


def ring(*names: str) -> Vault:
    keys = (base64.b64encode(name.encode().ljust(32, b".")).decode() for name in names)
    return Vault.parse(",".join(f"{name}={key}" for name, key in zip(names, keys, strict=True)))


def test_what_is_sealed_hides_the_secret_and_never_looks_the_same():
    vault = ring("one")
    sealed = {vault.seal("geheim ☕", PLACE) for _ in range(20)}
    assert len(sealed) == 20
    assert not any("geheim" in text for text in sealed)
    assert {vault.open(text, PLACE) for text in sealed} == {"geheim ☕"}


@pytest.mark.parametrize("other", ["workspace_id", "kind", "owner_id"])
def test_a_secret_cannot_be_opened_in_another_place(other: str):
    vault = ring("one")
    with pytest.raises(CannotOpen):
        vault.open(vault.seal("secret", PLACE), replace(PLACE, **{other: "another"}))


def test_a_secret_that_was_changed_cannot_be_opened():
    vault = ring("one")
    sealed = vault.seal("secret", PLACE)
    for changed in (sealed[:-4] + "AAAA", sealed[:10], f"2{sealed[1:]}", "", "1.one.", "secret"):
        with pytest.raises(CannotOpen):
            vault.open(changed, PLACE)


def test_the_first_key_seals_and_all_keys_open():
    old, both, new = ring("old"), ring("new", "old"), ring("new")
    assert both.open(old.seal("secret", PLACE), PLACE) == "secret"
    assert new.open(both.seal("secret", PLACE), PLACE) == "secret"
    assert both.seal("secret", PLACE).startswith(both.prefix)
    with pytest.raises(CannotOpen, match="SIGMA_SECRET_KEYS lacks the key 'old'"):
        new.open(old.seal("secret", PLACE), PLACE)


def test_a_mask_shows_the_end_of_a_long_secret_only():
    assert (mask(LONG), mask("short"), mask("")) == ("********LXNz"[:8] + LONG[-4:], *["*" * 8] * 2)
    assert is_mask(mask(LONG), LONG)
    assert not is_mask(mask(LONG), LONG + "x")


def test_a_mask_sent_back_keeps_the_secret_and_another_mask_is_refused():
    assert kept_or_new(mask(LONG), LONG, "secret") == LONG
    assert kept_or_new("new", LONG, "secret") == "new"
    assert kept_or_new("new", None, "secret") == "new"
    for stored in (None, "short", LONG + "x"):
        with pytest.raises(ValidationError) as refused:
            kept_or_new(mask(LONG), stored, "config.apiKey")
        assert refused.value.message.startswith("Field 'config.apiKey' is the mask of another")
        assert [one.pointer for one in refused.value.violations] == ["/config/apiKey"]
