"""What an object is called elsewhere: by readers of other languages, and by a source system.

Both stand beside the name of the object, which is shown where there is no label.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from typing_extensions import TypeAliasType

from shared.http.bounds import AtMost
from shared.ids import ID_PATTERN

LABELS_MAX: Final = 200
LABEL_LENGTH_MAX: Final = 500
EXTERNAL_KEY_LENGTH_MAX: Final = 255

Labels = TypeAliasType(
    "Labels",
    Annotated[
        dict[
            Annotated[str, Field(pattern=ID_PATTERN)],
            Annotated[str, Field(min_length=1, max_length=LABEL_LENGTH_MAX)],
        ],
        AtMost(LABELS_MAX),
        Field(
            description="The name in other languages: segment id of the language dimension -> text."
            " Where a language has none, the name is shown.",
            examples=[{"seg-da": "Farve", "seg-sv": "Färg"}],
        ),
    ],
)
ExternalKey = TypeAliasType(
    "ExternalKey",
    Annotated[
        str,
        Field(
            min_length=1,
            max_length=EXTERNAL_KEY_LENGTH_MAX,
            description="What another system calls it: any text, compared exactly.",
            examples=["sleeve_length_type/3/4"],
        ),
    ],
)
