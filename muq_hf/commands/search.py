"""`muq-hf search`: its arguments, and what it prints. Torch is imported when it runs."""

import argparse
import csv
import json
import sys


DESCRIPTION = """\
Find music by words, or by other music, among the vectors of a MuQ-MuLan. First embed the music, then ask:

  muq-hf embed songs/ --mulan --output songs.parquet --chunk-length-s 10
  muq-hf search "calm piano, rainy mood" --index songs.parquet
  muq-hf search --like song.mp3 --index songs.parquet

The first search makes a half-precision copy of the vectors beside the table; every later one reads that.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("text", nargs="?", help="what the music should be like, in words")
    parser.add_argument("--like", metavar="FILE", help="what it should be like, as a music file")
    parser.add_argument("--index", required=True, metavar="FILE.parquet", help="table made by `muq-hf embed` with a MuQ-MuLan")
    parser.add_argument("--model", help="folder or Hub id of that MuQ-MuLan (default: the one that the table names)")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the Hub (default: the table's)")
    parser.add_argument("--top-k", type=int, default=10, metavar="N", help="results (default: 10)")
    parser.add_argument("--format", default="table", choices=("table", "csv", "jsonl"), help="of the output (default: table)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")


def run(arguments: argparse.Namespace) -> int:
    if (arguments.text is None) == (arguments.like is None):
        raise ValueError("ask by words or by --like FILE, one of the two.")
    if arguments.text is not None and not arguments.text.strip():
        raise ValueError("the words to search for are empty: any order of the music would do.")
    from ..checkpoints import MUQ_MULAN_TINY, OWN, of_this_installation, or_own, say_whose
    from ..inference.joint import JOINT_POOL, JointModel, made_with
    from ..inference.vector_index import VectorIndex

    index = VectorIndex(arguments.index)
    settings = index.settings
    if settings.get("pool") != JOINT_POOL:
        raise ValueError(
            f"{arguments.index} was not made with a MuQ-MuLan: embed the music with one (`muq-hf embed --mulan`) to search in it."
        )
    name = or_own(arguments.model or of_this_installation(settings["model"]), MUQ_MULAN_TINY)
    if name in OWN:
        say_whose(name)
    revision = arguments.revision
    if revision is None and arguments.model is None and not settings["revision"].startswith("sha256:"):
        revision = settings["revision"]  # the commit that the table was made with, whatever came after it
    elif not made_with(settings, name, revision):
        print(
            f"the weights of {name} are not those that the table was made with ({settings['model']}): the order of the results "
            "means little. Embed the music again, or name that model.",
            file=sys.stderr,
        )
    model = JointModel(name, "audio" if arguments.text is None else "text", revision, arguments.device)
    if arguments.text is None:
        query = model.embed_file(arguments.like, settings["window_length_s"])
    else:
        query = model.embed_texts([arguments.text])[0]
    scores, rows = index.search(query[None], arguments.top_k)
    PRINTERS[arguments.format](index.hits(scores[0], rows[0]))
    return 0


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
