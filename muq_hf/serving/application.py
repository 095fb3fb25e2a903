"""The HTTP API, and the page that uses it."""

import base64
import hashlib
import re
from importlib import resources
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import Field

from ..audio import AudioError
from ..version import __version__
from . import answers
from .desk import Desk
from .embeddings_endpoint import embeddings_router
from .gatekeeper import Gatekeeper
from .library import Library
from .uploads import UploadLimits, uploaded_audio
from .work_queue import WorkQueue


SUMMARY = "Search, tags, map and vectors of one collection of music, by MuQ-MuLan."
TopK = Annotated[int, Field(ge=1, le=500)]
Per = Literal["song", "part"]


def build_application(
    library: Library,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    limits: UploadLimits | None = None,
    waiting: int = 32,
) -> FastAPI:
    """The application for one library; see `Gatekeeper` for token, hosts and origins, `WorkQueue` for what waits."""
    limits = limits or UploadLimits()
    desk = Desk(library)
    thinking, drawing = WorkQueue("search", 2, waiting), WorkQueue("waveform", 1, 2 * waiting)
    app = FastAPI(title="muq-hf serve", summary=SUMMARY, version=__version__, docs_url=None, redoc_url=None)
    page, policy = _page("page.html"), _security_headers()
    app.add_middleware(Gatekeeper, token=token, hosts=hosts, origins=origins, headers=policy)
    _add_error_handlers(app)
    app.include_router(embeddings_router(library, thinking, limits))

    @app.get("/", include_in_schema=False)
    async def read_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/docs", include_in_schema=False)
    async def read_reference() -> HTMLResponse:
        return HTMLResponse(_page("reference.html"))

    @app.get("/health")
    async def health() -> answers.Health:
        """Whether the server is there, and what it serves. Needs no token."""
        return desk.health(limits)

    @app.get("/songs")
    async def list_songs(
        offset: Annotated[int, Field(ge=0)] = 0, limit: TopK = 50, title: str = "", folder: str = "", tag: str = ""
    ) -> answers.Songs:
        """Songs in the order of the table."""
        return desk.list_songs(offset, limit, title, folder, tag)

    @app.get("/songs/{song}")
    async def get_song(song: int) -> answers.Song:
        """One song."""
        return desk.song(song)

    @app.get("/songs/{song}/audio", response_class=FileResponse)
    async def get_audio(song: int) -> FileResponse:
        """The song's file as it is; answers range requests. Nothing but files of the table is read."""
        return desk.audio(song)

    @app.get("/songs/{song}/waveform")
    async def get_waveform(song: int) -> answers.Waveform:
        """Peaks to draw."""
        return await drawing.run(desk.waveform, song)

    @app.get("/songs/{song}/similarity")
    async def get_similarity(song: int) -> answers.Similarity:
        """Cosines of the song's parts with each other."""
        return await thinking.run(desk.similarity, song)

    @app.get("/search")
    async def search(
        text: str | None = None,
        song: int | None = None,
        part: int | None = None,
        per: Per = "song",
        top_k: TopK = 20,
        folder: str = "",
        tag: str = "",
        repeats: bool = False,
    ) -> answers.Found:
        """Songs that fit words, or that are like a `song` or its `part` (counted from 0).

        per: by whole songs, or by the part of each that fits best. At most one hit a song, and near-duplicates are folded into
        one hit, unless `repeats` is set. folder, tag: look only there.
        """
        return await thinking.run(desk.search, text, song, part, per, top_k, folder, tag, repeats)

    @app.post("/search")
    async def search_by_upload(
        request: Request, name: str = "", per: Per = "song", top_k: TopK = 20, folder: str = "", tag: str = ""
    ) -> answers.FoundByAudio:
        """Songs that are like the audio file in the body (`curl --data-binary @song.mp3`); name: its name, for the suffix."""
        async with uploaded_audio(request, limits, name) as path:
            return await thinking.run(desk.search_by_file, path, limits.max_audio_seconds, per, top_k, folder, tag)

    @app.get("/tags")
    async def get_tags(song: int, labels: str = "") -> answers.Tags:
        """How well each label fits each part of a song. labels: own ones, separated by commas."""
        return await thinking.run(desk.tags, song, labels)

    @app.post("/tags")
    async def tag_upload(request: Request, name: str = "", labels: str = "") -> answers.Tags:
        """The same for the audio file in the body."""
        async with uploaded_audio(request, limits, name) as path:
            return await thinking.run(desk.tags_of_file, path, limits.max_audio_seconds, labels)

    @app.get("/facets")
    async def get_facets() -> answers.Facets:
        """Tags and folders with the number of their songs, the most frequent ones first."""
        return await thinking.run(desk.facets)

    @app.get("/map")
    async def get_map(method: Literal["pca", "umap"] = "pca") -> answers.SongMap:
        """All songs as points of the plane, near to each other where they sound alike."""
        return await thinking.run(desk.map, method)

    return app


def _page(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _security_headers() -> dict[str, str]:
    """Scripts run only as they stand in the page; nothing is loaded from elsewhere."""
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", _page("page.html") + _page("reference.html"), re.DOTALL)
    hashes = (f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    policy = (
        f"default-src 'self'; script-src 'self' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'self' https://huggingface.co"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _add_error_handlers(app: FastAPI) -> None:
    """Every failure is one sentence in "detail"."""
    status_of = {"missing": 404, "unsupported": 415, "unreadable": 415}

    @app.exception_handler(AudioError)
    async def audio_error(request: Request, error: AudioError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_of.get(error.reason, 422))

    @app.exception_handler(ValueError)
    async def wrong_value(request: Request, error: ValueError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"][1:]) or "the request"
        return JSONResponse({"detail": f"{place}: {first['msg']}."}, 422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
