"""`muq-hf data check`: its arguments, and what it prints."""

import argparse
from pathlib import Path


DESCRIPTION = """\
Decode all music once and report hours, sampling rates, channels, silence, broken files and duplicates.

  muq-hf data check MUSIC
  muq-hf data check MUSIC --manifest music.jsonl    list what is sound, with durations, to train on: --data music.jsonl

Of a manifest, the lines of sound tracks stay with all that they say ("text", "tags", labels).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("action", choices=("check",))
    parser.add_argument("data", metavar="DATA", help="folder of audio, JSONL manifest, or folder of a saved dataset")
    parser.add_argument("--manifest", metavar="FILE.jsonl", help="write the sound tracks, each music once")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode (default: 2)")


def run(arguments: argparse.Namespace) -> int:
    from ..training.data_check import check_data, report, sound_tracks, write_manifest

    if arguments.manifest:
        _check_target(Path(arguments.data), Path(arguments.manifest))
    checked, skipped = check_data(arguments.data, arguments.workers)
    print(report(checked, skipped))
    if arguments.manifest:
        kept = sound_tracks(checked)
        write_manifest(kept, Path(arguments.data), Path(arguments.manifest))
        print(f"{arguments.manifest}: {len(kept)} tracks")
    return 1 if skipped else 0


def _check_target(data: Path, path: Path) -> None:
    """Raises ValueError, before hours of decoding, where no manifest can be written."""
    from ..training.tracks import is_saved_dataset

    if is_saved_dataset(data):
        raise ValueError("a manifest lists files; the rows of a saved dataset have none. Give the dataset's folder as --data.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"the folder of --manifest {path} does not exist: make it first.")
