"""Ray on two nodes of loopback, S3 by moto: nodes, drivers and decoders that are killed, and a store that goes away.

The work is done by benchmarks/scale.py, whose other scenarios take longer.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checks import EXAMPLE_AUDIO


pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale.py"
SCENARIOS = ("node_killed", "finished_by_the_loop", "decoder_killed", "endpoint_down_for_good")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("songs")
    for copy in range(2):
        for clip in sorted(EXAMPLE_AUDIO.glob("*.ogg")):
            shutil.copy(clip, folder / f"{copy}_{clip.name}")
    command = [sys.executable, str(SCRIPT), str(folder), "--files-per-shard", "3", "--json", str(folder / "results.json")]
    result = subprocess.run([*command, "--scenarios", *SCENARIOS], capture_output=True, text=True, timeout=900)
    assert (folder / "results.json").exists(), result.stdout + result.stderr[-3000:]
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_on_a_cluster_ends_with_the_rows_of_one_process(results, scenario):
    assert results[scenario]["ok"], results[scenario]["told"]
