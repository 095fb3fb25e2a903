"""Playlists that music players open."""

import os
from collections.abc import Iterable
from pathlib import Path

from .safe_text import CONTROL
from .whole_files import replace_text


SUFFIXES = (".m3u", ".m3u8")


def write_playlist(path: str | os.PathLike, songs: Iterable[str]) -> None:
    """Write an M3U playlist in UTF-8, each song once. Raises ValueError for names that it cannot hold, and other suffixes."""
    require_playlist_name(path)
    songs = list(dict.fromkeys(songs))
    bad = [song for song in songs if CONTROL.search(song)]
    if bad:
        raise ValueError(f"a playlist has one file a line, and cannot hold the name {bad[0]!r}.")
    replace_text(Path(path), "".join(f"{line}\n" for line in ["#EXTM3U", *songs]))


def require_playlist_name(path: str | os.PathLike) -> None:
    if not os.fspath(path).lower().endswith(SUFFIXES):
        raise ValueError(f"a playlist must be a file that ends in {' or '.join(SUFFIXES)}, got {os.fspath(path)!r}.")
