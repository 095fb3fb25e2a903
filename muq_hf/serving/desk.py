"""Requests → answers, over the library as it is at that moment."""

import base64
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
from fastapi import HTTPException
from fastapi.responses import FileResponse

from ..checkpoints import short_name
from ..version import __version__
from . import answers
from .collection import Collection, Hit
from .flat_map import available_methods
from .library import Library
from .query_encoder import mean_vector
from .uploads import UploadLimits
from .waveforms import PeakStore, similarity_of


MAX_LABELS = 64
MEDIA_TYPES = {  # what browsers call them, where Python's table has no or another name
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
}


class Desk:
    """One method for each endpoint of `application`, without HTTP but for the errors that it has numbers for."""

    def __init__(self, library: Library):
        self.library = library
        self._peaks = PeakStore()

    @property
    def collection(self) -> Collection:
        return self.library.collection

    def health(self, limits: UploadLimits) -> answers.Health:
        collection = self.collection
        return answers.Health(
            version=__version__,
            model=short_name(self.library.encoder.name),
            songs=len(collection),
            rows=len(collection.vectors),
            seconds=float(collection.durations.sum()),
            generation=self.library.generation,
            maps=available_methods(),
            max_upload_bytes=limits.max_bytes,
        )

    def list_songs(self, offset: int, limit: int, title: str, folder: str, tag: str) -> answers.Songs:
        collection = self.collection
        allowed = collection.allowed(folder, tag, title)
        songs = np.arange(len(collection)) if allowed is None else np.flatnonzero(allowed)
        return answers.Songs(total=len(songs), songs=[_song(collection, int(song)) for song in songs[offset : offset + limit]])

    def song(self, song: int) -> answers.Song:
        return _song(self.collection, _known(self.collection, song))

    def audio(self, song: int) -> FileResponse:
        """Raises HTTPException 404 when the file has gone."""
        path = self._file(song)
        media_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return FileResponse(path, media_type=media_type, content_disposition_type="inline", filename=path.name)

    def waveform(self, song: int) -> answers.Waveform:
        return answers.Waveform(peaks=self._peaks.peaks(self._file(song)))

    def similarity(self, song: int) -> answers.Similarity:
        spans, vectors = self.collection.parts(_known(self.collection, song))
        taken, cosines = similarity_of(vectors)
        return answers.Similarity(spans=spans[taken].tolist(), cosines=np.round(cosines, 4).tolist())

    def search(
        self, text: str | None, song: int | None, part: int | None, per: str, top_k: int, folder: str, tag: str, repeats: bool
    ) -> answers.Found:
        if (text is None) == (song is None):
            raise ValueError("ask by text or by song, one of the two; send a file as the body of POST /search.")
        started, collection = time.perf_counter(), self.collection
        options = {"per": per, "allowed": collection.allowed(folder, tag), "repeats": repeats, "top_k": top_k}
        if text is not None:
            hits = collection.search(self.library.encoder.texts([text])[0], "text", **options)
        else:
            hits = collection.neighbours(_known(collection, song), part=part, **options)
        return answers.Found(hits=_hits(collection, hits), milliseconds=_since(started))

    def search_by_file(self, path: Path, max_seconds: float, per: str, top_k: int, folder: str, tag: str) -> answers.FoundByAudio:
        started, collection = time.perf_counter(), self.collection
        spans, vectors = self._upload(path, max_seconds)
        query = mean_vector(spans, vectors)
        hits = collection.search(query, "audio", per=per, top_k=top_k, allowed=collection.allowed(folder, tag))
        best = np.argsort(-collection.standing_out(query[None])[0], kind="stable")[:5]
        return answers.FoundByAudio(
            hits=_hits(collection, hits),
            milliseconds=_since(started),
            duration=float(spans[-1, 1]),
            tags=[collection.labels[label] for label in best],
        )

    def tags(self, song: int, labels: str) -> answers.Tags:
        collection = self.collection
        return self._tags(collection, *collection.parts(_known(collection, song)), labels)

    def tags_of_file(self, path: Path, max_seconds: float, labels: str) -> answers.Tags:
        return self._tags(self.collection, *self._upload(path, max_seconds), labels)

    def facets(self) -> answers.Facets:
        collection = self.collection
        counts = np.bincount(collection.song_tags.ravel(), minlength=len(collection.labels))
        tags = [answers.Facet(name=collection.labels[label], songs=int(counts[label])) for label in np.argsort(-counts)]
        folders = [answers.Facet(name=name, songs=count) for name, count in Counter(collection.folders).most_common(200) if name]
        return answers.Facets(tags=[tag for tag in tags if tag.songs], folders=folders)

    def map(self, method: str) -> answers.SongMap:
        collection, points = self.library.map(method)
        folders = [name for name, _ in Counter(collection.folders).most_common(65_535)]
        place = {name: index for index, name in enumerate(folders)}
        return answers.SongMap(
            method=method,
            songs=len(collection),
            points=_base64(np.round(points * 65_535)),
            tag=_base64(collection.song_tags[:, 0] if len(collection) else np.empty(0)),
            folder=_base64(np.array([place.get(name, 65_535) for name in collection.folders])),
            tags=collection.labels,
            folders=folders,
        )

    def _tags(self, collection: Collection, spans: np.ndarray, vectors: np.ndarray, labels: str) -> answers.Tags:
        own = [label.strip() for label in labels.split(",") if label.strip()]
        if len(own) > MAX_LABELS:
            raise ValueError(f"at most {MAX_LABELS} labels at once, got {len(own)}.")
        label_vectors = self.library.encoder.texts(own) if own else collection.label_vectors
        cosines = vectors @ label_vectors.T
        if own:
            usual = collection.song_vectors @ label_vectors.T
            standing_out = (cosines - usual.mean(axis=0)) / (usual.std(axis=0) + 1e-6)
        else:
            standing_out = collection.standing_out(vectors)
        return answers.Tags(
            labels=own or collection.labels,
            spans=spans.tolist(),
            cosines=np.round(cosines, 4).tolist(),
            standing_out=np.round(standing_out, 3).tolist(),
        )

    def _upload(self, path: Path, max_seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Raises AudioError that calls the file what its sender knows it as."""
        try:
            return self.library.encoder.audio(path, max_seconds)
        except ValueError as error:
            error.args = tuple(str(part).replace(os.fspath(path), "the uploaded file") for part in error.args)
            raise

    def _file(self, song: int) -> Path:
        collection = self.collection
        path = collection.place(_known(collection, song))
        if not path.is_file():
            raise HTTPException(404, f"{path.name} is no longer where it was when the music was embedded.")
        return path


def _known(collection: Collection, song: int) -> int:
    if not 0 <= song < len(collection):
        raise HTTPException(404, f"there is no song {song}: the collection has {len(collection)}, counted from 0.")
    return song


def _song(collection: Collection, song: int) -> answers.Song:
    return answers.Song(
        id=song,
        title=collection.titles[song],
        folder=collection.folders[song],
        file=os.path.basename(collection.paths[song]),
        duration=float(collection.durations[song]),
        tags=[collection.labels[label] for label in collection.song_tags[song]],
        credit=collection.credits[song] and collection.credits[song].line,
    )


def _hits(collection: Collection, hits: list[Hit]) -> list[answers.SongHit]:
    return [
        answers.SongHit(
            song=_song(collection, hit.song),
            cosine=round(hit.cosine, 4),
            start=hit.start,
            end=hit.end,
            copies=[_song(collection, copy) for copy in hit.copies],
        )
        for hit in hits
    ]


def _since(started: float) -> float:
    return round(1000 * (time.perf_counter() - started), 1)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<u2").tobytes()).decode()
