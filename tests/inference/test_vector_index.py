"""Exact search against a sort of all cosines, and the copy it reads."""

import json
import os
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muq_hf.inference import vector_index
from muq_hf.inference.vector_index import VectorIndex


def write_table(file, vectors, layers=None, without=(), first=0):
    count = len(vectors)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1).astype(np.float32)), vectors.shape[1])
    columns = {
        "path": [f"song {first + index}.mp3" for index in range(count)],
        "start": np.arange(count) * 10.0,
        "end": np.arange(count) * 10.0 + 10,
        "layer": pa.array(np.full(count, -1) if layers is None else layers, pa.int32()),
        "embedding": embedding,
    }
    table = pa.table({name: column for name, column in columns.items() if name not in without})
    pq.write_table(table, file, row_group_size=64)
    return file


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((500, 16)) * np.linspace(0.1, 10, 500)[:, None]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(vector_index, "ROWS_AT_ONCE", 96)


@pytest.mark.parametrize("top_k", [1, 7, 500, 900])
def test_search_is_the_sort_of_all_cosines(vectors, tmp_path, top_k):
    queries = np.random.default_rng(1).standard_normal((3, 16))
    scores, rows = VectorIndex(write_table(tmp_path / "t.parquet", vectors)).search(queries, top_k)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    expected = -np.sort(-cosines, axis=1)[:, :top_k]
    assert scores.shape == rows.shape == expected.shape
    np.testing.assert_allclose(scores, expected, atol=1e-3)  # half precision
    np.testing.assert_allclose(np.take_along_axis(cosines, rows, axis=1), scores, atol=1e-3)


def test_hits_tell_file_and_time(vectors, tmp_path):
    index = VectorIndex(write_table(tmp_path / "t.parquet", vectors))
    scores, rows = index.search(vectors[[321]], 2)
    best = index.hits(scores[0], rows[0])[0]
    assert (best.path, best.start, best.end) == ("song 321.mp3", 3210.0, 3220.0)
    assert best.score == pytest.approx(1.0, abs=1e-3)


def test_copy_is_made_once_and_again_after_a_change(vectors, tmp_path):
    path = write_table(tmp_path / "t.parquet", vectors)
    made = VectorIndex(path).sidecar.stat().st_mtime_ns
    assert VectorIndex(path).sidecar.stat().st_mtime_ns == made
    write_table(path, vectors[:100])
    assert VectorIndex(path).num_rows == 100


def test_a_cut_copy_is_made_anew(vectors, tmp_path):
    index = VectorIndex(write_table(tmp_path / "t.parquet", vectors))
    os.truncate(index.sidecar, 1000)
    assert VectorIndex(tmp_path / "t.parquet").search(vectors[:1], 1)[1].tolist() == [[0]]


HEADERS = {
    "nothing": b"",
    "zeros": bytes(1000),
    "text": b"This is no copy.\n" * 100,
    "a list": struct.pack("<Q", 4) + b"[ 1]",
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "endless": struct.pack("<Q", 2**63) + b"{}",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_copy_of_any_content_is_made_anew(vectors, tmp_path, content):
    index = VectorIndex(write_table(tmp_path / "e.parquet", vectors))
    expected = index.search(vectors[:1], 3)
    index.sidecar.write_bytes(content)
    for one, other in zip(VectorIndex(tmp_path / "e.parquet").search(vectors[:1], 3), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("change", [{"dtype": "F32"}, {"shape": [1, -1]}, {"shape": "wide"}, {"data_offsets": [9, 3]}])
def test_a_copy_whose_header_lies_is_made_anew(vectors, tmp_path, change):
    index = VectorIndex(write_table(tmp_path / "e.parquet", vectors))
    data = index.sidecar.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["vectors"] |= change
    lying = json.dumps(header).encode()
    index.sidecar.write_bytes(struct.pack("<Q", len(lying)) + lying + data[8 + length :])
    assert VectorIndex(tmp_path / "e.parquet").search(vectors[:1], 1)[1][0, 0] == 0


def test_what_a_killed_writer_left_is_swept(vectors, tmp_path):
    path = write_table(tmp_path / "e.parquet", vectors)
    old, new = (tmp_path / f"e.parquet.float16.safetensors.{number}.tmp" for number in (1, 2))
    old.touch(), new.touch()
    os.utime(old, (0, 0))
    VectorIndex(path)
    assert not old.exists() and new.exists()


def test_rows_with_nan_never_rank(vectors, tmp_path):
    vectors = vectors.copy()
    vectors[0, 0] = np.nan
    index = VectorIndex(write_table(tmp_path / "e.parquet", vectors))
    scores, rows = index.search(vectors[1:2], len(vectors))
    assert rows[0, 0] == 1 and rows[0, -1] == 0 and scores[0, -1] == -np.inf


def test_copy_is_a_safetensors_file(vectors, tmp_path):
    from safetensors.numpy import load_file

    index = VectorIndex(write_table(tmp_path / "t.parquet", vectors))
    stored = load_file(index.sidecar)["vectors"]
    np.testing.assert_allclose(np.linalg.norm(stored.astype(np.float32), axis=1), 1, atol=2e-3)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones((1, 7)), "vectors of size 16"),
        (np.zeros((1, 16)), "no direction"),
        (np.full((1, 16), np.nan), "no direction"),
    ],
)
def test_bad_queries_are_refused(vectors, tmp_path, queries, message):
    index = VectorIndex(write_table(tmp_path / "t.parquet", vectors))
    with pytest.raises(ValueError, match=message):
        index.search(queries, 3)


def test_tables_that_cannot_be_searched_are_refused(vectors, tmp_path):
    with pytest.raises(ValueError, match="layers \\[3, 4\\]"):
        VectorIndex(write_table(tmp_path / "a.parquet", vectors, layers=np.arange(500) % 2 + 3))
    with pytest.raises(ValueError, match="lacks the column 'path'"):
        VectorIndex(write_table(tmp_path / "b.parquet", vectors, without=["path"]))
    with pytest.raises(ValueError, match="no rows"):
        VectorIndex(write_table(tmp_path / "c.parquet", vectors[:0]))
    with pytest.raises(ValueError, match="cannot be read"):
        VectorIndex(tmp_path / "nowhere.parquet")


def test_folders_without_rows_say_what_is_there_and_what_to_do(vectors, tmp_path):
    with pytest.raises(ValueError, match="holds no fragment .*embed music into it"):
        VectorIndex(tmp_path)
    (tmp_path / "_muq_hf").mkdir()
    (tmp_path / "_muq_hf" / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match="no shard is done yet: .*--resume"):
        VectorIndex(tmp_path)
    (tmp_path / "_muq_hf" / "failures.jsonl").write_text("{}")
    write_table(tmp_path / "part-000000.parquet", vectors[:0])
    with pytest.raises(ValueError, match="1 fragments .* have no rows: .*failures.jsonl says why. .*--retry-failed"):
        VectorIndex(tmp_path)


def test_a_folder_of_fragments_is_searched_as_one_table(vectors, tmp_path):
    folder = tmp_path / "run"
    (folder / "_muq_hf").mkdir(parents=True)
    for number, (first, last) in enumerate(((0, 200), (200, 200), (200, 500))):
        write_table(folder / f"part-{number:06d}.parquet", vectors[first:last], first=first)
    whole = VectorIndex(write_table(tmp_path / "t.parquet", vectors))
    index = VectorIndex(folder)
    queries = np.random.default_rng(1).standard_normal((3, 16))
    assert np.array_equal(index.search(queries, 20)[1], whole.search(queries, 20)[1])
    assert index.find(vectors[321], 1)[0].path == "song 321.mp3"
    assert index.sidecar.parent == folder / "_muq_hf"
    write_table(folder / "part-000003.parquet", vectors[:7])
    assert VectorIndex(folder).num_rows == 507


def test_faiss_finds_what_the_exact_search_finds(vectors, tmp_path):
    """So few vectors lie in one cell or few, which a query looks into all."""
    path = write_table(tmp_path / "t.parquet", vectors)
    queries = np.random.default_rng(1).standard_normal((5, 16))
    exact, near = VectorIndex(path), VectorIndex(path, approximate=True)
    np.testing.assert_array_equal(near.search(queries, 10)[1], exact.search(queries, 10)[1])
    np.testing.assert_allclose(near.search(queries, 10)[0], exact.search(queries, 10)[0], atol=1e-3)
    write_table(path, vectors[:100])
    assert VectorIndex(path, approximate=True).search(queries, 200)[1].max() < 100
