"""Validates documents strictly: a field that does not exist is an error.

Kubernetes' own kinds against the schemas in the package kubernetes-validate. Custom resources
against `schemas/`: one JSON schema for each kind, with the fields that our manifests use. Given the
folder of the operators' own definitions (CustomResourceDefinitions, `--crds`), documents are
validated against those as well, and it is checked that `schemas/` agrees with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import jsonschema_rs
import yaml

from deploy.kubernetes.check.rendering import Document, run, tool

VERSIONS: Final = ("1.33", "1.37")
"""The oldest and the newest Kubernetes that is supported."""
SCHEMAS: Final = Path(__file__).parent / "schemas"
_UNKNOWN_KIND: Final = "Couldn't find schema"
_NESTED: Final = frozenset(("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"))
_PASSED: Final = " passed for resource "


def kubernetes_problems(overlays: Mapping[str, str]) -> Iterator[str]:
    """What is not valid in the rendered overlays, at any supported version.

    A kind that Kubernetes does not have is none of its own: `custom_problems` knows it.
    """
    with TemporaryDirectory() as name, ThreadPoolExecutor(len(VERSIONS)) as pool:
        files = []
        for overlay, text in overlays.items():
            files.append(Path(name) / f"{overlay}.yaml")
            files[-1].write_text(text)
        for found in pool.map(lambda version: list(_validated(version, files)), VERSIONS):
            yield from found


def custom_problems(overlay: str, documents: list[Document]) -> Iterator[str]:
    """What is not valid in the custom resources of an overlay."""
    known = own_schemas()
    for one in documents:
        if not is_custom(one):
            continue
        kind = (one["apiVersion"], one["kind"])
        if kind not in known:
            yield f"{overlay}: {one['kind']} {one['apiVersion']} has no schema in {SCHEMAS.name}/"
            continue
        yield from _against(known[kind], one, overlay)


def definition_problems(
    folder: Path, overlays: Mapping[str, list[Document]]
) -> tuple[list[str], int]:
    """As `custom_problems`, against the operators' definitions; and the number of documents."""
    definitions = _definitions(folder)
    problems, count = [], 0
    for overlay, documents in overlays.items():
        for one in filter(is_custom, documents):
            kind = (one["apiVersion"], one["kind"])
            if kind not in definitions:
                problems.append(f"{one['kind']} {one['apiVersion']} has no definition in {folder}")
                continue
            count += 1
            problems += _against(definitions[kind], one, overlay)
    for kind, schema in own_schemas().items():
        if kind in definitions:
            problems += _disagreements(schema, definitions[kind], kind[1])
    return problems, count


def is_custom(document: Document) -> bool:
    """Whether Kubernetes itself does not have this kind: its group has a name like a host's."""
    group = document["apiVersion"].rpartition("/")[0]
    return ("." in group and not group.endswith(".k8s.io")) or group.startswith("gateway.")


def own_schemas() -> Mapping[tuple[str, str], Document]:
    """The schemas of this repository, by API version and kind."""
    found = {}
    for file in sorted(SCHEMAS.glob("*.yaml")):
        schema = yaml.load(file.read_text(), yaml.CSafeLoader)
        properties = schema["properties"]
        found[properties["apiVersion"]["const"], properties["kind"]["const"]] = schema
    return found


def _validated(version: str, files: list[Path]) -> Iterator[str]:
    done = run([tool("kubernetes-validate"), "--strict", "-k", version, *files])
    passed = 0
    for line in (done.stdout + done.stderr).splitlines():
        if _PASSED in line:
            passed += 1
        elif line.strip() and _UNKNOWN_KIND not in line:
            yield f"Kubernetes {version}: {line.strip()}"
    if not passed:
        yield f"Kubernetes {version}: kubernetes-validate found no document"


def _against(schema: Document, document: Document, overlay: str) -> Iterator[str]:
    title = f"{overlay}: {document['kind']} {document['metadata']['name']}"
    for error in jsonschema_rs.validator_for(schema).iter_errors(document):
        place = ".".join(map(str, error.instance_path)) or "it"
        yield f"{title}, {place}: {error.message[:300]}"


def _definitions(folder: Path) -> Mapping[tuple[str, str], Document]:
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        definition = yaml.load(file.read_text(), yaml.CSafeLoader)
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            # The API server validates these itself.
            schema["properties"]["metadata"] = {"type": "object"}
            kind = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[kind] = schema
    return found


def _strict(schema: Any) -> Any:
    """As JSON schema: no field that is not described, integer or string where both are allowed."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") is True:
        return {"type": ["integer", "string"]}
    strict = {key: _strict(value) if key in _NESTED else value for key, value in schema.items()}
    if "properties" in schema:
        strict["properties"] = {name: _strict(one) for name, one in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict.setdefault("additionalProperties", False)
    return strict


def _disagreements(own: Document, theirs: Document, path: str) -> Iterator[str]:
    """Where our schema allows a field that theirs has not, or a value of another type."""
    if _types(theirs) and not {*_types(own)} <= {*_types(theirs)}:
        yield f"{path} is {own['type']} in {SCHEMAS.name}/ and {theirs['type']} in its definition"
    for name, schema in own.get("properties", {}).items():
        if name in theirs.get("properties", {}):
            yield from _disagreements(schema, theirs["properties"][name], f"{path}.{name}")
        elif "properties" in theirs:
            yield f"{path}.{name} is in {SCHEMAS.name}/ and not in its definition"
    for name in set(theirs.get("required", ())) - set(own.get("required", ())):
        yield f"{path}.{name} is required by its definition and not in {SCHEMAS.name}/"
    for value in own.get("enum", ()):
        if "enum" in theirs and value not in theirs["enum"]:
            yield f"{path} may be {value} in {SCHEMAS.name}/ and not in its definition"
    if isinstance(own.get("items"), dict) and isinstance(theirs.get("items"), dict):
        yield from _disagreements(own["items"], theirs["items"], f"{path}[]")


def _types(schema: Document) -> list[str]:
    found = schema.get("type", [])
    return found if isinstance(found, list) else [found]
