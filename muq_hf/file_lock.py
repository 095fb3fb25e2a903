"""One writer at a time. The system lets go of a lock with the process that holds it, however that ends."""

import errno
from typing import IO


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock_file(file: IO, wait: bool = False) -> bool:
    """Lock an open file until it is closed → False when another process has it; with `wait`, once that lets go of it.

    On Windows and in network folders without locks, two runs at once are not noticed.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    return True
