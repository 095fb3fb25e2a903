"""Files, folders and manifests → the list of files to embed."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..audio import find_audio
from ..storage.manifests import MANIFEST_SUFFIXES, read_manifest


def collect_inputs(inputs: Iterable[str | os.PathLike]) -> list[str]:
    """→ absolute paths in the given order, folders searched for audio files, manifests read, each file once.

    A manifest names one file per line (.txt, .m3u, .m3u8; "#" starts a comment) or has a column or key "path", "file_name",
    "audio" or "file" (.csv, .tsv, .jsonl). Its relative paths start at its own folder. Missing files stay in the list: they
    are reported with the other failures. Raises ValueError when there is no file at all, or for a manifest that cannot be
    read.
    """
    inputs = [os.fspath(item) for item in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    paths = []
    for item in inputs:
        if os.path.isdir(item):
            paths += [os.fspath(path) for path in find_audio([item])]
        elif Path(item).suffix.lower() in MANIFEST_SUFFIXES:
            paths += read_manifest(item)
        else:
            paths.append(item)
    if not paths:
        raise ValueError(f"no audio file in {', '.join(inputs) or 'an empty list'}.")
    return list(dict.fromkeys(map(os.path.abspath, paths)))


def path_text(path: str) -> str:
    """→ `path` as valid UTF-8: bytes of a file name that are not are written \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
