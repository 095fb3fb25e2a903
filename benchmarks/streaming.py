"""Memory that streamed clips take in a training process: python benchmarks/streaming.py SONGS [--shards 4096] [--clips 500]

Cuts SONGS into four shards of clips of 30 s, names each of them many times over, so that there are as many shards as millions of
tracks give, and streams clips in a fresh process. Prints how much the process grew over torch, transformers and datasets loaded.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets  # noqa: F401  its memory is not the stream's

from muq_hf import MuQConfig
from muq_hf.training.clip_shards import META, StreamedClips, write_clip_shards
from muq_hf.training.clips import BlockMasking


CLIP_SECONDS = 30.0
WRITTEN = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", type=Path)
    parser.add_argument("--shards", type=int, default=4096)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.songs, arguments.clips)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clips"
        write_clip_shards(arguments.songs, folder, CLIP_SECONDS, num_shards=WRITTEN)
        meta = json.loads((folder / META).read_text())
        for number in range(WRITTEN, arguments.shards):
            (folder / f"shard-{number:05d}.parquet").symlink_to(folder / f"shard-{number % WRITTEN:05d}.parquet")
        meta["clips"] = [meta["clips"][number % WRITTEN] for number in range(arguments.shards)]
        (folder / META).write_text(json.dumps(meta))
        command = [sys.executable, __file__, folder, "--measure", "--clips", str(arguments.clips)]
        subprocess.run(command, check=True)


def measure(folder: Path, count: int) -> None:
    config = MuQConfig()
    before, started = peak_rss_mb(), time.perf_counter()
    clips = StreamedClips(folder, config, CLIP_SECONDS, seed=0, masking=BlockMasking.from_config(config))
    first = peak_rss_mb()
    taken = sum(1 for _ in itertools.islice(clips, count))
    seconds = time.perf_counter() - started
    shards = len(list(folder.glob("shard-*")))
    print(
        f"{clips.num_clips} clips named in {shards} shards: the stream took {first - before:.0f} MB to "
        f"open, and {peak_rss_mb() - before:.0f} MB at most over {taken} clips of {CLIP_SECONDS:g} s ({seconds:.0f} s)"
    )


def peak_rss_mb() -> float:
    """Since this program was started; `resource` would count the process that it was forked from."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
