import numpy as np
import pytest

from muq_hf.inference.embed_settings import EmbedSettings
from muq_hf.inference.journal import Journal


SETTINGS = EmbedSettings(
    model="m",
    revision="r",
    weights="w",
    dtype="float32",
    layers=(2,),
    pool="mean",
    chunk_length_s=None,
    window_length_s=30.0,
    stride_length_s=0.0,
    version="1",
)


def records(journal: Journal, starts: list[int]) -> np.ndarray:
    values = np.zeros(len(starts), journal.dtype)
    values["start"] = starts
    values["frames"] = 1
    values["vectors"] = np.array(starts)[:, None, None]
    return values


@pytest.fixture
def files(tmp_path) -> list[str]:
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path in paths:
        path.write_bytes(b"some audio")
    return [str(path) for path in paths]


@pytest.fixture
def filled(tmp_path, files) -> Journal:
    """a: complete with windows 0 and 960; b: window 0 only."""
    journal = Journal(tmp_path / "j", (1, 3)).create(SETTINGS, replace=True)
    a, b = files
    journal.append([a, b], records(journal, [0, 0]))
    journal.append([a], records(journal, [960]))
    journal.complete(a, 2)
    journal.close()
    return journal


def reopened(journal: Journal) -> Journal:
    return Journal(journal.folder, (1, 3)).reopen()


def test_reopening_finds_what_was_stored(filled, files):
    a, b = files
    journal = reopened(filled)
    assert journal.is_complete(a) and not journal.is_complete(b)
    assert journal.windows_done(a) == {0, 960} and journal.windows_done(b) == {0}
    [(path, stored)] = journal.complete_files([])
    assert path == a and stored["vectors"][:, 0, 0].tolist() == [0, 960]
    assert Journal.stored_settings(journal.folder) == (SETTINGS, True)


def test_torn_ends_are_cut_off_and_writing_goes_on(filled, files):
    a, b = files
    with open(filled.folder / "windows.bin", "ab") as file:
        file.write(b"torn record")
    with open(filled.folder / "files.jsonl", "ab") as file:
        file.write(b'{"file": 1, "wind')
    journal = reopened(filled)
    journal.append([b], records(journal, [960]))
    journal.complete(b, 2)
    journal.close()
    assert [path for path, _ in reopened(filled).complete_files([b])] == [b, a]


def test_a_changed_file_is_begun_again(filled, files):
    a, _ = files
    with open(a, "ab") as file:
        file.write(b"more")
    journal = reopened(filled)
    assert not journal.is_complete(a) and not journal.windows_done(a)
    journal.append([a], records(journal, [0]))
    journal.complete(a, 1)
    assert {path: len(stored) for path, stored in journal.complete_files([])} == {a: 1}


def test_a_forgotten_file_is_not_among_the_complete_ones(filled, files):
    journal = reopened(filled)
    journal.forget(files[0])
    assert list(journal.complete_files(files)) == []


def test_a_second_run_on_the_same_journal_is_refused(filled):
    journal = reopened(filled)
    with pytest.raises(ValueError, match="another run is writing"):
        reopened(filled)
    with pytest.raises(ValueError, match="another run is writing"):
        Journal(filled.folder, (1, 3)).create(SETTINGS, replace=True)
    journal.close()
    reopened(filled).close()


def test_removing_leaves_what_others_put_there(filled):
    (filled.folder / "mine.txt").write_text("keep")
    reopened(filled).remove()
    assert [path.name for path in filled.folder.iterdir()] == ["mine.txt"]


def test_damaged_settings_are_refused_with_the_remedy(filled):
    (filled.folder / "settings.json").write_text("{")
    with pytest.raises(ValueError, match="--overwrite"):
        Journal.stored_settings(filled.folder)
