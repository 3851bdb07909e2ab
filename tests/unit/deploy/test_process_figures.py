"""What the kernel says of processes: of the program that runs, and not of who has started it."""

from __future__ import annotations

import os
import subprocess
import sys

from deploy.local.process_figures import forget_peak, peak_bytes, resident_bytes
from tests.kit.servers import ROOT

LARGE_BYTES = 256 << 20
OWN_PEAK = """
import os, resource
from deploy.local.process_figures import peak_bytes

print(peak_bytes(os.getpid()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_the_peak_of_a_program_is_not_that_of_who_has_started_it():
    assert len(b"x" * LARGE_BYTES) == LARGE_BYTES
    done = subprocess.run(
        [sys.executable, "-c", OWN_PEAK], cwd=ROOT, capture_output=True, check=True
    )
    its_own, inherited = map(int, done.stdout.split())
    assert its_own < LARGE_BYTES < inherited


def test_a_peak_is_kept_until_it_is_forgotten():
    pid = os.getpid()
    assert len(b"x" * LARGE_BYTES) == LARGE_BYTES
    assert peak_bytes(pid) > resident_bytes(pid) + LARGE_BYTES // 2
    forget_peak(pid)
    assert peak_bytes(pid) < resident_bytes(pid) + LARGE_BYTES // 2


def test_a_process_that_is_gone_has_no_memory():
    process = subprocess.Popen(["true"])
    process.wait()
    assert peak_bytes(process.pid) == resident_bytes(process.pid) == 0
