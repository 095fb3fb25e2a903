"""Who made a song, and what one may do with it: attribution.jsonl beside a table, or a list of one's own."""

import csv
import io
import json
import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..storage.whole_files import read_text


FILE_NAME = "attribution.jsonl"


class Credit(NamedTuple):
    """licence: as SPDX or the Hub names it; source: where the song comes from."""

    title: str
    author: str
    licence: str
    source: str = ""

    @property
    def line(self) -> str:
        return ", ".join(part for part in (self.title, self.author, self.licence) if part)


def read_credits(file: str | os.PathLike) -> dict[str, Credit]:
    """A list with "path", "title", "author", "licence" (or "license") and "source", as JSON lines or CSV → credits by path.

    Raises ValueError for a list that cannot be read, and for lines without path or licence.
    """
    text = read_text(file)
    if Path(file).suffix.lower() == ".csv":
        rows = list(csv.DictReader(io.StringIO(text)))
    else:
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise ValueError(f"{file} is no list of credits in JSON lines or CSV: {error}.") from None
    credits = {}
    for number, row in enumerate(rows, start=1):
        licence = row.get("licence") or row.get("license")
        if not row.get("path") or not licence:
            raise ValueError(f'{file}, entry {number}: "path" and "licence" are needed.')
        path = PurePosixPath(row["path"]).as_posix()
        credits[path] = Credit(row.get("title") or "", row.get("author") or "", licence, row.get("source") or "")
    return credits


def credits_beside(table: str | os.PathLike) -> dict[str, Credit]:
    """Those of the list in the table's folder; none without a list."""
    table = Path(table)
    file = (table if table.is_dir() else table.parent) / FILE_NAME
    return read_credits(file) if file.is_file() else {}


def credit_of(path: str, credits: dict[str, Credit]) -> Credit | None:
    """The credit whose path is that of the song, or the longest end of it."""
    parts = PurePosixPath(path.replace(os.sep, "/")).parts
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((credits[end] for end in ends if end in credits), None)


def write_credits(file: Path, credits: dict[str, Credit]) -> None:
    lines = (json.dumps({"path": path} | credit._asdict(), ensure_ascii=False) for path, credit in credits.items())
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
