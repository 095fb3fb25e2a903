"""Runs that are killed before each of their file operations, at random moments, on a full disk, or three at a time.

The work is done by tests/support/embedding_worker.py, which forks.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from embedding_fixtures import RATE, song


pytestmark = pytest.mark.slow
WORKER = Path(__file__).parents[1] / "support" / "embedding_worker.py"
SECONDS = (0.3, 1.1)


TASKS = (
    *("kill:e.parquet", "kill:frames", "kill:fragments/"),
    *("full:e.parquet", "full:frames", "full:fragments/"),
    "random:e.parquet",
    *("writers:e.parquet", "writers:fragments/"),
)


@pytest.fixture(scope="module")
def reports(model_folder, tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("kills")
    for name in ("songs", "out"):
        (folder / name).mkdir()
    for index, seconds in enumerate(SECONDS):
        soundfile.write(folder / "songs" / f"{index}.wav", song(seconds, index), RATE, subtype="FLOAT")
    command = [sys.executable, str(WORKER), str(model_folder), str(folder / "songs"), str(folder / "out"), *TASKS]
    result = subprocess.run(command, cwd=WORKER.parents[2], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def check(report: dict) -> None:
    """Every run that was begun again ended with the rows of an unbroken one, and cleared away what was left."""
    assert report["left"] == []
    for rows in report["results"]:
        assert rows.keys() == report["unbroken"].keys()
        for path, (end, vector) in rows.items():
            assert end == report["unbroken"][path][0]
            np.testing.assert_allclose(vector, report["unbroken"][path][1], atol=1e-5)


@pytest.mark.parametrize("output", ["e.parquet", "frames", "fragments/"])
def test_a_run_killed_before_any_file_operation_resumes_to_the_whole(reports, output):
    report = reports[f"kill:{output}"]
    assert report["codes"] == [-9] and report["cuts"] > 15
    check(report)


@pytest.mark.parametrize("output", ["e.parquet", "frames", "fragments/"])
def test_a_full_disk_ends_a_run_with_that_error_and_it_resumes_to_the_whole(reports, output):
    report = reports[f"full:{output}"]
    assert report["codes"] == [4] and report["cuts"] > 8
    check(report)


def test_a_run_killed_at_random_moments_resumes_to_the_whole(reports):
    report = reports["random:e.parquet"]
    assert -9 in report["codes"] and set(report["codes"]) <= {-9, 0}
    check(report)


@pytest.mark.parametrize("output", ["e.parquet", "fragments/"])
def test_of_three_writers_at_once_one_does_the_work_and_none_harms_it(reports, output):
    report = reports[f"writers:{output}"]
    assert all(set(codes) <= {0, 3} and 0 in codes for codes in report["codes"])
    assert any(3 in codes for codes in report["codes"])
    check(report)
