"""Files of one JSON object a line: records of runs, manifests, indices."""

import json
import os
from collections.abc import Iterable
from pathlib import Path


def to_json_lines(rows: Iterable) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_json_lines(path: str | os.PathLike) -> list:
    return [json.loads(line) for _, line in numbered_lines(path)]


def numbered_lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    """(number from 1, line) of the lines that hold something.

    Only a line feed ends a line: `str.splitlines` would also break names with U+0085 or U+2028 in them, which JSON allows.
    """
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
