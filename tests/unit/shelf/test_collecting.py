"""The garbage collector looks seldom while bulk calls run, and as usual after the last of them."""

from __future__ import annotations

import gc
from contextlib import ExitStack

from shared.process.collecting import OBJECTS, collected_seldom


def test_the_last_call_that_ends_restores_what_was_in_force():
    usual = gc.get_threshold()
    first, second = ExitStack(), ExitStack()
    first.enter_context(collected_seldom())
    second.enter_context(collected_seldom())
    assert gc.get_threshold() == (OBJECTS, *usual[1:])
    first.close()
    assert gc.get_threshold() == (OBJECTS, *usual[1:])
    second.close()
    assert gc.get_threshold() == usual
