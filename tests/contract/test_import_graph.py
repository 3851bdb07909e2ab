"""The page with the import graph is the one that the code gives."""

from __future__ import annotations

from deploy import import_graph


def test_the_import_graph_is_up_to_date():
    assert import_graph.PAGE.read_text() == import_graph.page(), "run `make graph`"


def test_an_edge_that_follows_from_others_is_not_drawn():
    edges = {"a": frozenset({"b", "c"}), "b": frozenset({"c"}), "c": frozenset[str]()}
    assert import_graph.reduced(edges) == {**edges, "a": frozenset({"b"})}
