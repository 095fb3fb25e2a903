"""`muq-hf tag`: its arguments, and what it prints. Torch is imported when it runs."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from .exit_codes import DONE, DONE_WITH_FAILURES
from .extras import require
from .options import Device, Inputs, Quiet, Revision, TableFormat


EXAMPLES = """
muq-hf tag songs/ --labels labels.txt
muq-hf tag song.mp3 --labels moods.txt --template "{} music" --top-k 3 --format csv
muq-hf tag songs/ --model RUN/final
muq-hf tag song.mp3 --model RUN/final --over-time pictures/
"""


def run(
    inputs: Inputs,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE.txt", help="text file with a label per line; a classifier has its own")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="folder or Hub id of a MuQ-MuLan or of a classifier (default: the package's muq-mulan-tiny)"),
    ] = None,
    revision: Revision = None,
    template: Annotated[str, typer.Option(help="text of a label, with {} in its place")] = "{}",
    top_k: Annotated[int, typer.Option(metavar="N", help="labels per file; 0: all")] = 5,
    over_time: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="for each file the scores over time: a table, arrays and a picture")
    ] = None,
    output_format: TableFormat = "table",
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """For every song the labels that fit best: with a MuQ-MuLan by the cosine of music and text, with a classifier that
    `muq-hf train classifier` made by its scores.

    INPUT may also be a table or folder of vectors that `muq-hf embed` made with a MuQ-MuLan: then the music itself is not read.
    """
    if top_k < 0:
        raise ValueError(f"--top-k must be 0 (all labels) or more, got {top_k}.")
    if labels is None and model is None:
        raise ValueError("--labels FILE.txt is needed, or a classifier as --model.")
    if over_time:
        require("matplotlib")
    from ..audio import AudioError
    from ..inference.sources import collect_inputs
    from ..inference.table_files import is_table
    from ..inference.taggers import write_over_time
    from ..storage.safe_text import printable

    if len(inputs) == 1 and is_table(inputs[0]):
        if labels is None or over_time:
            raise ValueError(f"{inputs[0]} is a table of vectors, tagged with --labels FILE.txt and as a whole.")
        PRINTERS[output_format](_rows_of_table(inputs[0], _words(labels), model, revision, template, top_k, device), "cosine")
        return DONE
    tagger = _tagger(labels, model, revision, template, device)
    paths = collect_inputs(inputs)
    rows, failures = [], {}
    for path in tqdm(paths, unit="file", disable=quiet or len(paths) < 2):
        try:
            found = tagger(path)
        except AudioError as error:
            failures[path] = str(error)
            continue
        rows.append((path, _best(tagger.labels, found.scores, top_k)))
        if over_time:
            write_over_time(found, tagger.labels, Path(path).name, over_time, _file_name(path, paths))
    PRINTERS[output_format](rows, tagger.measure)
    if over_time:
        print(f"written: {len(rows)} tables, arrays and pictures in {over_time}", file=sys.stderr)
    for path, message in failures.items():
        print(printable(f"{path}: {message}"), file=sys.stderr)
    return DONE_WITH_FAILURES if failures else DONE


def _tagger(labels: str | None, model: str | None, revision: str | None, template: str, device: str):
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.joint import JointModel
    from ..inference.taggers import ClassifierTagger, WordTagger, has_own_labels

    name = model_or_default(model, MUQ_MULAN_TINY, revision)
    if has_own_labels(name, revision):
        if labels is not None:
            raise ValueError(f"{name} has labels of its own: leave --labels out, or choose a MuQ-MuLan.")
        return ClassifierTagger(name, revision, device)
    if labels is None:
        raise ValueError(f"{name} is a MuQ-MuLan: give the words as --labels FILE.txt.")
    return WordTagger(JointModel(name, "both", revision, device), _words(labels), template)


def _words(labels: str) -> list[str]:
    from ..inference.tagging import read_labels

    words, repeated = read_labels(labels)
    if repeated:
        print(f"{labels}: labels that come more than once count once: {', '.join(repeated)}", file=sys.stderr)
    return words


def _file_name(path: str, paths: list[str]) -> str:
    """The song's name, with its folder's where two songs have the same."""
    names = [Path(other).stem for other in paths]
    return Path(path).stem if names.count(Path(path).stem) == 1 else f"{Path(path).parent.name}-{Path(path).name}"


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


def _print_table(rows: list, measure: str) -> None:
    from ..storage.safe_text import printable

    for path, scores in rows:
        print(printable(path))
        for label, cosine in scores:
            print(f"  {cosine:+.3f}  {printable(label)}")


def _print_csv(rows: list, measure: str) -> None:
    from ..storage.safe_text import csv_cell

    writer = csv.writer(sys.stdout)
    writer.writerow(("path", "label", measure))
    writer.writerows((csv_cell(path), csv_cell(label), f"{cosine:.6f}") for path, scores in rows for label, cosine in scores)


def _print_jsonl(rows: list, measure: str) -> None:
    for path, scores in rows:
        print(json.dumps({"path": path, "tags": dict(scores)}, ensure_ascii=False))


PRINTERS = {"table": _print_table, "csv": _print_csv, "jsonl": _print_jsonl}
