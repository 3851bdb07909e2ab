"""A page of the options of a list: which are asked for, and how they are answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from records_service.option_lists.model import OptionValueAnswer
from shared.database.paging import Paged, PageQuery


class OptionValueFilter(PageQuery):
    """Which options of a list to show."""

    parent_id: str | None = Field(default=None, alias="parentId")
    """Only options directly below this one; empty: only those without a parent."""
    query: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Only options that contain this text in their label, a label in another language, their alias
    or their external key. Upper and lower case are the same."""
    external_key: str | None = Field(default=None, alias="externalKey")
    """Only the option that another system calls so."""


class OptionValuePage(Paged):
    """One page of the options of a list."""

    items: list[OptionValueAnswer]
    """The options, in ascending `sortOrder`."""
