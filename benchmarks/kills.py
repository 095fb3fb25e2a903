"""Runs that are killed at random moments by `kill -9`: do they end, once resumed, with what an unbroken run gives?

    python benchmarks/kills.py SCRATCH [--embed 50] [--workers 20] [--train 3] [--seed 0] [--seconds S] [--report FILE.md]

Kills `muq-hf embed` (a table, a folder of fragments and frames in turn), decoding workers of one that goes on, and
`muq-hf train all` in each of its stages, on `examples/audio`. Moments are drawn from --seed and lie between the first file
that a run writes and its end; where the run was quicker, the next moment is drawn. What is done is kept in SCRATCH: the same
command continues, and with --seconds it stops after about so long. Exit code: 0 all equal, 1 some not, 3 not all done yet.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from safetensors.numpy import load_file


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

import torch  # noqa: E402
from training_runs import CONFIG  # noqa: E402

from muq_hf.cli import main as main_of_muq_hf  # noqa: E402
from muq_hf.inference import embedding  # noqa: E402, F401 (imported before the runs are forked)
from muq_hf.training import chain  # noqa: E402, F401


MUSIC = ROOT / "examples" / "audio"
EMBED = ("--model", "muq-tiny", "--workers", "2", "--quiet")
OUTPUTS = {"table": "e.parquet", "fragments": "fragments/", "frames": "frames"}
ROWS = {
    ("embed", "table"): "`embed`, one table",
    ("embed", "fragments"): "`embed`, a folder of fragments",
    ("embed", "frames"): "`embed`, frames",
    ("worker", "table"): "a decoding worker",
    ("train", "mel_rvq"): "`train all` in stage 1 (Mel-RVQ)",
    ("train", "muq"): "`train all` in stage 2 (MuQ)",
    ("train", "iterate"): "`train all` in its iteration",
}
STAGES = {"mel_rvq": ("mel_rvq",), "muq": ("muq",), "iterate": ("round_1/latent_rvq", "round_1/muq")}  # folders of each
TOLERANCE = 1e-5  # of vectors: windows of a resumed run meet in other batches; weights have to be equal bit for bit
ORPHAN_SECONDS = 15.0  # within which the workers of a killed run have to end
POLL_SECONDS = 0.005
TEMPORARY = (".tmp", ".partial", ".old")
DONE, DIFFERENT, UNFINISHED = 0, 1, 3


@dataclass
class Trial:
    """One run that was killed. delay: seconds after its first file (of workers: after the first one started); quicker: runs
    that ended before their moment."""

    kind: str
    case: str
    number: int = 0
    delay: float = 0.0
    quicker: int = 0
    faults: list[str] = field(default_factory=list)
    difference: float = 0.0  # the largest of any value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path, help="folder for runs and what is done so far")
    parser.add_argument("--embed", type=int, default=50, metavar="N", help="kills of `muq-hf embed`")
    parser.add_argument("--workers", type=int, default=20, metavar="N", help="kills of its decoding workers")
    parser.add_argument("--train", type=int, default=3, metavar="N", help="kills of `muq-hf train all` in each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after the trial that is at work then")
    parser.add_argument("--report", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    deadline = time.monotonic() + (arguments.seconds or float("inf"))
    scratch = arguments.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    record = scratch / f"trials-{arguments.seed}.jsonl"
    trials = [Trial(**json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []
    done = {(trial.kind, trial.number) for trial in trials}
    wanted = list(plan(arguments))
    for kind, number, case in wanted:
        if (kind, number) in done:
            continue
        if time.monotonic() > deadline:
            return UNFINISHED
        trial = TRIALS[kind](scratch, case, random.Random(f"{arguments.seed} {kind} {number}"))
        trial.number = number
        with record.open("a") as file:
            file.write(json.dumps(vars(trial)) + "\n")
        trials.append(trial)
        print(f"{kind} {number}, {case}: {'; '.join(trial.faults) or 'equal'}", file=sys.stderr, flush=True)
    chosen = [trial for trial in trials if (trial.kind, trial.number, trial.case) in wanted]
    table = table_of(chosen)
    print(table)
    if arguments.report:
        arguments.report.write_text(page(arguments, table))
    return DIFFERENT if any(trial.faults for trial in chosen) else DONE


def plan(arguments) -> Iterator[tuple[str, int, str]]:
    """(kind, number, case) of each trial."""
    for number in range(arguments.embed):
        yield "embed", number, list(OUTPUTS)[number % len(OUTPUTS)]
    for number in range(arguments.workers):
        yield "worker", number, "table"
    for number in range(arguments.train * len(STAGES)):
        yield "train", number, list(STAGES)[number % len(STAGES)]


# Processes


def start(command: list[str]) -> Process:
    """`muq-hf` with these arguments, in a fork of this process: it has imported everything already."""
    process = get_context("fork").Process(target=run_silently, args=(command,))
    process.start()
    return process


def run_silently(command: list[str]) -> None:
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silence, stream)
    code = 1
    try:
        code = main_of_muq_hf(command)
    finally:
        os._exit(code)


def exit_code(process: Process) -> int:
    process.join()
    return process.exitcode


def run(command: list[str]) -> list[str]:
    """Run to the end → what went wrong."""
    code = exit_code(start(command))
    return [f"exit code {code}: muq-hf {' '.join(command)}"] if code else []


def wait_for(process: Process, condition) -> float | None:
    """→ when the condition came true; None if the process ended before."""
    while process.is_alive():
        if condition():
            return time.monotonic()
        time.sleep(POLL_SECONDS)
    return None


def kill_after(process: Process, delay: float) -> list[psutil.Process] | None:
    """Kill the process after `delay` seconds → the children that it had; None if it ended before."""
    process.join(delay)
    children = children_of(process)
    process.kill()
    return children if exit_code(process) == -signal.SIGKILL else None


def children_of(process: Process) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


def faults_of_orphans(children: list[psutil.Process]) -> list[str]:
    """Children of a killed run that do not end by themselves; they are ended."""
    _, alive = psutil.wait_procs(children, ORPHAN_SECONDS)
    for child in alive:
        child.kill()
    return [f"{len(alive)} workers outlived the run by {ORPHAN_SECONDS:g} s"] if alive else []


# Embedding


def embed_command(folder: Path, case: str, *more: str) -> list[str]:
    options = {"table": (), "fragments": ("--files-per-shard", "2"), "frames": ("--pool", "none")}[case]
    cut = () if case == "frames" else ("--chunk-length-s", "5")
    where = f"{folder}/{OUTPUTS[case]}"
    return ["embed", str(MUSIC), "--output", where, *EMBED, *cut, *options, *more]


def unbroken_embedding(scratch: Path, case: str) -> tuple[Path, dict[str, float]]:
    """→ the folder of a run in peace, and how long it wrote and decoded (s)."""
    folder = scratch / "unbroken" / case
    times = folder / "times.json"
    if not times.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        process = start(embed_command(folder, case))
        decoding = wait_for(process, lambda: children_of(process))
        writing = wait_for(process, lambda: any(folder.iterdir())) or time.monotonic()
        wait_for(process, lambda: not children_of(process))
        decoded = time.monotonic()
        if exit_code(process) or decoding is None:
            raise RuntimeError(f"the unbroken run failed: muq-hf {' '.join(embed_command(folder, case))}")
        times.write_text(json.dumps({"writing": time.monotonic() - writing, "decoding": decoded - decoding}))
    return folder, json.loads(times.read_text())


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def kill_embed(scratch: Path, case: str, generator: random.Random) -> Trial:
    unbroken, seconds = unbroken_embedding(scratch, case)
    trial, children = Trial("embed", case), None
    while children is None:
        folder = fresh(scratch / "broken")
        process = start(embed_command(folder, case))
        wait_for(process, lambda folder=folder: any(folder.iterdir()))
        trial.delay = generator.uniform(0.0, seconds["writing"])
        children = kill_after(process, trial.delay)
        trial.quicker += children is None
    trial.faults = faults_of_orphans(children) + run(embed_command(folder, case, "--resume"))
    compare_rows(trial, folder, unbroken)
    return trial


def kill_worker(scratch: Path, case: str, generator: random.Random) -> Trial:
    unbroken, seconds = unbroken_embedding(scratch, case)
    trial, is_killed = Trial("worker", case), False
    while not is_killed:
        folder = fresh(scratch / "broken")
        process = start(embed_command(folder, case))
        wait_for(process, lambda process=process: children_of(process))
        trial.delay = generator.uniform(0.0, seconds["decoding"])
        time.sleep(trial.delay)
        workers = children_of(process)
        if workers:
            try:
                generator.choice(workers).kill()
                is_killed = True
            except psutil.NoSuchProcess:
                pass
        trial.quicker += not is_killed
        code = exit_code(process)
    trial.faults = [f"exit code {code}"] if code else []
    compare_rows(trial, folder, unbroken)
    return trial


def rows_of(output: Path) -> dict[tuple[str, float], tuple[float, np.ndarray]]:
    """(path, start in s) → (end in s, its vector, or its frames)"""
    if (output / "manifest.jsonl").exists():
        lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
        rows = [(line["path"], line["start"], line["end"], load_file(output / line["file"])["frames"]) for line in lines]
    else:
        files = [output] if output.is_file() else sorted(output.glob("part-*.parquet"))
        table = pd.concat(map(pd.read_parquet, files))
        rows = list(zip(table.path, table.start, table.end, table.embedding, strict=True))
    found = {(path, start): (end, values) for path, start, end, values in rows}
    assert len(found) == len(rows), "a row stands twice"
    return found


def compare_rows(trial: Trial, folder: Path, unbroken: Path) -> None:
    """Add what differs, and what a finished run should have cleared away."""
    if trial.faults:
        return
    found, expected = rows_of(folder / OUTPUTS[trial.case]), rows_of(unbroken / OUTPUTS[trial.case])
    if found.keys() != expected.keys():
        trial.faults.append(f"{len(found)} rows, and {len(expected)} of the unbroken run")
        return
    for row, (end, values) in expected.items():
        if found[row][0] != end or found[row][1].shape != values.shape:
            trial.faults.append(f"{row} is another part of the file than in the unbroken run")
            return
        trial.difference = max(trial.difference, float(np.abs(found[row][1] - values).max()))
    if trial.difference > TOLERANCE:
        trial.faults.append(f"vectors differ by {trial.difference:.2g}")
    left = [path.name for path in folder.rglob("*") if path.name.endswith(TEMPORARY)]
    trial.faults += [f"left behind: {', '.join(left)}"] if left else []


# Training


def train_command(folder: Path, *more: str) -> list[str]:
    config = folder.parent / "train.json"
    config.write_text(json.dumps(CONFIG))
    return ["train", "all", str(config), "--data", str(MUSIC), "--output", str(folder), *more]


def unbroken_training(scratch: Path) -> Path:
    folder = scratch / "unbroken" / "training"
    if not (folder / "final").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        if faults := run(train_command(folder)):
            raise RuntimeError(f"the unbroken run failed: {faults[0]}")
    return folder


def kill_training(scratch: Path, case: str, generator: random.Random) -> Trial:
    unbroken = unbroken_training(scratch)
    trial, is_killed = Trial("train", case), False
    while not is_killed:
        stage = generator.choice(STAGES[case])
        seconds = (unbroken / stage / "final").stat().st_ctime - (unbroken / stage / "settings.json").stat().st_ctime
        folder = fresh(scratch / "broken") / "training"
        process = start(train_command(folder))
        wait_for(process, (folder / stage / "settings.json").exists)
        trial.delay = generator.uniform(0.0, seconds)
        is_killed = kill_after(process, trial.delay) is not None and not (folder / stage / "final").exists()
        trial.quicker += not is_killed
    trial.faults = run(train_command(folder, "--resume"))
    if not trial.faults:
        compare_weights(trial, folder, unbroken)
    return trial


def compare_weights(trial: Trial, folder: Path, unbroken: Path) -> None:
    files = sorted(file.relative_to(unbroken) for file in unbroken.rglob("final/*.safetensors"))
    for file in files:
        found, expected = load_file(folder / file), load_file(unbroken / file)
        if found.keys() != expected.keys():
            trial.faults.append(f"{file} holds other tensors")
            continue
        for name, tensor in expected.items():
            trial.difference = max(trial.difference, float(np.abs(found[name] - tensor).max(initial=0.0)))
    if trial.difference:
        trial.faults.append(f"weights differ by {trial.difference:.2g}")
    left = [path.name for path in folder.rglob("*") if path.name.endswith(TEMPORARY)]
    trial.faults += [f"left behind: {', '.join(left)}"] if left else []


TRIALS = {"embed": kill_embed, "worker": kill_worker, "train": kill_training}


# Report


def table_of(trials: list[Trial]) -> str:
    lines = [
        "| what is killed | kills | moments (s after its first file) | ended before its moment | equal to the unbroken run "
        "| largest difference |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for (kind, case), what in ROWS.items():
        own = [trial for trial in trials if (trial.kind, trial.case) == (kind, case)]
        if own:
            delays = [trial.delay for trial in own]
            equal = sum(not trial.faults for trial in own)
            lines.append(
                f"| {what} | {len(own)} | {min(delays):.1f} to {max(delays):.1f} | {sum(trial.quicker for trial in own)} "
                f"| {equal} | {max(trial.difference for trial in own):.1g} |"
            )
    faults = [f"- {trial.kind} {trial.number}, {trial.case}: {'; '.join(trial.faults)}" for trial in trials if trial.faults]
    return "\n".join(lines + ([""] + faults if faults else []))


def page(arguments, table: str) -> str:
    counts = f"--embed {arguments.embed} --workers {arguments.workers} --train {arguments.train} --seed {arguments.seed}"
    return f"""# Runs that were killed and resumed

    python benchmarks/kills.py SCRATCH {counts} --report benchmarks/results/kills.md

`kill -9` at random moments, on the six files of `examples/audio` with muq-tiny and with tiny models in training. `embed` and
`train all` were resumed by the same command with `--resume`; of decoding workers the run itself went on. Rows are equal with
the same paths, starts and ends and values within {TOLERANCE:g}; weights are equal bit for bit, in every stage. No temporary file
and no worker may be left behind.

{table}
"""


if __name__ == "__main__":
    sys.exit(main())
