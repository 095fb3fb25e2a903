"""The table of packages: which files of each are music, whose they are and under what licence."""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path


ARCHIVE_SUFFIXES = (".zip", ".pk3")

# Licences that let anyone train, and give away, weights made from the music.
TRAINABLE_LICENCES = frozenset({"CC0-1.0", "CC-BY-3.0", "CC-BY-SA-3.0", "CC-BY-SA-3.0+", "BSD-2-Clause", "MIT", "public-domain"})


@dataclass(frozen=True)
class Package:
    """One row of the table. Paths inside nested archives read on after the archive's name: `a/b.zip/c/d.ogg`."""

    id: str
    album: str
    licence: str
    author: str
    style: tuple[str, ...]
    music: tuple[str, ...]  # globs of the files to keep; `*` also crosses folders
    leave_out: tuple[str, ...] = ()  # globs of kept files that are no music after all
    packages: tuple[str, ...] = ()  # names to try, newest first, where the name carries a version
    files: tuple[dict, ...] = ()  # {match, licence, author} where single files differ from the package
    tempo: dict[str, float] = field(default_factory=dict)  # glob → beats a minute, from note charts in the package

    @property
    def names(self) -> tuple[str, ...]:
        return self.packages or (self.id,)

    def is_music(self, path: str) -> bool:
        return _matches(path, self.music) and not _matches(path, self.leave_out)

    def is_archive(self, path: str) -> bool:
        """True where `path` is an archive that some glob of the table reaches into."""
        return _matches(path, self._archive_globs())

    def rights(self, path: str) -> tuple[str, str]:
        """Licence and author of one file."""
        for rule in self.files:
            if _matches(path.rsplit("/", 1)[-1], rule["match"]):
                return rule["licence"], rule.get("author", self.author)
        return self.licence, self.author

    def tempo_of(self, path: str) -> float | None:
        return next((tempo for glob, tempo in self.tempo.items() if fnmatchcase(path, glob)), None)

    def may_hold(self, licences: str) -> bool:
        """False where no file of the package can pass the choice of `licences`."""
        return any(allowed(licence, licences) for licence in (self.licence, *(rule["licence"] for rule in self.files)))

    def _archive_globs(self) -> list[str]:
        globs = []
        for pattern in self.music:
            for suffix in ARCHIVE_SUFFIXES:
                head, found, _ = pattern.partition(suffix + "/")
                if found:
                    globs.append(head + suffix)
        return globs


def load_packages(path: Path) -> list[Package]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Package(**{key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}) for row in rows]


def allowed(licence: str, licences: str) -> bool:
    """Whether a file under `licence` belongs to the choice "all" or "cc" (what shipped weights may be trained on)."""
    if licences not in ("all", "cc"):
        raise ValueError(f"licences must be 'all' or 'cc', got {licences!r}")
    return licences == "all" or licence in TRAINABLE_LICENCES


def _matches(path: str, globs: tuple[str, ...] | list[str]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)
