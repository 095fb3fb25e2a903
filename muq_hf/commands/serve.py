"""`muq-hf serve`: its arguments, and what it prints. Torch is imported when it runs."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE
from .extras import require
from .options import Device, Revision


EXAMPLES = """
muq-hf embed songs/ --output songs.parquet --chunk-length-s 10
muq-hf serve songs.parquet --open
muq-hf serve songs.parquet --watch songs/
"""
CHUNK_LENGTH_S = 10.0  # of the parts of a table that is made here


def run(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="table made by `muq-hf embed`, or a folder of fragments")],
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0: all of this machine's")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one", min=0, max=65_535)] = 8000,
    watch: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="add the songs of this folder, also those that come later")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="FILE", help="words to tag with, one a line (default: 48 words)")] = None,
    token: Annotated[
        str | None, typer.Option(help="only for those who know it", envvar="MUQ_HF_TOKEN", show_envvar=False)
    ] = None,
    allow_host: Annotated[list[str], typer.Option(metavar="NAME...", help="names that the server may be called by")] = [],
    allow_origin: Annotated[list[str], typer.Option(metavar="URL...", help="other sites whose pages may use the API")] = [],
    max_upload_mb: Annotated[float, typer.Option(help="largest upload", min=0.001)] = 64.0,
    upload_seconds: Annotated[float, typer.Option(help="longest time for an upload to arrive", min=0.1)] = 30.0,
    queue: Annotated[int, typer.Option(help="requests that may wait; more get the answer 429", min=1)] = 32,
    open_page: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    model: Annotated[
        str | None, typer.Option(help="folder or Hub id of the MuQ-MuLan that made the table (default: the one it names)")
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
) -> int:
    """Search by words or by a dropped song, listen, see the collection as a map; an HTTP API with its reference at /docs.

    Only this machine can reach it unless --host says otherwise. With --watch, a table that is not there yet is made.
    """
    require("fastapi", "uvicorn")
    if token is not None and not token.strip():
        raise ValueError("the token is empty: anybody would know it.")
    from ..serving.server import bind, is_local, serve

    listener = bind(host, port)  # before all that takes time
    from ..inference.embedding import embed_files
    from ..inference.tagging import read_labels
    from ..serving.application import build_application
    from ..serving.library import Library, Watcher
    from ..serving.query_encoder import QueryEncoder
    from ..serving.song_table import read_settings_of
    from ..serving.uploads import UploadLimits

    if watch is not None and not Path(index).exists():
        from ..checkpoints import MUQ_MULAN_TINY, model_or_default

        embed_files(watch, model_or_default(model, MUQ_MULAN_TINY), index, chunk_length_s=CHUNK_LENGTH_S, device=device)
    encoder, warning = QueryEncoder.of_table(read_settings_of(index), model, revision, device)
    if warning:
        print(warning, file=sys.stderr)
    library = Library(index, encoder, read_labels(labels)[0] if labels else None)
    watcher = None if watch is None else Watcher(library, watch)
    limits = UploadLimits(int(max_upload_mb * 2**20), upload_seconds)
    app = build_application(
        library, token=token, hosts=tuple(allow_host), origins=tuple(allow_origin), limits=limits, waiting=queue
    )
    if not is_local(host) and token is None:
        print("Anybody who can reach this machine can search and hear this music: --token keeps it to some.", file=sys.stderr)
    name = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)
    address = f"http://{name}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")

    def started() -> None:
        collection = library.collection
        print(f"{len(collection)} songs at {address}  (Ctrl-C ends)", flush=True)
        if watcher is not None:
            watcher.start()
        if open_page:
            webbrowser.open(address)

    serve(app, listener, started)
    if watcher is not None:
        watcher.stop()
    print("Stopped.", file=sys.stderr)
    return DONE
