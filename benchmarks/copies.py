"""Which MP3 copies of songs the page folds into one hit, and which other songs.

    python benchmarks/copies.py SONGS [--others TABLE]

Encodes SONGS (a folder; ffmpeg is needed) at 64, 96 and 128 kbit/s, embeds them with muq-mulan-tiny in parts of 10 s, and
compares each copy with its original. --others: a table or folder of fragments whose songs are compared with each other.
"""

import argparse
import subprocess
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np

from muq_hf.audio import find_audio
from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.embedding import embed_files
from muq_hf.serving.collection import Collection
from muq_hf.serving.hubs import SAME_LENGTH, is_same_recording


RATES = (64, 96, 128)  # kbit/s
NO_LABELS = {"labels": ["any"], "label_vectors": np.ones((1, 128), np.float32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", type=Path)
    parser.add_argument("--others", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        originals = embedded(arguments.songs, Path(scratch) / "originals.parquet")
        place = {Path(path).stem: song for song, path in enumerate(originals.paths)}
        for rate in RATES:
            folder = Path(scratch) / str(rate)
            folder.mkdir()
            for song in find_audio([arguments.songs]):
                command = ["ffmpeg", "-v", "error", "-i", song, "-map", "0:a:0", "-b:a", f"{rate}k"]
                subprocess.run([*command, folder / f"{Path(song).stem}.mp3"], check=True, stdin=subprocess.DEVNULL)
            copies = embedded(folder, folder / "copies.parquet")
            pairs = [(place[Path(path).stem], copy) for copy, path in enumerate(copies.paths)]
            cosines = [float(originals.song_vectors[song] @ copies.song_vectors[copy]) for song, copy in pairs]
            folded = sum(are_folded(originals, song, copies, copy) for song, copy in pairs)
            print(
                f"{rate} kbit/s: {folded} of {len(pairs)} folded; cosine of the mean vectors: median {np.median(cosines):.3f}, "
                f"least {min(cosines):.3f}"
            )
    if arguments.others:
        others = Collection(arguments.others, **NO_LABELS)
        pairs = list(combinations(range(len(others)), 2))
        alike = [pair for pair in pairs if abs(others.durations[pair[0]] - others.durations[pair[1]]) <= SAME_LENGTH]
        folded = [pair for pair in alike if are_folded(others, pair[0], others, pair[1])]
        print(f"{len(others)} songs: of {len(pairs)} pairs {len(alike)} have the same length, and {len(folded)} are folded")
        for pair in folded:
            print("  " + ", ".join(others.paths[song] for song in pair))


def embedded(songs: Path, table: Path) -> Collection:
    embed_files(songs, MUQ_MULAN_TINY, table, chunk_length_s=10, workers=1, progress=False)
    return Collection(table, **NO_LABELS)


def are_folded(first: Collection, song: int, second: Collection, other: int) -> bool:
    is_as_long = abs(first.durations[song] - second.durations[other]) <= SAME_LENGTH
    return bool(is_as_long and is_same_recording(first.parts(song)[1], second.parts(other)[1]))


if __name__ == "__main__":
    main()
