"""When a job is due: cron lines of five fields, in a time zone.

As cron does it where clocks change: a time that is skipped is made up for right after the change,
and a time that comes twice is taken once, unless the line says every hour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from shared.errors import ValidationError
from shared.http.messages import shown

FIELDS: Final = 5
LINE_LENGTH_MAX: Final = 200


class Unreadable(Exception):
    """A schedule of which nobody can say when it is due; the message says why."""


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def check_zone(name: str) -> None:
    """Raise `ValidationError` for what is no time zone."""
    if name not in _zones():
        raise ValidationError.at(
            "/timezone",
            "Field 'timezone' expects the IANA name of a time zone, such as 'Europe/Copenhagen',"
            f" got {shown(name)}",
        )


def check_line(line: str) -> None:
    """Raise `ValidationError` for what is no cron line of five fields, or never comes true."""
    reason = _fault_of(line)
    if reason is not None:
        raise ValidationError.at(
            "/schedule",
            "Field 'schedule' expects a cron line of five fields (minute, hour, day of the month,"
            f" month, day of the week), such as '30 2 * * 1-5', got {shown(line)}: {reason}",
        )


def _fault_of(line: str) -> str | None:
    count = len(line.split())
    if count != FIELDS:
        return f"it has {count} fields"
    try:
        next(CronSim(line, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error).lower()
    except StopIteration:
        return "it names no day that exists"
    return None


def next_after(line: str, zone: str, moment: datetime) -> datetime:
    """The first time of the line after this moment, both in UTC.

    Raises `Unreadable`: what was checked by another version of the libraries may be refused.
    """
    try:
        times = CronSim(line, moment.astimezone(ZoneInfo(zone)))
        # In the hour that comes twice, the library may begin with a time of its first pass.
        at = next((at for time in times if (at := time.astimezone(UTC)) > moment), None)
    except (KeyError, ValueError, OSError):
        raise Unreadable(f"time zone {shown(zone)} is not known") from None
    except CronSimError as error:
        raise Unreadable(f"cron line {shown(line)}: {str(error).lower()}") from None
    if at is None:
        raise Unreadable(f"cron line {shown(line)} names no day that exists")
    return at
