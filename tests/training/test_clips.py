"""Random crops: pure functions of (seed, number), read by seeking."""

import numpy as np
import pytest
import soundfile
import torch
from checks import EXAMPLE_AUDIO
from torch.utils.data import DataLoader
from training_runs import MODEL, RATE, melody, write_music

from muq_hf import MuQConfig
from muq_hf.audio import load_audio
from muq_hf.training.clips import BlockMasking, ClipDataset, ClipSampler, SkipLog, evenly_spread, read_crop
from muq_hf.training.tracks import Track, find_tracks


CONFIG = MuQConfig(**MODEL)
MASKING = BlockMasking.from_config(CONFIG)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return find_tracks(write_music(tmp_path_factory.mktemp("music"), 4, 5.0))[0]


def dataset(tracks, seed=0, **arguments):
    return ClipDataset(tracks, CONFIG, 1.28, seed, masking=MASKING, **arguments)


def same(items, others):
    return all(torch.equal(a[key], b[key]) for a, b in zip(items, others, strict=True) for key in a)


def test_two_runs_see_the_same_crops(tracks):
    assert same([dataset(tracks)[i] for i in range(30)], [dataset(tracks)[i] for i in range(30)])


def test_workers_do_not_change_the_crops(tracks):
    loader = DataLoader(dataset(tracks), batch_size=None, sampler=range(6), num_workers=2)
    assert same(list(loader), [dataset(tracks)[i] for i in range(6)])


def test_seeds_differ(tracks):
    assert not torch.equal(dataset(tracks, 0)[0]["input_values"], dataset(tracks, 1)[0]["input_values"])


def test_a_slot_gives_another_crop_in_the_next_epoch(tracks):
    clips = dataset(tracks)
    assert not torch.equal(clips[0]["input_values"], clips[len(clips)]["input_values"])


def test_crops_are_whole_frames_and_part_of_the_music(tracks):
    item = dataset(tracks)[0]
    crop, whole = item["input_values"].numpy(), load_audio(tracks[0].path)
    assert crop.shape == (32 * 960,)
    assert any(np.array_equal(whole[start : start + len(crop)], crop) for start in np.flatnonzero(whole == crop[0]))


def test_longer_tracks_have_more_slots():
    assert len(ClipDataset([Track("a", 2.0), Track("b", 20.0)], CONFIG, 1.0, 0)) == 2 + 20


@pytest.mark.parametrize("name", ["bach_brandenburg.ogg", "breakbeat_gunroar.ogg"])
def test_a_crop_is_the_resampled_excerpt(name):
    track = Track(str(EXAMPLE_AUDIO / name), 12.0)
    crop = read_crop(track, 3.2, 24_000, RATE, channel=None)
    excerpt = load_audio(track.path, start=3.2, end=4.2)
    inner = slice(480, -480)  # the resampler hears the music around the excerpt, and silence around the crop
    assert np.abs(crop[inner] - excerpt[inner]).max() < 0.01 * np.abs(excerpt).max()


def test_a_crop_decodes_only_itself(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "long.wav", melody(60.0, 0), RATE)
    decoded = []
    original = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *a, **k: decoded.append(original(*a, **k)) or decoded[-1])
    read_crop(Track(str(tmp_path / "long.wav"), 60.0), 40.0, 24_000, RATE, channel=None)
    assert sum(len(block) for block in decoded) < 1.1 * RATE


def test_random_channel_is_one_of_the_channels(tmp_path):
    left, right = melody(2.0, 0), melody(2.0, 1)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    clips = ClipDataset([Track(str(tmp_path / "stereo.wav"), 2.0)], CONFIG, 2.0, 0)
    heard = {next(i for i, c in enumerate((left, right)) if np.array_equal(clips[n]["input_values"], c)) for n in range(12)}
    assert heard == {0, 1}


def test_mix_is_the_mean_of_the_channels(tmp_path):
    stereo = np.stack([melody(2.0, 0), melody(2.0, 1)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE, subtype="FLOAT")
    clips = ClipDataset([Track(str(tmp_path / "stereo.wav"), 2.0)], CONFIG, 2.0, 0, channel="mix")
    assert np.array_equal(clips[0]["input_values"], stereo.mean(axis=1))


def test_broken_file_is_replaced_and_listed(tracks, tmp_path):
    broken = Track(str(tmp_path / "gone.wav"), 5.0)
    log = SkipLog(tmp_path / "skipped.jsonl")
    clips = dataset([broken, *tracks], skip_log=log)
    assert clips[0]["input_values"].abs().max() > 0
    assert [(item.name, item.reason) for item in log.read()] == [(broken.name, "missing")]


def test_nothing_but_broken_files_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="in a row cannot be read"):
        dataset([Track(str(tmp_path / "gone.wav"), 5.0)])[0]


def test_file_that_ends_before_its_header_says_is_unreadable(tmp_path):
    soundfile.write(tmp_path / "a.wav", melody(2.0, 0), RATE)
    with pytest.raises(ValueError, match="0.50 s before the end"):
        read_crop(Track(str(tmp_path / "a.wav"), 9.0), 1.5, RATE, RATE, None)


def test_epochs_cover_all_slots_and_repeat_no_number():
    sampler, numbers = ClipSampler(10, 4, seed=0), []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        numbers.append(list(sampler))
    assert all({n % 10 for n in epoch} == set(range(10)) and len(epoch) == 12 for epoch in numbers)
    assert len({n for epoch in numbers for n in epoch}) == 36


def test_masked_share_is_the_probability(tracks):
    masking = BlockMasking(960, 0.6, 0.1)
    drawn = masking.draw(960 * 4000, np.random.default_rng(0))
    assert abs(drawn["block_mask"].float().mean() - 0.6) < 0.025
    assert abs(drawn["mask_noise"].std() - 0.1) < 0.001


def test_every_crop_has_a_masked_block():
    masking = BlockMasking(960, 0.0, 0.1)
    assert masking.draw(9600, np.random.default_rng(0))["block_mask"].sum() == 1


def test_evaluation_crops_come_from_all_tracks(tracks):
    clips = evenly_spread(dataset(tracks), 4)
    assert [int(np.searchsorted(dataset(tracks)._slots, n, side="right")) for n in clips.indices] == [0, 1, 2, 3]


def test_clip_without_a_whole_block_is_refused(tracks):
    with pytest.raises(ValueError, match="at least 0.40 s"):
        ClipDataset(tracks, CONFIG, 0.3, 0, masking=MASKING)
