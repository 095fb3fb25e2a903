"""Runs of `embed` that die: each in a forked child, killed as by `kill -9` before one of its file operations, or at any moment.

python tests/support/embedding_worker.py MODEL SONGS FOLDER TASK:OUTPUT…
"""

import builtins
import errno
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import pandas as pd
import torch

from muq_hf import MuQModel
from muq_hf.inference.embedding import embed_files


OPERATIONS = ("replace", "unlink", "mkdir", "rmdir", "fsync")
WRITING = ("fsync",)  # what a full disk refuses, and opening to write
OPTIONS = {"batch_size": 2, "workers": 0, "window_length_s": 0.5, "progress": False}
MOMENTS = 8  # of kills by the clock


def in_child(function) -> int:
    """→ exit code, negative for a signal; 3 for a ValueError, which refuses the run."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except ValueError:
            code = 3
        except OSError as error:
            code = 4 if "No space left" in str(error) else traceback.print_exc() or 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def before_operation(number: int, place: str, act, operations: tuple[str, ...]) -> None:
    """Have `act()` called before the operation `number` on files below `place`; reading is none."""
    count = [0]

    def counted(operation):
        def changed(*arguments, **options):
            path = arguments[0] if not isinstance(arguments[0], int) else place
            is_reading = operation is real_open and not set("wa+") & set(options.get("mode", (*arguments, "r")[1]))
            if str(path).startswith(place) and not is_reading:
                count[0] += 1
                if count[0] == number:
                    act()
            return operation(*arguments, **options)

        return changed

    real_open = builtins.open
    builtins.open = counted(real_open)
    for name in operations:
        setattr(os, name, counted(getattr(os, name)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def disk_is_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def rows_of(output: Path) -> dict[str, list]:
    """path → [end (s), vector or number of frames]"""
    if output.suffix == ".parquet":
        table = pd.read_parquet(output)
        assert table.path.is_unique
        return {row.path: [row.end, [float(x) for x in row.embedding]] for row in table.itertuples()}
    if (output / "manifest.jsonl").exists():
        lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
        return {line["path"]: [line["end"], [float(line["frames"])]] for line in lines}
    table = pd.concat(map(pd.read_parquet, sorted(output.glob("part-*.parquet"))))
    assert table.path.is_unique
    return {row.path: [row.end, [float(x) for x in row.embedding]] for row in table.itertuples()}


class Trial:
    """One output, embedded again and again from nothing."""

    def __init__(self, model: MuQModel, songs: list[str], output: str):
        self.model, self.songs = model, songs
        self.text = output
        self.output = Path(output)
        self.options = OPTIONS | ({"pool": "none"} if self.output.name == "frames" else {})
        if output.endswith("/"):
            self.options["files_per_shard"] = 1

    def embed(self, **options) -> None:
        embed_files(self.songs, self.model, self.text, **self.options, **options)

    def forget(self) -> None:
        for path in self.output.parent.glob(self.output.name + "*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def leftovers(self) -> list[str]:
        """What a finished run should have cleared away."""
        return [str(path) for path in self.output.parent.rglob("*") if path.name.endswith((".tmp", ".partial"))]


def cut_before_each(trial: Trial, act, operations: tuple[str, ...]) -> dict:
    """→ {"cuts": how many were tried, "codes": how those runs ended, "rows": how many different results, "left": …}"""
    codes, results, left = set(), [], []
    for number in range(1, 1000):
        trial.forget()

        def cut_run(number=number):
            before_operation(number, str(trial.output), act, operations)
            trial.embed()

        code = in_child(cut_run)
        if code == 0:  # there are no more operations
            break
        codes.add(code)
        assert in_child(lambda: trial.embed(resume=True)) == 0, number
        results.append(rows_of(trial.output))
        left += trial.leftovers()
    return {"cuts": len(results), "codes": sorted(codes), "results": results, "left": left}


def kill_at_random(trial: Trial) -> dict:
    """One run after the other is killed within the time that a whole one takes; then one is left in peace."""
    generator, codes, results, left = random.Random(0), set(), [], []
    trial.forget()
    started = time.monotonic()
    assert in_child(trial.embed) == 0
    whole = time.monotonic() - started  # seconds
    for _ in range(MOMENTS):
        trial.forget()
        resume = False
        for _ in range(3):
            delay = generator.uniform(0.0, whole)

            def killed_run(delay=delay, resume=resume):
                threading.Thread(target=lambda: (time.sleep(delay), die()), daemon=True).start()
                trial.embed(**({"resume": True} if resume else {}))

            codes.add(in_child(killed_run))
            resume = True
        assert in_child(lambda: trial.embed(resume=True)) == 0
        results.append(rows_of(trial.output))
        left += trial.leftovers()
    return {"cuts": MOMENTS, "codes": sorted(codes), "results": results, "left": left}


def three_writers(trial: Trial) -> dict:
    """Three processes begin the same run at once, five times: one does it, or one after the other; never two at a time."""
    codes, results = [], []
    for _ in range(5):
        trial.forget()
        pids = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    trial.embed(resume=True)
                    code = 0
                except ValueError as error:
                    code = 3 if "another run is writing" in str(error) else 5
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            pids.append(pid)
        codes.append(sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
        results.append(rows_of(trial.output))
    return {"cuts": 5, "codes": codes, "results": results, "left": trial.leftovers()}


TASKS = {
    "kill": lambda trial: cut_before_each(trial, die, OPERATIONS),
    "full": lambda trial: cut_before_each(trial, disk_is_full, WRITING),
    "random": kill_at_random,
    "writers": three_writers,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, songs, outputs, *tasks = sys.argv[1:]
    files = sorted(str(path) for path in Path(songs).iterdir())
    model = MuQModel.from_pretrained(folder).eval()
    reports = {}
    for task in tasks:
        name, _, output = task.partition(":")
        trial = Trial(model, files, f"{outputs}/{output}")
        reports[task] = TASKS[name](trial)
        trial.forget()
        trial.embed()
        reports[task]["unbroken"] = rows_of(trial.output)
        trial.forget()
    print(json.dumps(reports))
