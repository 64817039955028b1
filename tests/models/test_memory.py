"""What the allocator keeps, in a process of its own, since its settings are the process's."""

import subprocess
import sys

import pytest

CODE = """
import sys
from ofa_det.models.memory import keep_freed_memory, release_freed_memory

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

assert keep_freed_memory()
before = resident_mb()
kept = [bytearray(b"x" * 2**20) for _ in range(300)]
kept = None
held = resident_mb() - before
release_freed_memory()
print(held, resident_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_until_it_is_released() -> None:
    held, left = map(float, subprocess.check_output([sys.executable, "-c", CODE], text=True).split())
    assert held > 250
    assert left < 50
