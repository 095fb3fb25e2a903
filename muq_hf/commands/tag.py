"""`muq-hf tag`: its arguments, and what it prints. Torch is imported when it runs."""

import argparse
import csv
import json
import sys


DESCRIPTION = """\
Score music files against words with a MuQ-MuLan.

  muq-hf tag songs/ --labels labels.txt
      for every song the labels that fit best, with the cosine of music and text
  muq-hf tag song.mp3 --labels moods.txt --template "{} music" --top-k 3 --format csv
"""
EXIT_FAILED_FILES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("inputs", nargs="+", metavar="FILE", help="audio file, folder or manifest, as for `muq-hf embed`")
    parser.add_argument("--labels", required=True, help="text file with a label per line")
    parser.add_argument("--model", help="folder or Hub id of a MuQ-MuLan (default: the package's muq-mulan-tiny)")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the Hub")
    parser.add_argument("--template", default="{}", help="text of a label, with {} in its place (default: the label alone)")
    parser.add_argument("--top-k", type=int, default=5, metavar="N", help="labels per file (default: 5; 0: all)")
    parser.add_argument("--format", default="table", choices=("table", "csv", "jsonl"), help="of the output (default: table)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from ..checkpoints import MUQ_MULAN_TINY, or_own
    from ..inference.joint import JointModel
    from ..inference.sources import collect_inputs
    from ..inference.tagging import read_labels, tag_files

    if arguments.top_k < 0:
        raise ValueError(f"--top-k must be 0 (all labels) or more, got {arguments.top_k}.")
    labels, repeated = read_labels(arguments.labels)
    if repeated:
        print(f"{arguments.labels}: labels that come more than once count once: {', '.join(repeated)}", file=sys.stderr)
    paths = collect_inputs(arguments.inputs)
    name = or_own(arguments.model, MUQ_MULAN_TINY, arguments.revision)
    model = JointModel(name, "both", arguments.revision, arguments.device)
    scores = tag_files(paths, labels, model, arguments.template, not arguments.quiet)
    rows = []
    for path, cosines in zip(scores.paths, scores.cosines, strict=True):
        best = (-cosines).argsort(kind="stable")[: arguments.top_k or len(labels)]
        rows.append((path, [(labels[index], float(cosines[index])) for index in best]))
    PRINTERS[arguments.format](rows)
    for path, message in scores.failures.items():
        print(f"{path}: {message}", file=sys.stderr)
    return EXIT_FAILED_FILES if scores.failures else 0


def _print_table(rows: list) -> None:
    for path, scores in rows:
        print(path)
        for label, cosine in scores:
            print(f"  {cosine:+.3f}  {label}")


def _print_csv(rows: list) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(("path", "label", "cosine"))
    writer.writerows((path, label, f"{cosine:.6f}") for path, scores in rows for label, cosine in scores)


def _print_jsonl(rows: list) -> None:
    for path, scores in rows:
        print(json.dumps({"path": path, "tags": dict(scores)}, ensure_ascii=False))


PRINTERS = {"table": _print_table, "csv": _print_csv, "jsonl": _print_jsonl}
