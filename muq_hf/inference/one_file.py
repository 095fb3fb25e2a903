"""One file → the vectors that a table holds of it, at once and without a table."""

import itertools
import os

import numpy as np

from ..audio import AudioError
from .decoding_worker import DecodeTask, FileEnd, FileFailure, decode_file
from .embed_model import EmbeddingModel, encoder_config, encoder_of, window_plan
from .embed_settings import EmbedSettings
from .parquet_store import SongWindows


WINDOWS_AT_ONCE = 8


def embed_file(path: str | os.PathLike, model: EmbeddingModel, settings: EmbedSettings) -> list[tuple]:
    """→ rows (path, start, end, layer, vector [P]), times in s, as `embed_files` writes them with these settings.

    Memory does not grow with the file. Raises AudioError for files without usable audio.
    """
    encoder, song = encoder_of(model, settings), SongWindows(os.fspath(path))
    messages = decode_file(DecodeTask(song.path, window_plan(model, settings)))
    while batch := list(itertools.islice(messages, WINDOWS_AT_ONCE)):
        if isinstance(batch[-1], FileFailure):
            raise AudioError(batch[-1].reason, batch[-1].message)
        if isinstance(batch[-1], FileEnd):
            batch.pop()
        for window, vectors in zip(batch, encoder(batch) if batch else [], strict=True):
            song.add(window.segment, window.start, window.end, window.kept[1] - window.kept[0], np.asarray(vectors))
    return song.rows(settings, encoder_config(model).sampling_rate)
