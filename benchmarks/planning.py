"""What the plan of a run costs on the driver: python benchmarks/planning.py [--files 1000000]

Writes an S3 Inventory with sizes and ETags into a scratch folder, then reads it, deals the files out to shards and saves the
plan, in a fresh process. Prints seconds, the size of the plan's table, and how much the process grew.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from muq_hf.inference.file_lists import collect_files
from muq_hf.inference.shard_plan import FILES_PER_SHARD, PLAN_NAME, ShardPlan
from muq_hf.storage.remote import Folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory() as scratch:
        inventory = Path(scratch) / "inventory.parquet"
        write_inventory(inventory, arguments.files)
        subprocess.run([sys.executable, __file__, "--measure", inventory], check=True)


def write_inventory(path: Path, count: int) -> None:
    columns = {
        "bucket": pa.array(["music"] * count).dictionary_encode(),
        "key": [f"songs/{number % 997:03d}/{number:07d}.flac" for number in range(count)],
        "size": 10_000_000 + np.arange(count),
        "e_tag": [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(count)],
    }
    pq.write_table(pa.table(columns), path)


def measure(inventory: Path) -> None:
    pc.match_substring_regex(pa.array(["a"]), "a")  # code that is loaded at the first call is not the plan's
    before, cpu, wall = peak_rss_mb(), time.process_time(), time.perf_counter()
    plan = ShardPlan.of_files(collect_files(inventory), FILES_PER_SHARD)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = peak_rss_mb() - before
    plan.save(Folder(inventory.parent / "run"))
    size = (inventory.parent / "run" / PLAN_NAME).stat().st_size / 1e6
    print(
        f"{len(plan)} files in {len(plan.numbers)} shards: {cpu:.2f} s of CPU, {wall:.2f} s; a table of "
        f"{plan.table.nbytes / 1e6:.0f} MB; the process grew by {grown:.0f} MB, and by {peak_rss_mb() - before:.0f} MB with the "
        f"plan saved ({size:.0f} MB)"
    )


def peak_rss_mb() -> float:
    """Since this program was started; `resource` would count the process that it was forked from."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
