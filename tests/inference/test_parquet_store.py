import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muq_hf.audio import load_audio
from muq_hf.inference import parquet_store
from muq_hf.inference.embedding import embed_files


@pytest.fixture
def table_file(write_song, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_store, "ROWS_PER_GROUP", 2)
    songs = [write_song(f"{name}.wav", 1.3, seed) for seed, name in enumerate("abc")]
    embed_files(songs, tiny_model, tmp_path / "e.parquet", chunk_length_s=0.6, workers=0, progress=False)
    return tmp_path / "e.parquet"


def test_columns_types_and_row_groups(table_file):
    file = pq.ParquetFile(table_file)
    assert file.schema_arrow.field("embedding").type == pa.list_(pa.float32(), 32)
    types = {name: str(file.schema_arrow.field(name).type) for name in ("path", "start", "end", "layer")}
    assert types == {"path": "string", "start": "double", "end": "double", "layer": "int32"}
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 2]


def test_settings_stand_in_the_metadata(table_file):
    settings = json.loads(pq.read_schema(table_file).metadata[b"muq_hf"])
    assert settings["pool"] == "mean" and settings["layers"] == [2] and settings["chunk_length_s"] == 0.6
    assert pq.read_table(table_file)["fingerprint"].to_pylist() == [settings["fingerprint"]] * 6
    assert parquet_store.read_settings(table_file).fingerprint == settings["fingerprint"]


def test_vectors_come_out_as_one_numpy_matrix_without_copy(table_file):
    column = pq.read_table(table_file)["embedding"].combine_chunks()
    matrix = column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), -1)
    assert matrix.shape == (6, 32) and matrix.dtype == np.float32 and np.isfinite(matrix).all()


def test_datasets_reads_it(table_file, tmp_path):
    from datasets import Dataset

    dataset = Dataset.from_parquet(str(table_file), cache_dir=str(tmp_path / "cache")).with_format("numpy")
    assert dataset["embedding"][:].shape == (6, 32)
    row = dataset[4]
    assert row["path"].endswith("c.wav") and row["start"] == 0.0 and row["end"] == 0.6
    assert len(load_audio(row["path"], start=row["start"], end=row["end"])) == 14_400


def test_rows_are_kept_in_groups_when_a_table_is_extended(table_file, write_song, tiny_model):
    before = pq.read_table(table_file)
    options = {"chunk_length_s": 0.6, "workers": 0, "progress": False, "resume": True}
    report = embed_files(write_song("d.wav", 1.3, 9), tiny_model, table_file, **options)
    after = pq.read_table(table_file)
    assert report.rows == 8 and after.slice(0, 6).equals(before)
    assert after["path"].to_pylist()[6].endswith("d.wav")
