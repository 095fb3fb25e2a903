"""Bulk embedding: music files → one Parquet table of vectors, a folder of such tables, or frames per file."""

import operator
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..models.pooling_muq import check_pool
from ..storage.manifests import BadLine
from ..storage.remote import Folder, is_remote
from .embed_job import EmbedJob, EmbedReport, Engine
from .embed_model import EmbeddingModel, load_embedding_model, settings_of
from .embed_run import STATE, EmbedRun
from .file_lists import collect_files
from .folder_output import embed_to_folder
from .frame_output import embed_to_frames
from .frame_store import FrameStore
from .shards import default_workers
from .table_output import embed_to_table, partial_folder


def embed_files(
    inputs: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike | EmbeddingModel,
    output: str | os.PathLike,
    *,
    layer: int | Sequence[int] = -1,
    pool: str = "mean",
    chunk_length_s: float | None = None,
    window_length_s: float | None = None,
    stride_length_s: float = 0.0,
    device: str = "auto",
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int | None = None,
    revision: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    files_per_shard: int | None = None,
    part: tuple[int, int] | None = None,
    engine: Engine | None = None,
    progress: bool = True,
) -> EmbedReport:
    """Embed audio files, folders and manifests (see `collect_files`) into `output`.

    One row per file and layer, pooled over all of its frames; with `chunk_length_s` one row per chunk of that length. Audio
    longer than `window_length_s` (default: 30, or what a MuQ-MuLan hears at once) is seen in windows, each with
    `stride_length_s` of context on both sides. A MuQ-MuLan gives the vectors of its joint space, of length 1; `layer` and
    `pool` stay as they are.

    `output` is FILE.parquet; or a folder that ends in "/", on a disk or in an object store (s3://bucket/name/), which gets a
    fragment `part-*.parquet` for every `files_per_shard` files; or with `pool="none"` a folder of frames [T, D], one
    safetensors file per audio file.

    A loaded `model` stays where it is and as it is, but for its mode: it is put into evaluation mode. `resume` continues a run
    that was cut off, and adds new files to a finished output; `overwrite` replaces it. Files that cannot be embedded are
    listed in the report and in `failures_file`, and are not in the output; in a folder they are tried again with
    `retry_failed` (and `resume`), or when they have changed. `part=(3, 64)` does every 64th shard, from shard 3 on, for an
    array of 64 jobs on one folder; `engine` has the shards done elsewhere (`ray_engine`).
    Raises ValueError for wrong options, other settings than those of the output to resume, and inputs without any file, and
    StorageError for an object store that does not answer.
    """
    started = time.monotonic()
    layers = [operator.index(index) for index in (layer if isinstance(layer, Iterable) else [layer])]
    embed = check_output(output, pool, layers, chunk_length_s, resume, overwrite, part is not None)
    _check_folder_options(embed is embed_to_folder, part, engine, files_per_shard, retry_failed, overwrite)
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, got {batch_size}.")
    bad_lines: list[BadLine] = []
    files = collect_files(inputs, bad_lines.append)
    name, model = load_embedding_model(model, revision, device, dtype)
    settings = settings_of(name, model, layers, pool, chunk_length_s, window_length_s, stride_length_s)
    workers = default_workers() if workers is None else workers
    job = EmbedJob(
        model=model,
        settings=settings,
        batch_size=batch_size,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        files_per_shard=files_per_shard,
        retry_failed=retry_failed,
        part=part,
        engine=engine,
        bad_lines={f"{line.manifest}:{line.number}": str(line) for line in bad_lines},
    )
    return replace(embed(files, output, job), seconds=time.monotonic() - started)


def check_output(
    output: str | os.PathLike,
    pool: str,
    layers: list[int],
    chunk_length_s: float | None,
    resume: bool,
    overwrite: bool,
    may_join: bool = False,
):
    """Everything about the output that can be refused before the model is loaded → the function that writes this kind."""
    text = os.fspath(output)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"--output {os.fsencode(text)!r} is no UTF-8: Parquet and JSON cannot name it; choose another."
        ) from None
    check_pool(pool)
    if resume and overwrite:
        raise ValueError("--resume keeps what is there and --overwrite replaces it: choose one.")
    if pool == "none" and chunk_length_s is not None:
        raise ValueError("--chunk-length-s makes rows of pooled vectors; --pool none writes all frames of a file.")
    if pool == "none" and len(layers) > 1:
        raise ValueError(f"--pool none writes the frames of one layer, got {len(layers)} layers.")
    refuses_existing = not (resume or overwrite)
    if pool == "none":
        if is_remote(text):
            raise ValueError(f"--pool none writes to a folder on a disk, got {text!r}.")
        FrameStore.check_output(Path(text))
        _check_existing(Path(text), FrameStore.exists(Path(text)), refuses_existing)
        return embed_to_frames
    if text.endswith("/"):
        folder = Folder(text)
        folder.check_writable(STATE)
        if refuses_existing and not may_join and EmbedRun.exists(folder):
            raise ValueError(f"{text} holds a run: --resume continues it and adds new files, --overwrite replaces it.")
        return embed_to_folder
    if is_remote(text):
        raise ValueError(f"an object store takes a folder of tables: end --output in '/', got {text!r}.")
    if not text.lower().endswith(".parquet") or os.path.isdir(text):
        raise ValueError(f"--output must be a file that ends in .parquet or a folder that ends in '/', got {text!r}.")
    _check_existing(Path(text), os.path.exists(text), refuses_existing)
    return embed_to_table


def _check_existing(output: Path, exists: bool, refuses_existing: bool) -> None:
    if refuses_existing and EmbedRun.exists(partial_folder(output)):
        raise ValueError(f"an unfinished run of {output} is there: --resume continues it, --overwrite starts again.")
    if refuses_existing and exists:
        raise ValueError(f"{output} exists: --resume adds new files to it, --overwrite replaces it.")


def _check_folder_options(
    is_folder: bool,
    part: tuple[int, int] | None,
    engine: Engine | None,
    files_per_shard: int | None,
    retry_failed: bool,
    overwrite: bool,
) -> None:
    """Raises ValueError for options of a folder of fragments where there is none, or that contradict each other."""
    given = {"--shard": part, "--engine": engine, "--files-per-shard": files_per_shard, "--retry-failed": retry_failed or None}
    names = [name for name, value in given.items() if value is not None]
    if names and not is_folder:
        raise ValueError(f"{', '.join(names)}: for a folder of fragments only; end --output in '/'.")
    if files_per_shard is not None and files_per_shard < 1:
        raise ValueError(f"--files-per-shard must be at least 1, got {files_per_shard}.")
    if part is not None and (overwrite or engine is not None):
        raise ValueError("--shard is one job of many on one folder: leave --overwrite and --engine out.")
    if part is not None and not 0 <= part[0] < part[1]:
        raise ValueError(f"--shard must be one of 0/{part[1]} to {part[1] - 1}/{part[1]}, got {part[0]}/{part[1]}.")
