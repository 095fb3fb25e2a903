"""Memory once used stays with a command's process."""

import subprocess
import sys

import pytest


PAGE_FAULTS = """
import resource, torch
from muq_hf.allocator import reuse_memory
if {reuse}:
    reuse_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(16_000_000)  # 64 MB: more than glibc ever keeps of its own accord
before = faults()
for _ in range(20):
    torch.ones(16_000_000)
print(faults() - before)
"""


def page_faults(reuse: bool) -> int:
    command = [sys.executable, "-c", PAGE_FAULTS.format(reuse=reuse)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_large_tensors_come_from_kept_memory():
    assert page_faults(reuse=True) < 0.5 * page_faults(reuse=False)
