"""A short run of the fuzzer; the long one is `python benchmarks/fuzz.py`."""

import subprocess
import sys
from pathlib import Path

import pytest


FUZZ = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"


@pytest.mark.slow
def test_damaged_and_hostile_inputs_neither_crash_nor_hang():
    counts = ["--files", "500", "--manifests", "200", "--configs", "20", "--playlists", "10"]
    run = subprocess.run([sys.executable, FUZZ, *counts], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
