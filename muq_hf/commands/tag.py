"""`muq-hf tag`: its arguments, and what it prints. Torch is imported when it runs."""

import csv
import json
import sys
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
    """For every song the labels that fit best, with the cosine of music and text."""
    if top_k < 0:
        raise ValueError(f"--top-k must be 0 (all labels) or more, got {top_k}.")
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.joint import JointModel
    from ..inference.sources import collect_inputs
    from ..inference.tagging import read_labels, tag_files
    from ..storage.safe_text import printable

    words, repeated = read_labels(labels)
    if repeated:
        print(f"{labels}: labels that come more than once count once: {', '.join(repeated)}", file=sys.stderr)
    paths = collect_inputs(inputs)
    name = model_or_default(model, MUQ_MULAN_TINY, revision)
    joint = JointModel(name, "both", revision, device)
    scores = tag_files(paths, words, joint, template, not quiet)
    rows = []
    for path, cosines in zip(scores.paths, scores.cosines, strict=True):
        best = (-cosines).argsort(kind="stable")[: top_k or len(words)]
        rows.append((path, [(words[index], float(cosines[index])) for index in best]))
    PRINTERS[output_format](rows)
    for path, message in scores.failures.items():
        print(printable(f"{path}: {message}"), file=sys.stderr)
    return DONE_WITH_FAILURES if scores.failures else DONE


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
