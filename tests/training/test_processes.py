"""Several processes, and processes that die. The work is done by tests/training_worker.py in processes of its own."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import write_music


pytestmark = pytest.mark.slow  # real processes
WORKER = Path(__file__).parent.parent / "support" / "training_worker.py"
ROOT = WORKER.parents[2]
STAGES = ("mel_rvq", "muq", "round_1/latent_rvq", "round_1/muq")


def work(*arguments) -> str:
    command = [sys.executable, "-W", "ignore", str(WORKER), *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, env=environment())
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def environment() -> dict:
    import os

    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{WORKER.parent}", "HF_HUB_OFFLINE": "1"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(folder of an unbroken chain, folder of one killed in every stage, exit codes)."""
    folder = tmp_path_factory.mktemp("killed")
    output = work("kill", write_music(folder / "music"), folder / "unbroken", folder / "broken")
    return folder / "unbroken", folder / "broken", json.loads(output.splitlines()[-1])


def test_chain_survives_a_kill_in_each_stage(killed):
    assert killed[2] == [0, -9, -9, -9, -9, 0]


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_weights_are_those_of_an_unbroken_run(killed, stage):
    unbroken, broken = weights(killed[0] / stage), weights(killed[1] / stage)
    assert unbroken.keys() == broken.keys()
    assert all(torch.allclose(unbroken[name].double(), broken[name].double(), atol=1e-5) for name in unbroken)


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_metrics_have_every_step_once(killed, stage):
    def steps(run):
        rows = map(json.loads, (run / stage / "metrics.jsonl").read_text().splitlines())
        return [(row["step"], row["loss"]) for row in rows if "loss" in row]

    assert steps(killed[0]) == steps(killed[1])


@pytest.mark.parametrize("stage", STAGES)
def test_loss_falls_in_each_stage(killed, stage):
    """By 2 % between the first and the last logged steps: the runs have 8 updates only."""
    rows = map(json.loads, (killed[0] / stage / "metrics.jsonl").read_text().splitlines())
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.98 * losses[0]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    work("ranks", write_music(folder / "music"), folder, free_port())
    return folder


def test_two_processes_train_as_one_that_accumulates(ranks):
    """Losses and weights; the running statistics of the batch norms belong to the batches of one process."""
    one, two = weights(ranks / "one"), weights(ranks / "two")
    names = [name for name in one if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in names)

    def losses(run):
        rows = map(json.loads, (ranks / run / "metrics.jsonl").read_text().splitlines())
        return [row["loss"] for row in rows if "loss" in row]

    assert losses("one") == pytest.approx(losses("two"), abs=1e-4)


def test_two_processes_evaluate_every_clip_once(ranks):
    """Three clips for two processes: a fourth, that fills up the last batch, is not counted."""

    def evaluation(run):
        rows = map(json.loads, (ranks / run / "metrics.jsonl").read_text().splitlines())
        return next(row for row in rows if "eval_loss" in row)

    one, two = evaluation("one"), evaluation("two")
    assert one["eval_masked_tokens"] == two["eval_masked_tokens"]
    assert one["eval_codebook_1/target_perplexity"] == pytest.approx(two["eval_codebook_1/target_perplexity"])


def test_all_processes_replace_the_same_codes_by_the_same_vectors(ranks):
    first, second = (torch.load(ranks / f"rank{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in first["state"])


def test_a_code_is_unused_only_if_no_process_used_it(ranks):
    first, second = (torch.load(ranks / f"rank{rank}.pt") for rank in (0, 1))
    codebook = "steps.0.codebook.weight"
    used = first["first_codes"].unique().tolist() + second["first_codes"].unique().tolist()
    assert torch.equal(first["state"][codebook][used], first["before"][used])
    unused = [code for code in range(32) if code not in used]
    assert (first["state"][codebook][unused] != first["before"][unused]).any(dim=1).all()


def test_fully_sharded_model_computes_the_same(ranks):
    result = json.loads((ranks / "fsdp.json").read_text())
    assert all(result["wrapped"])
    assert result["loss"][0] == pytest.approx(result["loss"][1], abs=1e-6) and result["gradient"] < 1e-6


def test_two_ranks_take_no_clip_twice_and_lose_none_also_after_a_resumption(tmp_path):
    work("stream", write_music(tmp_path / "music", 8, 6.0), tmp_path, free_port())

    def taken(run: str) -> list[list[int]]:
        return [list(map(int, (tmp_path / f"{run}-{rank}").read_text().split())) for rank in range(2)]

    whole, broken, resumed = taken("whole"), taken("broken"), taken("broken-resumed")
    batch, kept = 2, 4  # clips of a micro-batch; updates in the last checkpoint
    for rank in range(2):
        assert broken[rank][: kept * batch] + resumed[rank] == whole[rank]
    assert len(whole[0]) == len(whole[1]) == 6 * batch
    clips = json.loads((tmp_path / "shards" / "clips.json").read_text())["clips"]
    assert sum(clips) >= 12 * batch and len({*whole[0], *whole[1]}) == 12 * batch, "within an epoch all are different"
    listed = (tmp_path / "broken" / "final" / "training_files.jsonl").read_text()
    assert "sha256" in listed
