"""A model object over HTTP, with its version as `ETag`.

What is not there is null in every answer, at every depth, and never left out: a client's types then
have one kind of optional field. A body keeps only what is said, so the rest comes from the model
that describes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, get_args

import orjson
from aiohttp import web
from pydantic import BaseModel

from records_service.model_objects.model import Kind, ModelObject
from shared.database import Record
from shared.database.listing import Render
from shared.http import to_json, versioned_response
from shared.http.naming import Labels

_Shape = type[BaseModel]


def answer(model_object: ModelObject, shape: _Shape) -> web.Response:
    """The answer with one model object."""
    return versioned_response(public_object(model_object, shape), model_object.version)


def created(kind: Kind, model_object: ModelObject, shape: _Shape) -> web.Response:
    """A new object, and where it is from now on."""
    return versioned_response(
        public_object(model_object, shape),
        model_object.version,
        status=201,
        location=f"{kind.path}/{model_object.id}",
    )


def public_object(model_object: ModelObject, shape: _Shape) -> dict[str, Any]:
    """The public object, with every field that its answer has."""
    return _with_defaults(model_object.to_public(), shape)


def rendered_as(shape: _Shape) -> Render:
    """How a row of a list is written, its body being text."""
    return partial(_rendered, shape)


def _rendered(shape: _Shape, row: Record) -> bytes:
    model_object = ModelObject(
        row["id"],
        row["alias"],
        orjson.loads(row["body"]),
        row["version"],
        row["created_at"],
        row["updated_at"],
    )
    return to_json(public_object(model_object, shape))


def _with_defaults(stored: Mapping[str, Any], shape: _Shape) -> dict[str, Any]:
    return {
        name: _field_with_defaults(stored.get(name), inner) if inner else stored.get(name, default)
        for name, inner, default in _fields(shape)
    }


def _field_with_defaults(stored: Any, inner: _Shape) -> Any:
    if isinstance(stored, list):
        return [_with_defaults(one, inner) for one in stored]
    return stored if stored is None else _with_defaults(stored, inner)


@lru_cache(maxsize=64)
def _fields(shape: _Shape) -> tuple[tuple[str, _Shape | None, Any], ...]:
    """Every public name, the model of what is inside it, if that has one, and what is there else.

    No labels are an empty object, so that clients look them up without asking first.
    """
    return tuple(
        (
            info.alias or name,
            _model_in(info.annotation),
            {} if _is_labels(info.annotation) else None,
        )
        for name, info in shape.model_fields.items()
    )


def _is_labels(annotation: Any) -> bool:
    return annotation is Labels


def _model_in(annotation: Any) -> _Shape | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one))), None)
