"""What the index of texts holds of each record that it has reached, by a version of the model."""

from __future__ import annotations

from records_service.blueprint.blueprint import Blueprint
from records_service.search_texts.documents import Layout
from records_service.search_texts.folding import folding_in

_LAYOUT = "text_layout"


def layout_in(blueprint: Blueprint) -> Layout | None:
    """What the index holds of every record that is not behind; None where there is no index.

    None also while all that it holds is folded anew.
    """
    stored = blueprint.text_layout
    if stored is None or not blueprint.is_indexed:
        return None
    layout: Layout | None = blueprint.derived.get(_LAYOUT)
    if layout is None:
        layout = Layout.parse(stored)
        blueprint.derived[_LAYOUT] = layout
    return layout if layout.folding == folding_in(blueprint) else None
