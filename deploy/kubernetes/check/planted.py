"""Errors planted in copies of the rendered documents: each must be found by its rule.

A rule that finds nothing is worth nothing, and says so here, in every run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from deploy.kubernetes.check import schemas
from deploy.kubernetes.check.manifests import Manifests, title_of
from deploy.kubernetes.check.rendering import Document
from deploy.kubernetes.check.rules import RULES, Rule, broken

PRODUCTION: Final = "production"
Edit = Callable[[list[Document]], None]


@dataclass(frozen=True)
class Planted:
    """`edits` break the rule, which then says `says`."""

    rule: Rule
    says: str
    edits: tuple[Edit, ...]
    overlay: str = PRODUCTION


def put(kind: str, name: str, path: str, value: Any) -> Edit:
    """Set what is at the path, such as `spec ports 0 port`, in a document."""

    def edit(documents: list[Document]) -> None:
        place, last = _place(documents, kind, name, path)
        if isinstance(place, list) and int(last) == len(place):
            place.append(value)
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return edit


def drop(kind: str, name: str, path: str = "") -> Edit:
    """Remove what is at the path, or the whole document."""

    def edit(documents: list[Document]) -> None:
        if path:
            place, last = _place(documents, kind, name, path)
            del place[int(last) if isinstance(place, list) else last]
        else:
            documents.remove(_document(documents, kind, name))

    return edit


def add(document: Document) -> Edit:
    """One more document."""
    return lambda documents: documents.append(copy.deepcopy(document))


def planted(rule: Rule, says: str, *edits: Edit, overlay: str = PRODUCTION) -> Planted:
    """An error of one overlay."""
    return Planted(rule, says, edits, overlay)


def missed(errors: Sequence[Planted], rendered: Mapping[str, list[Document]]) -> list[str]:
    """The planted errors that were not found, and the rules without any."""
    problems = [
        f"no error is planted for the rule {rule.__name__}"
        for rule in RULES
        if all(one.rule is not rule for one in errors)
    ]
    for one in errors:
        documents = copy.deepcopy(rendered[one.overlay])
        try:
            for edit in one.edits:
                edit(documents)
        except (LookupError, StopIteration):
            problems.append(f"a planted error has no place any more: {one.says}")
            continue
        found = broken(one.rule, Manifests(one.overlay, documents))
        if not any(one.says in problem for problem in found):
            problems.append(
                f"the rule {one.rule.__name__} does not find a planted error ({one.says}), only:"
                f" {'; '.join(found) or 'nothing'}"
            )
    return [*problems, *_missed_by_schemas(rendered[PRODUCTION])]


def _missed_by_schemas(documents: list[Document]) -> Iterator[str]:
    deployment = copy.deepcopy(_document(documents, "Deployment", "gateway"))
    deployment["spec"]["minReadySecond"] = 5
    found = [*schemas.kubernetes_problems({"planted": yaml.safe_dump(deployment)})]
    for version in schemas.VERSIONS:
        if not any(version in one and "minReadySecond" in one for one in found):
            yield f"kubernetes-validate does not find a wrong field at {version}: {found}"
    for one in filter(schemas.is_custom, documents):
        wrong = copy.deepcopy(one)
        wrong["spec"]["nonsense"] = 1
        if not any("nonsense" in said for said in schemas.custom_problems("planted", [wrong])):
            yield f"the schema of {title_of(one)} accepts a wrong field"


def _document(documents: list[Document], kind: str, name: str) -> Document:
    def named(one: Document) -> bool:
        found = one["metadata"]["name"]
        # The name of a ConfigMap ends with its hash.
        found = found.rpartition("-")[0] if kind == "ConfigMap" else found
        return bool(one["kind"] == kind and found == name)

    return next(filter(named, documents))


def _place(documents: list[Document], kind: str, name: str, path: str) -> tuple[Any, str]:
    place: Any = _document(documents, kind, name)
    *way, last = path.split()
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    return place, last
