"""Storage that does not answer is waited for; one that refuses is an error at once; writes on a disk are whole or not there."""

import pytest
from pyarrow.fs import LocalFileSystem

from muq_hf.inference.decoding_worker import OUTAGE, FileFailure
from muq_hf.inference.encode_loop import encode_files
from muq_hf.storage import remote
from muq_hf.storage.remote import Folder, StorageError, file_version, patiently


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """How long was waited, on a clock that the waiting moves."""
    spent: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", spent.append)
    monkeypatch.setattr(remote.time, "monotonic", lambda: sum(spent))
    return spent


def failing(times: int, error: Exception):
    calls = []

    def action(*arguments) -> int:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return action


def test_a_store_that_does_not_answer_for_a_while_is_waited_for(waits):
    assert patiently(failing(6, OSError("AWS Error NETWORK_CONNECTION")), "s3://b/k") == 7
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_one_that_never_answers_is_an_error_that_says_how_to_go_on(waits, monkeypatch):
    monkeypatch.setenv(remote.PATIENCE_VARIABLE, "20")
    with pytest.raises(StorageError, match="s3://b/k has not answered for .* s: .*NETWORK.*--resume continues"):
        patiently(failing(99, OSError("AWS Error NETWORK_CONNECTION")), "s3://b/k")
    assert sum(waits) <= 20


@pytest.mark.parametrize("reason", ["AWS Error ACCESS_DENIED", "AWS Error NO_SUCH_BUCKET"])
def test_a_refusal_is_an_error_at_once(waits, reason):
    with pytest.raises(StorageError, match=f"cannot be used: {reason}"):
        patiently(failing(1, OSError(reason)), "s3://b/k")
    assert waits == []


def test_a_missing_file_is_no_outage(waits):
    with pytest.raises(FileNotFoundError):
        patiently(failing(1, FileNotFoundError("k")), "s3://b/k")
    assert waits == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.write("a/b", b"old")
    monkeypatch.setattr(remote.os, "fsync", failing(1, OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        folder.write("a/b", b"new")
    assert folder.read("a/b") == b"old" and folder.names("a") == ["a/b"]


def test_a_file_written_in_pieces_to_a_store_is_whole_or_what_it_was_before(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "file_system", lambda address: (LocalFileSystem(), str(tmp_path)))

    def cut_off(file) -> None:
        file.write(b"ne")
        raise KeyboardInterrupt

    folder = Folder("s3://bucket")
    folder.write_by("plan", lambda file: file.write(b"old"))
    with pytest.raises(KeyboardInterrupt):
        folder.write_by("plan", cut_off)
    assert folder.read("plan") == b"old"
    folder.sweep()
    assert folder.names() == ["plan"]


def test_versions_tell_changes_of_local_files_only(tmp_path):
    assert file_version("s3://b/k") == "" and file_version(str(tmp_path / "none")) == "missing"


def test_an_outage_stops_the_run_and_is_nobodys_failure(monkeypatch):
    """Nothing reaches the collector, which is None here."""

    class Pool:
        def __init__(self, *arguments, **options): ...
        def __enter__(self):
            return self

        def __exit__(self, *exception): ...
        def __iter__(self):
            yield FileFailure("s3://b/k", OUTAGE, "s3://b/k has not answered for 120 s")

        def waiting(self) -> bool:
            return False

    monkeypatch.setattr("muq_hf.inference.encode_loop.DecodingPool", Pool)
    with pytest.raises(StorageError, match="has not answered"):
        list(encode_files([], None, None, 1, 0))
