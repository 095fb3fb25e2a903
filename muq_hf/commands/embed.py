"""`muq-hf embed`: its arguments, and what it prints. Torch is imported when it runs."""

import os
import shlex
import sys
from collections import Counter
from typing import Annotated, Literal

import typer

from .exit_codes import DONE, DONE_WITH_FAILURES
from .options import Device, Inputs, Pool, Quiet, Revision


EXAMPLES = """
muq-hf embed songs/ --output songs.parquet
muq-hf embed songs/ --output parts.parquet --chunk-length-s 10
muq-hf embed songs/ --output frames/ --model muq-tiny --pool none
muq-hf embed songs/ --output encoder.parquet --model muq-tiny --layer 1,2,3
"""


def run(
    inputs: Inputs,
    output: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="FILE.parquet; FOLDER/ or s3://BUCKET/FOLDER/ for many files; with --pool none a folder"
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="folder or Hub id of a MuQ-MuLan or MuQ, also in the published format; or muq-mulan-tiny (default) or muq-tiny"
        ),
    ] = None,
    mulan: Annotated[bool, typer.Option("--mulan", hidden=True)] = False,
    revision: Revision = None,
    layer: Annotated[
        str,
        typer.Option(metavar="N,...", help="hidden state to take: 0 = front end, -1 = last layer; several as 4,8,12: a row each"),
    ] = "-1",
    pool: Annotated[Literal[Pool, "none"], typer.Option(help="over time")] = "mean",
    chunk_length_s: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="one row for every S seconds; a rest below 1 s joins the row before (default: one per file)"
        ),
    ] = None,
    window_length_s: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="most audio the model sees at once; longer audio is cut into windows (default: 30; MuQ-MuLan: its clip length)",
        ),
    ] = None,
    stride_length_s: Annotated[
        float, typer.Option(metavar="S", help="context on each side of a window that is not counted twice")
    ] = 0.0,
    device: Device = "auto",
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="of the weights")] = "float32",
    batch_size: Annotated[int, typer.Option(metavar="N", help="windows at once")] = 8,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="decoding processes (default: one per core but one, at most 16)")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue a run, or add files; settings must be the same")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing output")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="of a FOLDER/: try the files that failed again (with --resume)")
    ] = False,
    files_per_shard: Annotated[
        int | None, typer.Option(metavar="N", help="of a FOLDER/: files of each fragment (default: 2048)")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="of a FOLDER/: do part I of N, from 0, as one job of an array")
    ] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="of a FOLDER/: this process, or a Ray cluster")] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="of the Ray cluster, or auto (default: one on this machine)")
    ] = None,
    gpus_per_worker: Annotated[float | None, typer.Option(metavar="N", help="with Ray (default: 1 where there are GPUs)")] = None,
    cpus_per_worker: Annotated[
        float | None, typer.Option(metavar="N", help="with Ray; all but one decode (default: 16, or what a node has)")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """A MuQ-MuLan gives one vector per file, which `muq-hf search` finds by words and by other music; with --chunk-length-s one
    for every part, to search within songs. A MuQ gives the mean of its frames, 25 per second, of the chosen --layer; with
    --pool none all frames are written: one safetensors file per song, and manifest.jsonl.

    A run that was cut off loses the songs in progress at most: the same command with --resume (in place of --overwrite) continues
    it, and adds new files to a finished output. Files that cannot be embedded are listed with the reason: in
    songs.failures.jsonl beside the table, with --pool none in failures.jsonl in the folder, of a FOLDER/ in its
    _muq_hf/failures.jsonl.

    A FOLDER/ gets a table for every 2,048 files; it may lie in an object store, as may the music. See docs/scale.md.

    Exit code: 0 all embedded, 1 some files failed, 2 wrong use, 130 interrupted.
    """
    if model and mulan:
        raise ValueError("--mulan is short for --model muq-mulan-tiny, and --model names another: choose one.")
    layers = _layers(layer)
    _check_places(inputs, output, pool)
    part = None if shard is None else _part(shard)
    if engine == "local" and (address or gpus_per_worker is not None or cpus_per_worker is not None):
        raise ValueError("--address, --gpus-per-worker and --cpus-per-worker are for --engine ray.")
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.embedding import embed_files

    model = model_or_default(model, MUQ_MULAN_TINY, revision)
    ray_engine = None
    if engine == "ray":
        from ..inference.ray_engine import RayEngine

        ray_engine = RayEngine(model, revision, dtype, batch_size, address, gpus_per_worker, cpus_per_worker)
        device = "cpu"  # of the process that only plans
    try:
        report = embed_files(
            inputs,
            model,
            output,
            layer=layers,
            pool=pool,
            chunk_length_s=chunk_length_s,
            window_length_s=window_length_s,
            stride_length_s=stride_length_s,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            workers=workers,
            revision=revision,
            resume=resume,
            overwrite=overwrite,
            retry_failed=retry_failed,
            files_per_shard=files_per_shard,
            part=part,
            engine=ray_engine,
            progress=not quiet,
        )
    except KeyboardInterrupt:
        change = "--resume in place of --overwrite" if overwrite else "--resume"
        print(f"muq-hf embed: what is done is kept; the same command with {change} continues.", file=sys.stderr)
        raise
    speed = report.audio_seconds / report.seconds
    done = report.files - len(report.failures)
    kind = "files of frames" if pool == "none" else "rows"
    if report.rows:
        print(
            f"{report.output}: {report.rows} {kind}; {done} of {report.files} input files embedded, "
            f"{report.audio_seconds:.1f} s of audio in {report.seconds:.1f} s ({speed:.1f} audio-s/s)"
        )
    if report.failures:
        reasons = Counter(failure.reason for failure in report.failures)
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        print(f"{len(report.failures)} files failed ({counts}): see {report.failures_file}", file=sys.stderr)
    for error in report.errors:
        print(f"{error}; the same command with --resume tries it again.", file=sys.stderr)
    if not report.rows:
        print(f"none of the {report.files} input files could be embedded: {report.output} is not written.", file=sys.stderr)
    elif pool != "none" and str(report.output).endswith(".parquet") and not quiet:
        print(f"next: {_search_command(report.output)}")
    return DONE_WITH_FAILURES if report.failures or report.errors else DONE


def _check_places(inputs: list[str], output: str, pool: str) -> None:
    """Raises ValueError, before torch is imported, for an output of another kind and for inputs none of which is there."""
    if pool != "none" and not output.lower().endswith((".parquet", "/")):
        raise ValueError(f"--output must be a file that ends in .parquet or a folder that ends in '/', got {output!r}.")
    if not any("://" in item or os.path.lexists(item) for item in inputs):
        raise ValueError(f"there is no file or folder {' or '.join(inputs)}.")


def _search_command(table: os.PathLike) -> str:
    """What to do with the table: words find vectors of a joint space, other vectors are found by music alone."""
    from ..inference.joint import JOINT_POOL
    from ..inference.parquet_store import read_settings

    question = '"calm piano"' if read_settings(table).pool == JOINT_POOL else "--like SONG"
    return f"muq-hf search {question} --index {shlex.quote(os.fspath(table))}"


def _part(text: str) -> tuple[int, int]:
    """ "3/64" → (3, 64)"""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard takes two numbers such as 3/64, got {text!r}.")
    return int(index), int(count)


def _layers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--layer takes whole numbers separated by commas, got {text!r}.") from None
