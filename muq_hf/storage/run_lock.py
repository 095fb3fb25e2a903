"""One run at a time in a folder: a lock of the operating system on a disk, a lease in an object store."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from .remote import Folder
from .whole_files import lock_file


logger = logging.getLogger(__name__)

LEASE_S = 30.0  # a lease that is not renewed for so long is of a run that died
RENEW_S = 8.0
SETTLE_S = 1.0  # two runs that begin at once have both written by then


class RunLock:
    """Hold `name` in `folder` from `acquire` to `release`.

    On a disk the system lets go of the lock with the process that holds it, however that ends. An object store has no
    locks: there the holder renews an object, and whoever finds one waits until it has not been renewed for `LEASE_S`.
    `shared` locks exclude exclusive ones only.
    """

    def __init__(self, folder: Folder, name: str = "lock", shared: bool = False):
        self.folder, self.name, self.shared = folder, name, shared
        self._file = None
        self._id = uuid.uuid4().hex[:12]
        self._stopped = threading.Event()
        self._renewing: threading.Thread | None = None

    def acquire(self, wait_s: float = 0.0) -> "RunLock":
        """Raises ValueError when another run holds it, and still does after `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._take_lease() if self.folder.is_remote else self._lock_file()
                return self
            except ValueError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(SETTLE_S)

    def release(self, remove: bool = False) -> None:
        """`remove`: delete the file too; before it is let go, so that nobody holds a lock on a file that is gone."""
        if self._file is not None:
            if remove:
                Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None
        if self._renewing is not None:
            self._stopped.set()
            self._renewing.join()
            self._renewing = None
            with contextlib.suppress(OSError):  # of a store that is gone the run itself tells; the lease runs out
                self.folder.delete(self._lease)

    def _refused(self, details: str = "") -> ValueError:
        return ValueError(f"another run is writing to {self.folder.address}{details}: wait for it or stop it first.")

    def _lock_file(self) -> None:
        path = Path(self.folder.place(self.name))
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a")
            if not lock_file(file, shared=self.shared):
                file.close()
                raise self._refused()
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    self._file = file
                    return
            file.close()  # the run that held it has deleted it: this lock is on no file that others see

    @property
    def _lease(self) -> str:
        return f"{self.name}-{'shared' if self.shared else 'exclusive'}-{self._id}.json"

    def _take_lease(self) -> None:
        """Of two runs that begin at once, the one with the lower id goes on; one that holds its lease always does."""
        seen: dict[str, float] = {}
        told = False
        self._write_lease(held=False)
        try:
            time.sleep(SETTLE_S)
            while others := self._others(self._write_lease(held=False)):
                for name, (modified, lease) in others.items():
                    is_alive = seen.setdefault(name, modified) != modified
                    if is_alive or (not lease["held"] and lease["id"] < self._id):
                        raise self._refused(f" (process {lease['process']} on {lease['host']})")
                if all(not lease["held"] for _, lease in others.values()):
                    break
                if not told:
                    logger.warning("%s is locked; waiting up to %.0f s to see by whom.", self.folder.address, LEASE_S)
                    told = True
                time.sleep(SETTLE_S)
            self._write_lease(held=True)
        except BaseException:
            self.folder.delete(self._lease)
            raise
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._renewing.start()

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_S):
            with contextlib.suppress(OSError):  # a store that does not answer stops the run elsewhere
                self._write_lease(held=True)

    def _write_lease(self, held: bool) -> float:
        """→ when it was written, by the clock of the store."""
        content = {"id": self._id, "held": held, "host": socket.gethostname(), "process": os.getpid()}
        self.folder.write(self._lease, json.dumps(content).encode("utf-8"))
        return self.folder.modified(self._lease) or 0.0

    def _others(self, now: float) -> dict[str, tuple[float, dict]]:
        """Leases that exclude this one and are not known to be of dead runs: name → (when written, content)."""
        found = {}
        for name in self.folder.names():
            if not name.startswith(f"{self.name}-") or name == self._lease or (self.shared and "-shared-" in name):
                continue
            try:
                modified, lease = self.folder.modified(name), json.loads(self.folder.read(name))
            except FileNotFoundError:  # let go of in between
                continue
            if now - modified > LEASE_S or _has_died(lease):
                self.folder.delete(name)
            else:
                found[name] = (modified, lease)
        return found


def _has_died(lease: dict) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if lease["host"] != socket.gethostname():
        return False
    try:
        os.kill(lease["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
