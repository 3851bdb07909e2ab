"""SQL: the options of one list with one name, found by the index of that name."""

from __future__ import annotations


def by_index(column: str, name: str, limit: int) -> str:
    """The end of a WHERE, for at most `limit` options of one list whose column is this name.

    An index for each name, where PostgreSQL might otherwise read the whole list once for all. Only
    the right index has this order, in which nothing else than equality is asked for.
    """
    return f"{column} BETWEEN {name} AND {name} ORDER BY {column} LIMIT {limit}"
