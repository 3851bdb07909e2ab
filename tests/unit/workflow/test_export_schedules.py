"""Cron lines in time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from shared.errors import ValidationError
from workflow_service.export_jobs.schedule import Unreadable, check_line, check_zone, next_after

COPENHAGEN = "Europe/Copenhagen"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(line: str, zone: str, after: str, number: int) -> list[str]:
    moment, found = at(after), []
    for _ in range(number):
        moment = next_after(line, zone, moment)
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


def test_a_line_is_in_the_zone_of_the_job():
    assert times("30 2 * * *", "UTC", "2026-02-04T12:00", 2) == ["02-05 02:30", "02-06 02:30"]
    assert times("30 2 * * *", COPENHAGEN, "2026-02-04T12:00", 1) == ["02-05 01:30"]
    assert times("0 9 * * MON-FRI", "America/New_York", "2026-02-06T20:00", 1) == ["02-09 14:00"]


def test_a_time_that_is_skipped_is_made_up_for_once():
    # On 2026-03-29 clocks go from 02:00 to 03:00, at 01:00 UTC.
    assert times("30 2 * * *", COPENHAGEN, "2026-03-28T12:00", 3) == [
        "03-29 01:00",
        "03-30 00:30",
        "03-31 00:30",
    ]


def test_a_time_that_comes_twice_is_taken_once():
    # On 2026-10-25 clocks go back from 03:00 to 02:00, at 01:00 UTC.
    assert times("30 2 * * *", COPENHAGEN, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]
    # Also when somebody asks in the second of the two hours.
    assert times("30 2 * * *", COPENHAGEN, "2026-10-25T01:00", 1) == ["10-26 01:30"]
    assert times("30 2 * * *", COPENHAGEN, "2026-10-25T01:45", 1) == ["10-26 01:30"]


def test_a_line_for_every_hour_is_due_in_both_of_them():
    assert times("30 * * * *", COPENHAGEN, "2026-10-24T23:40", 3) == [
        "10-25 00:30",
        "10-25 01:30",
        "10-25 02:30",
    ]


def test_a_line_that_begins_with_a_star_has_the_times_that_there_are():
    line = "*/30 2 * * *"
    assert times(line, COPENHAGEN, "2026-03-28T12:00", 2) == ["03-30 00:00", "03-30 00:30"]
    assert times(line, COPENHAGEN, "2026-10-24T12:00", 5) == [
        "10-25 00:00",
        "10-25 00:30",
        "10-25 01:00",
        "10-25 01:30",
        "10-26 01:00",
    ]


def test_what_cannot_be_read_says_why():
    for line, zone, reason in [
        ("61 * * * *", "UTC", "cron line '61 * * * *': bad minute"),
        ("0 0 * * *", "Europe/Atlantis", "time zone 'Europe/Atlantis' is not known"),
        ("0 0 31 2,4 MON#5", "../etc/passwd", "time zone '../etc/passwd' is not known"),
    ]:
        with pytest.raises(Unreadable, match=re.escape(reason)):
            next_after(line, zone, at("2026-02-04T12:00"))


def test_what_was_missed_is_due_once():
    assert next_after("*/5 * * * *", "UTC", at("2026-02-04T12:03")) == at("2026-02-04T12:05")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "it has 0 fields"),
        ("* * * *", "it has 4 fields"),
        ("0 * * * * *", "it has 6 fields"),
        ("@daily", "it has 1 fields"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 * * FUNDAY", "bad day-of-week"),
    ],
)
def test_what_is_no_line_is_refused_with_the_reason(line: str, reason: str):
    with pytest.raises(ValidationError) as refused:
        check_line(line)
    assert refused.value.message == (
        "Field 'schedule' expects a cron line of five fields (minute, hour, day of the month,"
        f" month, day of the week), such as '30 2 * * 1-5', got '{line}': {reason}"
    )


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "europe/copenhagen "])
def test_what_is_no_zone_is_refused(zone: str):
    with pytest.raises(ValidationError, match="expects the IANA name of a time zone"):
        check_zone(zone)
