# ruff: noqa: RUF001  texts in other alphabets
"""The encoding of a file is found by little text, and the more common one is preferred."""

from __future__ import annotations

import pytest

from records_service.imports.detection import encoding_of

CHAIRS = "".join(
    ["name;price;colour;legs;folds\n"]
    + [f"Oak {n};49,9{n};Gray;4;true\n" for n in range(10)]
    + ["Elm;;DEEP RED;4;yes\n", "Ash;30 EUR;{colour};4;false\n", "Yew;31;Gray;4;true\n"]
)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", CHAIRS.format(colour="Grün")),
        ("cp1252", "article;prix\nCafetière électrique;30\nÉtagère;20\n"),
        ("cp1250", "nazwa;cena\nŻółty stół;5\nŁóżko;7\n"),
        ("cp1251", "название;цена\nКрасный стул;5\n"),
        ("cp1253", "όνομα;τιμή\nΚόκκινη καρέκλα;5\n"),
        ("cp866", "название;цена\nКрасный стул;5\n"),
        ("cp850", "name;price\nGrün;4\nKüche;Stühle\nTür;5\n"),
        ("cp932", "名前;価格\n赤い椅子;5\n"),
    ],
)
def test_a_text_is_read_as_it_was_written(encoding, text):
    raw = text.encode(encoding)
    assert raw.decode(encoding_of(raw)) == text
