"""The private names of aiohttp on which shared/http/connection.py and held.py depend.

aiohttp may rename them in any release. If a test here fails after an upgrade, read what became of
the names before you change the list: without them time-outs and error answers stop working.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from aiohttp import web, web_protocol
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from shared.http import connection, held

INHERITED = {
    RequestHandler: {
        "_close": "closes the connection after the answer",
        "_current_request": "the request that is being answered",
        "_loop": "the event loop",
        "_manager": "the server that made the connection",
        "_messages": "parsed requests that wait for their handler",
        "_request_count": "the number of requests parsed so far",
        "_waiter": "set while the handler task waits for a request",
    },
    BaseProtocol: {
        "_buffer_paused": "the body is not read, because its handler is slow",
        "_reading_paused": "the socket is not read",
    },
    Server: {
        "_connections": "all connections that are served",
        "_kwargs": "the options that the application gave to its connections",
        "_loop": "the event loop",
    },
    web.AppRunner: {"_make_server": "makes the server"},
    web.BaseRequest: {
        "_cache": "remembers the reader of the body",
        "_payload": "the reader of the body",
        "_payload_writer": "what an answer is written to",
    },
}
IMPORTED = {"_ErrInfo": "the parser's error in the place of a request"}
OWN = {
    connection.Connection: connection.Connection.__slots__,
    connection.EdgeServer: ("_by_peer", "_limits", "_rejected", "_timer"),
    connection.EdgeRunner: ("_limits",),
}


def private_names() -> set[str]:
    """Private names in these modules that they do not define themselves."""
    used: set[str] = set()
    defined = {name for names in OWN.values() for name in names}
    trees = [ast.parse(Path(module.__file__).read_text()) for module in (connection, held)]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used.update(alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name != "_make_server"
        ):
            defined.add(node.name)
    return {name for name in used - defined if name.startswith("_") and not name.startswith("__")}


def test_the_list_names_everything_private_that_is_used():
    listed = {name for names in INHERITED.values() for name in names} | set(IMPORTED)
    assert private_names() == listed


@pytest.mark.parametrize("kind", INHERITED, ids=lambda kind: kind.__name__)
async def test_aiohttp_still_has_the_names(kind: type):
    missing = {name: use for name, use in INHERITED[kind].items() if not _has(kind, name)} | {
        name: use for name, use in IMPORTED.items() if not hasattr(web_protocol, name)
    }
    assert not missing, f"aiohttp {kind.__name__} has lost: {missing}"


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_aiohttp_has_no_name_of_ours(kind: type):
    """An attribute of ours with the name of one of theirs would overwrite it."""
    (theirs,) = kind.__bases__
    assert not [name for name in OWN[kind] if _has(theirs, name)]


def test_what_is_overridden_is_called_by_aiohttp():
    for name in ("finish_response", "handle_error", "log_exception", "data_received"):
        assert name in vars(RequestHandler)
    refused = web_protocol._ErrInfo(400, ValueError(), "message")
    assert (refused.status, refused.message) == (400, "message")


def _has(kind: type, name: str) -> bool:
    """Whether instances have it: as a slot or method, or set by one of the methods."""
    set_by_a_method = re.compile(rf"\bself\.{name}\b[^=\n]*=[^=]")
    return hasattr(kind, name) or any(
        set_by_a_method.search(inspect.getsource(base)) for base in kind.__mro__[:-1]
    )
