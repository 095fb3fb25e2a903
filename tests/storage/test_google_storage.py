"""Google Cloud Storage, by an emulator of it on this machine: folders, listings, and a run from gs:// to gs://."""

import shutil
import socket
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from checks import EXAMPLE_AUDIO

from muq_hf.checkpoints import MUQ_TINY
from muq_hf.inference.embedding import embed_files
from muq_hf.storage.remote import Folder, StorageError, list_files


pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch):
    """→ gs://music, empty."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--in-memory", "--default-bucket", "music"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "the emulator did not start"
            time.sleep(0.1)
        yield "gs://music"
    finally:
        server.kill()
        server.wait()


def test_a_folder_there_is_written_listed_read_and_cleared(bucket):
    folder = Folder(f"{bucket}/run")
    assert folder.names() == [] and not folder.exists("a/b.txt")
    folder.write("a/b.txt", b"123")
    folder.write("c.txt", b"4")
    assert folder.names() == ["c.txt"] and folder.names("a") == ["a/b.txt"] and folder.read("a/b.txt") == b"123"
    assert [(path, version.split(":")[0]) for path, version in list_files(f"{bucket}/run")] == [
        ("gs://music/run/a/b.txt", "3"),
        ("gs://music/run/c.txt", "1"),
    ]
    folder.delete("a/b.txt")
    folder.delete("a/b.txt")
    assert folder.names("a") == []


def test_a_run_goes_from_there_to_there_and_is_continued(bucket, tmp_path):
    songs, local = Folder(f"{bucket}/songs"), tmp_path / "songs"
    local.mkdir()
    for clip in sorted(EXAMPLE_AUDIO.glob("*.ogg"))[:3]:
        songs.write(clip.name, clip.read_bytes())
        shutil.copy(clip, local)
    options = {"model": MUQ_TINY, "workers": 0, "progress": False}
    output = f"{bucket}/embeddings/"
    embed_files(f"{bucket}/songs", output=output, files_per_shard=2, **options)
    Folder(output).delete("part-000000.parquet")
    report = embed_files(f"{bucket}/songs", output=output, files_per_shard=2, resume=True, **options)
    assert report.rows == report.files == 3 and not report.failures
    embed_files(local, output=tmp_path / "expected.parquet", **options)
    parts = [pq.read_table(Folder(output).open(f"part-00000{part}.parquet")) for part in range(2)]
    found = [vector for part in parts for vector in part["embedding"].to_pylist()]
    assert found == pq.read_table(tmp_path / "expected.parquet")["embedding"].to_pylist()


def test_a_bucket_that_is_not_there_is_told(bucket):
    with pytest.raises(FileNotFoundError, match="nothing at gs://nowhere/songs"):
        list(list_files("gs://nowhere/songs"))
    with pytest.raises(StorageError, match="gs://nowhere/run cannot be written"):
        Folder("gs://nowhere/run").check_writable("state")
