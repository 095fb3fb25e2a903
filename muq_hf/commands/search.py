"""`muq-hf search`: its arguments, and what it prints. Torch is imported when it runs."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from .exit_codes import DONE
from .options import Device, TableFormat


EXAMPLES = """
muq-hf embed songs/ --output songs.parquet
muq-hf search "calm piano, rainy mood" --index songs.parquet
muq-hf search --like song.mp3 --index songs.parquet --top-k 20 --m3u like-song.m3u8
muq-hf search - --index songs.parquet --format jsonl < questions.txt
"""
CHOICE = "Which results"


def run(
    index: Annotated[str, typer.Option(metavar="TABLE", help="FILE.parquet or FOLDER/ of `muq-hf embed`")],
    text: Annotated[
        str | None,
        typer.Argument(metavar="WORDS", help="what the music should be like; - reads a search per line from the standard input"),
    ] = None,
    like: Annotated[str | None, typer.Option(metavar="FILE", help="what it should be like, as a music file")] = None,
    model: Annotated[
        str | None, typer.Option(help="folder or Hub id of the table's model (default: the one that the table names)")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="branch, tag or commit of the model on the Hub (default: the table's)")
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="N", min=1, help="results", rich_help_panel=CHOICE)] = 10,
    per: Annotated[
        Literal["song", "part"],
        typer.Option(help="each song once, by its best part; or every part that the table holds", rich_help_panel=CHOICE),
    ] = "song",
    folder: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="only music from this folder", rich_help_panel=CHOICE)
    ] = None,
    output_format: TableFormat = "table",
    m3u: Annotated[
        str | None, typer.Option("--m3u", metavar="FILE.m3u8", help="write the songs found to a playlist, too")
    ] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="by a faiss index, for millions of vectors", rich_help_panel=CHOICE)
    ] = False,
    device: Device = "auto",
) -> int:
    """Words need a table of a MuQ-MuLan, which `muq-hf embed` makes by default; --like searches every table. A table with
    --chunk-length-s finds the part of a song, and its times.

    The first search makes a half-precision copy of the vectors beside the table; every later one reads that.
    """
    if (text is None) == (like is None):
        raise ValueError("ask by words or by --like FILE, one of the two.")
    if text is not None and not text.strip():
        raise ValueError("the search text is empty: say what the music should sound like.")
    for name, path in (("--index", index), ("--like", like)):
        if path is not None and "://" not in path and not os.path.exists(path):
            raise ValueError(f"{name} {path} does not exist.")
    if m3u is not None:
        from ..storage.playlists import require_playlist_name

        require_playlist_name(m3u)
    from ..inference.vector_index import VectorIndex

    table = VectorIndex(index, approximate)
    among = None if folder is None else table.rows_below(folder)
    show = PRINTERS[output_format](is_one_of_many=text == "-")
    songs = []
    for question, vector in _queries(table, text, like, model, revision, device):
        hits = table.find(vector, top_k, per == "song", among)
        show(question, hits)
        sys.stdout.flush()
        songs += [hit.path for hit in hits]
    if m3u is not None:
        from ..storage.playlists import write_playlist

        write_playlist(m3u, songs)
        print(f"{m3u}: {len(set(songs))} songs", file=sys.stderr)
    return DONE


def _queries(table, text: str | None, like: str | None, model: str | None, revision: str | None, device: str) -> Iterator:
    """→ (question, vector [P]) one after another; the model is loaded once."""
    from dataclasses import replace

    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.embed_model import encoder_of, load_embedding_model, window_plan
    from ..inference.embed_settings import EmbedSettings
    from ..inference.joint import JOINT_POOL, JointModel, made_with
    from ..inference.one_file import encode_song
    from ..storage.fingerprint import weights_hash

    if not table.settings:
        raise ValueError(f"{table.table} does not say which model made it: only tables of `muq-hf embed` can be searched.")
    settings = EmbedSettings.from_dict(table.settings)
    if like is None and settings.pool != JOINT_POOL:
        raise ValueError(
            f"{table.table} was made with {settings.model}, which knows no words: search it with --like FILE, or embed the music "
            "with a MuQ-MuLan, for instance --model muq-mulan-tiny."
        )
    name = model_or_default(model or settings.model, MUQ_MULAN_TINY)
    is_pinned = model is None and revision is None and not settings.revision.startswith("sha256:")
    if is_pinned:
        revision = settings.revision  # the commit that the table was made with, whatever came after it
    if like is None:
        if not is_pinned and not made_with(table.settings, name, revision):
            _warn_of_other_weights(name, settings.model)
        joint = JointModel(name, "text", revision, device)
        for line in sys.stdin if text == "-" else [text]:
            if line.strip():
                yield line.strip(), joint.embed_texts([line.strip()])[0]
        return
    _, loaded = load_embedding_model(name, revision, device, settings.dtype)
    if weights_hash(loaded) != settings.weights:
        _warn_of_other_weights(name, settings.model)
    whole = replace(settings, chunk_length_s=None)
    song = encode_song(like, encoder_of(loaded, whole), window_plan(loaded, whole))
    for _, _, vectors in song.segments(settings.pool):
        yield like, vectors[0]


def _warn_of_other_weights(name: str, of_table: str) -> None:
    print(
        f"the weights of {name} are not those that the table was made with ({of_table}): the order of the results means little. "
        "Embed the music again, or name that model.",
        file=sys.stderr,
    )


class _Table:
    """Prints hits as lines; of many questions, each is a heading."""

    def __init__(self, is_one_of_many: bool):
        self.is_one_of_many = is_one_of_many

    def __call__(self, question: str, hits: list) -> None:
        from ..storage.safe_text import printable

        if self.is_one_of_many:
            print(printable(question))
        for hit in hits:
            print(f"{hit.score:+.3f}  {_clock(hit.start)}–{_clock(hit.end)}  {printable(hit.path)}")
        if self.is_one_of_many:
            print()


class _Csv:
    """Prints one table; of many questions, the first column names the question."""

    def __init__(self, is_one_of_many: bool):
        self.is_one_of_many = is_one_of_many
        self.writer = csv.writer(sys.stdout)
        self.writer.writerow([*(["query"] if is_one_of_many else []), "cosine", "start", "end", "path"])

    def __call__(self, question: str, hits: list) -> None:
        from ..storage.safe_text import csv_cell

        first = [csv_cell(question)] if self.is_one_of_many else []
        for hit in hits:
            self.writer.writerow([*first, f"{hit.score:.6f}", f"{hit.start:.2f}", f"{hit.end:.2f}", csv_cell(hit.path)])


class _Jsonl:
    """Prints a line per hit; of many questions, each line names its question."""

    def __init__(self, is_one_of_many: bool):
        self.is_one_of_many = is_one_of_many

    def __call__(self, question: str, hits: list) -> None:
        first = {"query": question} if self.is_one_of_many else {}
        for hit in hits:
            line = {**first, "cosine": hit.score, "start": hit.start, "end": hit.end, "path": hit.path}
            print(json.dumps(line, ensure_ascii=False))


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{tenths // 600:3d}:{tenths % 600 / 10:04.1f}"


PRINTERS = {"table": _Table, "csv": _Csv, "jsonl": _Jsonl}
