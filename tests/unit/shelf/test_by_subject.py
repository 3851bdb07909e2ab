"""Several workers: one at a time is at a subject, in order, and none is idle beside another's."""

from __future__ import annotations

import asyncio

from shared.messaging.by_subject import BySubject


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_subjects_are_worked_on_at_once_whatever_they_are_called():
    """By a hash of the subject, half of all pairs would wait for one worker."""
    for number in range(20):
        work = BySubject[int]()
        takers = [asyncio.create_task(work.take()) for _ in range(2)]
        work.put("first", 1)
        work.put(f"other-{number}", 2)
        taken = await asyncio.wait_for(asyncio.gather(*takers), 5)
        assert sorted(taken) == [("first", 1), (f"other-{number}", 2)]
        assert not work.is_any_waiting


async def test_one_worker_at_a_time_is_at_a_subject_in_order():
    work = BySubject[int]()
    for item in (1, 2, 3):
        work.put("a", item)
    work.put("b", 4)
    assert await work.take() == ("a", 1)
    assert await work.take() == ("b", 4)
    waiting = asyncio.create_task(work.take())
    work.done("b")
    await _settled()
    assert not waiting.done()
    assert work.is_any_waiting
    work.done("a")
    assert await asyncio.wait_for(waiting, 5) == ("a", 2)


async def test_it_is_done_when_nothing_waits_and_nobody_works():
    work = BySubject[int]()
    await work.join()
    work.put("a", 1)
    work.put("a", 2)
    joined = asyncio.create_task(work.join())
    for _ in range(2):
        subject, _ = await work.take()
        await _settled()
        assert not joined.done()
        work.done(subject)
    await asyncio.wait_for(joined, 5)


async def test_a_worker_that_is_cancelled_takes_nothing_along():
    work = BySubject[int]()
    gone = asyncio.create_task(work.take())
    await _settled()
    gone.cancel()
    await _settled()
    work.put("a", 1)
    assert await asyncio.wait_for(work.take(), 5) == ("a", 1)
