"""Values of an attribute that was converted, before the conversion is stored in each record.

While an attribute is converted, the column `converted` of a record or variant has what its values
will be: attribute id -> entries, an empty list for none. They hold from the moment on at which
`models.settling` names the attribute, one of a workspace at a time. Then they are stored in each
record, with an entry of its history; until its turn has come, all that reads its values reads them
by `values_now`, and who writes it stores them first (`writes/settling.py`).
"""

from __future__ import annotations


def values_now(row: str, settling: str | None = None) -> str:
    """SQL: the values of a row of `records` or `variants`, as they hold now.

    `settling` is the column of `models`, where that is read anyway; to look it up takes some 35 us.
    """
    if settling is not None:
        return f"CASE WHEN {row}.converted IS NULL THEN {row}.values {_settled(row, settling)}"
    return f"""
        CASE WHEN {row}.converted IS NULL THEN {row}.values ELSE (
            SELECT CASE WHEN m.settling IS NULL THEN {row}.values {_settled(row, "m.settling")}
              FROM models m
             WHERE m.workspace_id = {row}.workspace_id) END"""  # noqa: S608 - constants


def _settled(row: str, settling: str) -> str:
    """The other cases."""
    entries = f"{row}.converted -> {settling}"
    return f"""
        WHEN {entries} IS NULL THEN {row}.values
        WHEN {entries} = '[]' THEN {row}.values - {settling}
        ELSE {row}.values || jsonb_build_object({settling}, {entries}) END"""
