"""Lists of music: a path per line, a table, or an object per line."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .json_lines import numbered_lines


MANIFEST_SUFFIXES = (".txt", ".m3u", ".m3u8", ".csv", ".tsv", ".jsonl")


PATH_COLUMNS = ("path", "file_name", "audio", "file")  # the first of these that a table has


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


def manifest_entries(manifest: Path) -> Iterator[tuple[int, dict]]:
    """Lines of a JSONL manifest with their number; "path" starts at the manifest. Raises ValueError for lines without one."""
    for number, line in numbered_lines(manifest):
        try:
            entry = json.loads(line)
            yield number, entry | {"path": str(manifest.parent / entry["path"])}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f'line {number} of {manifest} is no JSON object with a "path": {line[:80]!r} ({type(error).__name__}).'
            ) from error
