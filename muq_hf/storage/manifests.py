"""Lists of music, read alike by every command: a path per line, a table, or a JSON object per line.

    .txt .m3u .m3u8     a path per line; lines that begin with "#" are comments
    .csv .tsv           a table with a header
    .jsonl              one JSON object per line
    .parquet            a table

A table's column, or an object's key, with the path is called `path`, `file_name`, `audio` or `file`. Relative paths start at the
manifest's folder. Text is UTF-8; only a path may hold other bytes, as a file name on Linux may.
"""

import csv
import json
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field


MANIFEST_SUFFIXES = (".txt", ".m3u", ".m3u8", ".csv", ".tsv", ".jsonl", ".parquet")
PATH_KEYS = ("path", "file_name", "audio", "file")  # the first of these that a row fills
LIST_SEPARATOR = ";"  # between the items of one field of a table
PARQUET_BATCH_ROWS = 4096
UNDECODED = re.compile("[\udc80-\udcff]")  # where "surrogateescape" puts bytes that are not UTF-8


BAD_LINE = "bad line"  # the reason under which reports list one


class BadLine(ValueError):
    """A line of a manifest that cannot be used. manifest and number (from 1): where it stands."""

    def __init__(self, manifest: str, number: int, problem: str):
        super().__init__(f"{manifest}, line {number}: {problem}")
        self.manifest, self.number = manifest, number


@dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest: the path, absolute or from the current folder, and the other fields that are not null.

    number: of the line in its file, from 1 (for Parquet: of the row). is_text: every field is a string, as in CSV.
    """

    manifest: str
    number: int
    path: str
    fields: dict = field(default_factory=dict)
    is_text: bool = False

    def error(self, problem: str) -> BadLine:
        return BadLine(self.manifest, self.number, problem)

    def seconds(self, name: str) -> float | None:
        """The field `name`, a time; None if the row has none. Raises BadLine for what is no number of seconds, 0 or more."""
        value = self.fields.get(name)
        if value is None or (self.is_text and not value.strip()):
            return None
        try:
            seconds = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
        if not 0 <= seconds < math.inf or (isinstance(value, str) and not self.is_text):
            raise self.error(f"`{name}` must be a number of seconds, 0 or more, got {value!r}.")
        return seconds


OnBadLine = Callable[[BadLine], None]


def is_manifest(path: str | os.PathLike) -> bool:
    return os.path.splitext(os.fspath(path))[1].lower() in MANIFEST_SUFFIXES


def manifest_rows(
    path: str | os.PathLike, on_bad_line: OnBadLine | None = None, only_paths: bool = False
) -> Iterator[ManifestRow]:
    """The rows of a manifest, one after the other, without holding all of them in memory.

    on_bad_line: is called with each line that cannot be used, and the next one is read; by default the first one is raised.
    only_paths: leave `fields` empty, whatever they hold.
    Raises ValueError for a file that is missing, has another suffix, is no text, or is a table without a column of paths.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in MANIFEST_SUFFIXES:
        raise ValueError(f"{path} is no manifest: its suffix must be one of {', '.join(MANIFEST_SUFFIXES)}.")
    if suffix == ".parquet":
        entries = _parquet_entries(path, only_paths)
    elif suffix == ".jsonl":
        entries = _json_entries(path, _lines(path))
    elif suffix in (".csv", ".tsv"):
        entries = _table_entries(path, _lines(path), "\t" if suffix == ".tsv" else ",")
    else:
        entries = _list_entries(_lines(path))
    is_text = suffix in (".csv", ".tsv")
    for number, entry in entries:
        try:
            row = _row(path, number, entry, only_paths, is_text)
        except BadLine as error:
            if on_bad_line is None:
                raise
            on_bad_line(error)
        else:
            yield row


def _row(path: str, number: int, entry: "dict | BadLine", only_paths: bool, is_text: bool) -> ManifestRow:
    if isinstance(entry, BadLine):
        raise entry
    key = next((key for key in PATH_KEYS if entry.get(key)), None)
    name = entry.get(key)
    if not isinstance(name, str) or "\0" in name:
        found = "" if key is None else f", but `{key}` holds {str(name)[:80]!r}"
        raise BadLine(path, number, f"a path is expected in one of {', '.join(PATH_KEYS)}{found}.")
    fields = {} if only_paths else {k: value for k, value in entry.items() if k != key and value is not None}
    if UNDECODED.search(json.dumps(fields, ensure_ascii=False, default=str)):
        raise BadLine(path, number, "its text is not UTF-8: save the file as UTF-8.")
    if "://" not in name:
        name = os.path.join(os.path.dirname(path), name)
    return ManifestRow(path, number, name, fields, is_text)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line). Only a line feed ends one: names may hold U+0085 or U+2028. Raises ValueError for binary files."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise ValueError(f"manifest {path} is not a text file in UTF-8.")
                yield number, line
    except OSError as error:
        raise ValueError(f"manifest {path} cannot be read: {error.strerror}.") from error


def _list_entries(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, dict]]:
    for number, line in lines:
        if line.strip() and not line.startswith("#"):
            yield number, {"path": line.strip("\r\n")}


def _json_entries(path: str, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, dict | BadLine]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            entry = BadLine(path, number, f"no JSON ({error.msg}, column {error.colno}).")
        except ValueError as error:  # such as numbers of thousands of digits
            entry = BadLine(path, number, f"no JSON ({error}).")
        except RecursionError:
            entry = BadLine(path, number, "its JSON is nested too deeply.")
        if not isinstance(entry, dict | BadLine):
            entry = BadLine(path, number, f"one JSON object per line is expected, got {str(entry)[:80]!r}.")
        yield number, entry


def _table_entries(path: str, lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, dict | BadLine]]:
    header = None
    for number, cells in _table_records(lines, delimiter):
        if isinstance(cells, csv.Error):
            problem = (
                f"no row of a table ({cells}): a field that begins with a quotation mark must end with one, and each one inside "
                "it is written twice."
            )
            if header is None:
                raise BadLine(path, number, problem)
            yield number, BadLine(path, number, problem)
        elif header is None:
            header = [name.strip() for name in cells]
            _require_paths(path, header)
        elif len(cells) > len(header):
            yield number, BadLine(path, number, f"{len(cells)} fields are more than the header's {len(header)}.")
        elif any(cell.strip() for cell in cells):
            yield number, dict(zip(header, cells, strict=False))


def _table_records(lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, "list[str] | csv.Error"]]:
    """(number of the first line, cells) of each record; after a faulty one, reading starts again one line below its start."""
    waiting: deque[tuple[int, str]] = deque()
    taken: list[tuple[int, str]] = []  # lines of the record that is being read
    lines = iter(lines)

    def next_lines() -> Iterator[str]:
        while True:
            item = waiting.popleft() if waiting else next(lines, None)
            if item is None:
                return
            taken.append(item)
            yield item[1]

    while True:
        try:
            for cells in csv.reader(next_lines(), delimiter=delimiter, strict=True):
                if cells:
                    yield taken[0][0], cells
                taken.clear()
            return
        except csv.Error as error:
            yield taken[0][0], error
            waiting.extendleft(reversed(taken[1:]))
            taken.clear()


def _parquet_entries(path: str, only_paths: bool) -> Iterator[tuple[int, dict]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _require_paths(path, names)
            columns = [name for name in names if name in PATH_KEYS] if only_paths else names
            number = 0
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=columns):
                for entry in batch.to_pylist():
                    number += 1
                    yield number, entry
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"manifest {path} cannot be read as Parquet: {error}") from error


def _require_paths(path: str, columns: list[str]) -> None:
    if not set(PATH_KEYS) & set(columns):
        raise ValueError(f"manifest {path} has no column {', '.join(PATH_KEYS)}; its columns are {', '.join(columns)[:200]}.")
