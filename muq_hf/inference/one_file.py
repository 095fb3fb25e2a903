"""One file → its vectors at once, without a run and without a table."""

import itertools
import os

from ..audio import AudioError
from .decoding_worker import DecodeTask, FileEnd, FileFailure, decode_file
from .parquet_store import SongWindows
from .segments import WindowPlan


WINDOWS_AT_ONCE = 8


def encode_song(path: str | os.PathLike, encoder, plan: WindowPlan, max_samples: int | None = None) -> SongWindows:
    """→ the windows of a file, of which `rows` makes what `embed_files` writes; memory does not grow with the file.

    max_samples: of a longer file the rest is left out. Raises AudioError for files without usable audio.
    """
    song = SongWindows(os.fspath(path))
    messages = decode_file(DecodeTask(song.path, plan))
    while batch := list(itertools.islice(messages, WINDOWS_AT_ONCE)):
        if isinstance(batch[-1], FileFailure):
            raise AudioError(batch[-1].reason, batch[-1].message)
        if isinstance(batch[-1], FileEnd):
            batch.pop()
        for window, vectors in zip(batch, encoder(batch) if batch else [], strict=True):
            song.add(window.segment, window.start, window.end, window.kept[1] - window.kept[0], vectors)
        if batch and max_samples is not None and batch[-1].end >= max_samples:
            messages.close()
    return song
