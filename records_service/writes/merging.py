"""Merges a write that was made on an older version with what has changed since.

`If-Match` names the version that the caller has seen. If others have changed the record since, but
no value that is sent, nothing of theirs or of the caller's is lost when both stay. What has changed
is in the history; where that does not tell, the write is refused, as every other one under an old
version is (docs/adr/0046).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.context import BaseContext
from records_service.values.entries import Entries, Values, same, scope_key
from records_service.values.validation import pointer
from records_service.writes.changes import EXTERNAL_KEY
from records_service.writes.since import Step, steps_since
from shared.errors import PreconditionFailed, Violation, truncated
from shared.http.versions import if_match, stale

_Key = tuple[str, tuple[tuple[str, str], ...]]
"""Attribute id and scope."""

_MERGED: Final = ("update", "transition")
_NAMED_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Since:
    """What others have changed since the version that the caller has seen."""

    title: str
    resource_id: str
    version: int
    """The current one."""
    before: Mapping[_Key, Any]
    """The values at that version, of what has changed since; None where there was none."""
    has_moved: bool
    """Whether the lifecycle state has changed."""

    def values(
        self,
        schema: CompiledSchema,
        known: Values,
        wanted: Values,
        sent: Iterable[str] | None = None,
    ) -> Values:
        """The values after this write: those that it changes, and all others as they are now.

        `wanted` is what it would store on top of `known`, the current values. `sent` are the names
        of attributes whose lists were sent whole: an entry that is as the caller has seen it was
        not changed by the caller, and stays as it is now. Without them, one value was sent, which
        is meant. Raises `PreconditionFailed` with each value that both have changed.
        """
        names = None if sent is None else {schema.ids_by_name.get(name): name for name in sent}
        result = dict(wanted)
        conflicts: list[dict[str, Any]] = []
        for attribute_id in dict.fromkeys(attribute_id for attribute_id, _ in self.before):
            now, then = known.get(attribute_id, []), wanted.get(attribute_id, [])
            if now is then or attribute_id not in schema.attributes:
                continue
            merged, clashes = self._merged(attribute_id, now, then, is_whole=names is not None)
            if merged:
                result[attribute_id] = merged
            else:
                result.pop(attribute_id, None)
            alias = schema.attributes[attribute_id].alias
            name = "" if names is None else names.get(attribute_id, alias)
            place = "/value" if names is None else pointer(("/values", name))
            conflicts += [{"pointer": place, "attribute": alias, **clash} for clash in clashes]
        if conflicts:
            raise self._refusal(conflicts)
        return result

    def external_key(self, known: str | None, wanted: str | None) -> str | None:
        """As `values`, of the external key of a record."""
        key = (EXTERNAL_KEY, ())
        if known == wanted or key not in self.before or known == self.before[key]:
            return wanted
        if wanted == self.before[key]:
            return known
        clash: dict[str, Any] = {"scope": {}, "current": known, "sent": wanted}
        raise self._refusal([{"pointer": f"/{EXTERNAL_KEY}", "attribute": EXTERNAL_KEY, **clash}])

    def check_state(self, is_sent: bool) -> None:
        """Raise `PreconditionFailed` if a lifecycle state is sent and has changed since."""
        if is_sent and self.has_moved:
            raise self._refusal([])

    def _merged(
        self, attribute_id: str, now: Entries, then: Entries, *, is_whole: bool
    ) -> tuple[Entries, list[dict[str, Any]]]:
        known = {scope_key(entry["scope"]): entry for entry in now}
        wanted = {scope_key(entry["scope"]): entry for entry in then}
        entries: Entries = []
        clashes: list[dict[str, Any]] = []
        for scope in {**wanted, **known}:
            current = known[scope]["value"] if scope in known else None
            sent = wanted[scope]["value"] if scope in wanted else None
            seen = self.before.get((attribute_id, scope), current)
            chosen = wanted
            if not same(sent, current) and not same(seen, current):
                if not (is_whole and same(sent, seen)):
                    clashes.append({"scope": dict(scope), "current": current, "sent": sent})
                chosen = known
            if scope in chosen:
                entries.append(chosen[scope])
        return entries, clashes

    def _refusal(self, conflicts: list[dict[str, Any]]) -> PreconditionFailed:
        message = stale(self.title, self.resource_id, self.version)
        if not conflicts:
            return PreconditionFailed(message)
        paths = [truncated(_path(one)) for one in conflicts]
        more = len(paths) - _NAMED_MAX
        listed = ", ".join(paths[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
        error = PreconditionFailed(
            f"{message}. Others have changed since what is sent: {listed}",
            violations=[
                Violation(one["pointer"], f"Others have changed this since: {truncated(path)}")
                for one, path in zip(conflicts, paths, strict=True)
            ],
        )
        error.more = {"conflicts": conflicts}
        return error


async def changes_since(
    context: BaseContext, title: str, record_id: str, version: int, variant_id: str | None = None
) -> Since:
    """What has changed since the version of `If-Match`, which is not the current one.

    Raises `PreconditionFailed` where nobody can say, and for callers who may not read: from what is
    merged they could tell what is stored. `ValidationError` for a header of another form.
    """
    expected = if_match(context.call.headers) or ()
    resource_id = variant_id or record_id
    seen = max((each for each in expected if each < version), default=None)
    steps = None
    if seen is not None and context.identity.may_read:
        async with context.database.acquire() as conn:
            steps = await steps_since(
                conn, context.workspace_id, record_id, variant_id, after=seen, until=version
            )
    before = None if steps is None else _before(steps)
    if steps is None or before is None:
        raise PreconditionFailed(stale(title, resource_id, version))
    has_moved = any(step.action == "transition" for step in steps)
    return Since(title, resource_id, version, before, has_moved)


def _before(steps: Iterable[Step]) -> dict[_Key, Any] | None:
    """The oldest value of each that has changed; None where the steps are not those of one life.

    Each step has to begin where the one before ended.
    """
    before: dict[_Key, Any] = {}
    after: dict[_Key, Any] = {}
    for step in steps:
        if step.action not in _MERGED:
            return None
        for change in step.changes:
            key = (change["attributeId"], scope_key(change["scope"]))
            if not same(after.get(key, change["oldValue"]), change["oldValue"]):
                return None
            before.setdefault(key, change["oldValue"])
            after[key] = change["newValue"]
    return before


def _path(conflict: Mapping[str, Any]) -> str:
    scope = ", ".join(f"{name}={segment}" for name, segment in conflict["scope"].items())
    return f"{conflict['pointer']} ({scope})" if scope else str(conflict["pointer"])
