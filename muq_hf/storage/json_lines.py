"""Files of one JSON object a line: records of runs, manifests, indices."""

import json
import os
from collections.abc import Iterable
from pathlib import Path


def to_json_lines(rows: Iterable) -> str:
    return "".join(_to_json(row) + "\n" for row in rows)


def _to_json(row) -> str:
    """Readable; but a file name that is no UTF-8 is escaped, and read as what it was."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row)
    return text


def read_json_lines(path: str | os.PathLike) -> list:
    return [json.loads(line) for _, line in numbered_lines(path)]


def numbered_lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    """(number from 1, line) of the lines that hold something.

    Only a line feed ends a line: `str.splitlines` would also break names with U+0085 or U+2028 in them, which JSON allows.
    Raises ValueError for what is no UTF-8.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8.") from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
