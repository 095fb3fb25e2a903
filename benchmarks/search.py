"""Search among a million vectors, exact and by faiss: time of a warm query, memory of the process, and what faiss misses.

    python benchmarks/search.py [--rows 1000000] [--size 512] [--songs] [--approximate] [--json search.json]

Writes a table of random vectors as `muq-hf embed` would (2 GB for a million) with its half-precision copy (1 GB) into a scratch
folder, then searches it from a fresh process. With --songs the 20 rows of a song lie around a direction of its own, as parts of
music do. --approximate adds the time to build the faiss index and the share of the ten nearest that it finds. Exit code 1 if
a limit is passed. Needs 4 GB of disk.
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
ROWS_PER_SONG = 20
QUERIES_FOR_RECALL = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=512, help="of a vector")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--songs", action="store_true", help="rows of a song are near to each other")
    parser.add_argument("--approximate", action="store_true", help="measure the faiss index too")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.approximate)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "random.parquet"
        write_random_table(table, arguments.rows, arguments.size, arguments.songs)
        start = time.perf_counter()
        VectorIndex(table)
        copy_seconds = time.perf_counter() - start
        result = {"rows": arguments.rows, "size": arguments.size, "copy_seconds": copy_seconds, **measured(table)}
        if arguments.approximate:
            start = time.perf_counter()
            VectorIndex(table, approximate=True)
            result["faiss"] = {"build_seconds": time.perf_counter() - start, **measured(table, "--approximate")}
    result |= {"cores": os.cpu_count(), "machine": platform.processor() or platform.machine()}
    print(f"{'rows':>10} {'copy s':>8} {'first s':>8} {'warm s':>8} {'RssAnon MiB':>12} {'RssFile MiB':>12}")
    print(
        f"{result['rows']:>10} {copy_seconds:>8.1f} {result['first_seconds']:>8.2f} {result['warm_seconds']:>8.2f} "
        f"{result['anonymous_mib']:>12.0f} {result['file_mib']:>12.0f}"
    )
    if arguments.approximate:
        faiss = result["faiss"]
        print(
            f"faiss: built in {faiss['build_seconds']:.1f} s, first {1000 * faiss['first_seconds']:.1f} ms, warm "
            f"{1000 * faiss['warm_seconds']:.2f} ms, recall at {TOP_K} {faiss['recall']:.3f}, RssAnon "
            f"{faiss['anonymous_mib']:.0f} MiB"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return int(result["warm_seconds"] > MAX_SECONDS or result["anonymous_mib"] > MAX_ANONYMOUS_MIB)


def measured(table: Path, *options: str) -> dict:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", table, *options]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def write_random_table(path: Path, rows: int, size: int, songs: bool = False) -> None:
    random = np.random.default_rng(0)
    writer = None
    for first in range(0, rows, ROWS_PER_GROUP):
        count = min(ROWS_PER_GROUP, rows - first)
        vectors = random.standard_normal((count, size), dtype=np.float32)
        if songs:
            centres = random.standard_normal((count // ROWS_PER_SONG + 1, size), dtype=np.float32)
            vectors = 0.5 * vectors + np.repeat(centres, ROWS_PER_SONG, axis=0)[:count]
        columns = {
            "path": [f"songs/{row // ROWS_PER_SONG}.flac" for row in range(first, first + count)],
            "start": np.arange(first, first + count) % ROWS_PER_SONG * 10.0,
            "end": np.arange(first, first + count) % ROWS_PER_SONG * 10.0 + 10,
            "layer": np.full(count, -1, np.int32),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), size),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=["path"])
        writer.write_table(table)
    writer.close()


def measure(table: Path, approximate: bool) -> dict:
    """Seconds from query to named hits, the first time and warm (median), and the memory of this process afterwards.

    recall: of the ten nearest to vectors near to rows, the share that faiss finds.
    """
    index = VectorIndex(table, approximate)
    random = np.random.default_rng(1)
    queries = random.standard_normal((QUERIES, index.vector_size))
    seconds = []
    for query in queries:
        start = time.perf_counter()
        scores, rows = index.search(query[None], TOP_K)
        index.hits(scores[0], rows[0])
        seconds.append(time.perf_counter() - start)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = {}
    if approximate:
        rows = np.sort(random.choice(index.num_rows, QUERIES_FOR_RECALL, replace=False)).tolist()
        near = np.array([row["embedding"] for row in pq.read_table(table, columns=["embedding"]).take(rows).to_pylist()])
        near += 0.5 * random.standard_normal(near.shape)
        _, nearest = VectorIndex(table).search(near, TOP_K)
        _, given = index.search(near, TOP_K)
        found["recall"] = float(np.mean([len(set(a) & set(b)) / TOP_K for a, b in zip(nearest, given, strict=True)]))
    return found | {
        "first_seconds": seconds[0],
        "warm_seconds": statistics.median(seconds[1:]),
        "anonymous_mib": int(status["RssAnon"].split()[0]) / 1024,
        "file_mib": int(status["RssFile"].split()[0]) / 1024,
    }


if __name__ == "__main__":
    sys.exit(main())
