"""Which versions does an `If-Match` name?"""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from shared.errors import ValidationError
from shared.http.versions import Versions, if_match


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        ("*", None),
        ('"7"', {7}),
        ('W/"7", "8"', {7, 8}),
        (' "7" ,\t, W/"8",', {7, 8}),
        ('"x"', set()),
        ('""', set()),
        # A comma inside of a tag separates nothing.
        ('"7,8"', set()),
        # A digit to a person, and nothing that an `ETag` of ours ever had.
        ('"\N{ARABIC-INDIC DIGIT SEVEN}"', set()),
    ],
)
def test_only_tags_of_ours_name_a_version(header: str | None, versions: Versions):
    headers = {} if header is None else {"If-Match": header}
    assert if_match(make_mocked_request("PUT", "/", headers).headers) == versions


def test_a_header_that_comes_twice_is_one_list():
    headers = CIMultiDict([("If-Match", '"7"'), ("If-Match", 'W/"8"')])
    assert if_match(make_mocked_request("PUT", "/", headers).headers) == {7, 8}


@pytest.mark.parametrize(
    "header", ["", " ", ",", "7", "7, 8", '"7', "'7'", '"7" "8"', '*, "7"', 'w/"7"', '"7"; x']
)
def test_a_header_of_another_form_is_refused_and_shown_the_right_one(header: str):
    with pytest.raises(ValidationError) as raised:
        if_match(make_mocked_request("PUT", "/", {"If-Match": header}).headers)
    assert raised.value.message == (
        "Header 'If-Match' expects the ETag of a version, with its quotation marks, such as"
        f""" "1", or *; got '{header.strip()}'"""
    )
    assert [each.pointer for each in raised.value.violations] == ["/If-Match"]


def test_a_long_header_is_read_in_time_that_grows_with_it():
    with pytest.raises(ValidationError) as raised:
        if_match(
            make_mocked_request("PUT", "/", {"If-Match": '"1"' + " , " * 100_000 + "x"}).headers
        )
    assert len(raised.value.message) < 250
