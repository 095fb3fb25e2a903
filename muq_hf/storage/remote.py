"""Folders and files on a disk or in an object store (s3://, gs://), through `pyarrow.fs`.

A store that does not answer is waited for, and is a StorageError in the end: never a missing or a broken file.
"""

import contextlib
import logging
import os
import posixpath
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, TypeVar


logger = logging.getLogger(__name__)

PATIENCE_VARIABLE = "MUQ_HF_STORAGE_PATIENCE_S"
PATIENCE_S = 120.0  # how long a store that does not answer is waited for
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0
CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 5.0, 30.0
BLOCK_BYTES = 1 << 20
LASTING_ERRORS = (  # of a store that answers: waiting does not help
    "ACCESS_DENIED",
    "NO_SUCH_BUCKET",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "EXPIRED_TOKEN",
    "403",
    "Bucket does not exist",
)
TEMPORARY_SUFFIX = ".tmp"
Result = TypeVar("Result")


class StorageError(OSError):
    """A store that cannot be reached, or refuses."""


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it is an address such as s3://bucket/key."""
    return "://" in os.fspath(path)


def file_version(path: str) -> str:
    """Size (bytes) and modification time (ns) of a local file: with another version it is embedded anew.

    "" for a remote one, whose version the listing gave.
    """
    if is_remote(path):
        return ""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # missing, or no name of a file at all: decoding says which
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def patience_s() -> float:
    """Seconds, from the environment where it says."""
    return float(os.environ.get(PATIENCE_VARIABLE, PATIENCE_S))


def patiently(action: Callable[[], Result], address: str) -> Result:
    """→ what `action` gives, tried again while the store does not answer.

    Raises FileNotFoundError at once, and StorageError for a store that refuses or has not answered for `patience_s`.
    """
    started, wait = time.monotonic(), FIRST_WAIT_S
    while True:
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = " ".join(str(error).split())
            if any(sign in reason for sign in LASTING_ERRORS):
                raise StorageError(f"{address} cannot be used: {reason}") from error
            spent = time.monotonic() - started
            if spent + wait > patience_s():
                raise StorageError(
                    f"{address} has not answered for {spent:.0f} s: {reason}. What is done is kept: the same command with "
                    "--resume continues."
                ) from error
            if wait == FIRST_WAIT_S:
                logger.warning("%s does not answer, waiting for it: %s", address, reason)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)


class Folder:
    """A folder, which need not exist yet. Names of files are relative to it, with "/" between their parts."""

    def __init__(self, address: str | os.PathLike):
        self.address = os.fspath(address)
        self.is_remote = is_remote(self.address)
        if self.is_remote:
            self._store, self._root = file_system(self.address.rstrip("/"))
        else:
            self._root = os.path.abspath(self.address)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.place(name))

    def place(self, name: str) -> str:
        """Where the file is, for messages and libraries."""
        return f"{self.address.rstrip('/')}/{name}" if self.is_remote else os.path.join(self._root, name)

    def names(self, within: str = "") -> list[str]:
        """Names of the files in the folder or in a folder of it, sorted; none if there is no such folder."""
        if not self.is_remote:
            try:
                with os.scandir(os.path.join(self._root, within)) as entries:
                    return sorted(posixpath.join(within, entry.name) for entry in entries if entry.is_file())
            except FileNotFoundError:
                return []
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(posixpath.join(self._root, within).rstrip("/"), allow_not_found=True)
        found = patiently(lambda: self._store.get_file_info(selector), self.place(within))
        return sorted(posixpath.join(within, item.base_name) for item in found if item.type == FileType.File)

    def exists(self, name: str) -> bool:
        return self.modified(name) is not None

    def modified(self, name: str) -> float | None:
        """When the file was written (s, by the clock of what stores it); None if there is none."""
        if not self.is_remote:
            path = Path(self._root, name)
            return path.stat().st_mtime if path.exists() else None
        from pyarrow.fs import FileType

        info = patiently(lambda: self._store.get_file_info(self._key(name)), self.place(name))
        return info.mtime_ns / 1e9 if info.type == FileType.File else None

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        if not self.is_remote:
            return Path(self._root, name).read_bytes()

        def read() -> bytes:
            with self._store.open_input_stream(self._key(name)) as file:
                return file.read()

        return patiently(read, self.place(name))

    def open(self, name: str):
        """A file for `pyarrow.parquet`, which reads only the parts that it needs."""
        if not self.is_remote:
            return os.path.join(self._root, name)
        return patiently(lambda: self._store.open_input_file(self._key(name)), self.place(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that it is whole or what it was before, whenever this is cut off."""
        if self.is_remote:
            patiently(lambda: self._put(self._key(name), lambda file: file.write(content)), self.place(name))
        else:
            self.write_by(name, lambda file: file.write(content))

    def write_by(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """The same for a content that `write` puts into the open file piece by piece.

        `write` is called again when a store did not answer. A store keeps also what was cut off, so that goes under another name.
        """
        if self.is_remote:
            key = self._key(name)
            temporary = f"{key}.{socket.gethostname()}-{os.getpid()}{TEMPORARY_SUFFIX}"

            def put() -> None:
                self._put(temporary, write)
                self._store.move(temporary, key)

            patiently(put, self.place(name))
            return
        path = Path(self._root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def delete(self, name: str) -> None:
        """Also one that is gone."""
        if not self.is_remote:
            Path(self._root, name).unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            patiently(lambda: self._store.delete_file(self._key(name)), self.place(name))

    def remove_if_empty(self, within: str = "") -> None:
        if not self.is_remote:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(self._root, within))

    def sweep(self, within: str = "") -> None:
        """Delete what writers that were killed left behind."""
        for name in self.names(within):
            if name.endswith(TEMPORARY_SUFFIX):
                self.delete(name)

    def check_writable(self, within: str) -> None:
        """Write and delete a file there. Raises StorageError that says why it cannot be written."""
        name = posixpath.join(within, f"writable-{socket.gethostname()}-{os.getpid()}")
        try:
            if self.is_remote:
                self.write(name, b"")
            else:
                os.makedirs(self.place(within), exist_ok=True)
                Path(self.place(name)).touch()
            self.delete(name)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{self.address} cannot be written: {error.strerror or error}") from error

    def _key(self, name: str) -> str:
        return posixpath.join(self._root, name)

    def _put(self, key: str, write: Callable[[IO[bytes]], object]) -> None:
        with self._store.open_output_stream(key) as file:
            write(file)


def file_system(address: str):
    """→ (`pyarrow.fs.FileSystem`, path in it). The usual variables of the environment name endpoint, region and keys."""
    from pyarrow import ArrowException, fs

    scheme, _, rest = address.partition("://")
    try:
        if scheme == "s3" and "?" not in address:
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            if endpoint or region:
                options = {"endpoint_override": endpoint} if endpoint else {}
                timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "request_timeout": REQUEST_TIMEOUT_S}
                return fs.S3FileSystem(region=region or "us-east-1", **options, **timeouts), rest
        if scheme in ("gs", "gcs") and "?" not in address and "@" not in rest:
            options = {"retry_time_limit": timedelta(seconds=REQUEST_TIMEOUT_S)}  # by default it tries for 15 minutes
            if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
                kind, _, host = emulator.rpartition("://")
                options |= {"endpoint_override": host.rstrip("/"), "scheme": kind or "http", "anonymous": True}
            return fs.GcsFileSystem(**options), rest
        return patiently(lambda: fs.FileSystem.from_uri(address), address)
    except (ArrowException, ValueError, NotImplementedError) as error:
        raise ValueError(f"{address} is no address that can be read: {error}") from error


def open_input(address: str):
    """A file for `pyarrow.parquet`: of a local path the path itself. Raises FileNotFoundError."""
    if not is_remote(address):
        return address
    store, path = file_system(address)
    return patiently(lambda: store.open_input_file(path), address)


def list_files(address: str) -> Iterator[tuple[str, str]]:
    """(address, version) of the file there, or of all files below, sorted by name.

    Raises FileNotFoundError if there is nothing.
    """
    from pyarrow.fs import FileSelector, FileType

    store, root = file_system(address.rstrip("/"))
    prefix = address[: address.index("://") + 3]
    info = patiently(lambda: store.get_file_info(root), address)
    if info.type == FileType.NotFound:
        raise FileNotFoundError(f"there is nothing at {address}.")
    if info.type == FileType.File:
        yield address, _version(info)
        return
    found = patiently(lambda: store.get_file_info(FileSelector(root, recursive=True)), address)
    for item in sorted((item for item in found if item.type == FileType.File), key=lambda item: item.path):
        yield prefix + item.path, _version(item)


def _version(info) -> str:
    return f"{info.size}:{info.mtime_ns}"


@contextlib.contextmanager
def local_copy(address: str) -> Iterator[str]:
    """A temporary file with the content of a remote one, its suffix kept. Raises FileNotFoundError and StorageError."""
    store, path = file_system(address)
    with tempfile.NamedTemporaryFile(suffix=posixpath.splitext(path)[1], prefix="muq_hf_") as copy:

        def fetch() -> None:
            copy.seek(0)
            copy.truncate()
            with store.open_input_stream(path) as source:
                while block := source.read(BLOCK_BYTES):
                    copy.write(block)
            copy.flush()

        patiently(fetch, address)
        yield copy.name
