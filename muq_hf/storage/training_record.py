"""`training_files.jsonl`, beside the weights: the files that a model was trained on, so that none of them is tested on."""

import os
from pathlib import Path

from transformers.utils import cached_file

from .json_lines import read_json_lines, to_json_lines


TRAINING_RECORD = "training_files.jsonl"


def read_record(model: str | os.PathLike) -> list[dict]:
    """The entries ("path", "name", "duration" and mostly "bytes", "sha256") of a model's folder or Hub id.

    [] if there is no record; a missing record never stops a training.
    """
    try:
        file = cached_file(str(model), TRAINING_RECORD, _raise_exceptions_for_missing_entries=False)
    except OSError:
        return []
    return [] if file is None else read_json_lines(file)


def write_record(folder: Path, entries: list[dict]) -> None:
    (folder / TRAINING_RECORD).write_text(to_json_lines(entries), encoding="utf-8")


def shorten_paths(folder: Path) -> None:
    """Keep the last folder and the name of each path, by which `muq-hf probe` recognises a track."""
    entries = read_record(folder)
    if entries:
        write_record(folder, [entry | {"path": "/".join(Path(entry["path"]).parts[-2:])} for entry in entries])
