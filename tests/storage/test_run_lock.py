"""Locks on a disk: one holder, also when the file of the lock is deleted and made anew."""

from pathlib import Path

import pytest

from muq_hf.storage.remote import Folder
from muq_hf.storage.run_lock import RunLock


def lock(folder: Path, **options) -> RunLock:
    return RunLock(Folder(folder), **options)


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path):
    first = lock(tmp_path).acquire()
    with pytest.raises(ValueError, match="another run is writing"):
        lock(tmp_path).acquire()
    first.release(remove=True)
    lock(tmp_path).acquire().release()


def test_shared_locks_exclude_exclusive_ones_only(tmp_path):
    held = [lock(tmp_path, shared=True).acquire() for _ in range(2)]
    with pytest.raises(ValueError, match="another run"):
        lock(tmp_path).acquire()
    for one in held:
        one.release()
    lock(tmp_path).acquire().release()


def test_a_lock_on_a_file_that_was_deleted_is_not_taken_for_one(tmp_path, monkeypatch):
    """The first holder deletes the file while the second, which has opened it, gets its lock."""
    from muq_hf.storage import run_lock

    opened = []
    real_lock = run_lock.lock_file

    def lock_after_deletion(file, shared=False):
        if not opened:
            Path(file.name).unlink()
        opened.append(file.name)
        return real_lock(file, shared=shared)

    monkeypatch.setattr(run_lock, "lock_file", lock_after_deletion)
    second = lock(tmp_path).acquire()
    assert len(opened) == 2 and (tmp_path / "lock").exists()
    with pytest.raises(ValueError, match="another run"):
        lock(tmp_path).acquire()
    second.release()
