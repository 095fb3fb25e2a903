"""Exact search among a million vectors: time of a warm query and memory of the process.

    python benchmarks/search.py [--rows 1000000] [--size 512] [--json search.json]

Writes a table of random vectors as `muq-hf embed` would (2 GB for a million) with its half-precision copy (1 GB) into a scratch
folder, then searches it from a fresh process. Exit code 1 if a limit is passed. Needs 4 GB of disk.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from muq_hf.inference.vector_index import VectorIndex


MAX_SECONDS = 1.5  # a warm query
MAX_ANONYMOUS_MIB = 500  # memory of the process that is not a file's
QUERIES = 7
TOP_K = 10
ROWS_PER_GROUP = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=512, help="of a vector")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "random.parquet"
        write_random_table(table, arguments.rows, arguments.size)
        start = time.perf_counter()
        VectorIndex(table)
        copy_seconds = time.perf_counter() - start
        process = subprocess.run([sys.executable, __file__, "--measure", table], capture_output=True, text=True, check=True)
    result = {"rows": arguments.rows, "size": arguments.size, "copy_seconds": copy_seconds, **json.loads(process.stdout)}
    result |= {"cores": os.cpu_count(), "machine": platform.processor() or platform.machine()}
    print(f"{'rows':>10} {'copy s':>8} {'first s':>8} {'warm s':>8} {'RssAnon MiB':>12} {'RssFile MiB':>12}")
    print(
        f"{result['rows']:>10} {copy_seconds:>8.1f} {result['first_seconds']:>8.2f} {result['warm_seconds']:>8.2f} "
        f"{result['anonymous_mib']:>12.0f} {result['file_mib']:>12.0f}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return int(result["warm_seconds"] > MAX_SECONDS or result["anonymous_mib"] > MAX_ANONYMOUS_MIB)


def write_random_table(path: Path, rows: int, size: int) -> None:
    random = np.random.default_rng(0)
    writer = None
    for first in range(0, rows, ROWS_PER_GROUP):
        count = min(ROWS_PER_GROUP, rows - first)
        vectors = random.standard_normal((count, size), dtype=np.float32)
        columns = {
            "path": [f"songs/{row // 20}.flac" for row in range(first, first + count)],
            "start": np.arange(first, first + count) % 20 * 10.0,
            "end": np.arange(first, first + count) % 20 * 10.0 + 10,
            "layer": np.full(count, -1, np.int32),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), size),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=["path"])
        writer.write_table(table)
    writer.close()


def measure(table: Path) -> dict:
    """Seconds from query to named hits, the first time and warm (median), and the memory of this process afterwards."""
    index = VectorIndex(table)
    queries = np.random.default_rng(1).standard_normal((QUERIES, index.vector_size))
    seconds = []
    for query in queries:
        start = time.perf_counter()
        scores, rows = index.search(query[None], TOP_K)
        index.hits(scores[0], rows[0])
        seconds.append(time.perf_counter() - start)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "first_seconds": seconds[0],
        "warm_seconds": statistics.median(seconds[1:]),
        "anonymous_mib": int(status["RssAnon"].split()[0]) / 1024,
        "file_mib": int(status["RssFile"].split()[0]) / 1024,
    }


if __name__ == "__main__":
    sys.exit(main())
