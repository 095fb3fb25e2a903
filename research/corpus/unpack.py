"""Debian packages → the music files inside them, nested archives included."""

import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from catalogue import Package


class PackageGone(RuntimeError):
    """The package can be had under none of its names."""


@dataclass(frozen=True)
class MusicFile:
    source: str  # path inside the package
    file: Path  # where it lies now


def fetch(package: Package, downloads: Path) -> Path:
    """The .deb of `package`: from `downloads` if it lies there, else through `apt-get download`."""
    errors = []
    for name in package.names:
        found = sorted(downloads.glob(f"{name}_*.deb"))
        if not found:
            run = subprocess.run(["apt-get", "download", "-q", name], cwd=downloads, capture_output=True, text=True)
            found = sorted(downloads.glob(f"{name}_*.deb")) if run.returncode == 0 else []
            errors.append(f"{name}: {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else 'not downloaded'}")
        if found:
            return found[-1]
    raise PackageGone("; ".join(errors))


def unpack(package: Package, deb: Path, folder: Path) -> list[MusicFile]:
    """Write the music files of `deb` into `folder` (flat, numbered) and its copyright file as `copyright`."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
        music = unpack_tar(package, process.stdout, folder)
        process.stdout.read()  # the padding after the archive's end
    if process.returncode:
        raise PackageGone(f"{deb.name}: dpkg-deb could not read it; delete the file and start again")
    return music


def unpack_tar(package: Package, stream: IO[bytes], folder: Path) -> list[MusicFile]:
    """`unpack` for the package's content as an uncompressed tar stream."""
    folder.mkdir(parents=True, exist_ok=True)
    music: list[MusicFile] = []
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            if not member.isfile():
                continue
            if path.startswith("usr/share/doc/") and path.endswith("/copyright"):
                _write(tar.extractfile(member), folder / "copyright")
            else:
                _take(package, path, partial(tar.extractfile, member), folder, music)
    return music


def _take(package: Package, path: str, opener: Callable, folder: Path, music: list[MusicFile]) -> None:
    """Keep one file if it is music, look inside if it is an archive with music."""
    if package.is_archive(path):
        archive = _write(opener(), folder / f"archive{path.count('/'):02d}")
        with zipfile.ZipFile(archive) as members:
            for inner in members.infolist():
                _take(package, f"{path}/{inner.filename}", partial(members.open, inner), folder, music)
        archive.unlink()
    elif package.is_music(path):
        music.append(MusicFile(path, _write(opener(), folder / f"{len(music):04d}{Path(path).suffix}")))


def _write(content: IO[bytes], file: Path) -> Path:
    with open(file, "wb") as out:
        shutil.copyfileobj(content, out, 1 << 20)
    return file
