"""Brings the model of a plan into the workspace, one object after the other.

The model is small, and each object needs those before it. Only the options of a list are written
many at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deploy.importers.client import Denied, Refused
from deploy.importers.comparing import changed_fields, incompatibility, merged
from deploy.importers.move import CONFLICT, Move
from deploy.importers.plan import Kind, ModelObject, Problem
from deploy.importers.report import Outcome

OPTIONS_AT_A_TIME = 5_000
_PATHS = {
    Kind.DIMENSIONS: "/dimensions",
    Kind.OPTION_LISTS: "/option-lists",
    Kind.ATTRIBUTES: "/attributes",
    Kind.WORKFLOWS: "/workflows",
    Kind.SCHEMAS: "/schemas",
    Kind.CATALOGS: "/catalogs",
    Kind.CATEGORIES: "/categories",
}


async def load_model(move: Move) -> None:
    """All objects in the order of their kinds; those that are refused are noted as absent."""
    for problem in move.plan.problems:
        move.report.refuse(problem)
    loading = _Model(move)
    for kind, path in _PATHS.items():
        objects = [one for one in move.plan.model if one.kind is kind]
        if not objects:
            continue
        move.progress.begin(kind, len(objects))
        there = {one["id"]: one for one in await loading.existing(path, objects)}
        for model_object in objects:
            wanted = loading.without_absent(model_object)
            found = there.get(wanted.id)
            if found is not None and not found.get("valuesComplete", True):
                # A large list of options is listed without them.
                found = await move.sigma.get(f"{path}/{wanted.id}")
            move.report.count(kind, await loading.bring(wanted, found))
            move.progress.step()


@dataclass(frozen=True, slots=True)
class _Model:
    move: Move

    async def existing(self, path: str, objects: list[ModelObject]) -> list[Any]:
        if path != _PATHS[Kind.CATEGORIES]:
            found: list[Any] = await self.move.sigma.get(path)
            return found
        catalogs = dict.fromkeys(one.body["catalogId"] for one in objects)
        return [
            category
            for catalog in catalogs
            if catalog not in self.move.absent
            for tree in await self.move.sigma.get(f"/catalogs/{catalog}/tree")
            for category in _flat(tree)
        ]

    async def bring(self, wanted: ModelObject, there: Any) -> Outcome:
        """Create or change it; a refusal is noted."""
        body = wanted.body
        if wanted.kind is Kind.CATEGORIES:
            above = body.get("parentId") or body["catalogId"]
            if above in self.move.absent or body["catalogId"] in self.move.absent:
                return self._refuse(wanted, f"what it stands in, '{above}', was refused")
        head = wanted
        if wanted.kind is Kind.OPTION_LISTS:
            head = replace(wanted, body={k: v for k, v in body.items() if k != "values"})
        try:
            outcome = await self._create(head) if there is None else await self._change(head, there)
            if wanted.kind is Kind.OPTION_LISTS and outcome is not Outcome.REFUSED:
                changed = await self._write_options(wanted, there)
                if changed and outcome is Outcome.UNCHANGED:
                    self.move.report.changed(f"{wanted.kind} '{wanted.source}': values")
                    outcome = Outcome.CHANGED
        except Denied:
            raise
        except Refused as refusal:
            faults = "; ".join(fault.message for fault in refusal.faults[1:])
            message = f"{refusal.message}; {faults}" if faults else refusal.message
            return self._refuse(wanted, message, refusal.code)
        return outcome

    async def _create(self, wanted: ModelObject) -> Outcome:
        path = _PATHS[wanted.kind]
        at = path
        if wanted.kind is Kind.CATEGORIES:
            at = f"/catalogs/{wanted.body['catalogId']}/categories"
        try:
            await self.move.sigma.send("POST", at, wanted.body)
        except Refused as refusal:
            if refusal.status != CONFLICT:
                raise
            # Its answer was lost, or its alias belongs to something else.
            found = await self.move.sigma.find(f"{path}/{wanted.id}")
            if found is None or changed_fields(found.body, merged(found.body, wanted.body)):
                raise
        return Outcome.CREATED

    async def _change(self, wanted: ModelObject, there: Mapping[str, Any]) -> Outcome:
        why = incompatibility(wanted.kind, there, wanted.body)
        if why is not None:
            return self._refuse(wanted, why)
        before = {name: there.get(name) for name in there if name not in ("values", "children")}
        body = merged(before, wanted.body)
        fields = changed_fields(before, body)
        if not fields:
            return Outcome.UNCHANGED
        await self.move.sigma.send("PUT", f"{_PATHS[wanted.kind]}/{wanted.id}", body)
        self.move.report.changed(f"{wanted.kind} '{wanted.source}': {', '.join(fields)}")
        return Outcome.CHANGED

    async def _write_options(self, wanted: ModelObject, there: Any) -> int:
        """How many options were created or changed; those that are refused are noted one by one."""
        known = {one["id"]: one for one in (there or {}).get("values", ())}
        rows = [
            row
            for row in wanted.body["values"]
            if row["id"] not in known
            or changed_fields(known[row["id"]], merged(known[row["id"]], row))
        ]
        written = 0
        for start in range(0, len(rows), OPTIONS_AT_A_TIME):
            chunk = rows[start : start + OPTIONS_AT_A_TIME]
            path = f"/option-lists/{wanted.id}/values/bulk"
            done = await self.move.sigma.send("POST", path, {"operations": chunk})
            written += done["created"] + done["updated"]
            for result in done["results"]:
                if result["outcome"] == "failed":
                    row = chunk[result["index"]]
                    self.move.report.refuse(
                        Problem(
                            wanted.kind,
                            wanted.source,
                            result["message"],
                            value=row.get("externalKey") or row["alias"],
                            code=result["error"],
                        )
                    )
        return written

    def _refuse(self, wanted: ModelObject, message: str, code: str = "") -> Outcome:
        self.move.absent.add(wanted.id)
        if wanted.kind is Kind.ATTRIBUTES:
            self.move.absent_aliases.add(wanted.body["alias"])
        self.move.report.refuse(Problem(wanted.kind, wanted.source, message, code=code))
        return Outcome.REFUSED

    def without_absent(self, wanted: ModelObject) -> ModelObject:
        """Without naming what was refused: the rest can still be used."""
        body = dict(wanted.body)
        if wanted.kind is Kind.SCHEMAS:
            body["attributeGroups"] = [
                {**group, "attributeIds": self._not_absent(group["attributeIds"])}
                for group in body["attributeGroups"]
            ]
            if body.get("workflowId") in self.move.absent:
                del body["workflowId"]
        if wanted.kind is Kind.WORKFLOWS:
            body["states"] = [
                {**state, "required": self._not_absent(state["required"])}
                for state in body["states"]
            ]
        return replace(wanted, body=body)

    def _not_absent(self, ids: list[str]) -> list[str]:
        return [one for one in ids if one not in self.move.absent]


def _flat(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found, waiting = [], [tree]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += one["children"]
    return found
