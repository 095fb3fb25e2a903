"""Files that are complete even if a run is cut off while it writes them, and locks between processes."""

import errno
import json
import os
from pathlib import Path
from typing import IO


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_json(path: Path, content) -> None:
    replace_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_text(path: str | os.PathLike) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises ValueError for one that is missing or in another encoding."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8.") from error


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def lock_file(file: IO, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file until it is closed → False when another process has it; with `wait`, once that lets go of it.

    `shared` locks exclude only those that are not.

    The system lets go of a lock with the process that holds it, however that ends. On Windows and in network folders without
    locks, two runs at once are not noticed.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    return True
