"""JavaScript packages of the npm registry that are put beside a static page: pinned by version and checksum."""

import base64
import hashlib
import io
import os
import tarfile
import urllib.request
from pathlib import Path
from typing import NamedTuple


SECONDS = 60  # for one download to answer


class NpmPackage(NamedTuple):
    """integrity: base64 of the archive's SHA-512, as `npm view NAME@VERSION dist.integrity` says; files: paths in it."""

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]


ONNXRUNTIME_WEB = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)


def copy_files(package: NpmPackage, folder: Path) -> list[Path]:
    """Put the package's files into `folder` → their new paths. The archive is downloaded once and kept in the user's cache.

    The registry is that of the variable npm_config_registry, or npm's own. Raises OSError where the archive cannot be had, and
    ValueError where it is not the pinned one.
    """
    cached = _cache_folder() / f"{package.name.replace('/', '+')}-{package.version}.tgz"
    archive = cached.read_bytes() if cached.exists() else b""
    if not _is_pinned(archive, package):
        archive = _download(package)
        if not _is_pinned(archive, package):
            raise ValueError(f"what the npm registry sent for {package.name} {package.version} has another checksum: try again.")
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_name(f"{cached.name}.{os.getpid()}.partial")
        partial.write_bytes(archive)
        os.replace(partial, cached)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        for name in package.files:
            target = folder / Path(name).name
            target.write_bytes(content.extractfile(f"package/{name}").read())
            written.append(target)
    return written


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muq_hf" / "npm"


def _is_pinned(archive: bytes, package: NpmPackage) -> bool:
    return base64.b64encode(hashlib.sha512(archive).digest()).decode() == package.integrity


def _download(package: NpmPackage) -> bytes:
    registry = os.environ.get("npm_config_registry", "https://registry.npmjs.org").rstrip("/")
    address = f"{registry}/{package.name}/-/{package.name.split('/')[-1]}-{package.version}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            return answer.read()
    except OSError as error:
        raise OSError(
            f"{address} cannot be downloaded ({error}); to build the page offline, put that file at "
            f"{_cache_folder()}/{package.name}-{package.version}.tgz."
        ) from None
