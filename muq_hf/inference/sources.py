"""Files, folders and manifests → the list of files to embed."""

import os
from collections.abc import Iterable

from ..audio import find_audio
from ..storage.manifests import OnBadLine, is_manifest, manifest_rows


def collect_inputs(inputs: Iterable[str | os.PathLike], on_bad_line: OnBadLine | None = None) -> list[str]:
    """→ absolute paths in the given order, folders searched for audio files, manifests read, each file once.

    Manifests: see `storage.manifests`; a line that cannot be used goes to `on_bad_line`, by default it is raised. Missing files
    stay in the list: they are reported with the other failures. Raises ValueError when there is no file at all, or for a
    manifest that cannot be read.
    """
    inputs = [os.fspath(item) for item in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    paths = []
    for item in inputs:
        if os.path.isdir(item):
            paths += [os.fspath(path) for path in find_audio([item])]
        elif is_manifest(item):
            paths += [row.path for row in manifest_rows(item, on_bad_line, only_paths=True)]
        else:
            paths.append(item)
    if not paths:
        raise ValueError(f"no audio file in {', '.join(inputs) or 'an empty list'}.")
    return list(dict.fromkeys(path if "://" in path else os.path.abspath(path) for path in paths))


def path_text(path: str) -> str:
    """→ `path` as valid UTF-8: bytes of a file name that are not are written \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
