"""`muq-hf data check`: its arguments, and what it prints."""

from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE, DONE_WITH_FAILURES


EXAMPLES = """
muq-hf data check MUSIC
muq-hf data check MUSIC --manifest music.jsonl
"""


def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="folder of audio, JSONL manifest, or folder of a saved dataset")],
    manifest: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="write the sound tracks, each music once")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="threads that decode")] = 2,
) -> int:
    """The manifest lists what is sound, with durations, to train on: `muq-hf train ... --data music.jsonl`. Where DATA is a
    manifest, the lines of sound tracks stay with all their fields ("text", "tags", labels).
    """
    from ..training.data_check import check_data, report, sound_tracks, write_manifest

    if manifest:
        _check_target(Path(data), manifest)
    checked, skipped = check_data(data, workers)
    print(report(checked, skipped))
    if manifest:
        kept = sound_tracks(checked)
        write_manifest(kept, Path(data), manifest)
        print(f"{manifest}: {len(kept)} tracks")
    return DONE_WITH_FAILURES if skipped else DONE


def _check_target(data: Path, path: Path) -> None:
    """Raises ValueError, before hours of decoding, where no manifest can be written."""
    from ..training.tracks import is_saved_dataset

    if is_saved_dataset(data):
        raise ValueError("a manifest lists files; the rows of a saved dataset have none. Give the dataset's folder as --data.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"the folder of --manifest {path} does not exist: make it first.")
