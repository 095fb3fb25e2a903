"""A short run of the benchmark of kills; the long one is `python benchmarks/kills.py`."""

import subprocess
import sys
from pathlib import Path

import pytest


KILLS = Path(__file__).parent.parent / "benchmarks" / "kills.py"


@pytest.mark.slow
def test_killed_runs_end_as_unbroken_ones_and_what_is_done_is_kept(tmp_path):
    counts = ["--embed", "3", "--workers", "1", "--train", "0"]
    command = [sys.executable, KILLS, tmp_path / "scratch", *counts]
    report = tmp_path / "kills.md"
    first = subprocess.run([*command, "--report", report], capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "| a decoding worker | 1 |" in report.read_text()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout == first.stdout and again.stderr == ""
