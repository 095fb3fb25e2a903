"""Files, folders and manifests → the list of files to embed."""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ..audio import find_audio


MANIFEST_SUFFIXES = (".txt", ".m3u", ".m3u8", ".csv", ".tsv", ".jsonl")
PATH_COLUMNS = ("path", "file_name", "audio", "file")  # the first of these that a table has


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


def read_manifest(path: str) -> list[str]:
    """→ the paths that a manifest names, in UTF-8; other bytes are taken as they are, as a Linux file name may hold any.

    Raises ValueError when it is missing, no text, no table, or has no path column.
    """
    try:
        text = Path(path).read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ValueError(f"manifest {path} cannot be read: {error.strerror}.") from error
    if "\0" in text:
        raise ValueError(f"manifest {path} is not a text file.")
    suffix = Path(path).suffix.lower()
    if suffix == ".jsonl":
        names = _names_of_rows(path, _json_rows(path, text))
    elif suffix in (".csv", ".tsv"):
        names = _names_of_rows(path, _table_rows(path, text, delimiter="\t" if suffix == ".tsv" else ","))
    else:
        lines = (line.strip("\r\n") for line in text.split("\n"))
        names = [line for line in lines if line.strip() and not line.startswith("#")]
    return [os.path.join(os.path.dirname(path), name) for name in names]


def path_text(path: str) -> str:
    """→ `path` as valid UTF-8: bytes of a file name that are not are written \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _json_rows(path: str, text: str) -> list[dict]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"manifest {path}, line {number}: not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"manifest {path}, line {number}: one JSON object per line is expected.")
        rows.append(row)
    return rows


def _table_rows(path: str, text: str, delimiter: str) -> list[dict]:
    rows = []
    try:
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            rows.append(row)
    except csv.Error as error:
        raise ValueError(
            f"manifest {path}, row {len(rows) + 1}: no table ({error}): a field that begins with a quotation mark must end "
            "with one, and each one inside it is written twice."
        ) from error
    return rows


def _names_of_rows(path: str, rows: Iterable[dict]) -> list[str]:
    names = []
    for number, row in enumerate(rows, start=1):
        name = next((row[column] for column in PATH_COLUMNS if row.get(column)), None)
        if not isinstance(name, str):
            raise ValueError(f"manifest {path}, row {number}: no path in any column of {', '.join(PATH_COLUMNS)}.")
        names.append(name)
    return names
