"""Which versions does an `If-Match` name?"""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from shared.versions import Versions, if_match


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        ("*", None),
        ('"7"', {7}),
        ('W/"7", "8"', {7, 8}),
        ("7", set()),
        ("", set()),
        ('"x"', set()),
        # A digit to a person, and nothing that an `ETag` of ours ever had.
        ('"\N{ARABIC-INDIC DIGIT SEVEN}"', set()),
    ],
)
def test_only_tags_of_ours_name_a_version(header: str | None, versions: Versions):
    headers = {} if header is None else {"If-Match": header}
    assert if_match(make_mocked_request("PUT", "/", headers)) == versions
