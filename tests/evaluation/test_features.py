"""The store gives back what the encoder gave, computes nothing twice and survives a kill."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from muq_hf.audio import load_audio
from muq_hf.evaluation import features
from muq_hf.evaluation.encoders import Encoder, num_frames
from muq_hf.evaluation.features import _encode, _pieces, equalise, extract, lock_features
from muq_hf.evaluation.labelled_clips import Clip, read_manifest
from muq_hf.evaluation.models import load_encoder
from muq_hf.models.pooling_muq import POOLS


class Counting(Encoder):
    """An encoder with two layers of different size, at the rate of the samples, that counts the clips it is given."""

    name, fingerprint, sampling_rate, max_seconds, min_samples = "counting", "counting", 24_000, 0.6, 1025
    layer_names = ("wave", "both signs")

    def __init__(self):
        self.clips = 0

    def states(self, waves):
        self.clips += len(waves)
        waves = torch.from_numpy(waves)[:, :, None]
        return [waves, torch.cat([waves.clamp(min=0), waves.clamp(max=0)], dim=2)]


def test_features_are_computed_once(tones, tmp_path):
    encoder, clips = Counting(), read_manifest(tones)
    first = extract(encoder, clips, tmp_path, progress=False)
    calls = encoder.clips
    again = extract(encoder, clips[::-1], tmp_path, progress=False)
    assert encoder.clips == calls
    assert np.array_equal(first.layer(1, "mean+std"), again.layer(1, "mean+std")[::-1])


def test_another_fingerprint_is_computed_anew(tones, tmp_path):
    encoder, clips = Counting(), read_manifest(tones)[:6]
    extract(encoder, clips, tmp_path, progress=False)
    calls, encoder.fingerprint = encoder.clips, "other weights"
    extract(encoder, clips, tmp_path, progress=False)
    assert encoder.clips == 2 * calls


def test_layers_hold_the_encoders_values_in_order(tones, mel, tmp_path):
    clips = read_manifest(tones)[:5]
    features = extract(mel, clips, tmp_path, progress=False)
    pooled = {pool: features.layer(0, pool) for pool in POOLS}
    for number, clip in enumerate(clips):
        states = mel.states(load_audio(clip.path, 24_000, start=clip.start, end=clip.end)[None])[0][0].numpy()  # [T, D]
        mean, std = states.mean(axis=0), states.std(axis=0)
        expected = {"mean": mean, "std": std, "max": states.max(axis=0), "mean+std": np.concatenate([mean, std])}
        assert all(np.allclose(pooled[pool][number], expected[pool], atol=1e-3) for pool in POOLS)


@pytest.mark.parametrize("pool, statistic", [("mean", np.mean), ("std", np.std), ("max", np.max)])
def test_long_clips_are_pooled_over_all_of_their_pieces(tones, tmp_path, pool, statistic):
    encoder, clips = Counting(), read_manifest(tones)[:2]  # clips of 1 s, pieces of at most 0.6 s
    features = extract(encoder, clips, tmp_path, progress=False)
    wave = load_audio(clips[0].path, 24_000, start=clips[0].start, end=clips[0].end)
    assert features.layer(0, pool)[0, 0] == pytest.approx(statistic(wave), abs=1e-6)


class Framed:
    """An encoder whose frames are of 4 samples, taken 30 s at once, 3,000 samples."""

    sampling_rate, max_seconds = 100, 30.0

    def frames(self, waves):
        return [np.zeros((len(waves), num_frames(waves.shape[1], self.sampling_rate), 1))]


@pytest.mark.parametrize("seconds", [30.0, 30.04, 59.96, 299.8, 1234.56])
def test_long_clips_are_cut_between_frames(seconds):
    waves = np.arange(round(100 * seconds))[None]
    pieces = _pieces(waves, Framed())
    lengths = [piece.shape[1] for piece in pieces]
    assert np.array_equal(np.concatenate(pieces, axis=1), waves)
    assert len(pieces) == np.ceil(seconds / 30) and max(lengths) <= 3000
    assert all(length % 4 == 0 for length in lengths) and max(lengths) - min(lengths) <= 4


def test_frames_of_long_clips_are_the_whole_frames_in_their_samples():
    """Frames of pieces that are rounded one by one would be 7,500: the labels would drift."""
    ((frames,),) = _encode(Framed(), np.zeros((1, 29_980)), per_frame=True)
    assert len(frames) == 29_980 // 4


def test_broken_run_loses_only_its_last_batch(tones, tmp_path):
    encoder, clips = Counting(), read_manifest(tones)
    whole = extract(encoder, clips, tmp_path, progress=False).layer(1, "max")
    folder = tmp_path / encoder.fingerprint / "statistics"
    with open(folder / "data.bin", "r+b") as data:
        data.truncate(36 * 30 + 7)  # 30 rows of nine float32 and a piece
    encoder.clips = 0
    assert np.array_equal(extract(encoder, clips, tmp_path, progress=False).layer(1, "max"), whole)
    assert encoder.clips == 2 * (len(clips) - 30)  # two pieces each


def test_unreadable_clip_is_left_out_and_named(tones, mel, tmp_path):
    clips = read_manifest(tones)
    features = extract(mel, [*clips, Clip(tmp_path / "gone.wav", split="test")], tmp_path, progress=False)
    assert len(features.clips) == len(features.layer(0, "mean")) == len(clips)
    assert "gone.wav" in features.failures[0]


def test_clip_whose_whole_frames_are_too_short_counts_as_unreadable(tones, tmp_path):
    """1,100 samples are enough for the encoder, the one whole frame in them is not."""
    clips = read_manifest(tones)
    short = replace(clips[0], start=0.0, end=1100 / 24_000)
    features = extract(load_encoder("cues"), [*clips, short], tmp_path, progress=False)
    assert len(features.clips) == len(clips)
    assert "1100 samples are too few, cues needs 1025 in whole frames of 960" in features.failures[0]


def test_set_without_its_files_is_refused(tmp_path, mel):
    with pytest.raises(ValueError, match="2 of 2 clips cannot be read"):
        extract(mel, [Clip(tmp_path / "a.wav"), Clip(tmp_path / "b.wav")], tmp_path, progress=False)


def test_missing_files_are_counted_before_anything_is_encoded(tones, tmp_path):
    encoder = Counting()
    with pytest.raises(ValueError, match="1 of 11 clips cannot be read"):
        extract(encoder, [*read_manifest(tones)[:10], Clip(tmp_path / "gone.wav")], tmp_path, progress=False)
    assert encoder.clips == 0


def test_long_clips_are_not_decoded_far_ahead(monkeypatch):
    """Of 5 min each no more than an hour, and what the threads are at, waits to be encoded."""
    decoded = []
    monkeypatch.setattr(features, "load_audio", lambda path, rate, **_: decoded.append(path) or np.zeros(300 * rate, np.float32))
    encoder = Framed()
    encoder.name, encoder.min_samples = "framed", 1
    clips = [(str(n), Clip(Path(f"{n}.wav"))) for n in range(64)]
    batches = features._decoded(clips, encoder, equalised=False, workers=2, failures=[])
    next(batches)
    assert 12 <= len(decoded) <= 12 + 3
    assert 1 + sum(len(batch) for batch in batches) == 64


def test_some_rows_are_those_of_the_whole_layer(click_frames):
    rows = np.array([3, 250, 99, 100])
    assert np.array_equal(click_frames.layer(0, "frames", rows), click_frames.layer(0, "frames")[rows])


def test_counting_rows_reads_no_features(click_frames, monkeypatch):
    monkeypatch.setattr(np, "memmap", None)
    assert click_frames.counts.sum() == 100 * len(click_frames.clips)


def test_frames_come_at_25_hz(click_frames):
    assert click_frames.counts.tolist() == [100] * len(click_frames.clips)


def test_equalised_clips_have_one_loudness(tones, tmp_path):
    cues = load_encoder("cues")
    loudness = extract(cues, read_manifest(tones)[:6], tmp_path, equalised=True, progress=False).layer(0, "mean")[:, 0]
    assert np.allclose(loudness, -20, atol=0.01)


def test_silence_stays_silent():
    assert not equalise(np.zeros(24_000, np.float32), 24_000).any()


def test_equalised_clips_have_nothing_above_10_khz():
    noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(equalise(noise, 24_000)))  # 1 Hz a bin
    assert spectrum[10_100:].max() < 0.01 * spectrum[1000:8000].mean()


def test_a_second_run_waits_for_the_first_ones_features(tones, tmp_path, capsys):
    clips, folder = read_manifest(tones)[:4], tmp_path / "counting" / "statistics"
    with ThreadPoolExecutor(1) as pool:
        with lock_features(folder):
            second = pool.submit(extract, Counting(), clips, tmp_path, progress=False)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
        assert len(second.result().layer(0, "mean")) == 4
    assert "waiting for it" in capsys.readouterr().err
