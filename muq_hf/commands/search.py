"""`muq-hf search`: its arguments, and what it prints. Torch is imported when it runs."""

import csv
import json
import sys
from typing import Annotated

import typer

from .exit_codes import DONE
from .options import Device, TableFormat


EXAMPLES = """
muq-hf embed songs/ --output songs.parquet --chunk-length-s 10
muq-hf search "calm piano, rainy mood" --index songs.parquet
muq-hf search --like song.mp3 --index songs.parquet
"""


def run(
    index: Annotated[str, typer.Option(metavar="FILE.parquet", help="table made by `muq-hf embed` with a MuQ-MuLan")],
    text: Annotated[str | None, typer.Argument(metavar="WORDS", help="what the music should be like")] = None,
    like: Annotated[str | None, typer.Option(metavar="FILE", help="what it should be like, as a music file")] = None,
    model: Annotated[
        str | None, typer.Option(help="folder or Hub id of that MuQ-MuLan (default: the one that the table names)")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="branch, tag or commit of the model on the Hub (default: the table's)")
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="N", help="results")] = 10,
    output_format: TableFormat = "table",
    device: Device = "auto",
) -> int:
    """The first search makes a half-precision copy of the vectors beside the table; every later one reads that."""
    if (text is None) == (like is None):
        raise ValueError("ask by words or by --like FILE, one of the two.")
    if text is not None and not text.strip():
        raise ValueError("the search text is empty: say what the music should sound like.")
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.joint import JOINT_POOL, JointModel, made_with
    from ..inference.vector_index import VectorIndex

    table = VectorIndex(index)
    settings = table.settings
    if settings.get("pool") != JOINT_POOL:
        raise ValueError(
            f"{index} was not made with a MuQ-MuLan: embed the music with one, for instance with --model muq-mulan-tiny."
        )
    name = model_or_default(model or settings["model"], MUQ_MULAN_TINY)
    if revision is None and model is None and not settings["revision"].startswith("sha256:"):
        revision = settings["revision"]  # the commit that the table was made with, whatever came after it
    elif not made_with(settings, name, revision):
        print(
            f"the weights of {name} are not those that the table was made with ({settings['model']}): the order of the results "
            "means little. Embed the music again, or name that model.",
            file=sys.stderr,
        )
    joint = JointModel(name, "audio" if text is None else "text", revision, device)
    if text is None:
        query = joint.embed_file(like, settings["window_length_s"])
    else:
        query = joint.embed_texts([text])[0]
    scores, rows = table.search(query[None], top_k)
    PRINTERS[output_format](table.hits(scores[0], rows[0]))
    return DONE


def _print_table(hits: list) -> None:
    for hit in hits:
        print(f"{hit.score:+.3f}  {_clock(hit.start)}–{_clock(hit.end)}  {hit.path}")


def _print_csv(hits: list) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(("cosine", "start", "end", "path"))
    writer.writerows((f"{hit.score:.6f}", f"{hit.start:.2f}", f"{hit.end:.2f}", hit.path) for hit in hits)


def _print_jsonl(hits: list) -> None:
    for hit in hits:
        print(json.dumps({"cosine": hit.score, "start": hit.start, "end": hit.end, "path": hit.path}, ensure_ascii=False))


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{tenths // 600:3d}:{tenths % 600 / 10:04.1f}"


PRINTERS = {"table": _print_table, "csv": _print_csv, "jsonl": _print_jsonl}
