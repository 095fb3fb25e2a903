"""Clips that are streamed from shards: none twice and none lost, for any number of processes, and after a resumption."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from training_runs import CLIP_SECONDS, MODEL, write_music

from muq_hf import MuQConfig
from muq_hf.audio import load_audio
from muq_hf.training.clip_shards import StreamedClips, write_clip_shards
from muq_hf.training.clips import BlockMasking


CONFIG = MuQConfig(**MODEL)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    return write_music(tmp_path_factory.mktemp("music") / "tracks", 8, 6.0)  # tracks are split by folder and name


@pytest.fixture(scope="module")
def folder(music, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "shards"
    assert write_clip_shards(music, folder, CLIP_SECONDS, num_shards=4, eval_share=0.2) == []
    return folder


class Recorded(StreamedClips):
    """Clips by their number, in place of their audio."""

    def item(self, row: dict) -> int:
        return row["number"]


def stream(folder, kind=Recorded, **options) -> StreamedClips:
    return kind(folder, CONFIG, CLIP_SECONDS, seed=0, **options)


def take(clips: StreamedClips, count: int) -> list:
    return list(itertools.islice(clips, count))


def test_every_clip_comes_once_an_epoch_whatever_the_number_of_processes(folder):
    count = stream(folder).num_clips
    assert count == sum(json.loads((folder / "clips.json").read_text())["clips"]) > 20
    assert sorted(take(stream(folder), count)) == list(range(count))
    parts = []
    for rank in range(2):
        own = stream(folder, rank=rank, world_size=2)
        parts += take(own, len([1 for _ in own_epoch(folder, rank)]))
    assert sorted(parts) == list(range(count))


def own_epoch(folder, rank: int) -> list:
    """What one epoch holds for a process."""
    clips = stream(folder, rank=rank, world_size=2)
    return list(clips._stream)


def test_epochs_have_another_order_and_runs_the_same(folder):
    count = stream(folder).num_clips
    two = take(stream(folder), 2 * count)
    assert two[:count] != two[count:] and sorted(two[count:]) == list(range(count)) and two == take(stream(folder), 2 * count)


@pytest.mark.parametrize("place", [0, 1, 7, 8, 9, 17, 30, 41])
def test_a_resumed_stream_goes_on_with_the_next_clip(folder, place):
    whole = take(stream(folder), 60)
    first = stream(folder)
    begun = take(first, place)
    second = stream(folder)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert begun + take(second, 60 - place) == whole


def test_items_are_the_music_with_masks(folder, music):
    clips = stream(folder, StreamedClips, masking=BlockMasking.from_config(CONFIG))
    row = next(iter(clips._stream))
    wave, _ = soundfile.read(io.BytesIO(row["audio"]), dtype="float32")
    expected = load_audio(row["track"], start=row["start"], end=row["start"] + CLIP_SECONDS)
    np.testing.assert_allclose(wave, expected, atol=1e-4)
    item = next(iter(clips))
    assert item["input_values"].shape == (32 * 960,) and item["block_mask"].any()
    assert torch.equal(item["mask_noise"], next(iter(stream(folder, StreamedClips, masking=clips.masking)))["mask_noise"])


def test_the_writer_lists_what_is_trained_on_and_keeps_it_from_evaluation(folder, music):
    listed = [json.loads(line) for line in (folder / "training_files.jsonl").read_text().splitlines()]
    assert 0 < len(list((folder / "eval").iterdir())) == 8 - len(listed) and all(len(entry["sha256"]) == 64 for entry in listed)


def test_what_does_not_fit_is_refused(folder, music, tmp_path):
    with pytest.raises(ValueError, match="4 shards cannot be dealt out evenly to 3 processes"):
        stream(folder, world_size=3)
    with pytest.raises(ValueError, match="clip_seconds 1.28, 2 is asked for"):
        StreamedClips(folder, CONFIG, 2.0, 0)
    with pytest.raises(ValueError, match="fewer than 99 shards"):
        write_clip_shards(music, tmp_path / "new", CLIP_SECONDS, num_shards=99)
