"""Passwords: hashed with the promised parameters, compared in the same time whoever it is."""

from __future__ import annotations

import argon2
import pytest

from auth_service.sessions import passwords
from shared.errors import ValidationError


def test_a_hash_is_argon2id_with_the_promised_parameters_and_a_salt():
    one, other = passwords.hashed("admin"), passwords.hashed("admin")
    assert one != other
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.matches(one, "admin")
    assert not passwords.matches(one, "Admin")


def test_nobodys_hash_costs_what_everybodys_does_and_matches_nothing():
    nobodys = argon2.extract_parameters(passwords._NOBODYS)
    assert nobodys == argon2.extract_parameters(passwords.hashed("x"))
    assert not passwords.matches(None, "")
    assert not passwords.matches(None, "admin")


def test_nobodys_password_would_not_let_anybody_in(monkeypatch):
    monkeypatch.setattr(passwords, "_NOBODYS", passwords.hashed("found out"))
    assert not passwords.matches(None, "found out")


def test_a_hash_that_is_none_matches_nothing():
    assert not passwords.matches("no hash", "no hash")


def test_a_hash_with_other_parameters_is_outdated_and_still_matches():
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("admin")
    assert passwords.is_outdated(weak)
    assert passwords.matches(weak, "admin")
    assert not passwords.is_outdated(passwords.hashed("admin"))


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "Field 'password' is required"),
        ("x" * 1025, "Field 'password' exceeds maximum length 1024"),
    ],
)
def test_what_cannot_be_a_password_is_told(password: str, message: str):
    with pytest.raises(ValidationError) as caught:
        passwords.check_password(password)
    assert caught.value.message == message
    assert passwords.check_password("x" * 1024)
