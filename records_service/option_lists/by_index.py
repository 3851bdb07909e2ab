"""SQL: the options of one list with one name, found by the index of that name."""

from __future__ import annotations


def by_index(column: str, name: str, limit: int) -> str:
    """The end of a WHERE, for at most `limit` options of one list whose column is this name.

    PostgreSQL knows nothing yet of a list that was just filled. It took any index that begins with
    workspace and list, and read the whole list for one name: ten thousand names took more than ten
    seconds. Only the right index has this order, in which nothing else than equality is asked for.
    """
    return f"{column} BETWEEN {name} AND {name} ORDER BY {column} LIMIT {limit}"
