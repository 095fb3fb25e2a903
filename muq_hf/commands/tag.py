"""`muq-hf tag`: its arguments, and what it prints. Torch is imported when it runs."""

import csv
import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from .exit_codes import DONE, DONE_WITH_FAILURES
from .options import Device, Inputs, Quiet, Revision, TableFormat


EXAMPLES = """
muq-hf tag songs/ --labels labels.txt
muq-hf tag song.mp3 --labels moods.txt --template "{} music" --top-k 3 --format csv
"""


def run(
    inputs: Inputs,
    labels: Annotated[str, typer.Option(metavar="FILE.txt", help="text file with a label per line")],
    model: Annotated[
        str | None, typer.Option(help="folder or Hub id of a MuQ-MuLan (default: the package's muq-mulan-tiny)")
    ] = None,
    revision: Revision = None,
    template: Annotated[str, typer.Option(help="text of a label, with {} in its place")] = "{}",
    top_k: Annotated[int, typer.Option(metavar="N", help="labels per file; 0: all")] = 5,
    output_format: TableFormat = "table",
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """For every song the labels that fit best, with the cosine of music and text. INPUT may also be a table or folder of vectors
    that `muq-hf embed` made with a MuQ-MuLan: then the music itself is not read.
    """
    if top_k < 0:
        raise ValueError(f"--top-k must be 0 (all labels) or more, got {top_k}.")
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.joint import JointModel
    from ..inference.sources import collect_inputs
    from ..inference.table_files import is_table
    from ..inference.tagging import read_labels, tag_files
    from ..storage.safe_text import printable

    words, repeated = read_labels(labels)
    if repeated:
        print(f"{labels}: labels that come more than once count once: {', '.join(repeated)}", file=sys.stderr)
    if len(inputs) == 1 and is_table(inputs[0]):
        PRINTERS[output_format](_rows_of_table(inputs[0], words, model, revision, template, top_k, device))
        return DONE
    paths = collect_inputs(inputs)
    name = model_or_default(model, MUQ_MULAN_TINY, revision)
    joint = JointModel(name, "both", revision, device)
    scores = tag_files(paths, words, joint, template, not quiet)
    rows = []
    for path, cosines in zip(scores.paths, scores.cosines, strict=True):
        rows.append((path, _best(words, cosines, top_k)))
    PRINTERS[output_format](rows)
    for path, message in scores.failures.items():
        print(printable(f"{path}: {message}"), file=sys.stderr)
    return DONE_WITH_FAILURES if scores.failures else DONE


def _rows_of_table(table: str, words: list[str], model, revision, template: str, top_k: int, device: str) -> Iterator:
    """(path, best labels) of each song of a table of vectors; the music is not read again."""
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.joint import JOINT_POOL, JointModel, made_with
    from ..inference.table_files import TableFiles
    from ..inference.tagging import tag_table

    files = TableFiles(table)
    settings = files.settings
    if settings.get("pool") != JOINT_POOL:
        raise ValueError(f"{table} holds vectors of {settings.get('model')}, which knows no words: embed with a MuQ-MuLan.")
    name = model_or_default(model or settings["model"], MUQ_MULAN_TINY, revision)
    if not made_with(settings, name, revision):
        raise ValueError(f"{table} was made with other weights than {name}: name the model that made it by --model.")
    for path, cosines in tag_table(files, words, JointModel(name, "text", revision, device), template):
        yield path, _best(words, cosines, top_k)


def _best(words: list[str], cosines, top_k: int) -> list[tuple[str, float]]:
    order = (-cosines).argsort(kind="stable")[: top_k or len(words)]
    return [(words[index], float(cosines[index])) for index in order]


def _print_table(rows: list) -> None:
    from ..storage.safe_text import printable

    for path, scores in rows:
        print(printable(path))
        for label, cosine in scores:
            print(f"  {cosine:+.3f}  {printable(label)}")


def _print_csv(rows: list) -> None:
    from ..storage.safe_text import csv_cell

    writer = csv.writer(sys.stdout)
    writer.writerow(("path", "label", "cosine"))
    writer.writerows((csv_cell(path), csv_cell(label), f"{cosine:.6f}") for path, scores in rows for label, cosine in scores)


def _print_jsonl(rows: list) -> None:
    for path, scores in rows:
        print(json.dumps({"path": path, "tags": dict(scores)}, ensure_ascii=False))


PRINTERS = {"table": _print_table, "csv": _print_csv, "jsonl": _print_jsonl}
