"""The delay after failed logins, and what an address is."""

from __future__ import annotations

import pytest

from auth_service.sessions.delay import DELAY_MAX_S, delay_s, delays_s, retry_after_s
from auth_service.users.addresses import check_address, is_address, normalised
from shared.errors import ValidationError


def test_five_failures_are_free_then_the_delay_doubles_up_to_a_minute():
    assert [delay_s(failures) for failures in range(1, 14)] == [
        *(0, 0, 0, 0),
        *(1, 2, 4, 8, 16, 32, 60, 60, 60),
    ]


def test_a_million_failures_are_a_minute_too():
    assert delay_s(1_000_000) == DELAY_MAX_S


def test_the_table_of_delays_ends_where_nothing_changes_any_more():
    assert delays_s() == [delay_s(failures) for failures in range(1, 12)]
    assert delays_s()[-1] == delay_s(12) == DELAY_MAX_S


@pytest.mark.parametrize(("left", "told"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.2, 60)])
def test_retry_after_is_never_too_early(left: float, told: int):
    assert retry_after_s(left) == told


def test_upper_case_and_composition_do_not_make_another_address():
    assert normalised(" Admin@Sigma.IO ") == normalised("admin@sigma.io")
    assert normalised("re\u0301ne@x.fr") == normalised("r\u00e9ne@x.fr")


@pytest.mark.parametrize(
    "text", ["", "admin", "@x", "a@", "a b@x", "a@b@c", "a\x00@x", "a@x\x00", "a" * 250 + "@x.de"]
)
def test_what_is_no_address_is_nobodys(text: str):
    assert not is_address(text)
    with pytest.raises(ValidationError):
        check_address(text)


def test_an_address_keeps_its_letters_and_loses_the_space_around_it():
    assert check_address(" Admin@Sigma.io\n") == "Admin@Sigma.io"
