"""Reads a secret setting from the file that `SIGMA_<SETTING>_FILE` names.

Kubernetes, Docker and systemd hand secrets over as files, each with a path of its own, so the path
is in a variable. pydantic-settings' `secrets_dir` is not enough: it expects files of fixed names in
one folder, reads files of any size, ignores a file that is missing, and lets a secret that is also
in the environment win silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from shared.errors import truncated

SUFFIX: Final = "_FILE"
FILE_BYTES_MAX: Final = 64 << 10


class FromFile:
    """Marks a setting that is no secret, `Annotated[str, FromFile()]`, but comes with secrets."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands in place of a value that could not be read; `problem` names the variable."""

    problem: str


class _NotUsable(Exception):
    """What is wrong with a file."""


def file_variables(kind: type[BaseSettings]) -> Mapping[str, str]:
    """The settings that can be read from a file: the setting's name to its file's variable."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    return {
        name: f"{prefix}{name}{SUFFIX}".upper()
        for name, field in kind.model_fields.items()
        if _can_be_a_file(field)
    }


def _can_be_a_file(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return SecretStr in kinds or any(isinstance(mark, FromFile) for mark in field.metadata)


class SecretFiles(PydanticBaseSettingsSource):
    """The source of settings whose `..._FILE` variable is set; names are read in any case."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file or an `Unusable`; None if no file is named."""
        if not _can_be_a_file(field):
            return None, field_name, False
        variable = file_variables(self.settings_cls)[field_name]
        return content_of(variable.removesuffix(SUFFIX)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All settings for which a file is named."""
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}


def content_of(variable: str) -> str | Unusable | None:
    """What is in the file that `<variable>_FILE` names; None if that is not set."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    direct, named = variable.upper(), f"{variable}{SUFFIX}".upper()
    if named not in environment:
        return None
    if direct in environment:
        return Unusable(f"{direct} and {named} are both set, expected one of them")
    return _read(named, environment[named])


def _read(variable: str, path: str) -> str | Unusable:
    """The text of the file. What is wrong with it is told without its content."""
    if not path:
        return Unusable(f"{variable}: expected the path of a file")
    try:
        # Opening anything else, such as a pipe, may wait for ever.
        if Path(path).exists() and not Path(path).is_file():
            raise _NotUsable("is not a file")
        with Path(path).open("rb") as file:
            return _one_line(file.read(FILE_BYTES_MAX + 1))
    except FileNotFoundError:
        problem = "does not exist"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except _NotUsable as error:
        problem = str(error)
    # A secret that was put here by mistake is not repeated: none begins as a path does.
    named = truncated(path) if path.startswith("/") else "the file that it names"
    return Unusable(f"{variable}: {named} {problem}")


def _one_line(content: bytes) -> str:
    if len(content) > FILE_BYTES_MAX:
        raise _NotUsable(f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _NotUsable("is not UTF-8 text") from None
    if not text.strip():
        raise _NotUsable("is empty")
    if "\n" in text or "\r" in text:
        raise _NotUsable("has more than one line")
    if "\0" in text:
        raise _NotUsable("contains a NUL character")
    return text
