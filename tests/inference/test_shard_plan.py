"""The plan of shards: what a run is made of, and what a later one changes in it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muq_hf.inference.file_lists import FILES_SCHEMA, collect_files, paths_of
from muq_hf.inference.shard_plan import ShardPlan, fragment_name, shard_number
from muq_hf.storage.remote import Folder


PLANNING = Path(__file__).parents[2] / "benchmarks" / "planning.py"


def files(**versions: str) -> pa.Table:
    """Files named by letters, with versions."""
    return pa.table([[name.encode() for name in versions], list(versions.values())], schema=FILES_SCHEMA)


def shards(plan: ShardPlan) -> dict[int, str]:
    return {number: "".join(path for path, _ in plan.shard(number).files) for number in plan.numbers.tolist()}


@pytest.fixture
def plan() -> ShardPlan:
    return ShardPlan.of_files(files(a="1", b="1", c="1", d="1", e="1"), 2)


def test_files_are_dealt_out_in_order(plan):
    assert shards(plan) == {0: "ab", 1: "cd", 2: "e"} and plan.num_files([0, 2]) == 3


def test_a_plan_comes_back_as_it_was_saved(plan, tmp_path):
    plan.save(Folder(tmp_path))
    assert ShardPlan.load(Folder(tmp_path)).table.equals(plan.table)


def test_the_same_files_leave_the_plan_as_it_is(plan):
    updated, stale = plan.updated(files(a="1", b="1", c="1", d="1", e="1"), done=[0], failed=[], files_per_shard=2)
    assert updated.table.equals(plan.table) and stale == {}


def test_a_changed_file_of_a_shard_that_is_done_goes_to_a_new_one(plan):
    updated, stale = plan.updated(files(a="2", b="1", c="2", d="1", e="1"), done=[0], failed=[], files_per_shard=2)
    assert shards(updated) == {0: "b", 1: "cd", 2: "e", 3: "a"} and stale == {0: {"a"}}
    assert dict(updated.shard(1).files) == {"c": "2", "d": "1"} and updated.shard(3).files == [("a", "2")]


def test_new_files_get_new_shards_and_files_no_longer_asked_for_are_planned_no_more(plan):
    updated, stale = plan.updated(files(f="1", b="1", e="1", g="1", h="1"), done=[0], failed=[], files_per_shard=2)
    assert shards(updated) == {0: "ab", 2: "e", 3: "fg", 4: "h"} and stale == {}


def test_failed_files_are_tried_again_where_that_is_asked(plan):
    updated, stale = plan.updated(files(a="1", b="1", c="1", d="1", e="1"), done=[0, 1], failed=["b"], files_per_shard=2)
    assert shards(updated) == {0: "a", 1: "cd", 2: "e", 3: "b"} and stale == {0: {"b"}}


def test_names_of_fragments_can_be_read_back():
    assert shard_number(fragment_name(12)) == 12
    assert [shard_number(name) for name in ("part-12.parquet", "part-000012.parquet.3.tmp", "x.parquet")] == [None] * 3


def test_a_million_paths_are_planned_in_seconds(tmp_path):
    """As from an S3 Inventory with ETags. The bound on the time is loose: machines are busy."""
    count = 1_000_000
    keys = pa.array([f"songs/{number % 997:03d}/{number:07d}.flac" for number in range(count)])
    tags = pa.array([f"{number:032x}" for number in range(count)])
    bucket = pa.array(["music"] * count).dictionary_encode()
    pq.write_table(pa.table({"bucket": bucket, "key": keys, "size": np.arange(count), "e_tag": tags}), tmp_path / "i.parquet")
    del keys, tags, bucket
    started = time.process_time()
    plan = ShardPlan.of_files(collect_files([tmp_path / "i.parquet"]), 2048)
    assert time.process_time() - started < 10
    assert len(plan) == count and len(plan.numbers) == 489
    assert plan.shard(1).files[0] == ("s3://music/songs/054/0002048.flac", f"2048:{2048:032x}")


@pytest.mark.slow
def test_a_process_that_plans_a_million_paths_grows_by_less_than_150_mb():
    """Also where it saves the plan; what allocators keep and NumPy takes counts."""
    command = [sys.executable, PLANNING, "--files", "1000000"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    read, saved = map(int, re.search(r"grew by (\d+) MB, and by (\d+) MB with the plan saved", printed).groups())
    assert 80 < read <= saved < 150


def test_parquet_manifests_start_at_their_folder_and_bad_rows_are_told(tmp_path):
    table = pa.table({"path": ["a.wav", None, "/music/b.wav", "s3://x/c.wav", "a.wav"], "size": [1, 2, 3, 4, 1]})
    pq.write_table(table, tmp_path / "list.parquet")
    bad = []
    found = collect_files([tmp_path / "list.parquet"], bad.append)
    assert paths_of(found) == [str(tmp_path / "a.wav"), "/music/b.wav", "s3://x/c.wav"]
    assert found["version"].to_pylist() == ["1", "3", "4"]
    assert [line.number for line in bad] == [2]


def test_files_named_twice_are_planned_once_also_across_manifests(tmp_path):
    for name, paths in (("a", ["/x/1.wav", "/x/2.wav", "/x/1.wav"]), ("b", ["/x/3.wav", "/x/2.wav"])):
        pq.write_table(pa.table({"path": paths, "size": range(len(paths))}), tmp_path / f"{name}.parquet")
    found = collect_files([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert paths_of(found) == ["/x/1.wav", "/x/2.wav", "/x/3.wav"] and found["version"].to_pylist() == ["0", "1", "0"]


def test_an_inventory_gives_the_audio_of_a_bucket(tmp_path):
    table = pa.table(
        {"bucket": ["b"] * 3, "key": ["x/1.MP3", "x/cover.jpg", "y.wav"], "e_tag": ["p", "q", "r"], "size": [1, 2, 3]}
    )
    pq.write_table(table, tmp_path / "inventory.parquet")
    found = collect_files(tmp_path / "inventory.parquet")
    assert paths_of(found) == ["s3://b/x/1.MP3", "s3://b/y.wav"] and found["version"].to_pylist() == ["1:p", "3:r"]


def test_a_local_file_has_its_size_and_time_as_version(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"abc")
    os.utime(tmp_path / "a.wav", ns=(5, 7_000_000_000))
    assert collect_files(tmp_path / "a.wav")["version"].to_pylist() == ["3:7000000000"]
