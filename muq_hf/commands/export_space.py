"""`muq-hf export space`: its arguments, and what it prints."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE
from .extras import require
from .options import NewFolder


EXAMPLES = """
muq-hf export space examples/audio my-space
muq-hf export space songs.parquet my-space --static --credits credits.csv
hf upload NAME/my-space my-space --repo-type space
"""
CHUNK_LENGTH_S = 10.0  # of the parts of a folder that is embedded here


def run(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="table, folder of fragments, or folder of music")],
    output: NewFolder,
    static: Annotated[
        bool, typer.Option("--static", help="files alone: the model runs in the visitor's browser, and there is no server")
    ] = False,
    title: Annotated[str, typer.Option(help="of the Space")] = "Music search",
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", help="of all songs that the list does not name")
    ] = None,
    credits_file: Annotated[
        str | None,
        typer.Option(
            "--credits",
            metavar="FILE",
            help="JSON lines or CSV with path, title, author, licence, source (default: attribution.jsonl beside the music)",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="MuQ-MuLan to embed a folder of music with (default: muq-mulan-tiny)")] = None,
) -> int:
    """The folder holds the page, the music with its licences, the vectors and the model, and a README with the Space's settings.

    Without --static it is a Docker Space with the server of `muq-hf serve`.
    """
    require("fastapi", "uvicorn", *(("onnx", "onnx_ir", "onnxruntime") if static else ()))
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default
    from ..inference.embedding import embed_files
    from ..serving.credits import FILE_NAME, Credit, credit_of, read_credits
    from ..serving.song_table import read_song_table
    from ..serving.space import write_space, write_static_space

    if not os.path.exists(source):
        raise ValueError(f"{source} does not exist: give a table of `muq-hf embed` or a folder of music.")
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(source)
        beside = table if table.is_dir() else table.parent
        if table.is_dir() and not any(table.glob("*.parquet")):
            table = Path(scratch, "songs.parquet")
            report = embed_files(source, model_or_default(model, MUQ_MULAN_TINY), table, chunk_length_s=CHUNK_LENGTH_S)
            for failure in report.failures:
                print(f"left out, {failure.reason}: {failure.message}", file=sys.stderr)
        elif model is not None:
            raise ValueError(f"--model is for a folder of music; {source} was made with the model that it names.")
        listed = Path(credits_file) if credits_file else beside / FILE_NAME
        credits = read_credits(listed) if credits_file or listed.is_file() else {}
        if licence:
            paths = read_song_table(table).paths
            credits |= {path: Credit("", "", licence) for path in paths if credit_of(path, credits) is None}
        if static:
            from ..onnx.onnx_files import export_onnx

            write_static_space(table, output, credits, title, export_onnx, lambda line: print(line, file=sys.stderr))
        else:
            write_space(table, output, credits, title)
    print(f"Wrote {output}. Upload it with: hf upload NAME/SPACE {output} --repo-type space")
    return DONE
