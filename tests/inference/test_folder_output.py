"""A folder of fragments: rows, resuming, failures that are tried again, and jobs of an array."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from muq_hf.inference.embedding import embed_files
from muq_hf.inference.encoding import WindowEncoder
from muq_hf.inference.shards import ShardWorker
from muq_hf.storage.run_lock import RunLock


@pytest.fixture
def embed(tiny_model, tmp_path):
    """embed(inputs, **options) → report; the output is the folder `out/`."""

    def run(inputs, **options):
        options = {"output": f"{tmp_path}/out/", "workers": 0, "progress": False, "files_per_shard": 2, **options}
        return embed_files(inputs, tiny_model, **options)

    return run


@pytest.fixture
def songs(write_song) -> list[Path]:
    return [write_song(f"songs/{index}.wav", 0.3 + 0.1 * index, index) for index in range(5)]


def table(folder: Path) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, sorted(folder.glob("part-*.parquet"))), ignore_index=True)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}


def test_fragments_together_are_the_one_table(embed, songs, tmp_path, tiny_model):
    report = embed(songs)
    assert report.rows == report.files == 5 and sorted(times(tmp_path / "out")) == [f"part-00000{n}.parquet" for n in range(3)]
    whole = embed_files(songs, tiny_model, tmp_path / "e.parquet", workers=0, progress=False)
    expected = pd.read_parquet(whole.output)
    found = table(tmp_path / "out")
    assert found.drop(columns="embedding").equals(expected.drop(columns="embedding"))
    np.testing.assert_allclose(np.stack(found.embedding), np.stack(expected.embedding), atol=1e-5)
    assert pq.read_schema(tmp_path / "out" / "part-000000.parquet").equals(pq.read_schema(whole.output), check_metadata=True)


def test_dataset_readers_pass_over_the_state_of_the_run(embed, songs, tmp_path):
    embed(songs)
    assert pyarrow.dataset.dataset(tmp_path / "out", format="parquet").count_rows() == 5


def test_resume_does_the_missing_shards_only(embed, songs, tmp_path):
    embed(songs)
    (tmp_path / "out" / "part-000001.parquet").unlink()
    before = times(tmp_path / "out")
    report = embed(songs, resume=True)
    after = times(tmp_path / "out")
    assert report.rows == 5 and report.audio_seconds == pytest.approx(0.5 + 0.6) and before.items() <= after.items()


def test_resume_redoes_changed_files_and_adds_new_ones(embed, songs, write_song, tmp_path):
    embed(songs[:4])
    write_song("songs/1.wav", 0.9, 77)
    report = embed(songs, resume=True)
    assert report.rows == 5 and report.audio_seconds == pytest.approx(0.9 + 0.7)
    rows = table(tmp_path / "out").set_index("path")
    assert rows.index.is_unique and rows.end[str(songs[1])] == pytest.approx(0.9)


def test_failures_are_kept_and_tried_again_when_asked_or_changed(embed, songs, write_song, tmp_path, monkeypatch):
    songs[1].write_text("no music")
    report = embed(songs)
    assert [failure.path for failure in report.failures] == [str(songs[1])] and report.rows == 4
    lines = [json.loads(line) for line in Path(report.failures_file).read_text().splitlines()]
    assert [(line["path"], line["reason"]) for line in lines] == [(str(songs[1]), "unreadable")]
    report = embed(songs, resume=True)
    assert len(report.failures) == 1 and report.rows == 4 and len(times(tmp_path / "out")) == 3
    report = embed(songs, resume=True, retry_failed=True)
    assert len(report.failures) == 1 and len(times(tmp_path / "out")) == 4, "it was tried, in a shard of its own"
    write_song("songs/1.wav", 0.5, 1)
    report = embed(songs, resume=True)
    assert report.rows == 5 and not report.failures and not Path(report.failures_file).exists()


def test_an_existing_run_is_refused_unless_it_is_resumed_or_replaced(embed, songs, tmp_path):
    embed(songs)
    with pytest.raises(ValueError, match="holds a run: --resume continues .* --overwrite"):
        embed(songs)
    assert embed(songs[:1], overwrite=True).rows == 1 and len(times(tmp_path / "out")) == 1


def test_other_settings_and_another_model_are_refused_by_name(embed, songs, tmp_path, tiny_model):
    embed(songs)
    with pytest.raises(ValueError, match="pool 'mean' there, 'max' now"):
        embed(songs, resume=True, pool="max")
    other = type(tiny_model)(tiny_model.config)
    with pytest.raises(ValueError, match="made with other settings .*weights"):
        ShardWorker(tmp_path / "out", other, workers=0)


def test_a_second_driver_is_refused(embed, songs, tmp_path):
    embed(songs[:1])
    from muq_hf.storage.remote import Folder

    lock = RunLock(Folder(tmp_path / "out" / "_muq_hf")).acquire()
    with pytest.raises(ValueError, match="another run is writing to"):
        embed(songs, resume=True)
    lock.release()
    assert embed(songs, resume=True).rows == 5


def test_jobs_of_an_array_share_one_plan(embed, songs, tmp_path):
    rows = [embed(songs, part=(index, 3)) for index in range(3)]
    assert [report.files for report in rows] == [2, 2, 1] and sorted(table(tmp_path / "out").path) == sorted(map(str, songs))


def test_a_shard_can_be_done_by_name_and_is_done_once(embed, songs, tmp_path, tiny_model, monkeypatch):
    embed(songs)
    (tmp_path / "out" / "part-000002.parquet").unlink()
    worker = ShardWorker(tmp_path / "out", tiny_model, workers=0)
    receipt = worker(2)
    assert (receipt.shard, receipt.rows, receipt.files, receipt.failures) == (2, 1, 1, 0)
    monkeypatch.setattr(WindowEncoder, "__call__", None)
    assert worker(2).files == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "e.parquet", "retry_failed": True, "files_per_shard": None}, "--retry-failed: for a folder of fragments"),
        ({"files_per_shard": 0}, "at least 1"),
        ({"part": (3, 3)}, "one of 0/3 to 2/3, got 3/3"),
        ({"part": (0, 3), "overwrite": True}, "leave --overwrite"),
        ({"output": "s3://bucket/e.parquet", "files_per_shard": None}, "end --output in '/'"),
        ({"output": "s3://bucket/frames", "pool": "none", "files_per_shard": None}, "a folder on a disk"),
        ({"output": "caf\udce9.parquet", "files_per_shard": None}, "is no UTF-8"),
        ({"output": "/proc/nowhere/", "files_per_shard": None}, "cannot be written"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_any_work(embed, songs, monkeypatch, options, message):
    monkeypatch.setattr("muq_hf.inference.embedding.load_embedding_model", None)
    with pytest.raises((ValueError, OSError), match=message):
        embed(songs, **options)
