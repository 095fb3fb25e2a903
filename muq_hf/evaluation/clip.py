"""One labelled stretch of music."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of a file.

    start, end: seconds, end None: to the end of the file. group: what must not be divided between splits (track, piece,
    font). labels: task → str | int (class), list of str (multilabel), float or list of them (regression),
    [[start, end, label], …] in seconds of the clip (frames), {"events": [seconds, …]} (events), [[start, end, number], …] or
    {"times": [seconds, …], "values": [numbers, …]} (curve).
    meta: every other field.
    """

    path: Path
    start: float = 0.0
    end: float | None = None
    split: str | None = None
    group: str = ""
    labels: dict = field(default_factory=dict)
    meta: dict = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for the same stretch of the same unchanged file."""
        stat = self.path.stat()
        text = f"{self.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {self.start} {self.end}"
        return hashlib.sha1(text.encode()).hexdigest()
