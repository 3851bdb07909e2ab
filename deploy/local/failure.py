"""The error of a failed start: what failed, why, and what to do next."""

from __future__ import annotations

from pathlib import Path

_LOG_SHOWN_LINES = 15


class StartFailed(Exception):
    """Which part failed and why; `advice` says what to do, `log` is where the part wrote."""

    def __init__(self, part: str, why: str, advice: str = "", log: Path | None = None) -> None:
        super().__init__(part, why, advice, log)
        self.part = part
        self.why = why
        self.advice = advice
        self.log = log

    def __str__(self) -> str:
        said = [f"{self.part}: {self.why}"]
        if self.log is not None and (lines := last_lines(self.log)):
            said += [f"The end of {self.log}:", *(f"  | {line}" for line in lines)]
        if self.advice:
            said.append(self.advice)
        return "\n".join(said)


def last_lines(log: Path, count: int = _LOG_SHOWN_LINES) -> list[str]:
    """The end of what was written there; nothing when there is no such file."""
    try:
        return log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []
