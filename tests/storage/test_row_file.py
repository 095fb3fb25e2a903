"""Rows on disk survive being cut off anywhere."""

import json
import pickle

import numpy as np
import pytest

from muq_hf.storage.row_file import RowFile


def open_rows(folder) -> RowFile:
    return RowFile(folder / "data.bin", folder / "index.jsonl", np.float32, 3)


def block(number: int) -> np.ndarray:
    return np.arange(3.0 * (number + 1), dtype=np.float32).reshape(-1, 3) + 100 * number


def fill(rows: RowFile, numbers) -> None:
    for number in numbers:
        key = f"clip {number}"
        if key not in rows:
            rows.add([key], [block(number)])


def assert_holds(rows: RowFile, numbers) -> None:
    for number in numbers:
        first, count = rows.place(f"clip {number}")
        assert np.array_equal(rows.table[first : first + count], block(number))
    assert len(rows) == sum(len(block(number)) for number in numbers)


def test_rows_come_back_from_the_disk_and_in_another_process(tmp_path):
    rows = open_rows(tmp_path)
    fill(rows, range(4))
    assert_holds(rows, range(4))
    assert_holds(open_rows(tmp_path), range(4))
    assert_holds(pickle.loads(pickle.dumps(rows)), range(4))


@pytest.mark.parametrize("cut", ["data.bin", "index.jsonl"])
def test_whatever_byte_a_run_ends_at_the_next_one_gives_the_same_rows(tmp_path, cut):
    whole = tmp_path / "whole"
    whole.mkdir()
    fill(open_rows(whole), range(4))
    content = {name: (whole / name).read_bytes() for name in ("data.bin", "index.jsonl")}
    for size in range(len(content[cut])):
        folder = tmp_path / f"{cut} {size}"
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data[:size] if name == cut else data)
        fill(open_rows(folder), range(4))
        assert_holds(open_rows(folder), range(4))


def test_a_reader_passes_over_a_torn_end_and_leaves_the_files_alone(tmp_path):
    fill(open_rows(tmp_path), range(3))
    with open(tmp_path / "index.jsonl", "a") as index:
        index.write('["half')
    before = [(tmp_path / name).read_bytes() for name in ("data.bin", "index.jsonl")]
    assert_holds(open_rows(tmp_path), range(3))
    assert [(tmp_path / name).read_bytes() for name in ("data.bin", "index.jsonl")] == before


def test_an_index_of_tokens_of_an_earlier_version_is_read(tmp_path):
    block(1).tofile(tmp_path / "data.bin")
    (tmp_path / "index.jsonl").write_text(json.dumps({"key": "clip 1", "first": 0, "frames": 2}) + "\n")
    assert_holds(open_rows(tmp_path), [1])


def test_rows_of_another_width_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows of 3 numbers, got the shape \(1, 4\)"):
        open_rows(tmp_path).add(["clip"], [np.zeros((1, 4))])
