"""Output folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..storage.training_record import forget_places


LEFT_BEHIND = ("README.md", "training_args.bin")  # they name places on the machine of the training


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
    """The files of a trained model, without code and card, and without what tells where on its machine the music lay."""
    for file in model.iterdir():
        if file.is_file() and file.suffix != ".py" and file.name not in LEFT_BEHIND:
            shutil.copy2(file, folder)
    forget_places(folder)
