"""Files of one JSON object a line: records of runs, indices, manifests that are written."""

import json
import os
from collections.abc import Iterable

from .whole_files import read_text


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
    """The objects of all lines that are not empty.

    Only a line feed ends a line: `str.splitlines` would also break names with U+0085 or U+2028 in them, which JSON allows.
    Raises ValueError for a file that is missing, not in UTF-8 or no JSON.
    """
    return [json.loads(line) for line in read_text(path).split("\n") if line.strip()]
