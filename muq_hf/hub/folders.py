"""Output folders that are complete or absent, and take only weights and settings from a stranger's folder."""

import fnmatch
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..storage.training_record import shorten_paths


# What a model's folder may take along. Not code, pickles, optimizer states, hidden files, nor the card: it is written anew.
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "training_files.jsonl",
    "attribution.jsonl",
    "LICENSE*",
    "NOTICE*",
)
CODE_REFERENCES = ("auto_map", "custom_pipelines")  # fields of JSON files by which transformers finds code to run


@contextmanager
def new_folder(output: str | Path) -> Iterator[Path]:
    """Give a folder to write into; it becomes `output` when the block ends well and disappears when it fails.

    Raises FileExistsError if `output` exists and is not an empty folder.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} exists already; name a new folder, or remove it first.")
    unfinished = output.with_name(output.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if output.exists():
            output.rmdir()
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def copy_model_files(model: Path, folder: Path) -> None:
    """Copy the listed files of a trained model, without references to code and without the folders of its training music.

    Symbolic links are left out, except those inside the Hub's cache of the same model.
    """
    blobs = (model.resolve().parent.parent / "blobs").resolve()
    for file in sorted(model.iterdir()):
        is_listed = any(fnmatch.fnmatchcase(file.name, pattern) for pattern in MODEL_FILES)
        is_inside = not file.is_symlink() or file.resolve().parent == blobs
        if is_listed and is_inside and file.is_file():
            shutil.copy(file, folder)
    drop_code_references(folder)
    shorten_paths(folder)


def drop_code_references(folder: Path) -> None:
    """Take the fields that name code to run out of every JSON file. Raises ValueError for one that cannot be read."""
    for file in folder.glob("*.json"):
        try:
            content = json.loads(file.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file.name} is no readable JSON file ({type(error).__name__}: {error}).") from None
        cleaned = _without_code_references(content)
        if cleaned != content:
            file.write_text(json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _without_code_references(content):
    if isinstance(content, dict):
        return {key: _without_code_references(value) for key, value in content.items() if key not in CODE_REFERENCES}
    return [_without_code_references(value) for value in content] if isinstance(content, list) else content
