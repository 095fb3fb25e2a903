"""Leaks are refused before anything is computed; chance is recognised."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import MICRO

from muq_hf import MuQConfig, MuQModel
from muq_hf.evaluation.benchmark import evaluate
from muq_hf.evaluation.guards import LeakError, leak_warnings, near_chance, refuse_leak, training_music
from muq_hf.evaluation.label_kinds import own_task
from muq_hf.evaluation.labelled_clips import read_manifest
from muq_hf.evaluation.models import load_encoder
from muq_hf.evaluation.trial import Settings


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    MuQModel(MuQConfig(**MICRO)).save_pretrained(folder)
    return folder


def record(checkpoint, *entries):
    (checkpoint / "training_files.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_probe_is_refused_if_a_test_track_was_trained_on(checkpoint, tones, tmp_path):
    clips = read_manifest(tones)
    leaked = next(clip.path for clip in clips if clip.split == "test")
    record(checkpoint, {"path": f"/elsewhere/{leaked.parent.name}/{leaked.stem}.flac"})
    task = own_task("tones", clips, "class", "class")
    with pytest.raises(LeakError, match=leaked.name):
        evaluate([(load_encoder(str(checkpoint)), training_music(checkpoint))], [task], Settings(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_training_on_train_tracks_is_no_leak(checkpoint, tones):
    clips = read_manifest(tones)
    record(checkpoint, *({"path": str(clip.path)} for clip in clips if clip.split != "test"))
    refuse_leak(clips, training_music(checkpoint), "model")


def test_renamed_file_is_known_by_its_content(checkpoint, tones, tmp_path):
    clip = next(clip for clip in read_manifest(tones) if clip.split == "test")
    content = clip.path.read_bytes()
    record(checkpoint, {"path": "x/other.wav", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    renamed = replace(clip, path=tmp_path / "new name.wav")
    shutil.copy(clip.path, renamed.path)
    with pytest.raises(LeakError, match="known by its content"):
        refuse_leak([renamed], training_music(checkpoint), "model")


def test_checkpoint_without_a_record_says_nothing(checkpoint):
    assert training_music(checkpoint) is None


def test_what_makes_scores_too_good_is_named(checkpoint, tones):
    """A group on both sides of validation, a file that is in two splits under two names, and music that the encoder knows."""
    clips = read_manifest(tones)
    assert leak_warnings(clips, checkpoint) == []
    test_file = next(clip.path for clip in clips if clip.split == "test")
    train_clip = next(clip for clip in clips if clip.split == "train")
    copy = Path(shutil.copy(test_file, tones.parent / "copy.wav"))
    record(checkpoint, {"path": f"{test_file.parent.name}/{test_file.stem}.wav"})
    leaking = [*clips, replace(train_clip, split="valid"), replace(train_clip, path=copy)]
    shared, equal, known = leak_warnings(leaking, checkpoint)
    assert f"1 groups lie both in the train and in the valid split, the first: {train_clip.group!r}" in shared
    assert "1 test files are equal" in equal and test_file.name in equal
    assert "trained on 1 of the" in known and test_file.name in known


def test_chance_has_a_margin():
    assert near_chance(0.35, 0.02, 1 / 3)
    assert not near_chance(0.6, 0.02, 1 / 3)


def test_cues_tell_loudness_and_bandwidth():
    cues = load_encoder("cues")
    generator = np.random.default_rng(0)
    wide = generator.standard_normal(24_000).astype(np.float32)
    spectrum = np.fft.rfft(wide)
    spectrum[4000:] = 0  # nothing above 4 kHz
    narrow = np.fft.irfft(spectrum).astype(np.float32)
    rows = cues.states(np.stack([wide, 0.5 * wide, narrow]))[0][:, 0]
    assert rows[0, 0] - rows[1, 0] == pytest.approx(6.02, abs=0.01)
    assert rows[:, 1].tolist() == [12_000, 12_000, 4_000]


def test_a_file_is_known_by_name_from_its_own_folder(checkpoint, tones, monkeypatch):
    clip = next(clip for clip in read_manifest(tones) if clip.split == "test")
    record(checkpoint, {"path": f"{clip.path.parent.name}/{clip.path.stem}.mp3"})
    monkeypatch.chdir(clip.path.parent)
    with pytest.raises(LeakError, match="known by its name"):
        refuse_leak([replace(clip, path=Path(clip.path.name))], training_music(checkpoint), "model")
